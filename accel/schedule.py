"""The schedule: what each layer decides, where everything lies on chip, and every tile's load, compute and store.

A `Schedule` is what the simulator found for the decisions of all layers: one round in steady state, cycles counted
from the first event of that round. It is the input of reports and of the program that an export writes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import geometry_table
from foldwright.accel.datapath import Datapath
from foldwright.accel.evaluate import ALL_PLACES, MAX_TILES, round_cycles, settled, total_traffic
from foldwright.accel.mapping import M_PA, M_PACKED, map_layers
from foldwright.accel.memory import (
    I_ADDRESS,
    I_ENGINE,
    I_LAYER,
    I_MASK,
    I_MEMORY,
    I_WHAT,
    I_WORDS,
    MEMORY_LINE,
    MEMORY_MAP,
    MEMORY_WEIGHT,
    bram36_in_use,
    first_fit,
    live_items,
    memory_widths,
    store_words,
)
from foldwright.accel.simulate import (
    EVENT_FIELDS,
    MEASURED_ROUNDS,
    V_END,
    V_ENGINE,
    V_KIND,
    V_LAYER,
    V_ROUND,
    V_START,
    V_TILE,
    run_events,
)
from foldwright.accel.tables import L_A_BITS, L_IN_C, L_INPUT, engine_table, layer_table
from foldwright.accel.tiles import (
    N_KEEPS_ROWS,
    P_BLOCKS,
    P_FUSED,
    P_LEAD,
    P_ORDER,
    P_OUT_DRAM,
    P_PINNED_BLOCKS,
    P_PLACES,
    P_TILE_BLOCKS,
    P_TILE_ROWS,
    tile_options,
)
from foldwright.accel.workload import Workload
from foldwright.errors import ConfigError
from foldwright.jsonform import STRICT
from foldwright.netlists.part import Part

__all__ = [
    "LayerDecision",
    "MemoryBlock",
    "NetworkTables",
    "Schedule",
    "TileEvent",
    "build_schedule",
    "decisions_of",
    "network_tables",
    "places_of",
    "with_memories",
]

IntArray = npt.NDArray[np.int64]
NetworkTables = tuple[IntArray, IntArray, IntArray, IntArray, IntArray, IntArray, IntArray, IntArray]

MEMORY_NAMES = ("weights", "maps", "line")
HOLDS_NAMES = ("weights", "input", "stage", "tensor", "places")
EVENT_NAMES = ("load_weights", "load_input", "compute", "store")
ORDER_NAMES = ("weights", "rows")
_ROOM = 50_000  # events


@dataclass(frozen=True, slots=True)
class LayerDecision:
    """The decisions of one layer: tile, outer loop, where weights and output live, how far ahead its input is loaded.

    The first `pinned_blocks` blocks of its weights are on chip for good, the others stream.
    """

    __pydantic_config__: ClassVar = STRICT

    layer: str
    tile_blocks: int
    tile_rows: int
    outer_loop: str  # of ORDER_NAMES
    pinned_blocks: int
    streamed_blocks: int
    input_lead: int  # layers
    output_on_chip: bool
    fused: bool = False  # runs in turns with the next layer, a band of rows each

    @property
    def weights_pinned(self) -> bool:
        return self.streamed_blocks == 0


@dataclass(frozen=True, slots=True)
class MemoryBlock:
    """Words of one memory that hold one thing during some slots (positions of an engine's layers in a round).

    Places of streamed weights are of all layers of the engine that have such; `layer` is the first of them.
    """

    __pydantic_config__: ClassVar = STRICT

    engine: int
    memory: str  # of MEMORY_NAMES
    layer: str
    holds: str  # of HOLDS_NAMES
    address: int
    words: int
    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TileEvent:
    """One transfer or one computation of one tile, in cycles from the start of the round shown."""

    __pydantic_config__: ClassVar = STRICT

    kind: str  # of EVENT_NAMES
    engine: int
    layer: str
    round: int
    tile: int
    start_cycle: int
    end_cycle: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """Decisions, addresses and events of a round in steady state.

    `weight_places` are of each engine, those in which the chunks of its streamed weights lie in turns.
    """

    __pydantic_config__: ClassVar = STRICT
    FORMAT: ClassVar[str] = "foldwright.schedule/2"

    decisions: tuple[LayerDecision, ...]
    weight_places: tuple[int, ...]
    cycles_per_round: int
    latency_cycles: int
    loaded_bits: int
    stored_bits: int
    bram36: int
    blocks: tuple[MemoryBlock, ...]
    events: tuple[TileEvent, ...]
    keeps_rows: bool = False  # rows of an input from DRAM that the next tile reads too stay


def network_tables(
    workload: Workload, datapath: Datapath, part: Part, pool_bram36: int, weight_places: int = ALL_PLACES,
    keeps_rows: bool = False,
) -> NetworkTables:  # fmt: skip
    """Returns the integer tables of a workload on a datapath, with every layer's Pareto-optimal tiles.

    Args:
        weight_places: the most places of streamed weights that an engine may have.
        keeps_rows: whether rows of an input from DRAM that the next tile reads too stay, see `tiles`.

    Raises:
        ConfigError: an engine cannot run a layer assigned to it, or the assignment is for another workload.
    """
    if len(datapath.assignment) != len(workload.layers):
        raise ConfigError(
            f"datapath assigns {len(datapath.assignment)} layers, but {workload.name!r} has {len(workload.layers)}"
        )
    layers, engines = layer_table(workload), engine_table(datapath.engines)
    assignment = np.array(datapath.assignment, dtype=np.int64)
    mappings = map_layers(layers, engines, assignment, datapath.batch_frames)
    for layer, mapping, e in zip(workload.layers, mappings, datapath.assignment, strict=True):
        if mapping[M_PA] == 0:
            raise ConfigError(
                f"layer {layer.name!r} has {layer.weight_kind.value} weights, which the {datapath.engines[e].arithmetic.value} "
                f"engine {e} cannot run; use an engine with arithmetic 'and'"
            )
    numbers = np.array(
        [datapath.batch_frames, datapath.dram_bits_per_cycle, pool_bram36, weight_places, keeps_rows],
        dtype=np.int64,
    )
    tiles = np.empty((len(layers), MAX_TILES, 3), dtype=np.int64)
    for i, row in enumerate(layers):
        engine, from_image = engines[assignment[i]], int(row[L_INPUT] < 0)
        options = tile_options(row, engine, mappings[i], numbers, from_image, MAX_TILES)
        tiles[i, : len(options)], tiles[i, len(options) :] = options, options[-1]
    widths = memory_widths(layers, engines, mappings, assignment)
    return layers, engines, mappings, assignment, widths, geometry_table(part.block_ram), tiles, numbers


def build_schedule(workload: Workload, tables: NetworkTables, choices: IntArray) -> tuple[Schedule, IntArray]:
    """Returns the schedule of complete choices and the depth of every memory, int64 (engines, 3)."""
    layers, engines, mappings, assignment, widths, geometries, _, numbers = tables
    plans, _ = settled(*tables, choices)
    items = live_items(layers, engines, mappings, assignment, numbers[0], plans)
    depth = first_fit(items, len(engines))
    cycles, latency = round_cycles(layers, engines, plans, assignment, numbers[1])
    load, store = total_traffic(plans)
    schedule = Schedule(
        decisions=decisions_of(workload, plans),
        weight_places=places_of(plans, assignment, len(engines)),
        cycles_per_round=int(cycles),
        latency_cycles=int(latency),
        loaded_bits=int(load),
        stored_bits=int(store),
        bram36=int(bram36_in_use(widths, depth, geometries)),
        blocks=_blocks(workload, items),
        events=_events(workload, tables, plans, int(cycles)),
        keeps_rows=bool(numbers[N_KEEPS_ROWS]),
    )
    return schedule, depth


def decisions_of(workload: Workload, plans: IntArray) -> tuple[LayerDecision, ...]:
    """Returns the decisions that plan rows hold, in words."""
    return tuple(
        LayerDecision(
            layer=layer.name,
            tile_blocks=int(plan[P_TILE_BLOCKS]),
            tile_rows=int(plan[P_TILE_ROWS]),
            outer_loop=ORDER_NAMES[plan[P_ORDER]],
            pinned_blocks=int(plan[P_PINNED_BLOCKS]),
            streamed_blocks=int(plan[P_BLOCKS] - plan[P_PINNED_BLOCKS]),
            input_lead=int(plan[P_LEAD]),
            output_on_chip=not plan[P_OUT_DRAM],
            fused=bool(plan[P_FUSED]),
        )
        for layer, plan in zip(workload.layers, plans, strict=True)
    )


def places_of(plans: IntArray, assignment: IntArray, engines: int) -> tuple[int, ...]:
    """Returns the places of streamed weights of every engine."""
    return tuple(max(int(p) for p in plans[assignment == e, P_PLACES]) for e in range(engines))


def _blocks(workload: Workload, items: IntArray) -> tuple[MemoryBlock, ...]:
    return tuple(
        MemoryBlock(
            engine=int(item[I_ENGINE]),
            memory=MEMORY_NAMES[item[I_MEMORY]],
            layer=workload.layers[item[I_LAYER]].name,
            holds=HOLDS_NAMES[item[I_WHAT]],
            address=int(item[I_ADDRESS]),
            words=int(item[I_WORDS]),
            slots=tuple(s for s in range(64) if int(item[I_MASK]) >> s & 1),
        )
        for item in items
    )


def _events(workload: Workload, tables: NetworkTables, plans: IntArray, cycles: int) -> tuple[TileEvent, ...]:
    """Returns the events that touch a span of `cycles` in steady state: every tile of a round is among them."""
    layers, engines, _, assignment, *_, numbers = tables
    rounds, count, room = len(engines) + 1 + MEASURED_ROUNDS, 0, np.empty((0, EVENT_FIELDS), dtype=np.int64)
    while count == len(room):  # all of them are wanted, however many there are
        room = np.empty((max(_ROOM, 4 * count), EVENT_FIELDS), dtype=np.int64)
        ends, count = run_events(layers, plans, assignment, len(engines), numbers[1], rounds, room)
    begin = int(ends[-3])  # a whole round before the last that was simulated to its end
    end = begin + cycles
    events = room[:count]
    shown = events[(events[:, V_END] > begin) & (events[:, V_START] < end)]
    return tuple(
        TileEvent(
            kind=EVENT_NAMES[e[V_KIND]],
            engine=int(e[V_ENGINE]),
            layer=workload.layers[e[V_LAYER]].name,
            round=int(e[V_ROUND]),
            tile=int(e[V_TILE]),
            start_cycle=int(e[V_START]) - begin,
            end_cycle=int(e[V_END]) - begin,
        )
        for e in sorted(shown, key=lambda e: (e[V_START], e[V_ENGINE], e[V_KIND]))
    )


def with_memories(datapath: Datapath, workload: Workload, tables: NetworkTables, depth: IntArray) -> Datapath:
    """Returns the datapath with the memory depths that a schedule needs."""
    layers, _, mappings, assignment, *_ = tables
    engines = []
    for e, engine in enumerate(datapath.engines):
        mine = [i for i in range(len(layers)) if assignment[i] == e]
        packed = [int(layers[i, L_IN_C] * layers[i, L_A_BITS]) for i in mine if mappings[i, M_PACKED]]
        engines.append(
            replace(
                engine,
                weight_words=max(1, int(depth[e, MEMORY_WEIGHT])),
                map_words=int(depth[e, MEMORY_MAP]),
                line_words=int(depth[e, MEMORY_LINE]),
                line_bits=max(packed, default=0),
            )
        )
    last = int(assignment[-1])
    store = int(store_words(layers[-1], tables[1][last], datapath.batch_frames))
    return replace(datapath, engines=tuple(engines), store_words=store)
