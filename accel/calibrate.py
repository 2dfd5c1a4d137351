"""Fits the coefficients of `cost.py` to what yosys makes of the RTL.

A *sample* is a piece of an engine: one unit, the array with its shadow chain, the aligner, the result path, the
sequencer, or the whole engine. `measure` generates its RTL and has yosys map it, `fit` finds non-negative coefficients of least
relative error over all samples of one (technology, family), each sample explained only by the terms it contains.

Samples that are `held_out` are measured and reported, never fitted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.cost import ASSUMED_TERMS, TERMS, cost_row, features_of
from foldwright.accel.datapath import Engine
from foldwright.accel.synthesis import CellCounts, synthesise
from foldwright.errors import ConfigError, nearest
from foldwright.jsonform import from_json, plain

__all__ = [
    "TERMS_OF_KIND",
    "Row",
    "Sample",
    "features_of_sample",
    "fit",
    "measure",
    "non_negative_least_squares",
    "predict",
    "row_of_json",
    "row_to_json",
]

_Floats = npt.NDArray[np.float64]

_UNIT = ("unit.dk", "unit.acc", "unit", "unit.planes")
_ARRAY = (*_UNIT, "shadow.acc", "shadow.select")
_ALIGNER = ("aligner.bits", "aligner.lane")
_RESULT = (
    "result.acc", "result.choice", "result", "threshold.bits", "threshold.ram64", "threshold.ram16", "threshold.select",
)  # fmt: skip
_BUILT = tuple(term for term in TERMS if term not in ASSUMED_TERMS)
TERMS_OF_KIND = {
    "unit": _UNIT,
    "array": _ARRAY,
    "aligner": _ALIGNER,
    "result": _RESULT,
    "control": ("control.lane", "control"),
    "engine": _BUILT,
}
"""Which terms a kind of sample contains."""

_WEIGHT_OF_KIND = {"engine": 4.0}
"""Whole engines are what the model is for, so they weigh more than their pieces."""


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
    """Returns the features of a sample, int64 (TERMS,), zero for terms it does not contain."""
    features = np.zeros(len(TERMS), dtype=np.int64)
    engine = sample.engine
    features_of(cost_row(engine), features)
    contained = [term in TERMS_OF_KIND[sample.kind] for term in TERMS]
    return np.where(contained, features, 0)


def measure(sample: Sample, cache: Path | None = None, timeout_s: int = 600) -> CellCounts:
    """Returns what yosys maps a sample to."""
    from amaranth.back import rtlil

    text = rtlil.convert(_component(sample), name="top", emit_src=False)
    return synthesise(text, sample.family, cache=cache, timeout_s=timeout_s)


def _component(sample: Sample) -> Any:
    from foldwright.accel.rtl.aligner import Aligner
    from foldwright.accel.rtl.array import UnitArray
    from foldwright.accel.rtl.engine import PlanesEngine
    from foldwright.accel.rtl.result import ResultPath
    from foldwright.accel.rtl.sequencer import Sequencer
    from foldwright.accel.rtl.unit import Unit

    e, technology = sample.engine, sample.technology
    if sample.kind == "unit":
        return Unit(
            e.dk,
            e.acc_bits,
            arithmetic=e.arithmetic,
            planes_per_word=e.planes_per_word,
            technology=technology,
        )
    if sample.kind == "array":
        return UnitArray(e, technology)
    if sample.kind == "aligner":
        return Aligner(e.dn, e.dk, technology=technology)
    if sample.kind == "result":
        return ResultPath(e, technology)
    if sample.kind == "control":
        return Sequencer(e)
    return PlanesEngine(e, technology=technology)


def fit(samples: Sequence[Sample], measured: Sequence[int]) -> npt.NDArray[np.int64]:
    """Returns the coefficients, int64 (TERMS,) in thousandths, of least relative error over the samples."""
    features = np.array([features_of_sample(s) for s in samples], dtype=np.float64)
    counts = np.array(measured, dtype=np.float64)
    weights = np.array([_WEIGHT_OF_KIND.get(s.kind, 1.0) for s in samples]) / np.maximum(counts, 1.0)
    found = non_negative_least_squares(features * weights[:, None], counts * weights)
    return np.rint(found * 1000).astype(np.int64)


def predict(sample: Sample, counts: CellCounts, coefficients: Mapping[str, Mapping[str, int]]) -> Row:
    """Returns the row of a sample under coefficients in thousandths: `lut` and `ff`, each by term."""
    features = features_of_sample(sample)
    sums = {
        name: sum(int(f) * terms[t] for f, t in zip(features, TERMS, strict=True))
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
