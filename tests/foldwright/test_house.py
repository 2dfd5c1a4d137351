"""The house stands: imports go one way, links resolve, names are declared, importing is cheap."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT, python

ROOMS = ("netlists", "accel", "models", "envs", "agents")

# A room may import itself, what stands here, and the two modules that everything shares.
MAY_IMPORT: dict[str, frozenset[str]] = {
    "netlists": frozenset(),
    "accel": frozenset({"netlists"}),
    "models": frozenset({"netlists", "accel"}),
    "envs": frozenset({"netlists", "accel", "models"}),
    "agents": frozenset({"netlists", "accel", "models", "envs"}),
    "foldwright": frozenset(ROOMS),
}
SHARED_BY_ALL = frozenset({"errors", "jsonform", "kernels", "tomlform", "__version__"})
HEAVY = ("numpy", "numba", "networkx", "ortools", "torch", "onnx", "amaranth", "gymnasium", "pydantic")


def modules() -> Iterator[tuple[str, str, Path]]:
    """Yields room, dotted name and file of every module, each once."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield room, "foldwright." + _dotted(path.relative_to(ROOT)), path
    for folder, subfolders, files in os.walk(ROOT / "foldwright"):
        subfolders[:] = [s for s in subfolders if not (Path(folder) / s).is_symlink()]
        for name in sorted(files):
            if name.endswith(".py"):
                path = Path(folder) / name
                yield "foldwright", _dotted(path.relative_to(ROOT)), path


def _dotted(relative: Path) -> str:
    return ".".join(relative.with_suffix("").parts).removesuffix(".__init__")


ALL_MODULES = [pytest.param(*m, id=m[1]) for m in modules()]


def imported(tree: ast.Module, name: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Yields line and dotted name of everything that a module imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = name.split(".")
                kept = parts[: len(parts) - node.level + is_package]
                base = ".".join([*kept, *([base] if base else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def wrong_arrows(room: str, names: Iterator[tuple[int, str]]) -> list[str]:
    wrong = []
    for line, name in names:
        first, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if first in ROOMS:
            wrong.append(f"line {line}: imports {name}; import foldwright.{name}")
        elif first != "foldwright" or target in SHARED_BY_ALL or room == "foldwright":
            continue
        elif target != room and target not in MAY_IMPORT[room]:
            wrong.append(f"line {line}: {room} must not import {name}")
    return wrong


@pytest.mark.parametrize(("room", "name", "path"), ALL_MODULES)
def test_imports_go_one_way(room: str, name: str, path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert wrong_arrows(room, imported(tree, name, path.name == "__init__.py")) == []


@pytest.mark.parametrize(
    ("room", "name", "code", "wrong"),
    [
        ("netlists", "foldwright.netlists.a", "from foldwright.accel.workload import Layer", True),
        ("accel", "foldwright.accel.a", "def f():\n    import foldwright.agents.anneal", True),
        ("envs", "foldwright.envs.tiling.a", "from ... import cli", True),
        ("agents", "foldwright.agents.a", "import netlists.fabric", True),
        ("accel", "foldwright.accel.a", "from foldwright import load_network", True),
        ("accel", "foldwright.accel.a", "from foldwright import __version__", False),
        ("accel", "foldwright.accel.a", "from foldwright.errors import InputError", False),
        ("envs", "foldwright.envs.tiling.a", "from .problem import TilingProblem", False),
        ("agents", "foldwright.agents.a", "from foldwright.envs.tiling import TilingProblem", False),
    ],
)
def test_the_import_check_finds_wrong_arrows(room: str, name: str, code: str, wrong: bool) -> None:
    assert bool(wrong_arrows(room, imported(ast.parse(code), name, is_package=False))) is wrong


@pytest.mark.parametrize("room", ROOMS)
def test_links_are_relative_and_resolve(room: str) -> None:
    link = ROOT / "foldwright" / room
    if not link.is_symlink():
        pytest.skip("links became folders: this is an unpacked source archive")
    assert os.readlink(link) == f"../{room}"
    assert link.resolve() == ROOT / room


def defined_names(tree: ast.Module) -> set[str]:
    """Returns the public names that a module assigns or defines at its top level."""
    names = public_functions(tree)
    for node in tree.body:
        if isinstance(node, ast.Assign):
            names |= {n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return {n for n in names if not n.startswith("_")}


def public_functions(tree: ast.Module) -> set[str]:
    """Returns the functions and classes of a module.

    Constants and type aliases may stay undeclared: column numbers of kernel tables would drown the rest.
    """
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {n.name for n in tree.body if isinstance(n, kinds) and not n.name.startswith("_")}


def declared_names(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets
        ):
            value = ast.literal_eval(node.value)
            return [str(v) for v in value]
    return None


@pytest.mark.parametrize(("room", "name", "path"), ALL_MODULES)
def test_all_names_what_is_public(room: str, name: str, path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    declared, defined = declared_names(tree), defined_names(tree)
    if declared is None:
        functions = public_functions(tree)
        assert not functions, f"{name} has no __all__, but defines {sorted(functions)}"
        return
    twice = sorted({n for n in declared if declared.count(n) > 1})
    assert not twice, f"{name}: twice in __all__: {twice}"
    missing = public_functions(tree) - set(declared)
    assert not missing, f"{name}: public but not in __all__: {sorted(missing)}"
    reexported = {n.rpartition(".")[2] for _, n in imported(tree, name, path.name == "__init__.py")}
    unknown = set(declared) - defined - reexported - {"__version__"}
    assert not unknown, f"{name}: in __all__ but not there: {sorted(unknown)}"


@pytest.mark.parametrize(("room", "name", "path"), ALL_MODULES)
def test_every_module_opens_with_a_docstring(room: str, name: str, path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{name} has no docstring"


REPORT_HEAVY = f"import sys; print(sorted({set(HEAVY)!r} & set(sys.modules)))"


@pytest.mark.parametrize(
    "code",
    [
        "import foldwright",
        "import foldwright.cli",
        "import foldwright.cli as c; c.cli.main(['--help'], standalone_mode=False)",
        "from foldwright.cli import cli as c\n"
        "for v in c.commands: c.main([v, '--help'], standalone_mode=False)",
    ],
)
def test_importing_and_help_load_nothing_heavy(code: str) -> None:
    done = python("-c", f"{code}\n{REPORT_HEAVY}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_refuses_to_load_under_another_name(room: str) -> None:
    done = python("-c", f"import {room}", path=(ROOT,))
    assert done.returncode == 1
    assert f"'{room}' was imported as '{room}': import it as 'foldwright.{room}'" in done.stderr


TEXT = {".py", ".toml", ".md", ".jinja", ".css", ".js", ".json", ".sh", ".yml", ""}
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:tmp|root|work|home)/[a-z]")


def text_files() -> Iterator[Path]:
    for folder, subfolders, files in os.walk(ROOT):
        subfolders[:] = [
            s for s in subfolders if not s.startswith(".") and s not in ("build", "dist", "demo", "runs")
        ]
        yield from (Path(folder) / f for f in files if Path(f).suffix in TEXT and not f.startswith("."))


def test_no_file_names_a_place_on_one_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(("room", "name", "path"), ALL_MODULES)
def test_no_module_runs_code_from_data(room: str, name: str, path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {n.partition(".")[0] for _, n in imported(tree, name, path.name == "__init__.py")}
    assert not names & {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
    calls = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    assert not calls & {"eval", "exec", "compile", "__import__"}
