"""One layer at a time: the exact mapper against its bound, plain search, and ZigZag's mappings on one scale.

    python benchmarks/tiling_layer.py --json benchmarks/results/tiling_layer.json [--layers NAME ...] [--repeats N]
        [--exhaustive-steps N]

For each of ResNet-18's convolutions of distinct shape on both arrays of `tiling_cases.py`: the bound, our mapping and how long it
takes (CPU milliseconds, least of the repeats, kernels compiled before), and ZigZag's mapping (`zigzag_mappings.py`) with the
latency that ZigZag reports and the cycles that our referee counts for it: in steps as coarse as its own tiles, at its best level
with as many steps as ours may have, and at its best level of all. Plain search tries every mapping of at most
`--exhaustive-steps` steps without bounds; the mapper, held to as many steps, must find the same.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiling_cases import (  # type: ignore[import-not-found]  # the script's own folder is on the path
    ARRAYS,
    LAYERS,
    Array,
    Layer,
)

from foldwright.accel.loopnest.exhaustive import exhaustive_search
from foldwright.accel.loopnest.mapper import MapperParams, map_layer, pareto_set
from foldwright.accel.loopnest.nest import ArrayModel, Convolution
from foldwright.accel.loopnest.score import best_replay, compulsory_bits, layer_bound
from foldwright.accel.loopnest.zigzag import read_zigzag
from foldwright.jsonform import plain
from foldwright.runs import write_atomic

ROOT = Path(__file__).resolve().parents[1]
MAPPINGS = ROOT / "benchmarks" / "data" / "zigzag_resnet18.json"
PARETO_STEPS = 256


def convolution(layer: Layer) -> Convolution:
    sizes = (layer.out_channels, layer.in_channels, layer.out_size, layer.out_size)
    return Convolution(layer.name, *sizes, *[layer.kernel] * 2, *[layer.stride] * 2)


def array_model(name: str, a: Array) -> ArrayModel:
    widths = (a.weight_bits, a.input_bits, a.psum_bits, a.output_bits, a.dram_bits_per_cycle)
    return ArrayModel(name, a.dm, a.dk, a.dn, *widths, a.buffer_bits)


def timed(repeats: int, work: Callable[[], Any]) -> tuple[Any, float]:
    """Returns a result and the CPU milliseconds it took, the least of the repeats."""
    result, least = None, float("inf")
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        least = min(least, 1e3 * (time.process_time() - start))
    return result, round(least, 3)


def zigzag(row: dict[str, Any], layer: Convolution, array: ArrayModel, max_steps: int) -> dict[str, Any]:
    """Returns what ZigZag says of its mapping, and what the referee does."""
    nest = read_zigzag(json.dumps(row["mapping"]), f"{row['array']} {row['layer']}").nest
    coarse = best_replay(nest, array, nest.steps)[1]
    limited_nest, limited = best_replay(nest, array, max_steps)
    _, free = best_replay(nest, array)
    return {
        "reported_cycles": row["cycles"],
        "cpu_seconds": row["cpu_seconds"],
        "below_bound": row["cycles"] < layer_bound(layer, array),
        "tile_steps": coarse.steps,
        "tile_cycles": coarse.cycles,
        "cycles": limited.cycles,
        "steps": limited.steps,
        "traffic_bits": limited.traffic_bits,
        "copies": plain(limited_nest.copies),
        "finest_cycles": free.cycles,
        "finest_steps": free.steps,
    }


def measure(name: str, case: Layer, foreign: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    layer, array = convolution(case), array_model(name, ARRAYS[name])
    params = MapperParams()
    found, milliseconds = timed(options.repeats, lambda: map_layer(layer, array, params))
    points, pareto_ms = timed(options.repeats, lambda: pareto_set(layer, array, MapperParams(PARETO_STEPS)))
    steps = options.exhaustive_steps
    held, held_ms = timed(options.repeats, lambda: map_layer(layer, array, MapperParams(steps)))
    plainly, plain_ms = timed(1, lambda: exhaustive_search(layer, array, steps))
    return {
        "array": name,
        "layer": case.name,
        "times": case.times,
        "bound": layer_bound(layer, array),
        "compulsory_bits": compulsory_bits(layer, array),
        "ours": {
            "cycles": found.score.cycles,
            "traffic_bits": found.score.traffic_bits,
            "steps": found.score.steps,
            "milliseconds": milliseconds,
            "bounded": found.bounded,
            "simulated": found.simulated,
            "nest": plain(found.nest),
        },
        "exhaustive": {
            "cycles": plainly[0],
            "traffic_bits": plainly[1],
            "mappings": plainly[2],
            "cpu_seconds": round(plain_ms / 1e3, 3),
            "ours_cycles": held.score.cycles,
            "ours_traffic_bits": held.score.traffic_bits,
            "ours_milliseconds": held_ms,
            "equal": (held.score.cycles, held.score.traffic_bits) == plainly[:2],
        },
        "pareto": {"points": len(points), "milliseconds": pareto_ms},
        "zigzag": zigzag(foreign, layer, array, params.max_steps),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--layers", nargs="+", default=[layer.name for layer in LAYERS])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--exhaustive-steps", type=int, default=256)
    options = parser.parse_args()
    data = json.loads(MAPPINGS.read_text(encoding="utf-8"))
    foreign = {(row["array"], row["layer"]): row for row in data["rows"]}
    warm = Convolution("warm", 2, 2, 2, 2, 3, 3), array_model("warm", ARRAYS["int8"])
    map_layer(*warm)
    pareto_set(*warm)
    exhaustive_search(*warm, 4)
    rows = []
    for name in ARRAYS:
        for case in LAYERS:
            if case.name not in options.layers:
                continue
            row = measure(name, case, foreign[name, case.name], options)
            rows.append(row)
            ours, other = row["ours"], row["zigzag"]
            print(
                f"{name} {case.name}: bound {row['bound']:,}, ours {ours['cycles']:,} in {ours['milliseconds']:.1f} ms, "
                f"ZigZag {other['cycles']:,} (it says {other['reported_cycles']:,.0f}), plain search "
                f"{'equal' if row['exhaustive']['equal'] else 'NOT EQUAL'}, {row['pareto']['points']} Pareto points",
                flush=True,
            )
    body = {
        "max_steps": MapperParams().max_steps,
        "pareto_steps": PARETO_STEPS,
        "exhaustive_steps": options.exhaustive_steps,
        "zigzag": data["zigzag"],
        "lpf_limit": data["lpf_limit"],
        "rows": rows,
    }
    if options.json:
        write_atomic(options.json, json.dumps(body, indent=1) + "\n")


if __name__ == "__main__":
    main()
