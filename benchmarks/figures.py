"""Writes the README's tables of figures from the results in `benchmarks/results`, so that every figure has its script.

python benchmarks/figures.py            # rewrites README.md between its markers
python benchmarks/figures.py --check    # exits with 1 if README.md says something else than the results
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tables import table  # type: ignore[import-not-found]  # the script's own folder is on the path
from tables_bits import bits_digits  # type: ignore[import-not-found]
from tables_folding import allocation_finn  # type: ignore[import-not-found]
from tables_placement import placement_baselines, placement_vpr  # type: ignore[import-not-found]
from tables_solvers import networks_on_parts, solvers_equal_cpu  # type: ignore[import-not-found]
from tables_tiling import tiling_layer  # type: ignore[import-not-found]
from tables_tiling_network import tiling_network  # type: ignore[import-not-found]

from foldwright.runs import write_atomic

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- figures:begin -->", "<!-- figures:end -->"


def reference_equals(body: dict[str, Any]) -> str:
    return (
        f"**Integer reference against board logits, vendor vectors and qonnx execution:** {body['values']:,} values, "
        f"{body['mismatches']} mismatches, {body['ties']} float32 rounding ties of qonnx's own arithmetic."
    )


def verify_tiles(body: list[dict[str, Any]]) -> str:
    parts = []
    for report in body:
        rows = report["report"]["rows"] if "report" in report else report["rows"]
        values, wrong = sum(r["values"] for r in rows), sum(r["mismatches"] for r in rows)
        off = sum(r["rtl_cycles"] != r["formula_cycles"] for r in rows)
        name = report.get("network") or report["report"]["network"]
        parts.append((name, len(rows), f"{values:,}", wrong, off))
    header = (
        "network",
        "tiles",
        "values compared",
        "mismatches",
        "tiles whose cycles differ from the formula",
    )
    return f"**RTL in simulation against the reference, a tile of each layer:**\n\n{table(header, parts)}"


def calibrate_cost(body: dict[str, Any]) -> str:
    rows = []
    for target in body["targets"]:
        for name, e in target.items():
            if isinstance(e, dict) and e["rows"]:
                which = f"{target['technology']} on {target['family']}"
                rows.append(
                    (which, name, e["rows"], f"{e['median_percent']:.1f} %", f"{e['worst_percent']:.1f} %")
                )
    header = ("RTL on part", "rows", "count", "median error", "worst error")
    return (
        f"**Cost model against yosys**, every row in `benchmarks/cost_table.json`:\n\n{table(header, rows)}"
    )


def env_speed(body: dict[str, Any]) -> str:
    rows = []
    for name, r in body.items():
        if isinstance(r, dict):
            speed = r["steps_per_second"]
            shown = (speed["single"], speed["batched_256"], speed.get("batched_256_views", 0))
            parts = r.get("parts_us", {})
            rows.append(
                (
                    *(name, sum(r["warnings"].values())),
                    *(f"{v:,}" for v in shown),
                    *(f"{parts.get(part, 0):.1f}" for part in ("simulation", "state, mask, features")),
                )
            )
    header = (
        *(
            "environment",
            "check_env warnings",
            "steps/s, single",
            "steps/s, batch of 256",
            "the same without copies",
        ),
        *("us a step for the simulation", "us for state, mask, features"),
    )
    note = (
        "An episode is simulated once, at its end, exactly, which bounds the rates of tiling and allocation. Observations look "
        "ahead: allocation's estimate for every candidate what the engines to come can still reach, placement's find the best "
        "free site of every region and column. That is what their policies live on, and why no rate comes near a million."
    )
    return f"**Environments on one core.** {note}\n\n{table(header, rows)}"


def train_throughput(body: dict[str, Any]) -> str:
    speed = body["steps_per_second"]
    shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in body["scorer_parts"].items())
    rows = [
        ("random allowed actions through the face for SB3", f"{speed['environment']:,}"),
        ("MaskablePPO, two layers of 64, minibatches of 4,096, 4 epochs", f"{speed['batched']:,}"),
        ("MaskablePPO with our network, which scores allowed candidates only", f"{speed['scorer']:,}"),
        ("the same, half as wide", f"{speed['scorer_width_32']:,}"),
        ("the same, half as wide, one epoch", f"{speed['scorer_width_32_epoch_1']:,}"),
        ("MaskablePPO as it comes, one environment", f"{speed['defaults']:,}"),
    ]
    title = (
        f"**Learning end to end on {body['env']}, {body['episodes_at_once']} episodes at once, one core.**"
    )
    return f"{title} Of our network's time: {shares}.\n\n{table(('what', 'steps/s'), rows)}"


def policies_equal_cpu(body: dict[str, Any]) -> str:
    budgets = sorted({r["budget"] for r in body["rows"]})
    cells = {(r["kind"], r["split"], r["solver"], r["budget"]): r for r in body["rows"]}
    rows = []
    for kind, split, solver in dict.fromkeys((r["kind"], r["split"], r["solver"]) for r in body["rows"]):
        of = [cells.get((kind, split, solver, b)) for b in budgets]
        gaps = [
            "" if r is None else "not all solved" if r["mean_gap"] is None else f"{100 * r['mean_gap']:.2f} %"
            for r in of
        ]
        trained = next((r["training_cpu_seconds"] for r in of if r is not None), None)
        rows.append((kind, split, solver, *gaps, "-" if trained is None else f"{trained:,.0f}"))
    header = ("problem", "split", "solver", *(f"gap at {b:g} s" for b in budgets), "training CPU s")
    counts = {b: max(r["instances"] for r in body["rows"] if r["budget"] == b) for b in budgets}
    title = (
        "**Policies beside the other solvers at equal CPU**, gap to the best cost known, geometric mean over instances of the "
        f"median over {body['seeds']} seeds. Instances a split: "
        + ", ".join(f"{count} at {b:g} s" for b, count in counts.items())
        + f". {body['workers']} runs side by side."
    )
    plans = ", ".join(f"{split} {100 * gap:.1f} %" for split, gap in body["plan_gaps"].items())
    note = (
        f"Placement's policy is shown a rough annealed plan, which alone has these gaps: {plans}. Allocation's solvers are "
        "charged for the frontiers that their starts and models rest on, seconds; the policy needs none."
    )
    return f"{title}\n\n{table(header, rows)}\n\n{note}"


def resume(body: dict[str, Any]) -> str:
    return (
        f"**Training killed by SIGKILL at {body['kills']} random moments and gone on with:** {body['bit_equal']} of "
        f"{body['finished_trainings']} finished trainings bit-equal to the uninterrupted one, {len(body['corrupt_files'])} "
        "corrupt files."
    )


def rtl_networks(body: Any) -> str:
    rows = []
    for r in body["rows"] if isinstance(body, dict) else body:
        rows.append(
            (
                *(r["network"], " + ".join(r["engines"]), r["frames"], f"{r['values']:,}", r["mismatches"]),
                *(
                    f"{r['cycles_per_frame']:,.0f}",
                    f"{r['simulated_cycles_per_round'] / r['batch_frames']:,.0f}",
                ),
                f"{100 * r['round_error']:+.2f} %",
                f"{100 * r['layer_error_worst']:.2f} %, {100 * r['layer_error_mean']:.2f} %",
                *(f"{200e6 / r['cycles_per_frame']:,.0f}", f"{150e6 / r['cycles_per_frame']:,.0f}"),
                f"{r['binary_tops']['200']:.2f}",
                f"{r['simulation_cycles_per_second']:,.0f}",
            )
        )
    header = (
        *("network", "engines", "frames simulated", "values compared", "mismatches", "RTL cycles/frame"),
        *(
            "simulator's",
            "its error",
            "a layer's error, worst and mean",
            "frames/s at 200 MHz",
            "at 150 MHz",
        ),
        *("binary TOPS at 200 MHz", "simulated cycles a second"),
    )
    text = (
        "**Whole accelerators in RTL simulation,** from the image in DRAM to the results in DRAM, every stored value of every "
        "layer compared with the reference (200 MHz is not shown by any tool here). `:found` is what `optimize` finds for the "
        "XC7Z020 with `buildable=true`, `:dsp` a hand-set datapath, `:streamed` has weights from DRAM, which answers "
        f"after {body['dram_read_cycles']} cycles in all of them. For comparison: FINN's "
        "exact folding of CNV W1A1 at the same clock 15,944 frames/s, the published overlay of DoReFa 35 to 41; binary TOPS of "
        "bit-plane arrays on this part 3.2 (the talk), 6.5 (BISMO):"
    )
    return f"{text}\n\n{table(header, rows)}"


def buildable_plans(body: dict[str, Any]) -> str:
    rows = []
    for r in body["rows"]:
        use, seeds = r["utilization"], r["fps_of_seeds"]
        rows.append(
            (
                *(r["network"], f"**{r['fps']:,.0f}**", f"{min(seeds):,.0f} of {len(seeds)}"),
                *(f"{r['cycles_per_frame']:,.0f}", f"{r['bound_cycles']:,.0f}", f"{r['binary_tops']:.2f}"),
                *(f"{use[kind]['used']:,}" for kind in ("lut", "ff", "bram36", "dsp")),
                *("; ".join(r["engines"]), f"{r['cpu_seconds']:.0f}"),
            )
        )
    header = (
        *("network", "frames/s", "worst seed", "cycles/frame", "bound, planes only", "binary TOPS"),
        *("LUT", "FF", "RAMB36", "DSP", "engines", "CPU s a seed"),
    )
    text = (
        f"**Plans that the RTL can be built for,** `optimize` on {body['part']} with `buildable=true`, 80 % of the LUTs, 200 MHz "
        "assumed; cost model and simulator (the tables below have RTL and yosys). The bound knows engines of planes only, so a "
        "plan with DSP slices may beat it:"
    )
    return f"{text}\n\n{table(header, rows)}"


def rtl_residual(body: dict[str, Any]) -> str:
    rows = [
        (
            *(
                r["network"],
                " + ".join(r["engines"]),
                r["lanes"],
                r["frames"],
                f"{r['values']:,}",
                r["mismatches"],
            ),
            f"{r['cycles_per_round'] / r['batch_frames']:,.0f}",
            f"{100 * r['round_error']:+.2f} %",
            f"{100 * r['layer_error_worst']:.2f} %",
            f"{200e6 * r['batch_frames'] / r['cycles_per_round']:,.0f}",
        )
        for r in body["rows"]
    ]
    header = (
        *("network", "engines", "lanes hold", "frames", "values compared", "mismatches", "RTL cycles/frame"),
        *("simulator's error", "largest of a layer", "frames/s at 200 MHz"),
    )
    text = (
        "**Residual networks in RTL simulation,** random weights of one bit, activations of two: the shapes of ResNet-18 at "
        "224x224, average pooling and classifier included, and a small network with a block of each kind, the last one averaged. "
        "The datapaths show that it works, they were not searched for a part:"
    )
    return f"{text}\n\n{table(header, rows)}"


def rtl_random_layers(body: dict[str, Any]) -> str:
    totals, errors = body["totals"], body["errors"]
    right = sum(e["cause"] == e["expected"] and e["plausible"] for e in errors)
    rows = [
        (
            *(
                v["variant"],
                v["networks"],
                v["layers"],
                f"{v['values']:,}",
                v["mismatches"],
                f"{v['cycles']:,}",
            ),
        )
        for v in body["variants"]
    ]
    text = (
        f"**{totals['layers']:,} random layers through generated accelerators** (kernels 1 to 7, strides, paddings, groups, "
        f"bits, maxima and averages, residual adds, scale and shift, tiles of rows, random stalls on every port): "
        f"{totals['values']:,} results, {totals['mismatches']} mismatches; "
        f"{right} of {len(errors)} injected faults were reported by the error register with the right cause:"
    )
    header = ("hardware", "networks", "layers", "results compared", "mismatches", "cycles")
    return f"{text}\n\n{table(header, rows)}"


def cost_model(body: dict[str, Any]) -> str:
    units = [
        (r["dk"], r["technology"], r["lut"], r["ff"], f"{r['lut_per_bit_mac']:.2f}") for r in body["units"]
    ]
    rows = [
        (
            *(
                r["name"],
                " + ".join(r["engines"]),
                f"**{r['lut']:,}**",
                f"{r['model_lut']:,}",
                f"{100 * r['lut_error']:+.1f} %",
            ),
            *(
                f"{r['ff']:,}",
                f"{100 * r['ff_error']:+.1f} %",
                f"{r['half_blocks'] / 2:g}",
                r["model_bram36"],
                r["dsp"],
            ),
            f"{r['lut_per_bit_mac']:.2f}",
        )
        for r in body["accelerators"]
    ]
    first = table(("dk", "technology", "LUT", "FF", "LUT per bit-MAC"), units)
    header = (
        *("accelerator", "engines", "LUT by yosys", "model", "error", "FF by yosys", "error"),
        *("RAMB36 by yosys", "model", "DSP", "LUT per bit-MAC"),
    )
    return (
        "**One dot-product unit with its accumulator on 7-series** (the shadow register apart):\n\n"
        f"{first}\n\n**Whole accelerators on 7-series,** everything included, against the cost model:\n\n"
        f"{table(header, rows)}"
    )


def ecp5_build(body: dict[str, Any]) -> str:
    counts, model = body["counts"], body["model"]
    names = {
        "none": "nextpnr alone",
        "netlist": "our placer on the mapped netlist",
        "plan": "the plan's placement",
        "near": "near nextpnr's first placement",
    }
    rows = [
        (
            names[way],
            s["locked"],
            s["seeds"],
            f"**{s['median_mhz']:.1f}**",
            f"{s['least_mhz']:.1f} - {s['most_mhz']:.1f}",
            f"{s['paths_through_block_ram']} of {s['seeds']}",
        )
        for way, s in body["ways"].items()
    ]
    header = (
        *("block RAMs placed by", "locked, all obeyed", "seeds", "MHz after routing, median", "range"),
        "slowest path begins or ends at a block RAM",
    )
    nextpnr = max(s["median_seconds"] for s in body["ways"].values())
    text = (
        f"**{body['network']} on an LFE5U-85F** ({body['package']}, speed grade {body['speed']}) by yosys, nextpnr and ecppack: "
        f"a whole accelerator of {' + '.join(body['engines'])}, with block RAM for DRAM and a serial host, takes "
        f"{counts['lut']:,} LUT4 "
        f"(model, without RAM and host: {model['lut']:,}), {counts['ff']:,} flip-flops ({model['ff']:,}), "
        f"{counts['half_blocks'] // 2} EBR ({model['bram36']}), {counts['dsp']} multipliers; its bitstream has "
        f"{body['bitstream_bytes']:,} bytes. Asked for {body['wanted_mhz']:g} MHz. Wall time on a busy machine: yosys "
        f"{body['yosys_seconds']:.0f} s, nextpnr {nextpnr:.0f} s a seed."
    )
    return f"{text}\n\n{table(header, rows)}"


SECTIONS: dict[str, Callable[[Any], str]] = {
    "networks_on_parts": networks_on_parts,
    "allocation_finn": allocation_finn,
    "tiling_network": tiling_network,
    "tiling_layer": tiling_layer,
    "bits_digits": bits_digits,
    "calibrate_cost": calibrate_cost,
    "buildable_plans": buildable_plans,
    "rtl_networks": rtl_networks,
    "rtl_residual": rtl_residual,
    "cost_model": cost_model,
    "ecp5_build": ecp5_build,
    "rtl_random_layers": rtl_random_layers,
    "verify_tiles": verify_tiles,
    "reference_equals": reference_equals,
    "env_speed": env_speed,
    "solvers_equal_cpu": solvers_equal_cpu,
    "placement_vpr": placement_vpr,
    "placement_baselines": placement_baselines,
    "train_throughput": train_throughput,
    "policies_equal_cpu": policies_equal_cpu,
    "resume": resume,
}


def _command(name: str) -> str:
    """Returns the command that makes a result again."""
    arguments = ARGUMENTS.get(name, "")
    return " ".join(
        filter(None, ("python", f"benchmarks/{name}.py", arguments, f"--json benchmarks/results/{name}.json"))
    )


ARGUMENTS = {
    "allocation_finn": "--cp-sat 100",
    "solvers_equal_cpu": "--seeds 3 --instances 2 --long-instances 1 --budgets 0.1 1 10 --workers 2",
    "networks_on_parts": "--cpu-seconds 60 --front-seconds 45 --workers 2 --pictures docs/pictures",
    "tiling_network": "--workers 2",
    "placement_baselines": "--seeds 3",
    "train_throughput": "--seconds 10",
    "policies_equal_cpu": "placement --workers 2 --long-instances 1",
    "resume": "--kills 20",
    "buildable_plans": "--deterministic 12 --seeds 3",
    "rtl_random_layers": "--seed 1",
    "cost_model": "units cnv_w1a1_cifar10:found dorefanet_w1a2_offload:found digits_w1a2 digits_w1a2/generic",
    "ecp5_build": "--seeds 5 --ways none netlist",
}
"""What the results were made with, where that is not the script's default."""


def figures() -> str:
    """Returns the whole section."""
    parts = []
    for name, section in SECTIONS.items():
        path = RESULTS / f"{name}.json"
        if path.exists():
            text = section(json.loads(path.read_text(encoding="utf-8")))
            parts.append(f"{text}\n\n<sub>`{_command(name)}`</sub>")
    return "\n\n".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    args = parser.parse_args()
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        sys.exit(f"{readme.name} has no {BEGIN} and {END} to write between")
    head, rest = text.split(BEGIN, 1)
    new = f"{head}{BEGIN}\n\n{figures()}\n\n{END}{rest.split(END, 1)[1]}"
    if args.check:
        return int(new != text)
    write_atomic(readme, new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
