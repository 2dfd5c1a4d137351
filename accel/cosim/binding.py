"""What the fixed harness must know of a design: its ports, its trace records, and the modules that it repeats.

Ports are read from the Verilog text, one declaration a line or one per comma, as yosys writes them. A port
`trace{engine}_{field}` becomes a field of that engine's records; a record is kept for every cycle in which one of its
fields `write`, `tile_start` and `tile_end` is not zero.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foldwright.errors import ConfigError

__all__ = ["Binding", "TracePort", "bind", "sharing", "trace_dtype"]

_PORT = re.compile(
    r"\b(input|output)\b(?:\s+(?:wire|reg|logic))?(?:\s*\[(\d+):(\d+)\])?\s+(\w+)\s*(?=[;,)\n])"
)
_TRACE = re.compile(r"trace(\d+)_(\w+)")
_EVENTS = ("write", "tile_start", "tile_end")
_MODULE = re.compile(r"^module\s+\\?(\S+?)\s*[(#;].*?^endmodule", re.MULTILINE | re.DOTALL)
_INSTANCE = re.compile(r"^\s+(\w+)\s+\\?[\w.$\[\]]+\s+\(\s*$", re.MULTILINE)
_MANY = 8  # instances of a module in one parent from which on its code is shared
_CODE_WIDTHS = (8, 16, 32, 64)  # Verilator's own integers; wider ports are arrays of 32-bit words

_LITE = (
    "awaddr awvalid awready wdata wstrb wvalid wready bresp bvalid bready araddr arvalid arready rdata rresp rvalid "
    "rready"
)
_FULL = (
    "araddr arlen arsize arburst arvalid arready rdata rresp rlast rvalid rready awaddr awlen awsize awburst awvalid "
    "awready wdata wstrb wlast wvalid wready bresp bvalid bready"
)
_NEEDED = (
    "clk",
    "rst",
    *(f"s_axi_{name}" for name in _LITE.split()),
    *(f"m_axi_{name}" for name in _FULL.split()),
)


@dataclass(frozen=True, slots=True)
class TracePort:
    """A port that is recorded."""

    engine: int
    field: str
    bits: int

    @property
    def name(self) -> str:
        return f"trace{self.engine}_{self.field}"

    @property
    def record_bytes(self) -> int:
        """Bytes of the field in a record."""
        return next((width // 8 for width in _CODE_WIDTHS if self.bits <= width), -(-self.bits // 8))


@dataclass(frozen=True, slots=True)
class Binding:
    """The width of the DRAM port and the recorded ports, by engine and in the order of the module."""

    data_bits: int
    traces: tuple[TracePort, ...]

    @property
    def engines(self) -> int:
        return max((port.engine + 1 for port in self.traces), default=0)

    def header(self, waves: str) -> str:
        """Returns the C++ header that the harness includes; `waves` is "", "vcd" or "fst"."""
        fields = [f"    X({p.engine}, {p.name}, {p.record_bytes}) \\" for p in self.traces]
        events = [f"    X({p.engine}, {p.name}) \\" for p in self.traces if p.field in _EVENTS]
        lines = [
            '#include "Vdut.h"',
            "#define DUT Vdut",
            f"#define DATA_BITS {self.data_bits}",
            f"#define WAVES_VCD {int(waves == 'vcd')}",
            f"#define WAVES_FST {int(waves == 'fst')}",
            f"#define ENGINES {self.engines}",
            "#define TRACE_EVENTS(X) \\",
            *events,
            "",
            "#define TRACE_FIELDS(X) \\",
            *fields,
            "",
        ]
        return "\n".join(lines) + "\n"


def bind(texts: Sequence[str], top: str) -> Binding:
    """Returns the binding of the module `top`.

    Raises:
        ConfigError: the module is not there, or lacks a port of the accelerator's interface.
    """
    bodies = {match[1]: match[0] for text in texts for match in _MODULE.finditer(text)}
    if top not in bodies:
        raise ConfigError(f"the Verilog has no module {top!r}; it has {sorted(bodies)[:8]}")
    ports = {name: _bits(high, low) for _, high, low, name in _PORT.findall(bodies[top])}
    missing = [name for name in _NEEDED if name not in ports]
    if missing:
        raise ConfigError(
            f"module {top!r} lacks the ports {missing}; simulation needs an accelerator's top module"
        )
    width = ports["m_axi_rdata"]
    if width not in (32, 64) or ports["m_axi_wdata"] != width:
        raise ConfigError(
            f"module {top!r} has a DRAM port of {width} bits to read, {ports['m_axi_wdata']} to write; "
            "allowed are 32 and 64, both alike"
        )
    found = [(_TRACE.fullmatch(name), bits) for name, bits in ports.items()]
    traces = [TracePort(int(match[1]), match[2], bits) for match, bits in found if match]
    return Binding(width, tuple(sorted(traces, key=lambda port: port.engine)))


def _bits(high: str, low: str) -> int:
    return int(high) - int(low) + 1 if high else 1


def trace_dtype(binding: Binding, engine: int) -> np.dtype[Any]:
    """Returns the type of an engine's records: the cycle, then its fields; wider ones than 64 bits as bytes."""
    fields: list[Any] = [("cycle", "<u8")]
    for port in binding.traces:
        if port.engine == engine:
            size = port.record_bytes
            fields.append((port.field, f"<u{size}") if port.bits <= 64 else (port.field, "u1", (size,)))
    return np.dtype(fields)


def sharing(texts: Sequence[str]) -> str:
    """Returns the Verilator configuration that keeps one copy of the code of modules which a design repeats.

    By itself, Verilator writes the code of an array's unit once per instance, in ten times the C++.
    """
    bodies = {match[1]: match[0] for text in texts for match in _MODULE.finditer(text)}
    repeated = set()
    for body in bodies.values():
        counts = Counter(_INSTANCE.findall(body))
        repeated |= {name for name, count in counts.items() if count >= _MANY and name in bodies}
    lines = ["`verilator_config", *(f'no_inline -module "{name}"' for name in sorted(repeated))]
    return "\n".join(lines) + "\n"
