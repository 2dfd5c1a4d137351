"""`foldwright train`: the folder of a training, how it goes on after an interruption, and what it shows.

The folder holds `training.json` (what is trained, written first), `checkpoint.safetensors` (everything between two chunks),
`labels-*.safetensors`, `validation.json` (best costs known), `tensorboard/`, and at the end `policy.safetensors`. Every file
is whole or absent. The same command on the same folder goes on from the last chunk.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from foldwright.errors import ConfigError, RunFolderError, ToolMissingError
from foldwright.jsonform import parse_json, read_text
from foldwright.runs import write_atomic

__all__ = ["TrainingFolder", "train_into"]

_ABOUT = "training.json"
_FORMAT = "foldwright.training-plan/1"
_NEEDED = ("torch", "stable_baselines3", "sb3_contrib")
_SHOWN_DIFFERENCES = 6


class TrainingFolder:
    """The folder of one training, kept by one process at a time; a `Storage`.

    Args:
        plan: What is trained, as plain values: what the folder must belong to.
    """

    def __init__(self, out: Path, plan: dict[str, Any]) -> None:
        self._out = out
        self._plan = {"format": _FORMAT, **plan}

    @contextlib.contextmanager
    def opened(self) -> Iterator[TrainingFolder]:
        """Holds the folder, new or of the same training.

        Raises:
            RunFolderError: it belongs to something else, is in use, or cannot be written.
        """
        try:
            self.check()
            self._out.mkdir(parents=True, exist_ok=True)
            lock = _locked(self._out)
        except OSError as error:
            raise RunFolderError(
                f"{self._out}: cannot be used: {error.strerror}; choose another --out"
            ) from None
        with lock:
            for leftover in self._out.glob(".*.partial"):  # of a process that was killed while it wrote
                leftover.unlink(missing_ok=True)
            if not (self._out / _ABOUT).exists():
                write_atomic(self._out / _ABOUT, json.dumps(self._plan, indent=1) + "\n")
            yield self

    def check(self) -> None:
        """Refuses a folder of something else, before anything is done.

        Raises:
            RunFolderError: it holds another training or other files.
        """
        out = self._out
        if not os.path.lexists(out):
            return
        if not out.is_dir():
            raise RunFolderError(f"{out}: is no folder, but --out needs one; choose another --out")
        names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
        if _ABOUT in names:
            self._refuse_other_training()
        elif names:
            raise RunFolderError(
                f"{out}: holds files that are no training ({', '.join(sorted(names)[:3])}); choose another --out"
            )

    def _refuse_other_training(self) -> None:
        path = self._out / _ABOUT
        before = parse_json(read_text(path), str(path))
        if not isinstance(before, dict) or before.get("format") != _FORMAT:
            raise RunFolderError(f"{path}: is not of a training of this version; choose another --out")
        old, new = _flat(before), _flat(self._plan)
        keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        if keys:
            lines = [f"  {key} was {old.get(key)}, now {new.get(key)}" for key in keys[:_SHOWN_DIFFERENCES]]
            more = [f"  and {len(keys) - _SHOWN_DIFFERENCES} more"] if len(keys) > _SHOWN_DIFFERENCES else []
            words = f"{self._out}: holds another training; repeat its command or choose another --out"
            raise RunFolderError("\n".join([words, *lines, *more]))

    def read(self, name: str) -> bytes | None:
        try:
            return (self._out / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RunFolderError(f"{self._out / name}: cannot be read: {error.strerror}") from None

    def write(self, name: str, data: bytes) -> None:
        write_atomic(self._out / name, data)


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: value}
    items = [_flat(v, f"{path}.{k}" if path else k) for k, v in value.items()]
    return {key: leaf for item in items for key, leaf in item.items()}


def _locked(folder: Path) -> IO[str]:
    """Returns the lock of a folder, to be closed at the end.

    Raises:
        RunFolderError: another process holds it.
    """
    lock = open(folder / ".lock", "w")  # noqa: SIM115 (closed by the caller)
    try:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        pass  # Windows has no fcntl
    except OSError:
        lock.close()
        raise RunFolderError(
            f"{folder}: another training is at work there; wait or choose another --out"
        ) from None
    return lock


class _Board:
    """Tensorboard's event files of a training, where tensorboard is installed; a point for each chunk."""

    def __init__(self, folder: Path, first_step: int) -> None:
        self._writer: Any = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            # what a killed process wrote after its last checkpoint is told to be forgotten
            self._writer = SummaryWriter(str(folder), purge_step=first_step + 1)

    def add(self, record: Any) -> None:
        if self._writer is not None:
            for name in ("loss", "gap", "best_gap", "cpu_seconds"):
                self._writer.add_scalar(f"{record.phase}/{name}", getattr(record, name), record.steps)
            self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _require_packages() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ToolMissingError(
            f"training needs {' and '.join(missing)}, not installed here; pip install 'foldwright[rl]'"
        )


def train_into(
    environment: str,
    out: Path,
    *,
    config: Path | None = None,
    steps: int | None = None,
    cpu_seconds: float | None = None,
    seed: int = 0,
) -> list[str]:
    """Trains a policy, or goes on training it, and returns what came out, line by line.

    Raises:
        InputError: the environment, an option, the configuration or the folder is wrong; before any work.
        ToolMissingError: torch or Stable-Baselines3 is not installed.
    """
    from foldwright.agents.train_config import kind_of, load_train_config

    kind = kind_of(environment)
    settings = load_train_config(kind, config)
    if steps is not None and cpu_seconds is not None:
        raise ConfigError(f"--steps {steps} and --cpu-seconds {cpu_seconds:g} exclude each other; give one")
    if cpu_seconds is not None and not 0 < cpu_seconds <= 1e9:
        raise ConfigError(f"--cpu-seconds is {cpu_seconds:g}, allowed is more than 0, up to 1e9")
    if steps is None and cpu_seconds is None:
        steps = settings.steps
    _require_packages()
    about = {"environment": kind, "seed": seed, "steps": steps, "cpu_seconds": cpu_seconds}
    folder = TrainingFolder(out, {**about, "config": settings.model_dump(exclude={"steps"})})
    folder.check()  # once more when it is opened: torch takes a while to import
    from foldwright.agents.train import Training, TrainPlan

    with folder.opened():
        training = Training(TrainPlan(kind, settings, seed, steps, cpu_seconds), folder)
        return _run(training, kind, out)


def _run(training: Any, kind: str, out: Path) -> list[str]:
    from foldwright.progress import Progress

    before = training.state.counters
    board = _Board(out / "tensorboard", before.steps) if before.phase != "done" else None
    with Progress() as progress:
        progress.stage(f"train {kind}")

        def tell(record: Any, share: float) -> None:
            progress.note(
                f"{min(share, 1):.0%}, {record.phase} chunk {record.chunk}, {record.steps:,} steps, "
                f"loss {record.loss:.4f}, validation gap {record.gap:.2%}, best {record.best_gap:.2%}"
            )
            if board is not None:
                board.add(record)

        state = training.run(tell)
    if board is not None:
        board.close()
    return _outcome(state.counters, before.chunk, out)


def _outcome(counters: Any, chunk_before: int, out: Path) -> list[str]:
    gaps = {phase: [r.gap for r in counters.records if r.phase == phase] for phase in ("imitation", "ppo")}
    lines = [f"{phase}: best validation gap of a chunk {min(g):.2%}" for phase, g in gaps.items() if g]
    if gaps["ppo"]:
        kept = "kept" if counters.best_from.endswith("(ppo)") else "not kept: they were no better"
        lines.append(f"reinforcement's weights were {kept}")
    going_on = f", went on from chunk {chunk_before}" if chunk_before else ""
    lines.append(
        f"{counters.chunk} chunks{going_on}, {counters.steps:,} steps, {counters.cpu_seconds:.1f} s CPU; "
        f"weights of {counters.best_from}, validation gap {counters.best_gap:.2%}"
    )
    return [*lines, f"wrote {out / 'policy.safetensors'}"]
