"""What the searches of `optimize` may spend, and on which stage it went."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from foldwright.agents.result import Result
from foldwright.agents.stop import NO_COST, CpuSeconds, DeterministicTime, Evaluations, StopRule, Watched
from foldwright.config import OptimizeOptions

__all__ = ["DEFAULT_CPU_SECONDS", "Budget", "Tell"]

DEFAULT_CPU_SECONDS = 20.0
_PROPOSALS_PER_UNIT = 1_000_000
"""Proposals of the placer in a unit of counted work: each takes a thousandth of the time of a simulated schedule."""

Tell = Callable[[str, float, int, int], None]
"""Receives progress: stage, CPU seconds, evaluations, best cost."""


@dataclass
class Budget:
    """What the searches may spend, and on which stage it went."""

    options: OptimizeOptions
    tell: Tell | None
    spent: dict[str, float] = field(default_factory=dict)
    whole: float = 1.0

    def part(self, share: float) -> Budget:
        """Returns a share of the budget, whose spending counts here too."""
        return replace(self, whole=self.whole * share)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        before = time.process_time()
        if self.tell is not None:
            self.tell(name, 0.0, 0, NO_COST)
        yield
        self.spent[name] = self.spent.get(name, 0.0) + time.process_time() - before

    def done(self, name: str, result: Result) -> None:
        """Tells how a search ended; a stop rule may not be asked after the last step."""
        if self.tell is not None:
            best = result.cost if result.has_solution else NO_COST
            self.tell(name, result.cpu_seconds, result.iterations, best)

    def stop(self, share: float, by_proposals: bool = False, prepared: float = 0.0) -> StopRule:
        """Returns the rule of a search that has a share of the whole, and what was `prepared` for it before on top."""
        share *= self.whole
        if self.options.deterministic is not None and by_proposals:
            return Evaluations(max(1, round(self.options.deterministic * share * _PROPOSALS_PER_UNIT)))
        if self.options.deterministic is not None:
            return DeterministicTime(self.options.deterministic * share)
        return CpuSeconds((self.options.cpu_seconds or DEFAULT_CPU_SECONDS) * share + prepared)

    def watched(self, name: str, share: float, by_proposals: bool = False, prepared: float = 0.0) -> StopRule:
        rule, tell = self.stop(share, by_proposals, prepared), self.tell
        if tell is None:
            return rule
        return Watched(rule, lambda seconds, count, best: tell(name, seconds, count, best))
