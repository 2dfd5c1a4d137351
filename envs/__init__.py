"""The combinatorial problems and their Gymnasium environments.

Importing registers the environments by name and nothing else; their modules load when one is made.
"""

from __future__ import annotations

import gymnasium

if __name__ != "foldwright.envs":
    raise ImportError(
        f"'envs' was imported as {__name__!r}: import it as 'foldwright.envs', "
        "so that no module is loaded twice"
    )

__all__ = ["ENVIRONMENTS"]

ENVIRONMENTS = {
    "allocation": "foldwright/Allocation-v0",
    "placement": "foldwright/Placement-v0",
    "tiling": "foldwright/Tiling-v0",
}
"""The registered environment of each kind of problem."""

for _kind, _id in ENVIRONMENTS.items():
    _face = f"foldwright.envs.{_kind}.env:{_kind.capitalize()}"
    gymnasium.register(_id, entry_point=f"{_face}Env", vector_entry_point=f"{_face}VectorEnv")
