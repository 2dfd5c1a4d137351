"""A FINN folding as one of our datapaths, one engine a layer, scored by our own simulator and cost model.

FINN's matrix node of `PE` by `SIMD` becomes an engine of dm = PE channels by dk = SIMD values at a time, dn = 1 lane. A word
holds all planes of a value, up to 8, so that a layer of binary weights takes FINN's (MH / PE)(MW / SIMD)(pixels) cycles in
either; weights of several planes take as many wavefronts here. What has no counterpart is told in notes: our engines read one tap
at a time (SIMD beyond a tap's channels does not help, but for the image's taps in a window), words have at least 4 bits,
multipliers are counters of bits whatever `resType` says, and memories are what our model makes of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import C_THRESHOLD_WORDS, COST_FIELDS, Utilization, cost, reserve_bram36
from foldwright.accel.datapath import Arithmetic, Datapath, Engine, Requant
from foldwright.accel.folding_config import FoldingConfig
from foldwright.accel.memory import store_words
from foldwright.accel.tables import E_ACC, E_AND, E_LEVELS, E_SCALES, E_SUM, engine_row, layer_table
from foldwright.accel.workload import IMAGE, ActKind, Layer, Workload
from foldwright.envs.allocation.space import derive
from foldwright.envs.tiling.problem import TilingProblem
from foldwright.errors import ConfigError
from foldwright.netlists.part import Part, load_part

__all__ = ["DataflowScore", "dataflow_datapath", "matrix_foldings", "score_dataflow"]

IntArray = npt.NDArray[np.int64]

_LEAST_WORD_BITS = 4
_PLANES = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class DataflowScore:
    """What our models say of a datapath: cycles per frame in steady state, their bound, and what it takes of the part."""

    datapath: Datapath
    cycles: int
    bound_cycles: int
    use: Utilization
    notes: tuple[str, ...]


def matrix_foldings(config: FoldingConfig) -> list[tuple[str, int, int]]:
    """Returns name, PE and SIMD of the nodes that a configuration folds both ways, in its order: the layers."""
    nodes = config.nodes.items()
    return [(name, a["PE"], a["SIMD"]) for name, a in nodes if "PE" in a and "SIMD" in a]


def dataflow_datapath(
    config: FoldingConfig, workload: Workload, dram_bits_per_cycle: int = 32
) -> tuple[Datapath, list[str]]:
    """Returns the datapath of one engine a layer that a configuration describes, and notes on what differs.

    Raises:
        ConfigError: the configuration has not as many matrix nodes as the workload has layers, or a shape that no engine has.
    """
    nodes, layers = matrix_foldings(config), workload.layers
    if len(nodes) != len(layers):
        raise ConfigError(
            f"{config.where}: folds {len(nodes)} matrix nodes by PE and SIMD ({', '.join(n for n, _, _ in nodes)}), but "
            f"{workload.name!r} has {len(layers)} layers; choose the network that it is for"
        )
    notes: list[str] = []
    shapes = [_shape(*node, layer, notes) for node, layer in zip(nodes, layers, strict=True)]
    table, assignment = layer_table(workload), np.arange(len(layers), dtype=np.int64)
    engines = tuple(_derived(table, assignment, e, shape) for e, shape in enumerate(shapes))
    last = np.array(engine_row(engines[-1]), dtype=np.int64)
    store = int(store_words(table[-1], last, 1))
    return Datapath(engines, tuple(range(len(layers))), 1, dram_bits_per_cycle, store), notes


def _shape(node: str, pe: int, simd: int, layer: Layer, notes: list[str]) -> Engine:
    """Returns the engine of a node by its shape alone."""
    channels = layer.in_channels // layer.groups
    one_plane = layer.act_kind is ActKind.SIGNED and max(layer.padding) > 0
    planes = 1 if one_plane else next((p for p in _PLANES if p >= layer.act_bits), _PLANES[-1])
    word_bits = max(_LEAST_WORD_BITS, simd * planes)
    if word_bits > simd * planes:
        notes.append(
            f"{node}: words of {simd * planes} bits became {word_bits}, the least that an engine has"
        )
    if planes < layer.act_bits:
        notes.append(f"{node}: takes {layer.act_bits} activation planes, {planes} at a time")
    window = 0
    if simd > channels and layer.taps > 1:
        if layer.inputs[0] == IMAGE and layer.groups == 1:
            window = channels * layer.taps * layer.act_bits
        else:
            notes.append(
                f"{node}: SIMD {simd} is more than the {channels} channels of a tap, which is all that a word takes"
            )
    try:
        return Engine(pe, word_bits, 1, planes_per_word=(planes,), window_bits=window)
    except ConfigError as error:
        raise ConfigError(f"node {node!r} as an engine of PE {pe} by SIMD {simd}: {error}") from None


def _derived(table: IntArray, assignment: IntArray, e: int, shape: Engine) -> Engine:
    """Returns an engine with what its layer needs: arithmetic, accumulators, thresholds."""
    row, costs = np.array(engine_row(shape), dtype=np.int64), np.zeros(COST_FIELDS, dtype=np.int64)
    derive(table, assignment, e, row, costs)
    return replace(
        shape,
        arithmetic=Arithmetic.AND if row[E_AND] else Arithmetic.XNOR,
        acc_bits=int(row[E_ACC]),
        levels=int(row[E_LEVELS]),
        threshold_words=int(costs[C_THRESHOLD_WORDS]),
        sum_bits=int(row[E_SUM]),
        requant=Requant.SCALE_SHIFT if row[E_SCALES] else Requant.THRESHOLDS,
    )


def score_dataflow(config: FoldingConfig, workload: Workload, part_name: str = "xc7z020") -> DataflowScore:
    """Returns what our simulator and cost model say of a configuration's datapath.

    Raises:
        ConfigError: as `dataflow_datapath` does.
        InfeasibleError: its memories do not fit the part.
    """
    part: Part = load_part(part_name)
    datapath, notes = dataflow_datapath(config, workload)
    pool = part.budget.bram36 - reserve_bram36(datapath, part)
    problem = TilingProblem(f"folding/{workload.name}", workload, datapath, pool, part_name)
    solution = problem.decode(problem.by_rule)
    return DataflowScore(
        datapath=datapath,
        cycles=problem.evaluate(solution).value,
        bound_cycles=problem.bound().value,
        use=cost(problem.sized_datapath(solution), part),
        notes=tuple(notes),
    )
