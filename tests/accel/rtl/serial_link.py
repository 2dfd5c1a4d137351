"""The host's end of a serial line in Amaranth's simulator, for a driver that runs in a thread of its own.

The simulation stands still while the driver thinks, so that what happens does not depend on threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Queue
from typing import Any

from amaranth.sim import Simulator

__all__ = ["SerialLink", "run_with_driver"]

_TIMEOUT_S = 300


class SerialLink:
    """A serial port as `SerialBoard` takes it; a read that lasts too many cycles comes back short."""

    def __init__(self, dut: Any, bit_cycles: int, most_cycles: int = 6_000) -> None:
        self._dut, self._bit_cycles, self._most_cycles = dut, bit_cycles, most_cycles
        self._asked: Queue[bytes | int | None] = Queue()
        self._answers: Queue[bytes] = Queue()
        self._kept = bytearray()
        self._age, self._byte = -1, 0  # cycles since the start bit began; what has come of the byte

    def write(self, data: bytes, /) -> None:
        self._asked.put(data)

    def read(self, size: int, /) -> bytes:
        self._asked.put(size)
        return self._answers.get(timeout=_TIMEOUT_S)

    def close(self) -> None:
        self._asked.put(None)

    async def serve(self, ctx: Any) -> None:
        while (asked := self._asked.get(timeout=_TIMEOUT_S)) is not None:
            if isinstance(asked, bytes):
                for byte in asked:
                    await self._send(ctx, byte)
                continue
            for _ in range(self._most_cycles):
                if len(self._kept) >= asked:
                    break
                await self._step(ctx)
            taken, self._kept = bytes(self._kept[:asked]), self._kept[asked:]
            self._answers.put(taken)

    async def _send(self, ctx: Any, byte: int) -> None:
        for bit in (0, *(byte >> k & 1 for k in range(8)), 1):
            ctx.set(self._dut.rx, bit)
            for _ in range(self._bit_cycles):
                await self._step(ctx)

    async def _step(self, ctx: Any) -> None:
        """A cycle; takes the line's level in the middle of every bit behind a start bit."""
        _, _, level = await ctx.tick().sample(self._dut.tx)
        if self._age < 0:
            self._age, self._byte = -int(level), 0
        else:
            self._age += 1
        bit, phase = divmod(self._age, self._bit_cycles)
        if self._age >= 0 and phase == self._bit_cycles // 2 and 1 <= bit <= 8:
            self._byte |= level << bit - 1
        if bit == 9 and phase == self._bit_cycles // 2:
            self._kept.append(self._byte)
            self._age = -1


def run_with_driver(dut: Any, bit_cycles: int, driver: Callable[[SerialLink], None]) -> None:
    """Simulates while the driver works; what the driver raises is raised here."""
    link, raised = SerialLink(dut, bit_cycles), list[BaseException]()

    def work() -> None:
        try:
            driver(link)
        except BaseException as error:
            raised.append(error)
        finally:
            link.close()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(link.serve)
    thread = threading.Thread(target=work)
    thread.start()
    simulator.run()
    thread.join()
    if raised:
        raise raised[0]
