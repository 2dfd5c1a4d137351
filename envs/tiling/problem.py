"""The tiling problem: a workload on a datapath, a pool of block RAMs, and the cycles of a round to minimise.

Each layer takes three decisions, in the order of the layers: how many blocks of its weights stay on chip for good, and
whether an input from DRAM is loaded one layer ahead (an image has two copies then); whether its output stays on chip, and,
where the problem `fuses`, whether it then runs in turns with the next layer, a band of rows each
(`foldwright.accel.fusion`); and its tile and outer loop, one of the Pareto-optimal ones of `foldwright.accel.tiles`. A problem
that fuses also keeps rows of an input from DRAM for the next tile that reads them; what is built does neither. The
memories of all engines share the pool; addresses are first fit, and what is left over become places of streamed weights, at
most `weight_places` an engine, so that they are prefetched as far ahead as memory allows. The cost is what the simulator
measures, in cycles per round of `batch_frames` frames. The fallback streams everything by the smallest tile.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import block_rams_of
from foldwright.accel.datapath import Datapath
from foldwright.accel.evaluate import (
    ALL_PLACES,
    BUILT_PLACES,
    D_TILE,
    DECISIONS,
    OUTPUT_CHIP,
    OUTPUT_DRAM,
    OUTPUT_FUSED,
    bram36_of_choices,
    compute_bound,
    cycles_of_choices,
    expand,
    pinned_blocks,
    pinned_levels,
    total_traffic,
    weights_choice,
)
from foldwright.accel.fusion import may_fuse
from foldwright.accel.mapping import M_BLOCKS, M_PACKED, M_ROWS, M_WEIGHT_WORDS_PER_BLOCK
from foldwright.accel.memory import MEMORY_LINE, MEMORY_MAP, MEMORY_WEIGHT, deepest
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
from foldwright.accel.tables import L_INPUT, L_IS_RESULT, L_POOL_S
from foldwright.accel.tiles import (
    P_BANDS,
    P_BLOCKS,
    P_IN_BITS_PER_ROW,
    P_OUT_BITS_PER_ROW,
    P_ROWS,
    P_STORED_H,
    P_TILE_ROWS,
    P_WEIGHT_BITS_PER_BLOCK,
    input_rows,
)
from foldwright.accel.workload import Workload
from foldwright.envs.cp_problem import CpProblem
from foldwright.envs.problem import Bound, Choices, Cost
from foldwright.envs.tiling.outline import outline_cycles
from foldwright.envs.tiling.start import fitted_start, quick_choices, quick_tiles
from foldwright.errors import ConfigError, IllegalSolutionError, InfeasibleError
from foldwright.jsonform import STRICT
from foldwright.netlists.part import Part, load_part

__all__ = ["TilingProblem", "TilingSolution"]

_LEADS = ("", ", input 1 layer ahead")


def _output_choice(decision: LayerDecision) -> int:
    if decision.fused:
        return OUTPUT_FUSED
    return OUTPUT_CHIP if decision.output_on_chip else OUTPUT_DRAM


@dataclass(frozen=True, slots=True)
class TilingSolution:
    """The decisions of every layer."""

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.tiling-solution/2"

    decisions: tuple[LayerDecision, ...]


@dataclass(frozen=True)
class TilingProblem:
    """One instance; see the module's docstring. Raises `InfeasibleError` where even the fallback does not fit."""

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.tiling-problem/2"

    name: str
    workload: Workload
    datapath: Datapath
    pool_bram36: int
    part: str = "xc7z020"
    weight_places: int = ALL_PLACES
    fuses: bool = False

    kind: ClassVar[str] = "tiling"
    unit: ClassVar[str] = "cycles per round"

    def __post_init__(self) -> None:
        if self.weight_places < BUILT_PLACES:
            raise ConfigError(
                f"tiling {self.name!r}: weight_places is {self.weight_places}, must be at least {BUILT_PLACES}"
            )
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
        return network_tables(
            self.workload, self.datapath, self._part, self.pool_bram36, self.weight_places, self.fuses
        )

    @cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        tiles, mappings, out = self.tables[6], self.tables[2], []
        for i, layer in enumerate(self.workload.layers):
            outputs = 2 if self.workload.consumers(layer.name) else 1
            if self.fuses and outputs == 2 and may_fuse(self.tables[0], i):
                outputs += int(self.datapath.assignment[i] == self.datapath.assignment[i + 1])
            weights = len(_LEADS) * (2 + int(pinned_levels(mappings[i, M_BLOCKS])))
            out += [weights, outputs, len(np.unique(tiles[i], axis=0))]
        return np.array(out, dtype=np.int64)

    @cached_property
    def fallback(self) -> Choices:
        choices = np.zeros(DECISIONS * len(self.workload.layers), dtype=np.int64)
        choices[DECISIONS - 1 :: DECISIONS] = self.sizes[DECISIONS - 1 :: DECISIONS] - 1
        return choices

    @cached_property
    def start(self) -> Choices:
        """Returns where a search may begin: the schedule by rule, mended, and around fused layers where these may be."""
        return fitted_start(self)

    @cached_property
    def by_rule(self) -> Choices:
        """Returns the schedule by rule that allocation assumes, in this instance's tiles."""
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
            return [f"{name}: weights {label}" for label in self._weight_labels(layer)]
        if which == 1:
            outputs = ("output to DRAM", "output on chip", "fused with the next layer")
            return [f"{name}: {output}" for output in outputs[: self.sizes[decision]]]
        tiles = self.tables[6][layer, : self.sizes[decision]]
        return [f"{name}: {b} blocks x {r} rows, {ORDER_NAMES[o]} outside" for b, r, o in tiles]

    def _weight_labels(self, layer: int) -> list[str]:
        blocks, out = int(self.tables[2][layer, M_BLOCKS]), []
        for choice in range(int(self.sizes[DECISIONS * layer])):
            pinned = int(pinned_blocks(blocks, choice))
            share = {0: "streamed", blocks: "pinned"}.get(pinned, f"{pinned} of {blocks} blocks pinned")
            out.append(share + _LEADS[choice % 2])
        return out

    def kernel(self) -> tuple[Any, NetworkTables]:
        """Returns the compiled cost function and its tables."""
        return cycles_of_choices, self.tables

    def outline(self) -> tuple[Any, NetworkTables]:
        """Returns the compiled estimate of the cost and its tables; see `foldwright.envs.tiling.outline`."""
        return outline_cycles, self.tables

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
        return TilingSolution(decisions_of(self.workload, expand(*self.tables, choices)))

    def encode(self, solution: TilingSolution) -> Choices:
        """Returns the choices of a solution whose tiles are among the candidates.

        Raises:
            IllegalSolutionError: a tile is not among them, or a layer is missing.
        """
        choices = np.empty(len(self.fallback), dtype=np.int64)
        for i, decision in enumerate(self._in_order(solution)):
            tiles = self.tables[6][i, : self.sizes[DECISIONS * i + 2]].copy()
            wanted = (decision.tile_blocks, decision.tile_rows, ORDER_NAMES.index(decision.outer_loop))
            columns = 3
            if decision.fused:  # bands are as the last layer of the group says
                columns = 1
            elif i and solution.decisions[i - 1].fused:  # bands of whole windows of pooling, rows outside
                pooled = int(self.tables[0][i, L_POOL_S])
                tiles[:, 1] = np.minimum(-(-tiles[:, 1] // pooled) * pooled, self.tables[2][i, M_ROWS])
                columns = 2
            found = np.flatnonzero((tiles[:, :columns] == np.array(wanted[:columns])).all(axis=1))
            if not len(found):
                raise IllegalSolutionError(
                    f"layer {decision.layer!r}: tile {wanted[:2]} with {decision.outer_loop} outside is not Pareto-optimal"
                )
            weights = self._weights_choice(i, decision)
            choices[DECISIONS * i : DECISIONS * i + 3] = weights, _output_choice(decision), found[0]
        return choices

    def _weights_choice(self, i: int, decision: LayerDecision) -> int:
        blocks = int(self.tables[2][i, M_BLOCKS])
        return weights_choice(blocks, decision.pinned_blocks, decision.input_lead)

    def _in_order(self, solution: TilingSolution) -> tuple[LayerDecision, ...]:
        want = [layer.name for layer in self.workload.layers]
        got = [d.layer for d in solution.decisions]
        if got != want:
            raise IllegalSolutionError(
                f"tiling {self.name!r}: decisions are for layers {got}, needed are {want}, in this order"
            )
        for i, decision in enumerate(solution.decisions):
            outputs, blocks = self.sizes[DECISIONS * i + 1], int(self.tables[2][i, M_BLOCKS])
            if decision.input_lead not in (0, 1):
                raise IllegalSolutionError(
                    f"layer {decision.layer!r}: input_lead is {decision.input_lead}, allowed 0, 1"
                )
            if (
                decision.pinned_blocks + decision.streamed_blocks != blocks
                or self._weights_choice(i, decision) < 0
            ):
                allowed = sorted(
                    {int(pinned_blocks(blocks, c)) for c in range(int(self.sizes[DECISIONS * i]))}
                )
                raise IllegalSolutionError(
                    f"layer {decision.layer!r}: {decision.pinned_blocks} blocks pinned and {decision.streamed_blocks} streamed; "
                    f"it has {blocks}, of which {allowed} may be pinned"
                )
            if decision.fused and (not decision.output_on_chip or outputs < 3):
                why = (
                    "its output is said to go to DRAM"
                    if not decision.output_on_chip
                    else self._why_not_fused(i)
                )
                raise IllegalSolutionError(
                    f"layer {decision.layer!r}: cannot be fused with the next one: {why}"
                )
            if decision.output_on_chip and outputs == 1:
                raise IllegalSolutionError(
                    f"layer {decision.layer!r}: no layer reads its output, which must go to DRAM"
                )
        return solution.decisions

    def _why_not_fused(self, i: int) -> str:
        if not self.fuses:
            return "this instance has fuses = false"
        if i + 1 == len(self.workload.layers) or not self.workload.consumers(self.workload.layers[i].name):
            return "no layer reads its output"
        if self.datapath.assignment[i] != self.datapath.assignment[i + 1]:
            return "that runs on another engine"
        return "that pools windows which bands of rows would cut"

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
            choices[DECISIONS * i : DECISIONS * i + 2] = (
                self._weights_choice(i, d),
                _output_choice(d),
            )
        layers, engines, mappings, assignment, widths, geometries, _, numbers = self.tables
        tables = layers, engines, mappings, assignment, widths, geometries, tiles, numbers
        for said, plan in zip(solution.decisions, expand(*tables, choices), strict=True):
            if plan[P_BANDS] and (said.tile_rows, said.outer_loop) != (plan[P_TILE_ROWS], "rows"):
                raise IllegalSolutionError(
                    f"layer {said.layer!r}, fused with others: tile_rows is {said.tile_rows}, {said.outer_loop} outside; the "
                    f"bands of the group's last layer make it {plan[P_TILE_ROWS]}, rows outside"
                )
        return tables, choices

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
        layers, plans = self.tables[0], expand(*self.tables, self.fallback)
        image = outputs = 0
        for layer, plan in zip(layers, plans, strict=True):
            if layer[L_INPUT] < 0:
                image += int(input_rows(plan, 0, plan[P_ROWS]) * plan[P_IN_BITS_PER_ROW])
            if layer[L_IS_RESULT]:
                outputs += int(plan[P_STORED_H] * plan[P_OUT_BITS_PER_ROW])
        weights = int((plans[:, P_BLOCKS] * plans[:, P_WEIGHT_BITS_PER_BLOCK]).sum())
        return max(image + weights - self._most_pinned_bits(), outputs)

    def _most_pinned_bits(self) -> int:
        """Returns the most bits of weights that the pool can hold for good, other memories at their least.

        Whoever does not hold all of its weights needs a place for a block of them.
        """
        _, _, mappings, assignment, widths, geometries, _, numbers = self.tables
        dram_bits, best = int(numbers[1]), np.zeros(self.pool_bram36 + 1, dtype=np.int64)
        others = 0
        for e in range(len(widths)):
            mine = mappings[assignment == e]
            each = mine[:, M_WEIGHT_WORDS_PER_BLOCK]
            words, width = int((mine[:, M_BLOCKS] * each).sum()), int(widths[e, MEMORY_WEIGHT])
            if not mine[:, M_PACKED].all():  # what is not packed is read from the map
                others += int(block_rams_of(widths[e, MEMORY_MAP], 1, geometries))
            others += int(block_rams_of(widths[e, MEMORY_LINE], 1, geometries))
            depth = np.array([deepest(width, b, geometries) for b in range(self.pool_bram36 + 1)])
            held = np.where(depth >= words, words, np.maximum(0, depth - int(each.min())))
            bits = held * (-(-width // dram_bits) * dram_bits)
            best = np.array([(best[: b + 1] + bits[b::-1]).max() for b in range(len(best))])
        return int(best[max(0, self.pool_bram36 - others)])

    def cp_model(self) -> CpProblem:
        """Returns the problem as a CP-SAT model, a relaxation; see `foldwright.envs.tiling.model`."""
        from foldwright.envs.tiling.model import tiling_model

        return tiling_model(self)
