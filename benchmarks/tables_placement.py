"""The README's tables of placements: our solvers on netlists of arrays, and on circuits that VPR packed."""

from __future__ import annotations

from typing import Any

from tables import table  # type: ignore[import-not-found]  # the script's own folder is on the path

__all__ = ["placement_baselines", "placement_vpr"]


def _wire(row: dict[str, Any]) -> str:
    """Returns HPWL and CPU seconds of one placer in a cell of a table."""
    if "skipped" in row:
        return "-"
    low, high = row.get("hpwl_range", (row["hpwl"], row["hpwl"]))
    spread = f" ({low:,.0f} - {high:,.0f})" if low != high else ""
    return f"{row['hpwl']:,.0f}{spread} in {row['cpu_seconds']:,.3g} s"


def placement_baselines(body: dict[str, Any]) -> str:
    solvers = ("greedy", "anneal 0.1", "anneal 1", "anneal 10", "cp-sat", "nextpnr-generic")
    rows = []
    for name, r in body.items():
        speed = f"{r['anneal 1']['per_second'] / 1e6:.2f}M"
        rows.append((name, f"{r['cells']:,}", f"{r['bound']:,}", *(_wire(r[s]) for s in solvers), speed))
    header = ("instance", "cells", "bound", *solvers[:-1], "nextpnr-generic (HeAP)", "moves/s")
    seeds = next(iter(body.values()))["anneal 1"]["seeds"]
    title = (
        f"**Placement: wirelength (HPWL, tiles) and CPU seconds, median and range of {seeds} seeds** (greedy and nextpnr: one); "
        "annealing at three efforts, one run each. nextpnr-generic, where it is there, has one cell fixed as an anchor. "
        "The annealer's defaults were chosen on the two systolic instances."
    )
    return f"{title}\n\n{table(header, rows)}"


def placement_vpr(body: dict[str, Any]) -> str:
    efforts = list(body["rows"][0]["efforts"])
    rows = [
        (
            r["circuit"],
            f"{r['cells']:,}",
            f"{r['wires']:,}",
            f"{r['grid'][0]} x {r['grid'][1]}",
            f"{r['vpr_hpwl']:,}",
            *(f"{_wire(e)}, {100 * (e['hpwl'] / r['vpr_hpwl'] - 1):+.1f} %" for e in r["efforts"].values()),
            f"{r['efforts'][efforts[-1]]['per_second'] / 1e6:.2f}M",
            f"{r['read_cpu_seconds']:.2f}",
        )
        for r in body["rows"]
    ]
    header = (
        "circuit",
        "cells",
        "nets",
        "grid",
        "VPR's file",
        *(f"ours, effort {e}" for e in efforts),
        "moves/s",
        "reading, CPU s",
    )
    title = (
        f"**Circuits packed by VPR: wirelength (HPWL, tiles), CPU seconds, median and range of {body['seeds']} seeds,** beside "
        "the placement that VPR wrote for the same netlist and grid, by the same measure. s4 and s8 are systolic arrays, clma is "
        "random logic. VPR's placer minimises a cost of its own, with timing where asked; how ours route is not shown here."
    )
    return f"{title}\n\n{table(header, rows)}"
