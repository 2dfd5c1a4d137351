"""The options of `foldwright optimize`, from a TOML file and the command line, checked all at once.

The keys of the file are the names of the options. An option on the command line takes precedence over the
same key of the file. Every mistake is reported, each by its key and where it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from foldwright.errors import ConfigError, nearest
from foldwright.tomlform import list_mistakes, short_repr

__all__ = [
    "TEMPLATE",
    "OptimizeOptions",
    "merge_options",
    "write_template",
]

_PROBLEMS = ("allocation", "tiling", "placement")

_Text = Annotated[str, Field(min_length=1)]


class OptimizeOptions(BaseModel):
    """What `foldwright optimize` is asked to do; see `TEMPLATE` for the meaning of each key."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    model: _Text
    part: _Text
    out: _Text
    clock_mhz: Annotated[float, Field(ge=1, le=1000)] = 200.0
    objective: Literal["fps", "lut"] = "fps"
    target_fps: Annotated[float, Field(gt=0)] | None = None
    pareto: bool = False
    requant: Literal["thresholds", "scale_shift"] = "thresholds"
    solver: tuple[str, ...] = ()
    budget_lut_percent: Annotated[float, Field(gt=0, le=100)] = 80.0
    cpu_seconds: Annotated[float, Field(gt=0, le=1e6)] | None = None
    deterministic: Annotated[float, Field(gt=0, le=1e9)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    set: dict[str, Any] = {}

    @field_validator("solver", mode="before")
    @classmethod
    def _solvers(cls, names: Any) -> tuple[str, ...]:
        if not isinstance(names, list | tuple) or not all(isinstance(n, str) and n for n in names):
            raise ValueError('must be a list of names, for example ["allocation=anneal", "tiling=cp-sat"]')
        problems = [_split(name)[0] for name in names]
        for problem in problems:
            if problem and problem not in _PROBLEMS:
                raise ValueError(f"no problem is named {problem!r}; {nearest(problem, _PROBLEMS)}")
            if problems.count(problem) > 1:
                raise ValueError(f"names two solvers for {problem or 'every problem'}; give one")
        return tuple(names)

    @field_validator("set", mode="after")
    @classmethod
    def _scalars(cls, values: dict[str, Any]) -> dict[str, Any]:
        wrong = sorted(k for k, v in values.items() if not isinstance(v, str | int | float | bool))
        if wrong:
            raise ValueError(f"{wrong[0]} must be a number, a text or true or false")
        return values

    @model_validator(mode="after")
    def _agree(self) -> OptimizeOptions:
        if self.cpu_seconds is not None and self.deterministic is not None:
            raise ValueError("cpu_seconds and deterministic are both given; a search stops by one of them")
        if self.objective == "lut" and self.target_fps is None:
            raise ValueError('objective "lut" needs target_fps, the rate that the fewest LUTs have to reach')
        if self.objective == "fps" and self.target_fps is not None:
            raise ValueError('target_fps is only used with objective = "lut"; remove one of them')
        if self.objective == "lut" and self.pareto:
            raise ValueError(
                'pareto goes with objective = "fps", which it trades for LUTs; remove one of them'
            )
        return self

    def solver_for(self, problem: str, default: str) -> str:
        """Returns the solver asked for a problem, the general one, or `default`.

        The general one is for allocation and tiling: an exact method of theirs does not place thousands of cells.
        """
        names = dict(_split(name) for name in self.solver)
        general = default if problem == "placement" else names.get("", default)
        return names.get(problem, general)


def _split(name: str) -> tuple[str, str]:
    problem, _, solver = name.rpartition("=")
    return problem, solver


def merge_options(file: Mapping[str, Any], where: str, options: Mapping[str, Any]) -> OptimizeOptions:
    """Returns the checked options of a file, overridden by those of the command line.

    Args:
        file: what the file `where` holds; empty without a file.
        options: what the command line gives; None stands for an option that was not given.

    Raises:
        ConfigError: every mistake, each by its key and its place.
    """
    given = {key: value for key, value in options.items() if value is not None and value not in ((), {})}
    merged = {**file, **given}
    if isinstance(file.get("set"), dict) and "set" in given:
        merged["set"] = {**file["set"], **given["set"]}
    try:
        return OptimizeOptions.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_mistakes(error, where, set(given))) from None


def _mistakes(error: ValidationError, where: str, from_options: set[str]) -> str:
    name_first = ("extra_forbidden", "missing")
    errors = sorted(error.errors(), key=lambda e: e["type"] not in name_first)
    lines = [_mistake(e, where, from_options) for e in errors]
    return list_mistakes(lines)


def _mistake(e: Any, where: str, from_options: set[str]) -> str:
    path = [str(p) for p in e["loc"]]
    key = path[0] if path else ""
    place = (
        "" if not path else f"--{key.replace('_', '-')}: " if key in from_options else _in_file(where, path)
    )
    if e["type"] == "missing":
        option = "MODEL" if key == "model" else f"--{key}"
        return f"{key} is missing: give {option} or, in a --config file, {key} = ..."
    if e["type"] == "extra_forbidden":
        return f"{place}unknown key; {nearest(key, OptimizeOptions.model_fields)}"
    message = e["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if not path:
        return message
    return f"{place}{message} (got {short_repr(e['input'])})"


def _in_file(where: str, path: list[str]) -> str:
    return f"{where}: {'.'.join(path)}: " if where else f"{'.'.join(path)}: "


TEMPLATE = """\
# Options of 'foldwright optimize --config FILE'. An option on the command line overrides the same key here.

model = "digits_w1a2"       # an ONNX file, or a network that 'foldwright models' lists
part = "xc7z020"            # a part that 'foldwright parts' lists, or a TOML file of your own
out = "runs/first"          # the folder to write; only a run of the same command is replaced

clock_mhz = 200             # the clock the accelerator is to run at
objective = "fps"           # "fps": most frames per second; "lut": fewest LUTs that reach target_fps
# target_fps = 1000         # frames per second, with objective = "lut"
pareto = false              # true: also the front between frames per second and LUTs, in pareto.json
requant = "thresholds"      # how accumulators become codes: "thresholds", exact, or "scale_shift", nearly, in DSP slices
budget_lut_percent = 80     # share of the part's LUTs the accelerator may use; full parts do not route

# How to search. 'foldwright solve --help' lists solvers; a name without a problem is for allocation and
# tiling.
# solver = ["allocation=anneal", "tiling=cp-sat", "placement=greedy"]
cpu_seconds = 20            # stop by CPU time; results may differ between machines
# deterministic = 5         # or stop by counted work, a unit is 1000 evaluations (a million proposals of the placer)
seed = 0

# [set]                     # dram_bits_per_cycle, max_engines, technology; and the options of the
#                           # solvers, such as "tiling.samples" = 100
"""


def write_template(path: str | Path) -> None:
    """Writes the commented template; refuses a file that is already there.

    Raises:
        ConfigError: the file exists.
    """
    from foldwright.runs import write_atomic

    path = Path(path)
    if path.exists():
        raise ConfigError(f"{path}: already exists; give another name or remove it first")
    write_atomic(path, TEMPLATE)
