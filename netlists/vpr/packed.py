"""VPR's packed netlists (`.net`): the blocks of a device's tiles and the nets between them.

A cell is a block directly inside the whole, of the type before the bracket of its instance (`clb[3]`). What it drives are the
outputs of its innermost blocks that name a net and no connection inside it; what it reads are its own input and clock ports.
Clocks, which VPR routes on networks of their own, are left out, and so are nets that stay inside a block. Kinds of cells are
those of the tile that takes the block, groups the types of blocks.

Left out: what is inside a block, pins, directions.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from foldwright.errors import ConfigError, nearest
from foldwright.netlists.netlist import Netlist, NetlistError, build_netlist
from foldwright.netlists.vpr.arch import VprArch
from foldwright.netlists.vpr.files import parse_xml, read_bytes

__all__ = ["PackedNetlist", "read_packed"]

_INSTANCE = re.compile(r"([A-Za-z][A-Za-z0-9_]{0,63})\[(\d{1,9})\]")
_OPEN = "open"
_INSIDE = "->"  # between a pin and the interconnect that leads to it
_READS = ("inputs", "clocks")
_MOST_SHOWN = 80


@dataclass(frozen=True, slots=True)
class PackedNetlist:
    """The blocks of a packed netlist in the order of the file, and what VPR knows the file by.

    `file_id` is the sum of the file that a placement names; `block_types` are of each cell.
    """

    file_name: str
    file_id: str
    block_types: tuple[str, ...]
    netlist: Netlist

    def needed(self) -> dict[str, int]:
        """Returns how many blocks of each type there are."""
        return dict(Counter(self.block_types))


@dataclass
class _Reader:
    """What has been read so far: of the blocks around the current element only the depth counts."""

    where: str
    depth: int = 0
    section: str = ""
    is_port: bool = False
    clocks: set[str] = field(default_factory=set)
    blocks: list[tuple[str, str]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    driver: dict[str, int] = field(default_factory=dict)
    readers: dict[str, dict[int, None]] = field(default_factory=dict)

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "block":
            self.depth += 1
            self.section = ""
            if self.depth == 1 and not attributes.get("instance", "").startswith("FPGA_packed_netlist"):
                raise ConfigError(
                    f"{self.where}: the outermost block is {attributes.get('instance', '')[:_MOST_SHOWN]!r}, in a packed "
                    "netlist it is FPGA_packed_netlist[0]"
                )
            if self.depth == 2:
                self._begin_block(attributes)
        elif self.depth == 0:
            raise ConfigError(
                f"{self.where}: begins with <{tag[:_MOST_SHOWN]}>, a packed netlist begins with <block>"
            )
        elif tag in ("inputs", "outputs", "clocks"):
            self.section = tag
        self.is_port = tag == "port"

    def end(self, tag: str) -> None:
        self.is_port = False
        if tag == "block":
            self.depth -= 1
        if tag in ("block", "inputs", "outputs", "clocks"):
            self.section = ""

    def text(self, words: str) -> None:
        if self.depth == 1 and self.section == "clocks":
            self.clocks.update(words.split())
        if self.depth < 2 or not self.is_port:
            return
        block = len(self.blocks) - 1
        if self.depth == 2 and self.section in _READS:
            for net in words.split():
                if net != _OPEN:
                    self.readers.setdefault(net, {})[block] = None
        elif self.section == "outputs":
            for net in words.split():
                if net != _OPEN and _INSIDE not in net:
                    self._drive(net, block)

    def _begin_block(self, attributes: dict[str, str]) -> None:
        name, instance = attributes.get("name", ""), attributes.get("instance", "")
        found = _INSTANCE.fullmatch(instance)
        if not name or found is None:
            got = f"name {name[:_MOST_SHOWN]!r} and instance {instance[:_MOST_SHOWN]!r}"
            raise ConfigError(
                f"{self.where}: block {len(self.blocks)} has {got}; needed are a name and an instance such as clb[3]"
            )
        if name in self.names:
            raise ConfigError(
                f"{self.where}: block {name[:_MOST_SHOWN]!r} stands twice; every block needs a name of its own"
            )
        self.names.add(name)
        self.blocks.append((name, found[1]))

    def _drive(self, net: str, block: int) -> None:
        other = self.driver.setdefault(net, block)
        if other != block:
            names = " and ".join(repr(self.blocks[b][0]) for b in (other, block))
            raise ConfigError(
                f"{self.where}: net {net[:_MOST_SHOWN]!r} is driven by blocks {names}; a net has one driver"
            )


def read_packed(path: Path, arch: VprArch) -> PackedNetlist:
    """Returns the blocks and nets of a packed netlist, plain or gzipped, for the tiles of an architecture.

    Raises:
        ConfigError: the file cannot be read, is no packed netlist, a block's type has no tile, or a net has no driver.
    """
    data, where = read_bytes(path), str(path)
    reader = _Reader(where)
    parse_xml(data, where, start=reader.start, end=reader.end, text=reader.text)
    kinds = {block: arch.tile_of(block).kind for block in dict.fromkeys(kind for _, kind in reader.blocks)}
    undriven = [net for net in reader.readers if net not in reader.driver]
    if undriven:
        reads = reader.blocks[next(iter(reader.readers[undriven[0]]))][0]
        raise ConfigError(
            f"{where}: {len(undriven)} nets have no driver, the first is {undriven[0][:_MOST_SHOWN]!r}, read by block {reads!r}; "
            f"{nearest(undriven[0], list(reader.driver)[:10_000])}"
        )
    nets = (
        ({reader.driver[net], *readers}, 1)
        for net, readers in reader.readers.items()
        if net not in reader.clocks
    )
    name = path.name.removesuffix(".gz")
    try:
        netlist = build_netlist(name.removesuffix(".net"), [(n, kinds[t], t) for n, t in reader.blocks], nets)
    except NetlistError as error:
        raise ConfigError(f"{where}: {error}") from None
    file_id = "SHA256:" + hashlib.sha256(data).hexdigest()
    return PackedNetlist(name, file_id, tuple(kind for _, kind in reader.blocks), netlist)
