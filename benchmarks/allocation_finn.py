"""FINN's own allocation problem solved exactly: CNV on the XC7Z020 by FINN's estimates, beside its foldings and its rule.

    python benchmarks/allocation_finn.py --json benchmarks/results/allocation_finn.json [--cp-sat UNITS] [--reference FOLDER]

Reads the folding tables and the published foldings of FOLDER (the one beside the checkout). For every table: the fewest cycles
within all and within 70 % of the LUTs and block RAMs, without DSP slices and with 220, each proven; the whole Pareto front of
cycles and LUTs; the fewest LUTs at the rate of the published folding; that folding by the table and by our own simulator and
cost model; the best folding of our own version of FINN's rule (`foldwright.envs.folding.rule`). CPU seconds are of one core,
compilation of kernels apart. With --cp-sat, OR-tools proves the optima
of the full budget again on a model of its own, for so many units of its deterministic time each.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from time import process_time
from typing import Any, TypeVar

from ortools.sat.python import cp_model

from foldwright.accel.folding_config import match_folding, read_folding_config
from foldwright.accel.folding_import import read_folding_table
from foldwright.accel.folding_tables import FoldingTable
from foldwright.accel.known_workloads import known_workload
from foldwright.agents.registry import SOLVERS
from foldwright.agents.result import Result
from foldwright.agents.stop import CpuSeconds
from foldwright.envs.folding.dataflow import score_dataflow
from foldwright.envs.folding.foreign import score_folding
from foldwright.envs.folding.front import pareto_front
from foldwright.envs.folding.problem import FoldingProblem
from foldwright.envs.folding.rule import MOST_SIMD, best_by_rule
from foldwright.envs.registry import load_instance
from foldwright.runs import write_atomic
from foldwright.verbs.tables import aligned

__all__ = ["TABLES", "main"]

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference"
LUT, BRAM18 = 53_200, 280
PERCENTS, DSPS = (100, 70), (0, 220)
CLOCK_MHZ = 100.0
FRONT_POINTS = 8
TABLES = {
    # table: published folding and network, bits of a weight, frames/s without DSP slices and with 220 known before
    "1w1a": ("cnv-w1a1", 1, (7_972, 10_417)),
    "1w2a_bip": ("cnv-w1a2", 1, (6_944, None)),
    "1w2a": ("cnv-w1a2", 2, (None, None)),
    "2w2a": ("cnv-w2a2", 2, (4_630, None)),
}
ELSEWHERE = {
    # frames/s on these tables at the full budget, by others' code: CNV of W1A1, W1A2, W2A2
    "FINN, published folding": (3_052, 868, 868),
    "FINN SetFolding, best feasible target": (7_812, 3_906, 3_906),
    "SAMO, rule-based": (7_086, 4_081, 2_411),
    "SAMO, annealing": (1_772, None, None),
}

T = TypeVar("T")


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """Returns what a call returns and its CPU seconds."""
    before = process_time()
    found = call()
    return found, process_time() - before


def solved(problem: FoldingProblem, solver: str, seconds: float) -> Result:
    result = SOLVERS[solver](problem, stop=CpuSeconds(seconds), seed=0)
    if result.has_solution:
        problem.check(result.solution)
    return result


def exact_row(name: str, path: Path, percent: int, dsp: int, cp_sat_units: float) -> dict[str, Any]:
    """Returns what the exact search finds within a share of the budget, from the file to the proof."""
    table, read_s = timed(lambda: read_folding_table(path))
    budgets = LUT * percent // 100, BRAM18 * percent // 100, dsp
    problem, build_s = timed(lambda: FoldingProblem(f"folding/{name}", table, *budgets))
    result, solve_s = timed(lambda: solved(problem, "exact", 60))
    known = TABLES[name][2][DSPS.index(dsp)] if percent == 100 else None
    row: dict[str, Any] = {
        "table": name,
        "budget_percent": percent,
        "budget_lut": budgets[0],
        "budget_bram18": budgets[1],
        "budget_dsp": dsp,
        "status": result.status.value,
        "gap": result.gap,
        "fps": problem.fps_of(result.cost),
        "known_fps": known,
        **problem.evaluate(result.solution).detail,
        "cpu_seconds": {"read": read_s, "build": build_s, "solve": solve_s},
    }
    if cp_sat_units and percent == PERCENTS[0]:
        row["cp_sat"] = proven_by_cp_sat(problem, result, cp_sat_units)
    return row


def proven_by_cp_sat(problem: FoldingProblem, result: Result, units: float) -> dict[str, Any]:
    """Returns what OR-tools proves of the problem's model by itself, with the optimum as a hint but no bound of ours."""
    model, solver = problem.cp_model(), cp_model.CpSolver()
    for variable, value in zip(model.decisions, result.choices, strict=True):
        model.model.add_hint(variable, value)
    solver.parameters.num_workers = 1
    solver.parameters.max_deterministic_time = units
    status, cpu_s = timed(lambda: solver.solve(model.model))
    bound = round(solver.best_objective_bound)
    return {"is_optimal": status == cp_model.OPTIMAL, "bound_cycles": bound, "cpu_seconds": cpu_s}


def table_row(name: str, path: Path, folding: Path) -> dict[str, Any]:
    """Returns the published folding of a table, the rule's, the fewest LUTs at its rate, and the Pareto front."""
    published, weight_bits, _ = TABLES[name]
    table = read_folding_table(path)
    config = read_folding_config(folding)
    hand = score_folding(table, match_folding(config, table).positions)
    ours = score_dataflow(config, known_workload(published))
    free = FoldingProblem(f"folding/{name}", table, LUT, BRAM18, 0)
    front, front_s = timed(lambda: list(pareto_front(free)))
    step = max(1, (len(front) - 1) // (FRONT_POINTS - 1))
    return {
        "table": name,
        "published": published,
        "hand": asdict(hand),
        "hand_by_our_models": {
            "cycles": ours.cycles,
            "lut": ours.use.lut,
            "ff": ours.use.ff,
            "bram36": ours.use.bram36,
            "notes": list(ours.notes),
        },
        "fewest_lut_at_hand_cycles": [fewest_lut(name, table, hand.cycles, dsp) for dsp in DSPS],
        "rule": [rule_row(name, table, percent, MOST_SIMD // weight_bits) for percent in PERCENTS],
        "front": [asdict(point.uses) for point in front[::step][:FRONT_POINTS]],
        "front_points": len(front),
        "front_cpu_seconds": front_s,
    }


def fewest_lut(name: str, table: FoldingTable, cycles: int, dsp: int) -> dict[str, Any]:
    problem = FoldingProblem(f"folding/{name}", table, LUT, BRAM18, dsp, cycles)
    result = solved(problem, "exact", 60)
    return {"status": result.status.value, **problem.evaluate(result.solution).detail}


def rule_row(name: str, table: FoldingTable, percent: int, most_simd: int) -> dict[str, Any]:
    problem = FoldingProblem(f"folding/{name}", table, LUT * percent // 100, BRAM18 * percent // 100, 0)
    found, seconds = timed(lambda: best_by_rule(problem, most_simd))
    if found is None:
        return {"budget_percent": percent, "cpu_seconds": seconds}
    fps = problem.fps_of(found.score.cycles)
    return {"budget_percent": percent, "fps": fps, **asdict(found.score), "cpu_seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="the file to write")
    parser.add_argument(
        "--cp-sat", type=float, default=0, metavar="UNITS", help="prove again by OR-tools, so long each"
    )
    parser.add_argument("--reference", type=Path, default=REFERENCE, help="the folder of tables and foldings")
    args = parser.parse_args()
    warm = load_instance("folding/train-s0-0")  # compiles the kernels
    SOLVERS["exact"](warm, stop=CpuSeconds(60), seed=0)
    tables = {name: args.reference / "finn_cnv" / f"tab_{name}.json.gz" for name in TABLES}
    rows = [
        exact_row(name, path, percent, dsp, args.cp_sat)
        for name, path in tables.items()
        for percent in PERCENTS
        for dsp in DSPS
    ]
    foldings = args.reference / "folding" / "bnn-pynq"
    others = [
        table_row(name, path, foldings / f"{TABLES[name][0]}_folding_config.json")
        for name, path in tables.items()
    ]
    body = {
        "part": "xc7z020",
        "clock_mhz": CLOCK_MHZ,
        "machine": platform.machine(),
        "rows": rows,
        "tables": others,
        "elsewhere": {name: list(values) for name, values in ELSEWHERE.items()},
    }
    print_rows(body)
    if args.json:
        write_atomic(args.json, json.dumps(body, indent=1) + "\n")


def print_rows(body: dict[str, Any]) -> None:
    header = ["table", "budget %", "DSP", "frames/s", "known", "status", "LUT", "BRAM18", "DSP used", "CPU s"]
    lines: list[list[Any]] = [
        [
            *(
                r["table"],
                r["budget_percent"],
                r["budget_dsp"],
                f"{r['fps']:,.0f}",
                r["known_fps"] or "-",
                r["status"],
            ),
            *(f"{r['lut']:,}", r["bram18"], r["dsp"], f"{sum(r['cpu_seconds'].values()):.3f}"),
        ]
        for r in body["rows"]
    ]
    print(aligned(header, lines))
    for t in body["tables"]:
        hand, ours = t["hand"], t["hand_by_our_models"]
        fewest = " / ".join(f"{f['lut']:,}" for f in t["fewest_lut_at_hand_cycles"])
        rule = " / ".join(f"{r['fps']:,.0f}" if "fps" in r else "none" for r in t["rule"])
        texts = (
            f"published folding {rate(hand['cycles'])}, {hand['lut']:,} LUTs, {hand['bram18']} BRAM18",
            f"by our models {rate(ours['cycles'])}, {ours['lut']:,} LUTs, {ours['bram36']} RAMB36",
            f"fewest LUTs at its rate {fewest} without / with 220 DSP slices",
            f"rule {rule} frames/s at 100 / 70 %",
            f"front of {t['front_points']} points in {t['front_cpu_seconds']:.3f} s",
        )
        print(f"{t['table']}: " + "; ".join(texts))


def rate(cycles: int) -> str:
    return f"{CLOCK_MHZ * 1e6 / cycles:,.0f} frames/s"


if __name__ == "__main__":
    main()
