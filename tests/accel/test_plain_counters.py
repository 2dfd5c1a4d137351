"""The registers of plain counters are those that yosys counts."""

from __future__ import annotations

import json
from pathlib import Path

from foldwright.accel.calibrate import Row, row_of_json
from foldwright.accel.datapath import EngineKind
from foldwright.accel.plain_counters import plain_registers

TABLE = Path(__file__).parents[2] / "benchmarks" / "cost_table.json"


def _plain_units() -> list[Row]:
    rows = [row_of_json(row) for row in json.loads(TABLE.read_text(encoding="utf-8"))["rows"]]
    units = [row for row in rows if row.sample.kind == "unit" and row.sample.technology == "generic"]
    return [row for row in units if row.sample.engine.kind is EngineKind.PLANES]


def test_every_plain_unit_of_the_table_has_the_registers_that_yosys_found() -> None:
    units = _plain_units()
    assert len({(row.sample.engine.dk, row.sample.engine.planes_per_word) for row in units}) > 6
    for row in units:
        engine = row.sample.engine
        most, least = (
            pa.bit_length() - 1 for pa in (max(engine.planes_per_word), min(engine.planes_per_word))
        )
        assert plain_registers(engine.dk, most, least) + engine.acc_bits == row.counts.ff, engine
