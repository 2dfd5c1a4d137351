"""A bench makes each run once, gets the same results from any number of workers, and hides no failure."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.best_known import confirmed
from foldwright.agents import bench
from foldwright.agents.bench import Run, execute, key_of, plan, run_suite
from foldwright.agents.best_known import BEST_KNOWN_FILE, BestKnown, BestKnownTable, better
from foldwright.agents.scores import InstanceFacts, facts_of, median_cost, ranks_of, rows_of
from foldwright.agents.store import STORE_NAME, RunStore, StoredRun
from foldwright.agents.suite import SUITE_NAMES, Budget, SolverSpec, Suite, load_problem, load_suite
from foldwright.agents.workers import Died, run_tasks
from foldwright.envs.registry import content_hash, load_instance
from foldwright.errors import ConfigError
from foldwright.jsonform import read_json
from tests.agents.bench_support import key, result_of, square_or_die

DIGITS, CNV = "tiling/digits-w1a2-b16", "tiling/cnv-w1a1-b16"
SUITE = Suite(
    instances=(DIGITS, CNV),
    solvers=(SolverSpec(name="random"), SolverSpec(name="anneal", params={"samples": 4})),
    seeds=2,
    evaluations=(30,),
)


def run_in(folder: Path, suite: Suite = SUITE, workers: int = 1) -> list[tuple[Run, StoredRun]]:
    with RunStore(folder / STORE_NAME, suite.digest) as store:
        return run_suite(suite, store, workers=workers)


@pytest.mark.parametrize("name", SUITE_NAMES)
def test_shipped_suites_are_whole(name: str) -> None:
    suite = load_suite(name)
    assert suite.summary.endswith(".")
    assert len(plan(suite)) == len(suite.instances) * len(suite.solvers) * len(suite.budgets) * suite.seeds


def test_workers_change_no_result(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = run_in(tmp_path / "one"), run_in(tmp_path / "two", workers=2)
    assert [run for run, _ in one] == [run for run, _ in two] == plan(SUITE)
    for (_, a), (_, b) in zip(one, two, strict=True):
        assert a.result is not None
        assert b.result is not None
        assert a.result.without_times() == b.result.without_times()
        assert a.key == b.key
    assert {a.result.reproducible for _, a in one if a.result} == {True}


def test_a_bench_goes_on_where_it_was_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counted(task: tuple[object, Run]) -> StoredRun:
        made.append(str(task[1]))
        if len(made) == 3:
            raise KeyboardInterrupt
        return execute(task)  # type: ignore[arg-type]

    monkeypatch.setattr(bench, "execute", counted)
    with pytest.raises(KeyboardInterrupt):
        run_in(tmp_path)
    first = list(made)
    done = run_in(tmp_path)
    assert made[3:] == [str(run) for run in plan(SUITE)][2:]
    assert first[:2] + made[3:] == [str(run) for run in plan(SUITE)]
    assert run_in(tmp_path) == done
    assert len(made) == 3 + len(plan(SUITE)) - 2
    more = run_in(tmp_path, SUITE.narrowed(("random",), 3))
    assert len(made) == 3 + len(plan(SUITE)) - 2 + 2  # a third seed on two instances
    assert [stored for run, stored in more if run.seed < 2] == [
        s for r, s in done if r.solver.name == "random"
    ]


def test_a_run_that_fails_is_kept_with_its_error_and_counts_as_infinitely_bad(tmp_path: Path) -> None:
    suite = Suite(
        instances=(CNV,),
        solvers=(SolverSpec(name="exact"), SolverSpec(name="random")),
        seeds=1,
        evaluations=(20,),
    )
    done = run_in(tmp_path, suite)
    rows = rows_of(done, facts_of(done))
    assert [(r.solver, r.failed, r.seeds) for r in rows] == [("exact", 1, 1), ("random", 0, 1)]
    assert (rows[0].cost_median, rows[0].gap, rows[0].cost_least) == (None, None, None)
    assert "combinations of choices" in rows[0].errors[0]
    assert [(r.solver, r.mean_gap) for r in ranks_of(rows)] == [("random", rows[1].gap), ("exact", None)]


def test_failed_runs_are_made_again_only_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = Suite(instances=(DIGITS,), solvers=(SolverSpec(name="random"),), seeds=1, evaluations=(20,))
    monkeypatch.setattr(bench, "_search", lambda run: 1 / 0)
    assert run_in(tmp_path, suite)[0][1].error == "ZeroDivisionError: division by zero"
    monkeypatch.undo()
    assert run_in(tmp_path, suite)[0][1].error != ""
    with RunStore(tmp_path / STORE_NAME, suite.digest) as store:
        assert run_suite(suite, store, retry_failed=True)[0][1].result is not None


def test_a_dying_process_takes_only_its_own_task_with_it() -> None:
    answers = dict(run_tasks(square_or_die, list(range(8)), workers=2))
    assert {t: a for t, a in answers.items() if not isinstance(a, Died)} == {
        t: t * t for t in (0, 1, 2, 5, 6, 7)
    }
    assert str(answers[3]) == "the process was ended by SIGKILL"
    assert str(answers[4]) == "the process ended with exit code 7"


def test_more_cpu_seconds_than_the_budget_do_not_count() -> None:
    facts = InstanceFacts("i", "points", 50, "table", 40, 100)
    run = Run("i", SolverSpec(name="random"), Budget("cpu_seconds", 2.0), 0)
    late = result_of([(0.0, 1, 90), (1.0, 2, 60), (3.0, 3, 50)], [(0.0, 40), (2.5, 50)])
    (row,) = rows_of([(run, StoredRun(key(0), late, "", 0.0))], {"i": facts})
    assert (row.cost_median, row.proven, row.bound) == (60, 0, 40)
    assert (row.gap, row.bound_gap) == (0.2, 0.5)
    assert (row.primal, row.dual, row.gap_integral) == (50.0, 20.0, 70.0)  # 90 + 60 - 100; 100 - 80
    assert (row.primal_share, row.dual_share) == (0.5, 0.2)


def test_the_median_is_a_cost_that_was_reached_and_failures_are_infinite() -> None:
    assert median_cost([3, 1, 2, 9]) == 2
    assert median_cost([3, math.inf, 1]) == 3
    assert median_cost([3, math.inf, math.inf]) == math.inf


def test_the_digest_follows_instances_and_budgets_only() -> None:
    assert SUITE.digest == SUITE.narrowed(("greedy",), 9).digest
    assert SUITE.digest != Suite(instances=SUITE.instances, solvers=SUITE.solvers, evaluations=(31,)).digest
    assert SUITE.digest != Suite(instances=(DIGITS,), solvers=SUITE.solvers, evaluations=(30,)).digest


def test_a_listed_solver_keeps_its_options_when_named() -> None:
    assert SUITE.narrowed(("anneal",), None).solvers[0].params == {"samples": 4}
    assert SUITE.narrowed(("greedy",), None).solvers[0].params == {}
    with pytest.raises(ConfigError, match="did you mean 'anneal'"):
        SUITE.narrowed(("aneal",), None)


def test_keys_tell_options_apart_and_defaults_are_options_too() -> None:
    plain, default, other = (
        key_of(Run(DIGITS, SolverSpec(name="anneal", params=p), Budget("evaluations", 5), 0), "s")
        for p in ({}, {"samples": 16}, {"samples": 17})
    )
    same = plain == default
    assert same == ('"samples": 16' in plain.params)
    assert other != plain
    assert plain.instance == content_hash(load_instance(DIGITS))


MISTAKES = {
    "an unknown key": ("seds = 3", "seds: unknown key; did you mean 'seeds'?"),
    "an unknown instance": ('instances = ["tiling/cnv-w1a1-b17"]', "instances.0: no "),
    "an unknown solver": ('solvers = ["aneal"]', "solvers.0: no solver 'aneal'; did you mean 'anneal'?"),
    "an unknown option": (
        'solvers = [{name = "anneal", params = {sample = 1}}]',
        "did you mean 'samples'?",
    ),
    "an unknown key of a solver": ('solvers = [{name = "anneal", parms = {}}]', "did you mean 'params'?"),
    "no seeds": ("seeds = 0", "seeds: input should be greater than or equal to 1 (got 0)"),
    "a text as seeds": ('seeds = "3"', "seeds: input should be a valid integer (got '3')"),
    "a budget of nothing": ("cpu_seconds = [0]", "cpu_seconds.0: input should be greater than 0"),
    "two sorts of budgets": ("evaluations = [10]\ncpu_seconds = [1]", "both are given"),
    "no instances": ("instances = []", "instances: is empty; give at least one"),
    "an instance twice": (f'instances = ["{DIGITS}", "{DIGITS}"]', f"instances names '{DIGITS}' twice"),
}


@pytest.mark.parametrize("reason", MISTAKES)
def test_mistakes_of_a_suite_are_told(reason: str, tmp_path: Path) -> None:
    line, said = MISTAKES[reason]
    body = {
        "instances": f'instances = ["{DIGITS}"]',
        "solvers": 'solvers = ["random"]',
        "evaluations": "evaluations = [5]",
    }
    body |= {part.partition(" =")[0]: part for part in line.splitlines()}
    if "cpu_seconds" in body and "evaluations" not in line:
        del body["evaluations"]
    path = tmp_path / "a.toml"
    path.write_text("\n".join(body.values()))
    with pytest.raises(ConfigError) as caught:
        load_suite(str(path))
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('instances = ["no/such"]\nsolvers = ["aneal", "gredy"]\nseeds = -1\nbudgets = [1]\n')
    with pytest.raises(ConfigError) as caught:
        load_suite(str(path))
    assert "5 mistakes" in str(caught.value)
    assert [
        w in str(caught.value) for w in ("instances.0", "solvers.0", "solvers.1", "seeds", "budgets")
    ] == [True] * 5


def test_best_known_only_improves() -> None:
    first = better(None, [result_of([(0.0, 1, 90), (0.5, 2, 70)])], "h")
    assert first is not None
    assert (first.cost, first.bound, first.cpu_seconds, first.choices) == (70, 40, 0.5, (1, 2))
    assert better(first, [result_of([(0.0, 1, 80)]), result_of([])], "h") == first
    proof = better(first, [result_of([(0.0, 1, 75)], [(0.0, 40), (1.0, 60)])], "h")
    assert proof == replace(first, bound=60, bound_solver="toy")
    changed = better(first, [result_of([(0.0, 1, 95)])], "other")
    assert changed is not None
    assert (changed.cost, changed.instance_hash) == (95, "other")


def test_choices_keep_their_place_with_the_cost_of_the_present_model() -> None:
    entries = read_json(BestKnownTable, BEST_KNOWN_FILE).entries
    entry = next(e for e in entries if e.instance == "tiling/digits-w1a2-b16")
    assert confirmed(entry) == entry
    assert confirmed(replace(entry, cost=entry.cost + 1)) == replace(entry, bound=0, bound_proof="")
    assert confirmed(replace(entry, instance_hash="other")) is None


def test_best_known_refuses_a_cost_below_its_bound() -> None:
    with pytest.raises(ConfigError, match="cost 3 is below its bound 4"):
        BestKnown("i", "h", "points", 3, (), "toy", 0, 0.0, 4, "", "")


def _entries() -> list[Any]:
    """Returns the table's entries; the referee takes minutes for MobileNet's schedules of hundreds of thousands of tiles."""
    return [
        pytest.param(e, id=e.instance, marks=pytest.mark.slow if "mobilenet" in e.instance else ())
        for e in read_json(BestKnownTable, BEST_KNOWN_FILE).entries
    ]


@pytest.mark.parametrize("entry", _entries())
def test_best_known_costs_are_reached_by_their_choices(entry: BestKnown) -> None:
    import numpy as np

    problem = load_problem(entry.instance)
    assert content_hash(problem) == entry.instance_hash, (
        "the instance has changed: run benchmarks/best_known.py"
    )
    solution = problem.decode(np.array(entry.choices, dtype=np.int64))
    problem.check(solution)
    assert problem.evaluate(solution).value == entry.cost
    assert problem.bound().value <= entry.cost
