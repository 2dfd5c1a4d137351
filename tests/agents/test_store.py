"""The run store keeps what it acknowledged, also when its process is killed, and refuses what is not its own."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from foldwright.agents.store import STORE_NAME, RunStore, StoredRun
from foldwright.errors import ConfigError, RunFolderError
from tests.agents.bench_support import key, result_of, stored
from tests.support import ROOT


def test_a_run_comes_back_equal_with_its_whole_history(tmp_path: Path) -> None:
    with RunStore(tmp_path / STORE_NAME, "suite") as store:
        store.put(stored(0))
        store.put(StoredRun(key(1), None, "it broke", 0.0))
    with RunStore(tmp_path / STORE_NAME, "suite") as store:
        back = store.get(key(0))
        assert back is not None
        assert back.result is not None
        assert back == stored(0)
        assert back.result.history == ((0.0, 1, 100), (0.01, 5, 70))
        assert store.get(key(1)) == StoredRun(key(1), None, "it broke", 0.0)
        assert store.get(key(2)) is None
        assert store.get(key(0, budget=1.0)) is None
        assert list(store.stored_keys()) == [key(0), key(1)]
        assert len(store) == 2


def test_an_error_is_replaced_but_a_result_never(tmp_path: Path) -> None:
    failed = StoredRun(key(0), None, "it broke", 0.0)
    with RunStore(tmp_path / STORE_NAME, "suite") as store:
        for run in (failed, stored(0), failed, stored(0, cost=60)):
            store.put(run)
        assert store.get(key(0)) == stored(0)
        assert len(store) == 1


def test_a_run_has_either_a_result_or_an_error() -> None:
    for result, error in ((None, ""), (result_of([]), "both")):
        with pytest.raises(ConfigError, match="either a result or an error"):
            StoredRun(key(0), result, error, 0.0)


def test_another_suite_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    path = tmp_path / STORE_NAME
    with RunStore(path, "suite") as store:
        store.put(stored(0))
    before = path.read_bytes()
    with pytest.raises(RunFolderError, match=r"holds the runs of another suite .*suite, not other.*choose"):
        RunStore(path, "other")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"hello, I am a text", bytes(4096), b"SQLite format 3\0" + b"\xff" * 500]
)
def test_a_file_that_is_no_store_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / STORE_NAME
    path.write_bytes(content)
    with pytest.raises(RunFolderError, match=f"{STORE_NAME}: the run store cannot be opened"):
        RunStore(path, "suite")


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / STORE_NAME
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE about (key TEXT, value TEXT)")
    db.close()
    with pytest.raises(RunFolderError, match="format is None"):
        RunStore(path, "suite")


def test_two_processes_can_write_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / STORE_NAME
    with RunStore(path, "suite") as one, RunStore(path, "suite") as two:
        one.put(stored(0))
        two.put(stored(1))
        assert len(one) == len(two) == 2


WRITER = """
import sys
from foldwright.agents.store import RunStore
from tests.agents.bench_support import stored
with RunStore(sys.argv[1], "suite") as store:
    for seed in range(int(sys.argv[2]), 10**6):
        store.put(stored(seed))
        print(seed, flush=True)
"""


def test_kill_loses_no_acknowledged_row(tmp_path: Path) -> None:
    path, first = tmp_path / STORE_NAME, 0
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    for rows in (1, 17, 60):
        command = [sys.executable, "-c", WRITER, str(path), str(first)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=ROOT) as writer:
            assert writer.stdout is not None
            told = [int(writer.stdout.readline()) for _ in range(rows)]
            os.kill(writer.pid, signal.SIGKILL)
            told += [int(line) for line in writer.stdout.read().split()]
        with RunStore(path, "suite") as store:
            kept = [k.seed for k in store.stored_keys()]
            assert all(store.get(key(seed)) == stored(seed) for seed in kept)
        assert kept[: told[-1] + 1] == list(range(told[-1] + 1))
        first = len(kept)
