"""A design simulated by Verilator copies DRAM rightly, and what it does wrong is told.

The copier reads a burst, writes it, and waits for the answer. Two builds are shared by all tests: 64 bits wide, and
32 bits wide with waves.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from foldwright.accel.cosim.build import BuildParams, Simulator, Waves, build_simulator
from foldwright.accel.cosim.run import DramModel, Limits, SimulationResult, simulate
from foldwright.accel.cosim.script import Command, Dump, Load, Poll, Read, Run, Trace, Write
from foldwright.accel.cosim.tools import find_tools
from foldwright.accel.export.design import verilog_of
from foldwright.accel.synthesis import yosys_command
from foldwright.errors import ConfigError, ToolMissingError, VerificationError
from tests.accel.cosim.copier import BURST_BEATS, Fault, copier_text

SOURCE, TARGET, BURSTS = 0x1000, 0x8000, 5
Builder = Callable[[int], Simulator]


@pytest.fixture(scope="module", name="sources")
def _sources(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Returns the copier as Verilog by its width; skips where a tool is missing."""
    try:
        find_tools()
        yosys_command()
    except ToolMissingError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("copier")
    files = {bits: folder / f"copier{bits}.v" for bits in (32, 64)}
    for bits, file in files.items():
        file.write_text(verilog_of(copier_text(bits), "copier"), encoding="utf-8")
    return files


@pytest.fixture(scope="module", name="cache")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module", name="build")
def _build(sources: dict[int, Path], cache: Path) -> Builder:
    def build(bits: int) -> Simulator:
        params = BuildParams(waves=Waves.VCD if bits == 32 else Waves.NONE, jobs=1)
        return build_simulator([sources[bits]], "copier", cache=cache, params=params)

    return build


def data_of(bits: int) -> bytes:
    return np.random.default_rng(bits).bytes(BURSTS * BURST_BEATS * bits // 8)


def copy_script(
    data: bytes, fault: Fault = Fault.NONE, *, source: int = SOURCE, cycles: int = 5000
) -> list[Command]:
    """Returns a script that copies `data` from SOURCE to TARGET and takes both back."""
    return [
        Load(data, source),
        Write(0x04, source),
        Write(0x08, TARGET),
        Write(0x0C, BURSTS),
        Write(0x10, fault),
        Trace(True),
        Write(0x00, 1),
        Poll(0x00, 1, 1, cycles),
        Dump(TARGET, len(data)),
        Dump(source, len(data)),
    ]


def copied(simulator: Simulator, dram: DramModel) -> SimulationResult:
    data = data_of(simulator.binding.data_bits)
    result = simulate(simulator, copy_script(data), dram=dram)
    assert result.dumps == (data, data)
    assert result.read_beats == result.write_beats == BURSTS * BURST_BEATS
    assert result.open_bursts == 0
    return result


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("stall_percent", [0, 30, 90])
def test_a_copy_is_right_whatever_the_channels_do(build: Builder, bits: int, stall_percent: int) -> None:
    simulator = build(bits)
    cycles = [
        copied(simulator, DramModel(stall_percent=stall_percent, seed=seed, latency_cycles=3)).cycles
        for seed in (1, 1, 2)
    ]
    assert cycles[0] == cycles[1]
    assert (cycles[0] == cycles[2]) == (stall_percent == 0)


def test_latency_and_bandwidth_take_the_cycles_they_say(build: Builder) -> None:
    """Each burst waits twice, for its first beat and for its answer; the last beat read waited 2 n - 1 times."""
    simulator = build(64)
    base, later = (copied(simulator, DramModel(latency_cycles=n)) for n in (10, 110))
    reads, ends = (r.traces[1]["cycle"] for r in (base, later))
    assert reads[0] + 100 == ends[0]
    assert (reads[-1] + (2 * BURSTS - 1) * 100) == ends[-1]
    slow = copied(simulator, DramModel(latency_cycles=10, beats_per_cycle=0.25)).traces[1]["cycle"]
    assert np.diff(slow[3:BURST_BEATS]).tolist() == [4] * (BURST_BEATS - 4)
    assert np.diff(reads[:BURST_BEATS]).tolist() == [1] * (BURST_BEATS - 1)


@pytest.mark.parametrize("bits", [32, 64])
def test_traces_hold_what_was_written_and_when(build: Builder, bits: int) -> None:
    simulator = build(bits)
    data = data_of(bits)
    writer, reader = copied(simulator, DramModel(stall_percent=40, seed=3)).traces
    written = writer[writer["write"] != 0]
    assert set(written["write"]) == {(1 << bits // 8) - 1}
    assert written["address"].tolist() == list(range(BURSTS * BURST_BEATS))
    assert written["data"][:, : bits // 8].tobytes() == data
    assert not written["data"][:, bits // 8 :].any()
    assert reader["data"].tobytes() == data
    begun, ended = (writer[writer[name] == 1] for name in ("tile_start", "tile_end"))
    assert begun["tile"].tolist() == ended["tile"].tolist() == list(range(BURSTS))
    assert (begun["cycle"] < ended["cycle"]).all()
    assert (np.diff(writer["cycle"].astype(np.int64)) >= 0).all()


@pytest.mark.parametrize(
    ("fault", "source", "said"),
    [
        (Fault.VALID_FALLS, SOURCE, "breaks AXI: command 8: ar: valid fell before ready came (cycle "),
        (Fault.PAYLOAD_CHANGES, SOURCE, "ar: payload changed while it waited for ready"),
        (Fault.EARLY_LAST, SOURCE, "w: wlast is 1 at 0x8030 with 1 beats of its burst to come"),
        (Fault.ANSWER_FALLS, SOURCE, "s_axi r: valid fell before ready came"),
        (Fault.NONE, 0x1FE0, "read burst of 8 beats at 0x1fe0: crosses a boundary of 4 KiB"),
        (Fault.NONE, 0x1004, "read burst of 8 beats at 0x1004: address is not a multiple of a beat"),
        (Fault.NEVER_DONE, SOURCE, "the design hangs: command 8: register 0x0 reads 0x0 after "),
        (Fault.NO_ANSWER, SOURCE, "register 0x0: no answer to a read in 300 cycles; DRAM: 0 bursts to read"),
    ],
)
def test_what_the_design_does_wrong_is_told(build: Builder, fault: Fault, source: int, said: str) -> None:
    script = copy_script(data_of(64), fault, source=source, cycles=1000)
    with pytest.raises(VerificationError, match=re.escape(said)):
        simulate(
            build(64),
            script,
            dram=DramModel(stall_percent=50, latency_cycles=20),
            limits=Limits(register_cycles=300),
        )


def test_a_burst_beyond_the_dram_is_told(build: Builder) -> None:
    script: list[Command] = [Write(0x04, 0x100000), Write(0x0C, 1), Write(0x00, 1), Run(100)]
    with pytest.raises(VerificationError, match="at 0x100000: lies outside the DRAM"):
        simulate(build(64), script, dram=DramModel(size_bytes=0x100000))


@pytest.mark.parametrize(
    ("error_range", "error"),
    [((TARGET + 100, TARGET + 101), 2), ((SOURCE, SOURCE + 1), 2), ((0, SOURCE), 0), (None, 0)],
)
def test_errors_of_the_dram_reach_the_design(
    build: Builder, error_range: tuple[int, int] | None, error: int
) -> None:
    result = simulate(build(64), copy_script(data_of(64)), dram=DramModel(error_range=error_range))
    assert result.reads == (1 | error,)


def test_registers_read_what_was_written(build: Builder) -> None:
    result = simulate(build(64), [Write(4, 0xDEADBEEF), Read(4), Run(10), Read(8)])
    assert result.reads == (0xDEADBEEF, 0)
    assert [(a.op, a.address, a.response) for a in result.accesses] == [
        ("write", 4, 0),
        ("read", 4, 0),
        ("read", 8, 0),
    ]
    assert result.cycles == result.accesses[-1].cycle


@pytest.mark.parametrize(
    ("script", "limits", "said"),
    [
        (
            [Run(10**12)],
            Limits(cycles=1000),
            "hangs: command 1: still at work after max_cycles; DRAM: 0 bursts",
        ),
        (
            [Run(10**12)],
            Limits(seconds=0.5),
            "the simulation did not end within 0.5 s; its last result is nothing",
        ),
    ],
)
def test_a_simulation_without_end_is_given_up(
    build: Builder, script: list[Command], limits: Limits, said: str
) -> None:
    with pytest.raises(VerificationError, match=re.escape(said)):
        simulate(build(64), script, limits=limits)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ([Write(0, 1 << 32)], "its numbers must be 0..0xffffffff"),
        ([Run(-1)], "command 0 of a simulation is Run(cycles=-1)"),
        ([Dump(0, 1 << 25)], "bytes 0x0..0x2000000 lie outside the DRAM 0x0..0x1000000"),
    ],
)
def test_wrong_commands_are_told(build: Builder, script: list[Command], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        simulate(build(64), script)


def test_waves_are_written_where_the_simulator_was_built_for_them(build: Builder, tmp_path: Path) -> None:
    simulate(build(32), [Run(20)], waves=tmp_path / "waves.vcd")
    assert "m_axi_araddr" in (tmp_path / "waves.vcd").read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="this simulator writes no waves; build it with"):
        simulate(build(64), [Run(20)], waves=tmp_path / "none.vcd")


def test_a_simulator_is_built_once(build: Builder, cache: Path) -> None:
    first = build(64)
    made = first.executable.stat().st_mtime_ns
    assert build(64) == first
    assert first.executable.stat().st_mtime_ns == made
    assert {path.name for path in first.executable.parent.iterdir()} == {"simulator", "simulator.json"}
    assert not [path for path in cache.iterdir() if path.name.startswith(".")]


def _build_again(source: Path, cache: Path) -> tuple[Path, float]:
    simulator = build_simulator([source], "copier", cache=cache, params=BuildParams(jobs=1))
    return simulator.executable, simulator.build_seconds


def test_processes_that_build_the_same_get_one_simulator(sources: dict[int, Path], tmp_path: Path) -> None:
    with get_context("spawn").Pool(2) as pool:
        one, other = pool.starmap(_build_again, [(sources[64], tmp_path)] * 2)
    assert one == other
    assert one[0].exists()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and a signal at the parent's death")
def test_a_killed_parent_leaves_no_simulation(build: Builder, tmp_path: Path) -> None:
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.argv[1]], stdin=subprocess.PIPE)\n"
        "print(child.pid, flush=True)\n"
        "child.stdin.write(b'run 1000000000000\\n'); child.stdin.close(); child.wait()"
    )
    command = [sys.executable, "-c", code, str(build(64).executable)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        while _alive(child) and not _cpu_ticks(child):  # it must have begun to ask for the signal
            time.sleep(0.01)
        parent.kill()
    for _ in range(100):
        if not _alive(child):
            return
        time.sleep(0.05)
    pytest.fail("the simulation is still at work")


def _cpu_ticks(pid: int) -> int:
    """Returns what a process has computed, user time in ticks."""
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[11])


def _alive(pid: int) -> bool:
    """Returns whether a process runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_design_that_is_none_is_told(sources: dict[int, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.v"
    broken.write_text(
        sources[64].read_text(encoding="utf-8").replace("endmodule", "nonsense nonsense\nendmodule"),
        encoding="utf-8",
    )
    with pytest.raises(ConfigError, match=r"Verilator refuses module 'copier': %Error: broken\.v:"):
        build_simulator([broken], "copier", cache=tmp_path)
