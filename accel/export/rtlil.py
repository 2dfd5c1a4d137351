"""RTLIL text of an engine, its unit written once.

Amaranth writes a module per instance, which would repeat an array's unit a hundred times and takes minutes. Here the
array instantiates the unit by name, and the unit is converted on its own.
"""

from __future__ import annotations

import re
from typing import Any

from amaranth.back import rtlil

from foldwright.accel.datapath import Engine
from foldwright.accel.rtl.array import UnitArray
from foldwright.accel.rtl.engine import PlanesEngine

__all__ = ["array_text", "engine_text"]

_TOP = re.compile(r"^attribute \\top 1\n", re.MULTILINE)


def engine_text(engine: Engine, technology: str, name: str = "top", *, reach: int = 3) -> str:
    """Returns the RTLIL of an engine with a top module `name`; the same engine always gives the same text."""
    unit = f"{name}_unit"
    return _joined(PlanesEngine(engine, technology, reach=reach, unit_module=unit), name, unit)


def array_text(engine: Engine, technology: str, name: str = "top") -> str:
    """Returns the RTLIL of an engine's array alone."""
    unit = f"{name}_unit"
    return _joined(UnitArray(engine, technology, unit), name, unit)


def _joined(component: Any, name: str, unit: str) -> str:
    whole = rtlil.convert(component, name=name, emit_src=False)
    return str(whole + _TOP.sub("", rtlil.convert(component.unit, name=unit, emit_src=False)))
