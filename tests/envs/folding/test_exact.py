"""The exact search of chains: the optimum by hand, by trying everything, by CP-SAT; bounds below it; stops and limits obeyed."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import numpy.typing as npt
import pytest
from ortools.sat.python import cp_model

from foldwright.accel.folding_import import read_folding_table
from foldwright.agents.registry import SOLVERS
from foldwright.agents.result import Status
from foldwright.agents.stop import CpuSeconds, DeterministicTime, Evaluations
from foldwright.envs.folding import exact
from foldwright.envs.folding.chain import chain_of
from foldwright.envs.folding.exact import ChainSearch, Stopped
from foldwright.envs.folding.front import pareto_front
from foldwright.envs.folding.labels import MOST_USED, _thin
from foldwright.envs.folding.limits import smallest_budgets
from foldwright.envs.folding.problem import FoldingProblem
from foldwright.envs.folding.relax import NEVER, SCALE, dual_weights
from foldwright.errors import ConfigError, InfeasibleError
from tests.envs.folding.chains import BY_HAND, Totals, every_folding, random_table
from tests.support import shared

SEEDS = range(12)


def never(work: int) -> bool:
    return False


def caps_of(seed: int, foldings: list[tuple[tuple[int, ...], Totals]]) -> tuple[int, int, int]:
    """Returns budgets that some foldings keep: those of one of them, loosened a little."""
    rng = np.random.default_rng(seed)
    _, (_, lut, bram18, dsp) = foldings[rng.integers(len(foldings))]
    return lut + int(rng.integers(0, 12)), bram18 + int(rng.integers(0, 2)), dsp


def test_the_chain_solved_by_hand() -> None:
    search, most = ChainSearch(chain_of(BY_HAND)), 10**6
    assert search.levels.tolist() == [50, 100]

    def least(goal: int, caps: tuple[int, int, int], cycles: int = most) -> tuple[int, int, int, int] | None:
        found = search.least(goal, np.array(caps), cycles, never)
        return None if found is None else dataclasses.astuple(found.uses)

    assert least(0, (99, 9, 9)) == (100, 20, 3, 0)
    assert least(0, (99, 9, 0), 50) == (50, 42, 4, 0)
    assert least(0, (99, 9, 4), 50) == (50, 35, 4, 4)
    assert least(0, (99, 3, 3), 50) == (50, 62, 1, 0)
    assert least(0, (99, 3, 4), 50) == (50, 55, 1, 4)
    assert least(0, (54, 3, 4), 50) is None
    assert least(1, (99, 9, 9)) is not None
    assert least(1, (61, 9, 0), 50) == (50, 42, 4, 0)
    assert least(2, (41, 9, 9), 50) == (50, 35, 4, 4)
    assert least(0, (99, 9, 9), 49) is None


@pytest.mark.parametrize("seed", SEEDS)
def test_the_least_of_every_resource_is_that_of_trying_everything(seed: int) -> None:
    table = random_table(seed)
    search, foldings = ChainSearch(chain_of(table)), list(every_folding(table))
    caps = np.array(caps_of(seed, foldings))
    for most_cycles in (12, 16, 24, 48, 96):
        kept = [t for _, t in foldings if t[0] <= most_cycles and (np.array(t[1:]) <= caps).all()]
        for goal in range(3):
            want = min((t[1 + goal] for t in kept), default=None)
            found = search.least(goal, caps, most_cycles, never)
            got = None if found is None else dataclasses.astuple(found.uses)[1 + goal]
            assert got == want
            if found is not None:
                assert dataclasses.astuple(found.uses) in kept


@pytest.mark.parametrize("seed", SEEDS)
def test_relaxed_bounds_are_never_above_the_least(seed: int) -> None:
    table = random_table(seed)
    search, foldings = ChainSearch(chain_of(table)), list(every_folding(table))
    caps = np.array(caps_of(seed, foldings))
    for most_cycles in (16, 32, 96):
        reach = [t for _, t in foldings if t[0] <= most_cycles]
        for goal in range(3):
            others = [k for k in range(3) if k != goal]
            least = min(
                (t[1 + goal] for t in reach if all(t[1 + k] <= caps[k] for k in others)), default=NEVER
            )
            assert search.bound(goal, caps, most_cycles) <= least
            assert search.alone(goal, most_cycles) == min((t[1 + goal] for t in reach), default=NEVER)


def test_a_relaxed_bound_passes_the_budget_where_nothing_comes_near() -> None:
    """62 LUTs are the least at 50 cycles with 2 BRAM18 and no DSP slice (by hand); half of one way and half of another, which the
    weights cannot tell from a folding, would take 42 + 2/3 * 20 > 55."""
    arrays = ChainSearch(chain_of(BY_HAND)).chain[:5]
    _, bound, rows = dual_weights(*arrays, 50, 0, np.array([50, 2, 0]), 100)
    assert 50 < bound <= 62
    assert rows.tolist() == [-1, -1]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("targeted", [False, True])
def test_the_problem_is_solved_to_the_optimum_of_trying_everything(seed: int, targeted: bool) -> None:
    table = random_table(seed)
    foldings = list(every_folding(table))
    budgets = caps_of(seed, foldings)
    fitting = [t for _, t in foldings if all(a <= b for a, b in zip(t[1:], budgets, strict=True))]
    fewest = min(t[0] for t in fitting)
    target = sorted(t[0] for t in fitting)[len(fitting) // 3] if targeted else 0
    it = FoldingProblem("folding/random", table, *budgets, target)
    result = SOLVERS["exact"](it, stop=Evaluations(10**6), seed=0)
    assert result.status is Status.OPTIMAL
    assert result.bound_proof
    own, _, _ = it.solve_exact(never)
    assert own is not None
    detail = it.evaluate(it.decode(own)).detail
    if targeted:
        assert result.cost == min(t[1] for t in fitting if t[0] <= target)
    else:
        assert result.cost == fewest
        assert detail["cycles"] == fewest
        assert detail["lut"] == min(t[1] for t in fitting if t[0] == fewest)
    assert it.bound().value <= result.cost


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("targeted", [False, True])
def test_cp_sat_proves_the_same_optimum_on_a_model_of_its_own(seed: int, targeted: bool) -> None:
    """The model is solved without the problem's bound, so nothing of the search's proof is used."""
    table = random_table(seed, nodes=5, choices=8)
    foldings = list(every_folding(table))
    budgets = caps_of(seed, foldings)
    fitting = [t for _, t in foldings if all(a <= b for a, b in zip(t[1:], budgets, strict=True))]
    target = sorted(t[0] for t in fitting)[len(fitting) // 2] if targeted else 0
    it = FoldingProblem("folding/random", table, *budgets, target)
    model = it.cp_model()
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    assert solver.solve(model.model) == cp_model.OPTIMAL
    choices = np.array([solver.value(v) for v in model.decisions], dtype=np.int64)
    exactly = SOLVERS["exact"](it, stop=Evaluations(10**6), seed=0)
    assert round(solver.objective_value) == it.cost_of(choices) == exactly.cost
    it.check(it.decode(choices))


@pytest.mark.parametrize("solver", ["random", "greedy", "anneal", "cp-sat"])
def test_the_other_solvers_stay_legal_and_above_the_bound(solver: str) -> None:
    it = FoldingProblem("folding/random", random_table(7, nodes=6), 400, 6, 6)
    best = SOLVERS["exact"](it, stop=Evaluations(10**6), seed=0)
    stop = DeterministicTime(5) if solver == "cp-sat" else Evaluations(3000)
    result = SOLVERS[solver](it, stop=stop, seed=1)
    it.check(result.solution)
    assert result.cost >= best.cost
    assert result.cost == best.cost or solver == "random"


@pytest.mark.parametrize("seed", range(4))
def test_the_front_holds_all_that_nothing_beats(seed: int) -> None:
    table = random_table(seed)
    foldings = list(every_folding(table))
    budgets = caps_of(seed, foldings)
    fitting = {t[:2] for _, t in foldings if all(a <= b for a, b in zip(t[1:], budgets, strict=True))}
    best = [p for p in fitting if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in fitting)]
    it = FoldingProblem("folding/random", table, *budgets)
    points = list(pareto_front(it))
    assert [(p.uses.cycles, p.uses.lut) for p in points] == sorted(best)
    for point in points:
        it.check(point.solution)
        assert it.uses(point.solution) == point.uses


def test_the_front_ends_at_the_target() -> None:
    it = FoldingProblem("folding/by-hand", BY_HAND, 99, 9, 9)
    assert [(p.uses.cycles, p.uses.lut) for p in pareto_front(it)] == [(50, 35), (100, 20)]
    at = FoldingProblem("folding/by-hand", BY_HAND, 99, 9, 9, target_cycles=60)
    assert [p.uses.lut for p in pareto_front(at)] == [35]


@pytest.mark.parametrize("seed", range(6))
def test_smallest_budgets_do_and_one_less_does_not(seed: int) -> None:
    table = random_table(seed)
    foldings = list(every_folding(table))
    it = FoldingProblem("folding/random", table, *caps_of(seed, foldings))
    for resource, smallest in enumerate(smallest_budgets(it)):
        assert smallest is not None
        budgets = it.caps.tolist()
        budgets[resource] = smallest
        FoldingProblem("folding/smallest", table, *budgets)
        budgets[resource] -= 1
        if smallest > 0:
            with pytest.raises(InfeasibleError, match=re.escape("no folding fits")):
                FoldingProblem("folding/smaller", table, *budgets)


def test_labels_that_others_beat_or_equal_go() -> None:
    """(3, 1, 1) equals another; (4, 1, 2) takes more than (3, 1, 1); (5, 0, 9) has fewer block RAMs; (2, 9, 9) fewest LUTs."""
    rows = [(5, 0, 9), (3, 1, 1), (4, 1, 2), (3, 1, 1), (2, 9, 9), (6, 1, 0), (6, 2, 0)]
    labels = np.zeros((8, 5), dtype=np.int64)
    labels[:7, :3] = rows
    least = np.full(11, NEVER, dtype=np.int64)
    kept = _thin(labels, 7, least)
    assert [tuple(row) for row in labels[:kept, :3].tolist()] == [(2, 9, 9), (3, 1, 1), (5, 0, 9), (6, 1, 0)]
    assert (least == NEVER).all()


def test_a_stop_ends_with_what_is_known() -> None:
    it = FoldingProblem("folding/random", random_table(3, nodes=6, choices=9), 500, 5, 5)
    asked: list[int] = []

    def stop(work: int) -> bool:
        asked.append(work)
        return True

    choices, bound, status = it.solve_exact(stop)
    best = SOLVERS["exact"](it, stop=Evaluations(10**6), seed=0)
    assert choices is not None
    assert bound <= best.cost <= it.cost_of(choices)
    assert asked
    assert status == ("optimal" if it.cost_of(choices) == bound else "feasible")
    assert SOLVERS["exact"](it, stop=CpuSeconds(0.0), seed=0).has_solution


def test_more_labels_than_allowed_are_an_honest_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room for labels only what the relaxation finds is known."""
    it = FoldingProblem("folding/random", random_table(3, nodes=6, choices=9), 500, 5, 5)
    monkeypatch.setattr(exact, "MOST_LABELS", 0)
    search = it.search
    monkeypatch.setattr(search, "_bracket", lambda goal, caps, cycles: exact._Bracket(_flat(), 0, None))
    with pytest.raises(Stopped, match="more than 0 partial foldings are worth keeping"):
        search.least(0, it.caps, 96, never)
    assert it.solve_exact(never)[2] == "feasible"


def test_an_instance_that_cannot_be_decided_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ChainSearch, "quick", lambda self, caps, cycles: None)
    monkeypatch.setattr(
        ChainSearch, "_bracket", lambda self, goal, caps, cycles: exact._Bracket(_flat(), 0, None)
    )
    monkeypatch.setattr(exact, "MOST_LABELS", 0)
    with pytest.raises(ConfigError, match="no folding within the budgets was found and none excluded"):
        FoldingProblem("folding/random", BY_HAND, 99, 9, 9)


def _flat() -> npt.NDArray[np.int64]:
    return np.array([SCALE, 0, 0], dtype=np.int64)


def test_labels_hold_the_largest_budgets() -> None:
    lut, bram18, dsp = (most - 1 for most in MOST_USED)
    it = FoldingProblem("folding/by-hand", BY_HAND, lut, bram18, dsp, target_cycles=50)
    assert SOLVERS["exact"](it, stop=Evaluations(10**6), seed=0).cost == 35


FINN = [
    # table, budgets, fewest cycles, frames/s at 100 MHz that were known before and have to be reached
    ("1w1a", (53200, 280, 0), 12544, 7971),
    ("1w2a_bip", (53200, 280, 0), 14400, 6944),
    ("2w2a", (53200, 280, 0), 21600, 4629),
    ("1w1a", (53200, 280, 220), 9600, 10416),
]


@pytest.mark.parametrize(("name", "budgets", "cycles", "fps"), FINN)
def test_finns_own_tables_are_solved_to_the_known_optima(
    name: str, budgets: tuple[int, int, int], cycles: int, fps: int
) -> None:
    table = read_folding_table(shared(f"reference/finn_cnv/tab_{name}.json.gz"))
    it = FoldingProblem(f"folding/{name}", table, *budgets)
    result = SOLVERS["exact"](it, stop=CpuSeconds(60), seed=0)
    it.check(result.solution)
    assert (result.status, result.cost) == (Status.OPTIMAL, cycles)
    assert it.fps_of(result.cost) >= fps
