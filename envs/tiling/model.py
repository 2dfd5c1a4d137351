"""The tiling problem as a CP-SAT model: a relaxation of the simulator, so its bound is a bound.

One Boolean per layer and (weights, input on chip, output on chip, tile). The model keeps:

- per slot of an engine, the sum of live words (no fragmentation) decides the depth of each memory, and the exact
  staircase from depth to block RAMs, summed over all memories, stays within the pool;
- an engine's round lasts at least the sum of its layers' spans: its tiles, and, where nothing is loaded ahead, the first
  load of the layer or all of its loads, whichever is longer;
- each channel of the DRAM port is busy for at least all its bits over its width.

It leaves out stalls between tiles and between loads and stores, and the waits of engines for each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import block_rams_of
from foldwright.accel.evaluate import DECISIONS, WEIGHTS_PINNED, expand
from foldwright.accel.memory import I_ENGINE, I_LAYER, I_MASK, I_MEMORY, I_WORDS, live_items
from foldwright.accel.repeats import S_INPUT_BITS, S_WEIGHT_BITS
from foldwright.accel.simulate import DRAM_LATENCY_CYCLES
from foldwright.accel.tables import L_INPUT, L_RESIDUAL
from foldwright.accel.tile_table import tile_table
from foldwright.accel.tiles import layer_cycles, traffic_bits
from foldwright.envs.cp_problem import CpProblem

if TYPE_CHECKING:
    from foldwright.envs.tiling.problem import TilingProblem

__all__ = ["tiling_model"]

IntArray = npt.NDArray[np.int64]


@dataclass
class _Option:
    """One way to run a layer: its choices, bits, span, and the words it holds by (engine, memory, slot)."""

    choices: tuple[int, int, int]
    input_on_chip: bool
    loaded_bits: int
    stored_bits: int
    span_cycles: int
    words: dict[tuple[int, int, int], int] = field(default_factory=dict)


def _options(problem: TilingProblem, i: int) -> list[_Option]:
    """Returns every distinct way to run layer `i`, with the input's residency as the producer may choose it."""
    layers = problem.tables[0]
    sources = [int(s) for s in (layers[i, L_INPUT], layers[i, L_RESIDUAL]) if s >= 0]
    on_chip_choices = (False, True) if sources else (False,)
    sizes = problem.sizes[DECISIONS * i : DECISIONS * i + DECISIONS]
    out = []
    for on_chip in on_chip_choices:
        choices = problem.fallback.copy()
        for source in sources:
            choices[DECISIONS * source + 1] = int(on_chip)
        for mine in product(*(range(int(s)) for s in sizes)):
            choices[DECISIONS * i : DECISIONS * i + DECISIONS] = mine
            out.append(_option(problem, i, mine, on_chip, choices))
    return _undominated(out)


def _option(
    problem: TilingProblem, i: int, mine: tuple[int, ...], on_chip: bool, choices: IntArray
) -> _Option:
    layers, engines, mappings, assignment, _, _, _, numbers = problem.tables
    plans = expand(*problem.tables, choices)
    load, store = (int(b) for b in traffic_bits(plans[i]))
    span = int(layer_cycles(plans[i]))
    option = _Option((mine[0], mine[1], mine[2]), on_chip, load, store, span)
    if mine[0] in (0, WEIGHTS_PINNED):
        only = np.full(len(layers), -1, dtype=np.int64)
        only[i] = 0
        first = tile_table(plans, only, 0)[0]
        bits = int(first[S_WEIGHT_BITS] + first[S_INPUT_BITS])
        exposed = -(-bits // int(numbers[1])) + DRAM_LATENCY_CYCLES if bits else 0
        option.span_cycles = max(option.span_cycles + exposed, load // int(numbers[1]))
    items = live_items(layers, engines, mappings, assignment, numbers[0], plans)
    for item in items[items[:, I_LAYER] == i]:
        for slot in range(int(item[I_MASK]).bit_length()):
            if int(item[I_MASK]) >> slot & 1:
                key = (int(item[I_ENGINE]), int(item[I_MEMORY]), slot)
                option.words[key] = option.words.get(key, 0) + int(item[I_WORDS])
    return option


def _undominated(options: list[_Option]) -> list[_Option]:
    """Drops options that another of the same residency beats in bits, span and every word count."""
    kept: list[_Option] = []
    for a in sorted(
        options, key=lambda o: (o.span_cycles, o.loaded_bits + o.stored_bits, sum(o.words.values()))
    ):
        same = (b for b in kept if (b.choices[1], b.input_on_chip) == (a.choices[1], a.input_on_chip))
        if not any(_beats(b, a) for b in same):
            kept.append(a)
    return kept


def _beats(b: _Option, a: _Option) -> bool:
    if b.loaded_bits > a.loaded_bits or b.stored_bits > a.stored_bits or b.span_cycles > a.span_cycles:
        return False
    return all(words <= a.words.get(key, 0) for key, words in b.words.items())


def tiling_model(problem: TilingProblem) -> CpProblem:
    """Returns the model of a tiling instance; see the module's docstring."""
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    options = [_options(problem, i) for i in range(len(problem.workload.layers))]
    picks = [[model.new_bool_var("") for _ in group] for group in options]
    for group in picks:
        model.add_exactly_one(group)
    decisions = _decisions(model, problem, options, picks)
    _residency(model, problem, options, picks, decisions)
    _pool(model, problem, options, picks)
    objective = _objective(model, problem, options, picks)
    model.minimize(objective)
    note = "memory without fragmentation, no stalls between tiles"
    return CpProblem(model, tuple(decisions), objective, is_relaxation=True, note=note)


def _decisions(
    model: Any, problem: TilingProblem, options: list[list[_Option]], picks: list[list[Any]]
) -> list[Any]:
    out = []
    for i, (group, literals) in enumerate(zip(options, picks, strict=True)):
        for which in range(DECISIONS):
            variable = model.new_int_var(0, int(problem.sizes[DECISIONS * i + which]) - 1, "")
            model.add(variable == sum(o.choices[which] * p for o, p in zip(group, literals, strict=True)))
            out.append(variable)
    return out


def _residency(
    model: Any,
    problem: TilingProblem,
    options: list[list[_Option]],
    picks: list[list[Any]],
    decisions: list[Any],
) -> None:
    """Ties the input's residency that an option assumes to the producer's decision.

    With a residual, an option that assumes both inputs on chip is the cheaper one and stays allowed if either is.
    """
    layers = problem.tables[0]
    for i, (group, literals) in enumerate(zip(options, picks, strict=True)):
        sources = [int(s) for s in (layers[i, L_INPUT], layers[i, L_RESIDUAL]) if s >= 0]
        on_chip = [p for o, p in zip(group, literals, strict=True) if o.input_on_chip]
        if len(sources) == 1:
            model.add(sum(on_chip) == decisions[DECISIONS * sources[0] + 1])
        elif sources:
            model.add(sum(on_chip) <= sum(decisions[DECISIONS * s + 1] for s in sources))


def _pool(model: Any, problem: TilingProblem, options: list[list[_Option]], picks: list[list[Any]]) -> None:
    widths, geometries, pool = problem.tables[4], problem.tables[5], problem.pool_bram36
    live: dict[tuple[int, int, int], list[Any]] = {}
    for group, literals in zip(options, picks, strict=True):
        for option, literal in zip(group, literals, strict=True):
            for key, words in option.words.items():
                live.setdefault(key, []).append(words * literal)
    blocks = []
    for e, memory in sorted({key[:2] for key in live}):
        steps = _staircase(int(widths[e, memory]), geometries, pool)
        level = [model.new_bool_var("") for _ in steps]
        model.add_exactly_one(level)
        depth = sum(d * v for (d, _), v in zip(steps, level, strict=True))
        for key in (k for k in sorted(live) if k[:2] == (e, memory)):
            model.add(sum(live[key]) <= depth)
        blocks.append(sum(b * v for (_, b), v in zip(steps, level, strict=True)))
    model.add(sum(blocks) <= pool)


def _staircase(width: int, geometries: IntArray, pool: int) -> list[tuple[int, int]]:
    """Returns (greatest depth, block RAMs) of every step of a memory's size, from nothing up to the pool."""
    depths = sorted({int(d) * k for _, d, _ in geometries for k in range(1, 2 * pool + 1)})
    steps = {0: 0}
    for depth in depths:
        blocks = int(block_rams_of(width, depth, geometries))
        if blocks > pool:
            break
        steps[blocks] = depth
    return [(depth, blocks) for blocks, depth in steps.items()]


def _objective(
    model: Any, problem: TilingProblem, options: list[list[_Option]], picks: list[list[Any]]
) -> Any:
    layers, engines, _, assignment, *_, numbers = problem.tables
    pairs = [list(zip(group, literals, strict=True)) for group, literals in zip(options, picks, strict=True)]
    worst = sum(max(o.span_cycles for o in group) for group in options)
    moved = sum(max(o.loaded_bits + o.stored_bits for o in group) for group in options)
    worst += moved // int(numbers[1]) + 10_000
    cycles = model.new_int_var(0, worst, "cycles")
    for e in range(len(engines)):
        mine = [i for i in range(len(layers)) if assignment[i] == e]
        model.add(cycles >= sum(o.span_cycles * p for i in mine for o, p in pairs[i]))
    for bits in (
        sum(o.loaded_bits * p for group in pairs for o, p in group),
        sum(o.stored_bits * p for group in pairs for o, p in group),
    ):
        model.add(int(numbers[1]) * cycles >= bits)
    return cycles
