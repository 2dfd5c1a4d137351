"""Hyperparameters: shipped files are whole, a user's file changes single values, every mistake is told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from foldwright.agents.train_config import TrainConfig, kind_of, load_train_config
from foldwright.envs import ENVIRONMENTS
from foldwright.errors import ConfigError


@pytest.mark.parametrize("kind", sorted(ENVIRONMENTS))
def test_every_environment_has_hyperparameters(kind: str) -> None:
    assert isinstance(load_train_config(kind), TrainConfig)


@pytest.mark.parametrize("word", ["tiling", "Tiling-v0", "foldwright/Tiling-v0"])
def test_an_environment_is_known_by_its_kind_and_its_names(word: str) -> None:
    assert kind_of(word) == "tiling"


def test_an_unknown_environment_gets_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="no environment is named 'tilling'; did you mean 'tiling'"):
        kind_of("tilling")


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("steps = 7\n[imitation]\nbatches = 3\n")
    shipped, mine = load_train_config("tiling"), load_train_config("tiling", file)
    assert (mine.steps, mine.imitation.batches) == (7, 3)
    assert mine.imitation.model_copy(update={"batches": shipped.imitation.batches}) == shipped.imitation
    assert (mine.ppo, mine.network, mine.validation) == (shipped.ppo, shipped.network, shipped.validation)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stepz = 1", ["mine.toml: stepz: unknown hyperparameter; did you mean 'steps'?"]),
        ("[ppo]\nclip = 0.1", ["ppo.clip: unknown hyperparameter", "clip_range"]),
        ("[network]\nwidth = 9999", ["network.width: input should be less than or equal to 512 (got 9999)"]),
        ("ppo = 3", ["ppo: input should be a valid dictionary", "(got 3)"]),
        (
            "steps = 0\n[imitation]\nbatchez = 2\nlearning_rate = 'high'\n[ppo]\nreward = 'costs'",
            [
                "4 mistakes",
                "steps:",
                "did you mean 'batches'",
                "learning_rate:",
                "ppo.reward:",
                "(got 'costs')",
            ],
        ),
        ("steps = ", ["not valid TOML"]),
        ("steps = nan", ["steps: input should be a valid integer (got nan)"]),
    ],
)
def test_every_mistake_of_a_file_is_told_at_once(tmp_path: Path, text: str, words: list[str]) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_train_config("tiling", file)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert len(str(caught.value).splitlines()) <= 9


def test_a_missing_file_is_told() -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load_train_config("tiling", "none.toml")
