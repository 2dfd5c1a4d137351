"""What the loader puts into memories equals a plain model of its transfers; tokens, rounds and errors come when they must."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import Component, In, Out
from amaranth.sim import Simulator

from foldwright.accel.rtl.loader import Loader
from foldwright.accel.rtl.loader_place import Assembler
from foldwright.accel.rtl.loader_program import (
    Instruction,
    Jump,
    Label,
    LoaderField,
    Statement,
    Transfer,
    loader_words,
    text_of,
)
from foldwright.errors import ConfigError
from tests.accel.rtl.axi_memory import AxiMemory, put_words

F = LoaderField
PROGRAM, WEIGHTS, IMAGES, ROUND_BYTES = 0x7FF0, 0x10_0000, 0x200_0000, 0x4000
MEMORIES = 4
Key = tuple[int, int, int]  # memory, address, lane


def expected_words(
    transfer: Transfer, memory: AxiMemory, data_bits: int, image: int = IMAGES
) -> list[tuple[Key, int]]:
    """Follows the definition of a transfer, word by word, in the order in which they are written."""
    t, size = transfer, data_bits // 8
    out = []
    base = t.source + (image if t.image else WEIGHTS)
    row_beats = t.pixels * t.words * t.beats
    for frame in range(t.frames):
        for row in range(t.rows):
            source = base + frame * t.frame_bytes + row * (t.row_bytes or row_beats * size)
            turn = t.lane_start + frame
            for x in range(t.pixels):
                position = t.phase_start + x
                group, lane = divmod(t.lane_start + position // t.stride, t.lanes)
                steps = position // t.stride
                place = t.address + row * t.row_step
                if t.batch:
                    lane = turn % t.lanes
                    place += turn // t.lanes * t.frame_step + x * t.pixel_step
                else:
                    place += frame * t.frame_step + (x - steps) * t.pixel_step
                    place += (steps - group) * t.phase_back + group * t.group_step
                for w in range(t.words):
                    at = source + (x * t.words + w) * t.beats * size
                    word = memory.word(at, t.beats * size)
                    out.append(((t.dest, (place + w) % (1 << 16), lane), word))
                    if t.mirror:
                        out.append(((t.dest, (place + w + t.mirror) % (1 << 16), lane), word))
    return out


@dataclass
class Played:
    """What a run of the loader did: words in the order of writing, tokens given (with the words written before), and so on."""

    written: list[tuple[Key, int]] = field(default_factory=list)
    given: list[tuple[int, int]] = field(default_factory=list)
    asked: list[tuple[int, int, int]] = field(default_factory=list)  # token, words written, bursts issued
    starts: int = 0
    cycles: int = 0
    error: tuple[int, int] = (0, 0)
    done: bool = False
    waited: int = 0


class Bench(Component):  # type: ignore[misc,unused-ignore]
    """A loader with a memory's assembler for each of `widths`."""

    def __init__(self, data_bits: int, widths: Sequence[int], **options: Any) -> None:
        self.loader = Loader(data_bits, **options)
        self.assemblers = [Assembler(width, data_bits, k) for k, width in enumerate(widths)]
        super().__init__({"unused": In(1), "waiting": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.loader = self.loader
        for k, assembler in enumerate(self.assemblers):
            m.submodules[f"memory_{k}"] = assembler
            for name in ("shift", "data", "dest", "write"):
                m.d.comb += getattr(assembler, name).eq(getattr(self.loader, name))
        m.d.comb += self.waiting.eq(self.loader.waiting)
        return m


def play(
    words: list[int],
    *,
    data_bits: int = 32,
    beats: Sequence[int] = (1,) * MEMORIES,
    rounds: int = 1,
    pause: float = 0.3,
    latency: int = 20,
    grants: bool = True,
    most_cycles: int = 20_000,
    **options: Any,
) -> tuple[Played, AxiMemory]:
    """Runs a program. Tokens are granted at random times, or never."""
    bench = Bench(data_bits, [n * data_bits for n in beats], **options)
    dut, rng, played = bench.loader, np.random.default_rng(len(words)), Played()
    memory = AxiMemory(dut, data_bits, rng, pause, latency, prefix="m_axi_", writes=False)
    put_words(memory, PROGRAM, words)

    async def run(ctx: Any) -> None:
        settings = {
            "program_address": PROGRAM,
            "program_length": len(words),
            "weights_base": WEIGHTS,
            "image_base": IMAGES,
            "round_bytes": ROUND_BYTES,
            "rounds": rounds,
        }
        for name, value in settings.items():
            ctx.set(getattr(dut, name), value)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        while not ctx.get(dut.done) and not ctx.get(dut.error) and played.cycles < most_cycles:
            _observe(ctx, bench, played, memory)
            ready, after = (int(rng.random() < 0.7) for _ in range(2))
            ctx.set(dut.give_ready, ready)
            ctx.set(dut.after_ready, after)
            ctx.set(dut.grant, int(grants and ctx.get(dut.want_valid) and rng.random() < 0.2))
            for valid, token in ((dut.give_valid, dut.give_token), (dut.after_valid, dut.after_token)):
                if ctx.get(valid):
                    played.given.append((ctx.get(token), len(played.written)))
            if ctx.get(dut.grant):
                played.asked.append((ctx.get(dut.want_token), len(played.written), len(memory.bursts)))
            await ctx.tick()
            played.cycles += 1
        played.done = bool(ctx.get(dut.done))
        played.error = (ctx.get(dut.error), ctx.get(dut.error_detail))

    sim = Simulator(bench)
    sim.add_clock(5e-9)
    sim.add_testbench(memory.serve, background=True)
    sim.add_testbench(run)
    sim.run()
    return played, memory


def _observe(ctx: Any, bench: Bench, played: Played, memory: AxiMemory) -> None:
    dut = bench.loader
    for assembler in bench.assemblers:
        if ctx.get(assembler.mine):
            key = (assembler.number, ctx.get(dut.write_address), ctx.get(dut.write_lane))
            played.written.append((key, ctx.get(assembler.word)))
    played.starts += ctx.get(dut.start_engines)
    played.waited += ctx.get(dut.waiting)


def random_transfer(rng: np.random.Generator, beats: Sequence[int], size: int) -> Transfer:
    def number(least: int, most: int) -> int:
        return int(rng.integers(least, most + 1))

    dest = number(0, MEMORIES - 1)
    pixels, words, rows, frames = number(1, 9), number(1, 3), number(1, 4), number(1, 5)
    stride, lanes = number(1, 3), number(1, 4)
    row_bytes = pixels * words * beats[dest] * size
    return Transfer(
        source=number(0, 2000) * size,
        dest=dest,
        image=bool(number(0, 1)),
        address=number(0, 65535),
        frames=frames,
        rows=rows,
        pixels=pixels,
        words=words,
        beats=beats[dest],
        frame_bytes=rows * row_bytes + number(0, 40) * size,
        row_bytes=number(0, 1) * (row_bytes + number(0, 5) * size),
        frame_step=number(0, 999),
        row_step=number(-50, 300),
        pixel_step=number(0, 9),
        phase_back=number(-20, 9),
        group_step=number(0, 30),
        stride=stride,
        phase_start=number(0, stride - 1),
        lanes=lanes,
        lane_start=number(0, lanes - 1),
        batch=bool(number(0, 1)),
        mirror=number(0, 1) * number(1, 200),
        give_after=number(0, 20) if number(0, 1) else 0x7F,
    )


@pytest.mark.parametrize("data_bits", [32, 64])
@pytest.mark.parametrize("pause", [0.0, 0.4])
def test_random_transfers_fill_the_memories_as_defined(data_bits: int, pause: float) -> None:
    rng = np.random.default_rng(data_bits)
    beats = (1, 2, 3, 7)
    transfers = [random_transfer(rng, beats, data_bits // 8) for _ in range(14)]
    played, memory = play(
        loader_words([*transfers, Instruction(F.HALT)]), data_bits=data_bits, beats=beats, pause=pause
    )
    wanted: list[tuple[Key, int]] = []
    ends = []
    for t in transfers:
        wanted += expected_words(t, memory, data_bits)
        ends += [(t.give_after, len(wanted))] if t.give_after != 0x7F else []
    assert played.done
    assert played.written == wanted
    assert [token for token, _ in played.given] == [token for token, _ in ends]
    assert all(count >= end for (_, count), (_, end) in zip(played.given, ends, strict=True))
    assert len({lane for (_, _, lane), _ in wanted}) > 2


def test_column_lanes_walk_a_padded_map() -> None:
    # 7 columns of a map with padding 1 at stride 2 on 2 lanes, 1 word a pixel: column x stands at x + 1 = 1 .. 7.
    # Address = phase + 2 * group; lane = (x + 1) // 2 mod 2, group = (x + 1) // 4.
    transfer = Transfer(
        0, 1, pixels=7, stride=2, phase_start=1, lanes=2, batch=False, address=1, phase_back=-1, group_step=1
    )
    played, _ = play(loader_words([transfer, Instruction(F.HALT)]))
    places = [(address, lane) for (_, address, lane), _ in played.written]
    assert places == [((p % 2) + 2 * (p // 4), p // 2 % 2) for p in range(1, 8)]


def test_rounds_move_the_images_and_jumps_repeat_the_program() -> None:
    image = Transfer(64, 0, image=True, pixels=5)
    weights = Transfer(128, 1, pixels=3)
    words = loader_words(
        [Instruction(F.START_ENGINES), weights, Label("round"), image, Instruction(F.ROUND), Jump("round")]
    )
    played, memory = play(words, rounds=4)
    wanted = expected_words(weights, memory, 32)
    for k in range(4):
        wanted += expected_words(image, memory, 32, IMAGES + k * ROUND_BYTES)
    assert played.written == wanted
    assert (played.starts, played.done) == (1, True)


def test_wait_holds_the_issue_and_not_the_data() -> None:
    first, second = Transfer(0, 0, pixels=40), Transfer(4096, 1, pixels=8)
    program: list[Statement] = [
        first,
        Instruction(F.GIVE, 9),
        Instruction(F.WAIT, 5),
        second,
        Instruction(F.HALT),
    ]
    played, memory = play(loader_words(program), grants=False, most_cycles=600)
    assert not played.done
    assert played.written == expected_words(first, memory, 32)
    assert [token for token, _ in played.given] == [9]
    assert played.given[0][1] < 40, "given at once, while data are on their way"
    assert played.waited > 300
    played, memory = play(loader_words(program))
    assert played.written == expected_words(first, memory, 32) + expected_words(second, memory, 32)
    assert [token for token, _, _ in played.asked] == [5]


def test_reads_run_ahead_of_their_data() -> None:
    # 24 transfers of 16 words: behind one another, each would pay the latency of about 60 cycles.
    transfers = [Transfer(64 * k, k % MEMORIES, pixels=16, address=k) for k in range(24)]
    played, memory = play(loader_words([*transfers, Instruction(F.HALT)]), pause=0.0, latency=60)
    assert played.done
    assert memory.most_waiting >= 4
    assert played.cycles < 24 * 16 * 1.6 + 250


def test_one_transfer_takes_a_beat_a_cycle() -> None:
    played, _ = play(loader_words([Transfer(0, 0, pixels=800), Instruction(F.HALT)]), pause=0.0, latency=10)
    assert played.cycles < 800 * 1.05 + 120


@pytest.mark.parametrize(
    ("words", "detail"),
    [
        ([F.PIXELS << 24, 0x0700_0000], 0x0700_0001),
        ([0xFE00_0000], 0xFE00_0000),
        ([], 0xFF00_0000),
        ([0] * 65, 0xFF00_0041),
    ],
)
def test_illegal_programs_are_reported(words: list[int], detail: int) -> None:
    played, _ = play(words, program_words=64)
    assert played.error == (1, detail)


def test_program_sets_registers_only_where_they_change() -> None:
    first = Transfer(0, 1, pixels=4, give_after=3)
    words = loader_words([first, replace(first, address=7, give_after=0x7F), Label("x"), first, Jump("x")])
    text = [line[6:] for line in text_of(words)]
    again = text.index("LOAD") + 1
    assert text[again : again + 2] == ["ADDRESS 7", "LOAD"]
    assert text[-1] == f"JUMP {again + 2:#x}"
    assert text.count("GIVE_AFTER 3") == 2


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0x1100_0101, "SOURCE_HIGH 0x1 image"),
        (0x1100_0001, "SOURCE_HIGH 0x1 weights"),
        (0x1700_0103, "DEST 3 batch lanes"),
        (0x1700_0003, "DEST 3 column lanes"),
        (0x2200_0102, "PHASES 2 from 1"),
        (0x2300_0304, "LANES 4 from 3"),
        (0x1E00_FFFF, "ROW_STEP -1"),
        (0x0900_0001, "? 0x09000001"),
    ],
)
def test_text_says_what_a_word_means(number: int, text: str) -> None:
    assert text_of([number]) == [f"   0  {text}"]


def test_transfer_refuses_what_registers_cannot_hold() -> None:
    with pytest.raises(ConfigError) as caught:
        Transfer(-1, 128, beats=0, lanes=4, lane_start=4)
    assert str(caught.value) == (
        "transfer to memory 128: beats 0 is not in 1 .. 1023; source -1 is not in 0 .. 4294967295; "
        "dest 128 is not in 0 .. 127; lane_start 4 is not in 0 .. 3"
    )
    with pytest.raises(ConfigError, match=r"word 0 jumps to label 'a'; known: none"):
        loader_words([Jump("a")])
