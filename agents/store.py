"""The run store of `bench`: an SQLite file with one row per run, each with the whole history of its search.

A run is identified by its suite, the content of its instance, the solver with all options, the budget and the seed. `put`
returns when the row is on the disk: the file is in WAL mode and synchronised at every commit, so `kill -9` at any moment
loses no row that was acknowledged, and a run that is in the store need not be made again. A row holds a `Result` without its
solution, which its choices stand for, or the error that ended the run.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from foldwright.agents.result import Result
from foldwright.errors import ConfigError, RunFolderError
from foldwright.jsonform import from_json, to_json

__all__ = ["STORE_NAME", "RunKey", "RunStore", "StoredRun"]

STORE_NAME = "runs.sqlite"
_FORMAT = "foldwright.runs/1"
_BUSY_S = 30.0
_KEY = ("suite", "instance", "solver", "params", "budget_kind", "budget", "seed")
_SCHEMA = f"""
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (
  suite TEXT NOT NULL, instance TEXT NOT NULL, solver TEXT NOT NULL, params TEXT NOT NULL,
  budget_kind TEXT NOT NULL, budget REAL NOT NULL, seed INTEGER NOT NULL,
  warmup_seconds REAL NOT NULL, error TEXT NOT NULL, result TEXT,
  PRIMARY KEY ({", ".join(_KEY)}), CHECK ((result IS NULL) = (error <> ''))
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class RunKey:
    """What identifies a run.

    Attributes:
        suite: The digest of the suite.
        instance: The content hash of the instance.
        params: All options of the solver as JSON.
        budget_kind: "cpu_seconds" or "evaluations", the unit of `budget`.
    """

    suite: str
    instance: str
    solver: str
    params: str
    budget_kind: str
    budget: float
    seed: int

    @property
    def fields(self) -> tuple[str, str, str, str, str, float, int]:
        return (
            self.suite,
            self.instance,
            self.solver,
            self.params,
            self.budget_kind,
            float(self.budget),
            self.seed,
        )


@dataclass(frozen=True, slots=True)
class StoredRun:
    """One run and what came of it: a result, or the error that ended it.

    Attributes:
        warmup_seconds: CPU seconds before the search began to count: compiling, bounds, a first call.
    """

    key: RunKey
    result: Result | None
    error: str
    warmup_seconds: float

    def __post_init__(self) -> None:
        if (self.result is None) != bool(self.error):
            raise ConfigError(f"run {self.key}: has either a result or an error, got {self.error!r}")


class RunStore:
    """The runs of one suite in one folder; used as a context manager.

    Raises:
        RunFolderError: the file is of another suite, damaged, or cannot be written.
    """

    def __init__(self, path: str | Path, suite: str) -> None:
        self.path = Path(path)
        self.suite = suite
        with self._told("opened"):
            self._db = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
        try:
            with self._told("opened"):
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> RunStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("BEGIN IMMEDIATE")  # two commands may meet in a new folder
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            for statement in _SCHEMA.split(";")[:-1]:
                self._db.execute(statement)
            about = {"format": _FORMAT, "suite": self.suite}
            self._db.executemany("INSERT INTO about VALUES (?, ?)", about.items())
        about = dict(self._db.execute("SELECT key, value FROM about")) if tables != {"runs"} else {}
        self._db.execute("COMMIT")
        if about.get("format") != _FORMAT:
            raise RunFolderError(
                f"{self.path}: format is {about.get('format')!r}, but {_FORMAT!r} is needed; choose another --out"
            )
        if about["suite"] != self.suite:
            raise RunFolderError(
                f"{self.path}: holds the runs of another suite (instances or budgets differ: {about['suite']}, "
                f"not {self.suite}); choose another --out"
            )

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Turns what SQLite says into an error that names the file and a way out."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if self._is_open_transaction():
                self._db.rollback()
            raise RunFolderError(
                f"{self.path}: the run store cannot be {what}: {error}; choose another --out or remove the file"
            ) from None

    def _is_open_transaction(self) -> bool:
        return hasattr(self, "_db") and self._db.in_transaction

    def put(self, run: StoredRun) -> None:
        """Keeps a run; when this returns, the row is on the disk. A failed run of the same key is replaced."""
        body = None if run.result is None else to_json(replace(run.result, solution=None))
        values = (*run.key.fields, run.warmup_seconds, run.error, body)
        with self._told("written"):
            self._db.execute(
                f"INSERT INTO runs VALUES ({', '.join('?' * len(values))}) ON CONFLICT DO UPDATE SET "
                "warmup_seconds = excluded.warmup_seconds, error = excluded.error, result = excluded.result "
                "WHERE runs.result IS NULL",
                values,
            )

    def get(self, key: RunKey) -> StoredRun | None:
        """Returns the run of a key; None where there is none."""
        where = " AND ".join(f"{name} = ?" for name in _KEY)
        with self._told("read"):
            row = self._db.execute(
                f"SELECT warmup_seconds, error, result FROM runs WHERE {where}", key.fields
            ).fetchone()
        if row is None:
            return None
        warmup_seconds, error, body = row
        result = (
            None if body is None else from_json(Result, body, f"{self.path}: run {json.dumps(key.fields)}")
        )
        return StoredRun(key, result, error, warmup_seconds)

    def stored_keys(self) -> Iterator[RunKey]:
        """Yields the keys of all runs, in order."""
        with self._told("read"):
            rows = self._db.execute(
                f"SELECT {', '.join(_KEY)} FROM runs ORDER BY {', '.join(_KEY)}"
            ).fetchall()
        yield from (RunKey(*row) for row in rows)

    def __len__(self) -> int:
        with self._told("read"):
            return int(self._db.execute("SELECT COUNT(*) FROM runs").fetchone()[0])
