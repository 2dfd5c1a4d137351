"""The one JSON form of every value: a `format` name with a version, strict reading, equal round trips.

A class takes part by carrying `FORMAT: ClassVar[str]`, for example "foldwright.workload/1", and
`__pydantic_config__ = STRICT`. Reading refuses NaN and infinities, duplicate keys, unknown keys and wrong
types, and reports every mistake of a file at once, each by its path.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from pathlib import Path
from typing import Any, TypeVar

from foldwright.errors import ConfigError, InputError

__all__ = [
    "MAX_JSON_BYTES",
    "STRICT",
    "from_json",
    "parse_json",
    "plain",
    "read_json",
    "read_text",
    "to_json",
]

STRICT: Any = {"extra": "forbid", "allow_inf_nan": False}
MAX_JSON_BYTES = 64 * 2**20
_SHOWN_MISTAKES = 6

T = TypeVar("T")


def plain(value: Any) -> Any:
    """Returns a value as plain dicts, lists, strings and numbers, in declaration order."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "tolist") and not isinstance(value, int | float | str):
        return value.tolist()  # numpy's numbers and arrays
    return value


def to_json(value: Any) -> str:
    """Returns the JSON text of a value, its `format` first, one item of a long list a line."""
    body = plain(value)
    form = getattr(type(value), "FORMAT", None)
    if form is not None:
        body = {"format": form, **body}
    return json.dumps(body, indent=1, allow_nan=False) + "\n"


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise ValueError(f"key {key!r} stands twice")
        out[key] = value
    return out


def _no_constants(text: str) -> float:
    raise ValueError(f"{text} is not a number that a file may hold")


def parse_json(text: str, where: str) -> Any:
    """Returns the plain value of a JSON text; refuses NaN, infinities and duplicate keys.

    Raises:
        ConfigError: the text is not JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constants)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not valid JSON: {error}") from None


def from_json(cls: type[T], text: str, where: str) -> T:
    """Returns the value that `text` holds.

    Args:
        where: what the text is, for messages: usually the file's path.

    Raises:
        ConfigError: the text is not JSON, of another format, or breaks a rule of the class.
    """
    from pydantic import TypeAdapter, ValidationError

    body = parse_json(text, where)
    form = getattr(cls, "FORMAT", None)
    if form is not None:
        got = body.pop("format", None) if isinstance(body, dict) else None
        if got != form:
            raise ConfigError(
                f"{where}: format is {got!r}, but {form!r} is needed; write the file again with this version"
            )
    try:
        return TypeAdapter(cls).validate_json(json.dumps(body), strict=True)
    except ValidationError as error:
        raise ConfigError(_mistakes(where, error.errors())) from None
    except InputError as error:
        raise ConfigError(f"{where}: {error}") from None


def _mistakes(where: str, errors: Any) -> str:
    lines = []
    for e in errors[:_SHOWN_MISTAKES]:
        path = ".".join(str(p) for p in e["loc"]) or "top level"
        value = repr(e.get("input"))
        lines.append(f"  {path}: {e['msg']} (got {value if len(value) < 60 else value[:57] + '...'})")
    more = len(errors) - _SHOWN_MISTAKES
    count = f"{len(errors)} mistake{'s' if len(errors) > 1 else ''}"
    return "\n".join([f"{where}: {count}", *lines, *([f"  and {more} more"] if more > 0 else [])])


def read_text(path: str | Path) -> str:
    """Returns the text of a JSON file.

    Raises:
        ConfigError: the file is missing, too large or not UTF-8.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ConfigError(f"{path}: {path.stat().st_size} bytes, more than the {MAX_JSON_BYTES} allowed")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file in UTF-8") from None


def read_json(cls: type[T], path: str | Path) -> T:
    """Reads a value from a file; see `from_json`."""
    return from_json(cls, read_text(path), str(path))
