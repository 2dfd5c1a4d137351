"""Writes a whole accelerator: RTL, constants for DRAM, programs as text, and a manifest; and reads it back, checked.

The folder is what `verify` simulates and what a vendor's project is made of. The output depends on nothing but the
arguments: no time, no path.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foldwright.accel.export.design import TOP, accelerator_rtlil, design_file
from foldwright.accel.export.package import Package
from foldwright.accel.rtl.loader_program import text_of as loader_text
from foldwright.accel.rtl.program import text_of as engine_text
from foldwright.accel.rtl.registers import VERSION, Register
from foldwright.errors import InputError
from foldwright.jsonform import plain

__all__ = [
    "FORMAT",
    "FilesOfDesign",
    "SavedAccelerator",
    "accelerator_files",
    "manifest_of",
    "read_accelerator",
]

FORMAT = "foldwright.accelerator/1"
CONSTANTS, PROGRAMS, MANIFEST, README = "constants.bin", "programs.txt", "manifest.json", "README.md"


@dataclass(frozen=True, eq=False)
class SavedAccelerator:
    """An exported accelerator as it was read: its manifest, the design's file and the constants."""

    manifest: Mapping[str, Any]
    design: Path
    constants: bytes


FilesOfDesign = Callable[[str, str], Mapping[str, str | bytes]]
"""Makes further files from the name and the text of a design."""


def accelerator_files(
    package: Package, technology: str, *, trace: bool = False, extra: FilesOfDesign | None = None
) -> dict[str, bytes]:
    """Returns the files of an accelerator by name, the manifest last.

    The design is Verilog where yosys is installed, else RTLIL. With `trace` it has outputs for co-simulation.
    """
    text = accelerator_rtlil(package.hardware, technology, trace=trace)
    design, body = design_file(text)
    files = {design: body.encode(), CONSTANTS: package.constants, PROGRAMS: _programs(package).encode()}
    files[README] = _readme(package, technology, sorted(files)).encode()
    if extra is not None:
        more = extra(design, body)
        files |= {k: v.encode() if isinstance(v, str) else v for k, v in more.items()}
    manifest = manifest_of(package, technology)
    manifest["files"] = [
        {"path": name, "size_bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        for name, body in sorted(files.items())
    ]
    files[MANIFEST] = (json.dumps(manifest, indent=1) + "\n").encode()
    return files


def manifest_of(package: Package, technology: str) -> dict[str, Any]:
    """Returns what the manifest says of an accelerator, its files left out."""
    layout = package.layout
    image = layout.layers[0].entry.layer
    registers = package.registers(1)
    return {
        "format": FORMAT,
        "network": layout.network.name,
        "technology": technology,
        "register_map": VERSION,
        "dram_bits": package.dram_bits,
        "batch_frames": package.batch_frames,
        "image": {
            "shape": [image.in_channels, image.in_height, image.in_width],
            "bits": image.act_bits,
            "kind": image.act_kind.value,
            "tile_rows": layout.layers[0].tile_rows,
            "round_bytes": package.round_bytes,
        },
        "result": {"items_of_round": package.items_of_round, "item_bytes": package.item_bytes},
        "registers": {
            name.name.lower(): registers[name]
            for name in (
                Register.ITEMS_PER_TOKEN, Register.STORE_TOKEN, Register.PROGRAM_LENGTH, Register.WATCHDOG,
            )
        },
        "memory_map": [
            {
                "name": section.name, "dest": section.dest, "offset": section.offset, "bytes": len(section.body),
                "words": section.words, "word_bits": section.word_bits, "streams": section.layer is not None,
            }
            for section in package.sections
        ],
        "engines": [plain(engine) for engine in layout.engines],
        "layers": [
            {
                "layer": layer.name, "engine": layer.engine, "reads": layer.source.name.lower(), "copies": list(layer.copies),
                "words": layer.frame_words * layer.frames, "planes_per_word": layer.encoding.pa,
                "weight_base": layer.weight_base, "threshold_base": layer.threshold_base, "blocks": layer.blocks,
                "tiles": len(layer.order), "streams_weights": layer.tiling.streams_weights,
                **({"adds": layout.layers[layer.residual].name} if layer.residual >= 0 else {}),
            }
            for layer in layout.layers
        ],
    }  # fmt: skip


def read_accelerator(folder: Path, package: Package, technology: str) -> SavedAccelerator:
    """Reads an exported accelerator and checks it against its manifest and the plan that it is for.

    Raises:
        InputError: a file is absent, cut short or changed, or the manifest says something else; names the field.
    """
    manifest = _manifest(folder / MANIFEST)
    bodies = _checked_files(folder, manifest)
    _check_map(folder / MANIFEST, manifest, len(bodies[CONSTANTS]))
    wanted = json.loads(json.dumps(manifest_of(package, technology)))
    for field, value in wanted.items():
        if manifest.get(field) != value:
            raise InputError(
                f"{folder / MANIFEST}: field {field!r} is {_short(manifest.get(field))}, the plan needs {_short(value)}; "
                "export the plan again"
            )
    design = next(name for name in bodies if name.startswith(TOP))
    return SavedAccelerator(manifest, folder / design, bodies[CONSTANTS])


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot be read: {why}; export the plan with --to accelerator") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise InputError(
            f"{path}: field 'format' is {found!r}, this version reads {FORMAT!r}; export the plan again"
        )
    return manifest


def _checked_files(folder: Path, manifest: Mapping[str, Any]) -> dict[str, bytes]:
    listed = manifest.get("files")
    if not isinstance(listed, list) or not all(isinstance(f, dict) and "path" in f for f in listed):
        raise InputError(f"{folder / MANIFEST}: field 'files' is no list of files; export the plan again")
    bodies = {}
    for file in listed:
        path = folder / Path(str(file["path"])).name
        try:
            body = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}; export the plan again") from None
        if len(body) != file.get("size_bytes"):
            raise InputError(
                f"{path}: has {len(body)} bytes, the manifest says {file.get('size_bytes')}: cut short or changed; "
                "export the plan again"
            )
        if hashlib.sha256(body).hexdigest() != file.get("sha256"):
            raise InputError(
                f"{path}: its sha256 is not that of the manifest: changed; export the plan again"
            )
        bodies[path.name] = body
    missing = [name for name in (CONSTANTS,) if name not in bodies]
    missing += [f"{TOP}.v"] * (not any(name.startswith(TOP) for name in bodies))
    if missing:
        raise InputError(f"{folder / MANIFEST}: lists no {', '.join(missing)}; export the plan again")
    return bodies


def _check_map(path: Path, manifest: Mapping[str, Any], size: int) -> None:
    """Every section must lie inside the constants, behind the one before."""
    at = 0
    for section in manifest.get("memory_map", []):
        low, length = section.get("offset", -1), section.get("bytes", -1)
        if not (
            isinstance(low, int)
            and isinstance(length, int)
            and at <= low
            and length >= 0
            and low + length <= size
        ):
            raise InputError(
                f"{path}: section {section.get('name')!r} of memory_map has offset {low} and {length} bytes; allowed is "
                f"{at}..{size} in all; export the plan again"
            )
        at = low + length


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _programs(package: Package) -> str:
    lines = ["# loader", *loader_text(package.loader)]
    for e, words in package.programs.items():
        lines += ["", f"# engine {e}", *engine_text(words, package.hardware.engines[e].extra_names)]
    return "\n".join(lines) + "\n"


def _readme(package: Package, technology: str, names: list[str]) -> str:
    shapes = [
        f"- engine {e}: {engine.shape}, {engine.lanes.value} lanes"
        for e, engine in enumerate(package.layout.engines)
    ]
    return "\n".join(
        [
            f"# Accelerator for {package.layout.network.name}",
            "",
            f"Technology `{technology}`, DRAM port of {package.dram_bits} bits, {package.batch_frames} frames a round.",
            "",
            *shapes,
            "",
            f"`{CONSTANTS}` goes to DRAM at the weights base; `{PROGRAMS}` shows the programs in it. The registers and the",
            "rules of the formats are in the documentation, `docs/accelerator.md`. Files, with digests in the manifest:",
            "",
            *(f"- `{name}`" for name in names),
            "",
        ]
    )
