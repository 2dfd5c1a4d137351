"""The folding problem: decisions and solutions, one truth for costs, referee, errors that say what would do."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from foldwright.accel.folding_tables import FoldingChoice, FoldingNode, FoldingTable
from foldwright.envs.folding.chain import chain_of, undominated
from foldwright.envs.folding.problem import FoldingProblem, FoldingSolution, NodeFolding
from foldwright.envs.folding.space import FoldingSpace
from foldwright.envs.problem import INFEASIBLE, Problem
from foldwright.errors import ConfigError, IllegalSolutionError, InfeasibleError
from foldwright.jsonform import from_json, to_json
from tests.envs.folding.chains import BY_HAND, every_folding, node, random_table

ROOMY = (1000, 1000, 1000)


def problem(
    table: FoldingTable = BY_HAND, budgets: tuple[int, int, int] = ROOMY, target: int = 0
) -> FoldingProblem:
    return FoldingProblem("folding/test", table, *budgets, target)


def wide_table() -> FoldingTable:
    """A node of 9 x 9 pairs of widths, more than one decision can tell apart, less a few; some pairs have two variants."""
    choices = [
        FoldingChoice((("k", 10 * i + o), ("v", v)), 10 + i, 5 + o + v, v, 0, i + 1, o + 1)
        for i in range(9)
        for o in range(9)
        for v in range(1 + (i == o))
        if (i, o) != (4, 7)
    ]
    return FoldingTable((FoldingNode("wide", "X", tuple(choices)), *BY_HAND.nodes))


def test_it_is_a_problem() -> None:
    assert isinstance(problem(), Problem)
    assert problem().unit == "cycles per frame"
    assert problem(target=50).unit == "LUTs"


@pytest.mark.parametrize("table", [BY_HAND, wide_table(), *(random_table(seed) for seed in range(3))])
def test_every_folding_has_choices_of_its_own_and_costs_what_it_adds_up_to(table: FoldingTable) -> None:
    it, seen = problem(table), set()
    small = every_folding(table) if len(table.nodes[0].choices) < 10 else list(every_folding(table))[::7]
    for positions, (cycles, lut, bram18, dsp) in small:
        solution = it.solution_of(list(positions))
        choices = it.encode(solution)
        assert (choices < it.sizes).all()
        assert it.decode(choices) == solution
        assert it.cost_of(choices) == cycles
        assert it.evaluate(solution).detail == {"cycles": cycles, "lut": lut, "bram18": bram18, "dsp": dsp}
        it.check(solution)
        seen.add(tuple(choices.tolist()))
    assert len(seen) > 1


def test_all_choices_of_the_decisions_mean_a_folding_or_none() -> None:
    """Variants beyond the last stand for the last; neighbours of other ratios are illegal, nothing else is."""
    it = problem()
    legal = {positions for positions, _ in every_folding(BY_HAND)}
    reached = set()
    for flat in np.ndindex(*it.sizes.tolist()):
        choices = np.array(flat, dtype=np.int64)
        positions = tuple(it.positions_of(it.decode(choices)))
        assert (it.cost_of(choices) != INFEASIBLE) == (positions in legal)
        reached.add(positions)
    assert legal <= reached


def test_two_decisions_take_widths_where_one_cannot_tell_all_pairs_apart() -> None:
    table = wide_table()
    space = FoldingSpace(table, chain_of(table))
    assert space.sizes.tolist() == [9, 9, 2, 2, 1, 2, 3, 1, 2]
    assert space.labels(0)[:2] == ["wide: input of 1 bits", "wide: input of 2 bits"]
    assert space.labels(1)[8] == "wide: output of 9 bits"
    assert space.labels(2) == [
        "wide: variant 0 of these widths, by LUTs",
        "wide: variant 1 of these widths, by LUTs",
    ]
    assert space.labels(3) == ["a: input of 8 bits, output of 8", "a: input of 16 bits, output of 16"]
    assert space.labels(4) == ["a: both widths are taken"]
    it = problem(table)
    assert it.cost_of(np.array([4, 7, 0, 0, 0, 0, 0, 0, 0])) == INFEASIBLE  # there is no such pair


def test_what_is_allowed_completes_by_the_fallback_and_dead_ends_nowhere() -> None:
    it = problem(random_table(5), budgets=(230, 6, 4))
    for seed in range(20):
        rng, choices = np.random.default_rng(seed), it.fallback.copy()
        for decision in range(len(choices)):
            mask = it.allowed(choices, decision)
            trial = it.fallback.copy()
            trial[:decision] = choices[:decision]
            for k in range(len(mask)):
                trial[decision] = k
                assert mask[k] == (it.cost_of(trial) != INFEASIBLE)
            choices[decision] = rng.choice(np.flatnonzero(mask))
        assert it.cost_of(choices) != INFEASIBLE
        it.check(it.decode(choices))


def test_referee_and_costs_agree_on_every_folding_of_random_chains() -> None:
    """Over budgets and the target, too: whatever one accepts the other does."""
    for seed in range(4):
        table = random_table(seed, nodes=3)
        foldings = list(every_folding(table))
        limits = sorted(totals for _, totals in foldings)[len(foldings) // 3]
        it = problem(table, budgets=limits[1:], target=limits[0])
        for positions, totals in foldings:
            solution = it.solution_of(list(positions))
            fits = all(used <= most for used, most in zip(totals, limits, strict=True))
            assert (it.cost_of(it.encode(solution)) != INFEASIBLE) == fits
            if fits:
                it.check(solution)
                assert it.evaluate(solution).value == totals[1]
            else:
                with pytest.raises(IllegalSolutionError, match="allowed"):
                    it.check(solution)


def test_undominated_drops_only_what_the_same_widths_beat() -> None:
    """The second choice is beaten by the first; the third has other widths, the fourth is faster."""
    table = FoldingTable(
        (node("x", (9, 5, 1, 0, 4, 4), (9, 6, 1, 0, 4, 4), (9, 9, 9, 9, 4, 8), (8, 9, 1, 0, 4, 4)),)
    )
    assert undominated(chain_of(table)).origin.tolist() == [0, 3, 2]


def test_of_equal_variants_one_stays() -> None:
    table = FoldingTable((node("x", (9, 5, 1, 0, 4, 4), (9, 5, 1, 0, 4, 4)),))
    assert len(undominated(chain_of(table)).rows) == 1


def test_an_instance_and_a_solution_survive_the_json_round_trip() -> None:
    it = problem(target=50)
    assert from_json(FoldingProblem, to_json(it), "test") == it
    solution = it.decode(it.fallback)
    assert from_json(FoldingSolution, to_json(solution), "test") == solution


def test_the_content_hash_ignores_names_of_nodes() -> None:
    renamed = FoldingTable(tuple(replace(n, name=n.name + "x") for n in BY_HAND.nodes))
    assert problem(renamed).content_hash() == problem().content_hash()
    assert problem(random_table(1)).content_hash() != problem().content_hash()


def test_a_summary_says_rate_and_use() -> None:
    it = problem()
    assert it.summary(it.solution_of([0, 0])) == (
        "1,000,000 frames/s at 100 MHz (100 cycles), 20 of 1,000 LUTs, 3 of 1000 BRAM18, 0 of 1000 DSP slices"
    )


BAD_SOLUTIONS = [
    # a node left out
    (
        (("a", 1),),
        "folding 'folding/test': foldings of 1 nodes, needed are those of the 2 of the table in their order",
    ),
    # in another order
    ((("b", 1), ("a", 1)), "in their order; 'b' is not next: did you mean 'b'? known: a, b"),
    # an attribute that no choice has
    ((("a", 9), ("b", 1)), "node 'a': PE=9 is none of the 3 choices of the table, such as PE=1"),
]


@pytest.mark.parametrize(("foldings", "message"), BAD_SOLUTIONS)
def test_solutions_of_other_tables_are_refused(foldings: tuple[tuple[str, int], ...], message: str) -> None:
    solution = FoldingSolution(tuple(NodeFolding(name, (("PE", pe),)) for name, pe in foldings))
    with pytest.raises(IllegalSolutionError, match=re.escape(message)):
        problem().encode(solution)
    with pytest.raises(IllegalSolutionError):
        problem().check(solution)


def test_the_referee_names_widths_that_do_not_go_together() -> None:
    it = problem()
    with pytest.raises(
        IllegalSolutionError,
        match=re.escape(
            "no converter goes from the 16 bits of 'a' to the 24 of 'b': neither divides the other"
        ),
    ):
        it.evaluate(it.solution_of([1, 3]))


def test_the_referee_names_every_budget_that_is_over() -> None:
    it = problem(budgets=(60, 3, 3))
    with pytest.raises(
        IllegalSolutionError,
        match=re.escape("folding 'folding/test': 4 BRAM18, allowed 3; 4 DSP slices, allowed 3"),
    ):
        it.evaluate(it.solution_of([2, 1]))


INFEASIBLE_INSTANCES = [
    # 19 LUTs are one less than the cheapest folding takes; DSP slices alone (15 instead of 22 LUTs) do not get below
    (
        (19, 9, 9, 0),
        "no folding fits 19 LUTs, 9 BRAM18, 9 DSP slices at any rate: 20 LUTs would do with the other budgets as they are; more "
        "BRAM18 or DSP slices alone would not; raise a budget",
    ),
    # at 50 cycles without block RAMs to spare: `b` in LUT RAM for 62 LUTs, or with 2 BRAM18 more 42
    (
        (50, 2, 0, 50),
        "no folding fits 50 LUTs, 2 BRAM18, 0 DSP slices at 50 cycles per frame (2,000,000 frames/s at 100 MHz): 62 LUTs or 4 "
        "BRAM18 would do with the other budgets as they are; more DSP slices alone would not; raise a budget",
    ),
    # the same where the slow folding (20 LUTs, 3 BRAM18) fits: the target can be lowered
    (
        (41, 3, 0, 50),
        "62 LUTs would do with the other budgets as they are; more BRAM18 or DSP slices alone would not; raise a budget, or "
        "lower the target to 100 cycles per frame (1,000,000 frames/s at 100 MHz), the best that these allow",
    ),
    # no block RAM and too few LUTs: neither alone is enough
    (
        (10, 0, 0, 0),
        "no budget alone can be raised enough; the least of each, whatever the others take, is 20 LUTs, 1 BRAM18, 0 DSP slices",
    ),
    # `a` takes 50 cycles however it is folded
    (
        (99, 9, 9, 49),
        "the target is 49 cycles per frame (2,040,816 frames/s at 100 MHz), but every choice of node 'a' takes at least 50 "
        "cycles per frame (2,000,000 frames/s at 100 MHz): that is the bound of this table; lower the target",
    ),
]


@pytest.mark.parametrize(("instance", "message"), INFEASIBLE_INSTANCES)
def test_infeasible_instances_say_what_binds_and_what_would_do(
    instance: tuple[int, int, int, int], message: str
) -> None:
    with pytest.raises(InfeasibleError, match=re.escape(message)):
        problem(budgets=instance[:3], target=instance[3])


def test_a_chain_that_no_converter_joins_is_told_so() -> None:
    table = FoldingTable((node("x", (9, 5, 0, 0, 1, 3)), node("y", (9, 5, 0, 0, 2, 1), (99, 5, 0, 0, 6, 1))))
    with pytest.raises(
        InfeasibleError,
        match="no neighbours whose stream widths divide one another all along the chain; lower",
    ):
        problem(table, target=9)
    alone = FoldingTable((table.nodes[0], FoldingNode("y", "X", table.nodes[1].choices[:1])))
    with pytest.raises(
        InfeasibleError, match="so no converters join them; add choices of other widths to the table"
    ):
        problem(alone)


BAD_INSTANCES = [
    ((-1, 0, 0, 0), "budget_lut is -1, allowed 0..67108863"),
    ((1, 2**18, 0, 0), "budget_bram18 is 262144, allowed 0..262143"),
    ((1, 0, -2, -3), "budget_dsp is -2, allowed 0..262143; target_cycles is -3, allowed 0..1099511627776"),
]


@pytest.mark.parametrize(("instance", "message"), BAD_INSTANCES)
def test_wrong_budgets_are_refused_all_at_once(instance: tuple[int, int, int, int], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"folding 'folding/test': {message}")):
        problem(budgets=instance[:3], target=instance[3])


def test_tables_with_too_many_candidates_are_refused() -> None:
    many = FoldingTable((node("x", *((9, 5 + k, 0, 0, 1, 1) for k in range(65))),))
    with pytest.raises(ConfigError, match="node 'x' has 65 choices of the same stream widths, allowed 64"):
        problem(many)
    wide = FoldingTable((node("x", *((9, 5, 0, 0, 1 + k, 1) for k in range(65))),))
    with pytest.raises(ConfigError, match="node 'x' has 65 stream widths, allowed 64"):
        problem(wide)
