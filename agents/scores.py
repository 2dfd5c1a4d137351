"""What a bench says: a row per instance, solver and budget over all seeds, and a ranking over instances.

The reference of an instance is the best cost known: that of the table of best known costs or of any run here. With budgets in
CPU seconds a run counts by what it knew when its budget was spent, not by what it found later. A run that failed or
found nothing counts as infinitely bad, and the row says how many did. The median of costs is the lower one of the two in the
middle, so it is always a cost that was reached.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from foldwright.agents.bench import Run
from foldwright.agents.best_known import best_known
from foldwright.agents.integrals import Integrals, bound_at, cost_at, integrals
from foldwright.agents.result import Result
from foldwright.agents.store import StoredRun
from foldwright.agents.suite import Budget, fallback_cost, instance_hash, load_problem

__all__ = ["InstanceFacts", "Rank", "Row", "facts_of", "median_cost", "ranks_of", "rows_of"]

Done = Sequence[tuple[Run, StoredRun]]


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """What is known of an instance.

    Attributes:
        reference: The best cost known; the fallback's where nothing better is.
        reference_from: "table" or "this bench".
        bound: The best bound known.
        fallback: The cost before any search.
    """

    instance: str
    unit: str
    reference: int
    reference_from: str
    bound: int
    fallback: int


@dataclass(frozen=True, slots=True)
class Row:
    """One solver with one budget on one instance over all seeds; None stands for what does not exist.

    Attributes:
        failed: Runs that ended by an error; `errors` has each message once.
        unsolved: Runs that ended without a solution.
        gap: Median cost over the best known, less one.
        bound_gap: Median cost over the best bound known, less one.
        proven: Runs that had proven their cost optimal within the budget.
        primal, dual, gap_integral: Means over the seeds, in cost times CPU seconds.
        primal_share, dual_share, gap_share: The same, divided by budget times best known cost.
        training_cpu_s: CPU seconds that a policy's training took; None for solvers that are not trained.
    """

    instance: str
    unit: str
    solver: str
    budget_kind: str
    budget: float
    seeds: int
    failed: int
    unsolved: int
    cost_median: int | None
    cost_least: int | None
    cost_greatest: int | None
    bound: int | None
    gap: float | None
    bound_gap: float | None
    proven: int
    primal: float | None
    dual: float | None
    gap_integral: float | None
    primal_share: float | None
    dual_share: float | None
    gap_share: float | None
    cpu_s_median: float | None
    cpu_s_most: float | None
    warmup_s: float
    training_cpu_s: float | None
    evaluations_median: int | None
    reproducible: bool
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rank:
    """One solver with one budget over all instances.

    Attributes:
        mean_gap: Geometric mean over instances of median cost over best known, less one; None where an instance is unsolved.
        first: Instances on which no solver of the suite had a lower median at this budget.
    """

    solver: str
    budget_kind: str
    budget: float
    mean_gap: float | None
    first: int
    instances: int


def facts_of(done: Done) -> dict[str, InstanceFacts]:
    """Returns what is known of each instance, in order."""
    out = {}
    for instance in dict.fromkeys(run.instance for run, _ in done):
        problem = load_problem(instance)
        results = [s.result for run, s in done if run.instance == instance and s.result is not None]
        known = best_known(instance_hash(instance))
        fallback = fallback_cost(instance)
        here = min([r.cost for r in results if r.has_solution], default=fallback)
        from_table = known is not None and known.cost <= here
        reference = known.cost if known is not None and from_table else min(here, fallback)
        bounds = [problem.bound().value, *(r.bound for r in results), *([known.bound] if known else [])]
        out[instance] = InstanceFacts(
            instance, problem.unit, reference, "table" if from_table else "this bench", max(bounds), fallback
        )
    return out


def median_cost(costs: Sequence[float]) -> float:
    """Returns the lower median; infinity counts like any cost."""
    return statistics.median_low(costs)


@dataclass(frozen=True, slots=True)
class _Reached:
    """What a run had reached when its budget was spent; the cost is infinite without a solution."""

    cost: float
    bound: int | None
    integrals: Integrals | None


def _reached(result: Result | None, budget: Budget, facts: InstanceFacts) -> _Reached:
    if result is None:
        return _Reached(math.inf, None, None)
    if budget.kind == "evaluations":
        return _Reached(result.cost if result.has_solution else math.inf, result.bound, None)
    cost = float(cost_at(result, budget.amount, facts.fallback)) if result.has_solution else math.inf
    areas = integrals(result, budget.amount, facts.fallback, facts.reference)
    return _Reached(cost, bound_at(result, budget.amount), areas)


def rows_of(done: Done, facts: dict[str, InstanceFacts]) -> list[Row]:
    """Returns a row per instance, solver and budget, in the order of the runs."""
    groups: dict[tuple[str, str, Budget], list[tuple[Run, StoredRun]]] = {}
    for run, stored in done:
        groups.setdefault((run.instance, run.solver.label, run.budget), []).append((run, stored))
    return [_row(facts[instance], budget, group) for (instance, _, budget), group in groups.items()]


def _row(facts: InstanceFacts, budget: Budget, group: Done) -> Row:
    stored = [s for _, s in group]
    results = [s.result for s in stored if s.result is not None]
    reached = [_reached(s.result, budget, facts) for s in stored]
    costs = [r.cost for r in reached]
    median, bounds = median_cost(costs), [r.bound for r in reached if r.bound is not None]
    areas = _mean_areas(reached)
    primal, dual, gap_integral = _three(areas)
    shares = areas.relative(facts.reference, budget.amount) if areas and facts.reference > 0 else None
    primal_share, dual_share, gap_share = _three(shares)
    seconds = [r.cpu_seconds for r in results]
    solver = group[0][0].solver
    return Row(
        instance=facts.instance,
        unit=facts.unit,
        solver=solver.label,
        budget_kind=budget.kind,
        budget=budget.amount,
        seeds=len(stored),
        failed=len(stored) - len(results),
        unsolved=sum(not r.has_solution for r in results),
        cost_median=_whole(median),
        cost_least=_whole(min(costs)),
        cost_greatest=_whole(max(costs)),
        bound=max(bounds, default=None),
        gap=_excess(median, facts.reference),
        bound_gap=_excess(median, facts.bound),
        proven=sum(r.cost == r.bound for r in reached),
        primal=primal,
        dual=dual,
        gap_integral=gap_integral,
        primal_share=primal_share,
        dual_share=dual_share,
        gap_share=gap_share,
        cpu_s_median=round(statistics.median(seconds), 4) if seconds else None,
        cpu_s_most=round(max(seconds), 4) if seconds else None,
        warmup_s=round(sum(s.warmup_seconds for s in stored), 3),
        training_cpu_s=solver.training_cpu_seconds,
        evaluations_median=statistics.median_low(r.iterations for r in results) if results else None,
        reproducible=bool(results) and all(r.reproducible for r in results),
        errors=tuple(dict.fromkeys(s.error for s in stored if s.error)),
    )


def _mean_areas(reached: Sequence[_Reached]) -> Integrals | None:
    """Returns the mean integrals of the runs; None where one has none, since a mean of the others would flatter."""
    areas = [r.integrals for r in reached if r.integrals is not None and r.cost < math.inf]
    if len(areas) < len(reached):
        return None
    return Integrals(statistics.fmean(a.primal for a in areas), statistics.fmean(a.dual for a in areas))


def _three(areas: Integrals | None) -> tuple[float | None, float | None, float | None]:
    if areas is None:
        return None, None, None
    return round(areas.primal, 6), round(areas.dual, 6), round(areas.gap, 6)


def _whole(cost: float) -> int | None:
    return int(cost) if cost < math.inf else None


def _excess(cost: float, over: int) -> float | None:
    return round(cost / over - 1, 6) if cost < math.inf and over > 0 else None


def ranks_of(rows: Sequence[Row]) -> list[Rank]:
    """Returns a rank per budget and solver, the least mean gap of each budget first."""
    groups: dict[tuple[str, float, str], list[Row]] = {}
    best: dict[tuple[str, float], float] = {}
    for row in rows:
        groups.setdefault((row.budget_kind, row.budget, row.solver), []).append(row)
        if row.cost_median is not None:
            place = (row.instance, row.budget)
            best[place] = min(best.get(place, math.inf), row.cost_median)
    ranks = [
        Rank(solver, kind, budget, _mean_gap(group), _firsts(group, best), len(group))
        for (kind, budget, solver), group in groups.items()
    ]
    return sorted(ranks, key=lambda r: (r.budget, math.inf if r.mean_gap is None else r.mean_gap, r.solver))


def _mean_gap(rows: Sequence[Row]) -> float | None:
    gaps = [row.gap for row in rows if row.gap is not None]
    return round(statistics.geometric_mean(1 + g for g in gaps) - 1, 6) if len(gaps) == len(rows) else None


def _firsts(rows: Sequence[Row], best: dict[tuple[str, float], float]) -> int:
    return sum(row.cost_median == best.get((row.instance, row.budget), math.nan) for row in rows)
