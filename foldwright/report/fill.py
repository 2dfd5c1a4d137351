"""Turns a plan, its schedule and its summary into the plain values that a report shows."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from foldwright.accel.cost import cost_breakdown
from foldwright.accel.plan import Plan
from foldwright.accel.schedule import LayerDecision, Schedule
from foldwright.netlists.part import load_part
from foldwright.pareto import Pareto
from foldwright.placing import Placed
from foldwright.report.data import (
    Anytime,
    Bar,
    BarKind,
    Figure,
    Floorplan,
    Front,
    FrontPoint,
    Memory,
    MemoryBlock,
    ReportData,
    Roofline,
    RooflinePoint,
    Series,
    StageTime,
    Table,
    Use,
)
from foldwright.report.placed import floorplan_of

__all__ = ["report_data"]

_KINDS = {
    "compute": BarKind.COMPUTE,
    "load_weights": BarKind.WEIGHTS,
    "load_input": BarKind.INPUT,
    "store": BarKind.STORE,
}
_PORT_LANES = {"load_weights": "DRAM reads", "load_input": "DRAM reads", "store": "DRAM writes"}
_MOST_BARS = 3000
_SHOWN_ABOVE_BEST = 5
"""Costs beyond this many times the best, such as a start's, would flatten the curve and are left out."""
_NO_TRAFFIC = float("inf")


def report_data(
    plan: Plan,
    schedule: Schedule,
    summary: dict[str, Any],
    search: dict[str, Any],
    placed: Placed | None = None,
    pareto: Pareto | None = None,
) -> ReportData:
    """Returns everything of the report of a run; `search` holds the anytime traces by problem."""
    cycles, traffic = _layer_totals(plan, schedule)
    return ReportData(
        title=plan.workload.name,
        part=plan.part,
        status=summary["status"],
        clock_mhz=plan.clock_mhz,
        figures=_figures(summary),
        utilization=_uses(plan, summary),
        stages=tuple(StageTime(k, v) for k, v in summary["cpu_seconds"].items() if k != "total"),
        bars=_bars(schedule),
        roofline=_roofline(plan, cycles, traffic),
        memories=_memories(plan),
        blocks=_blocks(plan, schedule, cycles),
        floorplan=_floorplan(plan, placed),
        front=_front(plan, pareto),
        anytime=tuple(_anytime(kind, trace) for kind, trace in search.items()),
        tables=(_engine_table(plan), _layer_table(plan, schedule, cycles, traffic), _cost_table(plan)),
        remarks=_remarks(summary),
        facts=_facts(summary),
    )


def _floorplan(plan: Plan, placed: Placed | None) -> Floorplan | None:
    if placed is None:
        return None
    netlist, wire, least = placed.problem.netlist, placed.hpwl_tiles, placed.problem.bound().value
    note = (
        f"{netlist.cells:,} cells, {netlist.nets:,} buses, {wire:,} tiles of wire by half perimeter; each bus alone needs "
        f"at least {least:,} in sum. Lines are the buses that take most wire. Clusters of logic are estimates, not "
        "synthesised cells; DSP slices are not placed."
    )
    return floorplan_of(netlist, placed.problem.grid, placed.placement, plan.part, note)


def _front(plan: Plan, pareto: Pareto | None) -> Front | None:
    if pareto is None:
        return None
    points = tuple(
        FrontPoint(
            p.lut, p.fps, f"{p.gap:.1%} from the bound of its budget: {'; '.join(p.engines)}", p.datapath == plan.datapath
        )
        for p in pareto.points
    )  # fmt: skip
    return Front(points, tuple((b.lut, b.fps) for b in pareto.bounds))


def _figures(s: dict[str, Any]) -> tuple[Figure, ...]:
    gap_note = "of the whole design space"
    if s["status"] == "optimal":
        gap_note = "proven: nothing in the design space is better"
    if not s["in_space"]:
        gap_note = "of the design space, in which this plan does not lie"
    return (
        Figure(
            "frame rate", f"{s['fps']:,.0f}", "frames/s", f"at {s['clock_mhz']:g} MHz, {s['clock_status']}"
        ),
        Figure("cycles per frame", f"{s['cycles_per_frame']:,.1f}", "", f"bound {s['bound_cycles']:,.1f}"),
        Figure("gap to the bound", f"{100 * s['gap']:.2f}", "%", gap_note),
        Figure("schedule gap", f"{100 * s['schedule_gap']:.2f}", "%", "given this datapath"),
        Figure("latency", f"{s['latency_us']:,.1f}", "us", f"{s['batch']} frames per round"),
        Figure("DRAM", f"{s['dram_bits_per_frame'] / 8192:,.1f}", "KiB/frame", "loaded and stored"),
    )


def _uses(plan: Plan, s: dict[str, Any]) -> tuple[Use, ...]:
    names = {"lut": "LUT", "ff": "flip-flops", "bram36": "block RAM", "dsp": "DSP"}
    budgets = {"lut": plan.lut_budget}
    return tuple(
        Use(names[k], use["used"], use["available"], budgets.get(k)) for k, use in s["utilization"].items()
    )


def _layer_totals(plan: Plan, schedule: Schedule) -> tuple[dict[str, int], dict[str, int]]:
    """Returns (compute cycles, DRAM bits) of each layer in a round, every tile once; of reads and writes the larger."""
    longest: dict[tuple[str, str, int], int] = defaultdict(int)
    for event in schedule.events:
        tile = event.kind, event.layer, event.tile
        longest[tile] = max(longest[tile], event.end_cycle - event.start_cycle)
    cycles: dict[str, int] = defaultdict(int)
    reads: dict[str, int] = defaultdict(int)
    writes: dict[str, int] = defaultdict(int)
    for (kind, layer, _), length in longest.items():
        total = {"compute": cycles, "store": writes}.get(kind, reads)
        total[layer] += length
    bits = plan.datapath.dram_bits_per_cycle
    return cycles, {name: bits * max(reads[name], writes[name]) for name in {*reads, *writes}}


def _bars(schedule: Schedule) -> tuple[Bar, ...]:
    """Returns the events as bars; where they are very many, neighbours of one kind and layer are drawn as one."""
    bars: list[Bar] = []
    join = len(schedule.events) > _MOST_BARS
    last: dict[tuple[str, BarKind], int] = {}
    for e in schedule.events:
        lane = _PORT_LANES.get(e.kind, f"engine {e.engine}")
        start, end = max(0, e.start_cycle), min(schedule.cycles_per_round, e.end_cycle)
        if end <= start:
            continue
        at = last.get((lane, _KINDS[e.kind]))
        if join and at is not None and bars[at].label == e.layer:
            bars[at] = Bar(lane, e.layer, bars[at].start, max(end, bars[at].end), _KINDS[e.kind])
            continue
        last[lane, _KINDS[e.kind]] = len(bars)
        bars.append(Bar(lane, e.layer, start, end, _KINDS[e.kind]))
    return tuple(bars)


def _roofline(plan: Plan, cycles: dict[str, int], traffic: dict[str, int]) -> Roofline:
    """A layer takes as long as it computes, or as its data are moved while other layers compute, if that is longer."""
    points, dram_bits = [], plan.datapath.dram_bits_per_cycle
    for layer in plan.workload.layers:
        ops = layer.bit_macs * plan.datapath.batch_frames
        bits = traffic.get(layer.name, 0)
        if cycles.get(layer.name):
            intensity = ops / bits if bits else _NO_TRAFFIC
            points.append(
                RooflinePoint(layer.name, intensity, ops / max(cycles[layer.name], bits / dram_bits))
            )
    peak = max(engine.bit_macs_per_cycle for engine in plan.datapath.engines)
    return Roofline(peak, dram_bits, tuple(points))


def _memories(plan: Plan) -> tuple[Memory, ...]:
    out = []
    for e, engine in enumerate(plan.datapath.engines):
        shapes = (
            ("weights", engine.weight_width_bits, engine.weight_words),
            ("maps", engine.map_width_bits, engine.map_words),
            ("line", engine.line_width_bits, engine.line_words),
        )
        out += [
            Memory(f"engine {e} {n}", words, f"{width} bits x {words} words")
            for n, width, words in shapes
            if words
        ]
    return tuple(out)


def _blocks(plan: Plan, schedule: Schedule, cycles: dict[str, int]) -> tuple[MemoryBlock, ...]:
    """Places blocks in time by slots: each slot is drawn as long as its layer computes, scaled to the round."""
    edges: dict[int, list[float]] = {}
    for e in range(len(plan.datapath.engines)):
        names = [
            x.name for x, a in zip(plan.workload.layers, plan.datapath.assignment, strict=True) if a == e
        ]
        total = sum(cycles.get(n, 1) for n in names) or 1
        edges[e] = [0.0]
        for name in names:
            edges[e].append(edges[e][-1] + cycles.get(name, 1) * schedule.cycles_per_round / total)
    out = []
    for block in schedule.blocks:
        label = block.layer if block.holds == "tensor" else f"{block.layer} {block.holds}"
        if block.holds == "places":
            label = "streamed weights"
        for first, last in _runs(block.slots):
            start, end = int(edges[block.engine][first]), int(edges[block.engine][last + 1])
            memory = f"engine {block.engine} {block.memory}"
            out.append(MemoryBlock(memory, label, block.address, block.words, start, max(end, start + 1)))
    return tuple(out)


def _runs(slots: tuple[int, ...]) -> list[tuple[int, int]]:
    """Returns the first and last slot of each unbroken run."""
    runs: list[tuple[int, int]] = []
    for slot in slots:
        if runs and runs[-1][1] == slot - 1:
            runs[-1] = (runs[-1][0], slot)
        else:
            runs.append((slot, slot))
    return runs


def _anytime(kind: str, trace: dict[str, Any]) -> Anytime:
    history = [point for point in trace["history"] if point[2] <= _SHOWN_ABOVE_BEST * trace["history"][-1][2]]
    seconds = tuple(float(point[0]) for point in history)
    costs = tuple(float(point[2]) for point in history)
    series = (Series(trace["solver"], seconds, costs),) if seconds else ()
    return Anytime(kind, trace["unit"], series, float(trace["bound"]))


def _engine_table(plan: Plan) -> Table:
    rows = []
    for e, engine in enumerate(plan.datapath.engines):
        layers = sum(a == e for a in plan.datapath.assignment)
        planes = ", ".join(str(p) for p in engine.planes_per_word)
        rows.append(
            (
                *(
                    str(e),
                    engine.shape,
                    engine.kind.value,
                    engine.arithmetic.value,
                    engine.lanes.value,
                    planes,
                    str(layers),
                ),
                *(f"{engine.acc_bits} bits", f"{engine.bit_macs_per_cycle:,}"),
            )
        )
    header = (
        "engine",
        "dm x dk x dn",
        "kind",
        "arithmetic",
        "lanes",
        "planes/word",
        "layers",
        "accumulator",
        "bit-MACs/cycle",
    )
    return Table("Engines", header, tuple(rows))


def _weights(decision: LayerDecision) -> str:
    """Returns where a layer's weights are."""
    if decision.weights_pinned or not decision.pinned_blocks:
        return "pinned" if decision.weights_pinned else "streamed"
    return f"{decision.pinned_blocks} blocks pinned, {decision.streamed_blocks} streamed"


def _output(decision: LayerDecision) -> str:
    """Returns where a layer's output goes."""
    if decision.fused:
        return "by rows to the next"
    return "on chip" if decision.output_on_chip else "DRAM"


def _layer_table(plan: Plan, schedule: Schedule, cycles: dict[str, int], traffic: dict[str, int]) -> Table:
    rows = []
    for layer, d, e in zip(plan.workload.layers, schedule.decisions, plan.datapath.assignment, strict=True):
        took = cycles.get(layer.name, 0)
        ops = layer.bit_macs * plan.datapath.batch_frames
        use = ops / (took * plan.datapath.engines[e].bit_macs_per_cycle) if took else 0.0
        rows.append(
            (
                *(layer.name, str(e), f"{layer.macs:,}", f"W{layer.weight_bits}A{layer.act_bits}"),
                *(f"{took:,}", f"{use:.0%}", f"{d.tile_blocks} x {d.tile_rows}"),
                *(_weights(d), _output(d)),
                f"{traffic.get(layer.name, 0):,}",
            )
        )
    header = (
        "layer",
        "engine",
        "MACs",
        "bits",
        "cycles/round",
        "array use",
        "tile",
        "weights",
        "output",
        "DRAM bits",
    )
    note = "Tile: blocks of output channels x rows. Array use: bit-MACs done over those the engine could do meanwhile."
    return Table("Layers", header, tuple(rows), note)


def _cost_table(plan: Plan) -> Table:
    lines = cost_breakdown(plan.datapath, load_part(plan.part), plan.technology)
    rows = tuple((x.owner, x.component, f"{x.lut:,}", f"{x.ff:,}", str(x.bram36)) for x in lines)
    return Table("Cost", ("of", "component", "LUT", "flip-flops", "block RAM"), rows)


def _remarks(s: dict[str, Any]) -> tuple[str, ...]:
    out = [
        f"The clock of {s['clock_mhz']:g} MHz is {s['clock_status']}: no place and route has confirmed it."
    ]
    out.append(
        f"{s['bram36_fixed']} block RAMs hold programs, rows of pooling and results on their way to DRAM; no schedule uses them."
    )
    if not s["reproducible"]:
        out.append(
            "The search stopped by CPU time, so another run may find another plan; use --deterministic to repeat it."
        )
    return tuple(out)


def _facts(s: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return (
        ("model", str(s["model"])),
        ("bound", str(s["bound_proof"])),
        ("schedule bound", str(s["schedule_bound_proof"])),
        ("solvers", ", ".join(f"{k}: {v}" for k, v in s["solvers"].items())),
        ("seed", str(s["seed"])),
        ("versions", ", ".join(f"{k} {v}" for k, v in s["versions"].items())),
    )
