"""Bits per layer as decisions of allocation: the budget, the bound, the search, against brute force."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from foldwright.accel.bit_options import BitOption, BitOptions
from foldwright.accel.datapath import Arithmetic, Engine
from foldwright.accel.known_workloads import LayerChain
from foldwright.accel.mapping import M_T, map_layers
from foldwright.accel.tables import engine_table, layer_table
from foldwright.accel.workload import ActKind, WeightKind, Workload
from foldwright.agents.registry import get_solver
from foldwright.agents.result import Status
from foldwright.agents.stop import Evaluations
from foldwright.envs.allocation.bits import BitsProblem, BitsSolution
from foldwright.envs.allocation.bits_model import bits_for_design, fewest_bit_macs
from foldwright.envs.allocation.bits_search import relaxed_workload
from foldwright.envs.allocation.problem import AllocationProblem
from foldwright.envs.problem import INFEASIBLE, Problem
from foldwright.envs.registry import load_instance
from foldwright.errors import IllegalSolutionError, InfeasibleError
from foldwright.jsonform import from_json, to_json

A2 = (2, ActKind.UNSIGNED)
KINDS = [
    (WeightKind.BINARY, 1),
    (WeightKind.TERNARY, 2),
    (WeightKind.ODD, 2),
    (WeightKind.ODD, 3),
    (WeightKind.SIGNED, 2),
    (WeightKind.SIGNED, 4),
]


def option(bits: int, out_bits: int, drop: float) -> BitOption:
    kind = WeightKind.BINARY if bits == 1 else WeightKind.ODD
    return BitOption(f"odd-{bits}", kind, bits, out_bits, drop)


def small(residual: bool = False) -> Workload:
    """Two convolutions, the second four times the work of the first, then raw logits."""
    c = LayerChain((4, 4, 4, 2, ActKind.UNSIGNED), (1, WeightKind.BINARY), A2)
    first = c.conv(16, kernel=1)
    c.conv(16, kernel=1)
    if residual:
        c.conv(16, kernel=1, adds=first)
    c.matmul(4, raw=True)
    return c.workload("small")


LAST = (option(1, 1, 0.1), option(2, 1, 0.0))


def problem(max_drop: float = 1.0, **fields: object) -> BitsProblem:
    """Four options for each convolution: one bit of weights loses 0.4, one of results 0.3."""
    layer = tuple(option(w, a, 0.4 * (w == 1) + 0.3 * (a == 1)) for w, a in product((1, 2), (1, 2)))
    options = BitOptions("small", small(), (layer, layer, LAST))
    budgets: dict[str, object] = {"budget_lut_percent": 15.0, "max_engines": 2, **fields}
    return BitsProblem("bits/small", options, max_drop, **budgets)  # type: ignore[arg-type]


def feasible(p: BitsProblem) -> list[tuple[int, ...]]:
    every = product(*(range(len(layer)) for layer in p.options.layers))
    return [c for c in every if p.options.keeps_ties(c) and p.options.drop_of(c) <= p.drop_budget]


def best_cost(inner: AllocationProblem) -> int:
    choices, _, _ = inner.solve_exact(lambda designs: designs >= 300)
    assert choices is not None
    return inner.cost_of(choices)


def test_it_is_a_problem_like_the_others() -> None:
    p = problem()
    assert isinstance(p, Problem)
    assert p.sizes[:3].tolist() == [4, 4, 2]
    assert p.fallback[:3].tolist() == [3, 3, 1]  # the most accurate of each
    assert p.cost_of(p.fallback) > 0
    assert p.labels(1)[0] == "conv2: weights odd-1, results of 1 bits"
    assert p.labels(3) == ["1 engines", "2 engines"]


def test_masks_are_the_choices_whose_completion_by_the_fallback_is_legal() -> None:
    p = problem(max_drop=0.5)
    choices = p.fallback.copy()
    assert p.allowed(choices, 0).tolist() == [False, True, True, True]  # both together lose 0.7
    choices[0] = 1
    assert p.allowed(choices, 1).tolist() == [False, False, False, True]
    assert p.allowed(choices, 2).tolist() == [True, True]
    choices[2] = 0
    for decision in range(3, len(p.sizes)):
        trial = p.fallback.copy()
        trial[:decision] = choices[:decision]
        for k, allowed in enumerate(p.allowed(choices, decision)):
            trial[decision] = k
            assert allowed or p.cost_of(trial) == INFEASIBLE


def test_one_bit_goes_to_the_layer_with_the_most_work() -> None:
    # Weights of one bit lose 0.4, so 0.5 allows one layer of them. conv1 has 4 channels to read and conv2 16; results of
    # one bit lose 0.3 and are not wanted beside. The fewest bit-MACs: conv1 1024 MACs, conv2 4096, logits 1024.
    layer = (option(1, 2, 0.4), option(2, 2, 0.0))
    options = BitOptions("small", small(), (layer, layer, (option(2, 1, 0.0),)))
    p = BitsProblem("bits/small", options, 0.5, budget_lut_percent=15.0, max_engines=1)
    solved = fewest_bit_macs(options, p.drop_budget)
    assert solved.picks == (1, 0, 0)
    # conv1 two bits by the image's two, conv2 one by two, logits two by two.
    assert solved.value == solved.bound == 1024 * 4 + 4096 * 2 + 1024 * 4
    choices, bound, _ = p.solve_exact(lambda work: False)
    assert choices is not None
    assert choices[:3].tolist() == [1, 0, 0]
    others = [p.allocation(options.workload_of(c)).bound().value for c in ((0, 1, 0), (1, 1, 0))]
    assert bound < min(others)


@pytest.mark.parametrize("max_drop", [0.0, 0.45, 0.8])
def test_the_bound_is_the_least_of_all_bits_within_the_budget(max_drop: float) -> None:
    p = problem(max_drop)
    choices, bound, status = p.solve_exact(lambda work: False)
    assert choices is not None
    inner = {c: p.allocation(p.options.workload_of(c)) for c in feasible(p)}
    bounds = {c: a.bound().value for c, a in inner.items()}
    costs = {c: best_cost(a) for c, a in inner.items()}
    assert p.cost_of(choices) == min(costs.values())
    open_bounds = [bounds[c] for c in inner if bounds[c] < costs[c]]
    assert bound == min([*open_bounds, p.cost_of(choices)])
    assert (status == "optimal") is (bound == p.cost_of(choices))
    assert p.bound().value <= bound


def test_solutions_read_back_and_pass_the_referee() -> None:
    p = problem(0.8)
    choices, _, _ = p.solve_exact(lambda work: work > 40)
    assert choices is not None
    solution = p.decode(choices)
    assert from_json(BitsSolution, to_json(solution), "text") == solution
    assert p.cost_of(p.encode(solution)) == p.cost_of(choices) == p.evaluate(solution).value
    assert p.evaluate(solution).detail["drop_millionths"] <= 800_000
    p.check(solution)


def test_the_referee_refuses_what_loses_too_much_or_is_not_offered() -> None:
    p = problem(0.8)
    solution = p.decode(p.fallback)
    cheap = replace(solution, options=(option(1, 1, 0.7), option(1, 1, 0.7), LAST[1]))
    for judge in (p.check, p.evaluate):
        with pytest.raises(IllegalSolutionError, match=r"1\.4 points of accuracy"):
            judge(cheap)
        with pytest.raises(IllegalSolutionError, match=r"layer 'conv1' has no option 'weights odd-9"):
            judge(
                replace(
                    solution, options=(replace(solution.options[0], weights="odd-9"), *solution.options[1:])
                )
            )
        with pytest.raises(IllegalSolutionError, match=r"options of 1 layers, but there are 3"):
            judge(replace(solution, options=solution.options[:1]))


def test_tied_layers_follow_the_first_and_differing_ones_are_refused() -> None:
    layer = tuple(option(1, bits, 0.1 * (3 - bits)) for bits in (1, 2))
    options = BitOptions("small", small(residual=True), (layer, layer, layer, LAST))
    p = BitsProblem("bits/tied", options, 1.0, budget_lut_percent=15.0, max_engines=1)
    choices = p.fallback.copy()
    choices[:4] = (0, 1, 1, 0)
    assert p.picks_of(choices) == (0, 1, 0, 0)
    assert p.allowed(p.fallback, 0).all()
    solution = p.decode(choices)
    p.check(solution)
    mixed = replace(solution, options=(layer[1], layer[1], layer[0], LAST[1]))
    with pytest.raises(IllegalSolutionError, match="layer 'conv3' adds results of other bits"):
        p.check(mixed)
    with pytest.raises(IllegalSolutionError, match="results that are added differ in bits"):
        p.evaluate(mixed)
    found, bound, _ = p.solve_exact(lambda work: False)
    assert found is not None
    assert options.keeps_ties(p.picks_of(found) or ())
    assert bound == min(
        min(a.bound().value, p.cost_of(found))
        for a in (p.allocation(options.workload_of(c)) for c in feasible(p))
    )


def random_problem(rng: np.random.Generator) -> BitsProblem:
    c = LayerChain(
        (int(rng.integers(1, 4)), 5, 5, int(rng.integers(1, 9)), ActKind.UNSIGNED), (1, WeightKind.BINARY), A2
    )
    for _ in range(int(rng.integers(1, 3))):
        c.conv(int(rng.integers(3, 40)), kernel=int(rng.choice([1, 3])))
    c.matmul(int(rng.integers(2, 12)), raw=True)
    workload = c.workload("random")

    def one() -> BitOption:
        kind, bits = KINDS[rng.integers(len(KINDS))]
        return BitOption(f"{kind.value}-{bits}", kind, bits, int(rng.integers(1, 5)), 0.0)

    layers = tuple(tuple(one() for _ in range(rng.integers(1, 4))) for _ in workload.layers)
    return BitsProblem(
        "bits/random", BitOptions("random", workload, layers), 1.0, budget_lut_percent=15.0, max_engines=2
    )


def test_a_node_is_never_bounded_above_a_choice_of_it() -> None:
    """Time need not fall with the bits, so this is what the search rests on; the kinds of weights are mixed."""
    rng, tried = np.random.default_rng(4), 0
    while tried < 8:
        try:
            p = random_problem(rng)
        except InfeasibleError:
            continue
        sets = tuple(
            tuple(sorted(rng.choice(len(k), rng.integers(1, len(k) + 1), replace=False).tolist()))
            for k in p.options.layers
        )
        picks = tuple(int(rng.choice(kept)) for kept in sets)
        bound = p.search._bound(sets)
        assert bound <= p.allocation(p.options.workload_of(picks)).bound().value
        tried += 1


def test_a_relaxed_workload_has_the_fewest_planes_and_bits_that_are_left() -> None:
    layers = (
        (option(2, 3, 0), BitOption("log-3", WeightKind.SIGNED, 4, 2, 0)),
        (
            BitOption("log-3", WeightKind.SIGNED, 4, 2, 0),
            BitOption("symmetric-3", WeightKind.SIGNED, 3, 2, 0),
        ),
        (option(3, 1, 0), BitOption("log-2", WeightKind.TERNARY, 2, 1, 0)),
    )
    p = BitsProblem("bits/mixed", BitOptions("mixed", small(), layers), 1.0)
    relaxed = relaxed_workload(p, ((0, 1), (0, 1), (0, 1)))
    # conv1: odd 2 against two's complement of 4, as odd 3; conv2 has nothing but two's complement; ternary counts as 1.
    assert [(x.weight_kind, x.weight_bits) for x in relaxed.layers] == [
        (WeightKind.ODD, 2),
        (WeightKind.SIGNED, 3),
        (WeightKind.BINARY, 1),
    ]
    assert [x.act_bits for x in relaxed.layers] == [2, 2, 2]
    assert [(x.out_bits, x.code_bits) for x in relaxed.layers[:2]] == [(1, 2), (1, 2)]
    assert relaxed_workload(p, ((0,), (1,), (0,))) == p.options.workload_of((0, 1, 0))


def test_bits_for_a_design_are_the_fastest_on_it_within_the_budget() -> None:
    p = problem(0.8, max_engines=1)
    found, _, _ = p.solve_exact(lambda work: work > 20)
    assert found is not None
    p = replace(p, budget_lut_percent=25.0)  # so that other bits, with wider sums, fit on these engines too
    picks = bits_for_design(p, found)
    assert p.options.drop_of(picks) <= p.drop_budget
    design = found[3:]

    def cost(c: tuple[int, ...]) -> int:
        value = p.inner(c).cost_of(design)
        return 1 << 60 if value == INFEASIBLE else value

    assert cost(picks) == min(map(cost, feasible(p)))


def test_refinement_takes_more_accurate_bits_that_are_no_slower() -> None:
    # Logits of two bits instead of one cost nothing where another layer sets the pace, or none at all does.
    free = (option(1, 2, 0.2), option(1, 2, 0.1))
    options = BitOptions("small", small(), (free, free, LAST))
    p = BitsProblem("bits/small", options, 1.0, budget_lut_percent=15.0, max_engines=1)
    choices, _, _ = p.solve_exact(lambda work: False)
    assert choices is not None
    assert choices[:2].tolist() == [1, 1]
    before = p.cost_of(choices)
    leaf = p.search.refine(10)
    assert leaf is not None
    assert leaf.cost <= before


def test_other_solvers_take_it_and_stay_above_the_exact_bound() -> None:
    p = problem(0.8)
    exact = get_solver("exact")(p, stop=Evaluations(400), seed=0)
    assert exact.status in (Status.OPTIMAL, Status.FEASIBLE)
    for name in ("random", "greedy", "anneal"):
        result = get_solver(name)(p, stop=Evaluations(60), seed=1)
        assert result.has_solution
        p.check(result.solution)
        assert result.cost >= exact.bound


def test_the_search_repeats_itself() -> None:
    results = [get_solver("exact")(problem(0.8), stop=Evaluations(60), seed=0) for _ in range(2)]
    assert results[0].choices == results[1].choices
    assert results[0].bound == results[1].bound
    assert results[0].reproducible


def test_instances_are_read_from_files(tmp_path: object) -> None:
    from pathlib import Path

    path = Path(str(tmp_path)) / "bits.json"
    path.write_text(to_json(problem(0.5)))
    assert load_instance(path) == problem(0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: replace(problem(), options=_losing()),
            "bits 'bits/small': the most accurate options lose 1.4 points of accuracy together (conv1 0.7, conv2 0.6, "
            "fc3 0.1), but max_drop is 1; raise it to 1.4, or offer options of more bits",
        ),
        (lambda: problem(-0.5), "bits 'bits/small': max_drop is -0.5, allowed 0..1000000"),
    ],
)
def test_mistakes_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  the message says which
        make()
    assert str(caught.value) == message


def _losing() -> BitOptions:
    layers = ((option(1, 1, 0.7),), (option(1, 1, 0.6),), (option(1, 1, 0.1),))
    return BitOptions("small", small(), layers)


def test_a_binary_layer_takes_no_more_steps_than_a_ternary_one_of_either_arithmetic() -> None:
    """What a bound rests on while the arithmetic is open: on XNOR a ternary layer may idle more than on AND."""
    xnor_is_slower = 0
    for act_bits, words, dk in product((1, 2, 3, 4, 8), (1, 2, 5), (8, 16, 32)):
        for mask in (1, 2, 4):
            cycles = {}
            for kind, bits in ((WeightKind.BINARY, 1), (WeightKind.TERNARY, 2)):
                chain = LayerChain(
                    (words * dk // mask, 8, 8, act_bits, ActKind.UNSIGNED),
                    (bits, kind),
                    (1, ActKind.UNSIGNED),
                )
                chain.conv(8)
                table = layer_table(chain.workload("one"))
                for arithmetic in Arithmetic:
                    engine = Engine(4, dk, 4, arithmetic, planes_per_word=(mask,), acc_bits=24)
                    row = map_layers(table, engine_table([engine]), np.zeros(1, dtype=np.int64), 1)[0]
                    cycles[kind, arithmetic] = int(row[M_T])
            binary = cycles[WeightKind.BINARY, Arithmetic.XNOR]
            assert binary <= min(cycles[WeightKind.TERNARY, a] for a in Arithmetic)
            xnor_is_slower += (
                cycles[WeightKind.TERNARY, Arithmetic.XNOR] > cycles[WeightKind.TERNARY, Arithmetic.AND]
            )
    assert xnor_is_slower > 0


def test_a_ternary_layer_counts_as_binary_only_while_the_arithmetic_is_open() -> None:
    ternary = replace(option(2, 2, 0.0), weight_kind=WeightKind.TERNARY)
    signed = replace(option(2, 2, 0.0), weight_kind=WeightKind.SIGNED)
    layers = ((ternary,), (option(1, 2, 0.4), signed), LAST)
    p = replace(problem(0.8), options=replace(problem(0.8).options, layers=layers))
    kinds = [
        [x.weight_kind for x in relaxed_workload(p, sets).layers[:1]]
        for sets in (((0,), (0, 1), (0, 1)), ((0,), (0,), (0, 1)), ((0,), (1,), (0, 1)))
    ]
    assert kinds == [[WeightKind.BINARY], [WeightKind.TERNARY], [WeightKind.TERNARY]]
