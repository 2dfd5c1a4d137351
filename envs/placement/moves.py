"""The annealer's kernels (njit): propose, price, accept, on plain arrays of a netlist and a board.

A proposal takes a cell at random and moves it to a site of its kind, or swaps it with the cell that stands there. A
*directed* proposal aims near the weighted mean of the boxes of the cell's nets, the others into a window around
the cell; the window shrinks with the share of proposals accepted. Nets that hold both swapped cells keep their box
and are skipped. A box is only computed anew where a pin leaves its edge. The temperature follows VPR's schedule and
exit rule.

Everything that a run needs to go on stands in `Run`, so a run may be cut into chunks anywhere: the same seed gives
the same run, whatever the chunks. Costs are integers: tiles times wires.

Sources: V. Betz, J. Rose, "VPR: A New Packing, Placement and Routing Tool for FPGA Research", FPL 1997 (schedule and
window); K. E. Murray et al., "VTR 8", TRETS 13 (2020), section on directed moves; S. Vigna, "An experimental exploration
of Marsaglia's xorshift generators, scrambled", TOMS 42 (2016) (the generator).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from foldwright.kernels import njit

__all__ = [
    "Board",
    "Run",
    "Wires",
    "anneal",
    "begin",
    "is_finished",
    "load",
    "new_run",
    "random_sites",
    "temperatures_left",
    "wirelength",
]

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


class Wires(NamedTuple):
    """A netlist as the kernels want it; see `foldwright.netlists.netlist.Netlist`."""

    kind: Int32  # (cells,)
    cell_offsets: Int32  # (cells + 1,)
    cell_nets: Int32  # (pins,), the nets of each cell
    net_offsets: Int32  # (nets + 1,)
    net_cells: Int32  # (pins,), the cells of each net
    weights: Int64  # (nets,)


class Board(NamedTuple):
    """The sites of the kinds that a netlist needs, numbered by kind, then column, then row.

    `first_column[k, v]` is the first column of kind `k` at or right of tile `v`, `first_site[c, v]` the first site of
    column `c` at or above tile `v`; both have an entry for each tile of the grid and one beyond. `reach` is the distance
    in tiles that leads from a column of a kind to the next.
    """

    xy: Int32  # (sites, 2)
    kind_sites: Int32  # (kinds + 1,)
    kind_columns: Int32  # (kinds + 1,)
    column_x: Int32  # (columns,)
    column_sites: Int32  # (columns + 1,)
    first_column: Int32  # (kinds, width + 1)
    first_site: Int32  # (columns, height + 1)
    reach: Int32  # (kinds, 2)


class Run(NamedTuple):
    """The state of an annealing run; see the `S_` and `N_` positions for the last two."""

    site: Int32  # (cells,)
    xy: Int32  # (cells, 2)
    holder: Int32  # (sites,), the cell that stands there or -1
    box: Int32  # (nets, EDGES): least x, most x, least y, most y
    trial_box: Int32  # (nets, EDGES)
    trial_net: Int32  # (nets,)
    mark: Int64  # (nets,)
    numbers: Int64  # (3,)
    floats: npt.NDArray[np.float64]  # (11,)


EDGES = 8
"""Entries of a box: least x, most x, least y, most y, and how many cells stand on each, kept for all but small nets."""
N_COST, N_STAMP, N_RANDOM = range(3)
(
    S_TEMPERATURE, S_WINDOW, S_MADE, S_ACCEPTED, S_SUM, S_SQUARES, S_PER_TEMPERATURE, S_PHASE, S_TEMPERATURES,
    S_DIRECTED, S_HEAT,
) = range(11)  # fmt: skip
MEASURE, COOL, FREEZE, FINISHED = range(4)

_WIDE_NET = 10
"""Nets with more cells do not direct proposals: they say little about where a cell should be."""
_SMALL_NET = 3
"""Nets with at most so many cells are measured anew at once: quicker than to ask whether that is needed."""
_EXIT_SHARE = 0.005
_FINAL_SHARE = 0.8
"""What is left of the cost at the exit, as far as one can say before."""
_DRAWS = 4
_DIRECTED_WINDOW = 3
_LOG_STEPS = 1 << 12
_MINUS_LOG = -np.log((np.arange(_LOG_STEPS) + 0.5) / _LOG_STEPS)
"""-ln(u) of evenly spread u: what a proposal may cost, over the temperature."""


@njit(cache=True, inline="always")
def _step(state: np.uint64) -> np.uint64:
    """Returns the next state of a xorshift generator with 64 bits."""
    state ^= state >> np.uint64(12)
    state ^= state << np.uint64(25)
    return state ^ (state >> np.uint64(27))


@njit(cache=True, inline="always")
def _below(state: np.uint64, limit: int) -> np.int64:
    """Returns an integer in 0 .. limit - 1 from a state."""
    high = (state * np.uint64(2685821657736338717)) >> np.uint64(32)
    return np.int64((high * np.uint64(limit)) >> np.uint64(32))


def new_run(wires: Wires, board: Board, sites: Int32, seed: int) -> Run:
    """Returns a run that stands on the given sites; `begin` says how it goes on."""
    nets = len(wires.weights)
    run = Run(
        site=sites.astype(np.int32),
        xy=np.zeros((len(sites), 2), dtype=np.int32),
        holder=np.full(len(board.xy), -1, dtype=np.int32),
        box=np.zeros((nets, EDGES), dtype=np.int32),
        trial_box=np.zeros((nets, EDGES), dtype=np.int32),
        trial_net=np.zeros(nets, dtype=np.int32),
        mark=np.zeros(nets, dtype=np.int64),
        numbers=np.zeros(3, dtype=np.int64),
        floats=np.zeros(11),
    )
    run.numbers[N_RANDOM] = np.random.default_rng(seed).integers(1, 2**62)
    load(wires, board, run, run.site)
    return run


@njit(cache=True)
def load(wires: Wires, board: Board, run: Run, sites: Int32) -> None:
    """Puts every cell of a run on its site and computes all boxes and the cost."""
    run.holder[:] = -1
    for cell in range(len(sites)):
        run.site[cell] = sites[cell]
        run.holder[sites[cell]] = cell
        run.xy[cell] = board.xy[sites[cell]]
    cost = 0
    for net in range(len(wires.weights)):
        _count_edges(wires.net_offsets, wires.net_cells, run.xy, net, run.box, net)
        cost += wires.weights[net] * (run.box[net, 1] - run.box[net, 0] + run.box[net, 3] - run.box[net, 2])
    run.numbers[N_COST] = cost


@njit(cache=True)
def wirelength(wires: Wires, board: Board, sites: Int32) -> int:
    """Returns the weighted half-perimeter wirelength of a placement in tiles."""
    cost = 0
    for net in range(len(wires.weights)):
        x0, y0 = board.xy[sites[wires.net_cells[wires.net_offsets[net]]]]
        x1, y1 = x0, y0
        for pin in range(wires.net_offsets[net] + 1, wires.net_offsets[net + 1]):
            x, y = board.xy[sites[wires.net_cells[pin]]]
            x0, x1, y0, y1 = min(x0, x), max(x1, x), min(y0, y), max(y1, y)
        cost += wires.weights[net] * (x1 - x0 + y1 - y0)
    return cost


@njit(cache=True)
def random_sites(wires: Wires, board: Board, rng: np.random.Generator) -> Int32:
    """Returns a random placement."""
    sites = np.empty(len(wires.kind), dtype=np.int32)
    for kind in range(len(board.kind_sites) - 1):
        free = rng.permutation(board.kind_sites[kind + 1] - board.kind_sites[kind])
        used = 0
        for cell in range(len(sites)):
            if wires.kind[cell] == kind:
                sites[cell] = board.kind_sites[kind] + free[used]
                used += 1
    return sites


def begin(run: Run, per_temperature: int, directed: float, heat: float, window: float) -> None:
    """Starts an annealing schedule from where a run stands.

    Args:
        per_temperature: Proposals at each temperature.
        directed: Share of the proposals that aim near a cell's nets.
        heat: First temperature over the standard deviation of the cost of proposals.
        window: First distance in tiles that undirected proposals may go.
    """
    run.floats[:] = 0.0
    run.floats[S_PER_TEMPERATURE], run.floats[S_DIRECTED] = per_temperature, directed
    run.floats[S_HEAT], run.floats[S_WINDOW] = heat, window


def is_finished(run: Run) -> bool:
    """Whether the schedule has come to its end."""
    return bool(run.floats[S_PHASE] == FINISHED)


@njit(cache=True, inline="always")
def _box_of(net_offsets: Int32, net_cells: Int32, xy: Int32, net: int) -> tuple[int, int, int, int]:
    first = net_offsets[net]
    cell = net_cells[first]
    x0, y0 = xy[cell, 0], xy[cell, 1]
    x1, y1 = x0, y0
    for pin in range(first + 1, net_offsets[net + 1]):
        cell = net_cells[pin]
        x, y = xy[cell, 0], xy[cell, 1]
        x0, x1, y0, y1 = min(x0, x), max(x1, x), min(y0, y), max(y1, y)
    return x0, x1, y0, y1


@njit(cache=True)
def anneal(wires: Wires, board: Board, run: Run, limit: int) -> int:
    """Makes up to `limit` proposals of a schedule that was begun; returns how many it made."""
    made = 0
    while made < limit and run.floats[S_PHASE] != FINISHED:
        phase = run.floats[S_PHASE]
        wanted = len(wires.kind) if phase == MEASURE else int(run.floats[S_PER_TEMPERATURE])
        left = max(0, min(limit - made, wanted - int(run.floats[S_MADE])))  # `wanted` may have been lowered
        _proposals(wires, board, run, left)
        made += left
        run.floats[S_MADE] += left
        if run.floats[S_MADE] >= wanted:
            _cool(run, len(wires.weights), len(board.first_column[0]), len(board.first_site[0]))
    return made


@njit(cache=True)
def _cool(run: Run, nets: int, width: int, height: int) -> None:
    """Ends a temperature: sets the next one and the window by the share of proposals accepted."""
    state = run.floats
    made = state[S_MADE]
    share = state[S_ACCEPTED] / made
    if state[S_PHASE] == MEASURE:
        mean = state[S_SUM] / made
        deviation = math.sqrt(max(0.0, state[S_SQUARES] / made - mean * mean))
        state[S_TEMPERATURE], state[S_PHASE] = state[S_HEAT] * deviation, COOL
    elif state[S_PHASE] == COOL:
        if share > 0.96:
            factor = 0.5
        elif share > 0.8:
            factor = 0.9
        else:
            factor = 0.95 if share > 0.15 or state[S_WINDOW] > 1.0 else 0.8
        state[S_TEMPERATURE] *= factor
        state[S_WINDOW] = min(max(1.0, state[S_WINDOW] * (0.56 + share)), float(max(width, height)))
        if state[S_TEMPERATURE] < _EXIT_SHARE * run.numbers[N_COST] / max(1, nets):
            state[S_TEMPERATURE], state[S_PHASE] = 0.0, FREEZE
    else:
        state[S_PHASE] = FINISHED
    state[S_TEMPERATURES] += 1
    state[S_MADE] = state[S_ACCEPTED] = state[S_SUM] = state[S_SQUARES] = 0.0


def temperatures_left(run: Run) -> int:
    """Returns about how many temperatures a schedule has left: each is 0.95 of the one before, down to that of the exit."""
    exit_temperature = _EXIT_SHARE * _FINAL_SHARE * float(run.numbers[N_COST]) / max(1, len(run.mark))
    over = run.floats[S_TEMPERATURE] / max(exit_temperature, 1e-30)
    return 2 + max(0, int(math.log(max(over, 1e-30)) / -math.log(0.95)))


@njit(cache=True, inline="always")
def _aim(wires: Wires, xy: Int32, cell: int) -> tuple[int, int]:
    """Returns the weighted mean of the centres of the cell's nets without the cell itself; (-1, -1) if it has none."""
    _, cell_offsets, cell_nets, net_offsets, net_cells, weights = wires
    total, at_x, at_y = 0, 0, 0
    for at in range(cell_offsets[cell], cell_offsets[cell + 1]):
        net = cell_nets[at]
        first, end = net_offsets[net], net_offsets[net + 1]
        if end - first > _WIDE_NET:
            continue
        x0, x1, y0, y1 = np.int32(1 << 30), np.int32(-1), np.int32(1 << 30), np.int32(-1)
        for pin in range(first, end):
            other = net_cells[pin]
            if other != cell:
                x, y = xy[other, 0], xy[other, 1]
                x0, x1, y0, y1 = min(x0, x), max(x1, x), min(y0, y), max(y1, y)
        weight = weights[net]
        total += weight
        at_x += weight * (x0 + x1)
        at_y += weight * (y0 + y1)
    if total == 0:
        return -1, -1
    return (at_x + total) // (2 * total), (at_y + total) // (2 * total)


@njit(cache=True, inline="always")
def _between(state: np.uint64, low: int, high: int, least: int, most: int) -> int:
    """Returns an integer of low .. high within least .. most; where only one is left, now and then a neighbour."""
    low, high = max(low, least), min(high, most)
    if low >= high:
        low, high = max(least, min(low, high) - 1), min(most, max(low, high) + 1)
    return low + _below(state, high - low + 1)


@njit(cache=True, inline="always")
def _draw_site(
    board: Board, kind: int, aim: tuple[int, int], reach_x: int, reach_y: int, state: np.uint64
) -> int:
    """Returns a site of a kind near tile `aim`, in a column that lies within `reach_x` where there is one."""
    x, y = aim
    width, height = board.first_column.shape[1] - 1, board.first_site.shape[1] - 1
    columns, ends = board.kind_columns[kind], board.kind_columns[kind + 1]
    low = board.first_column[kind, max(0, x - reach_x)]
    high = board.first_column[kind, min(width, x + reach_x + 1)] - 1
    column = _between(state, low, high, columns, ends - 1)
    low = board.first_site[column, max(0, y - reach_y)]
    high = board.first_site[column, min(height, y + reach_y + 1)] - 1
    return _between(_step(state), low, high, board.column_sites[column], board.column_sites[column + 1] - 1)


@njit(cache=True)
def _count_edges(net_offsets: Int32, net_cells: Int32, xy: Int32, net: int, box: Int32, row: int) -> None:
    """Writes a net's box into a row, and how many of its cells stand on each edge."""
    x0, x1, y0, y1 = _box_of(net_offsets, net_cells, xy, net)
    at_x0, at_x1, at_y0, at_y1 = 0, 0, 0, 0
    for pin in range(net_offsets[net], net_offsets[net + 1]):
        cell = net_cells[pin]
        at_x0 += xy[cell, 0] == x0
        at_x1 += xy[cell, 0] == x1
        at_y0 += xy[cell, 1] == y0
        at_y1 += xy[cell, 1] == y1
    box[row, 0], box[row, 1], box[row, 2], box[row, 3] = x0, x1, y0, y1
    box[row, 4], box[row, 5], box[row, 6], box[row, 7] = at_x0, at_x1, at_y0, at_y1


@njit(cache=True)
def _least(edge: int, count: int, old: int, new: int) -> tuple[int, int]:
    """Returns a lower edge and how many stand on it after one went from old to new; none if that is unknown."""
    if new < edge:
        return new, 1
    return edge, count - (old == edge) + (new == edge)


@njit(cache=True)
def _most(edge: int, count: int, old: int, new: int) -> tuple[int, int]:
    if new > edge:
        return new, 1
    return edge, count - (old == edge) + (new == edge)


@njit(cache=True, inline="always")
def _price(
    net_offsets: Int32, net_cells: Int32, xy: Int32, box: Int32, trial: Int32, slot: int, net: int,
    old_x: int, old_y: int, new_x: int, new_y: int,
) -> int:  # fmt: skip
    """Writes the box of a net one cell of which has moved into a row of `trial`; returns by how much it grew."""
    x0, x1, y0, y1 = box[net, 0], box[net, 1], box[net, 2], box[net, 3]
    before = x1 - x0 + y1 - y0
    if net_offsets[net + 1] - net_offsets[net] <= _SMALL_NET:
        x0, x1, y0, y1 = _box_of(net_offsets, net_cells, xy, net)
        trial[slot, 0], trial[slot, 1], trial[slot, 2], trial[slot, 3] = x0, x1, y0, y1
        return x1 - x0 + y1 - y0 - before
    x0, at_x0 = _least(x0, box[net, 4], old_x, new_x)
    x1, at_x1 = _most(x1, box[net, 5], old_x, new_x)
    y0, at_y0 = _least(y0, box[net, 6], old_y, new_y)
    y1, at_y1 = _most(y1, box[net, 7], old_y, new_y)
    if at_x0 == 0 or at_x1 == 0 or at_y0 == 0 or at_y1 == 0:
        _count_edges(net_offsets, net_cells, xy, net, trial, slot)
        return trial[slot, 1] - trial[slot, 0] + trial[slot, 3] - trial[slot, 2] - before
    trial[slot, 0], trial[slot, 1], trial[slot, 2], trial[slot, 3] = x0, x1, y0, y1
    trial[slot, 4], trial[slot, 5], trial[slot, 6], trial[slot, 7] = at_x0, at_x1, at_y0, at_y1
    return x1 - x0 + y1 - y0 - before


@njit(cache=True)
def _proposals(wires: Wires, board: Board, run: Run, count: int) -> None:
    """Makes `count` proposals at the run's temperature."""
    kinds, cell_offsets, cell_nets, net_offsets, net_cells, weights = wires
    site, xy, holder, box, trial_box, trial_net, mark, numbers, floats = run
    board_xy, reach, cells = board.xy, board.reach, len(kinds)
    temperature, measuring = floats[S_TEMPERATURE], floats[S_PHASE] == MEASURE
    window, accepted, total, squares = max(1, int(floats[S_WINDOW])), 0, 0.0, 0.0
    directed = np.uint64(0 if measuring else int(floats[S_DIRECTED] * 2.0**32))
    state = np.uint64(numbers[N_RANDOM])
    stamp, cost = numbers[N_STAMP], numbers[N_COST]
    for _ in range(count):
        state = _step(state)
        cell = _below(state, cells)
        here, kind = site[cell], kinds[cell]
        old = (xy[cell, 0], xy[cell, 1])
        aim, near = old, window
        if (state & np.uint64(0xFFFFFFFF)) < directed:
            mean = _aim(wires, xy, cell)
            if mean[0] >= 0:
                aim, near = (np.int32(mean[0]), np.int32(mean[1])), min(window, _DIRECTED_WINDOW)
        reach_x, reach_y = max(near, reach[kind, 0]), max(near, reach[kind, 1])
        there = here
        for _ in range(_DRAWS):
            state = _step(state)
            there = _draw_site(board, kind, aim, reach_x, reach_y, state)
            state = _step(state)
            if there != here:
                break
        if there == here:
            continue
        new = (board_xy[there, 0], board_xy[there, 1])
        other = holder[there]
        xy[cell, 0], xy[cell, 1] = new
        if other >= 0:
            xy[other, 0], xy[other, 1] = old
            stamp += 2
            for at in range(cell_offsets[other], cell_offsets[other + 1]):
                mark[cell_nets[at]] = stamp
        used, change = 0, 0
        for side in range(1 if other < 0 else 2):
            mover, start, end = (cell, old, new) if side == 0 else (other, new, old)
            for at in range(cell_offsets[mover], cell_offsets[mover + 1]):
                net = cell_nets[at]
                if other >= 0 and (mark[net] == stamp) == (side == 0):
                    mark[net] = stamp + 1  # holds both cells: the same tiles stay taken
                    continue
                change += weights[net] * _price(
                    net_offsets, net_cells, xy, box, trial_box, used, net, start[0], start[1], end[0], end[1]
                )
                trial_net[used] = net
                used += 1
        state = _step(state)
        if measuring:
            total += change
            squares += float(change) * float(change)
        elif change > 0 and change > temperature * _MINUS_LOG[_below(state, _LOG_STEPS)]:
            xy[cell, 0], xy[cell, 1] = old
            if other >= 0:
                xy[other, 0], xy[other, 1] = new
            continue
        accepted += 1
        cost += change
        site[cell], holder[there], holder[here] = there, cell, other
        if other >= 0:
            site[other] = here
        for slot in range(used):
            net = trial_net[slot]
            for edge in range(EDGES):
                box[net, edge] = trial_box[slot, edge]
    numbers[N_RANDOM] = np.int64(state)
    numbers[N_STAMP], numbers[N_COST] = stamp, cost
    floats[S_ACCEPTED] += accepted
    floats[S_SUM] += total
    floats[S_SQUARES] += squares
