"""`foldwright score`: a foreign folding on one scale with ours, by its own tool's estimates and by our models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from foldwright.accel.folding_config import FoldingConfig, match_folding, read_folding_config
from foldwright.accel.known_workloads import KNOWN_WORKLOADS, known_workload
from foldwright.errors import ConfigError

if TYPE_CHECKING:
    from foldwright.accel.workload import Workload

__all__ = ["score_lines"]


def score_lines(
    folding: Path,
    *,
    table: Path | None = None,
    network: str | None = None,
    part: str = "xc7z020",
    clock_mhz: float = 100.0,
) -> list[str]:
    """Returns what a folding takes and how fast it is, a line each.

    Raises:
        InputError: a file is not what it should be, or they do not belong together.
        InfeasibleError: our models find no room for it on the part.
    """
    if table is None and network is None:
        raise ConfigError(
            "score: give --table, --network or both for a folding, without which nothing is known about its nodes; or --array "
            "for a mapping of one layer"
        )
    config = read_folding_config(folding)
    lines = [_line("folding", str(folding))]
    if table is not None:
        lines += _by_table(config, table, clock_mhz)
    if network is not None:
        lines += _by_models(config, _workload(network), part, clock_mhz)
    return lines


def _line(name: str, value: str) -> str:
    return f"{name:<15}{value}"


def _rate(clock_mhz: float, cycles: int) -> str:
    return f"{clock_mhz * 1e6 / cycles:,.0f} frames/s at {clock_mhz:g} MHz"


def _by_table(config: FoldingConfig, path: Path, clock_mhz: float) -> list[str]:
    from foldwright.accel.folding_import import read_folding_table
    from foldwright.envs.folding.foreign import score_folding

    table = read_folding_table(path)
    matched = match_folding(config, table)
    score = score_folding(table, matched.positions)
    text = (
        f"{_rate(clock_mhz, score.cycles)}: {score.cycles:,} cycles of {score.slowest}; {score.lut:,} LUTs, "
        f"{score.converter_lut:,} of them in width converters, {score.bram18} BRAM18, {score.dsp} DSP slices"
    )
    lines = [_line("by the table", text), *(_line("note", note) for note in matched.notes)]
    if score.other_ratios:
        what = f"{score.other_ratios} converters are of other than integer ratios, which FINN makes in HLS"
        lines.append(_line("note", what))
    return lines


def _by_models(config: FoldingConfig, workload: Workload, part: str, clock_mhz: float) -> list[str]:
    from foldwright.envs.folding.dataflow import score_dataflow

    score = score_dataflow(config, workload, part)
    use = score.use
    text = (
        f"{_rate(clock_mhz, score.cycles)}: {score.cycles:,} cycles, at least {score.bound_cycles:,}; {use.lut:,} LUTs, "
        f"{use.ff:,} flip-flops, {use.bram36} block RAMs, {use.dsp} DSP slices of {part}"
    )
    engines = " + ".join(engine.shape for engine in score.datapath.engines)
    return [
        _line("by our models", text),
        _line("engines", f"{engines} (dm x dk x dn)"),
        *(_line("note", note) for note in score.notes),
    ]


def _workload(network: str) -> Workload:
    if network in KNOWN_WORKLOADS:
        return known_workload(network)
    from foldwright.accel.network import load_network
    from foldwright.verbs.listing import find_model

    return load_network(find_model(network)).workload
