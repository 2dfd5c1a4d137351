"""The aligner delivers the columns that a sliding window needs."""

from __future__ import annotations

import numpy as np
import pytest

from foldwright.accel.rtl.aligner import Aligner
from tests.accel.rtl.support import play, word


@pytest.mark.parametrize("technology", ["generic", "xc7-model"])
@pytest.mark.parametrize(("dn", "taps"), [(1, 3), (2, 3), (3, 3), (4, 1), (4, 2), (4, 7), (5, 4), (3, 5)])
def test_taps_of_a_phase_are_shifted_copies_with_masked_columns_zero(
    dn: int, taps: int, technology: str
) -> None:
    rng = np.random.default_rng([dn, taps])
    dk, rounds = 5, 3
    columns = rng.integers(0, 2, (rounds, 4 * dn + taps, dk))
    masked = rng.random((rounds, 4 * dn + taps)) < 0.3
    inputs, want = [], []
    for r in range(rounds):
        for o in range(taps):
            fill = o > 0 and (o - 1) % dn == 0
            group = 0 if o == 0 else 1 + (o - 1) // dn
            span = slice(group * dn, (group + 1) * dn)
            read = o == 0 or fill
            inputs.append(
                {
                    "word": word(columns[r, span]) if read else int(rng.integers(0, 1 << dn * dk)),
                    "mask": word(masked[r, span]) if read else int(rng.integers(0, 1 << dn)),
                    "start": int(o == 0),
                    "fill": int(fill),
                }
            )
            want.append(word(np.where(masked[r, o : o + dn, None], 0, columns[r, o : o + dn])))
    seen = play(Aligner(dn, dk, taps, technology), inputs, ["acts"], extra=1)
    assert [s["acts"] for s in seen[1:]] == want
