"""Run folders: what a command leaves behind is whole or absent.

A run is built in a hidden folder beside its target and renamed at the end, so a crash, a full disk or
`kill -9` never leaves a folder that looks finished. `summary.json` is written last: a folder without it is
half-written. Single files are written beside their target, flushed to the disk and renamed. A hidden folder
that a killed command left is removed by the next command with the same target; a lock tells it from one still
at work.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from foldwright.errors import RunFolderError
from foldwright.jsonform import MAX_JSON_BYTES, parse_json

__all__ = [
    "LOG",
    "RUN_ENTRIES",
    "SUMMARY",
    "RunFolder",
    "RunWriter",
    "new_run",
    "open_run",
    "staged_folder",
    "write_atomic",
]

SUMMARY = "summary.json"
LOG = "run.log"
RUN_ENTRIES = frozenset(
    {
        SUMMARY,
        LOG,
        "plan.json",
        "schedule.json",
        "search.json",
        "placement.json",
        "pareto.json",
        "report.html",
        "verify.json",
        "build",
    }
)
"""Everything that our commands put into a run folder; `build` and `verify.json` by later ones."""
_LOCK = ".lock"


def write_atomic(path: str | Path, data: str | bytes) -> None:
    """Writes a file whole or not at all; a file that stood there before stays until the new one is complete.

    Raises:
        RunFolderError: the folder is missing or not writable, or the disk is full.
    """
    path = Path(path)
    raw = data.encode("utf-8") if isinstance(data, str) else data
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        with os.fdopen(handle, "wb") as out:
            out.write(raw)
            _to_disk(out)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        _path_to_disk(path.parent)
    except OSError as error:
        raise _cannot("write", path, error) from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _to_disk(out: IO[Any]) -> None:
    out.flush()
    os.fsync(out.fileno())


def _path_to_disk(path: Path) -> None:
    """Makes a file or a rename in a folder durable; systems that cannot open a folder do without."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _cannot(verb: str, path: Path, error: OSError) -> RunFolderError:
    remedies = {errno.ENOSPC: "free some space", errno.ENOENT: "make the folder first"}
    remedy = remedies.get(error.errno or 0, "choose another place or change its permissions")
    return RunFolderError(f"{path}: cannot {verb}: {error.strerror or error}; {remedy}")


def _lock(folder: Path) -> IO[str] | None:
    """Takes the lock of a folder at work; None where another process holds it."""
    out = open(folder / _LOCK, "w")  # noqa: SIM115 (held until the folder is complete)
    try:
        import fcntl

        fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        pass  # Windows has no fcntl; leftovers then stay until removed by hand
    except OSError:
        out.close()
        return None
    return out


def _remove_leftovers(target: Path) -> None:
    """Removes hidden folders of killed commands with the same target."""
    for folder in target.parent.glob(f".{target.name}.*.partial"):
        lock = _lock(folder) if folder.is_dir() and os.name == "posix" else None
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            lock.close()


def _make_parents(folder: Path) -> list[Path]:
    """Makes a folder and those above it; returns the new ones, innermost first."""
    made: list[Path] = []
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    for path in reversed(missing):
        path.mkdir()
        made.insert(0, path)
    return made


@contextlib.contextmanager
def staged_folder(target: str | Path) -> Iterator[Path]:
    """Gives a hidden folder to write into; it becomes `target` when the block ends without an error.

    A folder that stands at `target` is replaced, and stays until then. On an error nothing changes.

    Raises:
        RunFolderError: the folder cannot be made or renamed.
    """
    target = Path(target).resolve()
    if os.path.ismount(target):
        raise RunFolderError(f"{target}: is a mount point, which cannot be renamed; use {target / 'run'}")
    made: list[Path] = []
    try:
        made = _make_parents(target.parent)
        _remove_leftovers(target)
        stage = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
        lock = _lock(stage)
    except OSError as error:
        _remove_empty(made)
        raise _cannot("make the folder", target, error) from None
    try:
        yield stage
        _publish(stage, target)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        _remove_empty(made)
        raise
    finally:
        if lock is not None:
            lock.close()


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _publish(stage: Path, target: Path) -> None:
    try:
        os.chmod(stage, 0o777 & ~_umask())
        for path in stage.rglob("*"):
            if path.is_file() and path.name != _LOCK:
                _path_to_disk(path)
        (stage / _LOCK).unlink(missing_ok=True)
        if target.is_dir():
            _swap(stage, target)
        else:
            os.rename(stage, target)
        _path_to_disk(target.parent)
    except OSError as error:
        raise _cannot("finish the folder", target, error) from None


def _swap(stage: Path, target: Path) -> None:
    """Puts `stage` where `target` stands; the old folder returns if the rename fails."""
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)) / "old"
    os.rename(target, old)
    try:
        os.rename(stage, target)
    except OSError:
        os.rename(old, target)
        raise
    finally:
        shutil.rmtree(old.parent, ignore_errors=True)


class RunWriter:
    """Writes the files of one run into its hidden folder.

    `command` is the command line that makes the run; it goes into the summary and identifies the run.
    """

    def __init__(self, folder: Path, command: str) -> None:
        self.folder = folder
        self.command = command
        self.finished = False

    def log(self, line: str) -> None:
        """Adds a line to `run.log`."""
        with open(self.folder / LOG, "a", encoding="utf-8") as out:
            out.write(line.rstrip("\n") + "\n")

    def write(self, name: str, text: str) -> None:
        """Writes one file of the run."""
        write_atomic(self.folder / name, text)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Writes `summary.json`, which makes the run complete."""
        body = {**summary, "command": self.command}
        self.write(SUMMARY, json.dumps(body, indent=1, allow_nan=False) + "\n")
        self.finished = True


@contextlib.contextmanager
def new_run(out: str | Path, command: str) -> Iterator[RunWriter]:
    """Gives a writer for a new run folder, which appears when the block ends and `finish` was called.

    A folder that holds a run of the same command is replaced, with what was built from it; any other
    folder with files in it is refused before work starts.

    Raises:
        RunFolderError: the folder holds something else, or cannot be written.
    """
    out = Path(out)
    _refuse_other_content(out, command)
    with staged_folder(out) as stage:
        writer = RunWriter(stage, command)
        writer.log(f"command: {command}")
        yield writer
        if not writer.finished:
            raise RunFolderError(f"{out}: the run ended without a summary; nothing was kept")
        _refuse_other_content(out, command)  # another command may have finished there meanwhile


def _refuse_other_content(out: Path, command: str) -> None:
    try:
        if not os.path.lexists(out):
            return
        if not out.is_dir():
            raise RunFolderError(f"{out}: is no folder, but --out needs one; choose another --out")
        names = sorted(p.name for p in out.iterdir())
    except OSError as error:
        raise _cannot("read the folder", out, error) from None
    foreign = [n for n in names if n not in RUN_ENTRIES]
    if foreign:
        shown = ", ".join(foreign[:3]) + (f" and {len(foreign) - 3} more" if len(foreign) > 3 else "")
        raise RunFolderError(f"{out}: holds files that are no run ({shown}); choose another --out")
    if names:
        before = open_run(out).command
        if before != command:
            raise RunFolderError(
                f"{out}: already holds another run, made by\n  {before}\n"
                "choose another --out or remove the folder (only the same command may replace its own run)"
            )


class RunFolder:
    """A complete run folder, for reading."""

    def __init__(self, path: Path, summary: Mapping[str, Any]) -> None:
        self.path = path
        self.summary = summary

    @property
    def command(self) -> str:
        return str(self.summary["command"])

    def file(self, name: str) -> Path:
        """Returns the path of one file of the run.

        Raises:
            RunFolderError: the run has no such file.
        """
        path = self.path / name
        if not path.exists():
            have = ", ".join(sorted(p.name for p in self.path.iterdir()))
            raise RunFolderError(f"{self.path}: the run has no {name}; it holds: {have}")
        return path


def open_run(path: str | Path) -> RunFolder:
    """Opens a run folder, and refuses one that is absent, unreadable, half-written or damaged.

    Raises:
        RunFolderError: with the reason and the remedy.
    """
    path = Path(path)
    if not path.is_dir():
        found = "is a file" if path.exists() else "there is no such folder"
        raise RunFolderError(f"{path}: {found}; give a folder that 'foldwright optimize --out' wrote")
    summary = path / SUMMARY
    try:
        if not summary.is_file():
            raise RunFolderError(
                f"{path}: no {SUMMARY}, so this is half-written or no run folder; "
                "run 'foldwright optimize' again"
            )
        if summary.stat().st_size > MAX_JSON_BYTES:
            raise RunFolderError(f"{summary}: larger than the {MAX_JSON_BYTES} bytes allowed")
        body = parse_json(summary.read_text(encoding="utf-8"), str(summary))
    except OSError as error:
        raise RunFolderError(f"{summary}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise RunFolderError(f"{summary}: not a text file in UTF-8, so the run is damaged") from None
    if not isinstance(body, dict) or not isinstance(body.get("command"), str):
        raise RunFolderError(f"{summary}: has no 'command', so no run of ours wrote it")
    return RunFolder(path, body)
