"""Loop nests as Timeloop mappings: YAML text with the problem's shape and a list of directives (Timeloop v3).

Each operand has a storage level of its own, in the order in which the loops leave the buffers; a last level, which keeps nothing,
has the loops inside a step and the array's unrolling. A factor `Q=4,2` runs four times and two in the very last round, Timeloop's
imperfect factors. Names are those of Timeloop's CNN layer: M output channels, P and Q output columns and rows, R and S
kernel columns and rows, N frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foldwright.accel.loopnest.factors import Factor, explicit_loops, unrolled
from foldwright.accel.loopnest.nest import OPERANDS, Dim, LoopNest
from foldwright.errors import ConfigError

__all__ = ["DATA_SPACES", "Level", "LevelLoop", "Problem", "mapping_text", "timeloop_yaml"]

LETTERS = {Dim.K: "M", Dim.C: "C", Dim.OY: "Q", Dim.OX: "P", Dim.FY: "S", Dim.FX: "R"}
DATA_SPACES = ("Weights", "Inputs", "Outputs")


@dataclass(frozen=True, slots=True)
class LevelLoop:
    """A loop of a level by its dimension's letter; `last` iterations in the very last round."""

    letter: str
    count: int
    last: int


@dataclass(frozen=True, slots=True)
class Level:
    """A storage level, or the unrolling below one: its loops outermost first, and the data spaces it keeps."""

    target: str
    loops: tuple[LevelLoop, ...]
    keep: tuple[str, ...] = ()
    is_spatial: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """A layer for Timeloop: sizes by letter, strides by name, and of each data space the index expressions as YAML."""

    name: str
    sizes: dict[str, int]
    strides: dict[str, int]
    projections: dict[str, str]


def mapping_text(notes: Sequence[str], problem: Problem, levels: Sequence[Level]) -> str:
    """Returns the YAML of a problem and its mapping; `notes` become comments at its head."""
    lines = [f"# {note}" for note in notes]
    lines += [
        "problem:",
        "  shape:",
        f"    name: {problem.name}",
        f"    dimensions: [{', '.join(problem.sizes)}]",
    ]
    lines += ["    coefficients:"] if problem.strides else []
    for stride in problem.strides:
        lines += [f"      - name: {stride}", "        default: 1"]
    lines.append("    data-spaces:")
    for space, projection in problem.projections.items():
        lines += [f"      - name: {space}", f"        projection: {projection}"]
        lines += ["        read-write: true"] if space == "Outputs" else []
    lines.append("  instance:")
    lines += [f"    {key}: {value}" for key, value in (problem.sizes | problem.strides).items()]
    lines.append("mapping:")
    for level in levels:
        lines += _directives(level, list(problem.sizes))
    return "\n".join(lines) + "\n"


def _directives(level: Level, letters: list[str]) -> list[str]:
    loops = {loop.letter: loop for loop in level.loops}
    if len(loops) < len(level.loops):
        raise ConfigError(f"level {level.target!r} has two loops of one dimension, which Timeloop cannot say")
    factors = []
    for letter in letters:
        count, last = (loops[letter].count, loops[letter].last) if letter in loops else (1, 1)
        factors.append(f"{letter}={count}" + (f",{last}" if last != count else ""))
    inner_first = [letter for letter in letters if letter not in loops]
    inner_first += [loop.letter for loop in reversed(level.loops)]
    kind = "spatial" if level.is_spatial else "temporal"
    lines = [f"  - target: {level.target}", f"    type: {kind}", f"    factors: {' '.join(factors)}"]
    lines.append(f"    permutation: {''.join(inner_first)}")
    if not level.is_spatial:
        bypass = [space for space in DATA_SPACES if space not in level.keep]
        lines += [f"  - target: {level.target}", "    type: bypass", f"    keep: [{', '.join(level.keep)}]"]
        lines.append(f"    bypass: [{', '.join(bypass)}]")
    return lines


def _merged(loops: Sequence[Factor]) -> tuple[LevelLoop, ...]:
    """Returns the loops of a level; neighbours over one dimension become one."""
    out: list[LevelLoop] = []
    for loop in loops:
        letter = LETTERS[loop.dim]
        if out and out[-1].letter == letter:
            outer = out.pop()
            out.append(LevelLoop(letter, outer.count * loop.count, (outer.last - 1) * loop.count + loop.last))
        else:
            out.append(LevelLoop(letter, loop.count, loop.last))
    return tuple(out)


def timeloop_yaml(nest: LoopNest) -> str:
    """Returns a mapping as Timeloop's YAML.

    Raises:
        ConfigError: a tile is no multiple of what lies inside it, or a level would have two loops of one dimension.
    """
    layer, loops, spread = nest.convolution, explicit_loops(nest), unrolled(nest)
    stops = sorted((getattr(nest.outside, operand), i) for i, operand in enumerate(OPERANDS))
    levels = [Level("DRAM", _merged([x for x in loops if x.place < stops[0][0]]), DATA_SPACES)]
    for n, (stop, i) in enumerate(stops):
        below = stops[n + 1][0] if n + 1 < len(stops) else nest.step_loops
        mine = [x for x in loops if stop <= x.place < below]
        levels.append(Level(f"{DATA_SPACES[i]}Buffer", _merged(mine), (DATA_SPACES[i],)))
    levels.append(Level("Array", _merged([x for x in loops if x.place >= nest.step_loops])))
    lanes = [
        LevelLoop(LETTERS[d], size, (layer.sizes[d] - 1) % size + 1) for d, size in spread.items() if size > 1
    ]
    levels.append(Level("Array", tuple(lanes), is_spatial=True))
    sizes = {LETTERS[dim]: size for dim, size in layer.sizes.items()} | {"N": 1}
    problem = Problem(
        "CNN_Layer",
        sizes,
        {"Wstride": layer.stride_x, "Hstride": layer.stride_y},
        {
            "Weights": "[[[C]], [[M]], [[R]], [[S]]]",
            "Inputs": "[[[N]], [[C]], [[R], [P, Wstride]], [[S], [Q, Hstride]]]",
            "Outputs": "[[[N]], [[M]], [[Q]], [[P]]]",
        },
    )
    copies = ", ".join(f"{getattr(nest.copies, o)} of {o}" for o in OPERANDS)
    notes = [
        f"layer {' '.join(layer.name.split())}: storage levels outermost first are {', '.join(x.target for x in levels[:-1])}",
        f"copies of a tile: {copies}; what tiles of inputs share {'stays' if nest.halo_reuse else 'is loaded again'}",
    ]
    return mapping_text(notes, problem, levels)
