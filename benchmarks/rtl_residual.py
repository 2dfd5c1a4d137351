"""Runs residual networks with random weights through their whole accelerators and compares every stored value.

    python benchmarks/rtl_residual.py --json rtl_residual.json [NAME ...]

Shapes are those of ResNet-18, 224 x 224, with the average pooling and the classifier at its end, and of a small network for
CIFAR-10's images with a block of each kind, the last one averaged. Weights are binary, activations have two bits, and layers
that add have results of one bit, so that sums fit. The columns are those of `rtl_networks.py`, where what is counted is told.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from foldwright.accel.cosim.build import BuildParams, Simulator, Speed, build_simulator
from foldwright.accel.cosim.compare import compare_layers
from foldwright.accel.cosim.cycles import cycle_report
from foldwright.accel.cosim.frames import run_frames
from foldwright.accel.cosim.run import Limits
from foldwright.accel.datapath import Datapath, Engine, LaneMode
from foldwright.accel.export.design import TOP, accelerator_rtlil, verilog_of
from foldwright.accel.export.package import package
from foldwright.accel.known_workloads import LayerChain, known_workload, pooling, with_sums
from foldwright.accel.layout import lay_out
from foldwright.accel.random_network import random_weights
from foldwright.accel.workload import ActKind, PoolKind, WeightKind, Workload
from foldwright.netlists.part import load_part

PART, DRAM_BITS, TECHNOLOGY = "xc7z020", 32, "xc7-words"
LIMITS = Limits(cycles=100_000_000, seconds=4 * 3600.0)


def resnet18() -> Workload:
    """Returns ResNet-18: its last block is averaged over 7 x 7 pixels, as sums of eight bits."""
    return replace(with_sums(known_workload("resnet18-w1a2")), name="resnet18")


def small() -> Workload:
    """Returns two blocks, one with a 1x1 layer of stride 2 beside it and averaged, between a first and a last layer."""
    chain = LayerChain((3, 32, 32, 8, ActKind.UNSIGNED), (1, WeightKind.BINARY), (2, ActKind.UNSIGNED))
    x = chain.conv(16, name="first")
    x = chain.conv(16, reads=chain.conv(16, reads=x, name="a1"), adds=x, name="b1")
    a = chain.conv(32, stride=2, reads=x, name="a2")
    down = chain.conv(32, kernel=1, stride=2, reads=x, name="down")
    chain.conv(32, reads=a, adds=down, pool=pooling(8, 8, kind=PoolKind.AVERAGE), name="b2")
    chain.matmul(10, raw=True)
    return with_sums(chain.workload("small"))


def _engines(
    first: tuple[int, int, int, int], rest: tuple[int, int], dn: int, lanes: LaneMode
) -> tuple[Engine, Engine]:
    """Returns an engine for the image, whose words hold eight planes, and one for all other layers.

    Args:
        first: dm, dk, bits of the window, bits of an accumulator.
        rest: dm, dk.
    """
    dm, dk, window, acc = first
    return (
        Engine(
            dm, dk, dn, lanes=lanes, planes_per_word=(8,), levels=3, acc_bits=acc, window_bits=window, line_bits=24
        ),
        Engine(rest[0], rest[1], dn, lanes=lanes, planes_per_word=(2,), levels=3, acc_bits=18, sum_bits=8),
    )  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """A network's shapes, the engines of its first and of its other layers, frames of a round, rows of an image's tile."""

    workload: Callable[[], Workload]
    engines: tuple[Engine, Engine]
    batch_frames: int
    image_tile_rows: int
    rounds: int


_B, _C = LaneMode.BATCH, LaneMode.COLUMN
SMALL, LARGE = (8, 64, 216, 16), (32, 64, 1176, 18)
RUNS = {
    "small": Setting(small, _engines(SMALL, (8, 32), 4, _B), 4, 8, 4),
    "small:columns": Setting(small, _engines(SMALL, (8, 32), 4, _C), 1, 8, 4),
    "resnet18": Setting(resnet18, _engines(LARGE, (32, 128), 4, _B), 4, 8, 2),
    "resnet18:columns": Setting(resnet18, _engines(LARGE, (32, 128), 14, _C), 1, 8, 3),
}


def simulate(name: str, setting: Setting, speed: Speed) -> dict[str, Any]:
    """Builds a network's accelerator, runs rounds of random images, and compares everything."""
    began, rng = time.monotonic(), np.random.default_rng(0)
    network = random_weights(setting.workload(), rng)
    assignment = (0, *[1] * (len(network.layers) - 1))
    datapath = Datapath(setting.engines, assignment, batch_frames=setting.batch_frames)
    built = package(lay_out(network, datapath, image_tile_rows=setting.image_tile_rows), DRAM_BITS)
    simulator = _simulator(verilog_of(accelerator_rtlil(built.hardware, TECHNOLOGY, trace=True)), speed)
    images = network.random_image(setting.rounds * setting.batch_frames, rng)
    reference = network.integer_tensors(images)
    run = run_frames(built, simulator, images, trace=True, limits=LIMITS)
    found = compare_layers(built, run.simulation.traces, reference)
    cycles = cycle_report(built, run.simulation.traces, len(images), load_part(PART))
    last = network.workload.layers[-1].name
    return {
        "network": name,
        "engines": [engine.shape for engine in setting.engines],
        "lanes": setting.engines[0].lanes.value,
        "batch_frames": setting.batch_frames,
        "frames": len(images),
        "values": sum(x.values for x in found),
        "mismatches": sum(x.mismatches for x in found) + int((run.values != reference[last].output).sum()),
        "stray": sum(x.stray_bits + x.stray_writes for x in found),
        "unequal": [asdict(x) for x in found if not x.is_equal],
        "cycles_per_round": cycles.measured,
        "simulated_cycles_per_round": cycles.simulated,
        "round_error": round(cycles.simulated_error, 5),
        "layer_error_worst": round(cycles.worst_layer_error, 5),
        "layer_error_mean": round(cycles.mean_layer_error, 5),
        "layers": [{**asdict(x), "simulated_error": round(x.simulated_error, 5)} for x in cycles.layers],
        "own_words": built.layout.own_words,
        "inbox_words": [sum(inboxes.values()) for inboxes in built.layout.inbox_words],
        "seconds": round(time.monotonic() - began, 1),
    }


def _simulator(verilog: str, speed: Speed) -> Simulator:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{TOP}.v"
        file.write_text(verilog, encoding="utf-8")
        return build_simulator([file], TOP, params=BuildParams(speed=speed))


def main() -> int:
    """Prints the figures, writes them where asked, and returns 1 if anything differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RUNS)}; all without")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--fast", action="store_true", help="build longer, simulate faster")
    options = parser.parse_args()
    rows = []
    for name in options.names or RUNS:
        row = simulate(name, RUNS[name], Speed.FAST if options.fast else Speed.QUICK)
        rows.append(row)
        print(
            f"{name}: {row['values']:,} values, {row['mismatches']} mismatches, {row['stray']} stray; "
            f"{row['cycles_per_round']:,.0f} cycles a round, simulated {row['round_error']:+.2%}, worst layer "
            f"{row['layer_error_worst']:.2%}; {row['seconds']} s",
            flush=True,
        )
        if options.json:
            body = {"technology": TECHNOLOGY, "part": PART, "dram_bits": DRAM_BITS, "rows": rows}
            options.json.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    return int(any(row["mismatches"] or row["stray"] for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
