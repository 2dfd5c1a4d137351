"""Pieces of an engine that can be synthesised alone, by name: what the cost model is calibrated with."""

from __future__ import annotations

from typing import Any

from foldwright.accel.datapath import Engine, LaneMode
from foldwright.accel.rtl.aligner import Aligner
from foldwright.accel.rtl.array import UnitArray, new_unit
from foldwright.accel.rtl.core import new_result_path
from foldwright.accel.rtl.engine import PlanesEngine
from foldwright.accel.rtl.sequencer import Sequencer

__all__ = ["synthesis_tops"]


def synthesis_tops(engine: Engine, technology: str, *, reach: int = 3) -> dict[str, Any]:
    """Returns fresh components, each ready for `amaranth.back.rtlil.convert`; `result` only with levels.

    Large arrays and engines convert much faster through `foldwright.accel.export.rtlil`.
    """
    used = 1 if engine.lanes is LaneMode.BATCH else reach
    tops: dict[str, Any] = {
        "unit": new_unit(engine, technology),
        "array": UnitArray(engine, technology),
        "aligner": Aligner(engine.dn, engine.dk, used, technology),
        "sequencer": Sequencer(engine),
        "engine": PlanesEngine(engine, technology, reach=reach),
    }
    return tops | ({"result": new_result_path(engine, technology)} if engine.levels else {})
