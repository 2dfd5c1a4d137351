"""Writes the RTL of a datapath's engines, their memory images and a manifest.

One file per engine: Verilog where yosys is installed, else the same design as RTLIL, which yosys reads later
(`read_rtlil engine0.il; write_verilog engine0.v`). Images hold one memory word per line in hexadecimal, as
`$readmemh` reads them. The output depends on nothing but the arguments: no time, no path.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foldwright.accel.datapath import Datapath, Engine, LaneMode
from foldwright.accel.encoding import Encoding
from foldwright.accel.export.design import design_file
from foldwright.accel.export.rtlil import engine_text
from foldwright.accel.images import Tile, block_channels, weight_image
from foldwright.accel.layers import IntegerLayer
from foldwright.accel.mapping import M_PA, M_PACKED, map_layers
from foldwright.accel.network import Network
from foldwright.accel.scaling import result_words
from foldwright.accel.tables import engine_table, layer_table
from foldwright.accel.verify import packed_layer
from foldwright.errors import ConfigError, RunFolderError
from foldwright.jsonform import plain

__all__ = ["ExportedFile", "export_verilog", "layer_reach"]

FORMAT = "foldwright.build/1"


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A written file: its path below the build folder, size and digest."""

    path: str
    size_bytes: int
    sha256: str


def export_verilog(
    datapath: Datapath, out_dir: Path, *, network: Network | None = None, technology: str = "xc7"
) -> list[ExportedFile]:
    """Writes the build folder; returns its files, the manifest last.

    Args:
        out_dir: made where absent; must be empty.
        network: whose weights and thresholds become memory images; none are written without.
        technology: "xc7" for hand-mapped primitives, "generic" otherwise.

    Raises:
        RunFolderError: the folder is not empty or cannot be written.
        ConfigError: a layer does not fit its engine.
    """
    _check_empty(out_dir)
    texts: dict[str, str] = {}
    mapping = _mapping(network, datapath) if network is not None else None
    for index, engine in enumerate(datapath.engines):
        reach = layer_reach(network, datapath, index) if network is not None else 3
        name = f"engine{index}"
        texts |= [design_file(engine_text(engine, technology, name, reach=reach), name)]
    layers: list[dict[str, Any]] = []
    if network is not None and mapping is not None:
        for index in range(len(datapath.engines)):
            images, entries = _memory_images(network, datapath, mapping, index)
            texts |= {
                f"engine{index}.{kind}.hex": _hex(words, width) for kind, (words, width) in images.items()
            }
            layers += entries
    texts["README.md"] = _readme(datapath, technology, sorted(texts))
    files = [_write(out_dir, name, text) for name, text in sorted(texts.items())]
    manifest = {
        "format": FORMAT,
        "network": network.name if network is not None else None,
        "technology": technology,
        "engines": [plain(engine) for engine in datapath.engines],
        "layers": layers,
        "files": [plain(file) for file in files],
    }
    return [*files, _write(out_dir, "manifest.json", json.dumps(manifest, indent=1) + "\n")]


def layer_reach(network: Network, datapath: Datapath, engine: int) -> int:
    """Returns the most taps of one phase among an engine's layers: what its aligner must reach."""
    layers = [
        x for x, which in zip(network.workload.layers, datapath.assignment, strict=True) if which == engine
    ]
    return max((-(-layer.kernel[1] // layer.stride[1]) for layer in layers), default=1)


def _mapping(network: Network, datapath: Datapath) -> Any:
    if len(datapath.assignment) != len(network.workload.layers):
        raise ConfigError(
            f"the datapath assigns {len(datapath.assignment)} layers, {network.name!r} has {len(network.workload.layers)}"
        )
    table, engines = layer_table(network.workload), engine_table(datapath.engines)
    return map_layers(table, engines, np.array(datapath.assignment, dtype=np.int64), datapath.batch_frames)


def _memory_images(
    network: Network, datapath: Datapath, mapping: Any, index: int
) -> tuple[dict[str, tuple[list[int], int]], list[dict[str, Any]]]:
    """Returns an engine's images (words and width) and where each layer begins in them."""
    engine = datapath.engines[index]
    weights: list[int] = []
    thresholds: list[int] = []
    entries = []
    for k, layer in enumerate(network.workload.layers):
        if datapath.assignment[k] != index:
            continue
        packed = bool(mapping[k, M_PACKED])
        entry = packed_layer(network.layers[layer.name]) if packed else network.layers[layer.name]
        encoding = _encoding(entry, engine, int(mapping[k, M_PA]))
        tile = Tile.whole(encoding)
        entries.append(
            {
                "layer": layer.name,
                "engine": index,
                "planes_per_word": encoding.pa,
                "packed": packed,
                "weight_base": len(weights),
                "threshold_base": len(thresholds),
                "blocks": layer.groups * encoding.blocks_per_group,
            }
        )
        weights += weight_image(encoding, entry.weights, tile)
        if entry.levels:
            thresholds += result_words(entry, encoding, block_channels(encoding, tile))
    images = {"weights": (weights, engine.weight_width_bits)}
    if thresholds:
        images["thresholds"] = (thresholds, max(word.bit_length() for word in thresholds))
    return images, entries


def _encoding(entry: IntegerLayer, engine: Engine, pa: int) -> Encoding:
    if pa == 0:
        raise ConfigError(
            f"layer {entry.name!r} does not run on engine {engine.shape}: {entry.layer.weight_kind.value} weights, "
            f"{engine.arithmetic.value} arithmetic"
        )
    return Encoding(entry.layer, engine, pa)


def _hex(words: list[int], width: int) -> str:
    digits = -(-width // 4)
    return "".join(f"{word:0{digits}x}\n" for word in words)


def _check_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunFolderError(f"{folder}: is not an empty folder; choose another one")


def _write(folder: Path, name: str, text: str) -> ExportedFile:
    body = text.encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    except OSError as error:
        raise RunFolderError(f"{folder / name}: cannot be written: {error.strerror}") from None
    return ExportedFile(name, len(body), hashlib.sha256(body).hexdigest())


def _readme(datapath: Datapath, technology: str, names: list[str]) -> str:
    lines = [
        "# Generated accelerator",
        "",
        f"Technology `{technology}`. Engines (rows x word bits x lanes):",
        "",
    ]
    for k, engine in enumerate(datapath.engines):
        kind = "batch" if engine.lanes is LaneMode.BATCH else "column"
        lines.append(
            f"- `engine{k}`: {engine.shape}, {engine.kind.value}, {engine.arithmetic.value}, {kind} lanes"
        )
    lines += ["", "Files (sizes and digests in `manifest.json`):", "", *(f"- `{name}`" for name in names), ""]
    if any(name.endswith(".il") for name in names):
        lines += [
            "yosys was not installed, so the design is RTLIL. To get Verilog:",
            "`yosys -p 'read_rtlil engine0.il; proc; memory_collect; write_verilog engine0.v'`",
            "",
        ]
    lines += [
        "Images hold one word per line for `$readmemh`; load them through the write ports of the engine.",
        "`layers` in the manifest says where the weights and thresholds of each layer begin.",
        "",
    ]
    return "\n".join(lines)
