"""The result path that scales and shifts gives the levels of the integer reference, at the ends of its numbers too."""

from __future__ import annotations

import numpy as np
import pytest

from foldwright.accel.datapath import Engine, Requant
from foldwright.accel.reference import levels_by_scale_shift
from foldwright.accel.rtl.scale import ScalePath
from foldwright.accel.scale_words import bias_bits, encode_scale_word, most_shift
from foldwright.accel.thresholds import ScaleShift
from tests.accel.rtl.support import play

GROUPS = 6


def edges(engine: Engine, rng: np.random.Generator) -> tuple[ScaleShift, np.ndarray]:
    """Returns parameters of many channels and which are negated: ends of ranges, and values near the levels."""
    most, bias = 1 << 17, 1 << bias_bits(engine) - 1
    top, shift = 1 << engine.acc_bits - 1, most_shift(engine)
    rows = [
        (most - 1, 0, 16, False), (most - 1, 0, 16, True), (most, 0, 17, True), (most - 1, -bias, 0, False),
        (most - 1, bias - 1, 0, False), (most - 1, bias - 1, shift, False), (1, 0, 0, False), (1, top, 0, True),
        (0, 0, 0, False), (0, engine.levels, 0, False), (0, -1, 0, False), (0, engine.levels + 1, 0, False),
        (3, -1, 1, False), (3, -1, 1, True), (0, bias - 1, bias_bits(engine) - 2, False),
    ]  # fmt: skip
    for _ in range(13 * engine.dm - len(rows)):
        shift = int(rng.integers(0, 26))
        slope = min(most - 1, max(1, int((engine.levels << shift) * rng.random() // top)))
        near = int(rng.integers(0, engine.levels + 1)) << shift
        rows.append((slope, near - slope * int(rng.integers(-top, top)), shift, bool(rng.integers(2))))
    m, b, s, negate = (np.array(column) for column in zip(*rows, strict=True))
    return ScaleShift(m, np.clip(b, -bias, bias - 1), s, 0 * m), negate


@pytest.mark.parametrize(
    ("levels", "acc_bits", "dm", "drain"), [(1, 9, 3, 1), (3, 12, 2, 2), (7, 25, 2, 1), (15, 16, 4, 1), (255, 18, 3, 2)]
)  # fmt: skip
def test_codes_are_those_of_the_reference(levels: int, acc_bits: int, dm: int, drain: int) -> None:
    rng = np.random.default_rng(levels)
    engine = Engine(
        dm, 8, drain * GROUPS, drain_lanes=drain, acc_bits=acc_bits, levels=levels, threshold_words=13,
        requant=Requant.SCALE_SHIFT,
    )  # fmt: skip
    scale, negate = edges(engine, rng)
    top = 1 << acc_bits - 1
    accs = rng.integers(-top, top, (13, GROUPS, drain, dm))
    accs[:, 0], accs[:, 1], accs[:, 2] = -top, top - 1, rng.integers(-2, 2, (13, drain, dm))
    inputs: list[dict[str, int]] = []
    for block in range(13):
        rows = [
            {
                "multiplier": int(-scale.multiplier[c] if negate[c] else scale.multiplier[c]),
                "bias": int(scale.bias[c]), "shift": int(scale.shift[c]), "greatest": levels,
            }
            for c in range(block * dm, block * dm + dm)
        ]  # fmt: skip
        inputs.append({"write": 1, "write_address": block, "write_data": encode_scale_word(engine, rows)})
    inputs.append({"write": 0, "block": 0})
    first = len(inputs)
    for block in range(13):
        for group in range(GROUPS):
            word = sum(
                int(a) % (1 << acc_bits) << acc_bits * k for k, a in enumerate(accs[block, group].ravel())
            )
            inputs.append({"accs": word, "block": min(12, block + (group == GROUPS - 1))})
    dut = ScalePath(engine)
    seen = play(dut, inputs, ["codes"], extra=dut.stages)
    by_channel = accs.transpose(1, 2, 0, 3).reshape(GROUPS * drain, 13 * dm, 1, 1)
    want = levels_by_scale_shift(by_channel, scale, levels, negate).reshape(GROUPS, drain, 13, dm)
    assert {0, levels} < set(want.ravel().tolist()) or levels == 1
    bits = levels.bit_length()
    for t in range(13 * GROUPS):
        block, group = divmod(t, GROUPS)
        got = seen[first + t + dut.stages]["codes"]
        codes = [got >> k * bits & (1 << bits) - 1 for k in range(drain * dm)]
        assert codes == want[group, :, block].ravel().tolist()
