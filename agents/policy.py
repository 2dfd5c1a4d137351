"""Learned policies without torch: the network of `CandidateScorer`, evaluated on batches of observations.

The network scores each allowed candidate i of a decision by

    logit_i = score . relu(head [phi(c_i), psi(context), mean_j phi(c_j), max_j phi(c_j)]),    j over the allowed,

where phi and psi are `depth` layers of `width` units with relu. Weights are shared over the candidates and nothing
depends on their number, so one policy acts on instances of any size.

Only allowed candidates are evaluated. They lie one after another, rows of zeros filling up the last block: numpy
multiplies whole blocks of few rows, compiled loops do the rest. Blocks of one small size keep the BLAS library in one
thread, and give a candidate the same logit, to the last bit, in whatever batch it comes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foldwright.agents.policy_file import PolicyCard, Weights, check_weights, read_policy_file
from foldwright.envs.problem import MAX_CANDIDATES
from foldwright.errors import PolicyError, nearest
from foldwright.kernels import njit

__all__ = ["POLICY_FOLDER", "Policy", "load_policy", "shipped_policies"]

POLICY_FOLDER = Path(__file__).parent / "policies"
"""Where shipped policies stand."""
_SUFFIX = ".safetensors"
_BLOCK_ROWS = 32
_ONE_THREAD = 2**18
"""Multiply-adds up to which OpenBLAS multiplies in one thread."""

Floats = npt.NDArray[np.float32]


def _pack(candidates: Any, mask: Any, packed: Any, places: Any, starts: Any) -> int:
    """Lays the allowed candidates one after another; row r's are `starts[r]` to `starts[r + 1]`. Returns how many.

    `places[i]` is the candidate that lies at i, counted over all rows.
    """
    count = 0
    for row in range(mask.shape[0]):
        starts[row] = count
        for k in range(mask.shape[1]):
            if mask[row, k] != 0:
                places[count] = row * mask.shape[1] + k
                for feature in range(candidates.shape[2]):
                    packed[count, feature] = candidates[row, k, feature]
                count += 1
    starts[mask.shape[0]] = count
    return count


def _relu(hidden: Any, bias: Any) -> int:
    """Adds a bias to each row and applies relu; returns the number of rows."""
    for i in range(hidden.shape[0]):
        for j in range(hidden.shape[1]):
            hidden[i, j] = max(hidden[i, j] + bias[j], np.float32(0))
    return int(hidden.shape[0])


def _pool(hidden: Any, starts: Any, mean: Any, top: Any) -> int:
    """Puts mean and maximum of each row's candidates, none negative, on the zeros of `mean` and `top`."""
    rows = starts.shape[0] - 1
    for row in range(rows):
        share = np.float32(1.0) / np.float32(max(1, starts[row + 1] - starts[row]))
        for i in range(starts[row], starts[row + 1]):
            for j in range(hidden.shape[1]):
                mean[row, j] += hidden[i, j]
                top[row, j] = max(top[row, j], hidden[i, j])
        for j in range(hidden.shape[1]):
            mean[row, j] *= share
    return rows


def _score(hidden: Any, starts: Any, shared: Any, score: Any, places: Any, logits: Any) -> int:
    """Adds each row's shared term to its candidates, applies relu, and writes the logits to their places."""
    rows = starts.shape[0] - 1
    for row in range(rows):
        for i in range(starts[row], starts[row + 1]):
            logit = np.float32(0)
            for j in range(hidden.shape[1]):
                logit += max(hidden[i, j] + shared[row, j], np.float32(0)) * score[j]
            logits[places[i]] = logit
    return rows


pack: Any = njit(cache=True)(_pack)
relu: Any = njit(cache=True)(_relu)
pool: Any = njit(cache=True)(_pool)
# "reassoc" lets the sum run in vector lanes, always the same ones
score_all: Any = njit(cache=True, fastmath={"reassoc", "contract"})(_score)


class _Dense:
    """The product of a layer, without bias, over blocks of rows."""

    def __init__(self, weight: Floats) -> None:
        self._matrix = np.ascontiguousarray(weight.T)
        inputs, self.outputs = self._matrix.shape
        fitting = _ONE_THREAD // (inputs * self.outputs)
        # a power of two, so that it divides the rows, which come in multiples of _BLOCK_ROWS
        self._block = min(_BLOCK_ROWS, 1 << max(0, fitting.bit_length() - 1))

    def __call__(self, rows: Floats, room: _Room) -> Floats:
        """Returns the product, in memory that the next call with this room takes again."""
        blocks = rows.reshape(-1, self._block, rows.shape[1])
        product = room.take(len(rows), self.outputs)
        np.matmul(blocks, self._matrix, out=product.reshape(len(blocks), self._block, self.outputs))
        return product


class _Room:
    """Memory for an array of any number of rows, kept between calls: fresh pages would cost as much as the products."""

    def __init__(self) -> None:
        self._flat: Floats = np.empty(0, dtype=np.float32)

    def take(self, rows: int, columns: int) -> Floats:
        if rows * columns > len(self._flat):
            self._flat = np.empty(2 * rows * columns, dtype=np.float32)
        return self._flat[: rows * columns].reshape(rows, columns)


def _padded(count: int) -> int:
    return max(1, -(-count // _BLOCK_ROWS)) * _BLOCK_ROWS


class Policy:
    """A policy that is ready to score candidates; not to be shared by threads, for it keeps memory between calls.

    Args:
        weights: As `weight_shapes(card)` lists them.
        where: Its name or file, for messages.
    """

    def __init__(self, card: PolicyCard, weights: Weights, where: str = "policy") -> None:
        check_weights(card, weights, where)
        self.card, self.weights, self.where = card, weights, where
        width = card.width
        self._phi = [self._layer(f"phi.{layer}") for layer in range(card.depth)]
        self._psi = [self._layer(f"psi.{layer}") for layer in range(card.depth)]
        own, shared = np.split(weights["head.weight"], [width], axis=1)
        self._own, self._shared = _Dense(own), _Dense(shared)
        self._rooms = [_Room() for _ in range(6)]
        self._head_bias, self._score = weights["head.bias"], weights["score.weight"].reshape(width).copy()

    def _layer(self, name: str) -> tuple[_Dense, Floats]:
        return _Dense(self.weights[f"{name}.weight"]), self.weights[f"{name}.bias"]

    def logits(self, candidates: Floats, context: Floats, mask: npt.NDArray[Any]) -> Floats:
        """Returns a score per candidate, float32 (rows, 64), -inf where the mask forbids.

        Args:
            candidates: Features, float32 (rows, 64, F).
            context: Features, float32 (rows, G).
            mask: 0 where a candidate is forbidden, int8 or bool (rows, 64).
        """
        rows, width = len(mask), self.card.width
        count = int(np.count_nonzero(mask))
        packed_room, even, odd, own, pooled_room, shared_room = self._rooms
        packed = packed_room.take(_padded(count), candidates.shape[2])
        packed[count:] = 0
        places, starts = np.empty(count, dtype=np.int64), np.empty(rows + 1, dtype=np.int64)
        pack(candidates, mask, packed, places, starts)
        pooled = pooled_room.take(_padded(rows), 3 * width)
        pooled[:] = 0
        known = np.zeros((len(pooled), context.shape[1]), dtype=np.float32)
        known[:rows] = context
        pooled[:, :width] = _encode(self._psi, known, even, odd)
        hidden = _encode(self._phi, packed, even, odd)
        pool(hidden, starts, pooled[:, width : 2 * width], pooled[:, 2 * width :])
        shared = self._shared(pooled, shared_room)
        shared += self._head_bias
        logits = np.full(rows * MAX_CANDIDATES, -np.inf, dtype=np.float32)
        score_all(self._own(hidden, own), starts, shared, self._score, places, logits)
        return logits.reshape(rows, MAX_CANDIDATES)


def _encode(layers: list[tuple[_Dense, Floats]], rows: Floats, even: _Room, odd: _Room) -> Floats:
    for layer, bias in layers:
        rows = layer(rows, even)
        relu(rows, bias)
        even, odd = odd, even
    return rows


def shipped_policies() -> dict[str, Path]:
    """Returns the files of the policies that come with Foldwright, by name."""
    return {path.stem: path for path in sorted(POLICY_FOLDER.glob(f"*{_SUFFIX}"))}


def load_policy(name_or_path: str | Path) -> Policy:
    """Returns a shipped policy by name, or one from a file.

    Raises:
        PolicyError: there is none of this name, or the file is not one that can be used.
    """
    text, shipped = str(name_or_path), shipped_policies()
    if text in shipped:
        return Policy(*read_policy_file(shipped[text]), where=text)
    if text.endswith(_SUFFIX) or "/" in text or Path(text).exists():
        return Policy(*read_policy_file(text), where=text)
    known = nearest(text, shipped) if shipped else "none is shipped"
    raise PolicyError(f"no policy is named {text!r} and no file is; {known}; or give a {_SUFFIX} file")
