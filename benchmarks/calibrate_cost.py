"""Measures the RTL with yosys, fits the coefficients of the cost model, and says how far off every row is.

    python benchmarks/calibrate_cost.py                 measure what is not yet kept, fit, write table and coefficients
    python benchmarks/calibrate_cost.py --check         compare the committed table with the committed coefficients
    python benchmarks/calibrate_cost.py --refit         fit again to the counts of the committed table, write both
    python benchmarks/calibrate_cost.py --json FILE     also write the summary there
    python benchmarks/calibrate_cost.py --registers     write accel/popcount_registers.py from the netlists, a minute

Writes `benchmarks/cost_table.json` (every row) and `accel/cost_coefficients.json`. Measurements are kept by content
in `build/synthesis`. From an empty folder everything takes about an hour of one core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from foldwright.accel.calibrate import (
    FITTED_TERMS,
    Row,
    Sample,
    fit,
    measure,
    popcount_registers,
    predict,
    row_of_json,
    row_to_json,
)
from foldwright.accel.datapath import Arithmetic, Engine, EngineKind, LaneMode, Requant
from foldwright.accel.synthesis import CellCounts
from foldwright.envs.allocation.space import WIDTHS

__all__ = ["main", "samples", "summary"]

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "benchmarks" / "cost_table.json"
COEFFICIENTS = ROOT / "accel" / "cost_coefficients.json"
CACHE = ROOT / "build" / "synthesis"
REGISTERS = ROOT / "accel" / "popcount_registers.py"
PLANES = ((1,), (2,), (1, 2), (4,), (1, 4), (2, 4), (1, 2, 4), (8,))
REGISTER_WIDTHS = sorted({*range(8, 513, 8), *WIDTHS.tolist(), *range(4, 112, 8), 768, 1024})
"""The widths that allocation may choose, and enough others to interpolate between."""
WORDS = ("weight.bits", "map.bits")
TARGETS = (("xc7", "xc7"), ("generic", "xc7"), ("generic", "ecp5"))

AND, BATCH = Arithmetic.AND, LaneMode.BATCH
SCALED = tuple(
    Engine(dm, 64, 4, requant=Requant.SCALE_SHIFT, acc_bits=acc, levels=levels, drain_lanes=lanes, threshold_words=words)
    for dm, acc, levels, lanes, words in (
        (8, 12, 3, 1, 64), (8, 16, 3, 1, 32), (8, 16, 3, 2, 64), (8, 16, 15, 1, 64), (4, 20, 255, 1, 64), (8, 14, 1, 1, 128),
        (4, 16, 3, 1, 256), (8, 25, 7, 2, 64), (8, 16, 3, 1, 8), (8, 16, 3, 1, 96),
    )
)  # fmt: skip
RGB: dict[str, Any] = {"window_bits": 216, "line_bits": 24, "line_words": 512}
"""A window of 3x3 taps of three 8-bit channels."""


def dsp(dm: int, dk: int, dn: int, bits: int = 8, **rest: Any) -> Engine:
    """Returns an engine of kind dsp for values of so many bits."""
    return Engine(dm, dk, dn, planes_per_word=(bits,), kind=EngineKind.DSP, **rest)


XC7 = {
    "unit": (
        *(Engine(1, dk, 1, acc_bits=16) for dk in (16, 36, 64, 72, 96, 144, 256, 384)),
        *(Engine(1, 64, 1, acc_bits=acc) for acc in (12, 24)),
        *(Engine(1, dk, 1, acc_bits=16, arithmetic=AND) for dk in (64, 256)),
        *(Engine(1, 72, 1, acc_bits=14, planes_per_word=pa) for pa in ((2,), (4,), (1, 2))),
        *(Engine(1, 192, 1, acc_bits=18, planes_per_word=pa) for pa in ((2,), (1, 2), (1, 2, 4))),
    ),
    "array": (
        Engine(2, 36, 3, acc_bits=16),
        Engine(4, 64, 4, acc_bits=16),
        Engine(3, 72, 7, acc_bits=14, planes_per_word=(2,), drain_lanes=2),
        dsp(4, 56, 4, acc_bits=14),
        dsp(4, 216, 4, acc_bits=14, drain_lanes=4),
        dsp(8, 72, 12, acc_bits=14, drain_lanes=4),
        dsp(8, 48, 10, acc_bits=16, drain_lanes=2),
        dsp(4, 64, 8, 4, acc_bits=16),
    ),
    "aligner": (Engine(1, 36, 3), Engine(1, 64, 8), Engine(1, 256, 4)),
    "result": (
        Engine(8, 64, 4, acc_bits=14, levels=1),
        Engine(8, 64, 4, acc_bits=16, levels=3),
        Engine(16, 64, 8, acc_bits=16, levels=3, drain_lanes=2),
        Engine(4, 64, 4, acc_bits=20, levels=15),
        Engine(8, 64, 4, acc_bits=16, levels=3, threshold_words=128),
        Engine(8, 64, 4, acc_bits=14, levels=1, threshold_words=256),
    ),
    "scale": SCALED,
    "control": (
        Engine(8, 64, 4),
        Engine(8, 64, 16),
        Engine(8, 64, 4, weight_words=4096),
    ),
    "writer": (
        Engine(8, 16, 3, acc_bits=14, levels=3, lanes=BATCH),
        Engine(16, 64, 4, acc_bits=14, levels=1, lanes=BATCH, drain_lanes=2),
        Engine(8, 128, 4, acc_bits=16, levels=3),
        Engine(18, 72, 4, acc_bits=15, levels=3, planes_per_word=(2,)),
        Engine(8, 64, 4, acc_bits=18, levels=15),
        Engine(16, 64, 4, acc_bits=14, levels=3, lanes=BATCH, sum_bits=8),
        Engine(32, 128, 4, acc_bits=16, levels=3, planes_per_word=(2,), sum_bits=10),
        Engine(8, 64, 4, acc_bits=18, levels=15, sum_bits=9),
    ),
    "window": (
        Engine(8, 28, 3, lanes=BATCH, window_bits=216, line_bits=24, line_words=512),
        Engine(8, 28, 9, lanes=BATCH, window_bits=216, line_bits=24, line_words=512),
        Engine(8, 64, 6, window_bits=216, line_bits=24, line_words=512),
        Engine(8, 25, 4, window_bits=25, line_bits=1, line_words=512),
    ),
    "memory": (Engine(8, 16, 3, acc_bits=14), Engine(18, 36, 3, acc_bits=15), Engine(32, 32, 3, acc_bits=13)),
    "accelerator": (
        Engine(8, 16, 3, acc_bits=14, levels=3, lanes=BATCH),
        Engine(8, 64, 4, acc_bits=16, levels=1),
        Engine(16, 28, 5, acc_bits=14, levels=1, lanes=BATCH, drain_lanes=2, **RGB),
        Engine(18, 72, 4, acc_bits=15, levels=3, planes_per_word=(2,), weight_words=1024),
        Engine(16, 64, 5, acc_bits=13, levels=1, lanes=BATCH, weight_words=1024),
        Engine(8, 128, 4, acc_bits=16, levels=3, arithmetic=AND),
        Engine(9, 36, 7, acc_bits=16, levels=3, threshold_words=128),
        Engine(8, 72, 5, acc_bits=18, levels=3, planes_per_word=(1, 2)),
        Engine(8, 256, 2, acc_bits=18, levels=15),
        Engine(8, 64, 6, acc_bits=16, levels=3, **RGB),
        dsp(8, 72, 6, acc_bits=14, levels=1, lanes=BATCH, drain_lanes=2, **RGB),
        dsp(8, 72, 4, acc_bits=16, levels=3),
    ),
    "held out": (
        Engine(8, 32, 8, acc_bits=14, levels=3, lanes=BATCH),
        Engine(9, 72, 7, acc_bits=15, levels=3, planes_per_word=(2,)),
        Engine(8, 192, 3, acc_bits=17, levels=1, arithmetic=AND),
        dsp(8, 64, 9, acc_bits=14, levels=1, lanes=BATCH, drain_lanes=3, **RGB),
        Engine(16, 64, 3, acc_bits=14, levels=3, lanes=BATCH, drain_lanes=2, sum_bits=8),
    ),
}
# Plain logic takes yosys several times as long as hand-mapped cells, hence smaller shapes.
GENERIC = {
    "unit": (
        *(Engine(1, dk, 1, acc_bits=16) for dk in (16, 36, 64, 72, 128, 256)),
        Engine(1, 64, 1, acc_bits=24),
        Engine(1, 64, 1, acc_bits=16, arithmetic=AND),
        *(Engine(1, 72, 1, acc_bits=14, planes_per_word=pa) for pa in ((2,), (1, 2), (1, 2, 4))),
    ),
    "array": (Engine(2, 36, 3, acc_bits=16), dsp(4, 56, 4, acc_bits=14), dsp(2, 96, 4, acc_bits=16)),
    "aligner": (Engine(1, 36, 3), Engine(1, 64, 8)),
    "result": (
        Engine(8, 64, 4, acc_bits=14, levels=1),
        Engine(8, 64, 4, acc_bits=16, levels=3),
        Engine(8, 64, 8, acc_bits=16, levels=3, drain_lanes=2),
        Engine(4, 64, 4, acc_bits=14, levels=1, threshold_words=256),
    ),
    "scale": SCALED,
    "control": (
        Engine(8, 64, 4),
        Engine(8, 64, 16),
        Engine(8, 64, 4, weight_words=4096),
    ),
    "writer": XC7["writer"],
    "window": XC7["window"],
    "memory": XC7["memory"],
    "accelerator": (
        Engine(8, 16, 2, acc_bits=14, levels=3, lanes=BATCH),
        Engine(8, 32, 2, acc_bits=16, levels=1),
        Engine(9, 36, 2, acc_bits=15, levels=3, planes_per_word=(2,)),
        Engine(8, 28, 2, acc_bits=14, levels=1, lanes=BATCH, **RGB),
    ),
    "held out": (
        Engine(8, 24, 3, acc_bits=13, levels=3, lanes=BATCH),
        Engine(8, 64, 2, acc_bits=15, levels=3),
    ),
}
SHAPES = {"xc7": XC7, "generic": GENERIC}


def samples() -> list[Sample]:
    """Returns every sample; those held out are whole accelerators."""
    return [
        Sample(
            "accelerator" if kind == "held out" else kind,
            engine,
            technology,
            family,
            held_out=kind == "held out",
        )
        for technology, family in TARGETS
        for kind, engines in SHAPES[technology].items()
        for engine in engines
    ]


def fitted(chosen: Sequence[Sample], counts: Sequence[Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Returns the coefficient set of every (technology, family)."""
    sets: dict[tuple[str, str], dict[str, Any]] = {target: {} for target in TARGETS}
    for target, found in sets.items():
        used = [(s, c) for s, c in zip(chosen, counts, strict=True) if (s.technology, s.family) == target]
        used = [(s, c) for s, c in used if not s.held_out]
        for name in ("lut", "ff"):
            # Small samples of plain logic cannot tell words of weights from words of maps; their registers are the same.
            known = (
                {t: sets[TARGETS[0]][name][t] for t in WORDS}
                if name == "ff" and found is not sets[TARGETS[0]]
                else {}
            )
            values = fit([s for s, _ in used], [getattr(c, name) for _, c in used], known).tolist()
            found[name] = dict(zip(FITTED_TERMS, values, strict=True))
    return sets


def coefficients_json(sets: dict[tuple[str, str], dict[str, Any]]) -> str:
    """Returns the text of `accel/cost_coefficients.json`."""
    entries = []
    for (technology, family), found in sets.items():
        entries.append({"technology": technology, "family": family, **found})
    source = "benchmarks/cost_table.json, fitted by benchmarks/calibrate_cost.py"
    body = {"format": "foldwright.cost-coefficients/1", "source": source, "sets": entries}
    return json.dumps(body, indent=1) + "\n"


def summary(rows: Iterable[Row]) -> dict[str, Any]:
    """Returns worst and median absolute error in percent per target and group of rows, and the held-out rows."""
    rows = list(rows)
    out: dict[str, Any] = {"rows": len(rows), "targets": []}
    for technology, family in TARGETS:
        mine = [r for r in rows if (r.sample.technology, r.sample.family) == (technology, family)]
        groups = {
            "calibration set": [r for r in mine if not r.sample.held_out],
            "whole accelerators of it": [
                r for r in mine if r.sample.kind == "accelerator" and not r.sample.held_out
            ],
            "held out": [r for r in mine if r.sample.held_out],
        }
        entry: dict[str, Any] = {"technology": technology, "family": family}
        for name, group in groups.items():
            for resource in ("lut", "ff"):
                errors = [abs(getattr(r, f"{resource}_error_percent")) for r in group]
                if errors:
                    entry[f"{name}, {resource}"] = {
                        "rows": len(errors),
                        "worst_percent": round(max(errors), 2),
                        "median_percent": round(median(errors), 2),
                    }
        out["targets"].append(entry)
    return out


def print_rows(rows: Iterable[Row]) -> None:
    """Prints a line a row: what was measured, what the model says, how far off."""
    for r in rows:
        e, s = r.sample.engine, r.sample
        extra = f"acc {e.acc_bits} levels {e.levels} r {e.drain_lanes} pa {e.planes_per_word} {e.arithmetic.value}"
        name = f"{s.technology:8}{s.family:5}{s.kind:12}{e.shape:10}{extra:45}{e.lanes.value:7}"
        lut = f"LUT {r.counts.lut:6} model {r.lut:6} {r.lut_error_percent:+6.1f} %"
        ff = f"FF {r.counts.ff:6} model {r.ff:6} {r.ff_error_percent:+6.1f} %"
        print(f"{name}{lut}   {ff}{'   held out' if s.held_out else ''}")


def registers_module() -> str:
    """Returns the text of `accel/popcount_registers.py`."""
    text = REGISTERS.read_text(encoding="utf-8")
    head, tail = text[: text.index("    1: {")], text[text.index("}  # fmt: skip") :]
    body = ""
    for planes in PLANES:
        widths = [dk for dk in REGISTER_WIDTHS if dk % max(planes) == 0]
        entries = [f"{dk}: {popcount_registers(dk, planes)}," for dk in widths]
        lines = [" ".join(entries[k : k + 10]) for k in range(0, len(entries), 10)]
        body += "\n".join([f"    {sum(planes)}: {{", *(f"        {line}" for line in lines), "    },\n"])
    return head + body + tail


def measured_counts(chosen: Sequence[Sample]) -> list[CellCounts]:
    """Has yosys count what is not kept yet."""
    counts = []
    for i, sample in enumerate(chosen):
        counts.append(measure(sample, CACHE))
        print(f"\r{i + 1} of {len(chosen)} measured", end="", flush=True)
    print()
    return counts


def table_rows() -> list[Row]:
    """Returns the rows of the committed table."""
    return [row_of_json(row) for row in json.loads(TABLE.read_text(encoding="utf-8"))["rows"]]


def fitted_rows(chosen: Sequence[Sample], counts: Sequence[CellCounts]) -> list[Row]:
    """Fits, writes table and coefficients, and returns the rows under them."""
    sets = fitted(chosen, counts)
    COEFFICIENTS.write_text(coefficients_json(sets), encoding="utf-8")
    rows = [predict(s, c, sets[s.technology, s.family]) for s, c in zip(chosen, counts, strict=True)]
    body = {"format": "foldwright.cost-table/1", "rows": [row_to_json(row) for row in rows]}
    TABLE.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    return rows


def main() -> int:
    """Runs the calibration."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="measure and write nothing; read the committed table"
    )
    parser.add_argument("--json", type=Path, help="file for the summary")
    parser.add_argument("--refit", action="store_true", help="measure nothing; fit to the committed table")
    parser.add_argument(
        "--registers", action="store_true", help="write the table of popcounts' registers only"
    )
    args = parser.parse_args()
    if args.registers:
        REGISTERS.write_text(registers_module(), encoding="utf-8")
        return 0
    if args.check:
        rows = table_rows()
    elif args.refit:
        kept = table_rows()
        rows = fitted_rows([row.sample for row in kept], [row.counts for row in kept])
    else:
        chosen = samples()
        rows = fitted_rows(chosen, measured_counts(chosen))
    print_rows(rows)
    result = summary(rows)
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
