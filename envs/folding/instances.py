"""Folding instances: a table file with the budgets of a part, or a generated network's table by split.

A table file, `.json` or `.json.gz`, becomes an instance by its name and `FoldingOptions`; there are no named instances, for
tables come from elsewhere. A generated instance is `folding/SPLIT-sSEED-INDEX`; its table is `estimate`'s, not FINN's. Splits
separate their networks (see `foldwright.envs.generator`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from foldwright.accel.folding_import import read_folding_table
from foldwright.envs.folding.estimate import estimated_table
from foldwright.envs.folding.problem import FoldingProblem
from foldwright.envs.generator import SPLITS, split_number, split_workload
from foldwright.errors import ConfigError, InfeasibleError, nearest
from foldwright.jsonform import STRICT, from_json
from foldwright.netlists.part import load_part

__all__ = [
    "OPTION_NAMES",
    "FoldingOptions",
    "cycles_for",
    "generated",
    "named",
    "names",
    "open_table",
    "real",
]

_SUFFIXES = (".gz", ".json")
_HALVES = {"xc7": 2, "ecp5": 1}
"""Block RAMs of 18 kbit in what a part counts as one block."""


@dataclass(frozen=True, slots=True)
class FoldingOptions:
    """What makes an instance of a table.

    Attributes:
        part: whose budgets hold where none is given.
        budget_percent: the share of the part's LUTs, block RAMs and DSP slices that a folding may take.
        budget_lut, budget_bram18, budget_dsp: budgets instead of the part's share.
        target_fps, target_cycles: the rate to reach with the fewest LUTs; without one, the fewest cycles are sought.
    """

    __pydantic_config__: ClassVar = STRICT

    part: str = "xc7z020"
    budget_percent: float = 100.0
    budget_lut: int | None = None
    budget_bram18: int | None = None
    budget_dsp: int | None = None
    clock_mhz: float = 100.0
    target_fps: float | None = None
    target_cycles: int | None = None

    def __post_init__(self) -> None:
        wrong = []
        if not 0 < self.budget_percent <= 100:
            wrong.append(f"budget_percent is {self.budget_percent:g}, allowed are more than 0 to 100")
        if not 1 <= self.clock_mhz <= 2000:
            wrong.append(f"clock_mhz is {self.clock_mhz:g}, allowed 1..2000")
        if self.target_fps is not None and self.target_cycles is not None:
            wrong.append("target_fps and target_cycles exclude each other; give one")
        if self.target_fps is not None and not 1e-6 <= self.target_fps <= self.clock_mhz * 1e6:
            wrong.append(
                f"target_fps is {self.target_fps:g}, allowed up to the clock, {self.clock_mhz * 1e6:g}: a frame takes a cycle"
            )
        if self.target_cycles is not None and self.target_cycles < 1:
            wrong.append(f"target_cycles is {self.target_cycles}, allowed are whole numbers from 1")
        if wrong:
            raise ConfigError("; ".join(wrong))


OPTION_NAMES = tuple(f.name for f in fields(FoldingOptions))


def cycles_for(target_fps: float, clock_mhz: float) -> int:
    """Returns the most cycles per frame that give so many frames per second.

    >>> cycles_for(3051.7, 100.0)
    32768
    """
    return math.floor(clock_mhz * 1e6 / target_fps)


def open_table(path: str | Path, options: Mapping[str, Any] | None = None) -> FoldingProblem:
    """Returns the instance of a table file.

    Args:
        options: fields of `FoldingOptions` by name.

    Raises:
        ConfigError: the file is no folding table, or an option is unknown or wrong.
        InfeasibleError: no folding keeps the budgets and the target.
    """
    given = dict(options or {})
    where = f"options of {path}"
    unknown = [f"no option {key!r}; {nearest(key, OPTION_NAMES)}" for key in given if key not in OPTION_NAMES]
    if unknown:
        raise ConfigError(f"{where}: " + "; ".join(unknown))
    chosen = from_json(FoldingOptions, json.dumps(given, default=repr), where)
    part = load_part(chosen.part)
    share = chosen.budget_percent / 100
    budgets = (
        (chosen.budget_lut, part.budget.lut),
        (chosen.budget_bram18, part.budget.bram36 * _HALVES[part.family]),
        (chosen.budget_dsp, part.budget.dsp),
    )
    lut, bram18, dsp = (int(whole * share + 1e-9) if budget is None else budget for budget, whole in budgets)
    target = chosen.target_cycles or 0
    if chosen.target_fps is not None:
        target = cycles_for(chosen.target_fps, chosen.clock_mhz)
    table = read_folding_table(path)
    return FoldingProblem(f"folding/{_stem(path)}", table, lut, bram18, dsp, target, chosen.clock_mhz)


def _stem(path: str | Path) -> str:
    name = Path(path).name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def names() -> list[str]:
    """Returns the named instances: none, for tables come from elsewhere."""
    return []


def named(name: str) -> FoldingProblem:
    """Returns the generated instance whose name says so, without the leading "folding/".

    Raises:
        ConfigError: no instance has this name.
    """
    found = re.fullmatch(rf"({'|'.join(SPLITS[:-1])})-s(\d{{1,9}})-(\d{{1,9}})", name)
    if not found:
        raise ConfigError(
            f"no folding instance is named 'folding/{name}'; name a table file (.json or .json.gz), or a generated one as "
            "folding/SPLIT-sSEED-INDEX, such as folding/train-s0-17"
        )
    return generated(found[1], int(found[2]), int(found[3]))


def generated(split: str, seed: int, index: int) -> FoldingProblem:
    """Returns an instance of a generated split; the same for the same arguments, whatever else was made before."""
    name = f"{split}-s{seed}-{index}"
    rng = np.random.default_rng([split_number(split), seed, index])
    while True:
        table = estimated_table(split_workload(split, rng, name))
        lut, bram18 = int(rng.integers(10_000, 60_000)), int(rng.integers(20, 400))
        dsp = int(rng.choice([0, 0, 60, 220]))
        try:
            problem = FoldingProblem(f"folding/{name}", table, lut, bram18, dsp)
        except (InfeasibleError, ConfigError):
            continue
        if rng.random() < 0.5:
            return problem
        levels = problem.search.levels
        levels = levels[levels >= problem.bound().value]
        target = int(levels[int(len(levels) * rng.uniform(0.1, 0.8))])
        try:
            return FoldingProblem(f"folding/{name}", table, lut, bram18, dsp, target)
        except InfeasibleError:
            continue


def real(count: int, seed: int) -> Iterator[FoldingProblem]:
    """Yields instances of `heldout-real`: none."""
    return iter(())
