"""Bits per layer to the end: the search for bits and engines, then schedules for the best few of them.

The cost by which allocation ranks engines is that of a schedule by rule, which for small networks is far above what tiling
reaches. So the bits with the best costs and those with the lowest bounds are tiled too, and the fastest of them win; among
equally fast ones the most accurate.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from foldwright.accel.bit_options import MILLIONTHS, BitOption
from foldwright.accel.datapath import Datapath
from foldwright.agents import anneal
from foldwright.agents.registry import get_solver
from foldwright.agents.result import Result
from foldwright.agents.stop import Evaluations, StopRule
from foldwright.envs.allocation.bits import BitsProblem
from foldwright.envs.allocation.problem import AllocationProblem, AllocationSolution
from foldwright.envs.problem import Choices
from foldwright.envs.tiling.problem import TilingProblem
from foldwright.errors import InfeasibleError
from foldwright.jsonform import STRICT

__all__ = ["ChosenBits", "choose_bits", "tiled"]

_MILLI = 1000
_CANDIDATES = 4
_FIRST_SCHEDULES, _MORE_SCHEDULES = 500, 10_000
_FINALISTS = 3


@dataclass(frozen=True, slots=True)
class ChosenBits:
    """The bits of every layer, the engines for them, and what is proven of both.

    `bound_cycles_per_frame` holds for all bits within the accuracy budget on all engines of the space.
    """

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.chosen-bits/1"

    problem: str
    layers: tuple[str, ...]
    options: tuple[BitOption, ...]
    drop: float
    max_drop: float
    unit: str
    datapath: Datapath
    cycles_per_frame: float
    bound_cycles_per_frame: float
    bound_proof: str
    seed: int
    reproducible: bool

    @property
    def gap(self) -> float:
        """How far the cycles are from the bound, less one."""
        return self.cycles_per_frame / self.bound_cycles_per_frame - 1


def choose_bits(problem: BitsProblem, *, stop: StopRule, seed: int = 0, refinements: int = 20) -> ChosenBits:
    """Returns the fastest bits and engines found.

    Args:
        stop: of the search for bits; what follows takes a fixed number of steps.
        refinements: searches for engines with which more accurate bits are no slower.

    Raises:
        InfeasibleError: nothing was found in time.
    """
    result: Result = get_solver("exact")(problem, stop=stop, seed=seed)
    problem.search.refine(refinements)
    leaves = problem.search.candidates(_CANDIDATES)
    if not result.has_solution or not leaves:
        raise InfeasibleError(f"{problem.name}: no bits and engines found in time; give the search more")
    found = []
    for leaf in leaves:
        inner = problem.inner(leaf.picks)
        cycles, datapath = tiled(inner, seed, [np.array(leaf.choices, dtype=np.int64)])
        found.append((cycles, problem.options.drop_of(leaf.picks), leaf.picks, datapath))
    cycles, drop, picks, datapath = min(found, key=lambda f: f[:3])
    return ChosenBits(
        problem=problem.name,
        layers=tuple(layer.name for layer in problem.options.workload.layers),
        options=problem.chosen(picks),
        drop=drop / MILLIONTHS,
        max_drop=problem.max_drop,
        unit=problem.options.unit,
        datapath=datapath,
        cycles_per_frame=cycles / _MILLI,
        bound_cycles_per_frame=result.bound / _MILLI,
        bound_proof=result.bound_proof,
        seed=seed,
        reproducible=result.reproducible,
    )


def tiled(problem: AllocationProblem, seed: int = 0, designs: Iterable[Choices] = ()) -> tuple[int, Datapath]:
    """Returns thousandths of a cycle per frame of the fastest design found, with memories of the depths that it needs.

    Args:
        designs: choices to try beside those that the problem's own search offers.

    Raises:
        InfeasibleError: no design fits.
    """
    instances = {}
    for choices in [*designs, *problem.search.leading()]:
        solution: AllocationSolution = problem.decode(choices)
        datapath = solution.datapath
        key = (datapath.batch_frames, datapath.assignment, tuple(e.shape for e in datapath.engines))
        if key not in instances:
            name = problem.name.replace("allocation/", "tiling/")
            pool = problem.pool_bram36(datapath)
            instances[key] = TilingProblem(name, problem.workload, datapath, pool, problem.part)
    first = [(_schedule(i, _FIRST_SCHEDULES, seed), i) for i in instances.values()]
    first = sorted((pair for pair in first if pair[0].has_solution), key=lambda pair: _rate(*pair))
    if not first:
        raise InfeasibleError(f"{problem.name}: no design fits with a schedule")
    last = [(_schedule(i, _MORE_SCHEDULES, seed), i) for _, i in first[:_FINALISTS]]
    result, instance = min(last, key=lambda pair: _rate(*pair))
    return _rate(result, instance), instance.sized_datapath(result.solution)


def _schedule(instance: TilingProblem, evaluations: int, seed: int) -> Result:
    return anneal.solve(instance, stop=Evaluations(evaluations), seed=seed)


def _rate(result: Result, instance: TilingProblem) -> int:
    """Returns thousandths of a cycle per frame, rounded up."""
    return -(-_MILLI * result.cost // instance.datapath.batch_frames)
