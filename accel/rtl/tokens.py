"""The counters through which loader, engines and storer wait for each other.

One addition or one withdrawal a cycle: gives are kept in a register per giver and go first, lowest number first;
otherwise the takers are asked in turn. So the counters fit into one small memory, and a token that is given is
there to be taken about four cycles later. The memory is cleared in the first `count` cycles behind a reset.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import memory
from amaranth.lib.wiring import Component, In, Out

from foldwright.accel.rtl.loader_program import NO_TOKEN, TOKEN_BITS
from foldwright.accel.rtl.loops import address_bits

__all__ = ["Tokens"]

_COUNTER_BITS = 8


class Tokens(Component):  # type: ignore[misc,unused-ignore]
    """A bank of `count` counters of 8 bits.

    Giver g gives token `give_token[g]` in a cycle with `give_valid[g]`; it must do so only while `give_ready[g]`.
    Taker t holds `want_valid[t]` and `want_token[t]` until a cycle with `grant[t]`, which says that one was taken. Nobody
    gets anything for the number `NO_TOKEN`. `error` stays set when a counter overflows or a gift is lost. With `passes`,
    a taker whose bit of `free` is set goes on without a token where there is none, and while `closing` a counter may be full.
    """

    def __init__(self, count: int, givers: int, takers: int, *, passes: bool = False) -> None:
        self.count, self.givers, self.takers, self._passes = count, givers, takers, passes
        super().__init__(
            {
                "give_valid": In(givers),
                "give_token": In(givers * TOKEN_BITS),
                "give_ready": Out(givers),
                "want_valid": In(takers),
                "want_token": In(takers * TOKEN_BITS),
                "grant": Out(takers),
                **({"free": In(takers), "closing": In(1)} if passes else {}),
                "error": Out(1),
                "error_token": Out(TOKEN_BITS),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        clearing = Signal(address_bits(self.count + 1), name="cleared")
        busy = clearing != self.count
        gift, gift_token = self._gifts(m, ~busy)
        turn = Signal(self.takers, init=1, name="turn")
        withdrawal, wanted = Signal(self.takers, name="withdrawal"), _selected(turn, self.want_token)
        give, token = Signal(name="give"), Signal(TOKEN_BITS, name="token")
        m.d.sync += [give.eq(gift), token.eq(Mux(gift, gift_token, wanted))]
        free = self.want_valid & turn & ~self.grant & ~withdrawal
        m.d.sync += withdrawal.eq(Mux(gift | busy, 0, free))
        with m.If(~gift):
            m.d.sync += turn.eq(turn.rotate_left(1))
        value, write = self._counters(m, token, busy, clearing)
        take = withdrawal.any() & (value != 0)
        full = value == (1 << _COUNTER_BITS) - 1
        m.d.comb += [write.en.eq(busy | (give & ~full) | take)]
        m.d.comb += write.data.eq(Mux(busy, 0, Mux(give, value + 1, value - 1)))
        m.d.sync += self.grant.eq(Mux(value != 0, withdrawal, withdrawal & self.free if self._passes else 0))
        overflows = give & full & ~self.closing if self._passes else give & full
        with m.If(overflows & ~self.error):
            m.d.sync += [self.error.eq(1), self.error_token.eq(token)]
        return m

    def _gifts(self, m: Module, allowed: Value) -> tuple[Value, Value]:
        """Keeps a gift per giver. Returns whether one was taken a cycle ago, and which token it is."""
        held, tokens = Signal(self.givers, name="held"), Signal(self.givers * TOKEN_BITS, name="held_token")
        chosen, gift = Signal(self.givers, name="chosen"), Signal(name="gift")
        lowest = Cat(held[g] & ~held[:g].any() for g in range(self.givers))
        m.d.sync += [chosen.eq(Mux(allowed, lowest, 0)), gift.eq(held.any() & allowed)]
        m.d.comb += self.give_ready.eq(~held)
        for g in range(self.givers):
            given = self.give_token.word_select(g, TOKEN_BITS)
            with m.If(self.give_valid[g] & (given != NO_TOKEN)):
                m.d.sync += [held[g].eq(1), tokens.word_select(g, TOKEN_BITS).eq(given)]
                with m.If(held[g] & ~self.error):
                    m.d.sync += [self.error.eq(1), self.error_token.eq(given)]
            with m.Elif(lowest[g] & allowed):
                m.d.sync += held[g].eq(0)
        return gift, _selected(chosen, tokens)

    def _counters(self, m: Module, token: Signal, busy: Value, clearing: Signal) -> tuple[Value, Any]:
        ram = memory.Memory(shape=_COUNTER_BITS, depth=self.count, init=[])
        ram.attrs["ram_style"] = "distributed"
        m.submodules.counters = ram
        write, read = ram.write_port(), ram.read_port(domain="comb")
        m.d.comb += [read.addr.eq(token), write.addr.eq(Mux(busy, clearing, token))]
        with m.If(busy):
            m.d.sync += clearing.eq(clearing + 1)
        return read.data, write


def _selected(one_hot: Value, tokens: Value) -> Value:
    """Returns the token number at the one set bit, 0 without one."""
    out: Value | int = 0
    for k in range(len(one_hot)):
        out = out | Mux(one_hot[k], tokens.word_select(k, TOKEN_BITS), 0)
    return out[:TOKEN_BITS]  # type: ignore[index]
