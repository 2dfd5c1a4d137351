"""The command line: parses words into values and hands them to the function of each verb.

Nothing heavy is imported here; a verb imports its own module when it runs. An error of ours becomes a message
on stderr and the exit code of its class (`foldwright.errors`); a wrong command line exits with 2, an
interruption with 130.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from foldwright import __version__
from foldwright.errors import FoldwrightError, InfeasibleError, nearest

__all__ = ["cli", "command_line", "main"]

_INTERRUPTED = 130
_ANY_PATH = click.Path(path_type=Path)


class _Verbs(click.Group):
    """The verbs in the order in which a newcomer meets them; unknown ones get the nearest name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            ctx.fail(f"no verb is named {args[0]!r}; {nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


def command_line() -> str:
    """Returns the command as the user would type it again; what identifies a run."""
    return shlex.join([Path(sys.argv[0]).name.replace("__main__.py", "foldwright"), *sys.argv[1:]])


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="foldwright")
def cli() -> None:
    """Find the best accelerator for a quantized CNN on a small FPGA, and prove how good it is.

    \b
    Begin with:  foldwright demo
    Your own:    foldwright optimize MODEL.onnx --part xc7z020 --out runs/first
    """


@cli.command("demo", short_help="Find an accelerator for a small network, check it and write its report.")
@click.option("--out", type=_ANY_PATH, default=Path("demo"), show_default=True, help="The run folder.")
def _demo(out: Path) -> None:
    """Take a network that comes along from its ONNX file to a checked plan and a report in OUT."""
    from foldwright.verbs.demo import run_demo

    for line in run_demo(out, command_line()):
        click.echo(line)


@cli.command("optimize", short_help="Find the best accelerator for a network on a part.")
@click.argument("model", required=False)
@click.option("--part", help="A name that 'foldwright parts' lists, or a TOML file of your own.")
@click.option("--out", help="The run folder to write.")
@click.option("--clock-mhz", type=float, help="Clock to assume; 200 if not given.")
@click.option("--objective", help="fps (the default), or lut: the fewest LUTs that reach --target-fps.")
@click.option("--target-fps", type=float, help="Frames per second to reach; for --objective lut.")
@click.option("--pareto", is_flag=True, default=None, help="Also find the front between frames/s and LUTs.")
@click.option(
    "--solver",
    multiple=True,
    metavar="[PROBLEM=]NAME",
    help="Solver of allocation and tiling, or of one problem.",
)
@click.option("--requant", help="thresholds (the default, exact), or scale_shift: in DSP slices, nearly.")
@click.option("--budget-lut-percent", type=float, help="Share of the part's LUTs to use; 80 if not given.")
@click.option("--cpu-seconds", type=float, help="CPU time of the searches; 20 if nothing is given.")
@click.option("--deterministic", type=float, help="Count work instead of time: the same plan always.")
@click.option("--seed", type=int, help="Seed of the searches; 0 if not given.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting; see the docs.")
@click.option("--config", type=_ANY_PATH, help="A TOML file with these options; see 'foldwright init'.")
def _optimize(config: Path | None, settings: tuple[str, ...], **options: Any) -> None:
    """Find the best accelerator for MODEL (an ONNX file or a name of `models`) and write a run folder.

    The folder gets summary.json, plan.json, schedule.json, placement.json, search.json, report.html and run.log; with
    --pareto also pareto.json, and the plan is its fastest point.
    """
    from foldwright.config import merge_options
    from foldwright.runs import open_run
    from foldwright.tomlform import read_toml
    from foldwright.verbs.optimize import headline, optimize_into

    file = read_toml(config) if config else {}
    options["set"] = {key: _value(text) for key, text in _pairs(settings).items()}
    merged = merge_options(file, str(config or "command line"), options)
    optimize_into(merged, command_line())
    for line in headline(dict(open_run(merged.out).summary)):
        click.echo(line)
    click.echo(f"look at it: {Path(merged.out) / 'report.html'}")


def _value(text: str) -> int | float | str:
    """Returns a setting as the number it writes, else as text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@cli.command("init", short_help="Write a commented configuration file.")
@click.argument("file", type=_ANY_PATH, default=Path("foldwright.toml"))
def _init(file: Path) -> None:
    """Write FILE (foldwright.toml), a commented configuration for `optimize --config FILE`."""
    from foldwright.config import write_template

    write_template(file)
    click.echo(f"wrote {file}; edit it, then run: foldwright optimize --config {file}")


@cli.command("check", short_help="Check a run folder with the independent referees.")
@click.argument("folder", type=_ANY_PATH)
def _check(folder: Path) -> None:
    """Check plan and schedule of the run in FOLDER, and its summary against them."""
    from foldwright.verbs.optimize import check_run

    for line in check_run(folder):
        click.echo(line)


@cli.command("report", short_help="Draw the report of a run folder again.")
@click.argument("folder", type=_ANY_PATH)
def _report(folder: Path) -> None:
    """Draw report.html of the run in FOLDER again."""
    from foldwright.verbs.optimize import write_report

    click.echo(f"wrote {write_report(folder)}")


@cli.command("export", short_help="Write the RTL of a run's plan.")
@click.argument("folder", type=_ANY_PATH)
@click.option(
    "--to",
    "target",
    required=True,
    help="What to write: accelerator (complete), vivado or ecp5 (that as a project), verilog (engines alone), or loopnests "
    "(what engines do for each layer, as Timeloop-style YAML).",
)
@click.option("--model", help="The ONNX file, if it is not where it was.")
def _export(folder: Path, target: str, model: str | None) -> None:
    """Check the plan of the run in FOLDER and write its RTL and memory images to FOLDER/build."""
    from foldwright.verbs.build_files import export_run

    for file in export_run(folder, target, model):
        click.echo(f"{file.size_bytes:>12,}  {folder / 'build' / file.path}")


@cli.command("build", short_help="Make the bitstream of an export for ECP5, or count cells.")
@click.argument("folder", type=_ANY_PATH)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True)
@click.option(
    "--locks",
    "locked_by",
    type=click.Choice(["netlist", "plan", "near", "none"]),
    default="netlist",
    show_default=True,
    help="Who places the block RAMs: our placer on the mapped netlist, the plan, sites near a first placement, nextpnr.",
)
@click.option("--no-locks", "locked_by", flag_value="none", help="The same as --locks none.")
@click.option(
    "--timeout-s", type=click.FloatRange(min=1), default=3600, show_default=True, help="For each tool."
)
@click.option("--model", help="The ONNX file, if it is not where it was.")
def _build(folder: Path, **options: Any) -> int:
    """Build what 'export' wrote for the run in FOLDER, with open tools only.

    After 'export --to ecp5': yosys, nextpnr and ecppack write FOLDER/build/ecp5 with the bitstream and build.json. After
    '--to vivado' or '--to accelerator': yosys counts cells into FOLDER/build/synthesis.json. Exits with 3 if the design does
    not fit, or is slower than its clock (the bitstream is written all the same, and says so).
    """
    from foldwright.verbs.build import build_run, meets_clock, report_lines

    report = build_run(folder, **options)
    for line in report_lines(report):
        click.echo(line)
    if meets_clock(report):
        return 0
    click.echo(
        "error: the design is slower than its clock; plan it with a lower --clock-mhz, or try another --seed",
        err=True,
    )
    return InfeasibleError.exit_code


@cli.command("verify", short_help="Play a plan on its RTL and compare with the reference.")
@click.argument("folder", type=_ANY_PATH)
@click.option("--tool", type=click.Choice(["amaranth", "verilator"]), default="amaranth", show_default=True)
@click.option("--model", help="The ONNX file, if it is not where it was.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--tiles", type=click.IntRange(min=1, max=100), help="Tiles per layer (amaranth); 1 if not given."
)
@click.option(
    "--full-size/--scaled-down", default=None, help="Also one tile per engine at full size (amaranth)."
)
@click.option("--images", type=click.IntRange(min=1), help="Frames (verilator); two rounds if not given.")
@click.option(
    "--stalls", type=click.IntRange(0, 99), help="Percent of stalled cycles on every port (verilator)."
)
@click.option("--waves", type=_ANY_PATH, help="A VCD file to write (verilator).")
def _verify(folder: Path, tool: str, model: str | None, seed: int, **of_tool: Any) -> None:
    """Simulate the RTL of the run in FOLDER and compare it with the reference; exits with 5 on a mismatch.

    With amaranth, tiles of every layer are played on engines. With verilator, whole frames run through the accelerator that
    'export --to accelerator' wrote, from a DRAM image to the results.
    """
    from foldwright.verbs import build_files

    mine = {"amaranth": ("tiles", "full_size"), "verilator": ("images", "stalls", "waves")}
    given = {name: value for name, value in of_tool.items() if value is not None}
    foreign = [f"--{name.replace('_', '-')}" for name in given if name not in mine[tool]]
    if foreign:
        raise click.UsageError(
            f"{', '.join(foreign)} is not for --tool {tool}; leave it out or choose the other tool"
        )
    if tool == "amaranth":
        tiles, full_size = given.get("tiles", 1), given.get("full_size", True)
        click.echo(build_files.verify_table(build_files.verify_run(folder, model, seed, tiles, full_size)))
        return
    report = build_files.simulate_run(
        folder,
        model,
        images=given.get("images", 0),
        seed=seed,
        stall_percent=given.get("stalls", 0),
        waves=given.get("waves"),
    )
    click.echo(
        f"{report.frames} frames of {report.network}: {report.values:,} results compared, {report.mismatches} mismatches; "
        f"{report.busy_cycles:,} cycles, loading included"
    )


@cli.command("run", short_help="Run a network in integers on an array of inputs.")
@click.argument("model")
@click.argument("inputs", type=_ANY_PATH)
@click.option("--output", type=_ANY_PATH, required=True, help="The .npz file to write, array 'output'.")
def _run(model: str, inputs: Path, output: Path) -> None:
    """Run MODEL, an ONNX file or a name of `models`, on the array 'input' of INPUTS (.npz).

    Everything that the accelerator computes is computed in integers, exactly.
    """
    from foldwright.accel.network import run_model
    from foldwright.verbs.listing import find_model

    run_model(find_model(model), inputs, output)
    click.echo(f"wrote {output}")


@cli.command("solve", short_help="Run one solver on one instance of a problem.")
@click.argument("instance", required=False)
@click.option("--solver", default="anneal", show_default=True, help="A name that --list shows.")
@click.option("--cpu-seconds", type=float, help="Stop after so much CPU time; 10 if nothing is given.")
@click.option("--deterministic", type=float, help="Stop after so much counted work: the same result always.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of the solver; of a folding table also its budgets, clock and target.",
)
@click.option("--out", type=_ANY_PATH, help="The JSON file to write.")
@click.option("--folding", type=_ANY_PATH, help="Write a folding table's solution there, as FINN reads it.")
@click.option("--list", "show_list", is_flag=True, help="List the instances and the solvers.")
def _solve(
    instance: str | None, solver: str, settings: tuple[str, ...], show_list: bool, **options: Any
) -> int:
    """Run a solver on INSTANCE, a name that --list shows or a JSON file, and print cost, bound and gap.

    INSTANCE may be a folding table (.json, .json.gz) too; --set then takes part, budget_percent, budget_lut, budget_bram18,
    budget_dsp, clock_mhz, target_fps and target_cycles. Exits with 3 if no legal solution was found.
    """
    from foldwright.progress import Progress
    from foldwright.solve import describe, list_all, solve_named

    if show_list:
        click.echo(list_all())
        return 0
    if instance is None:
        raise click.UsageError("Missing argument 'INSTANCE'; 'foldwright solve --list' shows all.")
    with Progress() as progress:
        solved = solve_named(instance, solver, settings=_pairs(settings), progress=progress, **options)
    click.echo(describe(solved.result, solved.problem))
    return 0 if solved.result.has_solution else InfeasibleError.exit_code


@cli.command("place", short_help="Place a netlist of VPR, of yosys or of ours on a fabric.")
@click.argument("netlist", type=_ANY_PATH)
@click.option(
    "--fabric", required=True, help="A part, grid-WxH, or for VPR's netlists ARCH.xml or ARCH.xml@WxH."
)
@click.option("--start", type=_ANY_PATH, help="A placement to beat; the better one is written.")
@click.option("--solver", default="anneal", show_default=True, help="A solver of placement.")
@click.option("--cpu-seconds", type=float, help="Stop after so much CPU time; 10 if nothing is given.")
@click.option(
    "--deterministic", type=float, help="Stop after so much counted work: the same placement always."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--out",
    type=_ANY_PATH,
    help="The file to write; NETLIST's name and .place or .placement.json if not given.",
)
@click.option("--picture", type=_ANY_PATH, help="An SVG file of the floorplan to write.")
def _place(netlist: Path, **options: Any) -> None:
    """Place NETLIST and write a placement that the tool it came from reads.

    A packed netlist of VPR (.net, .net.gz) gets a .place file, a netlist of ours (.json) a placement in JSON, a design that yosys
    mapped to an ECP5 (.json) its own JSON with sites for block RAMs and multipliers.
    """
    from foldwright.progress import Progress
    from foldwright.verbs.place import place_file

    with Progress() as progress:
        lines = place_file(netlist, progress=progress, **options)
    for line in lines:
        click.echo(line)


@cli.command("score", short_help="Score a mapping of another tool: a folding of FINN's, a loop nest.")
@click.argument("mapping", type=_ANY_PATH)
@click.option(
    "--table", type=_ANY_PATH, help="Of a folding: a folding table (.json, .json.gz) with FINN's estimates."
)
@click.option(
    "--network", help="Of a folding: a name or an ONNX file, to score one engine a layer by our models."
)
@click.option("--part", help="Whose memories our models take; xc7z020 if not given.")
@click.option("--clock-mhz", type=click.FloatRange(1, 2000), help="Of a folding; 100 if not given.")
@click.option(
    "--array", type=_ANY_PATH, help="Of a loop nest: a JSON file with array, widths, buffers, DRAM port."
)
@click.option("--json", "json_file", type=_ANY_PATH, help="Of a loop nest: write the score there too.")
def _score(mapping: Path, array: Path | None, json_file: Path | None, **of_folding: Any) -> None:
    """Score MAPPING on one scale with ours.

    A folding configuration as FINN reads it: --table scores it by FINN's estimates; --network turns it into a datapath of one
    engine a layer and scores that by our simulator and cost model. Give either or both.

    A mapping of one layer, ZigZag's result (NAME_complete.json) or a loop nest of ours, with --array: cycles, bits moved and
    buffers by a neutral referee, and how far from the layer's bound. What ZigZag leaves open is tried in all ways, and the best
    is told. Exits with 3 if the array cannot run it.
    """
    given = {name: value for name, value in of_folding.items() if value is not None}
    if array is None:
        if json_file is not None:
            raise click.UsageError("--json is for a loop nest; give --array too, or leave it out")
        from foldwright.verbs.score import score_lines as folding_lines

        lines = folding_lines(mapping, **given)
    else:
        if given:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise click.UsageError(
                f"{names} is for a folding, --array for a loop nest; leave one of them out"
            )
        from foldwright.verbs.loopnests import score_file, score_lines

        lines = score_lines(*score_file(mapping, array, json_file))
    for line in lines:
        click.echo(line)


@cli.command("bits", short_help="Choose bits per layer together with engines.")
@click.argument("options")
@click.option("--max-drop", type=float, required=True, help="The accuracy budget, in the unit of OPTIONS.")
@click.option(
    "--part", default="xc7z020", show_default=True, help="A name that 'foldwright parts' lists, or a file."
)
@click.option("--budget-lut-percent", type=float, default=80.0, show_default=True)
@click.option("--dram-bits-per-cycle", type=int, default=32, show_default=True)
@click.option("--max-engines", type=int, default=3, show_default=True)
@click.option("--cpu-seconds", type=float, help="CPU time of the search for bits; 60 if nothing is given.")
@click.option("--deterministic", type=float, help="Stop after so much counted work: the same result always.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--out", type=_ANY_PATH, help="The JSON file to write.")
def _bits(options: str, **rest: Any) -> None:
    """Choose weight and result bits for every layer, and engines for them, that lose at most --max-drop.

    OPTIONS is a file of bit options (docs/bits.md), or digits_bits, which comes along. Train the network again with the bits
    chosen; its ONNX file is what 'optimize' takes.
    """
    from foldwright.verbs.bits import chosen_lines, run_bits

    for line in chosen_lines(run_bits(options, **rest)):
        click.echo(line)


@cli.command("bench", short_help="Compare solvers on the instances of a suite at equal CPU.")
@click.argument("suite", required=False)
@click.option(
    "--seeds", type=click.IntRange(min=1), help="Seeds 0 to N-1 of every run; the suite's if not given."
)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
@click.option("--solver", "solvers", multiple=True, metavar="NAME", help="Instead of the suite's solvers.")
@click.option("--out", type=_ANY_PATH, help="The folder of the runs; runs/bench-SUITE if not given.")
@click.option("--json", "json_file", type=_ANY_PATH, help="Write the rows there too.")
@click.option("--retry-failed", is_flag=True, help="Make runs again that failed before.")
@click.option("--list", "show_list", is_flag=True, help="List the suites that come along.")
def _bench(suite: str | None, show_list: bool, **options: Any) -> int:
    """Run SUITE, a name that --list shows or a TOML file: solvers x instances x budgets x seeds.

    Runs that the folder holds already are not made again, so a bench that was ended goes on. Exits with 3 if no run
    found a solution.
    """
    from foldwright.verbs.bench import list_suites, run_bench

    if show_list:
        click.echo(list_suites())
        return 0
    if suite is None:
        raise click.UsageError("Missing argument 'SUITE'; 'foldwright bench --list' shows all.")
    return run_bench(suite, **options)


def _pairs(settings: Sequence[str]) -> dict[str, str]:
    """Returns the settings by key; each is KEY=VALUE, given once."""
    pairs: dict[str, str] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise click.UsageError(f"--set {text!r} is not KEY=VALUE, for example --set restarts=4")
        if key in pairs:
            raise click.UsageError(f"--set gives {key!r} twice")
        pairs[key] = value
    return pairs


@cli.command("train", short_help="Train a policy for one of the problems.")
@click.argument("environment", metavar="ENV")
@click.option("--config", type=_ANY_PATH, help="A TOML file with hyperparameters that differ from ours.")
@click.option(
    "--steps", type=click.IntRange(1, 10**12), help="Decisions to train on: the same policy always."
)
@click.option("--cpu-seconds", type=float, help="CPU time to train for; instead of --steps.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--out", type=_ANY_PATH, required=True, help="The folder of the training.")
def _train(environment: str, out: Path, **options: Any) -> None:
    """Train a policy for ENV (tiling, allocation or placement) into OUT/policy.safetensors.

    The same command goes on where an interrupted training stopped, with the same result.
    """
    from foldwright.verbs.train import train_into

    for line in train_into(environment, out, **options):
        click.echo(line)


@cli.command("eval", short_help="Compare a policy with the solvers without learning at equal CPU.")
@click.argument("policy")
@click.option("--split", default="heldout-real", show_default=True, help="Where the instances come from.")
@click.option("--instances", type=click.IntRange(1, 1000), default=8, show_default=True)
@click.option("--seeds", type=click.IntRange(1, 1000), default=3, show_default=True)
@click.option(
    "--cpu-seconds", type=float, multiple=True, help="A budget; 0.01, 0.1, 1 and 10 if none is given."
)
@click.option("--out", type=_ANY_PATH, help="The folder of the runs; runs/eval-POLICY-SPLIT if not given.")
def _eval(policy: str, **options: Any) -> int:
    """Compare POLICY, a name that 'solve --list' shows or a file, with greedy, anneal and cp-sat.

    Writes tables and pictures; runs that the folder holds already are not made again.
    """
    from foldwright.verbs.evaluate import evaluate_policy

    return evaluate_policy(policy, **options)


@cli.command("parts", short_help="List the FPGA parts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def _parts(as_json: bool) -> None:
    """List the FPGA parts and their budgets."""
    from foldwright.verbs.listing import print_parts

    print_parts(as_json)


@cli.command("models", short_help="List the networks that come along.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def _models(as_json: bool) -> None:
    """List the small quantized networks that come with Foldwright; verbs take them by name."""
    from foldwright.verbs.listing import print_models

    print_models(as_json)


@cli.command("doctor", short_help="Say what is installed and what is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def _doctor(as_json: bool) -> int:
    """Say which packages and tools are there, what each is for, and how to get what is missing.

    Exits with 4 if something that every installation needs is missing; optional things do not count.
    """
    from foldwright.verbs.doctor import print_diagnosis

    return print_diagnosis(as_json)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code; the `foldwright` script's entry point."""
    try:
        code = cli.main(
            args=None if argv is None else list(argv), prog_name="foldwright", standalone_mode=False
        )
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _say("interrupted: nothing half-written was kept", _INTERRUPTED)
    except FoldwrightError as error:
        return _say(f"error: {error}", error.exit_code)
    except BrokenPipeError:
        _close_stdout()
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        return _say(f"error: {error.filename}: {error.strerror}", 2)
    except MemoryError:
        return _say("error: out of memory: the input is too large for this machine", 2)
    return code if isinstance(code, int) else 0


def _say(message: str, code: int) -> int:
    click.echo(message, err=True)
    return code


def _close_stdout() -> None:
    """Keeps the interpreter from complaining at exit about a reader that went away, such as `head`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
