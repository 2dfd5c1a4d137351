"""Simulates whole accelerators on whole networks: every value of every layer, the outputs, and the cycles.

    python benchmarks/rtl_networks.py [NAME ...] [--json FILE] [--frames N] [--clock-mhz 200 150] [--fast]

Each network has a fixed accelerator (`RUNS`), built with words counted as such (`xc7-words`, the latency of `xc7`). Frames are
those of the test vectors beside the model, taken again and again, or of the digits' test set, or random ones. Compared are:

- every layer's stored output, all frames, from the writes that the engines were seen to do (`accel.cosim.compare`),
- the network's output, computed from the last layer's values in DRAM, with the reference's,
- and with `expected`, `extra_expected` and the logits that a real board printed, where the model has them.

DRAM answers as late as the simulator assumes. Cycles per frame are measured in steady state, beside what the simulator says for
the same decisions (`accel.cosim.cycles`). Binary TOPS count two operations for every bit of weight times bit of activation.

Networks that are not in the repository are read from `../shared/models` beside the checkout; those absent are skipped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from foldwright.accel.cosim.build import BuildParams, Simulator, Speed, build_simulator
from foldwright.accel.cosim.compare import LayerComparison, compare_layers
from foldwright.accel.cosim.cycles import CycleReport, cycle_report
from foldwright.accel.cosim.frames import FramesRun, run_frames
from foldwright.accel.datapath import Datapath, Engine, EngineKind, LaneMode, Requant
from foldwright.accel.export.design import TOP, accelerator_rtlil, verilog_of
from foldwright.accel.export.package import Package, package
from foldwright.accel.layout import lay_out
from foldwright.accel.network import Network, load_network
from foldwright.accel.tiles import DRAM_READ_CYCLES
from foldwright.accel.tilings import LayerTiling
from foldwright.accel.workload import IMAGE
from foldwright.jsonform import from_json
from foldwright.netlists.part import load_part

__all__ = ["RUNS", "Row", "Setting", "main"]

ROOT = Path(__file__).resolve().parents[1]
DRAM_BITS = 32
TECHNOLOGY = "xc7-words"
PART = "xc7z020"

BATCH = LaneMode.BATCH
DIGITS = Datapath(
    (
        Engine(8, 12, 5, lanes=BATCH, levels=3, acc_bits=14, drain_lanes=2, window_bits=45, line_bits=5),
        Engine(8, 32, 5, lanes=BATCH, levels=3, acc_bits=14),
    ),
    (0, 1, 1, 1),
    batch_frames=5,
)
TFC = Datapath(
    (
        Engine(16, 64, 8, lanes=BATCH, levels=1, acc_bits=12),
        Engine(8, 32, 8, lanes=BATCH, levels=1, acc_bits=12),
    ),
    (0, 1, 1, 1),
    batch_frames=8,
)


def _cnv(first_bits: int, acc_bits: int, levels: int) -> Datapath:
    first = Engine(
        16,
        28,
        9,
        lanes=BATCH,
        drain_lanes=2,
        acc_bits=first_bits,
        levels=levels,
        window_bits=216,
        line_bits=24,
    )
    rest = Engine(32, 64, 9, lanes=BATCH, acc_bits=acc_bits, levels=levels)
    return Datapath((first, rest), (0, *[1] * 8), batch_frames=9)


def _cnv_dsp() -> Datapath:
    """Adds the images' bytes in DSP slices, so that the LUTs carry more lanes of the other layers."""
    first = Engine(
        8,
        56,
        11,
        lanes=BATCH,
        kind=EngineKind.DSP,
        planes_per_word=(8,),
        drain_lanes=3,
        acc_bits=14,
        levels=1,
        window_bits=216,
        line_bits=24,
    )
    rest = Engine(32, 64, 11, lanes=BATCH, acc_bits=13, levels=1, drain_lanes=2)
    return Datapath((first, rest), (0, *[1] * 8), batch_frames=11)


def _cnv_two_bits(first_rows: int, acc_bits: int) -> Datapath:
    first = Engine(first_rows, 28, 5, lanes=BATCH, acc_bits=acc_bits, levels=3, window_bits=216, line_bits=24)
    rest = Engine(32, 128, 5, lanes=BATCH, planes_per_word=(2,), acc_bits=acc_bits, levels=3)
    return Datapath((first, rest), (0, *[1] * 8), batch_frames=5)


def scaled(datapath: Datapath) -> Datapath:
    """Returns a datapath whose engines scale and shift, with accumulators that hold every value as a signed number."""
    engines = (
        replace(e, requant=Requant.SCALE_SHIFT, acc_bits=e.acc_bits + 2) if e.levels else e
        for e in datapath.engines
    )
    return replace(datapath, engines=tuple(engines))


DOREFA = Datapath(
    (Engine(18, 72, 18, planes_per_word=(2,), levels=3, acc_bits=15),), (0,) * 4, batch_frames=1
)


@dataclass(frozen=True)
class Setting:
    """Where a network lies, the accelerator that runs it, rows of the first layer's tiles, frames to simulate.

    `streams` are the layers, by index, whose weights come from DRAM, so many blocks at a time (0: all).
    """

    folder: Path
    datapath: Datapath
    image_tile_rows: int
    frames: int
    streams: Mapping[int, int] = field(default_factory=dict)
    requant: str = "thresholds"

    def path(self, name: str) -> Path:
        """Returns the network's file, by the run's name."""
        return self.folder / f"{name.partition(':')[0]}.onnx"

    @property
    def tilings(self) -> dict[int, LayerTiling]:
        streamed = {k: LayerTiling(blocks, streams_weights=True) for k, blocks in self.streams.items()}
        first = streamed.get(0, LayerTiling())
        return {**streamed, 0: replace(first, rows=self.image_tile_rows)}


FOUND_ROUNDS = 5
OWN, SHARED = ROOT / "models", ROOT.parent / "shared" / "models"
RUNS = {
    "digits_w1a2": Setting(OWN, DIGITS, 0, 40),
    "digits_w2a2_balanced": Setting(OWN, DIGITS, 0, 40),
    "TFC_1W1A": Setting(SHARED, TFC, 0, 64),
    "cnv_w1a1_cifar10": Setting(SHARED, _cnv(14, 13, 1), 6, 45),
    "cnv_w1a1_cifar10:dsp": Setting(SHARED, _cnv_dsp(), 8, 55),
    "cnv_w1a2_cifar10": Setting(SHARED, _cnv_two_bits(16, 14), 6, 25),
    "cnv_w2a2_cifar10": Setting(SHARED, _cnv_two_bits(32, 15), 6, 25),
    "dorefanet_w1a2_offload": Setting(SHARED, DOREFA, 9, 4),
    "digits_w1a2:streamed": Setting(OWN, DIGITS, 0, 40, dict.fromkeys(range(4), 1)),
    "cnv_w1a1_cifar10:streamed": Setting(SHARED, _cnv(14, 13, 1), 6, 45, {4: 2, 5: 2, 6: 4, 7: 4}),
    "digits_w1a2:scaled": Setting(OWN, scaled(DIGITS), 0, 40, requant="scale_shift"),
    "dorefanet_w1a2_offload:streamed": Setting(SHARED, DOREFA, 9, 4, {1: 4, 2: 4, 3: 4}),
}
"""By the name of the network's file, `:` and how it differs."""


def _found(path: Path) -> Iterator[tuple[str, Setting]]:
    """Yields the plans that `buildable_plans.py` kept, by their network's name and `:found`."""
    for row in json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else ():
        datapath = from_json(Datapath, json.dumps(row["datapath"]), str(path))
        streams = {int(layer): blocks for layer, blocks in row["streams"].items()}
        frames = FOUND_ROUNDS * datapath.batch_frames
        yield f"{row['network']}:found", Setting(SHARED, datapath, row["image_tile_rows"], frames, streams)


RUNS |= dict(_found(ROOT / "benchmarks" / "results" / "buildable_plans.json"))


@dataclass(frozen=True)
class Row:
    """A network's figures. `checks` are the outputs compared, by name: (values, mismatches)."""

    network: str
    engines: tuple[str, ...]
    batch_frames: int
    frames: int
    values: int
    mismatches: int
    stray: int
    checks: Mapping[str, tuple[int, int]]
    layers: tuple[Mapping[str, Any], ...]
    cycles_per_round: float
    cycles_per_frame: float
    simulated_cycles_per_round: int
    round_error: float
    layer_error_worst: float
    layer_error_mean: float
    first_round_cycles: int
    steady_rounds: int
    utilisation: tuple[float, ...]
    frames_per_second: Mapping[str, float]
    binary_tops: Mapping[str, float]
    simulated_clock_cycles: int
    simulation_cycles_per_second: float
    seconds: Mapping[str, float]
    level_errors: Mapping[str, int]

    @property
    def is_equal(self) -> bool:
        return not (self.mismatches or self.stray or any(wrong for _, wrong in self.checks.values()))


@dataclass(frozen=True)
class Inputs:
    """Frames of the graph's input, and what is known of the first of them: names, values, how a board prints them."""

    frames: np.ndarray
    wanted: tuple[tuple[str, int, np.ndarray], ...]  # name, first frame, values
    board_formula: str = ""


def inputs_of(setting: Setting, name: str, network: Network, count: int) -> Inputs:
    """Returns frames, those that something is known of first."""
    vectors = setting.folder / f"{name}.vectors.npz"
    if vectors.exists():
        return _vectors(vectors, count)
    if name.startswith("digits"):
        return Inputs(_repeated(np.load(OWN / "digits_test.npz")["input"], count), ())
    shape = (count, *network.input_shape[1:])
    return Inputs(np.random.default_rng(0).random(shape).astype(np.float32), ())


def _vectors(path: Path, count: int) -> Inputs:
    held = np.load(path, allow_pickle=False)
    frames, wanted = [held["input"]], [("expected", 0, held["expected"])]
    if "board_logits" in held:
        wanted.append(("board_logits", 0, held["board_logits"]))
    if "extra_input" in held:
        wanted.append(("extra_expected", len(frames[0]), held["extra_expected"]))
        frames.append(held["extra_input"])
    formula = str(held["board_formula"]) if "board_formula" in held else ""
    joined = np.concatenate(frames)
    return Inputs(_repeated(joined, max(count, len(joined))), tuple(wanted), formula)


def _repeated(frames: np.ndarray, count: int) -> np.ndarray:
    return frames[np.arange(count) % len(frames)]


def simulate_network(
    name: str, setting: Setting, frames: int, clocks_mhz: Sequence[float], speed: Speed
) -> Row:
    """Builds a network's accelerator, runs frames through it, and compares everything."""
    seconds: dict[str, float] = {}
    network = load_network(setting.path(name), setting.requant)
    inputs = inputs_of(setting, setting.path(name).stem, network, frames)
    image = network.encode_image(inputs.frames)
    reference = network.integer_tensors(image)
    with _timed(seconds, "export"):
        built = package(lay_out(network, setting.datapath, tilings=setting.tilings), DRAM_BITS)
        verilog = verilog_of(accelerator_rtlil(built.hardware, TECHNOLOGY, trace=True))
    simulator = _simulator(verilog, speed)
    seconds["build"] = simulator.build_seconds
    with _timed(seconds, "run"):
        run = run_frames(built, simulator, image, trace=True)
    with _timed(seconds, "compare"):
        found = compare_layers(built, run.simulation.traces, reference)
        cycles = cycle_report(built, run.simulation.traces, len(image), load_part(PART))
    last = network.workload.layers[-1].name
    stored = {IMAGE: image, **{layer: trace.output for layer, trace in reference.items()}}
    outputs = network.decode_output(inputs.frames, {**stored, last: run.values})
    checks = {
        "last layer in DRAM": _check(run.values, reference[last].output),
        "output": _check(outputs, network.decode_output(inputs.frames, stored)),
        **dict(_known(inputs, outputs)),
    }
    return _row(name, network, built, found, cycles, run, checks, seconds, clocks_mhz, len(image))


def _simulator(verilog: str, speed: Speed) -> Simulator:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{TOP}.v"
        file.write_text(verilog, encoding="utf-8")
        return build_simulator([file], TOP, params=BuildParams(speed=speed))


@contextlib.contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Keeps the seconds of a block under a name."""
    began = time.monotonic()
    yield
    seconds[name] = round(time.monotonic() - began, 2)


def _known(inputs: Inputs, outputs: np.ndarray) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yields the comparisons with values from elsewhere, for every frame that has some."""
    for name, first, wanted in inputs.wanted:
        got = outputs[first : first + len(wanted)]
        if name == "board_logits" and "/ 2" in inputs.board_formula:
            got = (got + 512) / 2
        yield name, _check(got, wanted)


def _check(got: np.ndarray, wanted: np.ndarray) -> tuple[int, int]:
    return int(wanted.size), int((got != wanted).sum())


def _row(
    name: str,
    network: Network,
    built: Package,
    found: Sequence[LayerComparison],
    cycles: CycleReport,
    run: FramesRun,
    checks: Mapping[str, tuple[int, int]],
    seconds: Mapping[str, float],
    clocks_mhz: Sequence[float],
    frames: int,
) -> Row:
    rates = {f"{clock:g}": cycles.frames_per_second(clock) for clock in clocks_mhz}
    layers = tuple(
        {
            **asdict(layer),
            "values": compared.values,
            "mismatches": compared.mismatches,
            "first_mismatch": str(compared.first) if compared.first else None,
            "simulated_error": round(layer.simulated_error, 5),
        }
        for layer, compared in zip(cycles.layers, found, strict=True)
    )
    return Row(
        network=name,
        engines=tuple(engine.shape for engine in built.layout.engines),
        batch_frames=built.batch_frames,
        frames=frames,
        values=sum(x.values for x in found),
        mismatches=sum(x.mismatches for x in found),
        stray=sum(x.stray_bits + x.stray_writes for x in found),
        checks=checks,
        layers=layers,
        cycles_per_round=cycles.measured,
        cycles_per_frame=cycles.cycles_per_frame,
        simulated_cycles_per_round=cycles.simulated,
        round_error=round(cycles.simulated_error, 5),
        layer_error_worst=round(cycles.worst_layer_error, 5),
        layer_error_mean=round(cycles.mean_layer_error, 5),
        first_round_cycles=cycles.first_round,
        steady_rounds=cycles.steady_rounds,
        utilisation=tuple(round(engine.utilisation, 4) for engine in cycles.engines),
        frames_per_second={clock: round(rate, 1) for clock, rate in rates.items()},
        binary_tops={
            clock: round(2e-12 * network.workload.bit_macs * rate, 5) for clock, rate in rates.items()
        },
        simulated_clock_cycles=run.simulation.cycles,
        simulation_cycles_per_second=round(run.simulation.cycles / max(run.simulation.seconds, 1e-6)),
        seconds=dict(seconds),
        level_errors=network.requant_errors,
    )


def _print(row: Row) -> None:
    print(f"{row.network}: engines {', '.join(row.engines)}, {row.frames} frames, {row.batch_frames} a round")
    print(
        f"  {row.values:,} values of {len(row.layers)} layers: {row.mismatches} mismatches, {row.stray} stray; "
        + ", ".join(f"{name} {wrong} of {values}" for name, (values, wrong) in row.checks.items())
    )
    print(
        f"  cycles per frame {row.cycles_per_frame:,.1f}; round {row.cycles_per_round:,.1f}, simulated "
        f"{row.simulated_cycles_per_round:,} ({row.round_error:+.2%}); layers: worst {row.layer_error_worst:.2%}, "
        f"mean {row.layer_error_mean:.2%}"
    )
    rates = (
        f"{rate:,.1f} frames/s, {row.binary_tops[c]:.4f} TOPS at {c} MHz"
        for c, rate in row.frames_per_second.items()
    )
    print(f"  {'; '.join(rates)}; {row.simulation_cycles_per_second:,.0f} cycles/s, {row.seconds}")
    if row.level_errors:
        wrong = ", ".join(f"{name} {count:,}" for name, count in row.level_errors.items())
        print(
            f"  levels that scale and shift sets otherwise than thresholds, over all accumulators there are: {wrong}"
        )
    for layer in row.layers:
        parts = ", ".join(f"{k} {v:,.0f}" for k, v in layer["waterfall"].items() if v)
        print(
            f"    {layer['layer']:20} {layer['engine']} {layer['mismatches']} of {layer['values']:,}; "
            f"{layer['measured']:,.0f} cycles ({layer['simulated_error']:+.2%}): {parts}"
        )
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table, writes it where asked, and returns 1 if anything differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RUNS)}; all without")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--frames", type=int, help="frames to simulate instead of each network's own number")
    parser.add_argument("--clock-mhz", type=float, nargs="+", default=[200.0, 150.0])
    parser.add_argument("--fast", action="store_true", help="build longer, simulate faster")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(RUNS))
    if unknown:
        parser.error(f"no such network: {', '.join(unknown)}; known are {', '.join(RUNS)}")
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    for name in options.names or RUNS:
        setting = RUNS[name]
        file = f"{name.partition(':')[0]}.onnx"
        if not (setting.folder / file).exists():
            skipped[name] = f"{file} is not in ../shared/models"
            print(f"{name}: skipped, {skipped[name]}")
            continue
        frames = options.frames or setting.frames
        speed = Speed.FAST if options.fast else Speed.QUICK
        rows.append(simulate_network(name, setting, frames, options.clock_mhz, speed))
        _print(rows[-1])
        if options.json:
            _write(options.json, rows, skipped)
    return int(not all(row.is_equal for row in rows))


def _write(path: Path, rows: Sequence[Row], skipped: Mapping[str, str]) -> None:
    body = {
        "technology": TECHNOLOGY,
        "part": PART,
        "dram_bits": DRAM_BITS,
        "dram_read_cycles": DRAM_READ_CYCLES,
        "rows": [asdict(row) for row in rows],
        "skipped": dict(skipped),
    }
    path.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
