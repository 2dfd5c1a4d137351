"""Loop nests at the command line: a run's schedule written as nests, and mappings of any mapper scored on one scale."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from foldwright.accel.export.verilog import ExportedFile
from foldwright.accel.loopnest.engines import engine_nests
from foldwright.accel.loopnest.nest import OPERANDS, ArrayModel, LoopNest
from foldwright.accel.loopnest.score import Score, best_replay, score
from foldwright.accel.loopnest.zigzag import read_zigzag
from foldwright.accel.plan import Plan
from foldwright.accel.schedule import Schedule
from foldwright.jsonform import from_json, parse_json, read_json, read_text, to_json
from foldwright.runs import staged_folder, write_atomic

__all__ = ["FOLDER", "export_loopnests", "score_file", "score_lines"]

FOLDER = "loopnests"


def export_loopnests(build: Path, plan: Plan, schedule: Schedule) -> list[ExportedFile]:
    """Writes a nest for each layer of a plan to `build/loopnests`, whole or not at all."""
    files = []
    with staged_folder(build / FOLDER) as stage:
        for i, (layer, text) in enumerate(engine_nests(plan.workload, plan.datapath, schedule.decisions)):
            name = f"{i:02d}_{re.sub('[^A-Za-z0-9_.-]+', '_', layer)[:60]}.yaml"
            body = text.encode()
            (stage / name).write_bytes(body)
            files.append(ExportedFile(f"{FOLDER}/{name}", len(body), hashlib.sha256(body).hexdigest()))
    return files


def score_file(mapping: Path, array: Path, out: Path | None = None) -> tuple[LoopNest, Score]:
    """Scores a mapping, ZigZag's result of a layer or a loop nest of ours, on an array by the neutral referee.

    Args:
        out: a JSON file for the score.

    Raises:
        ConfigError: a file is damaged, or says what cannot be scored.
        IllegalSolutionError: the array cannot run the mapping.
    """
    model, text = read_json(ArrayModel, array), read_text(mapping)
    body = parse_json(text, str(mapping))
    if isinstance(body, dict) and "format" in body:
        nest, found = from_json(LoopNest, text, str(mapping)), None
    else:
        foreign = read_zigzag(text, str(mapping))
        nest, found = best_replay(foreign.nest, model) if foreign.is_open else (foreign.nest, None)
    if found is None:
        found = score(nest, model)
        assert found is not None
    if out is not None:
        write_atomic(out, to_json(found))
    return nest, found


def score_lines(nest: LoopNest, found: Score) -> list[str]:
    """Returns a score in words."""
    loops = " ".join(f"{loop.dim.value}:{loop.step}" for loop in nest.loops) or "none"
    outside = ", ".join(f"{o} {getattr(nest.outside, o)}" for o in OPERANDS)
    buffers = ", ".join(f"{o} {getattr(found.buffer_bits, o):,}" for o in OPERANDS)
    moved = [("weights", found.weight_bits), ("inputs", found.input_bits), ("outputs", found.output_bits)]
    moved += [("partial sums", found.psum_load_bits + found.psum_store_bits)]
    over = found.cycles / found.bound_cycles
    return [
        f"{nest.convolution.name}: {found.cycles:,} cycles, {over:.4f} times the bound of {found.bound_cycles:,}",
        f"the array computes {found.compute_cycles:,} cycles, in {found.steps:,} steps",
        "bits over the DRAM port: " + ", ".join(f"{name} {bits:,}" for name, bits in moved),
        f"bits of buffers: {buffers}",
        f"loops, outermost first, by what an iteration covers: {loops}",
        f"loops outside the buffers: {outside}; {nest.step_loops} make the steps",
    ]
