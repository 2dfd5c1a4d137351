"""What a report shows, as plain values: no cost is computed here and nothing is looked up.

Times of the schedule are cycles; memory is counted in words of each memory's own width. A report with an
empty part (no bars, no points ...) leaves that picture out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = [
    "Anytime",
    "Bar",
    "BarKind",
    "Figure",
    "Floorplan",
    "FloorplanGroup",
    "FloorplanNet",
    "Front",
    "FrontPoint",
    "Memory",
    "MemoryBlock",
    "ReportData",
    "Roofline",
    "RooflinePoint",
    "Series",
    "StageTime",
    "Table",
    "Use",
]


class BarKind(Enum):
    """What a bar of the schedule does; each kind has its own colour."""

    COMPUTE = "compute"
    WEIGHTS = "load weights"
    INPUT = "load input"
    STORE = "store output"


@dataclass(frozen=True, slots=True)
class Figure:
    """One card of the summary: `value` is ready to read, `note` one short line below it."""

    label: str
    value: str
    unit: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Use:
    """How much of one resource is used; `budget` is what the search was allowed, at most `available`."""

    name: str
    used: int
    available: int
    budget: int | None = None


@dataclass(frozen=True, slots=True)
class StageTime:
    """CPU time of one stage of the command."""

    stage: str
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One event of the schedule: `lane` is an engine or a direction of the DRAM port, `label` usually a layer."""

    lane: str
    label: str
    start: int
    end: int
    kind: BarKind


@dataclass(frozen=True, slots=True)
class RooflinePoint:
    """One layer: operations (bit-MACs) per bit of DRAM traffic, and operations per cycle reached.

    An infinite intensity (no traffic at all) is drawn at the right edge.
    """

    label: str
    intensity_ops_per_bit: float
    ops_per_cycle: float


@dataclass(frozen=True, slots=True)
class Roofline:
    """The two ceilings and the layers below them."""

    peak_ops_per_cycle: float
    dram_bits_per_cycle: float
    points: tuple[RooflinePoint, ...]


@dataclass(frozen=True, slots=True)
class MemoryBlock:
    """A tensor in a memory: words `address` to `address + words`, from cycle `start` to `end`."""

    memory: str
    label: str
    address: int
    words: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Memory:
    """One memory of the datapath; `note` says its geometry, for example "72 x 512, 4 RAMB36"."""

    name: str
    words: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """The best cost of one solver over CPU time: `cost[i]` holds from `seconds[i]` on."""

    solver: str
    seconds: tuple[float, ...]
    cost: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.seconds) != len(self.cost):
            raise ValueError(f"series {self.solver!r}: {len(self.seconds)} times, {len(self.cost)} costs")


@dataclass(frozen=True, slots=True)
class Anytime:
    """The search of one problem: a curve per solver, and the proven bound."""

    problem: str
    unit: str
    series: tuple[Series, ...]
    bound: float | None = None


@dataclass(frozen=True, slots=True)
class FloorplanGroup:
    """Cells that belong together, such as the units of an engine: (column, row, height in rows) of each."""

    label: str
    cells: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class FloorplanNet:
    """A bus of `weight` wires and the (column, row) of each of its cells."""

    label: str
    weight: int
    pins: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Floorplan:
    """A placed netlist on the tiles of a part.

    `columns` are their kinds from left to right, `holes` are (name, first column, first row, last column, last row),
    `region_columns` and `region_rows` where clock regions begin. `nets` are those that cost most, the widest first.
    """

    part: str
    width: int
    height: int
    columns: tuple[str, ...]
    holes: tuple[tuple[str, int, int, int, int], ...]
    region_columns: tuple[int, ...]
    region_rows: tuple[int, ...]
    is_upwards: bool
    groups: tuple[FloorplanGroup, ...]
    nets: tuple[FloorplanNet, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """A design on the front between frames per second and LUTs; `note` says what it is made of."""

    lut: int
    fps: float
    note: str
    is_plan: bool = False


@dataclass(frozen=True, slots=True)
class Front:
    """Designs that no other beats, and (LUTs, frames per second) of bounds, both ascending in LUTs."""

    points: tuple[FrontPoint, ...]
    bounds: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table below the pictures; cells are ready to read."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything of one report.

    `status` is one of optimal, feasible, infeasible, unknown; `remarks` are sentences that a reader must not
    miss (an assumed clock, a result that depends on the machine). `facts` are rows of the small print.
    """

    title: str
    part: str
    status: str
    clock_mhz: float
    figures: tuple[Figure, ...] = ()
    utilization: tuple[Use, ...] = ()
    stages: tuple[StageTime, ...] = ()
    bars: tuple[Bar, ...] = ()
    roofline: Roofline | None = None
    memories: tuple[Memory, ...] = ()
    blocks: tuple[MemoryBlock, ...] = ()
    floorplan: Floorplan | None = None
    front: Front | None = None
    anytime: tuple[Anytime, ...] = ()
    tables: tuple[Table, ...] = ()
    remarks: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
