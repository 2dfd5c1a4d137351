"""What readers of other tools' JSON files share: text of a bounded size, plain or packed, and values shown in few words."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

from foldwright.errors import ConfigError

__all__ = ["LONGEST_NAME", "is_name", "kind_of", "read_foreign_text", "shown"]

LONGEST_NAME = 200
"""Characters of a name that a file may give."""
_GZIP = b"\x1f\x8b"
_SHOWN = 60


def read_foreign_text(path: str | Path, most_bytes: int) -> str:
    """Returns the text of a file, unpacked where it begins as gzip does, reading no more than is allowed.

    Raises:
        ConfigError: the file cannot be read, is damaged, too large or not UTF-8.
    """
    try:
        with Path(path).open("rb") as file:
            packed = file.read(len(_GZIP)) == _GZIP
            file.seek(0)
            data = (gzip.GzipFile(fileobj=file) if packed else file).read(most_bytes + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ConfigError(
            f"{path}: is damaged or truncated gzip ({error}); pack or download it again"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > most_bytes:
        raise ConfigError(f"{path}: more than the {most_bytes} bytes of JSON allowed")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file in UTF-8") from None


def kind_of(value: Any) -> str:
    """Returns what JSON calls the kind of a value, with its article.

    >>> kind_of({}), kind_of(1.5), kind_of(None)
    ('an object', 'a number', 'null')
    """
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "a truth value",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "null")


def shown(value: Any) -> str:
    """Returns a value as it may stand in a message: printable and short.

    >>> shown("a\\n"), shown([1] * 40)
    ("'a\\\\n'", '[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,...')
    """
    try:
        text = repr(value)
    except RecursionError:
        return "a deeply nested value"
    return text if len(text) < _SHOWN else text[: _SHOWN - 3] + "..."


def is_name(value: Any) -> bool:
    """Whether a value is a printable text of 1 to `LONGEST_NAME` characters."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and value.isprintable()
