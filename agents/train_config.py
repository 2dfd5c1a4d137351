"""How a policy is trained: hyperparameters from a TOML file, checked all at once.

The files of `agents/configs`, one per kind of problem, hold the values that trained the shipped policies; a file of a
user names what differs from them. "Decisions" are single choices of an environment, the unit of `steps`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from foldwright.envs import ENVIRONMENTS
from foldwright.errors import ConfigError, nearest
from foldwright.tomlform import list_mistakes, read_toml, short_repr

__all__ = [
    "ImitationConfig",
    "NetworkConfig",
    "PpoConfig",
    "TrainConfig",
    "ValidationConfig",
    "kind_of",
    "load_train_config",
]

_FOLDER = Path(__file__).parent / "configs"

_Share = Annotated[float, Field(ge=0, le=1)]
_Rate = Annotated[float, Field(gt=0, le=1)]
_Count = Annotated[int, Field(ge=1, le=10**6)]


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class NetworkConfig(_Table):
    """The shape of the policy's network; see `agents.policy_file.PolicyCard`."""

    width: Annotated[int, Field(ge=4, le=512)] = 64
    depth: Annotated[int, Field(ge=1, le=4)] = 1


class ImitationConfig(_Table):
    """A chunk of imitation: new instances are solved, episodes are labelled, then the network is fitted.

    Attributes:
        instances: New training instances a chunk.
        episodes: Episodes on each.
        oracle_evaluations: What the search for an instance's oracle may take; 0 for no search: the expert then begins with
            the fallback, which is for problems that know completions of their own.
        repair_evaluations: What mending the oracle may take after a decision that is not the oracle's.
        mend_labels: Whether a candidate after which the oracle does not fit is scored with the oracle mended, which takes
            many evaluations, or counted as bad.
        label_decisions: A label is the excess cost over the share that so many decisions have in the cost, so that it does
            not vanish where there are many; 0 means over the whole cost.
        oracle_share: Share of decisions that the oracle takes in the first chunk; each later chunk takes it to the next power.
        temperature: A label's odds fall by e with every such increase of it.
        regret_weight: Weight of the expected excess cost beside the cross-entropy.
        value_weight: Weight of the value's squared error.
        batches: Gradient steps a chunk.
        batch_rows: Labelled decisions a gradient step.
        window_chunks: Chunks whose labels are kept.
        average_from: Share of the phase after which the weights of every chunk go into the average.
    """

    instances: _Count = 16
    episodes: _Count = 8
    oracle_evaluations: Annotated[int, Field(ge=0, le=10**6)] = 2000
    repair_evaluations: Annotated[int, Field(ge=0, le=10**6)] = 50
    mend_labels: bool = True
    label_decisions: Annotated[int, Field(ge=0, le=10**6)] = 0
    oracle_share: _Share = 0.9
    temperature: Annotated[float, Field(gt=0, le=10)] = 0.01
    regret_weight: Annotated[float, Field(ge=0, le=100)] = 1.0
    value_weight: Annotated[float, Field(ge=0, le=100)] = 0.1
    batches: _Count = 100
    batch_rows: _Count = 256
    learning_rate: _Rate = 1e-3
    window_chunks: _Count = 1000
    average_from: _Share = 0.6


class PpoConfig(_Table):
    """A chunk of MaskablePPO: `rollouts` times `episodes` x `rollout_steps` decisions, with updates after each.

    Attributes:
        instances: Training instances a chunk.
        episodes: Episodes side by side.
        reward: "log" earns ln(cost before / cost after), which suits costs over orders of magnitude; "bound" the
            environment's own, (cost before - cost after) / bound.
    """

    instances: _Count = 64
    episodes: _Count = 256
    rollout_steps: _Count = 32
    rollouts: _Count = 2
    batch_rows: _Count = 2048
    epochs: _Count = 3
    learning_rate: _Rate = 2e-4
    clip_range: _Rate = 0.2
    gae_lambda: _Share = 0.95
    entropy_weight: Annotated[float, Field(ge=0, le=10)] = 0.0
    value_weight: Annotated[float, Field(ge=0, le=100)] = 0.5
    reward: Literal["log", "bound"] = "log"


class ValidationConfig(_Table):
    """How progress is measured: the mean excess over the best known cost on instances of the split `validation`."""

    instances: _Count = 32
    oracle_evaluations: _Count = 5000


class TrainConfig(_Table):
    """What `foldwright train` follows.

    Attributes:
        steps: Decisions in all, if the command gives no limit.
        imitation_steps_share: Share of the decisions that goes to imitation, under a limit of steps.
        imitation_cpu_share: Share of the CPU time that goes to imitation, under a limit of CPU time.
    """

    steps: Annotated[int, Field(ge=1, le=10**12)] = 500_000
    imitation_steps_share: _Share = 0.1
    imitation_cpu_share: _Share = 0.7
    network: NetworkConfig = NetworkConfig()
    imitation: ImitationConfig = ImitationConfig()
    ppo: PpoConfig = PpoConfig()
    validation: ValidationConfig = ValidationConfig()


def kind_of(environment: str) -> str:
    """Returns the kind of problem that a word means: the kind itself or its environment's name.

    Raises:
        ConfigError: it means none; with the nearest.
    """
    known = {word: kind for kind, name in ENVIRONMENTS.items() for word in (kind, name, name.split("/")[1])}
    if environment not in known:
        raise ConfigError(f"no environment is named {environment!r}; {nearest(environment, known)}")
    return known[environment]


def load_train_config(kind: str, path: str | Path | None = None) -> TrainConfig:
    """Returns the shipped hyperparameters of a kind of problem, changed by those of a file.

    Raises:
        ConfigError: the file cannot be read or has mistakes; all are told.
    """
    body = read_toml(_FOLDER / f"{kind}.toml")
    where = f"{kind}.toml"
    if path is not None:
        body, where = _merged(body, read_toml(path)), str(path)
    try:
        return TrainConfig(**body)
    except ValidationError as error:
        raise ConfigError(_mistakes(error, where)) from None


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `base` with values replaced, those of tables one by one."""
    out = dict(base)
    for key, value in changes.items():
        both_tables = isinstance(value, dict) and isinstance(base.get(key, {}), dict)
        out[key] = {**base.get(key, {}), **value} if both_tables else value
    return out


def _mistakes(error: ValidationError, where: str) -> str:
    return list_mistakes([_mistake(e) for e in error.errors()], where)


def _mistake(e: Any) -> str:
    path = [str(part) for part in e["loc"]]
    if e["type"] == "extra_forbidden":
        return f"{'.'.join(path)}: unknown hyperparameter; {nearest(path[-1], _known(path[:-1]))}"
    message = e["msg"][:1].lower() + e["msg"][1:]
    return f"{'.'.join(path)}: {message} (got {short_repr(e['input'])})"


def _known(table: list[str]) -> list[str]:
    """Returns the keys of a table of the configuration."""
    model: Any = TrainConfig
    for key in table:
        model = model.model_fields[key].annotation
    return list(model.model_fields)
