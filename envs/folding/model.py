"""The folding problem as a CP-SAT model: a path through pairs of widths, with budgets along it.

One Boolean per variant of a node and one per converter between two widths of neighbours; they are the arcs of a graph whose
points are the input widths and the output widths of the nodes, and exactly one path leads through it. LUTs, block RAMs and
DSP slices add up along the path; the cycles are at least those of every variant taken. Nothing is left out but variants that
another one beats (`chain.undominated`), so the model's optimum is the problem's.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from foldwright.envs.cp_problem import CpProblem
from foldwright.envs.folding.chain import R_BRAM18, R_CYCLES, R_DSP, R_IN, R_LUT, R_OUT
from foldwright.envs.folding.space import DECISIONS

if TYPE_CHECKING:
    from foldwright.envs.folding.problem import FoldingProblem

__all__ = ["folding_model"]


def folding_model(problem: FoldingProblem) -> CpProblem:
    """Returns the model of a folding instance; see the module's docstring."""
    from ortools.sat.python import cp_model

    model, chain = cp_model.CpModel(), problem.search.chain
    most = problem.target_cycles or problem.uses(problem.decode(problem.fallback)).cycles
    taken = _variants(model, problem, most)
    lut = _converters(model, problem, taken)
    totals = [
        sum(int(chain.rows[row, column]) * literal for of_node in taken for row, literal in of_node.items())
        for column in (R_LUT, R_BRAM18, R_DSP)
    ]
    totals[0] += lut
    for total, cap in zip(totals, problem.caps, strict=True):
        model.add(total <= int(cap))
    objective = totals[0]
    if not problem.target_cycles:
        objective = model.new_int_var(int(problem.search.levels[0]), most, "cycles")
        for of_node in taken:
            model.add(objective >= sum(int(chain.rows[row, R_CYCLES]) * x for row, x in of_node.items()))
    model.minimize(objective)
    decisions = _decisions(model, problem, taken)
    return CpProblem(model, tuple(decisions), objective, is_relaxation=True, note="nothing is left out")


def _variants(model: Any, problem: FoldingProblem, most_cycles: int) -> list[dict[int, Any]]:
    """Returns per node a Boolean for each row that takes no more cycles; exactly one is true."""
    chain = problem.search.chain
    out = []
    for node in range(len(chain.inputs)):
        rows = range(chain.first[node], chain.first[node + 1])
        taken = {row: model.new_bool_var("") for row in rows if chain.rows[row, R_CYCLES] <= most_cycles}
        model.add_exactly_one(taken.values())
        out.append(taken)
    return out


def _converters(model: Any, problem: FoldingProblem, taken: list[dict[int, Any]]) -> Any:
    """Joins the widths of neighbours and returns the LUTs of the converters."""
    chain, lut = problem.search.chain, 0
    for node in range(1, len(taken)):
        leave, arrive = (
            _by_width(chain.rows, taken[node - 1], R_OUT),
            _by_width(chain.rows, taken[node], R_IN),
        )
        arcs = {
            (o, i): model.new_bool_var("") for o in leave for i in arrive if chain.converters[node, o, i] >= 0
        }
        for o, literals in leave.items():
            model.add(sum(literals) == sum(x for (a, _), x in arcs.items() if a == o))
        for i, literals in arrive.items():
            model.add(sum(literals) == sum(x for (_, b), x in arcs.items() if b == i))
        lut += sum(int(chain.converters[node, o, i]) * x for (o, i), x in arcs.items())
    return lut


def _by_width(rows: Any, taken: dict[int, Any], column: int) -> dict[int, list[Any]]:
    out: dict[int, list[Any]] = defaultdict(list)
    for row, literal in taken.items():
        out[int(rows[row, column])].append(literal)
    return out


def _decisions(model: Any, problem: FoldingProblem, taken: list[dict[int, Any]]) -> list[Any]:
    """Returns a variable per decision, tied to the variants taken."""
    variables = [model.new_int_var(0, int(size) - 1, "") for size in problem.sizes]
    for node, of_node in enumerate(taken):
        candidates = {
            row: problem.space.candidates_of(node, int(problem.search.chain.origin[row])) for row in of_node
        }
        for which in range(DECISIONS):
            terms = sum(int(candidates[row][which]) * literal for row, literal in of_node.items())
            model.add(variables[DECISIONS * node + which] == terms)
    return variables
