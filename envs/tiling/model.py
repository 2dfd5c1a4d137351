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
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import block_rams_of
from foldwright.accel.evaluate import (
    DECISIONS,
    expand,
    pinned_blocks,
)
from foldwright.accel.mapping import (
    M_BLOCKS,
    M_WEIGHT_WORD_BITS,
    M_WEIGHT_WORDS_PER_BLOCK,
)
from foldwright.accel.memory import (
    MEMORY_WEIGHT,
    deepest,
)
from foldwright.accel.tables import L_INPUT, L_RESIDUAL
from foldwright.accel.tiles import (
    P_WEIGHT_BITS_PER_BLOCK,
    TRANSFER_CYCLES,
)
from foldwright.envs.cp_problem import CpProblem
from foldwright.envs.tiling.model_options import ModelOption, options_of

if TYPE_CHECKING:
    from foldwright.envs.tiling.problem import TilingProblem

__all__ = ["tiling_model"]

IntArray = npt.NDArray[np.int64]

_NOTE = "memory without fragmentation, no stalls between tiles"


class _Layer:
    """The variables of one layer."""

    def __init__(self, model: Any, problem: TilingProblem, i: int) -> None:
        self.index, self.options = i, options_of(problem, i)
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
    def pairs(self) -> Iterator[tuple[ModelOption, Any]]:
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
