"""Kills a training at random moments with SIGKILL, lets it go on, and compares the result with an uninterrupted one.

    python benchmarks/resume.py [--kills 20] [--environment tiling] [--json FILE]

The training is a short one of `foldwright train` with imitation and reinforcement. It is started, and killed a random time
after it has begun to work, drawn evenly from the time that it works uninterrupted, over and over in the same folder; when
it ends before it is killed, the next one begins in a new folder, until all kills are done. After every kill each file
of the folder is read: one that cannot be is corrupt. Finished folders must equal the uninterrupted one bit for bit in
weights, optimizer, averages, labels and counters, CPU seconds left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from foldwright.agents.checkpoint import read_labels, read_state, state_bytes, without_times
from foldwright.agents.policy_file import policy_bytes, read_policy_file
from foldwright.errors import FoldwrightError

__all__ = ["Kills", "digest", "main", "unreadable"]

STEPS = 1200
CONFIG = """\
imitation_steps_share = 0.5
[network]
width = 16
[imitation]
instances = 2
episodes = 2
oracle_evaluations = 200
repair_evaluations = 5
batches = 20
batch_rows = 32
average_from = 0.3
[ppo]
instances = 2
episodes = 8
rollout_steps = 8
rollouts = 1
batch_rows = 32
epochs = 2
[validation]
instances = 2
oracle_evaluations = 200
"""


def _start(environment: str, config: Path, out: Path) -> subprocess.Popen[bytes]:
    words = ["train", environment, "--config", str(config), "--steps", str(STEPS), "--out", str(out)]
    return subprocess.Popen(
        [sys.executable, "-m", "foldwright", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _await_work(process: subprocess.Popen[bytes], out: Path, last: int) -> None:
    """Returns when a training has taken the lock of its folder again, or ended."""
    while process.poll() is None and _lock_time(out) == last:
        time.sleep(0.01)


def _lock_time(out: Path) -> int:
    lock = out / ".lock"
    return lock.stat().st_mtime_ns if lock.exists() else 0


def unreadable(folder: Path) -> list[str]:
    """Returns the files of a training's folder that cannot be read as what they are."""
    wrong = []
    for path in sorted(folder.rglob("*")):
        try:
            if path.name.startswith(".") or not path.is_file() or path.parent != folder:
                continue  # half-written files carry a leading dot; event files only grow
            if path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
            elif path.name.startswith("labels-"):
                read_labels(path.read_bytes(), path.name)
            elif path.name.startswith("checkpoint"):
                read_state(path.read_bytes(), path.name)
            else:
                read_policy_file(path)
        except (FoldwrightError, ValueError, OSError) as error:
            wrong.append(f"{path.name}: {error}")
    return wrong


def digest(folder: Path) -> dict[str, bytes]:
    """Returns everything that a finished training must repeat, by file."""
    out = {path.name: path.read_bytes() for path in sorted(folder.glob("labels-*"))}
    out["validation.json"] = (folder / "validation.json").read_bytes()
    state = read_state((folder / "checkpoint.safetensors").read_bytes(), "checkpoint")
    out["checkpoint.safetensors"] = state_bytes(without_times(state))
    card, weights = read_policy_file(folder / "policy.safetensors")
    out["policy.safetensors"] = policy_bytes(dataclasses.replace(card, training_cpu_seconds=0.0), weights)
    return out


class Kills:
    """Trainings that are killed and go on, and what was found."""

    def __init__(self, environment: str, config: Path, base: Path, seed: int) -> None:
        self._environment, self._config, self._base = environment, config, base
        self._rng = np.random.default_rng(seed)
        self.kills, self.corrupt, self.chunks_at_kill = 0, list[str](), list[int]()
        self.finished: list[Path] = []

    def until(self, kills: int, seconds: float) -> None:
        """Kills so many times, each after at most `seconds`, and then lets the last training end."""
        while self.kills < kills or not self.finished or self._open().exists():
            out = self._open()
            before = _lock_time(out)
            process = _start(self._environment, self._config, out)
            _await_work(process, out, before)
            try:
                process.wait(self._rng.uniform(0, seconds) if self.kills < kills else None)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                self.kills += 1
                self.corrupt += unreadable(out) if out.exists() else []
                self.chunks_at_kill.append(_chunk(out))
                print(f"kill {self.kills}: chunk {self.chunks_at_kill[-1]}", flush=True)
                continue
            if process.returncode:
                raise SystemExit(f"training ended with {process.returncode}; run it in {out} to see why")
            self.finished.append(out)

    def _open(self) -> Path:
        return self._base / f"killed-{len(self.finished)}"


def _chunk(folder: Path) -> int:
    path = folder / "checkpoint.safetensors"
    return read_state(path.read_bytes(), path.name).counters.chunk if path.exists() else 0


def _measure(environment: str, kills: int, base: Path) -> dict[str, Any]:
    config = base / "short.toml"
    config.write_text(CONFIG, encoding="utf-8")
    whole = base / "whole"
    for out in (base / "warm", whole):  # the first one compiles
        process = _start(environment, config, out)
        _await_work(process, out, 0)
        began = time.monotonic()
        if process.wait():
            raise SystemExit("the uninterrupted training failed")
        seconds = time.monotonic() - began
    runs = Kills(environment, config, base, seed=0)
    runs.until(kills, seconds)
    expected = digest(whole)
    equal = [digest(folder) == expected for folder in runs.finished]
    return {
        "environment": environment,
        "kills": runs.kills,
        "chunks": _chunk(whole),
        "chunks_done_at_kill": runs.chunks_at_kill,
        "corrupt_files": runs.corrupt,
        "finished_trainings": len(equal),
        "bit_equal": sum(equal),
        "seconds_at_work": round(seconds, 1),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--environment", default="tiling")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        found = _measure(args.environment, args.kills, Path(base))
    print(json.dumps(found, indent=1))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if found["corrupt_files"] or found["bit_equal"] != found["finished_trainings"]:
        raise SystemExit("a folder was corrupt or a result differs")


if __name__ == "__main__":
    main()
