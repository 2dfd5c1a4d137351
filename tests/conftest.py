"""Fixtures for every room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from tests import support

__all__ = ["shared"]

settings.register_profile("untimed", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("untimed")


@pytest.fixture(name="shared")
def shared() -> Callable[[str], Path]:
    """Returns the finder of files beside the checkout; see `tests.support.shared`."""
    return support.shared
