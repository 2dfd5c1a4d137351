"""Foldwright turns a quantized CNN and a small FPGA into the best accelerator it can find.

Public names load lazily, so that `import foldwright` costs nothing:

- `load_network(path)`: an ONNX file as an integer network (`foldwright.accel.network`);
- `optimize(...)`: the whole path from a model to a checked plan (`foldwright.pipeline`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foldwright.accel.network import Network, load_network
    from foldwright.pipeline import optimize

__version__ = "0.1.0"

_LAZY = {
    "Network": "foldwright.accel.network",
    "load_network": "foldwright.accel.network",
    "optimize": "foldwright.pipeline",
}

__all__ = ["Network", "__version__", "load_network", "optimize"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'foldwright' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
