"""The Verilog around the accelerator that a block design takes as a module: AXI interfaces by attribute, `aresetn`.

The core has single signals, no transaction IDs and a synchronous `rst`, active high. The wrapper's ports carry the same
names, so it only says to which interface each belongs, and inverts the reset, which must be synchronous to `aclk`. It is not
registered: the core is ready in reset, and would lose what a master sends in a cycle in which only the master is out of it.
Attributes: UG994, "Referencing RTL Modules".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from amaranth.lib.wiring import Flow

from foldwright.accel.export.design import TOP
from foldwright.accel.rtl.axi import MOST_BEATS, read_ports, write_ports
from foldwright.accel.rtl.control import LITE_ADDRESS_BITS, lite_ports
from foldwright.accel.rtl.memory_side import MemorySideParams

__all__ = ["CORE", "WRAPPER", "axi_ports", "wrapper_verilog"]

WRAPPER = f"{TOP}_axi"
"""The module that the block design refers to."""

CORE = "core"
"""The accelerator inside the wrapper."""

_LITE = "PROTOCOL AXI4LITE, DATA_WIDTH 32, ADDR_WIDTH {address}, HAS_BURST 0, HAS_LOCK 0, HAS_CACHE 0, HAS_QOS 0, HAS_REGION 0"
_FULL = (
    "PROTOCOL AXI4, DATA_WIDTH {bits}, ADDR_WIDTH 32, ID_WIDTH 0, READ_WRITE_MODE READ_WRITE, HAS_BURST 1, HAS_LOCK 0, "
    "HAS_CACHE 1, HAS_PROT 1, HAS_QOS 0, HAS_REGION 0, HAS_WSTRB 1, HAS_BRESP 1, HAS_RRESP 1, SUPPORTS_NARROW_BURST 0, "
    "NUM_READ_OUTSTANDING {outstanding}, NUM_WRITE_OUTSTANDING {outstanding}, MAX_BURST_LENGTH {beats}"
)


def axi_ports(params: MemorySideParams) -> dict[str, tuple[str, int]]:
    """Returns direction and bits of every AXI port of the core, by name."""
    members: dict[str, Any] = {f"s_axi_{name}": member for name, member in lite_ports().items()}
    master = read_ports(params.data_bits) | write_ports(params.data_bits)
    members |= {f"m_axi_{name}": member for name, member in master.items()}
    return {
        name: ("output" if member.flow is Flow.Out else "input", _bits(member))
        for name, member in members.items()
    }


def _bits(member: Any) -> int:
    shape = member.shape
    return shape if isinstance(shape, int) else int(shape.width)


def wrapper_verilog(params: MemorySideParams) -> str:
    """Returns the text of `accelerator_axi.v`."""
    ports = axi_ports(params)
    full = _FULL.format(bits=params.data_bits, outstanding=params.outstanding, beats=MOST_BEATS)
    first = {
        "s_axi": f"XIL_INTERFACENAME s_axi, {_LITE.format(address=LITE_ADDRESS_BITS)}",
        "m_axi": f"XIL_INTERFACENAME m_axi, {full}",
    }
    lines = [
        f"// {WRAPPER}: the accelerator with interfaces that a block design knows, and a reset that is active low.",
        f"module {WRAPPER} (",
        '  (* X_INTERFACE_INFO = "xilinx.com:signal:clock:1.0 aclk CLK" *)',
        '  (* X_INTERFACE_PARAMETER = "XIL_INTERFACENAME aclk, ASSOCIATED_BUSIF s_axi:m_axi, ASSOCIATED_RESET aresetn" *)',
        "  input wire aclk,",
        '  (* X_INTERFACE_INFO = "xilinx.com:signal:reset:1.0 aresetn RST" *)',
        '  (* X_INTERFACE_PARAMETER = "XIL_INTERFACENAME aresetn, POLARITY ACTIVE_LOW" *)',
        "  input wire aresetn,",
        ",\n".join(_declarations(ports, first)),
        ");",
        f"  {TOP} {CORE} (",
        ",\n".join(["    .clk(aclk)", "    .rst(~aresetn)", *(f"    .{name}({name})" for name in ports)]),
        "  );",
        "endmodule",
    ]
    return "\n".join(lines) + "\n"


def _declarations(ports: dict[str, tuple[str, int]], parameters: dict[str, str]) -> Iterator[str]:
    """Yields a port with its attributes; the first of an interface carries what holds for all."""
    left = dict(parameters)
    for name, (direction, bits) in ports.items():
        interface, signal = name[:5], name[6:].upper()
        parameter = left.pop(interface, "")
        text = f'  (* X_INTERFACE_PARAMETER = "{parameter}" *)\n' if parameter else ""
        text += f'  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 {interface} {signal}" *)\n'
        yield text + f"  {direction} wire {f'[{bits - 1}:0] ' if bits > 1 else ''}{name}"
