"""Tiling instances: networks on datapaths, by name, by split, at random.

The families are DRAM bits per cycle in `DRAM_BITS` times pools in `POOLS`; those whose fallback does not fit are left
out. Published networks run on one datapath each, chosen near the feasible best of an XC7Z020 at 200 MHz, some also on
two engines ("-2e"), and on a small one for small pools ("-s"). MobileNet fits no pool of 20. Some are posed a second time
with layers that may be fused ("-f"). Names:
`tiling/NETWORK-bBITS` (the largest pool) and `tiling/NETWORK-bBITS-pPOOL`; a generated instance is
`tiling/SPLIT-sSEED-INDEX`, which is all that it takes to make it again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from foldwright.accel.datapath import Arithmetic, Datapath, Engine, LaneMode
from foldwright.accel.evaluate import expand, total_traffic
from foldwright.accel.known_workloads import known_workload
from foldwright.accel.workload import IMAGE, ActKind, Layer, WeightKind, Workload
from foldwright.envs.generator import REAL_NETWORKS, SPLITS, split_number, split_workload
from foldwright.envs.tiling.problem import TilingProblem
from foldwright.errors import ConfigError, InfeasibleError, nearest

__all__ = [
    "DRAM_BITS",
    "POOLS",
    "generated",
    "named",
    "named_datapath",
    "names",
    "random_datapath",
    "real",
    "real_names",
]

DRAM_BITS = (8, 16, 32, 64)
POOLS = (20, 60, 140)

_XNOR, _AND = Arithmetic.XNOR, Arithmetic.AND


def _engine(
    dm: int, dk: int, dn: int, planes: tuple[int, ...] = (1,), drain: int = 1, arithmetic: Arithmetic = _XNOR,
    window_bits: int = 0, acc_bits: int = 16, levels: int = 3,
) -> Engine:  # fmt: skip
    return Engine(
        dm, dk, dn, arithmetic, planes_per_word=planes, drain_lanes=drain,
        window_bits=window_bits, acc_bits=acc_bits, levels=levels,
    )  # fmt: skip


_ENGINES: dict[str, tuple[str, tuple[Engine, ...], int, tuple[int, ...]]] = {
    # name: (network, engines, first layer of the second engine, pools that fit)
    "cnv-w1a1": ("cnv-w1a1", (_engine(16, 64, 15, drain=2, window_bits=216, levels=1),), 0, (60, 140)),
    "cnv-w1a1-s": ("cnv-w1a1", (_engine(8, 64, 8, drain=2, window_bits=216, levels=1),), 0, (20,)),
    "cnv-w1a1-2e": (
        "cnv-w1a1",
        (_engine(16, 28, 5, window_bits=216, levels=1), _engine(32, 64, 6, levels=1)),
        1,
        (60, 140),
    ),
    "cnv-w1a2": ("cnv-w1a2", (_engine(16, 64, 15, drain=2, window_bits=216),), 0, (60, 140)),
    "cnv-w2a2": ("cnv-w2a2", (_engine(16, 64, 10, drain=2, window_bits=216),), 0, (60, 140)),
    "cnv-w2a2-s": ("cnv-w2a2", (_engine(8, 64, 8, drain=2, window_bits=216),), 0, (20,)),
    "digits-w1a2": ("digits-w1a2", (_engine(8, 16, 4, window_bits=45),), 0, (20, 60, 140)),
    "digits-w2a2": ("digits-w2a2", (_engine(8, 16, 4, window_bits=45),), 0, (20, 60, 140)),
    "dorefa": ("dorefa", (_engine(18, 72, 14, planes=(2,)),), 0, (60, 140)),
    "dorefa-s": ("dorefa", (_engine(16, 64, 8, planes=(2,)),), 0, (20,)),
    "dorefa-2e": (
        "dorefa",
        (_engine(15, 68, 9, planes=(2,)), _engine(10, 192, 3, planes=(2,))),
        2,
        (60, 140),
    ),
    "mobilenet": (
        "mobilenet",
        (_engine(16, 32, 14, (4,), drain=2, arithmetic=_AND, window_bits=216, acc_bits=20, levels=15),),
        0,
        (140,),
    ),
    "mobilenet-s": (
        "mobilenet",
        (_engine(16, 32, 4, (4,), drain=2, arithmetic=_AND, window_bits=216, acc_bits=20, levels=15),),
        0,
        (60,),
    ),
    "resnet18-int8": (  # 64x4x1 multipliers of 8 bits in bit planes: 64 products of planes each
        "resnet18-int8",
        (_engine(64, 256, 1, (8,), arithmetic=_AND, window_bits=1176, acc_bits=28, levels=255),),
        0,
        (140,),
    ),
    "resnet18-w1a2": (
        "resnet18-w1a2",
        (_engine(16, 64, 14, planes=(1, 2), drain=2, window_bits=1176, acc_bits=18),),
        0,
        (60, 140),
    ),
    "resnet18-w2a2": (
        "resnet18-w2a2",
        (_engine(16, 64, 14, drain=2, window_bits=1176, acc_bits=18),),
        0,
        (60, 140),
    ),
    "resnet18-w1a2-s": (
        "resnet18-w1a2",
        (_engine(8, 64, 8, planes=(1, 2), drain=2, window_bits=1176, acc_bits=18),),
        0,
        (20,),
    ),
    "resnet18-w2a2-s": (
        "resnet18-w2a2",
        (_engine(8, 64, 8, drain=2, window_bits=1176, acc_bits=18),),
        0,
        (20,),
    ),
    "ultranet-s": (
        "ultranet",
        (_engine(16, 32, 4, drain=2, arithmetic=_AND, window_bits=216, acc_bits=20, levels=15),),
        0,
        (20,),
    ),
    "ultranet": (
        "ultranet",
        (_engine(16, 64, 10, drain=2, arithmetic=_AND, window_bits=216, acc_bits=20, levels=15),),
        0,
        (60, 140),
    ),
}


_FUSED = ("mobilenet-s", "resnet18-w1a2")


def _names_of(key: str) -> list[str]:
    pools = _ENGINES[key.removesuffix("-f")][3]
    short = [f"{key}-b{b}" for b in DRAM_BITS] if POOLS[-1] in pools else []
    return short + [f"{key}-b{b}-p{p}" for b in DRAM_BITS for p in pools]


def names() -> list[str]:
    """Returns the named instances, without the leading "tiling/", sorted."""
    keys = [*_ENGINES, *(f"{key}-f" for key in _FUSED)]
    return sorted(name for key in keys for name in _names_of(key))


def real_names() -> list[str]:
    """Returns the instances of `heldout-real`, each once, sorted."""
    keys = [key for key, entry in _ENGINES.items() if entry[0] in REAL_NETWORKS]
    return sorted(f"{key}-b{b}-p{p}" for key in keys for b in DRAM_BITS for p in _ENGINES[key][3])


def named(name: str) -> TilingProblem:
    """Returns a named instance, or the generated one whose name says so; both without the leading "tiling/".

    Raises:
        ConfigError: no instance has this name.
    """
    if name in names():
        key, bits, pool = re.fullmatch(r"(.*)-b(\d+)(?:-p(\d+))?", name).groups()  # type: ignore[union-attr]
        return _real(name, key, int(bits), int(pool or POOLS[-1]))
    found = re.fullmatch(rf"({'|'.join(SPLITS[:-1])})-s(\d{{1,9}})-(\d{{1,9}})", name)
    if not found:
        known = nearest(f"tiling/{name}", [f"tiling/{n}" for n in names()])
        raise ConfigError(
            f"no tiling instance is named 'tiling/{name}'; {known}; "
            "generated ones are SPLIT-sSEED-INDEX, such as train-s0-17"
        )
    return generated(found[1], int(found[2]), int(found[3]))


def _real(name: str, key: str, bits: int, pool: int) -> TilingProblem:
    plain = key.removesuffix("-f")
    workload, datapath = known_workload(_ENGINES[plain][0]), named_datapath(plain, bits)
    return TilingProblem(f"tiling/{name}", workload, datapath, pool, fuses=plain != key)


def named_datapath(key: str, dram_bits: int) -> Datapath:
    """Returns the datapath that a published network runs on, such as "cnv-w1a1"."""
    network, engines, first, _ = _ENGINES[key]
    count = len(known_workload(network).layers)
    assignment = (0,) * count if len(engines) == 1 else (0,) * first + (1,) * (count - first)
    return Datapath(engines, assignment, 1, dram_bits)


def generated(split: str, seed: int, index: int) -> TilingProblem:
    """Returns an instance of a generated split; the same for the same arguments, whatever else was made before."""
    name = f"{split}-s{seed}-{index}"
    rng = np.random.default_rng([split_number(split), seed, index])
    while True:
        workload = split_workload(split, rng, name)
        for _ in range(8):  # then give the network up: its maps may be too large for most arrays
            bits, pool = int(rng.choice(DRAM_BITS)), int(rng.choice(POOLS))
            datapath = random_datapath(rng, workload, bits)
            try:
                problem = TilingProblem(f"tiling/{name}", workload, datapath, pool)
            except InfeasibleError:
                continue
            if _needs_deciding(problem):
                return problem


def _needs_deciding(problem: TilingProblem) -> bool:
    """Whether the traffic of the fallback alone takes well over the bound, so that decisions matter."""
    load, store = total_traffic(expand(*problem.tables, problem.fallback))
    return 10 * int(load + store) > 13 * problem.bound().value * problem.datapath.dram_bits_per_cycle


def random_datapath(rng: np.random.Generator, workload: Workload, dram_bits: int) -> Datapath:
    """Returns one to three random engines that can run the workload, each a contiguous run of its layers."""
    count = min(len(workload.layers), int(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1])))
    cuts = sorted(rng.choice(len(workload.layers) - 1, count - 1, replace=False) + 1) if count > 1 else []
    assignment = [sum(i >= cut for cut in cuts) for i in range(len(workload.layers))]
    frames = int(rng.choice([1, 1, 1, 2, 4, 8]))
    engines = []
    for e in range(count):
        mine = [layer for layer, a in zip(workload.layers, assignment, strict=True) if a == e]
        engines.append(_random_engine(rng, mine, frames))
    return Datapath(tuple(engines), tuple(int(a) for a in assignment), frames, dram_bits)


def _random_engine(rng: np.random.Generator, layers: list[Layer], frames: int) -> Engine:
    needs_and = any(layer.weight_kind is WeightKind.SIGNED for layer in layers)
    dn = int(rng.choice([2, 3, 4, 6, 7, 8, 10, 12, 14, 16]))
    batch = frames > 1 and rng.random() < 0.3
    dk = int(rng.choice([16, 24, 32, 36, 48, 64, 72, 96, 128, 144]))
    planes: tuple[int, ...] = (1,)
    if all(layer.act_kind is ActKind.UNSIGNED and layer.act_bits > 1 for layer in layers) and dk % 4 == 0:
        planes = [(1,), (1, 2), (2,)][rng.integers(3)]
    first = layers[0]
    window = first.in_channels * first.taps * first.act_bits
    packs = first.taps > 1 and first.groups == 1 and window <= 512 and rng.random() < 0.5
    base = Engine(int(rng.choice([4, 8, 12, 16, 24, 32, 48])), dk, dn, planes_per_word=planes)
    return replace(
        base,
        arithmetic=_AND if needs_and or rng.random() < 0.15 else _XNOR,
        lanes=LaneMode.BATCH if batch else LaneMode.COLUMN,
        drain_lanes=int(rng.integers(1, min(4, dn) + 1)),
        acc_bits=max(layer.acc_bits for layer in layers),
        window_bits=window if packs and first.inputs[0] == IMAGE else 0,
    )


def real(count: int, seed: int) -> Iterator[TilingProblem]:
    """Yields instances of `heldout-real` in the order that the seed gives, each once, at most `count`."""
    order = np.random.default_rng([split_number("heldout-real"), seed]).permutation(real_names())
    for name in order[:count]:
        yield named(str(name))
