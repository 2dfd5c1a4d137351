"""The verb `demo`: a shipped network from its ONNX file to a checked plan, a counted accuracy and a report."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from foldwright.accel.network import load_network
from foldwright.config import merge_options
from foldwright.models import TEST_SET, model_path
from foldwright.runs import open_run
from foldwright.verbs.optimize import check_run, headline, optimize_into

__all__ = ["DEMO_MODEL", "run_demo"]

DEMO_MODEL = "digits_w1a2"
_DEMO_UNITS = 3.0


def run_demo(out: Path, command: str) -> list[str]:
    """Optimizes the digits network for the XC7Z020 into `out` and returns what was found, a line each.

    The search counts its work, so that every machine finds the same plan.
    """
    options = {"model": DEMO_MODEL, "part": "xc7z020", "out": str(out), "deterministic": _DEMO_UNITS}
    optimize_into(merge_options({}, "demo", options), command)
    lines = headline(dict(open_run(out).summary)) + check_run(out)
    return [*lines, _accuracy(), f"look at it: {out / 'report.html'}"]


def _accuracy() -> str:
    """Runs the held-out digits through the integer network that the accelerator computes."""
    with np.load(TEST_SET, allow_pickle=False) as data:
        images, labels = data["input"], data["label"]
    found = load_network(model_path(DEMO_MODEL)).run(images).reshape(len(labels), -1).argmax(axis=1)
    right = int((found == labels).sum())
    return f"{right} of {len(labels)} held-out digits right, computed in integers as the accelerator does"
