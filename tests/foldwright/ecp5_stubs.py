"""Stands for yosys, nextpnr-ecp5 and ecppack: quick, with the files and messages that the build reads.

What the stubs do is set by words in the environment variable `STUB`: `slow`, `too-large`, `broken`, `disobey`, `late-clock`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from foldwright.accel.ecp5_tools import Ecp5Tools

__all__ = ["stub_tools"]

_YOSYS = """
import json, os, re, sys, time
print("Executing SYNTH_ECP5 pass.", flush=True)
if "slow" in os.environ.get("STUB", ""):
    time.sleep(60)
script = sys.argv[sys.argv.index("-p") + 1]
out, top = re.search(r"write_json (\\S+)", script)[1], re.search(r"-top ([^\\s;]+)", script)[1]
for path in re.findall(r"read_verilog (.*?);", script)[0].split():
    open(path).close()
cells = {}
for k, memory in enumerate(["engine0.own", "engine0.inbox", "engine0.core.weights$130"]):
    cells[f"standalone.core.{memory}.0.0"] = {"type": "DP16KD", "connections": {"D": [k, k + 1]}}
    cells[f"lut{k}"] = {"type": "LUT4", "connections": {"A": [k]}}
cells["pll"] = {"type": "EHXPLLL", "connections": {"CLKI": [9]}}
json.dump({"modules": {top: {"cells": cells}}}, open(out, "w"))
"""

_NEXTPNR = """
import json, os, sys
option = lambda name: sys.argv[sys.argv.index(name) + 1]
stub = os.environ.get("STUB", "")
if "too-large" in stub:
    print("ERROR: Unable to place cell 'lut1', no Bels remaining of type 'TRELLIS_COMB'")
    sys.exit(1)
if "broken" in stub:
    print("Info: Packing constants..")
    print("ERROR: cell 'x' has no port")
    sys.exit(1)
assert "FREQUENCY PORT" in open(option("--lpf")).read()
body = json.load(open(option("--json")))
for module in body["modules"].values():
    for k, cell in enumerate(module["cells"].values()):
        given = cell.get("attributes", {}).get("BEL", f"X{4 + 9 * k}/Y22/EBR0")
        cell.setdefault("attributes", {})["NEXTPNR_BEL"] = "X4/Y94/EBR0" if "disobey" in stub else given
[module] = body["modules"].values()
json.dump({"modules": {"top": module}}, open(option("--write"), "w"))
if "--no-route" not in sys.argv:
    open(option("--textcfg"), "w").write("config")
    clock = {"achieved": 40.0 if "late-clock" in stub else 61.5, "constraint": 50.0}
    path = {"from": "posedge clk", "to": "posedge clk", "path": [{"to": {"cell": "lut0"}}, {"to": {"cell": "lut1"}}]}
    report = {"fmax": {"clk": clock}, "critical_paths": [path], "utilization": {"DP16KD": {"used": 3, "available": 208}}}
    json.dump(report, open(option("--report"), "w"))
"""

_ECPPACK = "import sys; open(sys.argv[-1], 'wb').write(open(sys.argv[-2], 'rb').read() * 100)"


def stub_tools(folder: Path) -> Ecp5Tools:
    """Writes the stubs and returns how they are called."""
    commands = []
    for name, text in (("yosys", _YOSYS), ("nextpnr", _NEXTPNR), ("ecppack", _ECPPACK)):
        path = folder / f"{name}.py"
        path.write_text(text, encoding="utf-8")
        commands.append((sys.executable, str(path)))
    return Ecp5Tools(*commands)
