"""The README's table of the tiling instances of whole networks."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from typing import Any

from tables import table  # type: ignore[import-not-found]  # the script's own folder is on the path

__all__ = ["tiling_network"]

OPEN_CASE = "tiling/resnet18-int8-b16-p140"


def _family(name: str) -> str:
    """Returns the network with its datapath, without DRAM bits, pool or number.

    >>> _family("tiling/cnv-w1a1-2e-b16-p140"), _family("tiling/heldout-id-s0-3")
    ('cnv-w1a1-2e', 'heldout-id')
    """
    return re.sub(r"-b\d+(-p\d+)?$|-s\d+-\d+$", "", name.removeprefix("tiling/"))


def tiling_network(body: dict[str, Any]) -> str:
    families: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in body["rows"]:
        families[_family(row["instance"])].append(row)
    rows = []
    for family, mine in families.items():
        ratios = [row["ratio"] for row in mine]
        worst = max(mine, key=lambda row: row["ratio"])
        shapes = {" + ".join(row["engines"]) for row in mine}
        rows.append(
            (
                family,
                shapes.pop() if len(shapes) == 1 else "various",
                len(mine),
                sum(row["cycles"] == row["bound_cycles"] for row in mine),
                f"{statistics.median(ratios):.4f}",
                f"{max(ratios):.4f}",
                worst["instance"].removeprefix("tiling/"),
            )
        )
    ratios = [row["ratio"] for row in body["rows"] if "-f-" not in row["instance"]]
    case = next((row for row in body["rows"] if row["instance"] == OPEN_CASE), None)
    said = (
        f" The case that was open at 1.36, 64x4x1 multipliers of 8 bits at 16 bits a cycle (`{OPEN_CASE}`), stands at "
        f"{case['cycles']:,} cycles, {case['ratio']:.3f} of {case['bound_cycles']:,}."
        if case
        else ""
    )
    cycles = {row["instance"]: row["cycles"] for row in body["rows"]}
    saved = [
        1 - value / cycles[name.replace("-f-", "-")]
        for name, value in cycles.items()
        if name.replace("-f-", "-") in cycles and "-f-" in name
    ]
    if saved:
        said += (
            f" In {len(saved)} more (`-f`) layers may be fused by rows: they take {statistics.median(saved):.1%} fewer cycles "
            f"(median; {min(saved):.1%} to {max(saved):.1%}) than the best schedule known without; their bounds know less."
        )
    title = (
        "**Schedules of whole networks: cycles over the proven bound,** by the simulator, for DRAM of 8, 16, 32 and 64 bits a "
        "cycle times pools of block RAMs; the bound is the problem's own or CP-SAT's on its relaxation. "
        f"{len(ratios)} instances: median {statistics.median(ratios):.4f}, worst {max(ratios):.4f}.{said}"
    )
    header = ("network", "engines", "instances", "proven optimal", "median", "worst", "worst instance")
    return f"{title}\n\n{table(header, rows)}"
