"""`foldwright bench` writes a table, JSON, Markdown and one small page, goes on where it ended, and hides no failure."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from foldwright.agents.suite import SUITE_NAMES
from foldwright.cli import main
from foldwright.report import MAX_REPORT_BYTES, Anytime, Series, Table
from foldwright.report.bench_page import BenchPage, render_bench
from tests.foldwright.test_report import Page

SUITE = """
summary = "Two searches of <digits> & friends."
instances = ["tiling/digits-w1a2-b16"]
solvers = ["random", {name = "greedy", params = {samples = 3}}]
seeds = 2
"""


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(SUITE + "evaluations = [1, 25]\n")
    return tmp_path


def without_times(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{k: v for k, v in row.items() if not k.startswith(("cpu_s", "warmup_s"))} for row in rows]


def test_a_bench_writes_what_it_found_and_goes_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "mine.toml", "--out", "b", "--json", "rows.json"]) == 0
    out = capsys.readouterr().out
    body = json.loads((folder / "rows.json").read_text())
    assert sorted(p.name for p in (folder / "b").iterdir()) == [
        "bench.html",
        "bench.json",
        "bench.md",
        "runs.sqlite",
    ]
    assert body == json.loads((folder / "b/bench.json").read_text())
    assert [(r["solver"], r["budget"], r["seeds"]) for r in body["rows"]] == [
        ("random", 1, 2),
        ("random", 25, 2),
        ("greedy (samples=3)", 1, 2),
        ("greedy (samples=3)", 25, 2),
    ]
    assert body["reproducible"] is True
    first = body["rows"][0]
    assert f"{first['cost_median']:,}" in out
    assert f"{first['cost_median']:,}" in (folder / "b/bench.md").read_text()
    assert first["gap"] == pytest.approx(
        first["cost_median"] / body["instances"][0]["reference"] - 1, abs=1e-6
    )
    assert main(["bench", "mine.toml", "--out", "b"]) == 0
    assert json.loads((folder / "b/bench.json").read_text()) == body  # even its times: nothing ran again
    assert main(["bench", "mine.toml", "--out", "b", "--seeds", "3", "--solver", "random"]) == 0
    more = json.loads((folder / "b/bench.json").read_text())["rows"]
    assert [(r["solver"], r["seeds"]) for r in more] == [("random", 3), ("random", 3)]


def test_cpu_seconds_give_integrals_and_are_called_not_reproducible(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "mine.toml").write_text(SUITE + "cpu_seconds = [0.02]\n")
    assert main(["bench", "mine.toml"]) == 0
    body = json.loads((folder / "runs/bench-mine/bench.json").read_text())
    assert body["reproducible"] is False
    assert "not reproducible" in body["remarks"][0]
    for row in body["rows"]:
        assert row["gap_integral"] == pytest.approx(row["primal"] + row["dual"], abs=2e-6)
        assert row["primal"] >= 0
        assert row["dual"] >= 0
        assert row["reproducible"] is False
    assert "gap integral %" in capsys.readouterr().out


def test_the_page_is_whole_and_loads_nothing(folder: Path) -> None:
    assert main(["bench", "mine.toml", "--out", "b"]) == 0
    html = (folder / "b/bench.html").read_text()
    page = Page(html)
    assert len(html.encode()) < MAX_REPORT_BYTES
    assert not [v for k, v in page.attributes if k in ("src", "href") or "://" in v]
    assert "url(" not in html
    assert "Two searches of <digits> & friends." in " ".join(page.words)
    assert html.count('class="curve') == 2


def test_a_large_page_stays_small() -> None:
    steps = tuple(0.001 * (k + 1) for k in range(4000))
    series = tuple(
        Series(f"solver {s}", steps, tuple(float(9000 - k) for k in range(4000))) for s in range(6)
    )
    pictures = tuple(Anytime(f"tiling/instance-{n}", "cycles", series, 100.0) for n in range(80))
    rows = tuple(tuple("0.123456" for _ in range(12)) for _ in range(900))
    html = render_bench(BenchPage("large", "", (), (Table("t", tuple("abcdefghijkl"), rows),), pictures, ()))
    assert len(html.encode()) < MAX_REPORT_BYTES
    assert html.count("<svg") == 60
    assert "20 more instances are not drawn" in html
    assert "400 more rows are in the other files" in html


def test_a_bench_in_which_nothing_was_solved_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (folder / "mine.toml").read_text().replace("digits-w1a2-b16", "cnv-w1a1-b16")
    (folder / "mine.toml").write_text(text)
    assert main(["bench", "mine.toml", "--solver", "exact", "--out", "b"]) == 3
    out, err = capsys.readouterr()
    assert "0/2, 2 failed" in out
    assert "4 of 4 runs failed" in err
    assert "no run found a solution" in err


def test_list_names_every_suite(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(SUITE_NAMES)
    assert all(re.search(r"\w\.$", line) for line in lines)
