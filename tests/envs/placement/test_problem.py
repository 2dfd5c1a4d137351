"""Placement solved by hand, walked step by step, compared with plain references, and instances that must be refused."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldwright.envs.placement import PlacementProblem
from foldwright.envs.placement import moves as kernels
from foldwright.envs.placement.bound import net_bounds
from foldwright.envs.placement.construct import construct, relocate
from foldwright.envs.placement.env import PlacementEnv
from foldwright.envs.placement.instances import generated, piece_of
from foldwright.envs.placement.problem import fabric_of
from foldwright.envs.registry import load_instance
from foldwright.errors import ConfigError, IllegalSolutionError, InfeasibleError, PartError
from foldwright.jsonform import to_json
from foldwright.netlists.generators import random_logic, systolic_array
from foldwright.netlists.netlist import Netlist, build_netlist
from foldwright.netlists.placement import Placement, hpwl


def by_hand() -> PlacementProblem:
    """Four logic cells in a ring of weights 1, 1, 1, 5 and a block RAM on a net with the first.

    On a 7 x 5 grid the columns 0, 1, 2, 4, 5 hold logic, column 3 multipliers, column 6 one block RAM at (6, 0). Four
    cells on a square of 2 x 2 tiles have a ring of length 4 at least: 1 + 1 + 1 + 5 = 8. The first cell stands at (5, 0), one
    tile from the block RAM, at the least: 8 + 1 = 9. The square (4..5, 0..1) has both.
    """
    cells = [(name, "CLB", "") for name in "abcd"] + [("ram", "BRAM", "")]
    nets = [(("a", "b"), 1), (("b", "c"), 1), (("c", "d"), 1), (("d", "a"), 5), (("a", "ram"), 1)]
    return PlacementProblem("placement/by-hand", build_netlist("by-hand", cells, nets), "grid-7x5")


def random_choices(problem: PlacementProblem, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    rng = np.random.default_rng(seed)
    choices = problem.fallback.copy()
    for d in range(len(choices)):
        choices[d] = rng.choice(np.flatnonzero(problem.allowed(choices, d)))
    return choices


def site_of(problem: PlacementProblem, kind: str, x: int, y: int) -> int:
    from foldwright.netlists.fabric import placement_sites

    table = placement_sites(problem.grid, kind)
    return int(np.flatnonzero((table.x == x) & (table.y == y))[0])


def best_by_hand(problem: PlacementProblem) -> Placement:
    tiles = [("CLB", 5, 0), ("CLB", 5, 1), ("CLB", 4, 1), ("CLB", 4, 0), ("BRAM", 6, 0)]
    return Placement(np.array([site_of(problem, *tile) for tile in tiles]))


def test_the_optimum_by_hand_is_the_bound() -> None:
    problem = by_hand()
    assert problem.bound().value == 9
    best = best_by_hand(problem)
    problem.check(best)
    assert problem.evaluate(best).value == 9
    assert problem.decode(problem.encode(best)) == best


def test_one_episode_step_by_step() -> None:
    problem = by_hand()
    env = PlacementEnv(instances=problem)
    observation, info = env.reset(seed=0)
    assert info["cost"] == problem.evaluate(problem.decode(problem.fallback)).value
    # The heaviest nets are a's (5 + 1 + 1), then d's.
    assert [problem.netlist.cell_names[c] for c in problem.tree.order[:2]] == ["a", "d"]
    rewards, start = [], info["cost"]
    for place, action in enumerate(problem.encode(best_by_hand(problem))):
        assert (
            observation["action_mask"][: problem.sizes[place]].tolist()
            == problem.allowed(env.choices(), place).tolist()
        )
        observation, reward, terminated, _, info = env.step(int(action))
        assert terminated == (place == 14)
        if place == 0:
            assert (
                reward == (start - 9) / 9
            )  # from here on the cost is what is placed and the bound of the rest
        elif place % 3 != 2:
            assert reward == 0.0  # a region and a column are no place yet
        rewards.append(reward)
    assert info["cost"] == 9
    assert sum(rewards) == pytest.approx((start - 9) / 9)
    assert env.solution() == best_by_hand(problem)


def test_the_estimate_is_the_wire_placed_and_the_least_length_of_the_rest() -> None:
    problem = by_hand()
    env = PlacementEnv(instances=problem)
    env.reset(seed=0)
    best = problem.encode(best_by_hand(problem))
    for action in best[:6]:  # a and d, next to each other: their net of weight 5 is as short as it can be
        _, _, _, _, info = env.step(int(action))
    assert info["cost"] == problem.bound().value
    env.reset(seed=0)
    far = best.copy()
    far[5] = problem.sizes[5] - 1  # d in the same column as before, on another site
    for action in far[:6]:
        _, _, _, _, info = env.step(int(action))
    a, d = (problem.board.xy[problem.sites_of(far)[cell]] for cell in problem.tree.order[:2])
    assert info["cost"] == problem.bound().value + 5 * (int(np.abs(a - d).sum()) - 1)


@pytest.mark.parametrize("seed", range(3))
def test_all_choices_mean_a_legal_placement(seed: int) -> None:
    problem = generated("train", 0, seed)
    rng = np.random.default_rng(seed)
    choices = (rng.random(len(problem.sizes)) * problem.sizes).astype(np.int64)
    solution = problem.decode(choices)
    problem.check(solution)
    assert problem.evaluate(solution).value == problem.cost_of(choices)


@pytest.mark.parametrize("name", ["train-s0-0", "heldout-id-s0-1", "heldout-size-s0-0"])
def test_allowed_choices_mean_what_they_say(name: str) -> None:
    problem = load_instance(f"placement/{name}")
    assert isinstance(problem, PlacementProblem)
    choices = random_choices(problem, 0)
    solution = problem.decode(choices)
    assert problem.encode(solution).tolist() == choices.tolist()
    assert (
        problem.evaluate(solution).value
        == problem.cost_of(choices)
        == problem.wirelength(problem.sites_of(choices))
    )


def test_masks_equal_brute_force_on_a_nearly_full_grid() -> None:
    cells = [(f"c{i}", "CLB", "") for i in range(24)]
    netlist = build_netlist("full", cells, [((i, i + 1), 1) for i in range(23)])
    problem = PlacementProblem("placement/full", netlist, "grid-7x5")  # 25 logic sites
    rng, closed = np.random.default_rng(0), 0
    choices = problem.fallback.copy()
    for d in range(len(choices)):
        allowed = problem.allowed(choices, d)
        reached = set()  # every free site, by the candidates that lead to it
        taken = set(problem.sites_of(choices)[problem.tree.order[: d // 3]].tolist())
        for tail in itertools.product(*(range(n) for n in problem.sizes[d : 3 * (d // 3 + 1)])):
            trial = choices.copy()
            trial[d : d + len(tail)] = tail
            site = int(problem.sites_of(trial)[problem.tree.order[d // 3]])
            if site not in taken and problem.choices_of(problem.sites_of(trial))[
                d : d + len(tail)
            ].tolist() == list(tail):
                means = problem.choices_of(problem.sites_of(trial))[3 * (d // 3) : d]
                if means.tolist() == choices[3 * (d // 3) : d].tolist():
                    reached.add(tail[0])
        assert set(np.flatnonzero(allowed).tolist()) == reached
        closed += int((~allowed).sum())
        choices[d] = rng.choice(np.flatnonzero(allowed))
    assert closed > 0


def test_the_bound_of_a_net_equals_brute_force() -> None:
    problem = generated("train", 0, 0)
    netlist, board = problem.netlist, problem.board
    bounds = net_bounds(netlist, board)
    width, height = problem.grid.width, problem.grid.height
    known: dict[tuple[int, ...], int] = {}
    for net in range(min(netlist.nets, 40)):
        need = tuple(
            np.bincount(netlist.cell_kind[netlist.cells_of(net)], minlength=len(netlist.kinds)).tolist()
        )
        if need not in known:
            spans = (
                (b - a + d - c, a, b, c, d)
                for a in range(width) for b in range(a, width) for c in range(height) for d in range(c, height)
            )  # fmt: skip
            known[need] = min(h for h, a, b, c, d in spans if _holds(problem, need, a, b, c, d))
        assert bounds[net] == known[need]


def _holds(problem: PlacementProblem, need: tuple[int, ...], a: int, b: int, c: int, d: int) -> bool:
    starts = problem.board.kind_sites
    for kind, count in enumerate(need):
        x, y = problem.board.xy[starts[kind] : starts[kind + 1]].T
        if int(((x >= a) & (x <= b) & (y >= c) & (y <= d)).sum()) < count:
            return False
    return True


def annealed(problem: PlacementProblem, chunk: int, seed: int = 3) -> kernels.Run:
    start = kernels.random_sites(problem.wires, problem.board, np.random.default_rng(seed))
    run = kernels.new_run(problem.wires, problem.board, start, seed)
    kernels.begin(run, 300, 0.6, 1.0, 10.0)
    while not kernels.is_finished(run):
        kernels.anneal(problem.wires, problem.board, run, chunk)
    return run


@pytest.mark.parametrize("name", ["train-s0-1", "validation-s0-1", "heldout-size-s0-3"])
def test_the_annealer_s_boxes_cost_and_holders_stay_true(name: str) -> None:
    problem = load_instance(f"placement/{name}")
    assert isinstance(problem, PlacementProblem)
    run = annealed(problem, 997)
    problem.check(problem.placement_of(run.site))
    again = kernels.new_run(problem.wires, problem.board, run.site, 0)
    wide = np.diff(problem.wires.net_offsets) > 3
    assert np.array_equal(run.box[:, :4], again.box[:, :4])
    assert np.array_equal(run.box[wide], again.box[wide])  # the counts on the edges too
    assert np.array_equal(run.holder, again.holder)
    assert np.array_equal(run.xy, again.xy)
    assert run.numbers[kernels.N_COST] == hpwl(problem.netlist, problem.grid, problem.placement_of(run.site))


def test_a_run_is_the_same_in_chunks_of_any_length() -> None:
    problem = generated("train", 0, 1)
    one, two = annealed(problem, 10**9), annealed(problem, 37)
    assert np.array_equal(one.site, two.site)
    assert not np.array_equal(one.site, annealed(problem, 37, seed=4).site)


def test_construction_takes_the_best_free_site_of_every_cell() -> None:
    problem = generated("train", 0, 4)
    wires, board, sites = problem.wires, problem.board, np.full(problem.netlist.cells, -1, dtype=np.int32)
    for cell in problem.tree.order:
        before = sites.copy()
        construct(wires, board, np.array([cell]), sites)
        kind = wires.kind[cell]
        free = np.setdiff1d(np.arange(board.kind_sites[kind], board.kind_sites[kind + 1]), before)
        assert placed_wire(problem, sites) == min(placed_wire(problem, _with(before, cell, s)) for s in free)
    start = problem.wirelength(sites)
    relocate(wires, board, problem.tree.order, sites)
    problem.check(problem.placement_of(sites))
    assert problem.wirelength(sites) < start


def _with(sites: kernels.Int32, cell: int, site: int) -> kernels.Int32:
    out = sites.copy()
    out[cell] = site
    return out


def placed_wire(problem: PlacementProblem, sites: kernels.Int32) -> int:
    total = 0
    for net, weight in enumerate(problem.netlist.net_weights.tolist()):
        at = [problem.board.xy[sites[c]] for c in problem.netlist.cells_of(net) if sites[c] >= 0]
        if at:
            total += weight * int((np.max(at, axis=0) - np.min(at, axis=0)).sum())
    return total


def test_every_site_of_the_part_is_reached_and_none_in_the_hole() -> None:
    problem = load_instance("placement/dorefa")
    assert isinstance(problem, PlacementProblem)
    assert (problem.sizes <= 64).all()
    choices = random_choices(problem, 1)
    problem.check(problem.decode(choices))
    tree = problem.tree
    covered = np.zeros(len(tree.xy), dtype=int)
    for x, end_x, y, end_y in tree.regions.tolist():
        covered += (
            (tree.xy[:, 0] >= x) & (tree.xy[:, 0] < end_x) & (tree.xy[:, 1] >= y) & (tree.xy[:, 1] < end_y)
        )
    assert (covered == 1).all()


def test_a_piece_of_a_netlist_keeps_its_nets() -> None:
    whole = systolic_array(np.random.default_rng(0), 4, 4, 3)
    piece = piece_of(np.random.default_rng(1), whole, 30, "piece")
    assert piece.cells == 30
    names = set(piece.cell_names)
    kept = [{whole.cell_names[c] for c in whole.cells_of(n)} & names for n in range(whole.nets)]
    assert {frozenset(k) for k in kept if len(k) > 1} == {
        frozenset(piece.cell_names[c] for c in piece.cells_of(n)) for n in range(piece.nets)
    }


def test_illegal_placements_are_refused() -> None:
    problem = by_hand()
    site = best_by_hand(problem).site.copy()
    site[1] = site[0]
    with pytest.raises(IllegalSolutionError, match="holds 2 cells: 'a', 'b'"):
        problem.evaluate(Placement(site))


def too_many() -> Netlist:
    return build_netlist("big", [(f"c{i}", "CLB", "") for i in range(40)], [((0, 1), 1)])


@pytest.mark.parametrize(
    ("netlist", "fabric", "error", "message"),
    [
        (too_many(), "grid-7x5", InfeasibleError, "40 cells need CLB sites, the fabric has 25: 15 over"),
        (too_many(), "grid-3x5", PartError, "grid of 3 x 5 tiles"),  # no room for a column of each kind
        (too_many(), "xc7z02", PartError, "did you mean 'xc7z020'"),  # no such part
        (
            random_logic(np.random.default_rng(0), 40, 0.6, 0.2),
            "xc7z020",
            InfeasibleError,
            "need sites of kind",
        ),
        (
            too_many(),
            "grid-300x1100",
            InfeasibleError,
            "placement decides between 64 at most",
        ),  # too large for the tree
    ],
)
def test_instances_that_cannot_be_placed_are_refused(
    netlist: Netlist, fabric: str, error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        _ = PlacementProblem("placement/x", netlist, fabric).sizes


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"net_cells": [\n   0', '"net_cells": [\n   -1', "net_cells holds numbers outside"),
        ('"net_cells": [\n   0', '"net_cells": [\n   99999999999', "net_cells holds numbers outside"),
        ('"net_cells": [\n   0', '"net_cells": [\n   77', "a net holds a cell number outside 0..4"),
        ('"fabric"', '"fabrik"', "fabrik"),
        ('"net_weights": [\n   1', '"net_weights": [\n   NaN', "not valid JSON"),
        ("placement-problem/1", "placement-problem/9", "format is"),
    ],
)
def test_files_that_are_no_instance_are_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = to_json(by_hand())
    assert old in text
    path = tmp_path / "instance.json"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError if "a net" not in message else Exception, match=message):
        load_instance(path)


def test_names_do_not_change_the_hash() -> None:
    problem = by_hand()
    renamed = replace(problem.netlist, name="other", cell_names=("p", "q", "r", "s", "t"))
    other = PlacementProblem("placement/other", renamed, problem.fabric)
    assert other.content_hash() == problem.content_hash()
    assert fabric_of("grid-7x5") == problem.grid
