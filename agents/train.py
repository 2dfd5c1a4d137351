"""Trains a policy in chunks: imitation of good solutions first, reinforcement after.

A chunk depends on nothing but the state before it, its number and the seed: it makes its environments anew and seeds
every generator from SeedSequence([seed, chunk]). So a training that goes on from a checkpoint equals, bit for bit, one
that was never interrupted, on one thread of one machine. Progress is measured on the split `validation`.

The weights that are kept are those with the smallest validation gap: of a chunk of imitation, of the average over the
last chunks of imitation, or of a chunk of reinforcement, which begins from the best of the former. Needs torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from foldwright import __version__
from foldwright.agents.checkpoint import (
    ChunkRecord,
    Counters,
    Storage,
    Tensors,
    TrainState,
    labels_bytes,
    read_labels,
    read_state,
    state_bytes,
)
from foldwright.agents.fit import LabelPool, adam_of, adam_state, fit
from foldwright.agents.imitate import Labels, label_episodes
from foldwright.agents.oracle import best_found
from foldwright.agents.policy import Policy
from foldwright.agents.policy_file import PolicyCard, policy_bytes
from foldwright.agents.policy_torch import CandidateScorer, load_weights, weights_of
from foldwright.agents.ppo import ppo_chunk, ppo_env, ppo_model
from foldwright.agents.rollout import greedy_costs
from foldwright.agents.stop import CpuClock
from foldwright.agents.train_config import TrainConfig
from foldwright.envs.problem import Choices, Problem
from foldwright.envs.registry import content_hash, load_instance

__all__ = ["CHECKPOINT", "POLICY", "VALIDATION", "TrainPlan", "Training"]

CHECKPOINT = "checkpoint.safetensors"
POLICY = "policy.safetensors"
VALIDATION = "validation.json"
_LEAST_RATE = 0.05
"""The learning rate falls to this share of its first value over a phase."""

Tell = Callable[[ChunkRecord, float], None]


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """What is trained: decisions or CPU seconds limit it, one of the two."""

    kind: str
    config: TrainConfig
    seed: int
    steps: int | None
    cpu_seconds: float | None

    def share(self, counters: Counters) -> float:
        """Returns how much of the limit is spent."""
        if self.steps is not None:
            return counters.steps / self.steps
        assert self.cpu_seconds is not None
        return counters.cpu_seconds / self.cpu_seconds

    @property
    def imitation_share(self) -> float:
        config = self.config
        return config.imitation_cpu_share if self.steps is None else config.imitation_steps_share

    def progress(self, counters: Counters) -> float:
        """Returns how much of its phase is spent, 0 to 1."""
        spent, cut = self.share(counters), self.imitation_share
        return min(1.0, spent / cut if counters.phase == "imitation" else (spent - cut) / (1.0 - cut))


class Training:
    """A training over a storage; `run` goes on from what that holds."""

    def __init__(self, plan: TrainPlan, storage: Storage) -> None:
        self._plan, self._config, self._storage = plan, plan.config, storage
        self._clock = CpuClock()
        self._shards: dict[int, Labels] = {}
        self._validation: list[Problem] = []
        self._best_known = np.zeros(0)
        self._card = PolicyCard.of_kind(
            plan.kind, width=self._config.network.width, depth=self._config.network.depth
        )
        torch.set_num_threads(1)  # sums in another order give other bits
        raw = storage.read(CHECKPOINT)
        self.state = self._first() if raw is None else read_state(raw, CHECKPOINT)
        self._spent_before = self.state.counters.cpu_seconds

    def run(self, tell: Tell | None = None) -> TrainState:
        """Trains to the end; calls `tell` with each chunk's record and the share of the limit that is spent."""
        while self.state.counters.phase != "done":
            if not self._validation:
                self._prepare_validation()
            self.state = self._next(self.state)
            if tell is not None:
                tell(self.state.counters.records[-1], self._plan.share(self.state.counters))
            self._storage.write(CHECKPOINT, state_bytes(self.state))
        self._storage.write(POLICY, self.policy_file())
        return self.state

    def policy_file(self) -> bytes:
        """Returns the best policy so far in the form of a policy's file."""
        counters = self.state.counters
        gap = "none" if counters.best_gap is None else f"{100 * counters.best_gap:.2f} %"
        card = replace(
            self._card,
            seed=self._plan.seed,
            training_cpu_seconds=round(counters.cpu_seconds, 1),
            training_hashes=counters.hashes,
            recipe=f"{counters.best_from} of {counters.chunk}, {counters.steps} decisions, validation gap {gap}",
            versions={"foldwright": __version__, "numpy": np.__version__, "torch": str(torch.__version__)},
        )
        return policy_bytes(card, self.state.best or self.state.weights)

    def _first(self) -> TrainState:
        torch.manual_seed(_seeds(self._plan.seed, 0)[1])
        counters = Counters("imitation" if self._plan.imitation_share > 0 else "ppo")
        return TrainState(counters, weights_of(self._network()))

    def _network(self) -> CandidateScorer:
        card = self._card
        return CandidateScorer(card.candidate_features, card.context_features, card.width, card.depth)

    def _prepare_validation(self) -> None:
        """Makes the validation instances and finds, or reads, the best costs known of them."""
        config, kind = self._config.validation, self._plan.kind
        names = [f"{kind}/validation-s0-{i}" for i in range(config.instances)]
        self._validation = [load_instance(name) for name in names]
        raw = self._storage.read(VALIDATION)
        if raw is None:
            best = {p.name: best_found(p, config.oracle_evaluations, 0).cost for p in self._validation}
            raw = (json.dumps(best, indent=1) + "\n").encode()
            self._storage.write(VALIDATION, raw)
        known = json.loads(raw)
        self._best_known = np.array([known[name] for name in names], dtype=np.float64)

    def _gap(self, weights: Tensors) -> float:
        """Returns the mean excess over the best known cost on the validation instances, decided greedily."""
        costs = greedy_costs(Policy(self._card, weights), self._validation)
        return float(np.mean(costs / self._best_known - 1))

    def _next(self, state: TrainState) -> TrainState:
        """Returns the state after a chunk."""
        chunk = self._imitate if state.counters.phase == "imitation" else self._reinforce
        after, loss = chunk(state)
        gap = self._gap(after.weights)
        after = _keep_best(
            after, after.weights, gap, f"chunk {state.counters.chunk} ({state.counters.phase})"
        )
        after = after.count(chunk=state.counters.chunk + 1, cpu_seconds=self._spent_before + self._clock())
        after, counters = self._change_phase(after), after.counters
        record = ChunkRecord(
            chunk=state.counters.chunk,
            phase=counters.phase,
            steps=counters.steps,
            loss=loss,
            gap=gap,
            best_gap=gap if after.counters.best_gap is None else after.counters.best_gap,
            cpu_seconds=counters.cpu_seconds,
        )
        return after.count(records=(*counters.records, record))

    def _change_phase(self, state: TrainState) -> TrainState:
        counters = state.counters
        spent = self._plan.share(counters)
        if counters.phase == "imitation" and spent >= self._plan.imitation_share:
            if state.average:
                name = f"average of {counters.averaged} chunks (imitation)"
                state = _keep_best(state, state.average, self._gap(state.average), name)
            state = replace(state.count(phase="ppo"), weights=state.best, optimizer={}, average={})
        return state.count(phase="done") if spent >= 1.0 else state

    def _instances(self, chunk: int, count: int) -> list[Problem]:
        seed = self._plan.seed % 10**9
        return [load_instance(f"{self._plan.kind}/train-s{seed}-{chunk * count + i}") for i in range(count)]

    def _imitate(self, state: TrainState) -> tuple[TrainState, float]:
        """Labels new episodes with the policy as it is, and fits the network to all labels so far."""
        config, chunk = self._config.imitation, state.counters.chunk
        rng = np.random.default_rng(_seeds(self._plan.seed, chunk)[0])
        problems = self._instances(chunk, config.instances)
        labels = self._label(problems, state, rng)
        self._storage.write(_shard(chunk), labels_bytes(labels))
        self._shards[chunk] = labels
        network = self._network()
        load_weights(network, state.weights)
        progress = self._plan.progress(state.counters)
        adam = adam_of(network, config.learning_rate * max(_LEAST_RATE, 1 - progress), dict(state.optimizer))
        loss = fit(network, adam, self._pool(chunk), config, rng)
        after = replace(state, weights=weights_of(network), optimizer=adam_state(adam, network))
        if progress >= config.average_from:
            after = _average(after)
        return _trained_on(after, problems, len(labels)), loss

    def _label(self, problems: list[Problem], state: TrainState, rng: np.random.Generator) -> Labels:
        config, chunk = self._config.imitation, state.counters.chunk
        oracles = [_oracle(p, config.oracle_evaluations) for p in problems]
        return label_episodes(
            problems * config.episodes,
            oracles * config.episodes,
            Policy(self._card, state.weights),
            oracle_share=config.oracle_share ** (chunk + 1),
            repair=config.repair_evaluations,
            mends=config.mend_labels,
            label_decisions=config.label_decisions,
            log_reward=self._config.ppo.reward == "log",
            rng=rng,
        )

    def _pool(self, chunk: int) -> LabelPool:
        """Returns the labels of the chunks in the window, reading those that another process wrote."""
        first = max(0, chunk + 1 - self._config.imitation.window_chunks)
        self._shards = {number: labels for number, labels in self._shards.items() if number >= first}
        for number in range(first, chunk):
            if number not in self._shards and (raw := self._storage.read(_shard(number))) is not None:
                self._shards[number] = read_labels(raw, _shard(number))
        return LabelPool([self._shards[number] for number in sorted(self._shards)])

    def _reinforce(self, state: TrainState) -> tuple[TrainState, float]:
        """Lets MaskablePPO go on from the weights."""
        config, chunk = self._config.ppo, state.counters.chunk
        problems = self._instances(chunk, config.instances)
        rate = config.learning_rate * max(_LEAST_RATE, 1 - self._plan.progress(state.counters))
        model = ppo_model(ppo_env(self._plan.kind, problems, config), self._config.network, config, rate)
        seed = _seeds(self._plan.seed, chunk)[1]
        weights, optimizer, steps, loss = ppo_chunk(model, state.weights, dict(state.optimizer), config, seed)
        after = replace(state, weights=weights, optimizer=optimizer)
        return _trained_on(after, problems, steps), loss


def _oracle(problem: Problem, evaluations: int) -> Choices:
    """Returns the best choices found within so many evaluations; the fallback where none are granted."""
    if not evaluations:
        return problem.fallback
    return np.array(best_found(problem, evaluations, 0).choices, dtype=np.int64)


def _seeds(seed: int, chunk: int) -> tuple[Any, int]:
    """Returns what seeds numpy and torch in a chunk."""
    ours, others = np.random.SeedSequence([seed, chunk]).spawn(2)
    return ours, int(others.generate_state(1, np.uint64)[0] >> 1)


def _shard(chunk: int) -> str:
    return f"labels-{chunk:05d}.safetensors"


def _keep_best(state: TrainState, weights: Tensors, gap: float, name: str) -> TrainState:
    best = state.counters.best_gap
    if best is not None and gap >= best:
        return state
    return replace(state.count(best_gap=gap, best_from=name), best=weights)


def _average(state: TrainState) -> TrainState:
    """Returns the state with its weights in the average."""
    count = state.counters.averaged + 1
    old = state.average or {name: np.zeros_like(tensor) for name, tensor in state.weights.items()}
    average = {
        name: old[name] + (tensor - old[name]) / np.float32(count) for name, tensor in state.weights.items()
    }
    return replace(state.count(averaged=count), average=average)


def _trained_on(state: TrainState, problems: list[Problem], steps: int) -> TrainState:
    hashes = {*state.counters.hashes, *map(content_hash, problems)}
    return state.count(hashes=tuple(sorted(hashes)), steps=state.counters.steps + steps)
