"""Fits the coefficients of `cost.py` to what yosys makes of the RTL.

A *sample* is a piece of an accelerator: one unit, the array with its shadow chain, the aligner, a result path of thresholds or
one that scales, the sequencer, the writer, the window, what stands between engines and DRAM, or a whole accelerator of one
engine. `measure` generates its RTL and has yosys map it, `fit` finds non-negative coefficients of least relative error over all
samples of one (technology, family), each sample explained only by the terms it contains.

Samples that are `held_out` are measured and reported, never fitted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import TERMS, cost_row, features_of
from foldwright.accel.datapath import Arithmetic, Engine, LaneMode
from foldwright.accel.synthesis import CellCounts, synthesise
from foldwright.errors import ConfigError, nearest
from foldwright.jsonform import from_json, plain

if TYPE_CHECKING:
    from foldwright.accel.rtl.accelerator import AcceleratorShape
    from foldwright.accel.rtl.window import WindowShape

__all__ = [
    "FITTED_TERMS",
    "TERMS_OF_KIND",
    "Row",
    "Sample",
    "accelerator_of",
    "features_of_sample",
    "fit",
    "measure",
    "non_negative_least_squares",
    "popcount_registers",
    "predict",
    "row_of_json",
    "row_to_json",
]

_Floats = npt.NDArray[np.float64]

_UNIT = ("unit.dk", "unit.acc", "unit", "unit.planes", "unit.registers", "unit.plain")
_ARRAY = (*_UNIT, "shadow.acc", "shadow.select", "dsp.value", "dsp.ends", "dsp.acc", "dsp.skew")
_ALIGNER = ("aligner.bits", "aligner.lane")
_RESULT = (
    "result.acc", "result.choice", "result", "threshold.bits", "threshold.ram64", "threshold.ram16", "threshold.select",
)  # fmt: skip
_SCALE = ("scale", "scale.code", "scale.acc", "scale.bits", "scale.ram64", "scale.ram16", "scale.select")
_WRITER = ("writer.word", "writer.code", "writer", "writer.item", "writer.sum")
FITTED_TERMS = (*TERMS, "fixed")
"""The terms of an engine, then what an accelerator needs once."""
TERMS_OF_KIND = {
    "unit": _UNIT,
    "array": _ARRAY,
    "aligner": _ALIGNER,
    "result": _RESULT,
    "control": ("control.lane", "control"),
    "scale": _SCALE,
    "writer": _WRITER,
    "window": ("window.bits", "window", "window.registers"),
    "memory": ("store.bits", "fixed"),
    "accelerator": FITTED_TERMS,
}
"""Which terms a kind of sample contains."""

_WEIGHT_OF_KIND = {"accelerator": 4.0}
"""Whole accelerators are what the model is for, so they weigh more than their pieces."""

_DRAM_BITS = 32
_PIXEL_BITS = 8
_OWN_WORDS, _INBOX_WORDS, _POOL_WORDS, _PROGRAM_WORDS = 512, 1024, 128, 512
_ITEM_WORDS, _TOKENS, _REACH = 512, 12, 3


@dataclass(frozen=True, slots=True)
class Sample:
    """One piece of RTL to be measured. `technology` is that of the RTL, `family` that of the part."""

    kind: str
    engine: Engine
    technology: str
    family: str
    held_out: bool = False

    def __post_init__(self) -> None:
        if self.kind not in TERMS_OF_KIND:
            raise ConfigError(f"no sample is of kind {self.kind!r}; {nearest(self.kind, TERMS_OF_KIND)}")


@dataclass(frozen=True, slots=True)
class Row:
    """A sample with what yosys counted and what the model says."""

    sample: Sample
    counts: CellCounts
    lut: int
    ff: int

    @property
    def lut_error_percent(self) -> float:
        return 100.0 * (self.lut - self.counts.lut) / self.counts.lut

    @property
    def ff_error_percent(self) -> float:
        return 100.0 * (self.ff - self.counts.ff) / self.counts.ff


def features_of_sample(sample: Sample) -> npt.NDArray[np.int64]:
    """Returns the features of a sample, int64 (FITTED_TERMS,), zero for terms it does not contain."""
    features = np.ones(len(FITTED_TERMS), dtype=np.int64)
    features_of(cost_row(sample.engine, stores=True), features[:-1])
    contained = [term in TERMS_OF_KIND[sample.kind] for term in FITTED_TERMS]
    others = (
        "unit.plain" if sample.technology == "xc7" else "unit.registers"
    )  # the registers of the other counters
    contained[FITTED_TERMS.index(others)] = False
    return np.where(contained, features, 0)


def popcount_registers(dk: int, planes_per_word: Sequence[int]) -> int:
    """Returns the registers of a hand-mapped popcount, from its netlist."""
    from foldwright.accel.rtl.popcount import MappedPopcount

    return MappedPopcount(dk, Arithmetic.XNOR, planes_per_word).net.registers


def measure(sample: Sample, cache: Path | None = None, timeout_s: int = 1800) -> CellCounts:
    """Returns what yosys maps a sample to."""
    from amaranth.back import rtlil

    if sample.kind == "accelerator":
        from foldwright.accel.export.design import accelerator_rtlil

        text = accelerator_rtlil(accelerator_of(sample.engine), sample.technology, name="top")
    else:
        text = rtlil.convert(_component(sample), name="top", emit_src=False)
    return synthesise(text, sample.family, cache=cache, timeout_s=timeout_s)


def accelerator_of(engine: Engine) -> AcceleratorShape:
    """Returns the accelerator of one engine that is measured: both maps, pooling, a window where the engine has one."""
    from foldwright.accel.export.fitting import Room, roomy_hardware
    from foldwright.accel.stored_tensors import FROM_LOADER

    room = Room(
        own_words=_OWN_WORDS,
        inbox_words=_INBOX_WORDS,
        line_words=max(1, engine.line_words),
        weight_words=engine.weight_words,
        threshold_words=engine.threshold_words,
        pool_words=_POOL_WORDS,
        program_words=_PROGRAM_WORDS,
        item_depth=_ITEM_WORDS,
        tokens=_TOKENS,
        reach=_REACH,
    )
    fillers = () if engine.window_bits else (FROM_LOADER,)
    window = _window_of(engine) if engine.window_bits else None
    return roomy_hardware((engine,), (fillers,), storing=0, window=window, dram_bits=_DRAM_BITS, room=room)


def _window_of(engine: Engine) -> WindowShape:
    """Returns a window of square kernels, stride 1, of the engine's bits; pixels have 8-bit channels where they can."""
    from foldwright.accel.rtl.window import WindowShape

    side = isqrt(engine.window_bits // engine.line_bits)
    act_bits = _PIXEL_BITS if engine.line_bits % _PIXEL_BITS == 0 else engine.line_bits
    return WindowShape(
        channels=engine.line_bits // act_bits,
        act_bits=act_bits,
        kernel=(side, side),
        stride=(1, 1),
        pad_left=side // 2,
        dk=engine.dk,
        pa=max(engine.planes_per_word),
        dn=engine.dn,
        is_batch=engine.lanes is LaneMode.BATCH,
        line_words=engine.line_words,
    )


def _component(sample: Sample) -> Any:
    from foldwright.accel.rtl.aligner import Aligner
    from foldwright.accel.rtl.array import UnitArray, new_unit
    from foldwright.accel.rtl.core import new_result_path
    from foldwright.accel.rtl.memory_side import MemorySide
    from foldwright.accel.rtl.sequencer import Sequencer
    from foldwright.accel.rtl.window import Window
    from foldwright.accel.rtl.writer import Writer

    e, technology = sample.engine, sample.technology
    if sample.kind == "unit":
        return new_unit(e, technology)
    if sample.kind == "array":
        return UnitArray(e, technology)
    if sample.kind == "aligner":
        return Aligner(e.dn, e.dk, technology=technology)
    if sample.kind in ("result", "scale"):
        return new_result_path(e, technology)
    if sample.kind == "window":
        return Window(_window_of(e))
    shape = accelerator_of(e)
    if sample.kind == "writer":
        return Writer(shape.engines[0].writer)
    if sample.kind == "memory":
        return MemorySide(shape.memory)
    return Sequencer(shape.engines[0].engine, _PROGRAM_WORDS, shape.engines[0].extra_widths)


def fit(
    samples: Sequence[Sample], measured: Sequence[int], known: Mapping[str, int] | None = None
) -> npt.NDArray[np.int64]:
    """Returns the coefficients, int64 (FITTED_TERMS,) in thousandths, of least relative error over the samples.

    Args:
        known: coefficients that are taken as they are, in thousandths, where the samples cannot tell terms apart.
    """
    features = np.array([features_of_sample(s) for s in samples], dtype=np.float64)
    counts = np.array(measured, dtype=np.float64)
    weights = np.array([_WEIGHT_OF_KIND.get(s.kind, 1.0) for s in samples]) / np.maximum(counts, 1.0)
    given = np.zeros(len(FITTED_TERMS))
    for term, value in (known or {}).items():
        given[FITTED_TERMS.index(term)] = value / 1000
    rest, left = np.where(given > 0, 0.0, features), counts - features @ given
    found = given + non_negative_least_squares(rest * weights[:, None], left * weights)
    return np.rint(found * 1000).astype(np.int64)


def predict(sample: Sample, counts: CellCounts, coefficients: Mapping[str, Mapping[str, int]]) -> Row:
    """Returns the row of a sample under coefficients in thousandths: `lut` and `ff`, each by term."""
    features = features_of_sample(sample)
    sums = {
        name: sum(int(f) * terms[t] for f, t in zip(features, FITTED_TERMS, strict=True))
        for name, terms in coefficients.items()
    }
    return Row(sample, counts, lut=(sums["lut"] + 500) // 1000, ff=(sums["ff"] + 500) // 1000)


def row_to_json(row: Row) -> dict[str, Any]:
    """Returns a row as plain data, errors included for the reader."""
    errors = {"lut_error_percent": row.lut_error_percent, "ff_error_percent": row.ff_error_percent}
    return {**plain(row), **{name: round(value, 2) for name, value in errors.items()}}


def row_of_json(body: Mapping[str, Any]) -> Row:
    """Returns the row that `row_to_json` wrote."""
    fields = {name: value for name, value in body.items() if not name.endswith("_error_percent")}
    return from_json(Row, json.dumps(fields), "row of the cost table")


def non_negative_least_squares(a: _Floats, b: _Floats) -> _Floats:
    """Returns the x >= 0 that minimises |a x - b| (Lawson and Hanson, Solving Least Squares Problems, 1974)."""
    scale = np.linalg.norm(a, axis=0)
    scale[scale == 0] = 1.0
    a = a / scale
    x, free = np.zeros(a.shape[1]), np.zeros(a.shape[1], dtype=bool)
    for _ in range(10 * len(x)):
        slope = a.T @ (b - a @ x)
        slope[free] = 0
        if slope.max(initial=0) <= 1e-10 * np.abs(b).max(initial=1):
            break
        free[slope.argmax()] = True
        x = _freed(a, b, x, free)
    return np.asarray(x / scale)


def _freed(a: _Floats, b: _Floats, x: _Floats, free: npt.NDArray[np.bool_]) -> _Floats:
    """Moves x to the optimum over its free entries, binding those that would turn negative on the way."""
    while True:
        goal = np.zeros_like(x)
        goal[free] = np.linalg.lstsq(a[:, free], b, rcond=None)[0]
        falling = free & (goal <= 0)
        if not falling.any():
            return goal
        step = (x[falling] / (x[falling] - goal[falling])).min()
        x = x + step * (goal - x)
        free &= x > 1e-12
        x[~free] = 0
