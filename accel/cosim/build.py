"""Builds a simulator: Verilog through Verilator and a C++ compiler to one executable, kept by content.

The key is made of the sources, the harness, the options and the versions of the tools. One process builds a key at a
time, others wait for it; a folder of the cache appears whole, by a rename.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from functools import cache as remembered
from pathlib import Path
from typing import NamedTuple

from foldwright.accel.cosim.binding import Binding, TracePort, bind, sharing
from foldwright.accel.cosim.tools import REMEDIES, Tools, find_tools
from foldwright.errors import ConfigError, ToolMissingError

__all__ = ["XC7_CELLS", "BuildParams", "Simulator", "Speed", "Waves", "build_simulator", "default_cache"]

_HARNESS = [Path(__file__).with_name(name) for name in ("harness.cpp", "models.hpp")]

XC7_CELLS = Path(__file__).with_name("xc7_cells.v")
"""Behaviour of the primitives that designs for 7-series instantiate; a further source for them."""

_OLDEST = (5, 40)
_TRANSLATE = (
    *("--cc", "--exe", "--prefix", "Vdut", "-O3", "--x-assign", "fast", "--x-initial", "fast"),
    *("--no-assert", "--no-timing", "-Wno-fatal", "-Wno-lint", "-Wno-style"),
    *("--output-split", "20000", "--output-split-cfuncs", "5000"),
)
# g++ 12 at -O2 and -O3 takes two to three times as long and makes nothing faster: what Verilator writes is long and straight.
_OPTIMISE = ("OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1")
# What tells the copies of a repeated module apart, so that their code is not merged.
_ALIKE = ("-fno-dfg-scoped", "-fno-gate", "-fno-table")
_COMPILE = ("-std=c++17", "-DVL_TIME_CONTEXT")


class Speed(Enum):
    """What a build is good at: being over soon, or simulating fast.

    A quick build keeps one copy of the code of modules that a design repeats, see `binding.sharing`. For a generic engine
    of 32x64x8 it took 31 s of CPU against 62 s and played 29,000 cycles a second of CPU against 57,000: it is over sooner
    up to about 1.8 million cycles.
    """

    QUICK = "quick"
    FAST = "fast"


class Waves(Enum):
    """The wave files that a simulator can write; each makes it slower even where none is asked for."""

    NONE = ""
    VCD = "vcd"
    FST = "fst"  # needs the headers of zlib and lz4


@dataclass(frozen=True, slots=True)
class BuildParams:
    """How a simulator is built; `jobs` compilers run at a time."""

    speed: Speed = Speed.QUICK
    waves: Waves = Waves.NONE
    jobs: int = 2
    timeout_s: int = 3600

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {value}, allowed 1..{most}"
            for name, value, most in (("jobs", self.jobs, 256), ("timeout_s", self.timeout_s, 10**6))
            if not 1 <= value <= most
        ]
        if wrong:
            raise ConfigError("build of a simulator: " + "; ".join(wrong))


@dataclass(frozen=True, slots=True)
class Simulator:
    """An executable of a design; `build_seconds` is what it took when it was built, also where it came from the cache."""

    executable: Path
    binding: Binding
    waves: Waves
    build_seconds: float


def default_cache() -> Path:
    """Returns where simulators are kept where nothing else is said: below the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "foldwright" / "cosim"


def build_simulator(
    sources: Sequence[Path], top: str, *, cache: Path | None = None, params: BuildParams | None = None
) -> Simulator:
    """Builds a simulator of the module `top`, or takes it from the cache.

    Raises:
        ConfigError: a file cannot be read, the module lacks a port, or Verilator refuses the design.
        ToolMissingError: Verilator, perl, make or a C++ compiler is missing, or fails.
    """
    params, cache = params or BuildParams(), cache or default_cache()
    tools = find_tools()
    texts = _texts(sources)
    binding = bind(list(texts.values()), top)
    shared = list(texts.values()) if params.speed is Speed.QUICK else []
    files = texts | {"binding.h": binding.header(params.waves.value), "share.vlt": sharing(shared)}
    keys = _keys(files, top, params, tools)
    kept = cache / keys.simulator
    with _alone(kept.with_suffix(".lock")):
        if not (kept / "simulator.json").exists():
            _build(files, sorted(texts), top, params, tools, kept, cache / keys.library)
    described = json.loads((kept / "simulator.json").read_text(encoding="utf-8"))
    traces = tuple(TracePort(**port) for port in described["traces"])
    return Simulator(
        kept / "simulator", Binding(described["data_bits"], traces), params.waves, described["build_seconds"]
    )


def _texts(sources: Sequence[Path]) -> dict[str, str]:
    """Returns the sources by the names that they get in the build folder."""
    texts = {}
    for source in sources:
        try:
            texts[source.name] = source.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{source}: cannot be read: {error.strerror}") from None
    if len(texts) != len(sources):
        raise ConfigError(
            f"two of the Verilog files have one name: {sorted(source.name for source in sources)}"
        )
    return texts


class _Keys(NamedTuple):
    """Names in the cache: of a simulator, and of Verilator's own objects, which many simulators share."""

    simulator: str
    library: str


def _keys(files: Mapping[str, str], top: str, params: BuildParams, tools: Tools) -> _Keys:
    versions = [_version(tools.perl, tools.verilator), _version(tools.compiler)]
    number = re.search(r"Verilator (\d+)\.(\d+)", versions[0])
    if tools.verilator_root is None and number and (int(number[1]), int(number[2])) < _OLDEST:
        raise ToolMissingError(f"{tools.verilator} is too old ({versions[0]}); {REMEDIES['verilator']}")
    compiled = [versions, *_COMPILE, *_OPTIMISE, params.waves.value]
    harness = [path.read_text(encoding="utf-8") for path in _HARNESS]
    return _Keys(
        _digest([compiled, harness, _TRANSLATE, _ALIKE, top, sorted(files.items())]), _digest(compiled)
    )


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]


@remembered
def _version(*command: str) -> str:
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=60, check=False)
    return (done.stdout.splitlines() or [""])[0]


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Waits until no other process builds the same simulator; the system frees the lock of a killed one."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with open(lock, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise ConfigError(
            f"{error.filename or lock}: {error.strerror}; choose another cache folder"
        ) from None


def _build(
    files: Mapping[str, str],
    sources: Sequence[str],
    top: str,
    params: BuildParams,
    tools: Tools,
    kept: Path,
    library: Path,
) -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="foldwright-cosim-") as folder:
        work = Path(folder)
        for name, text in files.items():
            (work / name).write_text(text, encoding="utf-8")
        for path in _HARNESS:
            shutil.copy(path, work)
        _translate(work, sources, top, params, tools)
        if library.exists():
            for path in library.iterdir():
                shutil.copy(path, work / "obj")
        _compile(work, params, tools)
        if not library.exists():
            _keep(library, sorted((work / "obj").glob("verilated*.o")))
        binding = bind([files[name] for name in sources], top)
        described = {
            "data_bits": binding.data_bits,
            "traces": [asdict(port) for port in binding.traces],
            "build_seconds": round(time.monotonic() - began, 3),
        }
        (work / "obj" / "Vdut").rename(work / "simulator")
        (work / "simulator.json").write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
        _keep(kept, [work / "simulator", work / "simulator.json"])


def _translate(work: Path, sources: Sequence[str], top: str, params: BuildParams, tools: Tools) -> None:
    waves = [f"--trace-{params.waves.value}"] if params.waves is not Waves.NONE else []
    alike = _ALIKE if params.speed is Speed.QUICK else ()
    flags = ["-CFLAGS", " ".join((*_COMPILE, "-I..")), "-LDFLAGS", "-pthread"]
    options = [*_TRANSLATE, *alike, *waves, *flags, "--Mdir", "obj", "--top-module", top]
    command = [tools.perl, tools.verilator, *options, "share.vlt", *sources, "../harness.cpp"]
    code, said = _run(command, work, tools, params.timeout_s)
    if code:
        errors = [line for line in said.splitlines() if line.startswith("%Error")]
        raise ConfigError(f"Verilator refuses module {top!r}: {(errors or [said.strip()[-300:]])[0]}")


def _compile(work: Path, params: BuildParams, tools: Tools) -> None:
    # What the Makefile of the pip package names is the machine that built the package.
    places = {
        "CXX": tools.compiler,
        "LINK": tools.compiler,
        "AR": "ar",
        "PERL": tools.perl,
        "PYTHON3": sys.executable,
        "CFG_CXXFLAGS_PCH_I": "-include",
    }
    names = [f"{name}={path}" for name, path in places.items()]
    command = [tools.make, "-C", "obj", "-f", "Vdut.mk", f"-j{params.jobs}", *names, *_OPTIMISE]
    code, said = _run(command, work, tools, params.timeout_s)
    if code:
        lines = [line for line in said.splitlines() if "error" in line.lower()]
        hint = "; FST needs the headers of zlib and lz4, VCD does not" if params.waves is Waves.FST else ""
        raise ToolMissingError(
            f"{tools.compiler} cannot build the simulator: {(lines or [said[-300:]])[0]}{hint}"
        )


def _run(command: Sequence[str], folder: Path, tools: Tools, timeout_s: float) -> tuple[int, str]:
    """Runs a command with everything that it starts in a group of its own; returns exit code and what it said."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=tools.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise ToolMissingError(
            f"{Path(command[0]).name} did not finish within {timeout_s} s; give the build more time or a smaller design"
        ) from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return process.returncode, said


def _keep(kept: Path, files: Sequence[Path]) -> None:
    """Puts files into a folder of the cache, by one rename; one that another process put there meanwhile stays."""
    with tempfile.TemporaryDirectory(prefix=f".{kept.name}.", dir=kept.parent) as folder:
        part = Path(folder) / "part"
        part.mkdir()
        for file in files:
            shutil.copy(file, part)
        try:
            part.rename(kept)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
