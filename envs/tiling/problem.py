"""The tiling problem: a workload on a datapath, a pool of block RAMs, and the cycles of a round to minimise.

Each layer takes three decisions, in the order of the layers: how its weights come (streamed with a prefetch lead of 0,
1 or 2 layers, or pinned, an input from DRAM loaded 0 or 1 layers ahead; an image loaded ahead has two copies), whether its
output stays on chip, and its tile and outer loop, one of the Pareto-optimal ones of `foldwright.accel.tiles`. The memories
of all engines share the pool; addresses are first fit. The cost is what the simulator measures, in cycles per round of
`batch_frames` frames. The fallback streams everything by the smallest tile.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from foldwright.accel.datapath import Datapath
from foldwright.accel.evaluate import (
    D_TILE,
    DECISIONS,
    OUTPUT_CHIP,
    OUTPUT_DRAM,
    WEIGHTS_PINNED,
    bram36_of_choices,
    compute_bound,
    cycles_of_choices,
    expand,
    total_traffic,
)
from foldwright.accel.mapping import M_BLOCKS, M_WEIGHT_WORD_BITS, M_WEIGHT_WORDS_PER_BLOCK
from foldwright.accel.schedule import (
    ORDER_NAMES,
    LayerDecision,
    NetworkTables,
    Schedule,
    build_schedule,
    decisions_of,
    network_tables,
    with_memories,
)
from foldwright.accel.schedule_check import check_schedule
from foldwright.accel.tables import L_INPUT, L_IS_RESULT
from foldwright.accel.tiles import (
    P_IN_BITS_PER_ROW,
    P_OUT_BITS_PER_ROW,
    P_ROWS,
    P_STORED_H,
    input_rows,
)
from foldwright.accel.workload import Workload
from foldwright.envs.cp_problem import CpProblem
from foldwright.envs.problem import Bound, Choices, Cost
from foldwright.envs.tiling.start import quick_choices, quick_tiles
from foldwright.errors import IllegalSolutionError, InfeasibleError
from foldwright.jsonform import STRICT
from foldwright.netlists.part import Part, load_part

__all__ = ["TilingProblem", "TilingSolution"]

_WEIGHT_LABELS = [
    "streamed",
    "streamed, 1 layer ahead",
    "streamed, 2 layers ahead",
    "pinned",
    "pinned, input 1 layer ahead",
]
_BLOCK_BITS = {"xc7": 36864, "ecp5": 18432}


@dataclass(frozen=True, slots=True)
class TilingSolution:
    """The decisions of every layer."""

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.tiling-solution/1"

    decisions: tuple[LayerDecision, ...]


@dataclass(frozen=True)
class TilingProblem:
    """One instance; see the module's docstring. Raises `InfeasibleError` where even the fallback does not fit."""

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.tiling-problem/1"

    name: str
    workload: Workload
    datapath: Datapath
    pool_bram36: int
    part: str = "xc7z020"

    kind: ClassVar[str] = "tiling"
    unit: ClassVar[str] = "cycles per round"

    def __post_init__(self) -> None:
        need = int(bram36_of_choices(*self.tables, self.fallback))
        if need > self.pool_bram36:
            raise InfeasibleError(
                f"tiling {self.name!r}: even the smallest tiles need {need} block RAMs, the pool has {self.pool_bram36}; "
                "use a larger pool or a narrower array"
            )

    @cached_property
    def _part(self) -> Part:
        return load_part(self.part)

    @cached_property
    def tables(self) -> NetworkTables:
        return network_tables(self.workload, self.datapath, self._part, self.pool_bram36)

    @cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        tiles, out = self.tables[6], []
        for i, layer in enumerate(self.workload.layers):
            outputs = 2 if self.workload.consumers(layer.name) else 1
            out += [len(_WEIGHT_LABELS), outputs, len(np.unique(tiles[i], axis=0))]
        return np.array(out, dtype=np.int64)

    @cached_property
    def fallback(self) -> Choices:
        choices = np.zeros(DECISIONS * len(self.workload.layers), dtype=np.int64)
        choices[DECISIONS - 1 :: DECISIONS] = self.sizes[DECISIONS - 1 :: DECISIONS] - 1
        return choices

    @cached_property
    def start(self) -> Choices:
        """Returns the schedule by rule that allocation assumes, in this instance's tiles: where a search may begin."""
        layers, engines, mappings, assignment, widths, geometries, tiles, numbers = self.tables
        quick = quick_tiles(mappings)
        choices = quick_choices(layers, engines, mappings, assignment, widths, geometries, quick, numbers)
        for i in range(len(layers)):
            wanted = quick[i, choices[DECISIONS * i + D_TILE]]
            found = np.flatnonzero((tiles[i] == wanted).all(axis=1))
            choices[DECISIONS * i + D_TILE] = (
                found[0] if len(found) else self.fallback[DECISIONS * i + D_TILE]
            )
        return choices if self.cost_of(choices) > 0 else self.fallback

    def labels(self, decision: int) -> list[str]:
        layer, which = divmod(decision, DECISIONS)
        name = self.workload.layers[layer].name
        if which == 0:
            return [f"{name}: weights {label}" for label in _WEIGHT_LABELS]
        if which == 1:
            return [f"{name}: output to DRAM", f"{name}: output on chip"][: self.sizes[decision]]
        tiles = self.tables[6][layer, : self.sizes[decision]]
        return [f"{name}: {b} blocks x {r} rows, {ORDER_NAMES[o]} outside" for b, r, o in tiles]

    def kernel(self) -> tuple[Any, NetworkTables]:
        """Returns the compiled cost function and its tables."""
        return cycles_of_choices, self.tables

    def cost_of(self, choices: Choices) -> int:
        return int(cycles_of_choices(*self.tables, choices))

    def allowed(self, choices: Choices, decision: int) -> npt.NDArray[np.bool_]:
        trial = self.fallback.copy()
        trial[:decision] = choices[:decision]
        out = np.empty(self.sizes[decision], dtype=np.bool_)
        for k in range(len(out)):
            trial[decision] = k
            out[k] = bram36_of_choices(*self.tables, trial) <= self.pool_bram36
        return out

    def decode(self, choices: Choices) -> TilingSolution:
        return TilingSolution(decisions_of(self.workload, self.tables, choices))

    def encode(self, solution: TilingSolution) -> Choices:
        """Returns the choices of a solution whose tiles are among the candidates.

        Raises:
            IllegalSolutionError: a tile is not among them, or a layer is missing.
        """
        choices = np.empty(len(self.fallback), dtype=np.int64)
        for i, decision in enumerate(self._in_order(solution)):
            tiles = self.tables[6][i, : self.sizes[DECISIONS * i + 2]]
            wanted = (decision.tile_blocks, decision.tile_rows, ORDER_NAMES.index(decision.outer_loop))
            found = np.flatnonzero((tiles == np.array(wanted)).all(axis=1))
            if not len(found):
                raise IllegalSolutionError(
                    f"layer {decision.layer!r}: tile {wanted[:2]} with {decision.outer_loop} outside is not Pareto-optimal"
                )
            weights = decision.prefetch_lead + WEIGHTS_PINNED * decision.weights_pinned
            choices[DECISIONS * i : DECISIONS * i + 3] = weights, int(decision.output_on_chip), found[0]
        return choices

    def _in_order(self, solution: TilingSolution) -> tuple[LayerDecision, ...]:
        want = [layer.name for layer in self.workload.layers]
        got = [d.layer for d in solution.decisions]
        if got != want:
            raise IllegalSolutionError(
                f"tiling {self.name!r}: decisions are for layers {got}, needed are {want}, in this order"
            )
        for decision, outputs in zip(solution.decisions, self.sizes[1::DECISIONS], strict=True):
            most = 1 if decision.weights_pinned else 2
            if not 0 <= decision.prefetch_lead <= most:
                raise IllegalSolutionError(
                    f"layer {decision.layer!r}: prefetch_lead is {decision.prefetch_lead}, allowed 0..{most}"
                )
            if decision.output_on_chip and outputs == 1:
                raise IllegalSolutionError(
                    f"layer {decision.layer!r}: no layer reads its output, which must go to DRAM"
                )
        return solution.decisions

    def _tables_of(self, solution: TilingSolution) -> tuple[NetworkTables, Choices]:
        """Returns tables whose tile 0 is the solution's, so that tiles outside the candidates are scored too."""
        tiles = np.array(
            [
                [[d.tile_blocks, d.tile_rows, ORDER_NAMES.index(d.outer_loop)]]
                for d in self._in_order(solution)
            ],
            dtype=np.int64,
        )
        choices = np.zeros(len(self.fallback), dtype=np.int64)
        for i, d in enumerate(solution.decisions):
            weights = d.prefetch_lead + WEIGHTS_PINNED * d.weights_pinned
            choices[DECISIONS * i : DECISIONS * i + 2] = (
                weights,
                OUTPUT_CHIP if d.output_on_chip else OUTPUT_DRAM,
            )
        layers, engines, mappings, assignment, widths, geometries, _, numbers = self.tables
        return (layers, engines, mappings, assignment, widths, geometries, tiles, numbers), choices

    def schedule(self, solution: TilingSolution) -> Schedule:
        """Returns the schedule of a solution: addresses and events."""
        return build_schedule(self.workload, *self._tables_of(solution))[0]

    def sized_datapath(self, solution: TilingSolution) -> Datapath:
        """Returns the datapath with the memory depths that a solution needs."""
        tables, choices = self._tables_of(solution)
        return with_memories(
            self.datapath, self.workload, tables, build_schedule(self.workload, tables, choices)[1]
        )

    def evaluate(self, solution: TilingSolution) -> Cost:
        tables, choices = self._tables_of(solution)
        value = int(cycles_of_choices(*tables, choices))
        bram36 = int(bram36_of_choices(*tables, choices))
        if value < 0:
            raise IllegalSolutionError(
                f"tiling {self.name!r}: needs {bram36} block RAMs, the pool has {self.pool_bram36}"
            )
        load, store = total_traffic(expand(*tables, choices))
        return Cost(value, self.unit, {"bram36": bram36, "loaded_bits": int(load), "stored_bits": int(store)})

    def check(self, solution: TilingSolution) -> None:
        self._in_order(solution)
        sized = self.sized_datapath(solution)
        check_schedule(self.workload, sized, self._part, self.schedule(solution), self.pool_bram36)

    def bound(self) -> Bound:
        """Returns the larger of the busiest engine's cycles and the compulsory DRAM traffic's."""
        _, engines, mappings, assignment, *_ = self.tables
        compute = int(compute_bound(mappings, engines, assignment))
        dram = -(-self._compulsory_bits() // self.datapath.dram_bits_per_cycle)
        if compute >= dram:
            return Bound(compute, f"the busiest engine computes {compute} cycles a round, one tile a layer")
        return Bound(
            dram, f"image and weights beyond the pool, or outputs, take {dram} cycles on the DRAM port"
        )

    def _compulsory_bits(self) -> int:
        """Returns the bits that a round must load, or those that it must store if these are more."""
        layers, mappings, plans = self.tables[0], self.tables[2], expand(*self.tables, self.fallback)
        image = outputs = weights = 0
        for layer, mapping, plan in zip(layers, mappings, plans, strict=True):
            if layer[L_INPUT] < 0:
                image += int(input_rows(plan, 0, plan[P_ROWS]) * plan[P_IN_BITS_PER_ROW])
            if layer[L_IS_RESULT]:
                outputs += int(plan[P_STORED_H] * plan[P_OUT_BITS_PER_ROW])
            words = mapping[M_BLOCKS] * mapping[M_WEIGHT_WORDS_PER_BLOCK]  # their beats may be wider
            weights += int(words * mapping[M_WEIGHT_WORD_BITS])
        pool = self.pool_bram36 * _BLOCK_BITS[self._part.family]
        return max(image + max(0, weights - pool), outputs)

    def cp_model(self) -> CpProblem:
        """Returns the problem as a CP-SAT model, a relaxation; see `foldwright.envs.tiling.model`."""
        from foldwright.envs.tiling.model import tiling_model

        return tiling_model(self)
