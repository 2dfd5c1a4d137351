"""What a person sees while a command works: a line per stage, and the best cost so far under it.

Lines go to stderr, so that results on stdout stay clean. On a terminal the current stage is one line that
changes; elsewhere only finished stages are printed. There is no thread: the line moves when the work reports.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from foldwright.agents.stop import StopRule

__all__ = ["Progress"]

_PAUSE_S = 0.25


class Progress:
    """Shows stages one after the other; used as a context manager, so that it always ends honestly.

    A stage ends when the next begins or the block does. If the block ends by an error or an interruption, the
    stage that was at work is named as not finished.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True) if stream is None else Console(file=stream)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._stage = ""
        self._state = ""
        self._began = 0.0
        self._shown = 0.0

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish("done" if kind is None else "not finished")
        self._live.stop()

    def stage(self, name: str) -> None:
        """Ends the stage before and begins another."""
        self._finish("done")
        self._stage, self._state = name, ""
        self._began = time.monotonic()
        self._show(always=True)

    def note(self, words: str) -> None:
        """Says how the stage stands; what was said last remains in its line."""
        self._state = words
        self._show()

    def watch(self, rule: StopRule, unit: str, bound: int) -> StopRule:
        """Returns a stop rule that also shows the best cost of the search that asks it."""
        from foldwright.agents.stop import NO_COST, Watched

        def tell(cpu_seconds: float, iterations: int, best_cost: int) -> None:
            if best_cost >= NO_COST:
                self.note(f"nothing found yet, {iterations:,} tried")
                return
            gap = f", {best_cost / bound - 1:.1%} above the bound" if bound > 0 else ""
            self.note(f"best {best_cost:,} {unit}{gap}, {iterations:,} tried")

        return Watched(rule, tell)

    def _show(self, always: bool = False) -> None:
        now = time.monotonic()
        if self._live.is_started and (always or now - self._shown >= _PAUSE_S):
            from rich.text import Text

            self._shown = now
            line = Text(self._line("…", now - self._began), no_wrap=True, overflow="ellipsis")
            self._live.update(line, refresh=True)

    def _finish(self, how: str) -> None:
        if not self._stage:
            return
        mark = "✓" if how == "done" else "✗"
        line = self._line(mark, time.monotonic() - self._began)
        self._console.print(
            line if how == "done" else f"{line} ({how})", markup=False, highlight=False, soft_wrap=True
        )
        self._stage = ""

    def _line(self, mark: str, seconds: float) -> str:
        return f"{mark} {self._stage:<12} {seconds:6.1f} s  {self._state}".rstrip()
