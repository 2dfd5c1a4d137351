"""Files in TOML that people write, and how their mistakes are told: all at once, each with its place and its value."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foldwright.errors import ConfigError, InputError

__all__ = ["MAX_TOML_BYTES", "list_mistakes", "read_toml", "short_repr"]

MAX_TOML_BYTES = 2**20
_SHOWN_MISTAKES = 7
_SHOWN_CHARS = 50


def read_toml(path: str | Path, error: type[InputError] = ConfigError) -> dict[str, Any]:
    """Reads a TOML file as plain values.

    Raises:
        InputError: of the type `error`: the file cannot be read or is not TOML; syntax errors are named by line.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_TOML_BYTES:
            raise error(f"{path}: {path.stat().st_size} bytes, more than the {MAX_TOML_BYTES} allowed")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise error(f"{path}: cannot be read: {cause.strerror}") from None
    except UnicodeDecodeError:
        raise error(f"{path}: not a text file in UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as cause:
        raise error(f"{path}: not valid TOML: {cause}") from None


def list_mistakes(lines: Sequence[str], where: str = "") -> str:
    """Returns one message of all mistakes; the first few are shown, the others counted.

    >>> list_mistakes(["a: is missing"], "f.toml")
    'f.toml: a: is missing'
    >>> print(list_mistakes(["a: is missing", "b: unknown key"], "f.toml"))
    f.toml: 2 mistakes
      a: is missing
      b: unknown key
    """
    place = f"{where}: " if where else ""
    if len(lines) == 1:
        return f"{place}{lines[0]}"
    shown = list(lines[:_SHOWN_MISTAKES])
    if len(lines) > len(shown):
        shown.append(f"and {len(lines) - len(shown)} more")
    return "\n  ".join([f"{place}{len(lines)} mistakes", *shown])


def short_repr(value: Any) -> str:
    """Returns a value as it would be written, cut where it is long."""
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) < _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."
