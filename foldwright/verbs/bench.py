"""The verb `bench`: runs a suite into a folder and writes what it says as a table, JSON, Markdown and a page.

The folder holds `runs.sqlite`, the store that makes a bench resumable, and `bench.json`, `bench.md`, `bench.html`, which are
written again from the store each time.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from foldwright.agents.bench import MAX_WORKERS, Run, run_suite
from foldwright.agents.scores import InstanceFacts, Rank, Row, facts_of, ranks_of, rows_of
from foldwright.agents.search import versions
from foldwright.agents.store import STORE_NAME, RunStore, StoredRun
from foldwright.agents.suite import SUITE_NAMES, Suite, load_suite
from foldwright.errors import ConfigError, InfeasibleError, RunFolderError
from foldwright.progress import Progress
from foldwright.report.bench_page import render_bench
from foldwright.report.data import Table
from foldwright.runs import write_atomic
from foldwright.verbs.bench_tables import markdown, page_of, tables_of, terminal

__all__ = ["BENCH_ENTRIES", "bench_suite", "list_suites", "run_bench"]

BENCH_ENTRIES = frozenset(
    {STORE_NAME, f"{STORE_NAME}-wal", f"{STORE_NAME}-shm", "bench.json", "bench.md", "bench.html"}
)
"""Everything that a bench puts into its folder."""


def list_suites() -> str:
    """Returns the suites that come along, a line each."""
    width = max(map(len, SUITE_NAMES))
    return "\n".join(f"{name.ljust(width)}  {load_suite(name).summary}" for name in SUITE_NAMES)


def run_bench(
    name: str,
    *,
    out: Path | None = None,
    seeds: int | None = None,
    workers: int = 1,
    solvers: Sequence[str] = (),
    json_file: Path | None = None,
    retry_failed: bool = False,
) -> int:
    """Runs the suite `name`, prints its tables, writes its files and returns the exit code: 3 if nothing was solved.

    Raises:
        InputError: the suite, an option or the folder is wrong; before any run is made.
    """
    if workers > MAX_WORKERS:
        raise ConfigError(f"--workers is {workers}, allowed is 1 to {MAX_WORKERS}")
    suite = load_suite(name).narrowed(tuple(solvers), seeds)
    stem = Path(name).stem
    return bench_suite(
        suite, stem, out or Path("runs") / f"bench-{stem}", workers=workers, json_file=json_file,
        retry_failed=retry_failed,
    )  # fmt: skip


def bench_suite(
    suite: Suite,
    name: str,
    folder: Path,
    *,
    workers: int = 1,
    json_file: Path | None = None,
    retry_failed: bool = False,
) -> int:
    """Runs a suite into a folder, prints its tables, writes its files and returns the exit code; see `run_bench`."""
    _refuse_unwritable(json_file)
    with _store(folder, suite) as store, Progress() as progress:
        progress.stage("bench")
        done = run_suite(
            suite,
            store,
            workers=workers,
            retry_failed=retry_failed,
            tell=lambda count, total, last: progress.note(f"{count:,} of {total:,} runs, last {last}"),
        )
    facts = facts_of(done)
    rows = rows_of(done, facts)
    _write(folder, name, suite, done, facts, rows, json_file)
    terminal(tables_of(rows, ranks_of(rows)))
    return _ending(folder, rows)


def _ending(folder: Path, rows: Sequence[Row]) -> int:
    """Says what failed and where the files are; returns the exit code."""
    failed = sum(row.failed for row in rows)
    if failed:
        click.echo(f"{failed} of {sum(row.seeds for row in rows)} runs failed:", err=True)
        for words in list(dict.fromkeys(e for row in rows for e in row.errors))[:5]:
            click.echo(f"  {words.splitlines()[0][:200]}", err=True)
    click.echo(f"look at it: {folder / 'bench.html'}")
    solved = any(row.failed + row.unsolved < row.seeds for row in rows)
    if not solved:
        click.echo("error: no run found a solution, so there is nothing to compare", err=True)
    return 0 if solved else InfeasibleError.exit_code


def _write(
    folder: Path, name: str, suite: Suite, done: Sequence[tuple[Run, StoredRun]],
    facts: dict[str, InstanceFacts], rows: Sequence[Row], json_file: Path | None,
) -> None:  # fmt: skip
    ranks = ranks_of(rows)
    remarks = _remarks(suite, done, rows)
    body = json.dumps(_body(name, suite, facts, rows, ranks, remarks), indent=1, allow_nan=False) + "\n"
    small = [
        ("suite", f"{name}, {suite.digest}"),
        ("versions", ", ".join(f"{k} {v}" for k, v in versions().items())),
    ]
    tables: list[Table] = tables_of(rows, ranks)
    write_atomic(folder / "bench.json", body)
    write_atomic(folder / "bench.md", markdown(name, suite.summary, remarks, tables))
    write_atomic(
        folder / "bench.html", render_bench(page_of(name, suite.summary, remarks, tables, done, facts, small))
    )
    if json_file is not None:
        write_atomic(json_file, body)


def _body(
    name: str, suite: Suite, facts: dict[str, InstanceFacts], rows: Sequence[Row], ranks: Sequence[Rank],
    remarks: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    return {
        "format": "foldwright.bench/1",
        "suite": name,
        "summary": suite.summary,
        "digest": suite.digest,
        "reproducible": suite.is_reproducible,
        "remarks": list(remarks),
        "ranks": [dataclasses.asdict(rank) for rank in ranks],
        "instances": [dataclasses.asdict(fact) for fact in facts.values()],
        "rows": [dataclasses.asdict(row) for row in rows],
        "versions": versions(),
    }


def _remarks(suite: Suite, done: Sequence[tuple[Run, StoredRun]], rows: Sequence[Row]) -> list[str]:
    out = []
    if suite.is_reproducible:
        out.append(
            "Budgets count evaluations, so every machine finds the same costs; CPU seconds are this machine's."
        )
    else:
        out.append(
            "Budgets are CPU seconds of this machine: not reproducible, and other work on it, more workers "
            "included, makes every solver slower."
        )
    failed = sum(row.failed for row in rows)
    if failed:
        out.append(f"{failed} of {len(done)} runs failed; they count as infinitely bad.")
    if any(row.training_cpu_s is not None for row in rows):
        out.append(
            "The CPU time of a policy's training stands in its own column and is no part of any budget."
        )
    used = {json.dumps(s.result.versions, sort_keys=True) for _, s in done if s.result is not None}
    if used - {json.dumps(versions(), sort_keys=True)}:
        out.append("Some runs were made by other versions than the ones installed now; see the run store.")
    return out


def _refuse_unwritable(file: Path | None) -> None:
    if file is None:
        return
    if file.is_dir():
        raise RunFolderError(f"{file}: is a folder, but --json needs a file; use {file / 'bench.json'}")
    if not file.parent.is_dir() or not os.access(file.parent, os.W_OK):
        raise RunFolderError(
            f"{file}: the folder {file.parent} is missing or not writable; choose another --json"
        )


@contextmanager
def _store(folder: Path, suite: Suite) -> Iterator[RunStore]:
    """Opens the store in a folder, which is made if it is absent.

    Raises:
        RunFolderError: the folder holds something else, or cannot be written.
    """
    try:
        foreign = (
            sorted(p.name for p in folder.iterdir() if p.name not in BENCH_ENTRIES) if folder.exists() else []
        )
        if foreign:
            shown = ", ".join(foreign[:3])
            raise RunFolderError(f"{folder}: holds files that are no bench ({shown}); choose another --out")
        folder.mkdir(parents=True, exist_ok=True)
    except NotADirectoryError:
        raise RunFolderError(f"{folder}: is no folder, but --out needs one; choose another --out") from None
    except OSError as error:
        raise RunFolderError(
            f"{folder}: cannot make the folder: {error.strerror}; choose another --out"
        ) from None
    if not os.access(folder, os.W_OK):
        raise RunFolderError(f"{folder}: is not writable; choose another --out or change its permissions")
    with RunStore(folder / STORE_NAME, suite.digest) as store:
        yield store
