"""A small architecture and packed netlists by hand, in VPR's forms."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

__all__ = ["ARCH", "NET", "PLACE_HEAD", "block", "mutate", "net", "write"]

ARCH = """<architecture>
  <tiles>
    <tile name="io"><sub_tile name="io" capacity="2"><equivalent_sites><site pb_type="io"/></equivalent_sites></sub_tile></tile>
    <tile name="clb"><sub_tile name="clb"><equivalent_sites><site pb_type="clb"/></equivalent_sites></sub_tile></tile>
    <tile name="mem" height="3"><sub_tile name="mem"><equivalent_sites><site pb_type="ram"/></equivalent_sites></sub_tile></tile>
  </tiles>
  <layout><auto_layout aspect_ratio="1.0">
    <perimeter type="io" priority="100"/>
    <corners type="EMPTY" priority="101"/>
    <fill type="clb" priority="10"/>
    <col type="mem" startx="2" starty="1" repeatx="4" priority="20"/>
    <col type="EMPTY" startx="2" starty="1" repeatx="4" priority="19"/>
  </auto_layout></layout>
</architecture>
"""
"""Two blocks of IO a tile of the ring, and memories of three rows in every fourth column from the third on."""


def block(name: str, kind: str, reads: str, drives: str, clock: str = "open") -> str:
    """Returns a block of a packed netlist: what it reads, what its innermost block drives."""
    return f"""<block name="{name}" instance="{kind}" mode="m"><inputs><port name="I">{reads}</port></inputs>
<outputs><port name="O">inner[0].out[0]-&gt;x open</port></outputs><clocks><port name="clk">{clock}</port></clocks>
<block name="{name}" instance="inner[0]"><inputs><port name="in">{kind[:-3]}.I[0]-&gt;y</port></inputs>
<outputs><port name="out">{drives}</port></outputs></block></block>
"""


def net(*blocks: str) -> str:
    """Returns a packed netlist of blocks, clock `clk`."""
    head = (
        '<block name="hand.net" instance="FPGA_packed_netlist[0]"><inputs>a clk</inputs><clocks>clk</clocks>'
    )
    return head + "".join(blocks) + "</block>"


NET = net(
    block("a", "io[0]", "open", "a"),
    block("clk", "io[1]", "open", "clk"),
    block("x", "clb[2]", "a m open", "x x2", "clk"),
    block("y", "clb[3]", "x x2 a", "y", "clk"),
    block("m", "ram[4]", "y x", "m", "clk"),
    block("out:y", "io[5]", "y", "open"),
)
"""Nets: a joins a, x, y; x joins x, y, m; x2 joins x, y; y joins y, m, out:y; m joins m, x; the clock is none."""

PLACE_HEAD = "Netlist_File: hand.net Netlist_ID: {id}\nArray size: {width} x {height} logic blocks\n\n"


def write(folder: Path, name: str, text: str) -> Path:
    """Writes a file, gzipped where its name says so."""
    path = folder / name
    data = text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def mutate(rng: random.Random, data: bytes) -> bytes:
    """Returns a text with a few bytes changed, cut out, doubled or exchanged for parts of itself."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at, length = rng.randrange(len(out) + 1), rng.randint(1, 40)
        kind = rng.randrange(5)
        if kind == 0:
            out[at : at + length] = b""
        elif kind == 1:
            out[at:at] = out[at : at + length] * rng.randint(1, 4)
        elif kind == 2:
            other = rng.randrange(len(out) + 1)
            out[at : at + length] = out[other : other + rng.randint(1, 40)]
        elif kind == 3:
            out[at : at + 1] = bytes([rng.randrange(256)])
        else:
            out[at:at] = rng.choice(
                [b"<", b">", b"&", b'"', b"9999999", b"-1", b"\xff\xfe", b"[0]", b"open", b"->", b"\n"]
            )
    return bytes(out)
