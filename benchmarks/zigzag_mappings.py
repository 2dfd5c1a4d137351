"""Lets ZigZag map ResNet-18's convolutions and keeps its mappings for `tiling_layer.py`.

    python -m venv ZZ && ZZ/bin/pip install zigzag-dse==3.9.1 six
    ZZ/bin/python benchmarks/zigzag_mappings.py --json benchmarks/data/zigzag_resnet18.json [--keep FOLDER]

Runs where ZigZag is installed, without Foldwright. Its search engine LOMA orders at most six loop factors (`lpf_limit`), for the
least latency. Of what ZigZag writes for a layer (`NAME_complete.json`), the parts that a reader of mappings needs are kept
as they stand; with `--keep`, all files stay in FOLDER.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tiling_cases import (  # type: ignore[import-not-found]  # the script's own folder is on the path
    ARRAYS,
    LAYERS,
    Array,
    Layer,
)

LPF_LIMIT = 6
DRAM_BITS = 10**10


def memory(size_bits: int, operands: list[str], ports: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns a memory whose accesses cost nothing that the search looks at."""
    served = ["D1", "D2", "D3"]
    return {
        "size": size_bits,
        "r_cost": 1.0,
        "w_cost": 1.0,
        "area": 0,
        "latency": 1,
        "operands": operands,
        "ports": ports,
        "served_dimensions": served,
    }


def port(name: str, kind: str, bits: int, moves: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "type": kind,
        "bandwidth_min": min(bits, 8),
        "bandwidth_max": bits,
        "allocation": moves,
    }


def accelerator(a: Array) -> dict[str, Any]:
    """Returns the array with a buffer per operand, wide enough inside, and one DRAM port; the order of memories matters."""
    weights, inputs, outputs = a.buffer_bits
    dram = a.dram_bits_per_cycle
    psums = a.dm * a.dn * a.psum_bits
    read_w = port("r_port_1", "read", a.dm * a.dk * a.weight_bits, ["I2, tl"])
    read_i = port("r_port_1", "read", a.dk * a.dn * a.input_bits, ["I1, tl"])
    every = [f"{operand}, {way}" for operand in ("I1", "I2") for way in ("fh", "tl")]
    every += [f"O, {way}" for way in ("fh", "tl", "fl", "th")]
    memories = {
        "wbuf": memory(weights, ["I2"], [read_w, port("w_port_1", "write", dram, ["I2, fh"])]),
        "abuf": memory(inputs, ["I1"], [read_i, port("w_port_1", "write", dram, ["I1, fh"])]),
        "obuf": memory(
            outputs,
            ["O"],
            [
                port("r_port_1", "read", psums, ["O, tl"]),
                port("w_port_1", "write", psums, ["O, fl"]),
                port("r_port_2", "read", dram, ["O, th"]),
                port("w_port_2", "write", dram, ["O, fh"]),
            ],
        ),
        "dram": memory(DRAM_BITS, ["I1", "I2", "O"], [port("rw_port_1", "read_write", dram, every)]),
    }
    memories["dram"]["ports"][0]["bandwidth_min"] = dram
    array = {
        "unit_energy": 0.04,
        "unit_area": 1,
        "dimensions": ["D1", "D2", "D3"],
        "sizes": [a.dm, a.dk, a.dn],
    }
    return {"name": "array_with_one_port", "memories": memories, "operational_array": array}


def workload(a: Array, layer: Layer) -> list[dict[str, Any]]:
    size, kernel = layer.out_size, layer.kernel
    return [
        {
            "id": 0,
            "name": layer.name,
            "operator_type": "Conv",
            "equation": "O[b][k][oy][ox]+=W[k][c][fy][fx]*I[b][c][iy][ix]",
            "dimension_relations": [f"ix={layer.stride}*ox+1*fx", f"iy={layer.stride}*oy+1*fy"],
            "loop_dims": ["B", "K", "C", "OY", "OX", "FY", "FX"],
            "loop_sizes": [1, layer.out_channels, layer.in_channels, size, size, kernel, kernel],
            "operand_precision": {
                "W": a.weight_bits,
                "I": a.input_bits,
                "O": a.psum_bits,
                "O_final": a.output_bits,
            },
            "operand_source": {"I": 0, "W": 0},
        }
    ]


def spatial_mapping(a: Array, layer: Layer) -> list[dict[str, Any]]:
    unrolled = {
        "D1": [f"K, {min(layer.out_channels, a.dm)}"],
        "D2": [f"C, {min(layer.in_channels, a.dk)}"],
        "D3": [f"OX, {min(layer.out_size, a.dn)}"],
    }
    links = {"O": "O", "W": "I2", "I": "I1"}
    return [{"name": "default", "spatial_mapping": unrolled, "memory_operand_links": links}]


def reduced(result: dict[str, Any]) -> dict[str, Any]:
    """Returns the part of ZigZag's result that says what the mapping is."""
    given = result["inputs"]
    names = ("name", "loop_dimensions", "equation_relations", "operand_precision", "memory_operand_links")
    machine = given["accelerator"]
    return {
        "inputs": {
            "accelerator": {key: machine[key] for key in ("mem_hierarchy_dict", "mem_size_dict")},
            "layer": {key: given["layer"][key] for key in names},
            "spatial_mapping": given["spatial_mapping"],
            "temporal_mapping": given["temporal_mapping"],
        }
    }


def map_layer(a: Array, layer: Layer, folder: Path) -> dict[str, Any]:
    """Returns ZigZag's mapping of a layer, its latency and the CPU time it took."""
    from zigzag.api import get_hardware_performance_zigzag

    folder.mkdir(parents=True)
    files = {
        "accelerator": accelerator(a),
        "workload": workload(a, layer),
        "mapping": spatial_mapping(a, layer),
    }
    for name, body in files.items():
        (folder / f"{name}.yaml").write_text(json.dumps(body), encoding="utf-8")  # JSON is YAML
    start = time.process_time()
    _, cycles, _ = get_hardware_performance_zigzag(
        str(folder / "workload.yaml"),
        str(folder / "accelerator.yaml"),
        str(folder / "mapping.yaml"),
        opt="latency",
        dump_folder=str(folder),
        lpf_limit=LPF_LIMIT,
        loma_show_progress_bar=False,
    )
    seconds = time.process_time() - start
    result = json.loads((folder / f"{layer.name}_complete.json").read_text(encoding="utf-8"))
    return {
        "layer": layer.name,
        "cycles": cycles,
        "cpu_seconds": round(seconds, 3),
        "mapping": reduced(result),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        for config, array in ARRAYS.items():
            for layer in LAYERS:
                row = {"array": config, **map_layer(array, layer, folder / f"{config}_{layer.name}")}
                print(
                    f"{config} {layer.name}: {row['cycles']:,.0f} cycles, {row['cpu_seconds']:.2f} CPU s",
                    flush=True,
                )
                rows.append(row)
    head = {"zigzag": version("zigzag-dse"), "engine": "loma", "lpf_limit": LPF_LIMIT}
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    options.json.write_text(json.dumps(head)[:-1] + f', "rows": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
