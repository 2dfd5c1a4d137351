"""Option sets of solvers: from a mapping of names to values to a dataclass that checks itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

from foldwright.errors import ConfigError, nearest
from foldwright.jsonform import STRICT

__all__ = ["NoParams", "make_params", "parse_settings", "require_range"]

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class NoParams:
    """A solver without options."""

    __pydantic_config__: ClassVar = STRICT


def make_params(cls: type[P], given: Mapping[str, Any] | P | None, solver: str) -> P:
    """Returns the options of a solver, with defaults for what is not given.

    Raises:
        ConfigError: an unknown key, a value of the wrong type or out of its range.
    """
    if given is None:
        return cls()
    if isinstance(given, cls):
        return given
    if not isinstance(given, Mapping):
        raise ConfigError(f"solver {solver!r}: params is {given!r}, needed is a mapping or a {cls.__name__}")
    known = [f.name for f in fields(cls)]  # type: ignore[arg-type]  # every P is a dataclass
    remedy = {key: nearest(key, known) if known else "it has no options" for key in given}
    unknown = [f"no option {key!r}; {remedy[key]}" for key in given if key not in known]
    if unknown:
        raise ConfigError(f"solver {solver!r}: " + "; ".join(unknown))
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(cls).validate_json(json.dumps(dict(given), default=repr), strict=True)
    except ValidationError as error:
        wrong = [
            f"option {'.'.join(map(str, e['loc']))!r} is {e['input']!r}: {e['msg']}" for e in error.errors()
        ]
        raise ConfigError(f"solver {solver!r}: " + "; ".join(wrong)) from None


def require_range(where: str, value: float, low: float, high: float) -> None:
    """Refuses a value outside [low, high].

    Raises:
        ConfigError: naming the option, the value and the range.
    """
    if not low <= value <= high:
        raise ConfigError(f"{where} is {value}, allowed is {low} to {high}")


def parse_settings(settings: Mapping[str, str]) -> dict[str, Any]:
    """Returns option values written as text as numbers and truth values where they are ones."""
    return {key: _value(text) for key, text in settings.items()}


def _value(text: str) -> bool | int | float | str:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
