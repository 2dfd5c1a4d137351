"""The README's tables of `allocation_finn.py`."""

from __future__ import annotations

from typing import Any

from tables import table  # type: ignore[import-not-found]  # the script's own folder is on the path

__all__ = ["allocation_finn"]

_NAMES = {"1w1a": "W1A1", "1w2a_bip": "W1A2", "1w2a": "W1A2, weights in two bits", "2w2a": "W2A2"}


def allocation_finn(body: dict[str, Any]) -> str:
    """Returns the exact optima beside foldings by hand and by rule, then the front and our own models' view."""
    return "\n\n".join((_optima(body), _elsewhere(body), _fronts(body)))


def _optima(body: dict[str, Any]) -> str:
    rule = {(t["table"], r["budget_percent"]): r for t in body["tables"] for r in t["rule"]}
    rows = []
    for r in body["rows"]:
        by_rule = rule[r["table"], r["budget_percent"]].get("fps")
        rows.append(
            (
                *(_NAMES[r["table"]], f"{r['budget_percent']} %", r["budget_dsp"], f"**{r['fps']:,.0f}**"),
                r["status"] if r["status"] == "optimal" else f"gap {100 * r['gap']:.2f} %",
                *(f"{r['lut']:,}", r["bram18"], r["dsp"], f"{sum(r['cpu_seconds'].values()):.2f}"),
                _again(r),
                "-" if r["budget_dsp"] or by_rule is None else f"{by_rule:,.0f}",
                f"{r['known_fps']:,}" if r["known_fps"] else "-",
            )
        )
    header = (
        *(
            "CNV",
            "of 53,200 LUT and 280 BRAM18",
            "DSP slices",
            "frames/s",
            "status",
            "LUT",
            "BRAM18",
            "DSP",
            "CPU s",
        ),
        *("CP-SAT, told it, proves it: CPU s", "rule as FINN's, frames/s", "had to reach"),
    )
    title = (
        f"**FINN's own problem:** a folding of every node of CNV on {body['part']} at {body['clock_mhz']:g} MHz, on FINN's "
        "estimates, its width converters counted, solved exactly (file read, kernels compiled before). The rule raises "
        "parallelism node by node, as FINN's SetFolding does, without DSP slices:"
    )
    return f"{title}\n\n{table(header, rows)}"


def _again(row: dict[str, Any]) -> str:
    """Returns the seconds in which CP-SAT proved the same optimum, or the bound that it came to."""
    again = row.get("cp_sat")
    if again is None:
        return "-"
    same = again["is_optimal"] and again["bound_cycles"] == row["cycles"]
    return f"{again['cpu_seconds']:.0f}" if same else f"at least {again['bound_cycles']:,} cycles"


def _elsewhere(body: dict[str, Any]) -> str:
    names = ("W1A1", "W1A2", "W2A2")
    parts = [
        f"{who} " + " / ".join("-" if v is None else f"{v:,}" for v in values)
        for who, values in body["elsewhere"].items()
    ]
    of = " / ".join(names)
    return f"By other tools on these estimates, full budget, measured elsewhere, frames/s of {of}: {'; '.join(parts)}."


def _fronts(body: dict[str, Any]) -> str:
    rows = []
    for t in body["tables"]:
        hand, ours = t["hand"], t["hand_by_our_models"]
        without, with_dsp = t["fewest_lut_at_hand_cycles"]
        points = "; ".join(f"{_fps(body, p['cycles'])}: {p['lut']:,}" for p in t["front"])
        rows.append(
            (
                *(_NAMES[t["table"]], _fps(body, hand["cycles"]), f"{hand['lut']:,} / {hand['bram18']}"),
                *(
                    f"**{without['lut']:,}** / {without['bram18']}",
                    f"{with_dsp['lut']:,} / {with_dsp['bram18']}",
                ),
                f"{_fps(body, ours['cycles'])}, {ours['lut']:,} LUT, {ours['bram36']} RAMB36",
                f"{t['front_points']} in {t['front_cpu_seconds']:.2f} s",
                points,
            )
        )
    header = (
        *(
            "CNV",
            "published folding, frames/s",
            "LUT / BRAM18",
            "fewest LUT at its rate",
            "with 220 DSP slices",
        ),
        *(
            "published folding by our simulator and cost model",
            "points of the front",
            "some of them, frames/s: LUT",
        ),
    )
    return (
        "The published foldings beside the optimum at their rate, and as datapaths of ours with one engine a layer (weights of "
        f"two bits are two planes there):\n\n{table(header, rows)}"
    )


def _fps(body: dict[str, Any], cycles: int) -> str:
    return f"{body['clock_mhz'] * 1e6 / cycles:,.0f}"
