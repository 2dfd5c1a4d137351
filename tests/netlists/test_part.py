"""Parts: the shipped ones, a user's own, and every way to get a file wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from foldwright.errors import PartError
from foldwright.jsonform import from_json, to_json
from foldwright.netlists.part import RESOURCES, Part, list_parts, load_part, part_names

__all__: list[str] = []

OWN = """
format = "foldwright.part/1"
name = "mine"
family = "xc7"
default_clock_mhz = 150
[budget]
lut = 1000
ff = 2000
bram36 = 10
dsp = 0
[block_ram]
kind = "RAMB36"
geometries = [[72, 512], [36, 1024]]
[dram]
peak_bytes_per_s = 1000
usable_bytes_per_s = 800
ports = 1
port_bits = 32
default_bits_per_cycle = 32
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "own.toml"
    path.write_text(text)
    return path


def test_shipped_parts_offer_what_their_data_sheets_say() -> None:
    assert part_names() == ("lfe5u-85f", "xc7z020")
    budgets = {name: [getattr(load_part(name), r) for r in RESOURCES] for name in part_names()}
    assert budgets == {"xc7z020": [53_200, 106_400, 140, 220], "lfe5u-85f": [83_640, 83_640, 208, 156]}


def test_every_block_ram_geometry_fits_the_block() -> None:
    # 36,864 bits in a RAMB36, half of it in a RAMB18; 18,432 in an EBR. Narrow shapes lose the parity bits.
    for name, bits in (("xc7z020", 36_864), ("lfe5u-85f", 18_432)):
        ram = load_part(name).block_ram
        assert max(w * d for w, d in ram.geometries) == bits
        assert all(bits * 8 // 9 <= w * d <= bits for w, d in ram.geometries)
        assert all(2 * w * d <= bits for w, d in ram.half_geometries)


def test_dram_gives_whole_bits_per_cycle() -> None:
    dram = load_part("xc7z020").dram
    assert dram.usable_bits_per_cycle(200) == 63  # 1.575 GB/s: 63 bits in 5 ns
    assert dram.usable_bits_per_cycle(100) == 126
    assert dram.default_bits_per_cycle <= dram.usable_bits_per_cycle(200)


def test_names_ignore_case_and_each_part_is_read_once() -> None:
    assert load_part("XC7Z020") is load_part("xc7z020")


def test_rows_for_the_command_line_follow_the_names() -> None:
    rows = list_parts()
    assert tuple(row.name for row in rows) == part_names()
    assert [row.block_ram for row in rows] == ["EBR", "RAMB36"]
    assert all(row.summary for row in rows)


def test_a_users_own_part_works_by_its_path(tmp_path: Path) -> None:
    part = load_part(write(tmp_path, OWN))
    assert (part.name, part.lut, part.bram36, part.fabric) == ("mine", 1000, 10, None)
    assert load_part(str(tmp_path / "own.toml")) == part


@pytest.mark.parametrize("name", ["lfe5u-85f", "xc7z020"])
def test_a_part_reads_back_equal_from_json(name: str) -> None:
    part = load_part(name)
    assert from_json(Part, to_json(part), "here") == part


BAD = [
    # (what is replaced, by what, what the message must hold): the reason stands in the message.
    ('format = "foldwright.part/1"', "", "format is None"),
    ('format = "foldwright.part/1"', 'format = "foldwright.part/9"', "format is 'foldwright.part/9'"),
    ("lut = 1000", "luts = 1000", "budget.luts: unknown key; did you mean 'lut'?"),
    ("[block_ram]", "[blockram]", "blockram: unknown key; did you mean 'block_ram'?"),
    ("lut = 1000", 'lut = "1000"', "budget.lut: Input should be a valid integer (got '1000')"),
    ("lut = 1000", "lut = 1000.5", "budget.lut: Input should be a valid integer"),
    ("lut = 1000", "lut = nan", "budget.lut"),
    ("lut = 1000", "lut = 2020-01-01", "budget.lut: Input should be a valid integer"),
    ("lut = 1000", "lut = true", "budget.lut: Input should be a valid integer"),
    ("lut = 1000", "lut = -1", "lut is -1, must not be negative"),
    ('family = "xc7"', 'family = "xc8"', "family is 'xc8'; did you mean 'xc7'?"),
    ('name = "mine"', 'name = ""', "name is empty"),
    ("default_clock_mhz = 150", "default_clock_mhz = 0", "default_clock_mhz is 0, allowed 1..1000"),
    ("default_clock_mhz = 150", "", "default_clock_mhz"),
    ("[[72, 512], [36, 1024]]", "[]", "geometries is empty"),
    ("[[72, 512], [36, 1024]]", "[[72, 0]]", "geometries hold 0"),
    ("[[72, 512], [36, 1024]]", "[[72, 512, 3]]", "block_ram.geometries.0"),
    ("usable_bytes_per_s = 800", "usable_bytes_per_s = 8000", "is above the peak 1000"),
    ("default_bits_per_cycle = 32", "default_bits_per_cycle = 64", "is above all ports' 32"),
    ("ports = 1", "ports = 0", "ports is 0, must be at least 1"),
    ("dsp = 0", "dsp = 0\ndsp = 1", "not valid TOML"),
    ("[budget]", "[budget", "not valid TOML"),
]


@pytest.mark.parametrize(("old", "new", "message"), BAD)
def test_a_wrong_file_is_named_with_what_and_where(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in OWN
    path = write(tmp_path, OWN.replace(old, new, 1))
    with pytest.raises(PartError) as caught:
        load_part(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 10


def test_every_mistake_of_a_file_is_named_at_once(tmp_path: Path) -> None:
    text = OWN.replace("lut = 1000", "luts = 1000").replace("ports = 1", "ports = 0").replace("150", "'fast'")
    with pytest.raises(PartError) as caught:
        load_part(write(tmp_path, text))
    for wrong in ("luts: unknown key", "budget.lut: ", "ports is 0", "default_clock_mhz"):
        assert wrong in str(caught.value)
    assert "4 mistakes" in str(caught.value)


def test_a_long_list_of_mistakes_is_cut_to_a_few_lines(tmp_path: Path) -> None:
    text = OWN + "\n".join(f"wrong_{i} = 1" for i in range(40))
    with pytest.raises(PartError) as caught:
        load_part(write(tmp_path, text))
    assert len(str(caught.value).splitlines()) == 10
    assert "and 32 more" in str(caught.value)


def test_a_budget_above_the_fabric_is_refused(tmp_path: Path) -> None:
    fabric = """
[fabric]
columns = "CLB*2"
rows = "CLB*3"
[[fabric.sites]]
kind = "SLICE"
name = "SLICE_X{i}Y{j}"
column = "CLB"
row = "CLB"
lut = 4
ff = 8
"""
    small = OWN.replace("lut = 1000", "lut = 25").replace("ff = 2000", "ff = 48")
    small = small.replace("bram36 = 10", "bram36 = 0")
    with pytest.raises(PartError, match=r"budget\.lut is 25, but the sites of the fabric offer only 24"):
        load_part(write(tmp_path, small + fabric))
    part = load_part(write(tmp_path, small.replace("lut = 25", "lut = 24") + fabric))
    assert part.fabric is not None
    assert part.fabric.total("ff") == 48


def test_a_broken_fabric_names_its_rule(tmp_path: Path) -> None:
    rule = '{kind = "S", name = "S", colum = "CLB", row = "X"}'
    fabric = f'[fabric]\ncolumns = "CLB"\nrows = "CLB"\nsites = [{rule}]'
    with pytest.raises(PartError, match=r"fabric\.sites\.0\.colum: unknown key; did you mean 'column'\?"):
        load_part(write(tmp_path, OWN + fabric))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("xc7z02", "no part is named 'xc7z02'; did you mean 'xc7z020'?"),
        ("", "no part is named ''"),
        ("../parts/xc7z020", "no part is named"),  # a path needs its ending
    ],
)
def test_an_unknown_name_gets_the_nearest(name: str, message: str) -> None:
    with pytest.raises(PartError) as caught:
        load_part(name)
    assert message in str(caught.value)
    assert "known: lfe5u-85f, xc7z020" in str(caught.value)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PartError, match="cannot be read: No such file"):
        load_part(tmp_path / "absent.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(PartError, match="cannot be read: Is a directory"):
        load_part(tmp_path / "folder.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PartError, match="not a text file in UTF-8"):
        load_part(tmp_path / "binary.toml")
    (tmp_path / "long.toml").write_text("#" * (2**20 + 1))
    with pytest.raises(PartError, match="1048577 bytes, more than the 1048576 allowed"):
        load_part(tmp_path / "long.toml")
    (tmp_path / "deep.toml").write_text("a = " + "[" * 5000 + "]" * 5000)
    with pytest.raises(PartError, match="not valid TOML"):
        load_part(tmp_path / "deep.toml")
