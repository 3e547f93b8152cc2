# SPDX-License-Identifier: MIT
"""ensure() of a healthy key, in a process that lives: nothing is to be done but to make sure."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.board import Target
from benchmarks.programs import Floor
from benchmarks.race import Bench, Race, in_process
from helpers import DEADLINE
from pidproof import Http, Server
from pidproof.server.http_get import status_of


if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers import State

SECTION = "ensure, healthy, in process"
CALLS = 30
ROUNDS = 31
# Of what makes connections, for each stays in the kernel's table for a while.
FEW_CALLS = 5
FEW = 15


@pytest.fixture
def healthy(bench: Bench, state: State) -> Server:
    """A server that answers HTTP, and runs."""
    command = [bench.program("answer"), "{port}"]
    server = Server("web", command, probe=Http("/"))
    server.ensure()
    return server


def floor_of(bench: Bench, state: State, server: Server, directory: Path) -> Floor:
    """Return the floor of what ensure does with a key."""
    running = server.ensure()
    assert running.action == "reused"
    return Floor(
        bench.spawn,
        bench.programs / "floor",
        pid=running.pid,
        directory=directory,
        record=state.record_path(server.key),
        port=running.port or 0,
    )


def test_ensure_without_a_probe(bench: Bench, state: State, tmp_path: Path) -> None:
    server = Server("sleeper", ["sleep", "1000"])
    server.ensure()
    turns = Race(bench, SECTION, "ensure(), no probe", rounds=ROUNDS)
    floor = floor_of(bench, state, server, tmp_path)
    turns.beside("floor", "record read and compared", floor.batch("record", CALLS))
    turns.run(in_process(server.ensure, CALLS), targets=[Target(150e-6)])


def test_ensure_with_a_probe(bench: Bench, state: State, healthy: Server, tmp_path: Path) -> None:
    port = healthy.ensure().port
    assert port is not None
    turns = Race(bench, SECTION, "ensure(), with an HTTP probe", rounds=FEW)
    floor = floor_of(bench, state, healthy, tmp_path)
    record, get = floor.batch("record", FEW_CALLS), floor.batch("get", FEW_CALLS)
    turns.beside("floor", "record read and compared, GET /", lambda: record() + get())
    with xprocess(bench, turns, tmp_path):
        turns.run(in_process(healthy.ensure, FEW_CALLS))


ENDED = [0, pytest.param(5000, marks=pytest.mark.full)]


@pytest.mark.parametrize("ended", ENDED)
def test_ensure_beside_its_probe(ended: int, bench: Bench, healthy: Server) -> None:
    port = healthy.ensure().port
    assert port is not None

    def probe() -> None:
        status_of("127.0.0.1", port, "/", headers={}, timeout=2)

    for _ in range(ended):
        probe()
    after = f", after {ended:,} other connections" if ended else ""
    turns = Race(bench, SECTION, f"ensure() beside its HTTP probe{after}", rounds=FEW)
    turns.beside("bare", "the probe", in_process(probe, FEW_CALLS))
    ours = in_process(healthy.ensure, FEW_CALLS)
    turns.run(ours, targets=[Target(150e-6)], less="the probe")
    table = Path("/proc/net/tcp").read_text().count("\n")
    bench.board.note(SECTION, f"{table:,} TCP sockets on the machine at the end of that{after}")


@contextlib.contextmanager
def xprocess(bench: Bench, turns: Race, tmp_path: Path) -> Iterator[None]:
    """Put pytest-xprocess beside: it looks at a pid file, and asks nobody whether he is healthy."""
    if importlib.util.find_spec("xprocess") is None:
        bench.missing("pytest-xprocess", "not installed")
        yield
        return
    module: Any = importlib.import_module("xprocess")  # without types, and so is its `py`
    directory: Any = importlib.import_module("py").path.local(tmp_path)
    # Its plugin would stay with the whole run; this is the object that its fixture hands out.
    theirs = module.XProcess(SimpleNamespace(), directory, SimpleNamespace(debug=print))
    facts = {"pattern": "up", "args": ["sh", "-c", "echo up; exec sleep 1000"]}
    starter = type("Starter", (module.ProcessStarter,), facts)
    try:
        theirs.ensure("benchmark", starter)
        turns.beside(
            "peer",
            "xprocess.ensure(), which asks nothing",
            in_process(lambda: theirs.ensure("benchmark", starter), 3),
        )
        yield
    finally:
        theirs.getinfo("benchmark").terminate()
        theirs._force_clean_up()  # every call of its ensure() has left a file open
        for resource in theirs.resources:
            if resource.popen is not None:
                resource.popen.wait(DEADLINE)
