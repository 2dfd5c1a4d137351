"""A run folder is whole or absent, and never takes the place of something else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from foldwright.errors import InputError, RunFolderError
from foldwright.runs import new_run, open_run, staged_folder, write_atomic
from tests.support import ROOT


def make_run(out: Path, command: str = "foldwright optimize a", text: str = "{}") -> None:
    with new_run(out, command) as run:
        run.write("plan.json", text)
        run.finish({"fps": 1})


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_run_holds_its_files_and_the_command(tmp_path: Path) -> None:
    make_run(tmp_path / "deep" / "out")
    run = open_run(tmp_path / "deep" / "out")
    assert names(run.path) == ["plan.json", "run.log", "summary.json"]
    assert run.command == "foldwright optimize a"
    assert run.summary["fps"] == 1
    assert run.file("run.log").read_text() == "command: foldwright optimize a\n"
    assert names(tmp_path / "deep") == ["out"]


def test_files_obey_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        make_run(tmp_path / "out")
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "out" / "plan.json").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, InputError])
def test_an_error_leaves_nothing_behind(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), new_run(tmp_path / "deep" / "er" / "out", "c") as run:
        run.write("plan.json", "{}")
        raise error
    assert names(tmp_path) == []


def test_a_run_without_a_summary_is_not_kept(tmp_path: Path) -> None:
    with (
        pytest.raises(RunFolderError, match="ended without a summary"),
        new_run(tmp_path / "out", "c") as run,
    ):
        run.write("plan.json", "{}")
    assert names(tmp_path) == []


def test_the_same_command_replaces_its_run_and_what_was_built_from_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_run(out, text="1")
    (out / "build").mkdir()
    make_run(out, text="2")
    assert (out / "plan.json").read_text() == "2"
    assert names(out) == ["plan.json", "run.log", "summary.json"]
    assert names(tmp_path) == ["out"]


def test_an_error_keeps_the_run_that_stood_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_run(out, text="1")
    with pytest.raises(ValueError), new_run(out, "foldwright optimize a"):  # noqa: PT011 (raised here)
        raise ValueError
    assert (out / "plan.json").read_text() == "1"
    assert names(tmp_path) == ["out"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    make_run(tmp_path / "out")
    assert open_run(tmp_path / "out").command


def test_a_link_to_a_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    make_run(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "summary.json").is_file()


def test_another_run_is_refused_with_its_command(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_run(out, "foldwright optimize a")
    with pytest.raises(RunFolderError) as caught:
        make_run(out, "foldwright optimize b")
    assert str(caught.value) == (
        f"{out}: already holds another run, made by\n  foldwright optimize a\n"
        "choose another --out or remove the folder (only the same command may replace its own run)"
    )


def test_a_run_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(RunFolderError, match="already holds another run"), new_run(out, "slow") as run:
        make_run(out, "fast")
        run.finish({})
    assert open_run(out).command == "fast"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"thesis.tex": ""}, "holds files that are no run (thesis.tex)"),
        ({"a": "", "b": "", "c": "", "d": ""}, "holds files that are no run (a, b, c and 1 more)"),
        ({"summary.json": '{"command": "c"}', "notes": ""}, "holds files that are no run (notes)"),
        ({"plan.json": "{}"}, "no summary.json, so this is half-written"),
        ({"summary.json": ""}, "not valid JSON"),
        ({"summary.json": '{"command": "c", "command": "c"}'}, "key 'command' stands twice"),
        ({"summary.json": "[]"}, "has no 'command'"),
        ({"summary.json": '{"command": NaN}'}, "NaN is not a number that a file may hold"),
    ],
)
def test_a_folder_with_other_content_is_refused_and_kept(
    tmp_path: Path, content: dict[str, str], message: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name, text in content.items():
        (out / name).write_text(text)
    with pytest.raises(InputError) as caught:
        make_run(out)
    assert message in str(caught.value)
    assert names(out) == sorted(content)


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(RunFolderError, match="is no folder, but --out needs one"):
        make_run(tmp_path / "out")
    with pytest.raises(RunFolderError, match="cannot make the folder: Not a directory"):
        make_run(tmp_path / "out" / "below")
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that even root cannot write")
def test_an_unwritable_place_is_refused_before_work(tmp_path: Path) -> None:
    with pytest.raises(
        RunFolderError, match=r"/proc/out: cannot make the folder: .*; (make the|choose another)"
    ):
        make_run(Path("/proc/out"))
    with pytest.raises(RunFolderError, match="cannot write"):
        write_atomic("/proc/out.json", "{}")


def test_a_mount_point_is_refused_before_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: path == tmp_path / "out")
    with pytest.raises(RunFolderError, match="is a mount point"):
        make_run(tmp_path / "out")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "there is no such folder; give a folder that 'foldwright optimize --out' wrote"),
        (lambda p: p.write_text(""), "is a file"),
        (lambda p: p.mkdir(), "half-written or no run folder"),
        (lambda p: (p.mkdir(), (p / "summary.json").write_bytes(b"\xff\xfe")), "not a text file in UTF-8"),
    ],
)
def test_reading_what_is_no_run_is_refused(tmp_path: Path, make: object, message: str) -> None:
    assert callable(make)
    make(tmp_path / "run")
    with pytest.raises(RunFolderError, match=message):
        open_run(tmp_path / "run")


def test_a_missing_file_of_a_run_is_named(tmp_path: Path) -> None:
    make_run(tmp_path / "out")
    with pytest.raises(RunFolderError, match=r"has no placement.json; it holds: plan.json, run.log, summary"):
        open_run(tmp_path / "out").file("placement.json")


def test_write_atomic_keeps_the_old_file_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.json"
    write_atomic(path, "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFolderError, match="No space left on device; free some space"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.json"]


WRITER = """
import itertools, sys
from pathlib import Path
from foldwright.runs import new_run, write_atomic
out = Path(sys.argv[1])
for i in itertools.count():
    write_atomic(out.parent / "one.json", f'{{"n": {i}}}' + " " * 200_000)
    with new_run(out, "same") as run:
        for name in ("plan.json", "schedule.json"):
            run.write(name, f'{{"n": {i}}}' + " " * 200_000)
        run.finish({"n": i})
    print(i, flush=True)
"""


def test_kill_never_leaves_a_folder_that_looks_whole_but_is_not(tmp_path: Path) -> None:
    """Kills a writer at 12 moments; each time the folder is absent or holds three files of one round."""
    out, whole = tmp_path / "out", 0
    for k in range(12):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(out)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.003 * k)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        if out.exists():
            whole += 1
            n = open_run(out).summary["n"]
            for name in ("plan.json", "schedule.json"):
                assert (out / name).read_text() == f'{{"n": {n}}}' + " " * 200_000
        assert (tmp_path / "one.json").stat().st_size > 200_000
    assert whole >= 6
    make_run(out, "same")
    assert [n for n in names(tmp_path) if n.startswith(".out")] == []


def test_a_folder_still_at_work_is_not_taken_for_a_leftover(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with staged_folder(target) as first:
        (first / "a").write_text("1")
        with staged_folder(tmp_path / "other"):
            pass
        code = f"from foldwright.runs import staged_folder\nwith staged_folder({str(target)!r}): pass"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
        assert (first / "a").read_text() == "1"
