"""Fills the host's driver with the numbers of one network: registers, image layout, how results are read.

The driver is `host_driver.py`, whose source is copied with the part between its marks replaced. A pixel of the image is a
list of bits, each a plane of a channel or 0; a value of a result stands at `frame start + channel place + pixel * step`
among the values of its round. Both tables are asked of `Package`'s own functions and shapes.
"""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.datapath import LaneMode
from foldwright.accel.export.dram import image_bytes, pixel_bytes
from foldwright.accel.export.package import Package
from foldwright.accel.images import Tile, block_channels
from foldwright.accel.layout import LayerLayout, Source
from foldwright.accel.rtl.registers import IDENTITY, VERSION, Command, ErrorCause, Register, Status
from foldwright.accel.workload import ActKind, ResultKind
from foldwright.errors import ConfigError

__all__ = ["ERROR_DETAILS", "REGISTERS_BASE", "REGISTERS_SPAN", "driver_source", "network_numbers"]

REGISTERS_BASE = 0x43C0_0000
"""Where the block design puts the registers: the first address that the vendor's tool gives an AXI4-Lite slave behind GP0."""

REGISTERS_SPAN = 4096

ERROR_DETAILS = {
    ErrorCause.LOADER_INSTRUCTION: "field << 24 | place (0xff: program empty or too long)",
    ErrorCause.ENGINE_INSTRUCTION: "a bit for each engine",
    ErrorCause.TOKEN: "token that overflowed",
    ErrorCause.WATCHDOG: "rounds done",
    ErrorCause.READ: "address of the burst",
    ErrorCause.WRITE: "items that had left for DRAM",
    ErrorCause.STORE_OVERFLOW: "items that had left for DRAM",
    ErrorCause.WRITER: "a bit for each engine",
}
"""What `Register.ERROR_DETAIL` holds for each cause."""

_PER_RUN = {
    Register.ROUNDS,
    Register.WEIGHTS_BASE,
    Register.IMAGE_BASE,
    Register.OUTPUT_BASE,
    Register.PROGRAM_ADDRESS,
}
_BEGIN, _END = "# --- numbers of the network: begin ---\n", "# --- numbers of the network: end ---\n"
_HEXADECIMAL = {"REGISTERS_BASE", "IDENTITY"}
_LINE = 100


def driver_source(package: Package) -> str:
    """Returns the driver as Python text."""
    text = Path(__file__).with_name("host_driver.py").read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    template, _, after = rest.partition(_END)
    numbers = network_numbers(package)
    lines = []
    for declaration in re.findall(r"^(\w+)(: [^=]+)? = (?:[^#\n]*)(#.*)?$", template, re.MULTILINE):
        name, kind, comment = declaration
        value = _literal(name, numbers.pop(name))
        above, behind = (f"{comment}\n", "") if "\n" in value else ("", f"  {comment}")
        lines.append(f"{above if comment else ''}{name}{kind} = {value}{behind if comment else ''}\n")
    assert not numbers, f"no place in the driver for {sorted(numbers)}"
    return before + _BEGIN + "".join(lines) + _END + after


def network_numbers(package: Package) -> dict[str, Any]:
    """Returns what stands between the driver's marks, by name.

    Raises:
        ConfigError: results come tile of rows by tile of rows, which the driver does not sort.
    """
    first, last = package.layout.layers[0], package.layout.layers[-1]
    if last.tiles > 1:
        raise ConfigError(
            f"layer {last.name!r} leaves its results in {last.tiles} tiles of rows; the host driver needs one"
        )
    true, stored = first.entry.layer, last.entry.layer
    fixed = {r.name: value for r, value in package.registers(1).items() if r not in _PER_RUN}
    return {
        "NETWORK": package.layout.network.name,
        "REGISTERS_BASE": REGISTERS_BASE,
        "REGISTERS_SPAN": REGISTERS_SPAN,
        "IDENTITY": IDENTITY,
        "VERSION": VERSION,
        "REGISTERS": {register.name: int(register) for register in Register},
        "COMMAND": {str(bit.name): int(bit) for bit in Command},
        "STATUS": {str(bit.name): int(bit) for bit in Status},
        "ERRORS": {
            int(c): (c.name.lower(), ERROR_DETAILS[c]) for c in ErrorCause if c is not ErrorCause.NONE
        },
        "SETTINGS": fixed,
        "BATCH_FRAMES": package.batch_frames,
        "ROUND_BYTES": package.round_bytes,
        "FRAME_SHAPE": (true.in_channels, true.in_height, true.in_width),
        "ACT_BITS": true.act_bits,
        "ACT_RANGE": _act_range(first),
        "ACT_OFFSET": _act_offset(first),
        "ACT_SCALE": first.encoding.act_scale,
        "PIXEL_BITS": _pixel_bits(package),
        "RESULT_SHAPE": (stored.out_channels, stored.stored_height, stored.stored_width),
        "ITEMS_PER_ROUND": package.items_of_round,
        "ITEM_BYTES": package.item_bytes,
        **_places(package, last),
        **_scale(last, package.lowest_result),
    }


def _literal(name: str, value: Any) -> str:
    if isinstance(value, dict):
        body = "".join(f"    {_plain(key)}: {_entry(name, entry)},\n" for key, entry in value.items())
        return f"{{\n{body}}}"
    if isinstance(value, list):
        body = textwrap.indent("\n".join(textwrap.wrap(", ".join(map(str, value)), _LINE)), "    ")
        return f"[\n{body}\n]"
    return f"{value:#x}" if name in _HEXADECIMAL else _plain(value)


def _plain(value: Any) -> str:
    """Returns a number, text or tuple of them as Python text with double quotes."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_plain, value))})"
    return json.dumps(value)


def _entry(name: str, value: Any) -> str:
    return f"{value:#04x}" if name == "REGISTERS" else _plain(value)


def _act_offset(first: LayerLayout) -> int:
    """Returns what is taken off an activation before its bits are read; a window keeps two's complement."""
    true = first.entry.layer
    if first.source is Source.WINDOW:
        return -1 if true.act_kind is ActKind.BIPOLAR else 0
    return first.encoding.act_offset


def _act_range(first: LayerLayout) -> tuple[int, int]:
    bits, kind = first.entry.layer.act_bits, first.entry.layer.act_kind
    if kind is ActKind.BIPOLAR:
        return -1, 1
    low = -(1 << bits - 1) if kind is ActKind.SIGNED else 0
    return low, low + (1 << bits) - 1


def _pixel_bits(package: Package) -> list[int]:
    """Returns the table of a pixel's bits: images of one pixel with one stored bit each tell where it goes."""
    first = package.layout.layers[0]
    channels, bits = first.entry.layer.in_channels, first.entry.layer.act_bits
    low, high = _act_range(first)
    planes = 1 << np.arange(bits)
    values = _act_offset(first) + first.encoding.act_scale * planes
    values[values > high] -= high + 1 - low  # two's complement
    zero = _act_offset(first)
    probes = np.full((channels * bits, channels, 1, 1), zero, dtype=np.int64)
    for row in range(len(probes)):
        probes[row, row // bits] = values[row % bits]
    octets = np.frombuffer(image_bytes(first, probes, package.dram_bits), dtype=np.uint8)
    width = pixel_bytes(first, package.dram_bits)
    seen = np.unpackbits(octets.reshape(len(probes), width), axis=1, bitorder="little")
    assert (seen.sum(axis=1) == 1).all(), "every stored bit has one place"
    return [int(x) for x in np.where(seen.any(axis=0), seen.argmax(axis=0), -1)]


def _places(package: Package, last: LayerLayout) -> dict[str, Any]:
    """Returns where each frame's and channel's values stand among those of a round; the order of `Package.results`."""
    layer, engine = last.entry.layer, last.encoding.engine
    batch, pixels, dm = (
        package.batch_frames,
        layer.stored_height * layer.stored_width,
        last.encoding.engine.dm,
    )
    starts, steps = [], []
    at = 0
    if engine.lanes is LaneMode.COLUMN:
        starts, steps = [f * pixels * dm for f in range(batch)], [dm] * batch
        at = batch * pixels * dm
    else:
        for low in range(0, batch, engine.dn):
            lanes = min(engine.dn, batch - low)
            step = -(-lanes // engine.drain_lanes) * engine.drain_lanes * dm
            starts += [at + lane * dm for lane in range(lanes)]
            steps += [step] * lanes
            at += pixels * step
    channels = np.concatenate(block_channels(last.encoding, Tile.whole(last.encoding)))
    place = np.zeros(layer.out_channels, dtype=np.int64)
    rows = np.flatnonzero(channels >= 0)
    place[channels[rows]] = rows // dm * at + rows % dm
    return {
        "ITEM_VALUES": engine.drain_lanes * dm,
        "VALUE_BITS": engine.acc_bits if layer.result is ResultKind.RAW else package.code_bits,
        "FRAME_START": starts,
        "FRAME_STEP": steps,
        "CHANNEL_PLACE": place.tolist(),
    }


def _scale(last: LayerLayout, lowest: int) -> dict[str, Any]:
    """Returns what turns stored results into values: those of a channel are linear in its accumulator or code."""
    channels, encoding = last.entry.layer.out_channels, last.encoding
    none = [0] * channels
    if last.entry.layer.result is not ResultKind.RAW:
        base = [lowest] * channels
        return {
            "RESULT_LOW": none,
            "RESULT_MINUS": none,
            "RESULT_SHIFT": base,
            "RESULT_SCALE": int(last.entry.step),
            "RESULT_DIVISOR": 1,
        }
    minus, shift = encoding.corrections(last.seen.weights)
    return {
        "RESULT_LOW": _ints(encoding.raw_of(last.seen.acc_min, last.seen.weights)),
        "RESULT_MINUS": _ints(minus),
        "RESULT_SHIFT": _ints(shift),
        "RESULT_SCALE": encoding.act_scale,
        "RESULT_DIVISOR": encoding.weight_code.divisor,
    }


def _ints(values: npt.NDArray[Any]) -> list[int]:
    return [int(x) for x in values]
