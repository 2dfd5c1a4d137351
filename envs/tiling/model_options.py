"""The ways to run a layer among which the CP-SAT model of tiling chooses, each with what it takes at least.

Of a fused layer that is what it takes whatever its group: the fewest rows of what it holds, one tile of rows or two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.evaluate import (
    AHEAD,
    DECISIONS,
    OUTPUT_CHIP,
    OUTPUT_DRAM,
    OUTPUT_FUSED,
    WEIGHTS_PINNED,
    expand,
)
from foldwright.accel.mapping import (
    M_BLOCKS,
    M_LATENCY,
    M_ROW_CYCLES,
    M_ROWS,
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
    TRANSFER_CYCLES,
    input_rows,
    is_ahead,
    layer_cycles,
    traffic_bits,
)

if TYPE_CHECKING:
    from foldwright.envs.tiling.problem import TilingProblem

__all__ = ["ModelOption", "options_of"]

IntArray = npt.NDArray[np.int64]


@dataclass
class ModelOption:
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

    def beats(self, other: ModelOption) -> bool:
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


def options_of(problem: TilingProblem, i: int) -> list[ModelOption]:
    """Returns the ways to run layer `i` that no other beats, whatever the makers of its inputs choose."""
    layers = problem.tables[0]
    source, residual = int(layers[i, L_INPUT]), int(layers[i, L_RESIDUAL])
    kept: list[ModelOption] = []
    found: list[ModelOption] = []
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
) -> ModelOption:
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
    return ModelOption(
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


def _fused(problem: TilingProblem, i: int, option: ModelOption, choices: IntArray) -> Iterator[ModelOption]:
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
