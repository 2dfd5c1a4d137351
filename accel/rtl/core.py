"""The core of an engine: sequencer, weights, aligner, array and result path, without feature maps and writer.

Whoever stands around gives `map_word`, the word that `map_address` names, two cycles after the address (a memory
and its output register), and says with `results_busy` when the results of a tile are still on their way.

Of every block the accumulators leave lane group by lane group: `raw_valid` lasts one cycle for each, `hold_cycles` apart,
and the codes follow `stages` cycles later with `valid`; each with its channel block (`threshold_base` counts up) and its
lane group. Weights are a simple dual-port memory, non-transparent, with an output register.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.datapath import Engine, LaneMode, Requant
from foldwright.accel.rtl.aligner import Aligner
from foldwright.accel.rtl.array import UnitArray, delayed, unit_latency
from foldwright.accel.rtl.banks import WideMemory
from foldwright.accel.rtl.dsp import DspUnit
from foldwright.accel.rtl.loops import address_bits
from foldwright.accel.rtl.program import WORD_BITS, code_bits, result_cycles, threshold_bits
from foldwright.accel.rtl.result import ResultPath
from foldwright.accel.rtl.scale import ScalePath
from foldwright.accel.rtl.sequencer import FRONT_STAGES, Sequencer, residual_ports
from foldwright.accel.rtl.unit import Unit

__all__ = ["HOLD_BITS", "PROGRAM_WORDS", "EngineCore", "latency_cycles", "new_result_path"]

BLOCK_RAM_PORT_BITS = 72
"""Width of a RAMB36E1 in simple dual-port mode (UG473)."""

PROGRAM_WORDS = 1024
HOLD_BITS = 4
_LOAD = 1
_SHARED = (
    "start", "rounds", "stop", "results_busy", "granted", "busy", "running", "go", "illegal", "wait", "wait_token",
    "tile_done", "gives", "give_tokens", "extra", "window_ready", "take", "done", "source", "program_write", "map_address",
    "map_read",
)  # fmt: skip


def latency_cycles(engine: Engine, technology: str = "generic") -> int:
    """Returns the cycles from a block's last loop state to its first lanes' codes at the port."""
    return FRONT_STAGES + unit_latency(engine, technology) + _LOAD + result_cycles(engine)


def new_result_path(engine: Engine, technology: str) -> ResultPath | ScalePath:
    """Returns what makes codes of an engine's accumulators; the engine must have some levels."""
    return ScalePath(engine) if engine.requant is Requant.SCALE_SHIFT else ResultPath(engine, technology)


class EngineCore(Component):  # type: ignore[misc,unused-ignore]
    """See the module's text.

    `block_latency` is the number of cycles from the last loop state of a block to its first accumulators at
    `raw`, `stages` what the codes, `code_bits` wide each, need behind them.
    """

    def __init__(
        self,
        engine: Engine,
        technology: str = "generic",
        *,
        reach: int = 3,
        program_words: int = PROGRAM_WORDS,
        extra_widths: tuple[int, ...] = (),
        unit_module: str | None = None,
        inboxes: int = 1,
        residual: bool = False,
    ) -> None:
        """
        Args:
            reach: most taps of one phase that a layer needs, ceil(kernel width / stride); 1 for batch lanes.
            extra_widths: see `ProgramReader`.
            unit_module: see `UnitArray`.
            inboxes: maps that others fill.
            residual: see `Sequencer`.
        """
        self.engine, self.technology = engine, technology
        reach = 1 if engine.lanes is LaneMode.BATCH else reach
        self._array = UnitArray(engine, technology, unit_module)
        self._aligner = Aligner(engine.dn, engine.dk, reach, technology)
        self._result = new_result_path(engine, technology) if engine.levels else None
        self._sequencer = Sequencer(engine, program_words, extra_widths, inboxes=inboxes, residual=residual)
        self._passed = (*_SHARED, *(residual_ports(engine) if residual else ()))
        self.stages, self.code_bits = result_cycles(engine), code_bits(engine.levels)
        self.block_latency = FRONT_STAGES + self._array.latency
        self.drain_cycles = self._array.drain_cycles
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
            "codes": Out(lanes * self.code_bits),
        }
        members = self._sequencer.signature.members
        super().__init__(
            {
                **{name: members[name] for name in self._passed},
                "program_write_address": In(address_bits(program_words)),
                "program_write_data": In(WORD_BITS),
                "weight_write": In(1),
                "weight_write_address": In(address_bits(e.weight_words)),
                "weight_write_data": In(e.weight_width_bits),
                "map_word": In(e.map_width_bits),
                "hold_cycles": In(HOLD_BITS),
                "raw_valid": Out(1),
                "raw_block": Out(block),
                "raw_lane_group": Out(group),
                "raw": Out(lanes * e.acc_bits),
                **(codes if e.levels else {}),
            }
        )

    @property
    def unit(self) -> Unit | DspUnit:
        """One unit, for a design that instantiates it by name."""
        return self._array.unit

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.sequencer = sequencer = self._sequencer
        m.submodules.array = array = self._array
        for name in self._passed:
            inner, outer = getattr(sequencer, name), getattr(self, name)
            is_input = self.signature.members[name].flow is In
            m.d.comb += inner.eq(outer) if is_input else outer.eq(inner)
        m.d.comb += [
            sequencer.program_address.eq(self.program_write_address),
            sequencer.program_data.eq(self.program_write_data),
        ]
        m.submodules.aligner = aligner = self._aligner
        m.d.comb += [
            aligner.word.eq(self.map_word),
            aligner.mask.eq(sequencer.mask),
            array.acts.eq(aligner.acts),
        ]
        m.d.comb += [aligner.start.eq(sequencer.begin_group), aligner.fill.eq(sequencer.fill)]
        self._feed_weights(m)
        for name in ("negate", "zero", "shift", "clear", "load", "planes"):
            m.d.comb += getattr(array, name).eq(getattr(sequencer, name))
        self._drain(m)
        return m

    def _feed_weights(self, m: Module) -> None:
        """Reads weight words; each row's bits go to all planes of an activation word."""
        e, s = self.engine, self._sequencer
        ram = WideMemory(m, "weights", e.weight_width_bits, e.weight_words, unit_bits=BLOCK_RAM_PORT_BITS)
        ram.write(self.weight_write_address, self.weight_write_data, self.weight_write)
        word = Signal(e.weight_width_bits, name="weight_word", reset_less=True)
        m.d.sync += word.eq(ram.read(s.weight_address))
        stored = e.weight_width_bits // e.dm
        rows = [self._replicated(word[r * stored : (r + 1) * stored]) for r in range(e.dm)]
        weights = Signal(e.dm * e.dk, name="weights_now", reset_less=True)
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
        """Moves the chain, numbers what leaves the array and turns it into codes."""
        array, s, block_bits = self._array, self._sequencer, len(self.raw_block)
        advance = delayed(m, s.advance, array.unit_latency - 1, "advance")
        block, pending = Signal(block_bits, name="block_now"), Signal(name="block_pending")
        with m.If(s.go):
            m.d.sync += pending.eq(0)
        with m.Elif(array.load_next):
            m.d.sync += [block.eq(block + pending), pending.eq(advance)]
        started = delayed(m, s.go, 1, "started")
        with m.If(started):
            m.d.sync += block.eq(s.threshold_base)
        loaded = delayed(m, array.load_next, 1, "loaded")
        left, draining = Signal(HOLD_BITS, name="hold_left"), Signal(name="draining")
        at_last = self.raw_lane_group == self.drain_cycles - 1
        one = self.hold_cycles <= 1
        step = draining & (left == 0)
        m.d.comb += array.step_next.eq((loaded & one) | (draining & Mux(one, ~at_last, left == 1)))
        m.d.sync += self.raw_valid.eq(loaded | (step & ~at_last))
        with m.If(loaded):
            m.d.sync += [draining.eq(1), self.raw_lane_group.eq(0), left.eq(self.hold_cycles - 1)]
        with m.Elif(step):
            m.d.sync += [draining.eq(~at_last), left.eq(self.hold_cycles - 1)]
            m.d.sync += self.raw_lane_group.eq(Mux(at_last, 0, self.raw_lane_group + 1))
        with m.Elif(draining):
            m.d.sync += left.eq(left - 1)
        with m.If(loaded & one):
            m.d.sync += left.eq(0)
        m.d.sync += self.raw_block.eq(block)
        m.d.comb += self.raw.eq(array.results)
        if self._result is not None:
            self._search(m, self._result, block)

    def _search(self, m: Module, result: ResultPath | ScalePath, block: Signal) -> None:
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
