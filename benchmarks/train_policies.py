"""Trains the policies that Foldwright ships, one for each environment, into agents/policies.

    python benchmarks/train_policies.py [tiling allocation ...] [--work FOLDER]

Each is `foldwright train ENVIRONMENT` with the hyperparameters of agents/configs and the seed below; the policy's file says
how much CPU time that took. The same machine makes the same files again, the CPU time apart. The folder of the trainings is
kept: an interrupted one goes on.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from foldwright.agents.policy import POLICY_FOLDER, load_policy
from foldwright.envs import ENVIRONMENTS
from foldwright.verbs.train import train_into

__all__ = ["SEED", "main", "ship"]

SEED = 0


def ship(kind: str, work: Path) -> Path:
    """Trains the policy of a kind of problem, or goes on, and puts its file where shipped policies stand."""
    for line in train_into(kind, work / kind, seed=SEED):
        print(line)
    target = POLICY_FOLDER / f"{kind}.safetensors"
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(work / kind / "policy.safetensors", target)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=sorted(ENVIRONMENTS), help="all if none is given")
    parser.add_argument("--work", type=Path, default=Path("runs/policies"))
    args = parser.parse_args()
    for kind in args.kinds:
        path = ship(kind, args.work)
        card = load_policy(path).card
        print(f"{path}: {path.stat().st_size:,} bytes, {card.training_cpu_seconds:.0f} s CPU; {card.recipe}")


if __name__ == "__main__":
    main()
