"""Tensors that live at the same time share no word, and the memory is as deep as the most that lives."""

from __future__ import annotations

import numpy as np
import pytest

from foldwright.accel.map_places import Lifetime, place_tensors


def test_a_chain_uses_the_two_ends_in_turns() -> None:
    words = [5, 3, 7, 2, 2]
    lives = [Lifetime(size, k, k + 1) for k, size in enumerate(words)]
    # At the most, layer 2 reads 3 words and writes 7: ten words, and every other tensor at the high end.
    assert place_tensors(lives) == ([0, 10 - 3, 0, 10 - 2, 0], 10)


def test_what_is_added_stays_between() -> None:
    # x is read by a and added to b: at b three tensors live, and the third goes between the two ends.
    x, a, b, c = Lifetime(4, 0, 2), Lifetime(4, 1, 2), Lifetime(4, 2, 3), Lifetime(4, 3, 4)
    assert place_tensors([x, a, b, c]) == ([0, 8, 4, 0], 12)


def test_nothing_needs_no_words() -> None:
    assert place_tensors([]) == ([], 0)


@pytest.mark.parametrize("seed", range(40))
def test_tensors_that_meet_share_no_word(seed: int) -> None:
    rng = np.random.default_rng(seed)
    starts = np.sort(rng.integers(0, 12, int(rng.integers(1, 14))))
    lives = [Lifetime(int(rng.integers(1, 30)), int(s), int(s + rng.integers(1, 6))) for s in starts]
    places, depth = place_tensors(lives)
    most = max(sum(t.words for t in lives if t.first <= now <= t.last) for now in range(20))
    assert most <= depth <= 1.5 * most
    for k, tensor in enumerate(lives):
        assert 0 <= places[k] <= depth - tensor.words
        for j in range(k):
            apart = places[k] + tensor.words <= places[j] or places[j] + lives[j].words <= places[k]
            assert apart or not tensor.meets(lives[j])
