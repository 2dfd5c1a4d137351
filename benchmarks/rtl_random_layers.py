"""Runs random layers on generated accelerators and compares every value with the integer reference; then provokes errors.

    python benchmarks/rtl_random_layers.py --json rtl_random_layers.json

Chains of one to three layers, and networks of three to six with residual adds, run through the whole RTL (loader, engines,
writers, storer) of `random_hardware.VARIANTS`, with random stalls on every channel and random latency of DRAM. A layer counts
as one configuration. The second part is the table of errors that the accelerator reports when its programs, registers or
memory are spoilt.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from foldwright.accel.cosim.build import BuildParams, Simulator, build_simulator
from foldwright.accel.export.design import TOP, accelerator_rtlil, verilog_of
from foldwright.accel.provoked_errors import PROVOCATIONS, VARIANT, provoke
from foldwright.accel.random_hardware import VARIANTS, Trial, Variant, draw_trial, run_trial
from foldwright.accel.workload import ResultKind
from foldwright.errors import VerificationError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--layers", type=int, default=1000, help="configurations in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--variants", nargs="+", choices=[v.name for v in VARIANTS], help="of these only, and no errors"
    )
    parser.add_argument("--jobs", type=int, default=1, help="compilers at a time")
    parser.add_argument("--cache", type=Path, help="where simulators are kept")
    args = parser.parse_args()
    started, rows = time.monotonic(), []
    chosen = [(k, v) for k, v in enumerate(VARIANTS) if not args.variants or v.name in args.variants]
    for place, (k, variant) in enumerate(chosen):
        share = args.layers * (place + 1) // len(chosen) - args.layers * place // len(chosen)
        row = _run_variant(
            variant,
            simulator_of(variant, args.cache, args.jobs),
            share,
            np.random.default_rng([args.seed, k]),
        )
        rows.append(row)
        print(
            f"{row['variant']:24} {row['layers']:4} layers, {row['values']:8} values, {row['mismatches']} mismatches, "
            f"{row['failures']} failures, {row['cycles']:9} cycles, {row['seconds']:6} s",
            flush=True,
        )
    totals: dict[str, Any] = {
        key: sum(row[key] for row in rows)
        for key in ("networks", "layers", "values", "mismatches", "failures", "cycles", "drawn_again")
    }
    totals["seconds"] = round(time.monotonic() - started, 1)
    print(totals)
    errors = [] if args.variants else _errors(simulator_of(VARIANT, args.cache, args.jobs))
    if args.json:
        figures = {"seed": args.seed, "totals": totals, "variants": rows, "errors": errors}
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _errors(simulator: Simulator) -> list[dict[str, Any]]:
    """Provokes every error; returns the table."""
    table = []
    for provocation in PROVOCATIONS:
        outcome = provoke(provocation, simulator)
        print(
            f"{outcome.name:42} {outcome.cause.name.lower():18} {outcome.detail:#010x} {'right' if outcome.is_right else 'WRONG'}"
        )
        named = {"expected": outcome.expected.name.lower(), "cause": outcome.cause.name.lower()}
        table.append({**asdict(outcome), **named, "is_right": outcome.is_right})
    return table


def simulator_of(variant: Variant, cache: Path | None, jobs: int) -> Simulator:
    """Builds a variant's simulator."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / f"{variant.name}.v"
        source.write_text(verilog_of(accelerator_rtlil(variant.hardware, "xc7-words")), encoding="utf-8")
        return build_simulator([source], TOP, cache=cache, params=BuildParams(jobs=jobs))


def _run_variant(
    variant: Variant, simulator: Simulator, layers: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Runs trials until that many layers have run; returns the figures."""
    started, refused, kinds = time.monotonic(), Counter[str](), Counter[str]()
    sums, wrong = Counter[str](), []
    while sums["layers"] < layers:
        trial = draw_trial(variant, rng, refused)
        sums.update(networks=1, layers=len(trial.network.layers))
        kinds.update(_kinds(trial))
        try:
            run, mismatches = run_trial(trial, simulator)
        except VerificationError as error:
            sums["failures"] += 1
            wrong.append({"message": str(error), **trial.described()})
            continue
        sums.update(values=run.values.size, mismatches=mismatches, cycles=run.simulation.cycles)
        if mismatches:
            wrong.append({"mismatches": mismatches, **trial.described()})
    return {
        "variant": variant.name,
        "engines": [str(engine) for engine in variant.engines],
        **{key: sums[key] for key in ("networks", "layers", "values", "mismatches", "failures", "cycles")},
        "drawn_again": sum(refused.values()),
        "reasons": dict(refused.most_common()),
        "kinds": dict(sorted(kinds.items())),
        "wrong": wrong,
        "build_seconds": simulator.build_seconds,
        "seconds": round(time.monotonic() - started, 1),
    }


def _kinds(trial: Trial) -> Counter[str]:
    """Counts what the layers of a trial have in them."""
    kinds: Counter[str] = Counter()
    for entry, layout in zip(trial.network.layers.values(), trial.package.layout.layers, strict=True):
        layer = entry.layer
        kinds[f"kernel {layer.kernel[0]}x{layer.kernel[1]}"] += 1
        kinds[f"stride {layer.stride[0]}x{layer.stride[1]}"] += 1
        kinds[f"{layer.act_bits} bits {layer.act_kind.value}"] += 1
        kinds[f"weights {layer.weight_kind.value}"] += 1
        pool = layer.pool
        overlaps = pool is not None and any(k > s for k, s in zip(pool.kernel, pool.stride, strict=True))
        marks = {
            "padded": any(layer.padding),
            "padded unevenly": layer.padding[:2] != layer.padding[2:],
            "grouped": layer.groups > 1,
            "pooled": pool is not None,
            "averaged": layer.averages,
            "averaged with overlap": layer.averages and overlaps,
            "averaged behind a residual": layer.averages and layout.residual >= 0,
            "pooled with overlap": overlaps,
            "raw": layer.result is ResultKind.RAW,
            "scaled and shifted": layer.result is ResultKind.SCALE_SHIFT,
            "adding a residual": layout.residual >= 0,
            "weights streamed": layout.tiling.streams_weights,
            "in tiles": len(layout.order) > 1,
        }
        kinds.update(name for name, is_so in marks.items() if is_so)
    first = trial.package.layout.layers[0]
    marks = {
        "image in tiles": first.tiles > 1,
        "several rounds": trial.rounds > 1,
        "stalls": trial.dram.stall_percent > 0,
    }
    kinds.update(name for name, is_so in marks.items() if is_so)
    return kinds


if __name__ == "__main__":
    main()
