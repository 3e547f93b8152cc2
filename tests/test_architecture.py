# SPDX-License-Identifier: MIT
"""The house: who may import whom, and what is not loaded before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import pidproof
from helpers import python, run


if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(pidproof.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
# From the ground up.  A module stands on its own floor and on those below it.
NATIVE = {"_native", "_native_lock", "_native_gate"}
FLOORS = [
    {"errors", "frozen", "interrupts"},
    {"_pp"},
    NATIVE,
    {"process"},
    {"lock"},
    {"server"},
    {"cli"},
]
# All that a healthy `pidproof ensure --http` loads beyond a bare interpreter, and no more.
FAST_PATH = {
    *("__future__", "_cffi_backend", "_json", "_socket", "errno"),
    *("pidproof", "pidproof._native", "pidproof._pp", "pidproof._pp.lib"),
    *("pidproof.errors", "pidproof.frozen"),
    *("pidproof.process", "pidproof.process.identity", "pidproof.process.liveness"),
    "pidproof.server",
    *(f"pidproof.server.{name}" for name in (
        "checkup", "children", "decode", "directory", "ensure", "http_get", "listener", "paths",
        "probe", "probes", "record", "results", "spec", "version",
    )),
    "pidproof.cli",
    *(f"pidproof.cli.{name}" for name in (
        "codes", "grammar", "parser", "servers", "show", "signals",
    )),
}  # fmt: skip
# What costs milliseconds and that most calls do without.
HEAVY = {
    *("argparse", "asyncio", "dataclasses", "hashlib", "http.client", "inspect", "logging"),
    *("pathlib", "random", "shutil", "subprocess", "tempfile", "threading", "typing", "uuid"),
}


class Import(NamedTuple):
    """An import of one of our modules by another."""

    importer: str
    imported: str
    line: int
    eager: bool
    """Whether it happens as soon as the importer is loaded."""


def name_of(path: Path) -> str:
    """Return the dotted name of a module inside the package; empty for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def is_for_types(node: ast.AST) -> bool:
    """Say whether a statement is `if TYPE_CHECKING:`."""
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def walk(node: ast.AST, eager: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Walk over what runs, and say of each node whether it does so at the import."""
    for child in ast.iter_child_nodes(node):
        if is_for_types(child):
            continue
        inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        yield child, eager
        yield from walk(child, eager and not inside)


def imports_in(path: Path, *, types: bool = False) -> Iterator[Import]:
    """List the imports of our own modules in a file; those for types only on demand."""
    importer = name_of(path)
    tree = ast.parse(path.read_text())
    nodes = ((node, True) for node in ast.walk(tree)) if types else walk(tree, eager=True)
    for node, eager in nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "pidproof":
                yield Import(importer, name.partition(".")[2], node.lineno, eager)


def floor_of(name: str) -> int | None:
    """Return the floor of a module, None for the package itself."""
    first = name.split(".", maxsplit=1)[0]
    return next((at for at, floor in enumerate(FLOORS) if first in floor), None)


def complaint(found: Import) -> str:
    return f"pidproof.{found.importer}, line {found.line}, imports pidproof.{found.imported}"


ALL = [found for path in MODULES for found in imports_in(path)]
WITH_TYPES = [found for path in MODULES for found in imports_in(path, types=True)]


def test_every_module_has_a_floor() -> None:
    homeless = [
        name
        for name in map(name_of, MODULES)
        if floor_of(name) is None and name not in {"", "__main__"}
    ]
    assert not homeless


def test_no_import_runs_up() -> None:
    up = []
    for found in ALL:
        own, other = floor_of(found.importer), floor_of(found.imported)
        if own is not None and other is not None and other > own:
            up.append(complaint(found))
    assert not up


def test_the_check_sees_an_import_that_runs_up() -> None:
    """Types alone may be named from above, so such imports are where the check would bite."""
    upward = [
        found
        for found in WITH_TYPES
        if floor_of(found.importer) is not None
        and (floor_of(found.imported) or 0) > (floor_of(found.importer) or 0)
    ]
    for found in upward:
        assert found not in ALL
    tree = ast.parse("def f():\n    from pidproof.server.ensure import ensure\n")
    nodes = [(type(node), eager) for node, eager in walk(tree, eager=True)]
    assert (ast.ImportFrom, False) in nodes


def test_only_the_boundary_imports_the_c_module() -> None:
    importers = {found.importer for found in WITH_TYPES if found.imported.startswith("_pp")}
    assert importers == NATIVE
    for path in MODULES:
        if name_of(path) not in NATIVE:
            assert "_pp" not in {
                node.id
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Name)
            }, path


def test_only_the_entry_points_import_the_command_line() -> None:
    importers = {
        found.importer
        for found in WITH_TYPES
        if found.imported.startswith("cli") and not found.importer.startswith("cli.")
    }
    assert importers <= {"cli", "__main__"}
    assert not [
        complaint(found)
        for found in WITH_TYPES
        if found.imported.startswith("cli") and found.importer.split(".")[0] == "server"
    ]


def test_the_package_itself_imports_nothing_eagerly() -> None:
    assert not [complaint(found) for found in ALL if not found.importer and found.eager]


def test_no_module_imports_the_package_itself_but_for_its_version() -> None:
    """Its names are for users; a module that took one from there would stand on the roof."""
    from_roof = [
        complaint(found)
        for found in WITH_TYPES
        if found.importer not in {"", "__main__"}
        and floor_of(found.imported) is None
        and found.imported != "__version__"
    ]
    assert not from_roof


def test_every_module_begins_as_the_others_do() -> None:
    for path in MODULES:
        lines = path.read_text().splitlines()
        assert lines[0] == "# SPDX-License-Identifier: MIT", path
        assert lines[1].startswith('"""'), path
        if len(lines) > 2:
            assert "from __future__ import annotations" in lines, path


# --------------------------------------------------------------------------------- what is loaded


def loaded_by(code: str) -> set[str]:
    """Return the modules that a fresh interpreter loads for some code, beyond its own."""
    tell = "import sys; print(*sys.modules)"
    bare = set(run(python(tell)).split())
    return set(run(python(f"{code}\n{tell}")).splitlines()[-1].split()) - bare


def test_the_import_of_the_package_loads_only_itself() -> None:
    assert loaded_by("import pidproof") <= {"pidproof", "__future__"}


@pytest.mark.parametrize(
    "code",
    [
        "from pidproof import Server, Http, Tcp",
        "import os; from pidproof import identify; identify(os.getpid()).open().close()",
        "from pidproof import SpawnLock",
        "import pidproof.errors",
    ],
)
def test_no_heavy_module_is_loaded_with_ours(code: str) -> None:
    assert not loaded_by(code) & HEAVY


def test_no_heavy_module_is_loaded_to_return_a_healthy_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pidproof import Http, Server

    monkeypatch.setenv("PIDPROOF_STATE_DIR", str(tmp_path / "state"))
    program = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "-d", str(tmp_path)]
    server = Server("web", [*program, "{port}"], probe=Http("/"), grace=2.0)
    server.ensure()
    try:
        code = f"""
from pidproof import Http, Server
running = Server("web", {[*program, "{port}"]!r}, probe=Http("/")).ensure()
assert running.action == "reused"
"""
        loaded = loaded_by(code)
        assert "pidproof.server.ensure" in loaded
        assert not loaded & HEAVY
        for late in ("start", "terminate", "sweep", "stop", "plan", "log"):
            assert f"pidproof.server.{late}" not in loaded
        assert not {name for name in loaded if name.startswith("pidproof.cli")}
        words = ["pidproof", "ensure", "web", "--http", "/", "--", *program, "{port}"]
        code = f"import sys; sys.argv = {words!r}; from pidproof.cli import main; main()"
        assert loaded_by(code) == FAST_PATH
    finally:
        server.stop()


def test_the_package_works_without_site_packages_but_its_own(tmp_path: Path) -> None:
    """cffi's run-time half alone is needed: no pycparser, no setuptools."""
    loaded = loaded_by("from pidproof import Server, find, sweep")
    assert not {name.split(".")[0] for name in loaded} & {"cffi", "pycparser", "setuptools"}


def test_importing_says_and_does_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", "import pidproof; dir(pidproof)"],
        capture_output=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == (b"", b"")
