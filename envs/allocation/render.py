"""Pictures of a datapath while it is decided: a text table, and a small raster drawn with numpy alone."""

from __future__ import annotations

import numpy as np

from foldwright.accel.cost import cost
from foldwright.accel.datapath import Datapath
from foldwright.accel.mapping import M_CYCLES, map_layers
from foldwright.accel.tables import engine_table
from foldwright.envs import raster
from foldwright.envs.allocation.problem import AllocationProblem
from foldwright.envs.problem import Choices
from foldwright.netlists.part import load_part

__all__ = ["picture", "table"]


def _busy_cycles(problem: AllocationProblem, datapath: Datapath) -> list[int]:
    """Returns the compute cycles of each engine per round."""
    assignment = np.array(datapath.assignment, dtype=np.int64)
    mappings = map_layers(
        problem.tables[0], engine_table(datapath.engines), assignment, datapath.batch_frames
    )
    return [int(mappings[assignment == e, M_CYCLES].sum()) for e in range(len(datapath.engines))]


def table(problem: AllocationProblem, choices: Choices, position: int, cost_now: int) -> str:
    """Returns a line per engine, what all take of the part, and what is decided next."""
    datapath = problem.decode(choices).datapath
    used, part = cost(datapath, load_part(problem.part), problem.technology), load_part(problem.part)
    lines = [
        f"{'engine':<8} {'shape':<12} {'layers':>6} {'lanes':<7} {'planes':<10} {'drain':>5} {'compute':>12}"
    ]
    for e, (engine, busy) in enumerate(zip(datapath.engines, _busy_cycles(problem, datapath), strict=True)):
        planes = ", ".join(map(str, engine.planes_per_word))
        lines.append(
            f"{e:<8} {engine.shape:<12} {datapath.assignment.count(e):>6} {engine.lanes.value:<7} {planes:<10} "
            f"{engine.drain_lanes:>5} {busy:>12}"
        )
    lines.append(
        f"{used.lut} of {problem.lut_budget} LUTs, {used.ff} of {part.budget.ff} flip-flops, "
        f"{datapath.batch_frames} frames a round"
    )
    following = (
        "" if position == len(choices) else f"; next: {problem.labels(position)[0].rpartition(' ')[0]}"
    )
    lines.append(
        f"{problem.name}: {position} of {len(choices)} decided, the rest by the fallback: {cost_now / 1000:.1f} cycles a "
        f"frame{following}"
    )
    return "\n".join(lines)


def picture(problem: AllocationProblem, choices: Choices) -> raster.Image:
    """Returns a picture, uint8 (height, 320, 3).

    A row per engine: its share of the array's bit-MACs (violet) and of the busiest engine's cycles (blue); squares for
    tap packing (green) and batch lanes (orange). The bar below is the share of the LUT budget in use.
    """
    datapath = problem.decode(choices).datapath
    busy, size = _busy_cycles(problem, datapath), [e.bit_macs_per_cycle for e in datapath.engines]
    image = raster.paper(problem.max_engines)
    for e, engine in enumerate(datapath.engines):
        top = raster.MARGIN + e * raster.ROW
        raster.square(image, top, raster.MARGIN, raster.GREEN, engine.window_bits > 0)
        raster.square(
            image, top, raster.MARGIN + raster.ROW + 2, raster.ORANGE, engine.lanes.value == "batch"
        )
        raster.bar(image, top + 1, 3, size[e], sum(size), raster.VIOLET)
        raster.bar(image, top + 5, 3, busy[e], max(busy), raster.BLUE)
    top = 2 * raster.MARGIN + problem.max_engines * raster.ROW
    used = cost(datapath, load_part(problem.part), problem.technology).lut
    raster.bar(image, top, raster.ROW - 2, 1, 1, raster.GRID)
    raster.bar(image, top, raster.ROW - 2, used, problem.lut_budget, raster.INK)
    return image
