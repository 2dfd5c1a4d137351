"""Everything an accelerator needs besides its RTL: programs, constants in DRAM, registers, and how to read results.

DRAM, behind the weights base: the loader's program, then programs, weights and thresholds of the engines, and the weights
of each layer whose weights stream. Images lie round by round, `batch_frames` frames each; results one behind the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.accel.datapath import LaneMode
from foldwright.accel.export.dram import image_bytes, packed_words
from foldwright.accel.export.executor import Tokens, executor_words, tokens_of
from foldwright.accel.export.fitting import fitted
from foldwright.accel.export.hardware import hardware_of, items_of_round, with_loader_words
from foldwright.accel.export.loading import Section, constants_of, image_frame_bytes, loading_words
from foldwright.accel.images import Tile, block_channels
from foldwright.accel.layout import AcceleratorLayout
from foldwright.accel.rtl.accelerator import AcceleratorShape
from foldwright.accel.rtl.loader_program import PLACE_BITS
from foldwright.accel.rtl.program import WORD_BITS
from foldwright.accel.rtl.registers import Register
from foldwright.accel.workload import ResultKind
from foldwright.accel.writer_program import stored_rows
from foldwright.errors import ConfigError

__all__ = ["Package", "package"]

Int64s = npt.NDArray[np.int64]
_ALIGN_BYTES = 4096
_WATCHDOG_CYCLES = 200_000
_REACH_WORDS = 1 << PLACE_BITS
"""Words of a memory that the loader can address."""


@dataclass(frozen=True, eq=False)
class Package:
    """See the module's text. `programs` are the engines', `loader` the loader's words."""

    layout: AcceleratorLayout
    hardware: AcceleratorShape
    dram_bits: int
    tokens: Tokens
    programs: Mapping[int, list[int]]
    loader: list[int]
    sections: tuple[Section, ...]

    @cached_property
    def constants(self) -> bytes:
        """What lies behind the weights base."""
        body = bytearray(packed_words(self.loader, WORD_BITS, WORD_BITS))
        for section in self.sections:
            body += bytes(section.offset - len(body)) + section.body
        return bytes(body)

    @property
    def batch_frames(self) -> int:
        return self.layout.datapath.batch_frames

    @property
    def round_bytes(self) -> int:
        """Bytes of a round's images."""
        return self.batch_frames * image_frame_bytes(self.layout, self.dram_bits)

    @property
    def item_bytes(self) -> int:
        """Bytes of a result item in DRAM."""
        bits = self.hardware.engines[self.hardware.storing].writer.store_bits
        return -(-bits // self.dram_bits) * self.dram_bits // 8

    @property
    def code_bits(self) -> int:
        """Bits of a code of the last layer."""
        return self.hardware.engines[self.hardware.storing].writer.result_bits

    @property
    def lowest_result(self) -> int:
        """What the code 0 of the last layer stands for."""
        return self.layout.lowest_of(self.layout.layers[-1])

    @property
    def items_of_round(self) -> int:
        return items_of_round(self.layout, self.layout.layers[-1])

    def addresses(self, rounds: int) -> dict[str, int]:
        """Returns byte addresses of constants, images and results, and the bytes of all."""
        image = _aligned(len(self.constants))
        result = image + _aligned(rounds * self.round_bytes)
        end = result + _aligned(rounds * self.items_of_round * self.item_bytes)
        return {"weights": 0, "image": image, "result": result, "end": end}

    def registers(self, rounds: int, base: int = 0) -> dict[Register, int]:
        """Returns what the host sets before it starts `rounds` rounds."""
        at = self.addresses(rounds)
        return {
            Register.ROUNDS: rounds,
            Register.WEIGHTS_BASE: base + at["weights"],
            Register.IMAGE_BASE: base + at["image"],
            Register.ROUND_BYTES: self.round_bytes,
            Register.OUTPUT_BASE: base + at["result"],
            Register.ITEMS_PER_ROUND: self.items_of_round,
            Register.ITEMS_PER_TOKEN: self.items_of_round,
            Register.STORE_TOKEN: self.tokens.results_free,
            Register.PROGRAM_ADDRESS: base + at["weights"],
            Register.PROGRAM_LENGTH: len(self.loader),
            Register.WATCHDOG: _WATCHDOG_CYCLES,
        }

    def images(self, frames: npt.NDArray[np.integer[Any]]) -> bytes:
        """Returns stored images (frames, C, H, W) as they lie in DRAM; the last round is filled up with zeros."""
        body = image_bytes(self.layout.layers[0], frames, self.dram_bits)
        return body + bytes(-len(body) % self.round_bytes)

    def results(self, body: bytes, frames: int) -> Int64s:
        """Returns the values of the last layer, (frames, channels, H, W), from the bytes of whole rounds."""
        last = self.layout.layers[-1]
        layer, engine, encoding = last.entry.layer, last.encoding.engine, last.encoding
        rounds = -(-frames // self.batch_frames)
        bits = engine.acc_bits if layer.result is ResultKind.RAW else self.code_bits
        lanes = engine.drain_lanes * engine.dm
        items = np.frombuffer(body, np.uint8).reshape(rounds, self.items_of_round, self.item_bytes)
        planes = np.unpackbits(items, axis=2, bitorder="little")[:, :, : lanes * bits]
        values = (planes.reshape(rounds, -1, lanes, bits).astype(np.int64) << np.arange(bits)).sum(axis=3)
        ordered = np.zeros(
            (rounds * self.batch_frames, last.blocks * engine.dm, layer.stored_height, layer.stored_width),
            dtype=np.int64,
        )
        at = 0
        for cut in last.order:
            top, bottom = (stored_rows(layer, row) for row in cut.rows)
            size = (
                self.items_of_round * (bottom - top) * cut.blocks_count // (layer.stored_height * last.blocks)
            )
            first = cut.first_block
            places = slice(first * engine.dm, (first + cut.blocks_count) * engine.dm)
            if size:
                part = self._by_frame(values[:, at : at + size], cut.blocks_count, bottom - top)
                ordered[:, places, top:bottom] = part
            at += size
        ordered = ordered[:frames]
        channels = np.concatenate(block_channels(encoding, Tile.whole(encoding)))
        out = np.empty((len(ordered), layer.out_channels, *ordered.shape[2:]), dtype=np.int64)
        out[:, channels[channels >= 0]] = ordered[:, channels >= 0]
        if layer.result is not ResultKind.RAW:
            return self.lowest_result + last.entry.step * out
        low = encoding.raw_of(last.seen.acc_min, last.seen.weights)[:, None, None]
        whole = low + (out - low) % (1 << bits)
        return encoding.value_of(whole.transpose(1, 0, 2, 3), last.seen.weights).transpose(1, 0, 2, 3)

    def _by_frame(self, values: Int64s, blocks: int, rows: int) -> Int64s:
        """Orders items (rounds, items, lanes * dm) of a tile as (frames, blocks * dm, rows, W)."""
        last = self.layout.layers[-1]
        layer, engine = last.entry.layer, last.encoding.engine
        size = (rows, layer.stored_width)
        rounds, batch = len(values), self.batch_frames
        if engine.lanes is LaneMode.COLUMN:
            shaped = values.reshape(rounds, blocks, batch, *size, engine.dm)
            return shaped.transpose(0, 2, 1, 5, 3, 4).reshape(rounds * batch, -1, *size)
        r = engine.drain_lanes
        groups = [-(-min(engine.dn, batch - low) // r) for low in range(0, batch, engine.dn)]
        shaped = values.reshape(rounds, blocks, -1, r, engine.dm)
        parts, at = [], 0
        for k, count in enumerate(groups):
            taken = size[0] * size[1] * count
            part = shaped[:, :, at : at + taken].reshape(rounds, blocks, *size, count * r, engine.dm)
            parts.append(part[..., : min(engine.dn, batch - k * engine.dn), :])
            at += taken
        whole = np.concatenate(parts, axis=4)  # (rounds, blocks, H, W, frames, dm)
        return whole.transpose(0, 4, 1, 5, 2, 3).reshape(rounds * batch, -1, *size)


def package(
    layout: AcceleratorLayout, dram_bits: int, *, hardware: AcceleratorShape | None = None
) -> Package:
    """Returns the package of a layout.

    Args:
        hardware: what it will run on; None for hardware of its own.

    Raises:
        ConfigError: an engine cannot write what another reads, or the hardware does not fit.
    """
    tokens, own = tokens_of(layout), hardware is None
    if hardware is None:
        hardware = hardware_of(layout, dram_bits)
    else:
        layout = fitted(layout, hardware)
    programs = {e: executor_words(layout, e, shape, tokens) for e, shape in enumerate(hardware.engines)}
    loader: list[int] = []
    sections: list[Section] = []
    size = 0
    while not loader or _aligned(4 * len(loader)) != size:  # the sections lie behind the loader's program
        size = max(size, _aligned(4 * len(loader)))
        sections = constants_of(layout, programs, dram_bits, offset=size)
        loader = loading_words(layout, sections, tokens, dram_bits)
    if own:
        hardware = with_loader_words(hardware, len(loader))
    _check_programs(hardware, programs, loader, dram_bits)
    return Package(layout, hardware, dram_bits, tokens, programs, loader, tuple(sections))


def _check_programs(
    hardware: AcceleratorShape, programs: Mapping[int, list[int]], loader: list[int], dram_bits: int
) -> None:
    rooms = [
        (f"the program of engine {e}", len(words), hardware.engines[e].program_words)
        for e, words in programs.items()
    ]
    rooms += [
        (f"the weight memory of engine {e}", shape.engine.weight_words, _REACH_WORDS)
        for e, shape in enumerate(hardware.engines)
    ]
    rooms.append(("the loader's program", len(loader), hardware.memory.program_words))
    wrong = [f"{name} has {words} words, allowed 1..{most}" for name, words, most in rooms if words > most]
    if hardware.memory.data_bits != dram_bits:
        wrong.append(f"the DRAM port is {hardware.memory.data_bits} bits wide, not {dram_bits}")
    if wrong:
        raise ConfigError("accelerator: " + "; ".join(wrong))


def _aligned(size: int) -> int:
    return -(-size // _ALIGN_BYTES) * _ALIGN_BYTES
