"""A DRAM behind AXI4 for the simulator, with random latency and random pauses on every channel, and a host's AXI4-Lite.

The memory checks what the standard asks of a master: bursts stay inside 4 KiB, valid signals stay until they are taken
and their payload with them, and every data burst has the length that its address gave.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["AxiMemory", "LiteHost", "put_words"]

_READ = ("arvalid", "araddr", "arlen", "arsize", "arburst", "rready")
_WRITE = ("awvalid", "awaddr", "awlen", "awsize", "awburst", "wvalid", "wdata", "wstrb", "wlast", "bready")
_HELD = (("arvalid", "arready", ("araddr", "arlen")), ("awvalid", "awready", ("awaddr", "awlen")))
_HELD_DATA = ("wvalid", "wready", ("wdata", "wlast"))


@dataclass
class AxiMemory:
    """Serves a component's ports `prefix + name`. Addresses in `bad` answer with an error.

    `pause` is the probability that a channel is not ready or brings nothing in a cycle; `latency` is the most cycles from an
    address to its first beat.
    """

    dut: Any
    data_bits: int
    rng: np.random.Generator
    pause: float = 0.3
    latency: int = 20
    prefix: str = ""
    reads: bool = True
    writes: bool = True
    bad: range = range(0)
    bytes_at: dict[int, int] = field(default_factory=dict)
    bursts: list[tuple[str, int, int]] = field(default_factory=list)
    most_waiting: int = 0
    silent: bool = False

    async def serve(self, ctx: Any) -> None:
        names = (_READ if self.reads else ()) + (_WRITE if self.writes else ())
        ports = [self._port(n) for n in names]
        readys = [
            n for n, on in (("arready", self.reads), ("awready", self.writes), ("wready", self.writes)) if on
        ]
        self._reading: list[list[int]] = []  # due cycle, address, beats left
        self._addresses: list[tuple[int, int]] = []
        self._owed: list[tuple[int, int]] = []  # due cycle, response
        self._cycle, self._kept, self._collected = 0, dict[str, tuple[int, ...]](), list[tuple[int, int]]()
        driven = dict.fromkeys((*readys, "rvalid", "bvalid"), 0)
        while True:
            _, _, *values = await ctx.tick().sample(*ports)
            seen = dict(zip(names, values, strict=True)) | driven
            self._cycle += 1
            self._check_held(seen)
            if self.reads:
                self._read(ctx, seen, driven)
            if self.writes:
                self._write(ctx, seen, driven)
            for name in readys:
                driven[name] = int(self.rng.random() >= self.pause and not self.silent)
                ctx.set(self._port(name), driven[name])

    def _port(self, name: str) -> Any:
        return getattr(self.dut, self.prefix + name)

    def _check_held(self, seen: dict[str, int]) -> None:
        for valid, ready, payload in (*_HELD, _HELD_DATA):
            if valid not in seen:
                continue
            now = tuple(seen[p] for p in payload)
            if valid in self._kept:
                assert seen[valid], f"{valid} fell before {ready}"
                assert now == self._kept.pop(valid), f"{payload} changed before {ready}"
            if seen[valid] and not seen[ready]:
                self._kept[valid] = now

    def _burst(self, kind: str, seen: dict[str, int]) -> tuple[int, int]:
        address, beats = seen[f"a{kind}addr"], seen[f"a{kind}len"] + 1
        size = self.data_bits // 8
        assert (1 << seen[f"a{kind}size"], seen[f"a{kind}burst"]) == (size, 1)
        assert address % size == 0
        assert beats <= 16
        assert address // 4096 == (address + beats * size - 1) // 4096, "a burst crosses 4 KiB"
        self.bursts.append((kind, address, beats))
        return address, beats

    def _read(self, ctx: Any, seen: dict[str, int], driven: dict[str, int]) -> None:
        size = self.data_bits // 8
        if seen["arvalid"] and seen["arready"]:
            address, beats = self._burst("r", seen)
            self._reading.append([self._cycle + int(self.rng.integers(1, self.latency + 1)), address, beats])
            self.most_waiting = max(self.most_waiting, len(self._reading))
        if seen["rvalid"] and seen["rready"]:
            first = self._reading[0]
            first[1], first[2] = first[1] + size, first[2] - 1
            if not first[2]:
                self._reading.pop(0)
            driven["rvalid"] = 0
        ready = self._reading and self._reading[0][0] <= self._cycle
        if not driven["rvalid"] and ready and self.rng.random() >= self.pause and not self.silent:
            _, address, left = self._reading[0]
            ctx.set(self._port("rdata"), self.word(address, size))
            ctx.set(self._port("rlast"), left == 1)
            ctx.set(self._port("rresp"), 2 if address in self.bad else 0)
            driven["rvalid"] = 1
        ctx.set(self._port("rvalid"), driven["rvalid"])

    def _write(self, ctx: Any, seen: dict[str, int], driven: dict[str, int]) -> None:
        size = self.data_bits // 8
        if seen["awvalid"] and seen["awready"]:
            self._addresses.append(self._burst("w", seen))
        if seen["wvalid"] and seen["wready"]:
            assert seen["wstrb"] == (1 << size) - 1
            self._collected.append((seen["wdata"], seen["wlast"]))
        if seen["bvalid"] and seen["bready"]:
            driven["bvalid"] = 0
        if self._addresses and len(self._collected) >= self._addresses[0][1]:
            address, beats = self._addresses.pop(0)
            for k, (data, last) in enumerate(self._collected[:beats]):
                assert last == (k == beats - 1), "wlast is not with the last beat"
                for b in range(size):
                    self.bytes_at[address + k * size + b] = data >> 8 * b & 0xFF
            del self._collected[:beats]
            due = self._cycle + int(self.rng.integers(1, self.latency + 1))
            self._owed.append((due, 2 if address in self.bad else 0))
        if not driven["bvalid"] and self._owed and self._owed[0][0] <= self._cycle and not self.silent:
            ctx.set(self._port("bresp"), self._owed.pop(0)[1])
            driven["bvalid"] = 1
        ctx.set(self._port("bvalid"), driven["bvalid"])

    def word(self, address: int, size: int) -> int:
        """Returns bytes as a little-endian number; what nobody wrote is a hash of its address."""
        return sum(
            self.bytes_at.get(a, a * 0x9E3779B1 >> 13 & 0xFF) << 8 * k
            for k, a in enumerate(range(address, address + size))
        )


def put_words(memory: AxiMemory, address: int, words: list[int]) -> None:
    """Writes 32-bit words."""
    for k, word in enumerate(words):
        for b in range(4):
            memory.bytes_at[address + 4 * k + b] = word >> 8 * b & 0xFF


@dataclass
class LiteHost:
    """Reads and writes registers through `s_axi_*`, with pauses."""

    dut: Any
    rng: np.random.Generator
    pause: float = 0.3

    async def write(self, ctx: Any, address: int, data: int, strobe: int = 0xF) -> int:
        """Returns the response."""
        d = self.dut
        ctx.set(d.s_axi_awaddr, address)
        ctx.set(d.s_axi_wdata, data)
        ctx.set(d.s_axi_wstrb, strobe)
        open_channels = {"aw", "w"}
        for channel in open_channels:
            ctx.set(getattr(d, f"s_axi_{channel}valid"), 1)
        while open_channels:
            _, _, aw, w = await ctx.tick().sample(d.s_axi_awready, d.s_axi_wready)
            for channel, ready in (("aw", aw), ("w", w)):
                if channel in open_channels and ready:
                    open_channels.remove(channel)
                    ctx.set(getattr(d, f"s_axi_{channel}valid"), 0)
        _, response = await self._answer(ctx, d.s_axi_bvalid, d.s_axi_bready, d.s_axi_bresp)
        return response

    async def read(self, ctx: Any, address: int) -> int:
        d = self.dut
        ctx.set(d.s_axi_araddr, address)
        ctx.set(d.s_axi_arvalid, 1)
        while not (await ctx.tick().sample(d.s_axi_arready))[2]:
            pass
        ctx.set(d.s_axi_arvalid, 0)
        data, _ = await self._answer(ctx, d.s_axi_rvalid, d.s_axi_rready, d.s_axi_rdata)
        return data

    async def _answer(self, ctx: Any, valid: Any, ready: Any, value: Any) -> tuple[int, int]:
        while True:
            willing = int(self.rng.random() >= self.pause)
            ctx.set(ready, willing)
            _, _, here, got = await ctx.tick().sample(valid, value)
            if here and willing:
                ctx.set(ready, 0)
                return got, got
