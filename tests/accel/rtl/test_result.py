"""The result path finds codes by the same count of thresholds as plain arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from foldwright.accel.datapath import Engine
from foldwright.accel.rtl.program import code_bits, threshold_bits
from foldwright.accel.rtl.result import ResultPath, search_order
from tests.accel.rtl.support import play


@pytest.mark.parametrize(("levels", "dm", "drain"), [(1, 3, 1), (2, 2, 2), (3, 2, 1), (7, 1, 3), (15, 2, 1)])
def test_codes_equal_the_number_of_thresholds_reached(levels: int, dm: int, drain: int) -> None:
    rng = np.random.default_rng(levels)
    n, blocks, groups = 10, 3, 2
    engine = Engine(
        dm=dm, dk=8, dn=drain * groups, drain_lanes=drain, acc_bits=n, levels=levels, threshold_words=5
    )
    dut = ResultPath(engine)
    stored = (1 << code_bits(levels)) - 1
    offset = rng.integers(0, 1 << n, (blocks, dm))  # any offset is allowed, modulo 2^n
    thresholds = np.sort(rng.integers(-200, 200, (blocks, dm, stored)), axis=2)
    flip = rng.integers(0, 2, (blocks, dm))
    values = rng.integers(-200, 200, (blocks, groups, drain, dm))
    inputs: list[dict[str, int]] = []
    for b in range(blocks):
        data = 0
        for c in range(dm):
            bits = sum(int((t + offset[b, c]) % (1 << n)) << n * k for k, t in enumerate(thresholds[b, c]))
            data |= (bits | int(flip[b, c]) << stored * n) << c * threshold_bits(engine)
        inputs.append({"write": 1, "write_address": b + 1, "write_data": data})
    inputs.append({"write": 0, "block": 1})
    first = len(inputs)
    for b in range(blocks):
        for g in range(groups):
            accs = (values[b, g] + offset[b]) % (1 << n)
            word = sum(int(a) << n * k for k, a in enumerate(accs.ravel()))
            inputs.append({"accs": word, "block": b + 1 if g < groups - 1 else b + 2})
    seen = play(dut, inputs, ["codes"], extra=dut.stages)
    want = (values[..., None] >= thresholds[:, None, None]).sum(axis=-1)
    want = np.where(flip[:, None, None] == 1, stored - want, want).reshape(blocks * groups, -1)
    for t, codes in enumerate(want):
        got = seen[first + t + dut.stages]["codes"]
        assert [got >> k * dut.stages & stored for k in range(drain * dm)] == codes.tolist()


def test_search_visits_every_threshold_once() -> None:
    assert sorted(k for stage in search_order(4) for k in stage) == list(range(15))
