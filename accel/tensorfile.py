"""Reads and writes one array in an .npz file: no pickles, no bombs, no half-written files."""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from foldwright.errors import InputError

__all__ = ["MAX_ARRAY_BYTES", "read_array", "write_array"]

MAX_ARRAY_BYTES = 2**29


def read_array(path: str | Path, name: str) -> np.ndarray:
    """Returns one array of an .npz file.

    Raises:
        InputError: the file is missing, damaged or too large, or has no such array.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder\n  name an .npz file that holds the array {name!r}")
    try:
        with zipfile.ZipFile(path) as archive:
            return _member(archive, path, name)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file\n  write one with numpy.savez(path, {name}=array)") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}\n  check the path") from None
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise InputError(
            f"{path}: not a sound .npz file: {str(error).splitlines()[0][:120]}\n"
            f"  write it with numpy.savez(path, {name}=array)"
        ) from None
    except Exception as error:  # zlib.error and what a damaged stream may raise besides
        raise InputError(
            f"{path}: damaged: {type(error).__name__}\n  write it again with numpy.savez"
        ) from None


def _member(archive: zipfile.ZipFile, path: Path, name: str) -> np.ndarray:
    held = {Path(info.filename).stem: info for info in archive.infolist() if info.filename.endswith(".npy")}
    if name not in held:
        raise InputError(
            f"{path}: has no array {name!r}, it holds: {', '.join(sorted(held)[:8]) or 'none'}\n"
            f"  write it with numpy.savez(path, {name}=array)"
        )
    if held[name].file_size > MAX_ARRAY_BYTES:
        raise InputError(
            f"{path}: array {name!r} declares {held[name].file_size} bytes, more than {MAX_ARRAY_BYTES} allowed\n"
            "  split the frames over several files"
        )
    with archive.open(held[name]) as stream:
        version = np.lib.format.read_magic(stream)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(stream)
        if dtype.hasobject or dtype.kind not in "fiub":
            raise InputError(
                f"{path}: array {name!r} is of type {dtype}, numbers are needed\n  save plain numbers"
            )
        declared = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if declared > MAX_ARRAY_BYTES:
            raise InputError(
                f"{path}: array {name!r} declares {declared} bytes, at most {MAX_ARRAY_BYTES}\n  split it"
            )
    with archive.open(held[name]) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def write_array(path: str | Path, name: str, array: np.ndarray) -> None:
    """Writes an .npz file whole or not at all: a temporary file beside it, fsync, replace.

    Raises:
        InputError: the folder does not exist or cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder\n  name the .npz file to write")
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
            temporary = Path(stream.name)
            np.savez_compressed(stream, allow_pickle=False, **{name: array})
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise InputError(
            f"{path}: cannot be written: {error.strerror}\n  check the folder and its permissions"
        ) from None
