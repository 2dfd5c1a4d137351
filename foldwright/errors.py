"""Every error a user can meet.

    FoldwrightError
    ├── InputError                exit 2   something given by the user is wrong
    │   ├── ModelError                     an ONNX file or a network the tool cannot take
    │   ├── PartError                      an unknown or malformed part
    │   ├── ConfigError                    options, TOML and JSON values
    │   ├── PolicyError                    a policy file that is damaged, foreign or for another problem
    │   └── RunFolderError                 a run folder that cannot be read or written
    ├── InfeasibleError           exit 3   no solution exists within the budgets
    │   └── IllegalSolutionError           a solution that the checker refuses
    ├── ToolMissingError          exit 4   an optional tool or package is not installed
    └── VerificationError         exit 5   two of our levels of truth disagree

A message says what is wrong, where, the value got, what is allowed and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "ConfigError",
    "FoldwrightError",
    "IllegalSolutionError",
    "InfeasibleError",
    "InputError",
    "ModelError",
    "PartError",
    "PolicyError",
    "RunFolderError",
    "ToolMissingError",
    "VerificationError",
    "nearest",
]


class FoldwrightError(Exception):
    """Base of all errors that end a command with a message instead of a traceback."""

    exit_code = 1


class InputError(FoldwrightError):
    """Something given by the user is wrong."""

    exit_code = 2


class ModelError(InputError):
    """An ONNX file or a network that the tool cannot take."""


class PartError(InputError):
    """An unknown or malformed FPGA part."""


class ConfigError(InputError):
    """An option, a TOML value or a JSON value is wrong."""


class PolicyError(InputError):
    """A policy that cannot be read, is damaged, or does not suit the problem."""


class RunFolderError(InputError):
    """A run folder that cannot be read or written."""


class InfeasibleError(FoldwrightError):
    """No solution exists within the budgets."""

    exit_code = 3


class IllegalSolutionError(InfeasibleError):
    """A solution that the independent checker refuses."""


class ToolMissingError(FoldwrightError):
    """An optional tool or package is not installed."""

    exit_code = 4


class VerificationError(FoldwrightError):
    """Two levels of truth disagree."""

    exit_code = 5


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns the ending of an error message: the nearest known name and the list of all.

    >>> nearest("xc7z02", ["xc7z020", "lfe5u-85f"])
    "did you mean 'xc7z020'? known: lfe5u-85f, xc7z020"
    """
    names = sorted(known)
    listed = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return (f"did you mean {close[0]!r}? " if close else "") + f"known: {listed}"
