"""`foldwright train`: what it writes, how it goes on, and that mistakes end in a few words before any work."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from foldwright.cli import main
from foldwright.verbs import train

TINY = """\
imitation_steps_share = 0.9
[network]
width = 8
[imitation]
instances = 1
episodes = 1
oracle_evaluations = 20
repair_evaluations = 1
batches = 1
batch_rows = 4
[validation]
instances = 1
oracle_evaluations = 20
"""


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> str:
    file = tmp_path / "tiny.toml"
    file.write_text(TINY)
    return str(file)


def test_a_training_writes_its_policy_and_repeats_nothing(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="torch is not installed: pip install 'foldwright[rl]'")
    out = tmp_path / "run"
    words = ["train", "Tiling-v0", "--config", config, "--steps", "1", "--seed", "3", "--out", str(out)]
    assert main(words) == 0
    first = capsys.readouterr().out
    assert "1 chunks" in first
    assert "validation gap" in first
    assert f"wrote {out / 'policy.safetensors'}" in first
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    written = {"training.json", "checkpoint.safetensors", "labels-00000.safetensors", "validation.json"}
    assert names - {"tensorboard"} == written | {"policy.safetensors"}
    if importlib.util.find_spec("tensorboard"):
        assert list((out / "tensorboard").glob("events*"))
    before = (out / "checkpoint.safetensors").read_bytes()
    assert main(words) == 0
    assert (out / "checkpoint.safetensors").read_bytes() == before
    from foldwright.agents.policy import load_policy

    assert load_policy(out / "policy.safetensors").card.seed == 3


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(["train", *words])
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) <= 10
    assert "Traceback" not in err
    return code, err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tilling"], "no environment is named 'tilling'; did you mean 'tiling'?"),
        (
            ["tiling", "--steps", "5", "--cpu-seconds", "5"],
            "--steps 5 and --cpu-seconds 5 exclude each other",
        ),
        (["tiling", "--cpu-seconds", "-1"], "--cpu-seconds is -1, allowed is more than 0"),
        (["tiling", "--cpu-seconds", "nan"], "--cpu-seconds is nan"),
        (["tiling", "--steps", "0"], "Invalid value for '--steps': 0 is not in the range"),
        (["tiling", "--config", "none.toml"], "none.toml: cannot be read"),
    ],
)
def test_a_mistake_leaves_no_folder(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, err = refused([*words, "--out", str(tmp_path / "run")], capsys)
    assert code == 2
    assert message in err
    assert not (tmp_path / "run").exists()


def test_a_misspelt_hyperparameter_gets_the_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.toml"
    file.write_text("[ppo]\nlearning_rat = 0.1\n[imitation]\nepisodes = 0\n")
    code, err = refused(["tiling", "--config", str(file), "--out", str(tmp_path / "run")], capsys)
    assert code == 2
    assert "ppo.learning_rat: unknown hyperparameter; did you mean 'learning_rate'?" in err
    assert "imitation.episodes: input should be greater than or equal to 1 (got 0)" in err


def test_another_training_is_refused_with_what_differs(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    about = {
        "format": "foldwright.training-plan/1", "environment": "allocation", "seed": 0, "steps": 9,
        "cpu_seconds": None, "config": {},
    }  # fmt: skip
    (out / "training.json").write_text(json.dumps(about))
    code, err = refused(["tiling", "--config", config, "--steps", "8", "--out", str(out)], capsys)
    assert code == 2
    assert "holds another training; repeat its command or choose another --out" in err
    assert "environment was allocation, now tiling" in err
    assert "steps was 9, now 8" in err


@pytest.mark.parametrize("text", ["{}", "[1]", '{"format": "foldwright.training-plan/0"}'])
def test_a_folder_of_another_version_is_refused(
    text: str, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "training.json").write_text(text)
    code, err = refused(["tiling", "--config", config, "--out", str(tmp_path)], capsys)
    assert code == 2
    assert "is not of a training of this version" in err


def test_a_folder_with_other_files_and_a_file_are_refused(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, err = refused(["tiling", "--config", config, "--out", str(tmp_path)], capsys)
    assert code == 2
    assert "holds files that are no training (tiny.toml)" in err
    code, err = refused(["tiling", "--config", config, "--out", config], capsys)
    assert code == 2
    assert "is no folder, but --out needs one" in err


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    from foldwright.errors import RunFolderError

    out = tmp_path / "run"
    with (
        train.TrainingFolder(out, {}).opened(),
        pytest.raises(RunFolderError, match="another training is at work there"),
        train.TrainingFolder(out, {}).opened(),
    ):
        pass


def test_half_written_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with train.TrainingFolder(out, {}).opened() as folder:
        folder.write("a", b"1")
        (out / ".checkpoint.safetensors.x.partial").write_bytes(b"half")
    with train.TrainingFolder(out, {}).opened() as folder:
        assert folder.read("a") == b"1"
        assert folder.read("b") is None
    assert not list(out.glob(".*.partial"))


def test_missing_torch_says_what_to_install(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "_NEEDED", ("torch_of_nowhere",))
    code, err = refused(["tiling", "--config", config, "--out", str(tmp_path / "run")], capsys)
    assert code == 4
    assert "training needs torch_of_nowhere, not installed here; pip install 'foldwright[rl]'" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none"], "no policy is named 'none'"),
        (["missing.safetensors"], "missing.safetensors: is missing"),
    ],
)
def test_eval_refuses_what_is_no_policy(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", *words, "--out", str(tmp_path / "eval")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "eval").exists()
