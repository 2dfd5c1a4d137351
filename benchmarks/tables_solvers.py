"""The README's tables of what searches find: networks on a part, and every solver at equal CPU."""

from __future__ import annotations

from typing import Any

from tables import table  # type: ignore[import-not-found]  # the script's own folder is on the path

__all__ = ["networks_on_parts", "solvers_equal_cpu"]

_TALK_FPS = 1000
_AT_224 = ("dorefa", "resnet18", "ultranet")


def networks_on_parts(body: dict[str, Any]) -> str:
    """Returns the table of frames per second, and the fronts as a picture."""
    rows = []
    for r in body["rows"]:
        rate, bound = r["frames_per_second"], r["bound_frames_per_second"]
        talk = f"{rate['most'] / _TALK_FPS:.2f} x" if r["network"].startswith(_AT_224) else "-"
        rows.append(
            (
                r["network"],
                r["dram_bits_per_cycle"],
                f"**{rate['most']:,.0f}**",
                f"{rate['median']:,.0f} ({rate['least']:,.0f})",
                f"{bound:,.0f}",
                f"{100 * (bound / rate['most'] - 1):.1f} %",
                f"{2 * r['bit_macs'] * rate['most'] / 1e12:.2f}",
                talk,
                f"{r['lut']:,}",
                r["bram36"],
                r["dsp"],
                "; ".join(r["engines"]),
                r["frames_per_round"],
            )
        )
    header = (
        *(
            "network",
            "DRAM bits a cycle",
            "frames/s, best",
            "median (least)",
            "bound",
            "gap",
            "binary TOPS",
            "of the talk's 1000",
        ),
        *("LUT", "RAMB36", "DSP", "engines (dm x dk x dn)", "frames a round"),
    )
    first = body["rows"][0]
    title = (
        f"**Networks on {body['part']} at {first['clock_mhz']:g} MHz (assumed), 80 % of the LUTs:** "
        f"`foldwright optimize`, {body['seeds']} seeds, {body['cpu_seconds_budget']:g} CPU seconds each besides the bound's. "
        "One AXI port brings 32 bits of DRAM a cycle, two bring 64. Cycles by the simulator, checked by the referees; LUTs by "
        "the calibrated cost model; the bound holds for every design of the space. The talk's yardstick is 1000 frames/s of a "
        "backbone at 224x224; DoReFa is its four offloaded layers, UltraNet is a detector. Plans are not all built in RTL: see "
        "the found plans below for those that are."
    )
    picture = (
        '<picture><source media="(prefers-color-scheme: dark)" srcset="docs/pictures/fronts-dark.svg">'
        '<img src="docs/pictures/fronts-light.svg" alt="Frames per second over LUTs, found and bound">'
        "</picture>"
    )
    fronts = (
        f"Fronts of `optimize --pareto` of {len(body['fronts'])} of them, one seed, {body['front_seconds']:g} CPU seconds for 12 "
        "budgets (points of the files have tooltips):"
        f"\n\n{picture}"
    )
    return f"{title}\n\n{table(header, rows)}" + (f"\n\n{fronts}" if body["fronts"] else "")


def solvers_equal_cpu(body: dict[str, Any]) -> str:
    """Returns a table with a row per problem, split and solver, and three figures a budget."""
    budgets = sorted({r["budget"] for r in body["rows"]})
    cells = {(r["kind"], r["split"], r["solver"], r["budget"]): r for r in body["rows"]}
    rows = []
    for kind, split, solver in dict.fromkeys((r["kind"], r["split"], r["solver"]) for r in body["rows"]):
        mine = [cells.get((kind, split, solver, b)) for b in budgets]
        if any(r is not None and r["errors"] for r in mine):
            continue
        trained = next((r["training_cpu_seconds"] for r in mine if r is not None), None)
        rows.append(
            (kind, split, solver, *(_cell(r) for r in mine), "-" if trained is None else f"{trained:,.0f}")
        )
    header = ("problem", "split", "solver", *(f"{b:g} s" for b in budgets), "training CPU s")
    counts = {b: max(r["instances"] for r in body["rows"] if r["budget"] == b) for b in budgets}
    shown = ", ".join(f"{count} at {b:g} s" for b, count in counts.items())
    title = (
        "**Every solver at equal CPU on held-out instances:** gap to the best cost known, geometric mean over instances of the "
        f"median over {body['seeds']} seeds; then, after it, the primal integral and the gap integral, means over time of cost "
        "over best known and of cost less bound over best known; then runs that proved their cost. Instances a split: "
        f"{shown}. {body['workers']} runs side by side."
    )
    if any(r["kind"] == "allocation" for r in body["rows"]):
        title += (
            " Allocation's solvers are charged for the frontiers that their starts and models rest on, seconds; the policy "
            "needs none. Who has spent all on them holds the fallback, hundreds of times the best."
        )
    return f"{title}\n\n{table(header, rows)}"


def _cell(r: dict[str, Any] | None) -> str:
    if r is None:
        return ""
    if r["mean_gap"] is None:
        return "not all solved"
    parts = [f"**{100 * r['mean_gap']:.2f} %**"]
    parts += [f"{r[key]:.3f}" if r[key] is not None else "-" for key in ("primal_share", "gap_share")]
    return "; ".join([*parts, f"{r['proven']}/{r['runs']}"])
