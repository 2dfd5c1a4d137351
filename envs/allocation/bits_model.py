"""Bits per layer as an integer programme: the additive part, for a known time of every layer under every option.

    minimise  max over engines of sum over their layers of time(layer, option, bits of its activations)
    so that   one option a layer, tied layers with equal bits, sum of drops <= budget

With the bit-MACs as times and one engine for all it is the programme of HAWQ-V3 (arXiv 2011.10680) with bit operations as the
objective; with the cycles on the engines of a design it finds the best bits for that design. Both give bits to search engines
for; neither is a bound on allocation, whose engines may be others. One worker and counted work: the same result always.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from foldwright.accel.mapping import M_CYCLES, M_LATENCY, M_PA, map_layers
from foldwright.accel.tables import layer_table
from foldwright.envs.allocation.space import build
from foldwright.errors import IllegalSolutionError

if TYPE_CHECKING:
    from foldwright.accel.bit_options import BitOptions
    from foldwright.envs.allocation.bits import BitsProblem
    from foldwright.envs.problem import Choices

__all__ = ["SolvedBits", "best_bits", "bits_for_design", "fewest_bit_macs"]

_DETERMINISTIC_TIME = 2.0
Time = Callable[[int, int, int], int | None]
"""Gives the time of (layer, position of its option, bits of its activations); None where an engine cannot do it."""


@dataclass(frozen=True, slots=True)
class SolvedBits:
    """The options of the best solution found, its value in the unit of the times, and a proven bound on any solution's."""

    picks: tuple[int, ...]
    value: int
    bound: int


def best_bits(options: BitOptions, drop_budget: int, engines: Sequence[int], time_of: Time) -> SolvedBits:
    """Solves the programme.

    Args:
        drop_budget: in millionths.
        engines: the engine of each layer.

    Raises:
        IllegalSolutionError: the budget, or what the engines can do, leaves no solution.
    """
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    takes = [[model.new_bool_var("") for _ in layer] for layer in options.layers]
    busy: dict[int, list[Any]] = {e: [] for e in engines}
    for layer, engine in enumerate(engines):
        model.add_exactly_one(takes[layer])
        busy[engine] += _terms(model, options, takes, layer, time_of)
    for layer, first in enumerate(options.ties):
        for bits in {o.out_bits for o in options.layers[layer]} if layer != first else ():
            model.add(_with_bits(options, takes, layer, bits) == _with_bits(options, takes, first, bits))
    drops = [
        option.drop_millionths * take
        for layer, taken in zip(options.layers, takes, strict=True)
        for option, take in zip(layer, taken, strict=True)
    ]
    model.add(sum(drops) <= drop_budget)
    most = model.new_int_var(0, 1 << 60, "")
    for terms in busy.values():
        model.add(sum(terms) <= most)
    model.minimize(most)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_deterministic_time = _DETERMINISTIC_TIME
    if solver.solve(model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        raise IllegalSolutionError("no bits per layer are within the accuracy budget on these engines")
    picks = tuple([solver.value(t) for t in taken].index(1) for taken in takes)
    return SolvedBits(picks, round(solver.objective_value), math.ceil(solver.best_objective_bound - 1e-6))


def _with_bits(options: BitOptions, takes: Sequence[Sequence[Any]], layer: int, bits: int) -> Any:
    """Returns whether a layer's results have so many bits, as a sum."""
    return sum(t for o, t in zip(options.layers[layer], takes[layer], strict=True) if o.out_bits == bits)


def _terms(
    model: Any, options: BitOptions, takes: Sequence[Sequence[Any]], layer: int, time_of: Time
) -> list[Any]:
    """Returns what a layer adds to its engine's time: a Boolean for each option and bits of activations together."""
    workload = options.workload
    source = workload.index[workload.layers[layer].inputs[0]]
    known = {o.out_bits for o in options.layers[source]} if source >= 0 else {workload.image_bits}
    pairs: dict[tuple[int, int], Any] = {}
    for k, bits in product(range(len(options.layers[layer])), sorted(known)):
        if time_of(layer, k, bits) is not None:
            pairs[k, bits] = model.new_bool_var("")
    for k, take in enumerate(takes[layer]):
        model.add(sum(v for (option, _), v in pairs.items() if option == k) == take)
    for bits in known if source >= 0 else ():
        model.add(
            sum(v for (_, b), v in pairs.items() if b == bits) == _with_bits(options, takes, source, bits)
        )
    return [time_of(layer, k, bits) * v for (k, bits), v in pairs.items()]


def fewest_bit_macs(options: BitOptions, drop_budget: int) -> SolvedBits:
    """Returns the options with the fewest bit-MACs within a budget, in millionths."""
    layers = options.workload.layers

    def bit_macs(layer: int, k: int, act_bits: int) -> int:
        return layers[layer].macs * options.layers[layer][k].weight_bits * act_bits

    return best_bits(options, drop_budget, [0] * len(layers), bit_macs)


def bits_for_design(problem: BitsProblem, choices: Choices) -> tuple[int, ...]:
    """Returns the options that are fastest on the engines of complete choices.

    Layers keep their engines; arithmetic and the planes a word follow from the options. What a layer's producer takes more
    because of it is left out.
    """
    options, n = problem.options, problem.layer_count
    picks, engine_choices = problem.picks_of(choices), choices[n:]
    assert picks is not None
    workload = options.workload
    known: dict[tuple[int, int, int], int | None] = {}

    def cycles(layer: int, k: int, act_bits: int) -> int | None:
        if (layer, k, act_bits) not in known:
            trial = list(picks)
            source = workload.index[workload.layers[layer].inputs[0]]
            if source >= 0:
                trial[source] = next(
                    j for j, o in enumerate(options.layers[source]) if o.out_bits == act_bits
                )
            trial[layer] = k
            table = layer_table(options.workload_of(trial))
            engines, _, assignment, batch = build(table, problem.max_engines, engine_choices)
            row = map_layers(table, engines, assignment, batch)[layer]
            known[layer, k, act_bits] = int(row[M_CYCLES] + row[M_LATENCY]) if row[M_PA] else None
        return known[layer, k, act_bits]

    _, _, assignment, _ = build(layer_table(options.workload_of(picks)), problem.max_engines, engine_choices)
    return best_bits(options, problem.drop_budget, np.asarray(assignment).tolist(), cycles).picks
