"""The loops that our engines run for the layers of a schedule, as Timeloop-style nests: one YAML text a layer.

Engines compute with bits, so the nests have dimensions that a CNN layer does not: B blocks of `dm` output channels (M within
a block, rows without a channel too), W weight planes, A activation planes. Where taps are packed, V counts the values of a window
in place of channels C and taps S, R. The loops of a tile are those of `accel/rtl/program.py`; pairs of planes run in the order
of falling weight, which is written here as A outside W. Idle cycles and pooling are no loops and are left out.

DRAM's loops are the tiles of blocks and rows. What is pinned or stays on chip from layer to layer crosses DRAM once or never,
which a nest of one layer cannot say: comments do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from foldwright.accel.datapath import Datapath, Engine, LaneMode
from foldwright.accel.loopnest.timeloop import DATA_SPACES, Level, LevelLoop, Problem, mapping_text
from foldwright.accel.mapping import M_BLOCKS, M_PA, M_PACKED, map_layers, weight_planes
from foldwright.accel.schedule import LayerDecision
from foldwright.accel.tables import E_AND, L_W_BITS, L_W_KIND, engine_table, layer_table
from foldwright.accel.workload import IMAGE, Layer, Workload
from foldwright.errors import ConfigError

__all__ = ["engine_nests"]

IntArray = npt.NDArray[np.int64]

_ORDER = "GBNQPAWVSCR"
"""The loops of a tile, outermost first; a group of the convolution is outside its blocks."""


def engine_nests(
    workload: Workload, datapath: Datapath, decisions: Sequence[LayerDecision]
) -> Iterator[tuple[str, str]]:
    """Yields each layer's name and its nest as YAML.

    Raises:
        ConfigError: decisions or assignment are not those of the workload, or an engine cannot run its layer.
    """
    if len(decisions) != len(workload.layers) or len(datapath.assignment) != len(workload.layers):
        raise ConfigError(
            f"workload {workload.name!r} has {len(workload.layers)} layers, but there are {len(decisions)} decisions and "
            f"{len(datapath.assignment)} assignments"
        )
    layers, engines = layer_table(workload), engine_table(datapath.engines)
    mappings = map_layers(
        layers, engines, np.array(datapath.assignment, dtype=np.int64), datapath.batch_frames
    )
    on_chip = {IMAGE: False} | {d.layer: d.output_on_chip for d in decisions}
    for i, (layer, decision) in enumerate(zip(workload.layers, decisions, strict=True)):
        index = datapath.assignment[i]
        engine = datapath.engines[index]
        if not mappings[i, M_PA]:
            raise ConfigError(f"engine {index} cannot run layer {layer.name!r}")
        planes = int(weight_planes(layers[i, L_W_KIND], layers[i, L_W_BITS], engines[index, E_AND]))
        notes = _notes(layer, engine, index, decision, on_chip[layer.inputs[0]])
        others = [
            decisions[k].layer for k, j in ((i - 1, i - 1), (i + 1, i)) if j >= 0 and decisions[j].fused
        ]
        if others:
            with_others = (
                f"runs in turns with {' and '.join(others)}, bands of up to {decision.tile_rows} rows"
            )
            notes.append(f"{with_others}: a nest of one layer does not show that")
        sizes, spread = _sizes(layer, engine, mappings[i], planes, datapath.batch_frames)
        levels = _levels(sizes, spread, decision)
        yield layer.name, mapping_text(notes, _problem(layer, sizes), levels)


def _sizes(
    layer: Layer, engine: Engine, mapping: IntArray, planes: int, frames: int
) -> tuple[dict[str, int], dict[str, int]]:
    """Returns the sizes of all dimensions, and what the engine takes of each in one cycle."""
    pa, blocks = int(mapping[M_PA]), int(mapping[M_BLOCKS])
    channels = layer.in_channels // layer.groups
    sizes = {"G": layer.groups, "B": blocks // layer.groups, "M": engine.dm, "N": frames}
    sizes |= {"Q": layer.out_height, "P": layer.out_width, "A": layer.act_bits, "W": planes}
    if mapping[M_PACKED]:
        sizes |= {"V": channels * layer.taps}
    else:
        sizes |= {"S": layer.kernel[0], "C": channels, "R": layer.kernel[1]}
    spread = {"M": engine.dm, "A": pa, "V": engine.dk // pa, "C": engine.dk // pa}
    spread["N" if engine.lanes is LaneMode.BATCH else "P"] = engine.dn
    return sizes, {letter: min(size, spread.get(letter, 1)) for letter, size in sizes.items()}


def _levels(sizes: dict[str, int], spread: dict[str, int], decision: LayerDecision) -> list[Level]:
    tiles = {"Q": min(decision.tile_rows, sizes["Q"])}
    blocks, outside = decision.tile_blocks, []
    if blocks >= sizes["B"]:
        tiles["G"] = min(blocks // sizes["B"], sizes["G"])
    else:
        tiles |= {"G": 1, "B": blocks}
    inner = {letter: tiles.get(letter, size) for letter, size in sizes.items()}
    for letter in ("G", "B", "Q") if decision.outer_loop == "weights" else ("Q", "G", "B"):
        outside.append(_loop(letter, sizes[letter], sizes[letter], inner[letter]))
    inside = [_loop(x, sizes[x], inner[x], spread[x]) for x in _ORDER if x in sizes]
    lanes = [LevelLoop(x, unit, (sizes[x] - 1) % unit + 1) for x, unit in spread.items() if unit > 1]
    return [
        Level("DRAM", tuple(x for x in outside if x.count > 1), DATA_SPACES),
        Level("EngineMemories", tuple(x for x in inside if x.count > 1), DATA_SPACES),
        Level("EngineMemories", tuple(lanes), is_spatial=True),
    ]


def _loop(letter: str, whole: int, size: int, step: int) -> LevelLoop:
    """Returns the loop that covers `size` of a dimension of `whole` by `step`."""
    count = -(-size // step)
    return LevelLoop(letter, count, (whole - 1) // step % count + 1)


def _problem(layer: Layer, sizes: dict[str, int]) -> Problem:
    rows, cols = "[Q, Hstride], [S]", "[P, Wstride], [R]"
    window = "[[V]], [[Q]], [[P]]" if "V" in sizes else f"[[C]], [{rows}], [{cols}]"
    taps = "[[V]]" if "V" in sizes else "[[C]], [[S]], [[R]]"
    return Problem(
        "BitPlaneLayer",
        sizes,
        {"Hstride": layer.stride[0], "Wstride": layer.stride[1]},
        {
            "Weights": f"[[[G]], [[B]], [[M]], [[W]], {taps}]",
            "Inputs": f"[[[N]], [[G]], [[A]], {window}]",
            "Outputs": "[[[N]], [[G]], [[B]], [[M]], [[Q]], [[P]]]",
        },
    )


def _notes(
    layer: Layer, engine: Engine, index: int, decision: LayerDecision, input_on_chip: bool
) -> list[str]:
    weights = "pinned"
    if not decision.weights_pinned:
        weights = f"of {decision.pinned_blocks} blocks pinned, of {decision.streamed_blocks} streamed"
    came = "on chip" if input_on_chip else "loaded by rows"
    went = "stays on chip" if decision.output_on_chip else "is stored"
    name = " ".join(layer.name.split())
    shape = f"{engine.dm} x {engine.dk} x {engine.dn}"
    return [
        f"layer {name} on engine {index}: {shape}, {engine.kind.value}, {engine.lanes.value} lanes",
        f"weights {weights}; input {came}; output {went}",
    ]
