"""The README's table of single layers: our mapper, its bound, and ZigZag's mappings on one scale."""

from __future__ import annotations

from typing import Any

from tables import table  # type: ignore[import-not-found]  # the script's own folder is on the path

__all__ = ["tiling_layer"]


def _total(rows: list[dict[str, Any]], array: str) -> str:
    """Returns the cycles of all of ResNet-18's convolutions on an array, in words."""
    mine = [row for row in rows if row["array"] == array]

    def cycles(kind: str, name: str) -> int:
        return round(sum(float(row["times"] * row[kind][name]) for row in mine))

    bound = sum(row["times"] * row["bound"] for row in mine)
    ours, other = cycles("ours", "cycles"), cycles("zigzag", "cycles")
    says = cycles("zigzag", "reported_cycles")
    return (
        f"{array}: {ours:,} cycles, {ours / bound:.4f} of the bounds' sum; ZigZag's mappings {other:,} ({other / bound:.4f}), "
        f"by its own model {says:,}"
    )


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    ours, other, bound = row["ours"], row["zigzag"], row["bound"]
    says = f"{other['reported_cycles']:,.0f}" + (" (below the bound)" if other["below_bound"] else "")
    return (
        f"{row['array']} {row['layer']}",
        f"{bound:,}",
        f"**{ours['cycles']:,}**",
        f"{ours['cycles'] / bound:.4f}",
        f"{ours['milliseconds']:.1f}",
        f"{other['cycles']:,}",
        f"{other['cycles'] / ours['cycles']:.4f}",
        f"{other['tile_cycles']:,}",
        f"{other['finest_cycles']:,}",
        says,
        f"{other['cpu_seconds']:.2f}",
        f"{row['pareto']['points']} in {row['pareto']['milliseconds']:.0f} ms",
    )


def tiling_layer(body: dict[str, Any]) -> str:
    rows = body["rows"]
    equal = sum(row["exhaustive"]["equal"] for row in rows)
    tried = sum(row["exhaustive"]["mappings"] for row in rows)
    seconds = sum(row["exhaustive"]["cpu_seconds"] for row in rows)
    worst = max(row["ours"]["cycles"] / row["bound"] for row in rows)
    behind = [row for row in rows if row["zigzag"]["cycles"] < row["ours"]["cycles"]]
    ahead = [row for row in rows if row["zigzag"]["finest_cycles"] < row["ours"]["cycles"]]
    arrays = dict.fromkeys(row["array"] for row in rows)
    title = (
        "**One layer: the exact mapper, its bound, and ZigZag's mappings on one scale,** ResNet-18's convolutions of distinct "
        "shape on arrays of 16x16x1 (int8) and 32x64x1 (w2a2) at 64 bits a cycle. All cycles but those that ZigZag says are the "
        f"neutral referee's. Ours has at most {body['max_steps']:,} steps; ZigZag {body['zigzag']}'s mappings (LOMA, "
        f"{body['lpf_limit']} loop factors) are replayed at their best with as many, tile by tile, and with any number up to a "
        f"million. Ours is within {100 * (worst - 1):.1f} % of the bound everywhere; ZigZag's is faster in {len(behind)} of "
        f"{len(rows)} within the same steps, in {len(ahead)} with any number. Plain search of all mappings of at most "
        f"{body['exhaustive_steps']} steps, {tried:,} in {seconds:,.0f} CPU s, finds what the mapper finds in {equal} of "
        f"{len(rows)}. All layers of the network: {'; '.join(_total(rows, array) for array in arrays)}."
    )
    header = (
        *(
            "layer",
            "bound",
            "ours",
            "of bound",
            "CPU ms",
            "ZigZag's mapping",
            "of ours",
            "tile by tile",
            "any steps",
        ),
        *("ZigZag says", "its CPU s", f"Pareto set, {body['pareto_steps']} steps"),
    )
    return f"{title}\n\n{table(header, [_row(row) for row in rows])}"
