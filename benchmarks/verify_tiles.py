"""Verifies tiles of every layer of CNV and DoReFa on generated RTL: values compared, mismatches, cycles.

    python benchmarks/verify_tiles.py --json verify_tiles.json

Reads the networks from `../shared/models` beside the checkout.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from foldwright.accel.datapath import Arithmetic, Datapath, Engine, LaneMode
from foldwright.accel.network import load_network
from foldwright.accel.verify import verify_network
from foldwright.jsonform import plain

MODELS = Path(__file__).resolve().parents[2] / "shared" / "models"
FIRST = Engine(dm=16, dk=27, dn=5, window_bits=216, levels=3)
REST = Engine(dm=16, dk=64, dn=8, lanes=LaneMode.BATCH, drain_lanes=1, levels=3)
FIRST_SIGNED = Engine(dm=16, dk=27, dn=5, arithmetic=Arithmetic.AND, window_bits=216, levels=3)
REST_SIGNED = Engine(
    dm=16, dk=64, dn=8, arithmetic=Arithmetic.AND, lanes=LaneMode.BATCH, drain_lanes=1, levels=3
)
CNV = Datapath((FIRST, REST), (0, *[1] * 8), batch_frames=8)
CNV_W2A2 = Datapath((FIRST_SIGNED, REST_SIGNED), (0, *[1] * 8), batch_frames=8)
DOREFA = Datapath((Engine(dm=15, dk=68, dn=9, planes_per_word=(2,), levels=3),), (0,) * 4)
RUNS = {
    "cnv_w1a1_cifar10": CNV,
    "cnv_w1a2_cifar10": CNV,
    "cnv_w2a2_cifar10": CNV_W2A2,
    "dorefanet_w1a2_offload": DOREFA,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    figures = []
    for name, datapath in RUNS.items():
        start = time.process_time()
        report = verify_network(load_network(MODELS / f"{name}.onnx"), datapath, seed=args.seed)
        seconds = round(time.process_time() - start, 1)
        print(
            f"{name}: {len(report.rows)} tiles, {report.values} values, {report.mismatches} mismatches, {seconds} CPU s"
        )
        for row in report.rows:
            size = "full size" if row.full_size else "scaled down"
            print(
                f"  {row.layer:24} {row.shape:>9} {size:11} {row.values:5} values, {row.rtl_cycles} = {row.formula_cycles}"
            )
        figures.append(
            {
                **plain(report),
                "values": report.values,
                "mismatches": report.mismatches,
                "cpu_seconds": seconds,
            }
        )
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
