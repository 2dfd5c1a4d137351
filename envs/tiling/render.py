"""Pictures of a schedule while it is decided: a text table, and a small raster drawn with numpy alone."""

from __future__ import annotations

from foldwright.accel.evaluate import DECISIONS, OUTPUT_CHIP, bram36_of_choices, expand
from foldwright.accel.schedule import ORDER_NAMES
from foldwright.accel.tiles import P_BLOCKS, P_CYCLES_PER_BLOCK_ROW, P_PINNED_BLOCKS, P_ROWS, traffic_bits
from foldwright.envs import raster
from foldwright.envs.problem import Choices
from foldwright.envs.tiling.problem import TilingProblem

__all__ = ["picture", "table"]

_OUTPUTS = ("DRAM", "on chip", "fused")
_UNDECIDED = "-"


def table(problem: TilingProblem, choices: Choices, position: int, cost: int) -> str:
    """Returns a line per layer: what is decided, and the cycles that its compute and its transfers take."""
    tiles, bits = problem.tables[6], problem.datapath.dram_bits_per_cycle
    plans = expand(*problem.tables, choices)
    lines = [
        f"{'layer':<12} {'engine':>6} {'pinned':<12} {'output':<8} {'tile':<22} {'compute':>10} {'transfer':>10}"
    ]
    for i, layer in enumerate(problem.workload.layers):
        at, plan = DECISIONS * i, plans[i]
        blocks, rows, order = (int(v) for v in tiles[i, choices[at + 2]])
        told = [
            f"{plan[P_PINNED_BLOCKS]} of {plan[P_BLOCKS]}" + (", -1" if choices[at] % 2 else ""),
            _OUTPUTS[choices[at + 1]],
            f"{blocks} x {rows}, {ORDER_NAMES[order]} outside",
        ]
        told = [text if at + k < position else _UNDECIDED for k, text in enumerate(told)]
        load, store = traffic_bits(plan)
        compute = int(plan[P_BLOCKS] * plan[P_ROWS] * plan[P_CYCLES_PER_BLOCK_ROW])
        lines.append(
            f"{layer.name[:12]:<12} {problem.datapath.assignment[i]:>6} {told[0]:<12} {told[1]:<8} {told[2]:<22} "
            f"{compute:>10} {-(-int(load + store) // bits):>10}"
        )
    used = int(bram36_of_choices(*problem.tables, choices))
    bound = problem.bound().value
    lines.append(
        f"{problem.name}: {position} of {len(choices)} decided, the rest by the fallback: {cost} cycles a round, "
        f"{cost / bound:.2f} x bound, {used} of {problem.pool_bram36} block RAMs"
    )
    return "\n".join(lines)


def picture(problem: TilingProblem, choices: Choices, position: int) -> raster.Image:
    """Returns a picture, uint8 (height, 320, 3).

    A row per layer: squares for pinned weights (green) and an output on chip (violet), hollow while undecided; bars for
    its compute (blue) and transfer cycles (orange). The bar below is the share of the pool in use.
    """
    plans, bits = expand(*problem.tables, choices), problem.datapath.dram_bits_per_cycle
    compute = plans[:, P_BLOCKS] * plans[:, P_ROWS] * plans[:, P_CYCLES_PER_BLOCK_ROW]
    transfer = [int(sum(traffic_bits(plan))) // bits for plan in plans]
    most = max(int(compute.max()), *transfer)
    image = raster.paper(len(plans))
    for i, plan in enumerate(plans):
        top, at = raster.MARGIN + i * raster.ROW, DECISIONS * i
        weights = raster.GREEN if plan[P_PINNED_BLOCKS] else raster.GRID
        output = raster.VIOLET if choices[at + 1] >= OUTPUT_CHIP else raster.GRID
        raster.square(image, top, raster.MARGIN, weights, at < position)
        raster.square(image, top, raster.MARGIN + raster.ROW + 2, output, at + 1 < position)
        raster.bar(image, top + 1, 3, int(compute[i]), most, raster.BLUE)
        raster.bar(image, top + 5, 3, transfer[i], most, raster.ORANGE)
    top = 2 * raster.MARGIN + len(plans) * raster.ROW
    used = int(bram36_of_choices(*problem.tables, choices))
    raster.bar(image, top, raster.ROW - 2, 1, 1, raster.GRID)
    raster.bar(image, top, raster.ROW - 2, used, problem.pool_bram36, raster.INK)
    return image
