# SPDX-License-Identifier: MIT
"""Options and fixtures of the benchmarks, and the table at their end.

`nox -s bench` runs them: they are no tests, assert nothing about time, and a plain `pytest` does
not come here (norecursedirs in pyproject.toml).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import board as boards
from benchmarks.launchers import Argent
from benchmarks.programs import HERE, Floor, compile_all
from benchmarks.race import Bench
from helpers import ROOT
from servers import State, fresh_state
from system import test_argent


if TYPE_CHECKING:
    from collections.abc import Iterator

    from helpers import Spawn

# The fixture that has npm install it.
argent_package = test_argent.package
ORDER = (
    *("board", "identity", "scan", "lock", "handover", "ensure", "whole_process", "burst"),
    *("keys", "instructions"),
)
RESULTS = ROOT / ".benchmarks" / "last.json"
BOARD = pytest.StashKey[boards.Board]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that go behind `nox -s bench --`."""
    group = parser.getgroup("pidproof benchmarks")
    group.addoption(
        "--once", action="store_true", help="small sizes, each act once: do they still run?"
    )
    group.addoption(
        "--write", action="store_true", help="write docs/benchmarks.md and docs/plots too"
    )
    group.addoption(
        "--compare",
        action="store_true",
        help="only count instructions, and compare with tests/benchmarks/baseline.json",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Make the board; one act each is what pytest-benchmark does when it is disabled."""
    config.addinivalue_line("markers", "full: takes long or much room; not with --once")
    config.addinivalue_line("markers", "counts: counts instructions")
    config.stash[BOARD] = boards.Board()
    if config.getoption("once") and config.getoption("write"):
        raise pytest.UsageError("--once takes no figures that could be written")
    whole = [Path(name).resolve() for name in config.args] == [HERE] and not config.option.keyword
    if config.getoption("write") and not whole:
        raise pytest.UsageError("--write takes all of them: part of a run is part of a page")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give all of them time, sort them as the page has them, leave out what the options do."""
    items.sort(key=lambda item: ORDER.index(item.path.stem.removeprefix("test_")))
    out = []
    for item in list(items):
        item.add_marker(pytest.mark.timeout(900))
        not_now = config.getoption("once") and item.get_closest_marker("full")
        if not_now or (config.getoption("compare") and not item.get_closest_marker("counts")):
            items.remove(item)
            out.append(item)
    if out:
        config.hook.pytest_deselected(items=out)


# ------------------------------------------------------------------------------------- fixtures


@pytest.fixture(scope="session", autouse=True)
def plain_python() -> Iterator[None]:
    """Measure Python as it starts by default: bytecode is kept, output is buffered."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the compiled C programs."""
    return compile_all(tmp_path_factory.mktemp("programs"))


@pytest.fixture
def bench(benchmark: Any, pytestconfig: pytest.Config, spawn: Spawn, programs: Path) -> Bench:
    """What every benchmark needs."""
    board, once = pytestconfig.stash[BOARD], bool(pytestconfig.getoption("once"))
    return Bench(benchmark=benchmark, board=board, spawn=spawn, programs=programs, once=once)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spawn: Spawn) -> Iterator[State]:
    """A state directory of its own, with nothing left running at the end."""
    with fresh_state(tmp_path, monkeypatch, spawn) as state:
        yield state


@pytest.fixture
def argent(argent_package: Path, tmp_path: Path) -> Iterator[Argent]:
    """The launcher of argent; what it has started is ended."""
    argent = Argent(argent_package, tmp_path / "home")
    try:
        yield argent
    finally:
        argent.end()


@pytest.fixture
def sleeper(spawn: Spawn) -> int:
    """The pid of a process that sleeps."""
    return spawn.sleeper("one", "two").pid


@pytest.fixture
def floor(spawn: Spawn, programs: Path, sleeper: int, tmp_path: Path) -> Floor:
    """The floor of the acts on that process, and on locks in a directory of its own."""
    (tmp_path / "floor").mkdir()
    (tmp_path / "record").write_bytes(b"{}" * 500)
    return Floor(
        spawn,
        programs / "floor",
        pid=sleeper,
        directory=tmp_path / "floor",
        record=tmp_path / "record",
    )


@pytest.fixture(params=["disk", "tmpfs"])
def lock_directory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A directory for locks, on the filesystem of the temporary directory and in memory."""
    if request.param == "disk":
        yield tmp_path
        return
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        pytest.skip("needs a writable /dev/shm")
    import tempfile

    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


# -------------------------------------------------------------------------------------- the table


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Show every row beside its peers and its floor."""
    board = config.stash[BOARD]
    if not board.rows:
        return
    say = terminalreporter.write_line
    if config.getoption("once"):
        say(f"{len(board.rows)} measures ran once; their figures mean nothing and are not shown")
    else:
        for section in board.sections():
            terminalreporter.write_sep("-", section)
            rows = [row for row in board.rows if row.section == section]
            for line in boards.table(rows) if rows else ():
                say(line)
            for line in board.notes.get(section, ()):
                say(line)
        terminalreporter.write_sep("-", boards.verdicts(board.rows))
        for row in board.rows:
            for words in row.missed():
                say(f"missed: {row.section}: {row.measure}: {words}")
    for name, why in board.absent.items():
        say(f"absent: {name} ({why})")
    say(f"{len(board.absent)} peers absent")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keep the figures, compare counts, and write the documents if that was asked for."""
    config = session.config
    board = config.stash[BOARD]
    if config.getoption("compare") and not board.rows:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED  # without valgrind nothing is compared
    if config.getoption("once") or not board.rows:
        return
    from benchmarks.report import about

    board.save(RESULTS, about())
    if config.getoption("compare"):
        from benchmarks.compare import compare

        if compare(RESULTS):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if config.getoption("write") and not session.testsfailed:
        from benchmarks.plots import draw
        from benchmarks.report import write

        draw(board.plots, ROOT / "docs" / "plots")
        write(board, ROOT / "docs" / "benchmarks.md")
