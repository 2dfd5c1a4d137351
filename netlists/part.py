"""An FPGA part: what it offers, how its block RAMs are shaped, how fast its DRAM is, and its fabric.

A part is one TOML file: those shipped stand in `parts/` beside this module, a user's own is given by its
path.
`bram36` counts the part's own blocks: RAMB36 on 7-series, EBR (18 kbit) on ECP5.

Units: bytes per second, bits, words, MHz. The files name the source of every figure.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, cast

from foldwright.errors import InputError, PartError, nearest
from foldwright.jsonform import STRICT
from foldwright.netlists.fabric import Fabric, Hole, SiteRule
from foldwright.tomlform import read_toml

__all__ = [
    "RESOURCES",
    "BlockRam",
    "Budget",
    "Dram",
    "Part",
    "PartRow",
    "list_parts",
    "load_part",
    "part_names",
]

RESOURCES = ("lut", "ff", "bram36", "dsp")
"""Names of what a part offers and a design uses, in the order of every table."""

_SHOWN_MISTAKES = 8
_FAMILIES = ("xc7", "ecp5")
_PARTS = Path(__file__).parent / "parts"


class _PartValueError(PartError, ValueError):
    """A broken rule of a part; a ValueError too, so that reading collects it and goes on."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a part offers in all."""

    __pydantic_config__: ClassVar = STRICT

    lut: int
    ff: int
    bram36: int
    dsp: int

    def __post_init__(self) -> None:
        values = {resource: getattr(self, resource) for resource in RESOURCES}
        wrong = [f"{name} is {value}, must not be negative" for name, value in values.items() if value < 0]
        if wrong:
            raise _PartValueError("; ".join(wrong))


@dataclass(frozen=True, slots=True)
class BlockRam:
    """Shapes that one block takes with one read and one write port, as (width in bits, depth in words).

    `half_geometries` are those of one of its two independent halves; none where a block does not split.
    """

    __pydantic_config__: ClassVar = STRICT

    kind: str
    geometries: tuple[tuple[int, int], ...]
    half_geometries: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if not self.geometries:
            raise _PartValueError(
                "geometries is empty; list [width_bits, depth_words] pairs such as [72, 512]"
            )
        flat = [n for pair in self.geometries + self.half_geometries for n in pair]
        if min(flat) < 1 or max(flat) > 2**20:
            raise _PartValueError(f"geometries hold {min(flat)} or {max(flat)}; allowed are 1..{2**20}")


@dataclass(frozen=True, slots=True)
class Dram:
    """The memory outside: of the usual board of a part, since a part itself has none."""

    __pydantic_config__: ClassVar = STRICT

    peak_bytes_per_s: int
    usable_bytes_per_s: int
    ports: int
    port_bits: int
    default_bits_per_cycle: int

    def __post_init__(self) -> None:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        wrong = [f"{name} is {value}, must be at least 1" for name, value in values.items() if value < 1]
        if self.usable_bytes_per_s > self.peak_bytes_per_s:
            peak = self.peak_bytes_per_s
            wrong.append(f"usable_bytes_per_s {self.usable_bytes_per_s} is above the peak {peak}")
        if self.default_bits_per_cycle > self.ports * self.port_bits:
            most = self.ports * self.port_bits
            wrong.append(f"default_bits_per_cycle {self.default_bits_per_cycle} is above all ports' {most}")
        if wrong:
            raise _PartValueError("; ".join(wrong))

    def usable_bits_per_cycle(self, clock_mhz: int) -> int:
        """Returns how many bits the memory gives in one cycle of a clock, rounded down."""
        return self.usable_bytes_per_s * 8 // (clock_mhz * 1_000_000)


@dataclass(frozen=True, slots=True)
class Part:
    """One FPGA part. Without a `fabric` it can be planned for, but nothing can be placed on it."""

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.part/1"

    name: str
    family: str
    budget: Budget
    block_ram: BlockRam
    dram: Dram
    default_clock_mhz: int
    summary: str = ""
    price_note: str = ""
    fabric: Fabric | None = None

    def __post_init__(self) -> None:
        wrong = []
        if not self.name:
            wrong.append("name is empty")
        if self.family not in _FAMILIES:
            wrong.append(f"family is {self.family!r}; {nearest(self.family, _FAMILIES)}")
        if not 1 <= self.default_clock_mhz <= 1000:
            wrong.append(f"default_clock_mhz is {self.default_clock_mhz}, allowed 1..1000")
        for resource in RESOURCES if self.fabric else ():
            have, sites = getattr(self.budget, resource), cast(Fabric, self.fabric).total(resource)
            if have > sites:
                wrong.append(f"budget.{resource} is {have}, but the sites of the fabric offer only {sites}")
        if wrong:
            raise _PartValueError("; ".join(wrong))

    @property
    def lut(self) -> int:
        return self.budget.lut

    @property
    def ff(self) -> int:
        return self.budget.ff

    @property
    def bram36(self) -> int:
        return self.budget.bram36

    @property
    def dsp(self) -> int:
        return self.budget.dsp


@dataclass(frozen=True, slots=True)
class PartRow:
    """One line of `foldwright parts`."""

    name: str
    family: str
    lut: int
    ff: int
    bram36: int
    block_ram: str
    dsp: int
    default_clock_mhz: int
    dram_bytes_per_s: int
    summary: str


def part_names() -> tuple[str, ...]:
    """Returns the names of the shipped parts, sorted."""
    return tuple(sorted(path.stem for path in _PARTS.glob("*.toml")))


def list_parts() -> list[PartRow]:
    """Returns a row for each shipped part, sorted by name."""
    return [_row(load_part(name)) for name in part_names()]


def _row(part: Part) -> PartRow:
    budget = (part.lut, part.ff, part.bram36, part.block_ram.kind, part.dsp)
    usable = part.dram.usable_bytes_per_s
    return PartRow(part.name, part.family, *budget, part.default_clock_mhz, usable, part.summary)


def load_part(name_or_path: str | Path) -> Part:
    """Returns a shipped part by its name, or a user's own by the path of its TOML file.

    Raises:
        PartError: no such part, or the file is wrong; every mistake of the file is named.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, str) and text.lower() in part_names():
        return _shipped(text.lower())
    if not text.endswith(".toml"):
        known = nearest(text.lower(), part_names())
        raise PartError(f"no part is named {text!r}; {known}; or give the path of your own .toml file")
    return _read_part(Path(text))


@lru_cache(maxsize=16)
def _shipped(name: str) -> Part:
    return _read_part(_PARTS / f"{name}.toml")


def _read_part(path: Path) -> Part:
    from pydantic import TypeAdapter, ValidationError

    body = read_toml(path, PartError)
    form = body.pop("format", None)
    if form != Part.FORMAT:
        raise PartError(f"{path}: format is {form!r}; the file must begin with format = {Part.FORMAT!r}")
    try:
        # Through JSON text, where strict reading takes lists for tuples; a date becomes a wrong string.
        return TypeAdapter(Part).validate_json(json.dumps(body, default=str), strict=True)
    except ValidationError as error:
        raise PartError(_mistakes(path, error.errors())) from None
    except InputError as error:
        raise PartError(f"{path}: {error}") from None


_TABLES: dict[str, type] = {
    "budget": Budget,
    "block_ram": BlockRam,
    "dram": Dram,
    "fabric": Fabric,
    "sites": SiteRule,
    "holes": Hole,
}


def _mistakes(path: Path, errors: Any) -> str:
    lines = [_mistake(e) for e in errors[:_SHOWN_MISTAKES]]
    more = len(errors) - _SHOWN_MISTAKES
    head = f"{path}: {len(errors)} mistake{'s' if len(errors) > 1 else ''}"
    return "\n".join([head, *lines, *([f"  and {more} more"] if more > 0 else [])])


def _mistake(error: Any) -> str:
    where = ".".join(str(p) for p in error["loc"]) or "top level"
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        tables = [p for p in error["loc"][:-1] if isinstance(p, str)]
        owner = _TABLES.get(tables[-1], Part) if tables else Part
        return f"  {where}: unknown key; {nearest(str(error['loc'][-1]), [f.name for f in fields(owner)])}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] in ("missing", "missing_argument", "value_error"):
        return f"  {where}: {message}"
    value = repr(error.get("input"))
    return f"  {where}: {message} (got {value if len(value) < 60 else value[:57] + '...'})"
