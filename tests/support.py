"""What tests of several rooms share: where the checkout is, and the files that may stand beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ["ROOT", "python", "shared"]

ROOT = Path(__file__).resolve().parents[1]


def shared(relative: str) -> Path:
    """Returns a file of the folder `shared` beside the checkout; skips the test where it is absent."""
    path = ROOT.parent / "shared" / relative
    if not path.exists():
        pytest.skip(f"'../shared/{relative}' is not beside this checkout")
    return path


def python(
    *args: str, cwd: Path = ROOT, path: tuple[Path, ...] = (), timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """Runs this interpreter in a process of its own and returns what it printed."""
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, path)))
    return subprocess.run(
        [sys.executable, *args], cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout_s
    )
