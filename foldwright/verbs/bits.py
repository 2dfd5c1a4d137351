"""The verb `bits`: chooses bits per layer together with engines, within an accuracy budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foldwright.accel.bit_options import BitOptions
from foldwright.bits import ChosenBits, choose_bits
from foldwright.envs.allocation.bits import BitsProblem
from foldwright.errors import ConfigError, nearest
from foldwright.jsonform import read_json, to_json
from foldwright.models import BIT_OPTIONS, bit_options_path
from foldwright.progress import Progress
from foldwright.runs import write_atomic
from foldwright.solve import refuse_unwritable, stop_rule
from foldwright.verbs.tables import aligned

__all__ = ["DEFAULT_CPU_SECONDS", "chosen_lines", "find_options", "run_bits"]

DEFAULT_CPU_SECONDS = 60.0


def find_options(text: str) -> BitOptions:
    """Returns the options that a word of the command line means: a JSON file, or a name that comes along.

    Raises:
        ConfigError: it is neither, or the file is not such options.
    """
    if Path(text).exists() or text.endswith(".json"):
        return read_json(BitOptions, text)
    if text in BIT_OPTIONS:
        return read_json(BitOptions, bit_options_path(text))
    raise ConfigError(
        f"{text}: no such file, and no bit options that come along; {nearest(text, BIT_OPTIONS)}"
    )


def run_bits(
    options: str, max_drop: float, cpu_seconds: float | None, deterministic: float | None, seed: int,
    out: Path | None, **budgets: Any,
) -> ChosenBits:  # fmt: skip
    """Chooses bits and engines and writes them where asked.

    Args:
        options: the file of a `BitOptions`, or the name of one that comes along.
        budgets: further fields of `BitsProblem`.

    Raises:
        InputError: an option is wrong; before any work is done.
        InfeasibleError: no bits are accurate enough, or no engines fit.
    """
    if cpu_seconds is None and deterministic is None:
        cpu_seconds = DEFAULT_CPU_SECONDS
    stop = stop_rule("exact", cpu_seconds, deterministic)
    refuse_unwritable("--out", out)
    found = find_options(options)
    problem = BitsProblem(f"bits/{found.name}", found, max_drop, **budgets)
    with Progress() as progress:
        progress.stage(f"bits and engines for {found.name}")
        watched = progress.watch(stop, problem.unit, problem.bound().value)
        chosen = choose_bits(problem, stop=watched, seed=seed)
    if out is not None:
        write_atomic(out, to_json(chosen))
    return chosen


def chosen_lines(chosen: ChosenBits) -> list[str]:
    """Returns what was chosen: a row for each layer, engines, cycles, bound and gap."""
    rows: list[list[str | int]] = [
        [name, o.weights, o.weight_bits, o.out_bits, f"{o.drop:.4f}"]
        for name, o in zip(chosen.layers, chosen.options, strict=True)
    ]
    engines = "; ".join(f"{e.shape} {e.arithmetic.value}" for e in chosen.datapath.engines)
    return [
        aligned(["layer", "weights", "planes", "result bits", f"loses, {chosen.unit}"], rows),
        f"loses together {chosen.drop:.4f} of {chosen.max_drop:g} {chosen.unit} allowed",
        f"engines {engines}; {chosen.datapath.batch_frames} frames a round",
        f"cycles per frame {chosen.cycles_per_frame:,.3f}, bound {chosen.bound_cycles_per_frame:,.3f}, "
        f"gap {100 * chosen.gap:.2f} %" + ("" if chosen.reproducible else "; depends on the machine's speed"),
    ]
