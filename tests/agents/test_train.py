"""Training: networks fit labels, chunks resume bit for bit from any interruption, the best weights are kept."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'foldwright[rl]'")
pytest.importorskip("sb3_contrib", reason="sb3-contrib is not installed: pip install 'foldwright[rl]'")

from foldwright.agents.checkpoint import (  # noqa: E402
    ChunkRecord,
    Counters,
    TrainState,
    labels_bytes,
    read_labels,
    read_state,
    state_bytes,
    without_times,
)
from foldwright.agents.fit import LabelPool, Tensors, adam_of, adam_state, fit  # noqa: E402
from foldwright.agents.imitate import Labels  # noqa: E402
from foldwright.agents.policy_torch import CandidateScorer, load_weights, weights_of  # noqa: E402
from foldwright.agents.train import CHECKPOINT, POLICY, Training, TrainPlan  # noqa: E402
from foldwright.agents.train_config import (  # noqa: E402
    ImitationConfig,
    NetworkConfig,
    PpoConfig,
    TrainConfig,
    ValidationConfig,
)
from foldwright.envs.registry import content_hash, load_instance  # noqa: E402
from foldwright.errors import RunFolderError  # noqa: E402

TINY = TrainConfig(
    imitation_steps_share=0.5,
    network=NetworkConfig(width=8),
    imitation=ImitationConfig(
        instances=2, episodes=1, oracle_evaluations=60, repair_evaluations=2, batches=3, batch_rows=16,
        average_from=0.2, oracle_share=0.5,
    ),
    ppo=PpoConfig(instances=2, episodes=4, rollout_steps=8, rollouts=1, batch_rows=16, epochs=1),
    validation=ValidationConfig(instances=2, oracle_evaluations=60),
)  # fmt: skip
PLAN = TrainPlan("tiling", TINY, seed=5, steps=120, cpu_seconds=None)


class Memory:
    """A storage that breaks down after so many writes."""

    def __init__(self, writes: int = 10**9) -> None:
        self.files: dict[str, bytes] = {}
        self.writes_left = writes

    def read(self, name: str) -> bytes | None:
        return self.files.get(name)

    def write(self, name: str, data: bytes) -> None:
        if self.writes_left == 0:
            raise KeyboardInterrupt
        self.writes_left -= 1
        self.files[name] = data


@cache
def uninterrupted() -> tuple[TrainState, Memory]:
    memory = Memory()
    return Training(PLAN, memory).run(), memory


def timeless(files: dict[str, bytes]) -> dict[str, bytes]:
    out = {name: raw for name, raw in files.items() if name != POLICY}
    out[CHECKPOINT] = state_bytes(without_times(read_state(files[CHECKPOINT], "checkpoint")))
    return out


def test_a_training_goes_through_both_phases_and_keeps_the_best_weights() -> None:
    state, memory = uninterrupted()
    counters = state.counters
    assert {record.phase for record in counters.records} == {"imitation", "ppo"}
    assert counters.phase == "done"
    assert counters.steps >= 120
    assert [record.chunk for record in counters.records] == list(range(counters.chunk))
    gaps = [record.gap for record in counters.records]
    assert counters.best_gap is not None
    assert counters.best_gap <= min(gaps)
    if "average" not in counters.best_from:
        assert counters.best_gap == min(gaps)
    best = [record.best_gap for record in counters.records]
    assert best == sorted(best, reverse=True)
    assert memory.files[POLICY]


def test_the_policy_file_says_what_it_was_trained_on() -> None:
    from foldwright.agents.policy_file import read_policy_file

    state, memory = uninterrupted()
    path = _written(memory.files[POLICY])
    card, weights = read_policy_file(path)
    chunks = len([r for r in state.counters.records if r.phase == "imitation"])
    seen = {content_hash(load_instance(f"tiling/train-s5-{i}")) for i in range(2 * chunks)}
    assert seen <= set(card.training_hashes)
    assert (card.kind, card.seed, card.width) == ("tiling", 5, 8)
    assert card.training_cpu_seconds > 0
    for name, tensor in weights.items():
        np.testing.assert_array_equal(tensor, state.best[name])


def _written(raw: bytes) -> str:
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".safetensors", delete=False) as file:
        file.write(raw)
    return file.name


def test_a_training_interrupted_at_every_write_ends_the_same() -> None:
    _, whole = uninterrupted()
    memory = Memory()
    for attempt in range(100):  # after one, two, three writes: before and after labels and checkpoints
        memory.writes_left = 1 + attempt % 3
        try:
            Training(PLAN, memory).run()
            break
        except KeyboardInterrupt:
            continue
    assert attempt > 3
    assert timeless(memory.files) == timeless(whole.files)


def test_a_finished_training_trains_no_more() -> None:
    state, memory = uninterrupted()
    files = dict(memory.files)
    again = Training(PLAN, memory).run()
    assert again.counters == state.counters
    assert timeless(memory.files) == timeless(files)


def test_another_seed_gives_another_policy() -> None:
    state, _ = uninterrupted()
    first = dataclasses.replace(PLAN, steps=1)
    other = Training(dataclasses.replace(first, seed=6), Memory()).run()
    assert not np.array_equal(other.weights["head.weight"], state.weights["head.weight"])


def test_a_limit_of_cpu_time_ends_a_training() -> None:
    plan = dataclasses.replace(PLAN, steps=None, cpu_seconds=1e-3)
    counters = Training(plan, Memory()).run().counters
    assert (counters.chunk, counters.phase) == (1, "done")
    assert counters.cpu_seconds > 1e-3


def preferring(feature: int, decisions: int = 200) -> Labels:
    """Returns labels whose best candidate is the one with the largest value of a feature."""
    rng = np.random.default_rng(0)
    counts = rng.integers(2, 6, decisions).astype(np.int32)
    candidates = rng.random((counts.sum(), 4), dtype=np.float32)
    starts = np.cumsum(counts) - counts
    best = np.maximum.reduceat(candidates[:, feature], starts)
    excess = np.repeat(best, counts) - candidates[:, feature]
    context = rng.random((decisions, 3), dtype=np.float32)
    return Labels(candidates, excess, context, counts, context[:, 0].copy())


def fitted(labels: Labels, parts: tuple[int, ...]) -> tuple[CandidateScorer, list[float]]:
    """Returns a network after so many batches, taken down and put up again between the parts."""
    torch.manual_seed(0)
    network, rng = CandidateScorer(4, 3, 16), np.random.default_rng(0)
    state: Tensors = {}
    losses = []
    for batches in parts:
        weights, network = weights_of(network), CandidateScorer(4, 3, 16)
        load_weights(network, weights)
        adam = adam_of(network, 3e-3, state)
        config = ImitationConfig(batches=batches, batch_rows=64, temperature=0.05)
        losses.append(fit(network, adam, LabelPool([labels]), config, rng))
        state = adam_state(adam, network)
    return network, losses


def test_a_network_learns_what_the_labels_prefer() -> None:
    labels = preferring(feature=2)
    network, losses = fitted(labels, (20, 150))
    assert losses[1] < 0.6 * losses[0]
    pool = LabelPool([labels])
    candidates, context, mask, excess, values = pool.batch(np.arange(len(pool)))
    logits, valued = network(candidates, context, mask)
    chosen = excess.gather(1, logits.argmax(dim=1, keepdim=True))
    assert float(chosen.mean()) < 0.05 < float((excess.sum(dim=1) / mask.sum(dim=1)).mean())
    assert float((valued - values).abs().mean().detach()) < 0.25


def test_fitting_in_parts_equals_fitting_at_once() -> None:
    labels = preferring(feature=1)
    once, parts = fitted(labels, (30,))[0], fitted(labels, (7, 23))[0]
    for name, tensor in weights_of(once).items():
        np.testing.assert_array_equal(tensor, weights_of(parts)[name])


def test_labels_and_states_return_from_their_files() -> None:
    labels = preferring(0, decisions=5)
    again = read_labels(labels_bytes(labels), "x")
    for field in dataclasses.fields(Labels):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(labels, field.name))
    record = ChunkRecord(0, "imitation", 7, 0.1 + 0.2, 1 / 3, 1 / 3, 0.5)
    tensors = {"head.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
    state = TrainState(Counters("ppo", 1, 7, 0.5, hashes=("ab",), records=(record,)), tensors, best=tensors)
    back = read_state(state_bytes(state), "x")
    assert back.counters == state.counters
    assert (set(back.weights), back.optimizer, back.average, set(back.best)) == (
        set(tensors),
        {},
        {},
        set(tensors),
    )
    np.testing.assert_array_equal(back.weights["head.weight"], tensors["head.weight"])


@pytest.mark.parametrize("damage", [lambda raw: raw[:-3], lambda raw: b"", lambda raw: b"PK" + raw])
def test_a_damaged_checkpoint_is_refused(damage: object) -> None:
    _, memory = uninterrupted()
    with pytest.raises(RunFolderError, match=r"checkpoint: is damaged: .*; train into another folder"):
        read_state(damage(memory.files[CHECKPOINT]), "checkpoint")  # type: ignore[operator]  # a function
