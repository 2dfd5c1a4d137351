"""Exact search over bits per layer: branch and bound on the options, the best bound first.

A node leaves each layer a set of options, at first all that the accuracy budget allows in the best of cases. Its bound is
that of plain allocation for a *relaxed* workload, which no workload of the node beats:

- activations have the fewest bits that the producer's options leave, accumulators and results follow;
- weights have the fewest XNOR planes of any option: as odd levels, since those take an AND engine one plane more. Two's
  complement takes both engines as many planes as it has bits and forces AND, so `b` bits of it count as `b - 1` odd ones; a
  layer that has nothing else keeps it. So does a ternary one, but where another layer may yet force AND: its two planes have one
  weight on XNOR and two on AND, which has fewer idle steps, so it counts as binary there. Engines cost the same LUTs either
  way, but only those without signed weights may be of kind dsp, which lowers a bound at most;
- results of a layer that is not decided yet, or one of whose readers is not, are written in one word.

The last point is needed because time does *not* always fall with the bits: a reader that gets by with fewer planes may hold
fewer of them in a word, and its producer then writes more words. All else of a block's time, `planes * groups * words + idle`
steps (`foldwright.accel.mapping`), rises with planes and bits on any one engine: a plane less saves at least `groups` steps and
adds at most `groups - 1` idle ones. Words of more planes than some activation has bits leave the space with it, but then an
engine of words half as wide does the same for fewer LUTs. A window of packed taps may take one cycle more; so while the
weights of the image's readers are open, which are decided first, a bound is one cycle less.

Before that, engines for bits and bits for engines are found by turns (`bits_model`), for a good solution at once.
A node without choice is a leaf: its workload's own bound counts, and plain allocation's exact search finds engines for it.
Leaves are searched in the order of their bounds until none that is left could be better, or the stop says so. What is proven
is the least bound of all nodes that are open and of all leaves whose engines do not reach their own bound. In the end more
accurate options are taken where that is no slower.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from foldwright.accel.bit_options import BitOption, Sets, with_bits
from foldwright.accel.workload import IMAGE, Layer, ResultKind, WeightKind, Workload
from foldwright.envs.allocation.bits_model import bits_for_design, fewest_bit_macs
from foldwright.envs.problem import INFEASIBLE, Bound, Choices
from foldwright.errors import InfeasibleError

if TYPE_CHECKING:
    from foldwright.envs.allocation.bits import BitsProblem
    from foldwright.envs.allocation.problem import AllocationProblem

__all__ = ["BitsSearch", "Leaf", "relaxed_workload"]

_SIMULATED = 300
"""Designs that are scored at most for the bits of one leaf."""
_CYCLE = 1000
_bounds: dict[tuple[object, ...], int] = {}


@dataclass(frozen=True, slots=True)
class Leaf:
    """Decided bits with the best engines found for them; `cost` is in the problem's unit."""

    picks: tuple[int, ...]
    bound: int
    cost: int
    choices: tuple[int, ...]


def relaxed_workload(problem: BitsProblem, sets: Sets) -> Workload:
    """Returns the workload of a node: its own where nothing is left to decide, else one that none of the node beats."""
    options = [[layer[k] for k in kept] for layer, kept in zip(problem.options.layers, sets, strict=True)]
    template = problem.options.workload
    if _is_decided(sets):
        return with_bits(template, [kept[0] for kept in options])
    is_open = any(len({o.weight_kind is WeightKind.SIGNED for o in kept}) > 1 for kept in options)
    workload = with_bits(template, [_relaxed(kept, is_open) for kept in options])
    decided = [len(kept) == 1 for kept in sets]
    layers = list(workload.layers)
    for i, layer in enumerate(layers):
        known = decided[i] and all(decided[reader] for reader in workload.consumers(layer.name))
        if layer.result is not ResultKind.RAW and not known:
            layers[i] = replace(layer, code_bits=layer.search_bits, out_bits=1)
    return replace(workload, layers=tuple(layers))


def _relaxed(options: list[BitOption], is_open: bool) -> BitOption:
    """Returns an option that none of several beats; `is_open`: weights of some layer may yet force the arithmetic AND or not."""
    kinds = {(o.weight_kind, o.weight_bits) for o in options}
    if len(kinds) == 1 and not (is_open and options[0].weight_kind is WeightKind.TERNARY):
        kind, bits = options[0].weight_kind, options[0].weight_bits
    elif all(o.weight_kind is WeightKind.SIGNED for o in options):
        kind, bits = WeightKind.SIGNED, min(o.weight_bits for o in options)
    else:
        bits = min(_odd_bits(o) for o in options)
        kind = WeightKind.ODD if bits > 1 else WeightKind.BINARY
    return BitOption("relaxed", kind, bits, min(o.out_bits for o in options), 0.0)


def _reads_image(layer: Layer) -> bool:
    return layer.inputs[0] == IMAGE


def _is_decided(sets: Sets) -> bool:
    return all(len(kept) == 1 for kept in sets)


def _odd_bits(option: BitOption) -> int:
    """Returns the bits of odd levels that take no engine more planes than an option does."""
    if option.weight_kind in (WeightKind.SIGNED, WeightKind.TERNARY):
        return option.weight_bits - 1
    return option.weight_bits


@contextmanager
def _briefly(problem: AllocationProblem) -> Iterator[AllocationProblem]:
    """Frees the tables of a problem's own search at once: they are large, and the two refer to each other."""
    try:
        yield problem
    finally:
        vars(problem).pop("search", None)


def _undominated(options: tuple[BitOption, ...]) -> tuple[int, ...]:
    """Returns the positions of options, of those that an engine cannot tell apart only the most accurate."""
    best: dict[tuple[object, int], int] = {}
    for k, option in enumerate(options):
        key = (option.weight_key, option.out_bits)
        if key not in best or option.drop < options[best[key]].drop:
            best[key] = k
    return tuple(best.values())


class BitsSearch:
    """The search on one instance; leaves that were searched stay in `leaves`."""

    def __init__(self, problem: BitsProblem) -> None:
        self._problem = problem
        self.leaves: list[Leaf] = []
        self.nodes_bounded = 0
        self._work = 0
        self._best: Leaf | None = None

    def bound(self) -> Bound:
        """Returns the bound of the root."""
        value = self._bound(self._root())
        return Bound(value, "the fewest bits that each layer may have alone, by allocation's own bound")

    def _root(self) -> Sets:
        root = self._narrowed(tuple(_undominated(layer) for layer in self._problem.options.layers))
        assert root is not None  # the fallback is in it
        return root

    def solve(self, stop: Callable[[int], bool]) -> tuple[Choices | None, int, str]:
        """Returns the best choices, a bound, and a status, as `WithExact.solve_exact` has it."""
        self.leaves, self._work, self._best, order = [], 0, None, count()
        self._alternate(stop)
        root = self._root()
        open_nodes = [(self._bound(root), next(order), root)]
        while open_nodes and not stop(self._work):
            value, _, sets = open_nodes[0]
            if self._best is not None and value >= self._best.cost:
                break
            heapq.heappop(open_nodes)
            if _is_decided(sets):
                self._search(tuple(kept[0] for kept in sets))
                continue
            for child in self._children(sets):
                self._work += 1
                heapq.heappush(open_nodes, (max(value, self._bound(child)), next(order), child))
        self.refine()
        return self._result(open_nodes[0][0] if open_nodes else None)

    def _alternate(self, stop: Callable[[int], bool]) -> None:
        """Finds engines for bits and bits for engines by turns, while that helps."""
        picks = fewest_bit_macs(self._problem.options, self._problem.drop_budget).picks
        while not stop(self._work):
            before = self._best
            self._search(picks)
            if self._best is None or self._best is before:
                return
            choices = np.array([*self._best.picks, *self._best.choices], dtype=np.int64)
            picks = bits_for_design(self._problem, choices)

    def refine(self, searches: int = 0) -> Leaf | None:
        """Takes more accurate options, the greatest gain first, while that is no slower; returns the best leaf.

        Args:
            searches: how often other engines may be searched for where the best ones would be slower.
        """
        most = searches
        while self._best is not None:
            before = self._best
            choices = np.array(before.choices, dtype=np.int64)
            for _, picks in sorted(self._more_accurate(before.picks)):
                cost = self._cost_of(picks, choices)
                if 0 < cost <= before.cost:
                    self._best = Leaf(picks, min(before.bound, cost), cost, before.choices)
                    self.leaves.append(self._best)
                    break
            else:
                for _, picks in sorted(self._more_accurate(before.picks)):
                    if most == 0 or self._best is not before:
                        break
                    if self._bound(tuple((k,) for k in picks)) <= before.cost:
                        most -= 1
                        self._search(picks, or_equal=True)
            if self._best is before:
                break
        return self._best

    def _cost_of(self, picks: tuple[int, ...], choices: Choices) -> int:
        try:
            return self._problem.inner(picks).cost_of(choices)
        except InfeasibleError:
            return INFEASIBLE

    def _more_accurate(self, picks: tuple[int, ...]) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Yields (drop, picks) of all that differ in one layer's option, or what is tied to it, and lose less."""
        options = self._problem.options
        now = options.drop_of(picks)
        for i, layer in enumerate(options.layers):
            for k in range(len(layer)):
                other = options.aligned((*picks[:i], k, *picks[i + 1 :]))
                if other is not None and options.drop_of(other) < now:
                    yield options.drop_of(other), other

    def _result(self, still_open: int | None) -> tuple[Choices | None, int, str]:
        known = [leaf.bound for leaf in self.leaves if leaf.bound < leaf.cost]
        known += [] if still_open is None else [still_open]
        best = self._best
        if best is None:
            return None, min(known, default=self.bound().value), "unknown"
        bound = min([*known, best.cost])
        choices = np.array([*best.picks, *best.choices], dtype=np.int64)
        return choices, bound, "optimal" if best.cost == bound else "feasible"

    def candidates(self, most: int) -> list[Leaf]:
        """Returns bits that are worth a search for schedules: by turns the best by cost and those of the lowest bounds.

        Among equals the more accurate are the better ones.
        """
        drop = self._problem.options.drop_of
        by_cost = sorted(self.leaves, key=lambda leaf: (leaf.cost, drop(leaf.picks)))
        by_bound = sorted(self.leaves, key=lambda leaf: (leaf.bound, drop(leaf.picks)))
        mixed = [leaf for pair in zip(by_cost, by_bound, strict=True) for leaf in pair]
        return list({leaf.picks: leaf for leaf in mixed}.values())[:most]

    def _search(self, picks: tuple[int, ...], or_equal: bool = False) -> None:
        """Looks for the best engines for decided bits, unless that was done before; `or_equal`: to be the best is enough."""
        if any(leaf.picks == picks for leaf in self.leaves):
            return

        scored = 0

        def enough(simulated: int) -> bool:
            nonlocal scored
            scored = simulated
            return simulated >= _SIMULATED

        with _briefly(self._problem.allocation(self._problem.options.workload_of(picks))) as inner:
            choices, bound, _ = inner.solve_exact(enough)
            self._work += 1 + scored
            if choices is None:
                return
            leaf = Leaf(picks, bound, inner.cost_of(choices), tuple(int(c) for c in choices))
        self.leaves.append(leaf)
        if self._best is None or leaf.cost < self._best.cost + or_equal:
            self._best = leaf

    def _bound(self, sets: Sets) -> int:
        """Returns a lower bound on the cost of every solution of a node; 0 where allocation knows none."""
        problem, workload = self._problem, relaxed_workload(self._problem, sets)
        key = (
            workload.content_hash(), problem.part, problem.budget_lut_percent, problem.dram_bits_per_cycle,
            problem.max_engines, problem.technology,
        )  # fmt: skip
        if key not in _bounds:
            self.nodes_bounded += 1
            try:
                with _briefly(problem.allocation(workload)) as inner:
                    _bounds[key] = inner.bound().value
            except InfeasibleError:
                _bounds[key] = 0
        return max(0, _bounds[key] - (0 if self._knows_first_weights(sets) else _CYCLE))

    def _knows_first_weights(self, sets: Sets) -> bool:
        layers = zip(self._problem.options.workload.layers, self._problem.options.layers, sets, strict=True)
        return all(
            len({options[k].weight_key for k in kept}) == 1
            for layer, options, kept in layers
            if _reads_image(layer)
        )

    def _children(self, sets: Sets) -> Iterator[Sets]:
        """Yields the nodes that a node splits into: its first open layer by weights, or by bits of results."""
        layer = next(i for i in self._order if len(sets[i]) > 1)
        options = self._problem.options.layers[layer]
        groups: dict[object, list[int]] = {}
        for k in sets[layer]:
            groups.setdefault(options[k].weight_key, []).append(k)
        if len(groups) == 1:
            groups = {k: [k] for k in sets[layer]}
        for kept in groups.values():
            child = self._narrowed((*sets[:layer], tuple(kept), *sets[layer + 1 :]))
            if child is not None:
                yield child

    @property
    def _order(self) -> list[int]:
        """The layers in the order in which they are decided: who reads the image, then the most work."""
        layers = self._problem.options.workload.layers
        return sorted(range(len(layers)), key=lambda i: (not _reads_image(layers[i]), -layers[i].macs))

    def _narrowed(self, sets: Sets) -> Sets | None:
        """Returns the options with which some choice of the others is within the accuracy budget; None without any."""
        options, budget, out = self._problem.options, self._problem.drop_budget, []
        for i, kept in enumerate(sets):
            trials = {k: options.completed((*sets[:i], (k,), *sets[i + 1 :])) for k in kept}
            out.append(tuple(k for k, t in trials.items() if t is not None and options.drop_of(t) <= budget))
        return tuple(out) if all(out) else None
