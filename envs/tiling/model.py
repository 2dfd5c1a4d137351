"""The tiling problem as a CP-SAT model: a relaxation of the simulator, so its bound is a bound.

One Boolean per layer and (input, residual and output on chip, input ahead, tile), an integer for the blocks of weights that
are pinned. The model keeps:

- per slot of an engine, the sum of live words of maps (no fragmentation) decides the depth of these memories; pinned weights
  and a place for chunks decide that of the weights; the exact staircase from depth to block RAMs, summed over all
  memories, stays within the pool;
- a layer takes at least the cycles of its tiles, and the first load of an input that cannot come while the layer before
  computes; an engine's round is the sum of its layers' times;
- each channel of the DRAM port is busy for at least all its bits over its width, loads for what each takes besides;
- the loads of successive layers of an engine come while these run, but for as many weights as its places hold: what cannot be
  prefetched for lack of memory makes layers wait. Runs of layers that begin or end within a group of fused ones are left out;
- a fused layer but a group's last has either one band, then all of its output is held, or streams its weights at least twice.

It leaves out stalls between tiles and between loads and stores, and the waits of engines for each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import block_rams_of
from foldwright.accel.evaluate import (
    AHEAD,
    DECISIONS,
    OUTPUT_CHIP,
    OUTPUT_DRAM,
    OUTPUT_FUSED,
    WEIGHTS_PINNED,
    expand,
    pinned_blocks,
)
from foldwright.accel.mapping import (
    M_BLOCKS,
    M_LATENCY,
    M_ROW_CYCLES,
    M_ROWS,
    M_WEIGHT_WORD_BITS,
    M_WEIGHT_WORDS_PER_BLOCK,
)
from foldwright.accel.memory import (
    HOLDS_INPUT,
    HOLDS_TENSOR,
    I_ENGINE,
    I_LAYER,
    I_MASK,
    I_MEMORY,
    I_WHAT,
    I_WORDS,
    MEMORY_WEIGHT,
    deepest,
    live_items,
)
from foldwright.accel.tables import L_INPUT, L_POOL_S, L_RESIDUAL
from foldwright.accel.tiles import (
    DRAM_LATENCY_CYCLES,
    ORDER_ROWS,
    P_BLOCKS,
    P_BUFFER_ROWS,
    P_IN_BITS_PER_ROW,
    P_IN_DRAM,
    P_IN_H,
    P_ORDER,
    P_OUT_BITS_PER_ROW,
    P_RESIDUAL_DRAM,
    P_ROWS,
    P_STORED_H,
    P_TILE_BLOCKS,
    P_TILE_ROWS,
    P_WEIGHT_BITS_PER_BLOCK,
    TRANSFER_CYCLES,
    input_rows,
    is_ahead,
    layer_cycles,
    traffic_bits,
)
from foldwright.envs.cp_problem import CpProblem

if TYPE_CHECKING:
    from foldwright.envs.tiling.problem import TilingProblem

__all__ = ["tiling_model"]

IntArray = npt.NDArray[np.int64]

_NOTE = "memory without fragmentation, no stalls between tiles"


@dataclass
class _Option:
    """One way to run a layer but for how much of its weights is pinned.

    Attributes:
        residency: whether the input, the residual and the output are on chip.
        fusing: whether the layer is fused with the one before and with the next one.
        port_bits: loads of input and residual, what each takes besides included.
        own_bits: those of them that cannot come before the layer's turn: all but what the copies of a tile's rows hold before.
        late_bits: those of them that cannot come before the turn of the layer before.
        sweeps: how often weights come where several chunks stream, or at least where the layer is fused.
        one_chunk: the most streamed blocks that are a single chunk.
        anew: whether these come in every sweep, too, as those of fused layers do.
        cycles: of the tiles, and of a first load that nothing hides.
        words: of maps by (engine, memory, slot).
    """

    tile: int
    residency: tuple[bool, bool, bool]
    fusing: tuple[bool, bool]
    ahead: int
    tile_blocks: int
    sweeps: int
    one_chunk: int
    anew: bool
    port_bits: int
    own_bits: int
    late_bits: int
    stored_bits: int
    cycles: int
    words: dict[tuple[int, int, int], int] = field(default_factory=dict)

    @property
    def kind(self) -> tuple[Any, ...]:
        """What options must share to be compared."""
        return (*self.residency, *self.fusing, self.sweeps > 1, self.anew)

    @property
    def streaming(self) -> tuple[int, int, int, bool]:
        """How weights come."""
        return self.tile_blocks, self.sweeps, self.one_chunk, self.anew

    def beats(self, other: _Option) -> bool:
        """Whether nothing speaks for the other one."""
        names = (
            "port_bits",
            "own_bits",
            "late_bits",
            "stored_bits",
            "cycles",
            "tile_blocks",
            "sweeps",
            "ahead",
        )
        if any(getattr(self, n) > getattr(other, n) for n in names) or self.one_chunk < other.one_chunk:
            return False
        return all(words <= other.words.get(key, 0) for key, words in self.words.items())


def _options(problem: TilingProblem, i: int) -> list[_Option]:
    """Returns the ways to run layer `i` that no other beats, whatever the makers of its inputs choose."""
    layers = problem.tables[0]
    source, residual = int(layers[i, L_INPUT]), int(layers[i, L_RESIDUAL])
    kept: list[_Option] = []
    found: list[_Option] = []
    joins = i > 0 and problem.sizes[DECISIONS * (i - 1) + 1] > OUTPUT_FUSED
    for inside, added, output, joined in product(
        (False, True) if source >= 0 else (False,),
        (False, True) if residual >= 0 and residual != source else (False,),
        range(int(problem.sizes[DECISIONS * i + 1])),
        (False, True) if joins else (False,),
    ):
        choices = problem.fallback.copy()
        if residual >= 0:
            choices[DECISIONS * residual + 1] = OUTPUT_CHIP if added else OUTPUT_DRAM
        if source >= 0:
            choices[DECISIONS * source + 1] = OUTPUT_CHIP if inside else OUTPUT_DRAM
        choices[DECISIONS * i + 1] = min(output, OUTPUT_CHIP)
        residency = (inside, inside if residual == source else added, output >= OUTPUT_CHIP)
        fusing = (joined, output == OUTPUT_FUSED)
        for ahead, tile in product((0,) if inside else (0, 1), range(int(problem.sizes[DECISIONS * i + 2]))):
            choices[DECISIONS * i], choices[DECISIONS * i + 2] = WEIGHTS_PINNED + AHEAD * ahead, tile
            option = replace(_option(problem, i, choices, residency, ahead), fusing=fusing)
            found += _fused(problem, i, option, choices) if any(fusing) else [option]
    for option in sorted(found, key=lambda o: (o.cycles, o.port_bits, o.tile_blocks, sum(o.words.values()))):
        if not any(other.kind == option.kind and other.beats(option) for other in kept):
            kept.append(option)
    return kept


def _option(
    problem: TilingProblem, i: int, choices: IntArray, residency: tuple[bool, bool, bool], ahead: int
) -> _Option:
    plan, dram_bits = expand(*problem.tables, choices)[i], int(problem.tables[7][1])
    load, store = (int(b) for b in traffic_bits(plan))
    parts_m, parts_y = (
        -(-int(plan[a]) // int(plan[b])) for a, b in ((P_BLOCKS, P_TILE_BLOCKS), (P_ROWS, P_TILE_ROWS))
    )
    cycles, transfers, exposed = int(layer_cycles(plan)), 0, False
    if plan[P_IN_DRAM]:
        transfers = parts_y if plan[P_ORDER] == ORDER_ROWS or parts_y == 1 else parts_m * parts_y
        exposed = _is_exposed(problem, i, ahead)
        if exposed:
            first = int(input_rows(plan, 0, plan[P_TILE_ROWS]) * plan[P_IN_BITS_PER_ROW])
            cycles += -(-first // dram_bits) + DRAM_LATENCY_CYCLES
    port_bits = load + transfers * TRANSFER_CYCLES * dram_bits
    own_bits = port_bits if exposed else max(0, port_bits - _early_bits(plan, port_bits, dram_bits))
    return _Option(
        tile=int(choices[DECISIONS * i + 2]),
        residency=residency,
        fusing=(False, False),
        ahead=ahead,
        tile_blocks=int(plan[P_TILE_BLOCKS]),
        sweeps=parts_y if plan[P_ORDER] == ORDER_ROWS and parts_m > 1 else 1,
        one_chunk=int(plan[P_BLOCKS] - (parts_m - 1) * plan[P_TILE_BLOCKS]),
        anew=False,
        port_bits=port_bits,
        own_bits=own_bits,
        late_bits=own_bits if is_ahead(plan) else port_bits,
        stored_bits=store,
        cycles=cycles,
        words=_words(problem, i, choices, 0),
    )


def _fused(problem: TilingProblem, i: int, option: _Option, choices: IntArray) -> Iterator[_Option]:
    """Yields what an option becomes at least where the layer is fused: with one band, and with several.

    A group's last layer has the bands of its tile; those of the others are not known, so only their largest tile counts.
    """
    mapping, tiles = problem.tables[2][i], problem.tables[6][i]
    rows, blocks = int(mapping[M_ROWS]), int(mapping[M_BLOCKS])
    tile_blocks, tile_rows, _ = (int(v) for v in tiles[option.tile])
    parts_m, pooled = -(-blocks // tile_blocks), int(problem.tables[0][i, L_POOL_S])
    is_last = not option.fusing[1]
    if not is_last and option.tile != np.flatnonzero(tiles[:, 0] == tile_blocks)[0]:
        return  # its rows do not matter
    plan, dram_bits = expand(*problem.tables, choices)[i], int(problem.tables[7][1])
    port_bits = int(input_rows(plan, 0, rows) * plan[P_IN_BITS_PER_ROW]) if plan[P_IN_DRAM] else 0
    port_bits += TRANSFER_CYCLES * dram_bits if plan[P_IN_DRAM] else 0
    port_bits += int(plan[P_STORED_H] * plan[P_OUT_BITS_PER_ROW]) if plan[P_RESIDUAL_DRAM] else 0
    for bands in (-(-rows // (-(-tile_rows // pooled) * pooled)),) if is_last else (1, 2):
        yield replace(
            option,
            sweeps=bands,
            anew=bands > 1,
            port_bits=port_bits,
            own_bits=0,
            late_bits=0,
            cycles=blocks * rows * int(mapping[M_ROW_CYCLES]) + parts_m * bands * int(mapping[M_LATENCY]),
            words=_words(problem, i, choices, bands, is_last),
        )


def _words(
    problem: TilingProblem, i: int, choices: IntArray, bands: int, is_last: bool = False
) -> dict[tuple[int, int, int], int]:
    """Returns the words of maps by (engine, memory, slot) of layer `i`; the fewest that there can be where it is fused.

    Args:
        bands: of the layer's group, 0 where it is not fused.
        is_last: whether it is the group's last layer, whose output is whole.
    """
    layers, engines, mappings, assignment, _, _, _, numbers = problem.tables
    plans = expand(*problem.tables, choices)
    items = live_items(layers, engines, mappings, assignment, numbers[0], plans)
    out: dict[tuple[int, int, int], int] = {}
    for item in items[(items[:, I_LAYER] == i) & (items[:, I_MEMORY] != MEMORY_WEIGHT)]:
        words, plan = int(item[I_WORDS]), plans[i]
        if bands and item[I_WHAT] == HOLDS_INPUT:
            words //= int(plan[P_BUFFER_ROWS])
            words *= _most_rows_read(plan) if bands > 1 else int(plan[P_IN_H])
        elif bands > 1 and not is_last and item[I_WHAT] == HOLDS_TENSOR:
            words = words // int(plan[P_STORED_H]) * _fewest_held_rows(layers, assignment, plans, i)
        for slot in range(int(item[I_MASK]).bit_length()):
            if int(item[I_MASK]) >> slot & 1:
                key = (int(item[I_ENGINE]), int(item[I_MEMORY]), slot)
                out[key] = out.get(key, 0) + words
    return out


def _most_rows_read(plan: IntArray) -> int:
    """Returns the most input rows that one output row reads."""
    return max(int(input_rows(plan, row, row + 1)) for row in range(int(plan[P_ROWS])))


def _fewest_held_rows(layers: IntArray, assignment: IntArray, plans: IntArray, i: int) -> int:
    """Returns the fewest rows of a fused layer's output that are held, whatever the group."""
    held = 1
    for c in range(i + 1, len(layers)):
        reads = layers[c, L_INPUT] == i
        whole = assignment[c] != assignment[i] or (reads and plans[c, P_IN_H] != plans[i, P_STORED_H])
        if (reads or layers[c, L_RESIDUAL] == i) and whole:
            return int(plans[i, P_STORED_H])
        held = max(held, _most_rows_read(plans[c])) if reads else held
    return held


def _early_bits(plan: IntArray, port_bits: int, dram_bits: int) -> int:
    """Returns the most bits of a layer's loads that may come before its turn: of two tiles, for which there is room."""
    rows, tile_rows = int(plan[P_ROWS]), int(plan[P_TILE_ROWS])
    if tile_rows >= rows:
        return port_bits
    early = 2 * TRANSFER_CYCLES * dram_bits
    if plan[P_IN_DRAM]:
        first_rows = input_rows(plan, 0, tile_rows) + input_rows(plan, tile_rows, min(rows, 2 * tile_rows))
        early += int(first_rows * plan[P_IN_BITS_PER_ROW])
    if plan[P_RESIDUAL_DRAM]:
        early += int(2 * tile_rows * plan[P_OUT_BITS_PER_ROW])
    return early


def _is_exposed(problem: TilingProblem, i: int, ahead: int) -> bool:
    """Whether a layer's first input can only come when the layer before it on its engine has ended."""
    layers, assignment = problem.tables[0], problem.tables[3]
    before = [k for k in range(i) if assignment[k] == assignment[i]]
    made_before = bool(before) and layers[i, L_INPUT] == before[-1]
    return not ahead or bool(made_before)


class _Layer:
    """The variables of one layer."""

    def __init__(self, model: Any, problem: TilingProblem, i: int) -> None:
        self.index, self.options = i, _options(problem, i)
        mapping, plan = problem.tables[2][i], expand(*problem.tables, problem.fallback)[i]
        blocks = int(mapping[M_BLOCKS])
        self.block_words = int(mapping[M_WEIGHT_WORDS_PER_BLOCK])
        self.block_bits = int(plan[P_WEIGHT_BITS_PER_BLOCK])
        self.picks = [model.new_bool_var("") for _ in self.options]
        model.add_exactly_one(self.picks)
        shares = [int(pinned_blocks(blocks, c)) for c in range(0, int(problem.sizes[DECISIONS * i]), 2)]
        self.level = model.new_int_var(0, len(shares) - 1, "")
        pinned = model.new_int_var(0, blocks, "")
        model.add_element(self.level, shares, pinned)
        self.pinned, self.streamed = pinned, blocks - pinned
        self.ahead = sum(o.ahead * p for o, p in self.pairs)
        self.is_fused = model.new_bool_var("")
        model.add(self.is_fused == sum(int(o.fusing[1]) * p for o, p in self.pairs))
        self.is_alone = model.new_bool_var("")
        model.add(self.is_alone == sum(int(not any(o.fusing)) * p for o, p in self.pairs))
        self.port_bits = self._chosen(model, "port_bits")
        self.own_bits = self._chosen(model, "own_bits")
        self.late_bits = self._chosen(model, "late_bits")
        self.stored_bits = self._chosen(model, "stored_bits")
        self.cycles = self._chosen(model, "cycles")
        self.weight_bits = self._weight_bits(model, blocks, int(problem.tables[7][1]))
        self.streams = model.new_bool_var("")
        model.add(pinned == blocks).only_enforce_if(~self.streams)

    def _chosen(self, model: Any, name: str) -> Any:
        """Returns a variable that is what the option taken says."""
        values = [getattr(o, name) for o in self.options]
        variable = model.new_int_var(min(values), max(values), "")
        model.add(variable == sum(value * p for value, p in zip(values, self.picks, strict=True)))
        return variable

    @property
    def pairs(self) -> Iterator[tuple[_Option, Any]]:
        return zip(self.options, self.picks, strict=True)

    def _weight_bits(self, model: Any, blocks: int, dram_bits: int) -> Any:
        """Returns the bits that weights take on the port, what each load takes besides included."""
        besides = TRANSFER_CYCLES * dram_bits
        least = self.block_bits + besides // max(o.tile_blocks for o in self.options)
        most = max(o.sweeps for o in self.options) * blocks * (self.block_bits + besides)
        bits = model.new_int_var(0, most, "")
        model.add(bits >= least * self.streamed)
        for key in sorted({o.streaming for o in self.options}):
            tile_blocks, sweeps, one_chunk, anew = key
            taken = sum(p for o, p in self.pairs if o.streaming == key)
            here = model.new_bool_var("")
            model.add(here == taken)
            each = self.block_bits + besides // tile_blocks
            if sweeps == 1:
                model.add(bits >= each * self.streamed).only_enforce_if(here)
                continue
            several = model.new_bool_var("")
            if anew:
                model.add(bits >= sweeps * each * self.streamed).only_enforce_if(here)
                continue
            model.add(self.streamed <= one_chunk).only_enforce_if(here, ~several)
            model.add(bits >= sweeps * each * self.streamed).only_enforce_if(here, several)
        return bits

    def chunks(self, model: Any, place: Any) -> None:
        """Ties the words of a place of the engine to the layer's chunks."""
        several = model.new_bool_var("")
        for tile_blocks, one_chunk in sorted({(o.tile_blocks, o.one_chunk) for o in self.options}):
            here = model.new_bool_var("")
            model.add(
                here
                == sum(p for o, p in self.pairs if (o.tile_blocks, o.one_chunk) == (tile_blocks, one_chunk))
            )
            model.add(place >= tile_blocks * self.block_words).only_enforce_if(here, several)
            model.add(place >= self.block_words * self.streamed).only_enforce_if(here, ~several)
            model.add(self.streamed <= one_chunk).only_enforce_if(here, ~several)
        model.add_implication(several, self.streams)


def tiling_model(problem: TilingProblem) -> CpProblem:
    """Returns the model of a tiling instance; see the module's docstring."""
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    layers = [_Layer(model, problem, i) for i in range(len(problem.workload.layers))]
    decisions = _decisions(model, problem, layers)
    _residency(model, problem, layers)
    rings = _pool(model, problem, layers)
    objective = _objective(model, problem, layers, rings)
    model.minimize(objective)
    return CpProblem(model, tuple(decisions), objective, is_relaxation=True, note=_NOTE)


def _decisions(model: Any, problem: TilingProblem, layers: list[_Layer]) -> list[Any]:
    out = []
    for layer in layers:
        at = DECISIONS * layer.index
        chosen = [model.new_int_var(0, int(size) - 1, "") for size in problem.sizes[at : at + DECISIONS]]
        model.add(chosen[0] == 2 * layer.level + layer.ahead)
        model.add(chosen[1] == sum((int(o.residency[2]) + int(o.fusing[1])) * p for o, p in layer.pairs))
        model.add(chosen[2] == sum(o.tile * p for o, p in layer.pairs))
        out += chosen
    return out


def _residency(model: Any, problem: TilingProblem, layers: list[_Layer]) -> None:
    """Ties what an option assumes of other layers, where its inputs lie and whether it is fused, to what these choose."""
    table = problem.tables[0]
    for layer in layers:
        for column, which in ((L_INPUT, 0), (L_RESIDUAL, 1)):
            maker = int(table[layer.index, column])
            if maker >= 0:
                on_chip = sum(int(o.residency[which]) * p for o, p in layer.pairs)
                model.add(on_chip == sum(int(o.residency[2]) * p for o, p in layers[maker].pairs))
        if layer.index:
            model.add(sum(int(o.fusing[0]) * p for o, p in layer.pairs) == layers[layer.index - 1].is_fused)


def _pool(model: Any, problem: TilingProblem, layers: list[_Layer]) -> dict[int, tuple[Any, Any]]:
    """Keeps all memories within the pool; returns what `_weights` does of every engine."""
    widths, geometries, pool = problem.tables[4], problem.tables[5], problem.pool_bram36
    assignment = problem.tables[3]
    live: dict[tuple[int, int, int], list[Any]] = {}
    for layer in layers:
        for option, pick in layer.pairs:
            for key, words in option.words.items():
                live.setdefault(key, []).append(words * pick)
    blocks, rings = [], {}
    for e, memory in sorted({key[:2] for key in live}):
        steps = _staircase(int(widths[e, memory]), geometries, pool)
        level = [model.new_bool_var("") for _ in steps]
        model.add_exactly_one(level)
        depth = sum(d * v for (d, _), v in zip(steps, level, strict=True))
        for key in (k for k in sorted(live) if k[:2] == (e, memory)):
            model.add(sum(live[key]) <= depth)
        blocks.append(sum(b * v for (_, b), v in zip(steps, level, strict=True)))
    for e in range(len(widths)):
        mine = [layer for layer in layers if assignment[layer.index] == e]
        depths = [int(deepest(widths[e, MEMORY_WEIGHT], b, geometries)) for b in range(pool + 1)]
        count = model.new_int_var(1, pool, "")
        depth = model.new_int_var(0, depths[-1], "")
        model.add_element(count, depths, depth)
        blocks.append(count)
        rings[e] = _weights(model, mine, depth, depths[-1])
    model.add(sum(blocks) <= pool)
    return rings


def _weights(model: Any, layers: list[_Layer], depth: Any, most: int) -> tuple[Any, Any]:
    """Keeps pinned weights and a place within a memory's depth; returns the words left for places, and whether two fit."""
    place, ring, two = model.new_int_var(0, most, ""), model.new_int_var(0, most, ""), model.new_bool_var("")
    for layer in layers:
        layer.chunks(model, place)
    model.add(ring == depth - sum(layer.block_words * layer.pinned for layer in layers))
    model.add(ring >= place)
    model.add(ring >= 2 * place).only_enforce_if(two)
    return ring, two


def _staircase(width: int, geometries: IntArray, pool: int) -> list[tuple[int, int]]:
    """Returns (greatest depth, block RAMs) of every step of a memory's size, from nothing up to the pool."""
    depths = sorted({int(d) * k for _, d, _ in geometries for k in range(1, 2 * pool + 1)})
    steps = {0: 0}
    for depth in depths:
        blocks = int(block_rams_of(width, depth, geometries))
        if blocks > pool:
            break
        steps[blocks] = depth
    return [(depth, blocks) for blocks, depth in steps.items()]


def _objective(
    model: Any, problem: TilingProblem, layers: list[_Layer], rings: dict[int, tuple[Any, Any]]
) -> Any:
    engines, mappings, assignment, numbers = (problem.tables[k] for k in (1, 2, 3, 7))
    dram_bits = int(numbers[1])
    worst = max(1, int(problem.cost_of(problem.fallback)))
    cycles = model.new_int_var(0, worst, "cycles")
    for e in range(len(engines)):
        mine = [layer for layer in layers if assignment[layer.index] == e]
        ring, two = rings[e]
        spans = [model.new_int_var(0, worst, "") for _ in mine]
        word_bits = -(-int(mappings[mine[0].index, M_WEIGHT_WORD_BITS]) // dram_bits) * dram_bits
        for layer, span in zip(mine, spans, strict=True):
            model.add(span >= layer.cycles)
            # In one place a chunk waits for the end of the one before; the first one's may have been of another layer.
            first = layer.block_words * sum(o.tile_blocks * p for o, p in layer.pairs)
            alone = dram_bits * layer.cycles + layer.weight_bits - word_bits * first
            model.add(dram_bits * span >= alone).only_enforce_if(~two, layer.is_alone)
        model.add(cycles >= sum(spans))
        _windows(model, mine, spans, ring * word_bits, dram_bits)
    model.add(dram_bits * cycles >= sum(layer.port_bits + layer.weight_bits for layer in layers))
    model.add(dram_bits * cycles >= sum(layer.stored_bits for layer in layers))
    return cycles


def _windows(model: Any, layers: list[_Layer], spans: list[Any], ring_bits: Any, dram_bits: int) -> None:
    """Lets the loads of every run of an engine's layers come while it lasts, but for the weights that places hold before, and
    the first tiles of its first layer's input, and of an image of which two copies stay. Runs cut no group.
    """
    n = len(layers)
    for first in range(n):
        for count in range(1, n):
            run = [(first + k) % n for k in range(count)]
            bits = layers[first].own_bits + sum(layers[k].late_bits for k in run[1:])
            bits += sum(layers[k].weight_bits for k in run)
            whole = [~layers[run[-1]].is_fused] + ([~layers[first - 1].is_fused] if first else [])
            model.add(dram_bits * sum(spans[k] for k in run) + ring_bits >= bits).only_enforce_if(*whole)
