"""Bits per layer on digits, to the end: sensitivities, the choice of bits with engines, training again, integers.

    python benchmarks/bits_digits.py --json benchmarks/results/bits_digits.json

For each seed a network is trained in float on 1,000 of the training images; the other 297 are for calibration. Networks with
the same bits in every layer are trained again from it, and their accuracy on the calibration images, shifted by up to a pixel,
says how much of a predicted loss stays (`fit_recovery`). Then, for the accuracy that each of them is predicted to lose, bits
per layer and engines are searched together on the xc7z020 (80 % of the LUTs), the network is trained again with them and
exported, and the integer reference classifies the 500 test images, which took part in nothing before. Cycles are a
schedule's, in the simulator.

The sensitivities are also compared with what random bits per layer lose together before any training; and the integer programme
over bit-MACs is solved for larger networks, with invented drops.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from foldwright.accel.bit_options import BitOption, BitOptions
from foldwright.accel.known_workloads import known_workload
from foldwright.accel.network import load_network
from foldwright.accel.onnx_export import export_qonnx
from foldwright.accel.quantize_uneven import named_quantizer, weight_planes
from foldwright.accel.sensitivity import Estimate, Sensitivity
from foldwright.accel.sensitivity_torch import loss_and_accuracy
from foldwright.accel.workload import ResultKind, WeightKind
from foldwright.agents.stop import Evaluations
from foldwright.bits import choose_bits, tiled
from foldwright.envs.allocation.bits import BitsProblem
from foldwright.envs.allocation.bits_model import fewest_bit_macs
from foldwright.envs.allocation.problem import AllocationProblem
from foldwright.jsonform import plain
from foldwright.models.digits_bits import (
    apart,
    parent_recipe,
    recipe_of,
    recovery_of,
    retrained,
    sensitivity,
    shifted_accuracy_percent,
    template,
    uniform_networks,
    uniform_picks,
)
from foldwright.models.digits_net import LAYERS, Digits, DigitsNet, Recipe, digits, to_graph
from foldwright.models.train_digits import accuracy_percent, train
from foldwright.runs import write_atomic
from foldwright.verbs.tables import aligned

Row = dict[str, Any]

MATCHED = ("W1A2", "W2A2", "W3A3", "W4A4")
"""Whose predicted accuracy is the budget of a choice."""
QUANTIZERS = (
    "odd-2",
    "log-2",
    "odd-3",
    "log-3",
    "symmetric-3",
    "mulaw-3",
    "odd-4",
    "log-4",
    "symmetric-4",
    "mulaw-4",
)
RANDOM_BITS = 60
LARGER = ("cnv-w2a2", "resnet18-w2a2")


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Returns Spearman's coefficient; ties get the mean of their ranks."""
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: Sequence[float]) -> npt.NDArray[np.float64]:
    x = np.asarray(values)
    return np.array([(x < v).sum() + ((x == v).sum() - 1) / 2 for v in x])


def cycles_of(options: BitOptions, picks: Sequence[int], known: dict[str, float]) -> float:
    """Returns cycles per frame of the fastest engines found for bits; equal workloads are searched once."""
    workload = options.workload_of(picks)
    key = workload.content_hash()
    if key not in known:
        problem = AllocationProblem("allocation/digits", workload)
        problem.solve_exact(lambda designs: designs >= 300)
        known[key] = tiled(problem)[0] / 1000
    return known[key]


def measured(net: DigitsNet, data: Digits, folder: Path) -> tuple[float, float]:
    """Returns loss (nats) and accuracy (percent) of the exported network on the test images, by the integer reference."""
    network = load_network(export_qonnx(to_graph(net), folder / f"{net.recipe.name[:60]}.onnx"))
    logits = network.run(data.test_images).astype(np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    chosen = shifted[np.arange(len(logits)), data.test_labels]
    loss = float((np.log(np.exp(shifted).sum(axis=1)) - chosen).mean())
    return loss, 100 * float((logits.argmax(axis=1) == data.test_labels).mean())


def before_training(parent: DigitsNet, recipe: Recipe, data: Digits) -> float:
    """Returns the loss on test images of `data` of the parent with other bits and nothing trained again."""
    net = DigitsNet(recipe)
    net.load_state_dict(parent.state_dict())
    settled = parent.settled(net.quantized_weights, net.quantized_results)
    images, labels = torch.from_numpy(data.test_images).float(), torch.from_numpy(data.test_labels).long()
    return loss_and_accuracy(settled, images, labels, net.quantized_weights, net.quantized_results)[0]


class Seed:
    """All that happens with one seed."""

    def __init__(self, seed: int, data: Digits, folder: Path, known_cycles: dict[str, float]) -> None:
        self.seed, self.data, self.folder, self.known_cycles = seed, data, folder, known_cycles
        self.learning, self.calibration = apart(data)
        self.parent = train(parent_recipe(seed), self.learning)
        self.found: Sensitivity = sensitivity(self.parent, self.learning, self.calibration)
        self.options = self.found.bit_options(template())
        self.networks = uniform_networks(self.parent, self.found, self.learning)
        self.recovery = recovery_of(self.parent, self.found, self.calibration, self.networks)
        self.test_percent = accuracy_percent(self.parent, data.test_images, data.test_labels)

    def picks_of(self, options: Sequence[BitOption]) -> tuple[int, ...]:
        bits = [(o.weights, o.out_bits) for o in options]
        return tuple(
            next(k for k, o in enumerate(layer) if (o.weights, o.out_bits) == b)
            for layer, b in zip(self.options.layers, bits, strict=True)
        )

    def row(self, name: str, net: DigitsNet, picks: tuple[int, ...]) -> Row:
        """Measures a network that was trained again with bits, and sets the predictions beside it."""
        calibration = shifted_accuracy_percent(net, self.calibration)
        loss, accuracy = measured(net, self.data, self.folder)
        by_measure, by_trace = (sum(self.found.parts(picks, e)) for e in Estimate)
        drop = self.recovery.points(self.found.parts(picks, Estimate.MEASURED))
        chosen = [layer[k] for layer, k in zip(self.options.layers, picks, strict=True)]
        return {
            "name": name,
            "seed": self.seed,
            "picks": list(picks),
            "bits": [f"{o.weights}/{o.out_bits}" for o in chosen[:-1]] + [chosen[-1].weights],
            "predicted_loss": round(self.found.loss + by_measure, 4),
            "predicted_loss_by_trace": round(self.found.loss + by_trace, 4),
            "calibration_loss_before": round(before_training(self.parent, net.recipe, self.calibration), 4),
            "test_loss_before": round(before_training(self.parent, net.recipe, self.data), 4),
            "calibration_accuracy_percent": round(calibration, 2),
            "test_loss": round(loss, 4),
            "test_accuracy_percent": round(accuracy, 2),
            "predicted_drop_points": round(drop, 3),
            "predicted_accuracy_percent": round(self.found.accuracy_percent - drop, 2),
            "measured_drop_points": round(self.test_percent - accuracy, 2),
            "cycles_per_frame": round(cycles_of(self.options, picks, self.known_cycles), 3),
        }

    def uniform(self) -> list[Row]:
        """Returns the rows of networks with the same bits in every layer."""
        return [self.row(one.name, one.net, one.picks) for one in self.networks]

    def balanced(self) -> Row:
        """Returns the row of W2A2 with Balanced weights, trained again in the same way; predictions are of odd ones."""
        picks = uniform_picks(self.options, "odd-2", 2)
        chosen = [layer[k] for layer, k in zip(self.options.layers, picks, strict=True)]
        quantizers = (named_quantizer("balanced-2"),) * len(LAYERS)
        recipe = replace(recipe_of(chosen, self.seed), name="digits_balanced", weights=quantizers)
        return self.row("W2A2 Balanced", retrained(self.parent, recipe, self.learning), picks)

    def chosen(self, name: str, max_drop: float, evaluations: int) -> Row:
        """Searches bits and engines within a budget, trains again with the bits and returns the row."""
        options = self.found.bit_options(template(), recovery=self.recovery)
        before = time.process_time()
        problem = BitsProblem("bits/digits", options, max_drop)
        best = choose_bits(problem, stop=Evaluations(evaluations), seed=self.seed)
        seconds = time.process_time() - before
        net = retrained(self.parent, recipe_of(best.options, self.seed), self.learning)
        row = self.row(name, net, self.picks_of(best.options))
        row |= {
            "max_drop_points": round(max_drop, 3),
            "cycles_per_frame": round(min(row["cycles_per_frame"], best.cycles_per_frame), 3),
            "bound_cycles_per_frame": round(best.bound_cycles_per_frame, 3),
            "search_cpu_seconds": round(seconds, 1),
            "nodes_bounded": problem.search.nodes_bounded,
        }
        return row

    def random_bits(self, count: int) -> Row:
        """Returns how both sensitivities rank random bits per layer by their joint loss, before any training."""
        rng = np.random.default_rng(self.seed)
        predicted: dict[Estimate, list[float]] = {e: [] for e in Estimate}
        calibration, test = [], []
        for _ in range(count):
            picks = tuple(int(rng.integers(len(layer))) for layer in self.options.layers)
            chosen = [layer[k] for layer, k in zip(self.options.layers, picks, strict=True)]
            recipe = recipe_of(chosen, self.seed)
            calibration.append(before_training(self.parent, recipe, self.calibration))
            test.append(before_training(self.parent, recipe, self.data))
            for estimate in Estimate:
                predicted[estimate].append(self.found.loss + sum(self.found.parts(picks, estimate)))
        out: Row = {"seed": self.seed, "count": count}
        for estimate, values in predicted.items():
            errors = [abs(p - m) for p, m in zip(values, calibration, strict=True)]
            out[estimate.value] = {
                "spearman_calibration": round(rank_correlation(values, calibration), 3),
                "spearman_test": round(rank_correlation(values, test), 3),
                "median_error_nats": round(statistics.median(errors), 4),
            }
        return out


def quantizer_rows(one: Seed) -> list[Row]:
    """Returns what each quantizer of weights disturbs, and how many planes it takes; all layers at once."""
    found = sensitivity(one.parent, one.learning, one.calibration, QUANTIZERS, probes=2)
    rows = []
    for k, name in enumerate(QUANTIZERS, start=1):
        quantizer = named_quantizer(name)
        planes = weight_planes(quantizer)
        energy = sum(
            float(np.square(block.weight.detach().numpy()).sum()) for _, block in one.parent.blocks()
        )
        error = sum(layer.weight_errors[k] for layer in found.layers)
        rows.append(
            {
                "quantizer": name,
                "levels": len(quantizer.levels),
                "kind": planes.kind.value,
                "planes": planes.planes,
                "and_planes": planes.and_planes,
                "error_percent_of_energy": round(100 * error / energy, 3),
                "predicted_loss": round(
                    found.loss + sum(layer.loss_changes[k][0] for layer in found.layers), 4
                ),
            }
        )
    return rows


def invented(name: str, seed: int) -> BitOptions:
    """Returns options of a known network with drops as of evenly spaced quantizers: a quarter with every bit more."""
    rng, workload = np.random.default_rng(seed), known_workload(name)
    layers = []
    for layer in workload.layers:
        by_weights, by_results = rng.lognormal(0.0, 1.0, 2)
        layers.append(
            tuple(
                BitOption(
                    f"odd-{w}", *weight_key(w), a, round(by_weights * 4.0**-w + by_results * 4.0**-a, 6)
                )
                for w in (1, 2, 3, 4)
                for a in ((1,) if layer.result is ResultKind.RAW else (1, 2, 3, 4))
            )
        )
    return BitOptions(name, workload, tuple(layers), "invented units")


def weight_key(bits: int) -> tuple[WeightKind, int]:
    planes = weight_planes(named_quantizer(f"odd-{bits}"))
    return planes.kind, planes.bits


def programme_rows() -> list[Row]:
    """Returns the fewest bit-MACs of larger networks that lose no more than two bits everywhere, drops invented."""
    rows = []
    for name in LARGER:
        for seed in range(3):
            options, before = invented(name, seed), time.process_time()
            picks = tuple(
                next(
                    k
                    for k, o in enumerate(layer)
                    if o.weight_bits == 2 and (o.out_bits == 2 or len(layer) == 4)
                )
                for layer in options.layers
            )
            solved = fewest_bit_macs(options, options.drop_of(picks))
            rows.append(
                {
                    "network": name,
                    "seed": seed,
                    "layers": len(options.layers),
                    "uniform_bit_macs": options.workload_of(picks).bit_macs,
                    "bit_macs": solved.value,
                    "bound": solved.bound,
                    "cpu_seconds": round(time.process_time() - before, 2),
                }
            )
    return rows


def measure(seeds: Sequence[int], evaluations: int, random_count: int, folder: Path) -> dict[str, Any]:
    """Returns the whole result."""
    data = digits()
    uniform: list[Row] = []
    chosen: list[Row] = []
    ranks: list[Row] = []
    sensitivities: list[Row] = []
    quantizers: list[Row] = []
    recoveries: list[Row] = []
    known: dict[str, float] = {}
    for seed in seeds:
        one = Seed(seed, data, folder, known)
        if not quantizers:
            quantizers = quantizer_rows(one)
        rows = one.uniform()
        uniform += [*rows, one.balanced()]
        drops = {row["name"]: row["predicted_drop_points"] for row in rows}
        chosen += [one.chosen(f"as {name}", drops[name] + 0.001, evaluations) for name in MATCHED]
        ranks.append(one.random_bits(random_count))
        recoveries.append({"seed": seed, **plain(one.recovery)})
        sensitivities.append({**_short(one.found), "test_accuracy_percent": round(one.test_percent, 2)})
        print(f"seed {seed}: done", file=sys.stderr, flush=True)
    trained = [*uniform, *chosen]
    return {
        "uniform": uniform,
        "chosen": chosen,
        "before_training": ranks,
        "after_training": [_after(trained, seed) for seed in seeds],
        "quantizers": quantizers,
        "programme": programme_rows(),
        "recovery": recoveries,
        "sensitivity": sensitivities,
    }


def _short(found: Sensitivity) -> Row:
    """Returns the traces with their errors, and what each quantizer alone adds to the loss: measured, and by trace."""
    layers = []
    for layer in found.layers:
        by_weights = {
            name: [round(layer.loss_changes[k][0], 4), round(layer.parts(k, 0, Estimate.TRACE)[0], 4)]
            for k, name in enumerate(layer.weights)
            if k
        }
        by_results = {
            str(bits): [round(layer.loss_changes[0][k], 4), round(layer.parts(0, k, Estimate.TRACE)[1], 4)]
            for k, bits in enumerate(layer.result_bits)
            if k
        }
        layers.append(
            {
                "layer": layer.layer,
                "weight_trace": [round(layer.weight_trace, 2), round(layer.weight_trace_error, 2)],
                "result_trace": [round(layer.result_trace, 2), round(layer.result_trace_error, 2)],
                "by_weights": by_weights,
                "by_results": by_results,
            }
        )
    return {
        "loss": round(found.loss, 4),
        "accuracy_percent": round(found.accuracy_percent, 2),
        "layers": layers,
    }


def _after(rows: Sequence[Row], seed: int) -> Row:
    """Returns how the predictions rank the networks of one seed by their test loss after training."""
    mine = [row for row in rows if row["seed"] == seed and row["name"] != "W2A2 Balanced"]
    losses = [row["test_loss"] for row in mine]
    return {
        "seed": seed,
        "count": len(mine),
        "measured": round(rank_correlation([row["predicted_loss"] for row in mine], losses), 3),
        "trace": round(rank_correlation([row["predicted_loss_by_trace"] for row in mine], losses), 3),
        "recovered": round(rank_correlation([row["predicted_drop_points"] for row in mine], losses), 3),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--evaluations", type=int, default=300, help="of the search for bits")
    parser.add_argument("--random-bits", type=int, default=RANDOM_BITS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    before = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        body = measure(options.seeds, options.evaluations, options.random_bits, Path(folder))
    body |= {
        "evaluations": options.evaluations,
        "cpu_seconds": round(time.process_time() - before, 1),
        "versions": {
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
    if options.json:
        write_atomic(options.json, json.dumps(body, indent=1) + "\n")
    columns = ("name", "seed", "bits", "cycles_per_frame", "predicted_drop_points", "measured_drop_points")
    lines = [[str(row[c]) for c in columns] for row in (*body["uniform"], *body["chosen"])]
    print(aligned(list(columns), lines))
    for key in ("before_training", "after_training", "recovery"):
        print(f"{key}: {json.dumps(body[key])}")
    print(f"CPU seconds: {body['cpu_seconds']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
