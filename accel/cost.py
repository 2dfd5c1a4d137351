"""What a datapath takes of a part: LUTs, flip-flops, block RAMs (njit kernels with thin dataclass faces).

The count of LUTs and of flip-flops is a sum of terms, each a coefficient times a feature of the engine:

| term | feature | what it stands for |
|---|---|---|
| unit.dk | dm dn dk | gates and counters of the dot-product units |
| unit.registers | dm dn registers(dk, planes), engines of planes | pipeline of the counters, from the netlist (7-series) |
| unit.plain | dm dn registers, engines of planes | pipeline of plain counters, `plain_counters` (generic) |
| unit.acc | dm dn acc_bits | accumulators |
| unit | dm dn | final adder and control of a unit |
| unit.planes | dm dn (pa - 1) bits(dk), several planes_per_word only | segment sums with a selected weight |
| shadow.acc | dm dn acc_bits | shadow registers |
| shadow.select | dm (dn - r) acc_bits | multiplexers of the chain along which they drain |
| aligner.bits | dn dk, column lanes only | the group register that shifts one lane per tap |
| aligner.lane | dk, column lanes only | what is left of the next group |
| result.acc | r dm A acc_bits | one comparison per stage of the threshold search |
| result.choice | r dm (2^A - 1 - A) acc_bits | multiplexers that choose among a stage's thresholds |
| result | r dm A | codes |
| threshold.bits | dm ((2^A - 1) acc_bits + 1) | words read from the threshold memories |
| threshold.ram64 | 3 bits x 64 words, or 6 bits x 32 at their end | threshold memories in LUTs, 7-series |
| threshold.select | bits read * ceil((n - 1) / 3), n of 64 words each | choosing among deep threshold memories |
| threshold.ram16 | 4 bits x 16 words | threshold memories in LUTs, ECP5 |
| scale | r dm, engines that scale and shift, as all scale terms | last steps of the shift, clip |
| scale.code | r dm A | codes |
| scale.acc | r dm acc_bits | products and sums, where they are not in DSP slices |
| scale.bits | dm bits of a channel, `scale_words.scale_bits` | words read from the memories of parameters |
| scale.ram64, scale.select, scale.ram16 | as those of thresholds | memories of parameters in LUTs |
| select.bits | dm dk / pa0 * log2(pa / pa0) | multiplexer of the weights between word layouts |
| weight.bits | dm dk / pa0 | registers before and behind the weight memory |
| map.bits | dn dk | registers behind the feature maps, choice between them |
| control.lane | dn | padding masks |
| control | 1 | program reader, loops, address generators |
| window.bits | dn window_bits, of column lanes half | choice of words from the window of tap packing |
| window.registers | dn window_bits, of batch lanes a third more | window and staging, for kernels 3 wide |
| window | 1 with a window | its walk and its handshake |
| writer.word | r dk | packing of codes into words |
| writer.code | r dm A | pooling and planes of codes |
| writer.sum | r dm (2 sum_bits - A), where sums are pooled | adders, registers and planes of sums, beyond those of codes |
| writer | 1 | counters of beats and places |
| writer.item | r dm acc_bits, the engine whose results go to DRAM | register of its results |
| store.bits | as writer.item | cutting results into beats of DRAM |
| dsp.value | dm dn values, kind dsp, as all dsp terms | slices, where they are not the part's own |
| dsp.ends | dm dn (cascades - 1) | adders of the cascades' ends |
| dsp.acc | dm dn acc_bits | accumulators |
| dsp.skew | bits of delay lines, `dsp_shape.skew_bits` | registers before the slices |
| fixed | 1 per datapath | loader, storer, AXI and registers of control |

r is drain_lanes, pa and pa0 the largest and smallest planes_per_word, A = bits(levels) the stages of the search. An engine of
kind dsp has none of the unit terms, one that scales none of result and threshold.
The terms of control and writer hold for memories of about 1,000 words; a bit of address more or less is ten LUTs.
Coefficients are thousandths, one set per (technology of the RTL, family of the part), in
`cost_coefficients.json`; `source` there says where they come from. Block RAMs take the best geometry of the part for each
memory of an engine, whole blocks each, and a *reserve*: one for the loader's program, one per engine for its program and the
rows of its pooling, and the store of results on their way to DRAM. What a layout really takes, halves of blocks shared, is
counted by `foldwright.accel.layout_cost`. LUTs are LUT6 on 7-series and LUT4 on ECP5.

DSPs are those of engines of kind dsp, where the technology is xc7, and the multipliers of engines that scale: a slice for
each channel and lane of a beat, on ECP5 two where accumulators have more than 18 bits.

What it leaves out: routing, the packing of LUTs into slices.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foldwright.accel.datapath import WIDEST_WORD, Arithmetic, Datapath, Engine, EngineKind, LaneMode, Requant
from foldwright.accel.dsp_shape import array_slices, cascade_count, skew_bits
from foldwright.accel.plain_counters import bit_length, plain_registers
from foldwright.accel.popcount_registers import REGISTERS
from foldwright.errors import ConfigError, nearest
from foldwright.kernels import njit
from foldwright.netlists.part import BlockRam, Part

__all__ = [
    "COMPONENTS",
    "COST_FIELDS",
    "C_ACC",
    "C_AND",
    "C_BATCH",
    "C_DK",
    "C_DM",
    "C_DN",
    "C_DRAIN",
    "C_DSP",
    "C_LEVELS",
    "C_PA_MASK",
    "C_SCALES",
    "C_STORES",
    "C_SUM",
    "C_THRESHOLD_WORDS",
    "C_WINDOW",
    "ENGINE_RESERVE_BRAM36",
    "LOADER_BRAM36",
    "TERMS",
    "Breakdown",
    "CostCoefficients",
    "Utilization",
    "block_rams_of",
    "bram36_of_engine",
    "coefficients_for",
    "cost",
    "cost_breakdown",
    "cost_row",
    "cost_rows",
    "dsp_slices",
    "features_of",
    "geometry_table",
    "half_blocks_of",
    "lut_of_engine",
    "multiplier_slices",
    "operand_bits",
    "reserve_bram36",
    "rounded_terms",
    "store_bram36",
    "sum_of_terms",
    "thousandths_of_terms",
    "value_slices",
]

_IntArray = npt.NDArray[np.int64]

TERMS = (
    "unit.dk", "unit.acc", "unit", "unit.planes", "shadow.acc", "shadow.select", "aligner.bits", "aligner.lane",
    "result.acc", "result.choice", "result", "threshold.bits", "threshold.ram64", "threshold.ram16", "threshold.select",
    "select.bits", "weight.bits", "map.bits", "control.lane", "control", "window.bits", "window",
    "writer.word", "writer.code", "writer", "writer.item", "store.bits", "window.registers",
    "dsp.value", "dsp.ends", "dsp.acc", "dsp.skew", "unit.registers", "writer.sum",
    "scale", "scale.code", "scale.acc", "scale.bits", "scale.ram64", "scale.ram16", "scale.select", "unit.plain",
)  # fmt: skip
"""Terms of one engine, in the order of a coefficient array; `fixed` follows once per datapath."""

COMPONENTS = (
    "units", "shadow", "aligner", "results", "thresholds", "operands", "control", "window", "writer", "fixed",
)  # fmt: skip
_COMPONENT_OF = (
    0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 6, 6, 7, 7, 8, 8, 8, 8, 8, 7, 0, 0, 0, 0, 0, 8,
    3, 3, 3, 4, 4, 4, 4, 0,
)  # fmt: skip
"""Of each term."""

LOADER_BRAM36 = 1
"""Of the loader's program, once for a datapath."""
ENGINE_RESERVE_BRAM36 = 1
"""Of an engine's program and the rows of its pooling."""

_MILLI = 1000
_MULTIPLIER_BITS, _MOST_BIAS_BITS = 18, 47
_OPERAND_BITS = {"xc7": 25, "ecp5": 18}
"""Bits of an accumulator that a multiplier of one slice takes: DSP48E1 (UG479), MULT18X18D (FPGA-TN-02205)."""


def _registers() -> _IntArray:
    """Returns the registers of a popcount by the sum of its planes per word and by dk, int64 (16, WIDEST_WORD + 1)."""
    out = np.zeros((16, WIDEST_WORD + 1), dtype=np.int64)
    for planes in range(1, 16):
        known = REGISTERS.get(planes) or REGISTERS[planes & 7 or 8]
        out[planes] = np.rint(np.interp(np.arange(WIDEST_WORD + 1), list(known), list(known.values())))
    return out


_REGISTERS = _registers()

# Entries of a cost row. C_STORES: whether results of the engine go to DRAM.
(
    C_DM, C_DK, C_DN, C_AND, C_BATCH, C_PA_MASK, C_DRAIN, C_ACC, C_LEVELS, C_WINDOW, C_THRESHOLD_WORDS, C_STORES,
    C_DSP, C_SUM, C_SCALES,
) = range(15)  # fmt: skip
COST_FIELDS = 15


def cost_row(engine: Engine, stores: bool) -> _IntArray:
    """Returns what the cost of an engine's logic depends on, int64 (COST_FIELDS,); `stores`: its results go to DRAM."""
    return np.array(
        [
            engine.dm,
            engine.dk,
            engine.dn,
            engine.arithmetic is Arithmetic.AND,
            engine.lanes is LaneMode.BATCH,
            sum(engine.planes_per_word),
            engine.drain_lanes,
            engine.acc_bits,
            engine.levels,
            engine.window_bits,
            engine.threshold_words,
            stores,
            engine.kind is EngineKind.DSP,
            engine.sum_bits,
            engine.requant is Requant.SCALE_SHIFT,
        ],
        dtype=np.int64,
    )


def cost_rows(datapath: Datapath) -> _IntArray:
    """Returns the cost rows of all engines, int64 (engines, COST_FIELDS); the last layer's engine stores results."""
    storing = datapath.assignment[-1]
    return np.stack([cost_row(engine, e == storing) for e, engine in enumerate(datapath.engines)])


@njit(cache=True)
def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


@njit(cache=True)
def _memory_in_luts(width_bits: int, words: int, out: _IntArray) -> None:
    """Adds the features of a memory in LUTs: bits read, RAMs of 64 words, of 16 words, choice among deep ones."""
    out[0] += width_bits
    out[1] += _ceil_div(width_bits, 3) * ((words + 31) // 64)
    if 0 < words % 64 <= 32:
        out[1] += _ceil_div(width_bits, 6)
    out[2] += _ceil_div(width_bits, 4) * _ceil_div(words, 16)
    out[3] += width_bits * _ceil_div(_ceil_div(words, 64) - 1, 3)


@njit(cache=True)
def features_of(row: _IntArray, out: _IntArray) -> None:
    """Writes the feature of every term of one engine into `out`, int64 (TERMS,)."""
    dm, dk, dn, acc, drain = row[C_DM], row[C_DK], row[C_DN], row[C_ACC], row[C_DRAIN]
    stages, log_most = bit_length(row[C_LEVELS]), bit_length(row[C_PA_MASK]) - 1
    lowest = row[C_PA_MASK] & -row[C_PA_MASK]
    log_lowest = bit_length(lowest) - 1
    out[:] = 0
    if row[C_DSP] and dk >> log_most:
        values = dk >> log_most
        lane, weights = skew_bits(values, 1 << log_most)
        out[28], out[29] = dm * dn * values, dm * dn * (cascade_count(values, 1 << log_most) - 1)
        out[30], out[31] = dm * dn * acc, dn * (lane << log_most) + dm * weights
    else:
        out[0], out[1], out[2] = dm * dn * dk, dm * dn * acc, dm * dn
        out[3] = dm * dn * ((1 << log_most) - 1) * bit_length(dk) if log_most > log_lowest else 0
        out[32] = dm * dn * _REGISTERS[row[C_PA_MASK], dk]
        out[41] = dm * dn * plain_registers(dk, log_most, log_lowest)
    out[4] = dm * dn * acc
    out[5] = dm * (dn - drain) * acc
    if not row[C_BATCH]:
        out[6], out[7] = dn * dk, dk
    if row[C_SCALES] and stages:
        out[34], out[35], out[36] = drain * dm, drain * dm * stages, drain * dm * acc
        bias = min(_MOST_BIAS_BITS, acc + _MULTIPLIER_BITS + stages)
        for bits in (_MULTIPLIER_BITS, bias, 2, 2, 2, stages):  # the shift's in three
            _memory_in_luts(dm * bits, row[C_THRESHOLD_WORDS], out[37:])
    elif stages:
        out[8] = drain * dm * stages * acc
        out[9] = drain * dm * ((1 << stages) - 1 - stages) * acc
        out[10] = drain * dm * stages
        for stage in range(stages):
            width = dm * ((acc << stage) + (stage == stages - 1))  # the flip bit lies with the last stage
            _memory_in_luts(width, row[C_THRESHOLD_WORDS], out[11:])
    out[15] = dm * dk // lowest * (log_most - log_lowest)
    out[16], out[17] = dm * dk // lowest, dn * dk
    out[18], out[19] = dn, 1
    window = dn * row[C_WINDOW]
    out[20], out[21] = window if row[C_BATCH] else window // 2, window > 0
    out[27] = window * (4 if row[C_BATCH] else 3) // 3
    out[22], out[23], out[24] = drain * dk if stages else 0, drain * dm * stages, 1
    if row[C_SUM]:
        out[33] = drain * dm * max(0, 2 * row[C_SUM] - stages)
    if row[C_STORES]:
        out[25] = out[26] = drain * dm * acc


@njit(cache=True)
def thousandths_of_terms(row: _IntArray, coefficients: _IntArray) -> int:
    """Returns the sum of all terms of one engine in thousandths, as the coefficients are, int64 (TERMS,)."""
    features = np.zeros(len(coefficients), dtype=np.int64)
    features_of(row, features)
    total = np.int64(0)
    for i in range(len(coefficients)):
        total += features[i] * coefficients[i]
    return int(total)


@njit(cache=True)
def rounded_terms(thousandths: int) -> int:
    """Returns the whole LUTs or flip-flops of so many thousandths."""
    return int((thousandths + _MILLI // 2) // _MILLI)


@njit(cache=True)
def sum_of_terms(row: _IntArray, coefficients: _IntArray) -> int:
    """Returns the rounded sum of all terms of one engine; `coefficients` in thousandths, int64 (TERMS,)."""
    return rounded_terms(thousandths_of_terms(row, coefficients))


@njit(cache=True)
def lut_of_engine(rows: _IntArray, coefficients: _IntArray) -> _IntArray:
    """Returns the LUTs (or flip-flops, by the coefficients) of many engines at once.

    Args:
        rows: int64 (engines, COST_FIELDS), see `cost_row`.
        coefficients: thousandths, int64 (TERMS,), see `coefficients_for`.
    """
    out = np.empty(len(rows), dtype=np.int64)
    for i in range(len(rows)):
        out[i] = sum_of_terms(rows[i], coefficients)
    return out


@njit(cache=True)
def block_rams_of(width_bits: int, depth_words: int, geometries: _IntArray) -> int:
    """Returns the whole blocks of a memory, all of it in the one geometry that takes fewest.

    Args:
        geometries: int64 (n, 3), rows of (width, depth, halves of a block it takes), see `geometry_table`.
    """
    return int((half_blocks_of(width_bits, depth_words, geometries) + 1) // 2)


@njit(cache=True)
def half_blocks_of(width_bits: int, depth_words: int, geometries: _IntArray) -> int:
    """Returns the halves of blocks of a memory in the geometry that takes fewest, see `block_rams_of`."""
    if width_bits <= 0 or depth_words <= 0:
        return 0
    best = np.int64(2**62)
    for i in range(len(geometries)):
        halves = (
            _ceil_div(width_bits, geometries[i, 0])
            * _ceil_div(depth_words, geometries[i, 1])
            * geometries[i, 2]
        )
        best = min(best, halves)
    return int(best)


@lru_cache(maxsize=64)
def geometry_table(block_ram: BlockRam) -> _IntArray:
    """Returns the geometries of a part's block RAM as rows of (width, depth, halves), read-only."""
    whole = [(w, d, 2) for w, d in block_ram.geometries]
    half = [(w, d, 1) for w, d in block_ram.half_geometries]
    table = np.array(whole + half, dtype=np.int64)
    table.setflags(write=False)
    return table


def bram36_of_engine(engine: Engine, part: Part) -> int:
    """Returns the block RAMs of an engine's weight, feature-map and line memories."""
    table = geometry_table(part.block_ram)
    memories = (
        (engine.weight_width_bits, engine.weight_words),
        (engine.map_block_width_bits, engine.map_words),
        (engine.line_width_bits, engine.line_words),
    )
    return sum(int(block_rams_of(width, depth, table)) for width, depth in memories)


def store_bram36(datapath: Datapath, part: Part) -> int:
    """Returns the block RAMs of the store of results on their way to DRAM."""
    storing = datapath.engines[datapath.assignment[-1]]
    return int(block_rams_of(storing.item_bits, datapath.store_words, geometry_table(part.block_ram)))


def reserve_bram36(datapath: Datapath, part: Part) -> int:
    """Returns the block RAMs that no schedule can use: programs, rows of pooling, and the store of results."""
    return LOADER_BRAM36 + ENGINE_RESERVE_BRAM36 * len(datapath.engines) + store_bram36(datapath, part)


@dataclass(frozen=True, slots=True)
class CostCoefficients:
    """The coefficients of one technology on one family, in thousandths, and where they come from."""

    technology: str
    family: str
    source: str
    lut: _IntArray  # int64 (TERMS,)
    ff: _IntArray  # int64 (TERMS,)
    fixed_lut: int
    fixed_ff: int


@dataclass(frozen=True, slots=True)
class Utilization:
    """What a design takes of a part, in the part's own units."""

    lut: int
    ff: int
    bram36: int
    dsp: int


@dataclass(frozen=True, slots=True)
class Breakdown:
    """One line of the report: an engine's component, or what the datapath needs once."""

    owner: str
    component: str
    lut: int
    ff: int
    bram36: int


@lru_cache(maxsize=1)
def _all_coefficients() -> dict[tuple[str, str], CostCoefficients]:
    body = json.loads((Path(__file__).parent / "cost_coefficients.json").read_text(encoding="utf-8"))
    sets = {}
    for entry in body["sets"]:
        key = (entry["technology"], entry["family"])
        fixed = entry["lut"]["fixed"] // _MILLI, entry["ff"]["fixed"] // _MILLI
        sets[key] = CostCoefficients(*key, body["source"], _array(entry["lut"]), _array(entry["ff"]), *fixed)
    return sets


def _array(terms: Mapping[str, int]) -> _IntArray:
    array = np.array([terms.get(name, 0) for name in TERMS], dtype=np.int64)
    array.setflags(write=False)
    return array


def coefficients_for(part: Part, technology: str = "") -> CostCoefficients:
    """Returns the coefficients for a part; without a technology the cheapest RTL its family can take.

    Raises:
        ConfigError: the technology is unknown or not for this family.
    """
    sets = _all_coefficients()
    technology = technology or ("xc7" if part.family == "xc7" else "generic")
    if (technology, part.family) not in sets:
        known = [t for t, family in sets if family == part.family]
        raise ConfigError(
            f"technology {technology!r} is not for family {part.family!r}; {nearest(technology, known)}"
        )
    return sets[technology, part.family]


def cost(datapath: Datapath, part: Part, technology: str = "") -> Utilization:
    """Returns what a datapath takes of a part, loader, storer and control included."""
    rows = cost_breakdown(datapath, part, technology)
    lut, ff, bram36 = (sum(getattr(row, name) for row in rows) for name in ("lut", "ff", "bram36"))
    return Utilization(lut, ff, bram36, dsp_slices(datapath, part, technology))


def dsp_slices(datapath: Datapath, part: Part, technology: str = "") -> int:
    """Returns the DSP slices of a datapath; RTL that knows no part builds those of kind dsp from LUTs."""
    bits = operand_bits(part)
    slices = sum(int(multiplier_slices(row, bits)) for row in cost_rows(datapath))
    if coefficients_for(part, technology).technology == "generic":
        return slices
    return slices + sum(engine.dsp_slices for engine in datapath.engines)


def operand_bits(part: Part) -> int:
    """Returns the bits of an accumulator that a multiplier of one slice of a part takes."""
    return _OPERAND_BITS[part.family]


@njit(cache=True)
def value_slices(row: _IntArray) -> int:
    """Returns the DSP slices that the values of an engine of kind dsp take, see `Engine.dsp_slices`."""
    if row[C_DSP] == 0:
        return 0
    return array_slices(row[C_DM], row[C_DK] // row[C_PA_MASK], row[C_DN])


@njit(cache=True)
def multiplier_slices(row: _IntArray, operand_bits: int) -> int:
    """Returns the DSP slices of the multipliers of an engine that scales."""
    if row[C_SCALES] == 0 or row[C_LEVELS] == 0:
        return 0
    return row[C_DM] * row[C_DRAIN] * _ceil_div(row[C_ACC], operand_bits)


def cost_breakdown(datapath: Datapath, part: Part, technology: str = "") -> list[Breakdown]:
    """Returns the cost by engine and component; the lines sum up to `cost`."""
    coefficients = coefficients_for(part, technology)
    lines = []
    for i, row in enumerate(cost_rows(datapath)):
        lines += _engine_lines(f"engine {i}", datapath.engines[i], row, part, coefficients)
    reserve = reserve_bram36(datapath, part)
    lines.append(Breakdown("datapath", "fixed", coefficients.fixed_lut, coefficients.fixed_ff, reserve))
    return lines


def _engine_lines(
    owner: str, engine: Engine, row: _IntArray, part: Part, coefficients: CostCoefficients
) -> list[Breakdown]:
    lut, ff = (_by_component(row, c) for c in (coefficients.lut, coefficients.ff))
    lines = [
        Breakdown(owner, name, lut[c], ff[c], 0) for c, name in enumerate(COMPONENTS[:-1]) if lut[c] or ff[c]
    ]
    lines.append(Breakdown(owner, "memories", 0, 0, bram36_of_engine(engine, part)))
    return lines


def _by_component(row: _IntArray, coefficients: _IntArray) -> list[int]:
    """Returns whole numbers per component that add up to the rounded total."""
    features = np.zeros(len(TERMS), dtype=np.int64)
    features_of(row, features)
    sums = np.zeros(len(COMPONENTS), dtype=np.int64)
    np.add.at(sums, np.array(_COMPONENT_OF), features * coefficients)
    whole: Sequence[int] = [int(s) for s in np.diff((np.cumsum(sums) + _MILLI // 2) // _MILLI, prepend=0)]
    return list(whole)
