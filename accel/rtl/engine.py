"""An engine: memories, aligner, array, result path and the sequencer that drives them.

Ports are flat. The host (or the DMA) writes the program, weights, thresholds and feature map through simple
write ports and pulses `start`. Of every block the accumulators leave lane group by lane group while
`raw_valid` is set, and the codes `stages` cycles later while `valid` is set, each with its channel block
(`threshold_base` counts up) and its lane group. Memories are simple dual-port, non-transparent, with an
output register.

What it leaves out: packing of codes into feature-map words, pooling, the line buffer of tap packing.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.datapath import Engine, LaneMode
from foldwright.accel.rtl.aligner import Aligner
from foldwright.accel.rtl.array import UnitArray, delayed
from foldwright.accel.rtl.banks import WideMemory
from foldwright.accel.rtl.loops import address_bits
from foldwright.accel.rtl.popcount import popcount_latency
from foldwright.accel.rtl.program import WORD_BITS, code_bits, threshold_bits
from foldwright.accel.rtl.result import ResultPath
from foldwright.accel.rtl.sequencer import FRONT_STAGES, Sequencer
from foldwright.accel.rtl.unit import Unit

__all__ = ["PlanesEngine", "latency_cycles"]

BLOCK_RAM_PORT_BITS = 72
"""Width of a RAMB36E1 in simple dual-port mode (UG473)."""

_PROGRAM_WORDS = 1024
_FLUSH_MARGIN = 2
_ACCUMULATE_AND_LOAD = 2


def latency_cycles(engine: Engine, technology: str = "generic") -> int:
    """Returns the cycles from a block's last loop state to its first lanes' codes at the port."""
    counted = popcount_latency(engine.dk, engine.arithmetic, engine.planes_per_word, technology)
    return FRONT_STAGES + counted + _ACCUMULATE_AND_LOAD + code_bits(engine.levels)


class PlanesEngine(Component):  # type: ignore[misc,unused-ignore]
    """The whole engine.

    `block_latency` is the number of cycles from the last loop state of a block to its first accumulators at
    `raw`, `stages` what the codes need behind them, `flush_cycles` the pause between two tiles.
    """

    def __init__(
        self,
        engine: Engine,
        technology: str = "generic",
        *,
        reach: int = 3,
        program_words: int = _PROGRAM_WORDS,
        unit_module: str | None = None,
    ) -> None:
        """
        Args:
            unit_module: see `UnitArray`.
            reach: most taps of one phase that a layer needs, ceil(kernel width / stride); 1 for batch lanes.
        """
        self.engine, self.technology = engine, technology
        reach = 1 if engine.lanes is LaneMode.BATCH else reach
        self._array = UnitArray(engine, technology, unit_module)
        self._aligner = Aligner(engine.dn, engine.dk, reach, technology)
        self._result = ResultPath(engine, technology) if engine.levels else None
        self.stages = code_bits(engine.levels)
        self.block_latency = FRONT_STAGES + self._array.latency
        self.drain_cycles = self._array.drain_cycles
        self.flush_cycles = self.block_latency + self.drain_cycles + self.stages + _FLUSH_MARGIN
        self._sequencer = Sequencer(engine, program_words, self.flush_cycles)
        e, lanes = engine, engine.drain_lanes * engine.dm
        block = address_bits(e.threshold_words)
        group = max(1, (self.drain_cycles - 1).bit_length())
        codes = {
            "threshold_write": In(1),
            "threshold_write_address": In(block),
            "threshold_write_data": In(e.dm * threshold_bits(e)),
            "valid": Out(1),
            "block": Out(block),
            "lane_group": Out(group),
            "codes": Out(lanes * self.stages),
        }
        super().__init__(
            {
                "start": In(1),
                "busy": Out(1),
                "program_write": In(1),
                "program_write_address": In(address_bits(program_words)),
                "program_write_data": In(WORD_BITS),
                "weight_write": In(1),
                "weight_write_address": In(address_bits(e.weight_words)),
                "weight_write_data": In(e.weight_width_bits),
                "map_write": In(e.dn),
                "map_write_address": In(address_bits(e.map_words)),
                "map_write_data": In(e.map_width_bits),
                "raw_valid": Out(1),
                "raw_block": Out(block),
                "raw_lane_group": Out(group),
                "raw": Out(lanes * e.acc_bits),
                **(codes if e.levels else {}),
            }
        )

    @property
    def unit(self) -> Unit:
        """One unit, for a design that instantiates it by name."""
        return self._array.unit

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.sequencer = sequencer = self._sequencer
        m.submodules.array = array = self._array
        m.d.comb += [
            sequencer.start.eq(self.start),
            self.busy.eq(sequencer.busy),
            sequencer.program_write.eq(self.program_write),
            sequencer.program_address.eq(self.program_write_address),
            sequencer.program_data.eq(self.program_write_data),
        ]
        self._feed_acts(m)
        self._feed_weights(m)
        for name in ("negate", "zero", "shift", "clear", "load", "planes"):
            m.d.comb += getattr(array, name).eq(getattr(sequencer, name))
        self._drain(m)
        return m

    def _feed_acts(self, m: Module) -> None:
        e, s = self.engine, self._sequencer
        ram = WideMemory(m, "map", e.map_width_bits, e.map_words, unit_bits=e.dk, lanes=True)
        ram.write(self.map_write_address, self.map_write_data, self.map_write)
        word = Signal(e.map_width_bits, name="map_word")
        m.d.sync += word.eq(ram.read(s.map_address, s.map_read))
        m.submodules.aligner = aligner = self._aligner
        m.d.comb += [aligner.word.eq(word), aligner.mask.eq(s.mask), self._array.acts.eq(aligner.acts)]
        m.d.comb += [aligner.start.eq(s.begin_group), aligner.fill.eq(s.fill)]

    def _feed_weights(self, m: Module) -> None:
        """Reads weight words; each row's bits go to all planes of an activation word."""
        e, s = self.engine, self._sequencer
        ram = WideMemory(m, "weights", e.weight_width_bits, e.weight_words, unit_bits=BLOCK_RAM_PORT_BITS)
        ram.write(self.weight_write_address, self.weight_write_data, self.weight_write)
        word = Signal(e.weight_width_bits, name="weight_word")
        m.d.sync += word.eq(ram.read(s.weight_address))
        stored = e.weight_width_bits // e.dm
        rows = [self._replicated(word[r * stored : (r + 1) * stored]) for r in range(e.dm)]
        weights = Signal(e.dm * e.dk, name="weights_now")
        m.d.sync += weights.eq(Cat(*rows))
        m.d.comb += self._array.weights.eq(weights)

    def _replicated(self, row: Value) -> Value:
        """Returns the `dk` bits of a row: the part that the step uses, once for each plane of a word."""
        e, s = self.engine, self._sequencer
        lowest = min(e.planes_per_word)
        options = []
        for pa in e.planes_per_word:
            size = e.dk // pa
            unused = (max(e.planes_per_word) // pa).bit_length() - 1  # low bits of the part's number
            chosen = row.word_select(s.part[unused:], size) if pa > lowest else row
            options.append(Cat(*([chosen[:size]] * pa)))
        return options[0] if len(options) == 1 else _table(s.planes, options)

    def _drain(self, m: Module) -> None:
        """Numbers what leaves the array and turns it into codes."""
        array, s, block_bits = self._array, self._sequencer, len(self.raw_block)
        advance = delayed(m, s.advance, array.unit_latency - 1, "advance")
        block, pending = Signal(block_bits, name="block_now"), Signal(name="block_pending")
        with m.If(s.begin):
            m.d.sync += [block.eq(s.threshold_base), pending.eq(0)]
        with m.Elif(array.load_next):
            m.d.sync += [block.eq(block + pending), pending.eq(advance)]
        loaded = delayed(m, array.load_next, 1, "loaded")
        with m.If(loaded):
            m.d.sync += [self.raw_valid.eq(1), self.raw_lane_group.eq(0)]
        with m.Elif(self.raw_lane_group == self.drain_cycles - 1):
            m.d.sync += self.raw_valid.eq(0)
        with m.Else():
            m.d.sync += self.raw_lane_group.eq(self.raw_lane_group + 1)
        m.d.sync += self.raw_block.eq(block)
        m.d.comb += self.raw.eq(array.results)
        if self._result is not None:
            self._search(m, self._result, block)

    def _search(self, m: Module, result: ResultPath, block: Signal) -> None:
        m.submodules.result = result
        m.d.comb += [
            result.accs.eq(self._array.results),
            result.block.eq(block),
            result.write.eq(self.threshold_write),
            result.write_address.eq(self.threshold_write_address),
            result.write_data.eq(self.threshold_write_data),
            self.codes.eq(result.codes),
        ]
        for name in ("valid", "block", "lane_group"):
            value = getattr(self, f"raw_{name}")
            m.d.comb += getattr(self, name).eq(delayed(m, value, self.stages, name))


def _table(index: Value, options: list[Value]) -> Value:
    """Returns options[index]; the last also for any index behind it."""
    out = options[-1]
    for k in range(len(options) - 2, -1, -1):
        out = Mux(index == k, options[k], out)
    return out
