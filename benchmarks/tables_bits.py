"""The README's tables of bits per layer, written from `results/bits_digits.json`; `figures.py` calls it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from tables import table  # type: ignore[import-not-found]  # the script's own folder is on the path

__all__ = ["bits_digits"]

Row = dict[str, Any]


def _spread(values: Sequence[float], form: str) -> str:
    """Returns the median and, where they differ, the least and the greatest."""
    low, middle, high = min(values), statistics.median(values), max(values)
    if low == high:
        return format(middle, form)
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def _by_name(rows: Sequence[Row]) -> dict[str, list[Row]]:
    out: dict[str, list[Row]] = {}
    for row in rows:
        out.setdefault(row["name"], []).append(row)
    return out


def _of(rows: Sequence[Row], key: str, form: str) -> str:
    return _spread([row[key] for row in rows], form)


def _network_row(name: str, rows: Sequence[Row], saved: str) -> tuple[str, ...]:
    bound = _of(rows, "bound_cycles_per_frame", ".1f") if "bound_cycles_per_frame" in rows[0] else "-"
    return (
        name,
        _of(rows, "cycles_per_frame", ".1f"),
        bound,
        saved,
        _of(rows, "predicted_drop_points", ".2f"),
        _of(rows, "measured_drop_points", ".1f"),
        _of(rows, "test_accuracy_percent", ".1f"),
        _of(rows, "predicted_loss", ".3f"),
        _of(rows, "test_loss_before", ".3f"),
        _of(rows, "test_loss", ".3f"),
    )


def _saved(chosen: Sequence[Row], uniform: Sequence[Row]) -> str:
    """Returns the share of cycles that is saved seed by seed, as a percentage."""
    cycles = {row["seed"]: row["cycles_per_frame"] for row in uniform}
    return (
        _spread([100 * (1 - row["cycles_per_frame"] / cycles[row["seed"]]) for row in chosen], ".0f") + " %"
    )


def _networks(body: dict[str, Any]) -> str:
    uniform, chosen = _by_name(body["uniform"]), _by_name(body["chosen"])
    rows = [_network_row(name, found, "-") for name, found in uniform.items()]
    rows += [
        _network_row(f"**chosen, {name}**", found, f"**{_saved(found, uniform[name.removeprefix('as ')])}**")
        for name, found in chosen.items()
    ]
    header = (
        *("bits", "cycles/frame", "bound", "cycles saved", "drop predicted", "drop measured"),
        *("accuracy %", "loss predicted", "loss measured before training again", "after"),
    )
    return str(table(header, rows))


def _bits(body: dict[str, Any]) -> str:
    rows = [
        (
            row["name"],
            row["seed"],
            *row["bits"],
            f"{row['cycles_per_frame']:.1f}",
            row["test_accuracy_percent"],
        )
        for row in body["chosen"]
    ]
    return str(
        table(("budget", "seed", "conv1", "conv2", "conv3", "logits", "cycles/frame", "accuracy %"), rows)
    )


def _ranking(body: dict[str, Any]) -> str:
    names = {"measured": "measured loss change", "trace": "Hessian trace"}
    rows = [
        (
            name,
            _spread([r[key]["spearman_calibration"] for r in body["before_training"]], ".2f"),
            _spread([r[key]["spearman_test"] for r in body["before_training"]], ".2f"),
            _spread([r[key]["median_error_nats"] for r in body["before_training"]], ".2f"),
            _spread([r[key] for r in body["after_training"]], ".2f"),
        )
        for key, name in names.items()
    ]
    count = body["before_training"][0]["count"]
    header = (
        *("sensitivity", f"{count} random bits, calibration images", "test images", "median error, nats"),
        f"the {body['after_training'][0]['count']} networks trained again, test loss",
    )
    return str(table(header, rows))


def _quantizers(body: dict[str, Any]) -> str:
    rows = [
        (
            q["quantizer"],
            q["levels"],
            q["kind"],
            q["planes"],
            q["and_planes"],
            f"{q['error_percent_of_energy']:.1f}",
            f"{q['predicted_loss']:.3f}",
        )
        for q in body["quantizers"]
    ]
    header = (
        *("quantizer", "levels", "held as", "planes", "on an AND engine"),
        *("squared error, % of the weights' energy", "loss predicted"),
    )
    return str(table(header, rows))


def _programme(body: dict[str, Any]) -> str:
    saved: dict[tuple[str, int], list[float]] = {}
    for row in body["programme"]:
        share = 100 * (1 - row["bit_macs"] / row["uniform_bit_macs"])
        saved.setdefault((row["network"], row["layers"]), []).append(share)
    proven = sum(row["bit_macs"] == row["bound"] for row in body["programme"])
    shown = "; ".join(
        f"{name} ({layers} layers) {_spread(x, '.0f')} %" for (name, layers), x in saved.items()
    )
    slowest = max(row["cpu_seconds"] for row in body["programme"])
    return (
        "Bit-MACs that the integer programme saves against two bits everywhere at the same sum of drops, drops invented with "
        f"three seeds: {shown}; {proven} of {len(body['programme'])} proven optimal, at most {slowest:.1f} CPU seconds each."
    )


def bits_digits(body: dict[str, Any]) -> str:
    """Returns the tables: networks, their bits, how the sensitivities rank, and the quantizers."""
    floats = [s["test_accuracy_percent"] for s in body["sensitivity"]]
    seeds = len(body["sensitivity"])
    return (
        f"**Bits per layer on digits, xc7z020, 80 % of the LUTs:** {seeds} seeds, median and range; 500 test images, so 0.2 "
        f"points are one image. The parent in float has {_spread(floats, '.1f')} %. Every network is trained again from it. "
        "A choice may lose, by prediction, as much as the network of equal bits that it is named after; drops are in points, "
        f"losses in nats. W2A2 Balanced is predicted as W2A2.\n\n{_networks(body)}\n\n"
        f"The bits that were chosen, weights/result bits:\n\n{_bits(body)}\n\n"
        f"Spearman's rank correlation of predicted and measured loss, before and after training again:\n\n{_ranking(body)}\n\n"
        "Quantizers of weights on the parent of the first seed, all layers at once, nothing trained again; an engine's time is "
        f"its planes:\n\n{_quantizers(body)}\n\n{_programme(body)}"
    )
