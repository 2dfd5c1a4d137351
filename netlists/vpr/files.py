"""Text of VPR's files, plain or gzipped, read within limits; XML without document types, for these can make a file explode."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from xml.parsers import expat

from foldwright.errors import ConfigError

__all__ = ["parse_xml", "read_bytes"]

_MAX_BYTES = 256 * 2**20
_CHUNK = 2**20
_MAX_DEPTH = 256


def read_bytes(path: Path) -> bytes:
    """Returns the content of a file, unpacked where its name ends in .gz.

    Raises:
        ConfigError: it cannot be read, is not gzip, or holds more than 256 MiB.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ConfigError(f"{path}: not a whole gzip file: {error}; fetch it again") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{path}: more than the {_MAX_BYTES} bytes allowed")
    return data


def parse_xml(
    data: bytes,
    where: str,
    *,
    start: Callable[[str, dict[str, str]], None],
    end: Callable[[str], None],
    text: Callable[[str], None],
) -> None:
    """Calls the handlers for an XML document, its elements in order; what they raise passes through.

    Raises:
        ConfigError: it is not well-formed, ends early, declares a document type or nests more than 256 elements.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    depth = 0

    def begins(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            raise ConfigError(
                f"{where}: line {parser.CurrentLineNumber}: more than {_MAX_DEPTH} elements in each other"
            )
        start(tag, attributes)

    def ends(tag: str) -> None:
        nonlocal depth
        depth -= 1
        end(tag)

    def refuse(*_: object) -> None:
        raise ConfigError(
            f"{where}: line {parser.CurrentLineNumber}: declares a document type, which is not read; remove it"
        )

    parser.StartElementHandler, parser.EndElementHandler = begins, ends
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = text, refuse
    try:
        for at in range(0, len(data), _CHUNK):
            parser.Parse(data[at : at + _CHUNK], False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        what = expat.errors.messages.get(error.code, "unknown error")
        raise ConfigError(
            f"{where}: line {error.lineno}: not well-formed XML: {what}; is the file whole?"
        ) from None
    except (ValueError, LookupError) as error:  # an encoding that is unknown, or that the bytes are not in
        raise ConfigError(f"{where}: cannot be decoded: {error}") from None
