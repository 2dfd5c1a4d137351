"""Solvers by name: one signature, options that check themselves, heavy modules left alone until called."""

from __future__ import annotations

from typing import Any

import pytest

from foldwright.agents.anneal import AnnealParams
from foldwright.agents.params import parse_settings
from foldwright.agents.registry import SOLVERS, get_solver
from foldwright.agents.stop import Evaluations
from foldwright.errors import ConfigError
from tests.agents.toys import BY_HAND
from tests.support import ROOT, python


def test_names_are_the_keys() -> None:
    assert list(SOLVERS) == [solver.name for solver in SOLVERS.values()]
    assert list(SOLVERS) == ["random", "greedy", "anneal", "cp-sat", "hybrid", "exact"]


def test_an_unknown_solver_gets_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"no solver 'aneal'; did you mean 'anneal'\?"):
        get_solver("aneal")


@pytest.mark.parametrize(
    ("solver", "params", "message"),
    [
        ("anneal", {"runlength": 5}, "no option 'runlength'; did you mean 'run_length'?"),  # misspelt
        ("anneal", {"run_length": 1.5}, "option 'run_length' is 1.5: .*integer"),  # wrong type
        ("anneal", {"run_length": "7"}, "option 'run_length' is '7': .*integer"),  # a text is no number
        ("anneal", {"run_length": True}, "option 'run_length' is True"),  # nor is a truth value
        ("cp-sat", {"hint": "gredy"}, "option 'hint' is 'gredy': .*'greedy'"),  # not one of the choices
        ("random", {"x": 1}, "no option 'x'; it has no options"),  # a solver without options
        ("greedy", AnnealParams(), "needed is a mapping or a GreedyParams"),  # another solver's options
    ],
)
def test_wrong_options_are_refused(solver: str, params: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"solver '{solver}': .*{message}"):
        get_solver(solver)(BY_HAND, stop=Evaluations(1), params=params)


def test_options_reach_the_solver_and_its_result() -> None:
    result = get_solver("anneal")(BY_HAND, stop=Evaluations(5), params={"run_length": 7, "pair_share": 0})
    assert result.params["run_length"] == 7
    assert result.params["pair_share"] == 0.0
    assert result.params["step_share"] == AnnealParams().step_share


def test_settings_written_as_text_become_values() -> None:
    given = {"a": "3", "b": "0.5", "c": "true", "d": "greedy", "e": "1e3", "f": "-1"}
    assert parse_settings(given) == {"a": 3, "b": 0.5, "c": True, "d": "greedy", "e": 1000.0, "f": -1}


def test_listing_solvers_loads_no_solver() -> None:
    script = (
        "import sys, foldwright.agents.registry as r\n"
        "print(*(s.summary for s in r.SOLVERS.values()), sep='; ')\n"
        "print([m for m in ('ortools', 'torch', 'numba', 'foldwright.agents.anneal') if m in sys.modules])\n"
    )
    run = python("-c", script, path=(ROOT,))
    assert run.stdout.splitlines()[-1] == "[]", run.stderr
