"""`njit` for our kernels, with a disk cache that a change of any kernel empties.

Numba caches each function by its own file alone: a caller compiled with an older version of a function in another file
would be taken from the cache and compute something else. So the cache lies in a folder named by a stamp of all source
files of the rooms with kernels; with another stamp everything is compiled again. `NUMBA_CACHE_DIR` moves the base.

Kernels are compiled at LLVM's level 1 unless `NUMBA_OPT` says otherwise: that compiles in less time than numba's own
level 3, and the simulator and the placer's moves run no slower, for they have no loops that vectorise.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

os.environ.setdefault("NUMBA_OPT", "1")  # numba reads it when it is first imported

import numba
from numba import njit, types

__all__ = ["njit", "source_stamp", "types"]

_ROOMS = ("accel", "envs", "agents")


def source_stamp() -> str:
    """Returns a hash of path, size and time of every source file that kernels may come from."""
    here, digest = Path(__file__).parent, hashlib.sha256(numba.__version__.encode())
    for room in _ROOMS:
        for path in sorted((here / room).rglob("*.py")):
            status = path.stat()
            digest.update(f"{path}:{status.st_size}:{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _cache_base() -> Path:
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "foldwright" / "kernels"


numba.config.CACHE_DIR = str(_cache_base() / source_stamp())
