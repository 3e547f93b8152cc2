# SPDX-License-Identifier: MIT
"""No decision looks at the wall clock: it may step, and a machine may sleep."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from helpers import DEADLINE, ROOT, SANITIZED, TESTS, Actor, python, run, wait_until
from outside import HAS_PROC
from pidproof import SpawnLock


if TYPE_CHECKING:
    from pathlib import Path

    from helpers import Spawn
    from servers import Small, State

NEEDS_PRELOAD = pytest.mark.skipif(
    not HAS_PROC or shutil.which("gcc") is None or SANITIZED,
    reason="needs gcc, the loader of Linux, and to preload alone",
)
# For people only: in the log, in the history, and as `started_at` in the record.
SHOWN = {("server/log.py", "strftime"), ("server/plan.py", "strftime")}
WALL = {"time", "time_ns", "strftime", "localtime", "gmtime", "ctime", "asctime", "CLOCK_REALTIME"}


@pytest.fixture(scope="module")
def wild(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The library that makes the wall clock step."""
    library = tmp_path_factory.mktemp("clock") / "wild_clock.so"
    source = TESTS / "wild_clock.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    return str(library)


def test_the_wall_clock_is_read_for_people_only() -> None:
    package, found = ROOT / "src/pidproof", set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Attribute(ast.Name("time"), name) if name in WALL:
                    found.add((str(path.relative_to(package)), name))
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert "datetime" not in ast.unparse(node), path
                assert not ast.unparse(node).startswith("from time import"), path
    assert found == SHOWN


def test_no_c_file_reads_the_wall_clock_or_the_time_of_a_file() -> None:
    words = r"CLOCK_REALTIME|CLOCK_TAI|gettimeofday|\btime\(|st_[acm]tim|\bclock\("
    for path in (ROOT / "csrc").glob("*.[ch]"):
        assert not re.search(words, path.read_text()), path


def test_no_python_file_reads_the_time_of_a_file() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        assert not re.search(r"st_[acm]time|get[acm]time", path.read_text()), path


@NEEDS_PRELOAD
def test_the_wild_clock_steps_and_leaves_the_other_clocks_alone(wild: str) -> None:
    code = """
        import time
        looks = [time.time() for _ in range(10)]
        assert max(looks) - min(looks) > 86400 * 365, looks
        assert abs(time.monotonic() - time.monotonic()) < 10
        print("wild")
    """
    assert run(python(code), env={"LD_PRELOAD": wild}) == "wild\n"


WAIT = """
    import json, sys, time
    from pidproof import LockTimeout, SpawnLock
    began = time.monotonic()
    try:
        SpawnLock(sys.argv[1], timeout=0.3, hold=1000).acquire()
    except LockTimeout as error:
        print(json.dumps([time.monotonic() - began, str(error)]))
"""


@NEEDS_PRELOAD
def test_a_wait_for_the_lock_takes_its_time_whatever_the_clock_says(
    spawn: Spawn, tmp_path: Path, wild: str
) -> None:
    with SpawnLock(tmp_path, hold=1000):
        out = run(python(WAIT, str(tmp_path)), env={"LD_PRELOAD": wild})
        took, words = json.loads(out)
        assert 0.3 <= took < DEADLINE / 2
        assert re.search(r"for \d\.\d s, to hold", words), words


@NEEDS_PRELOAD
def test_a_holder_is_not_deposed_because_the_clock_stepped(
    spawn: Spawn, tmp_path: Path, wild: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_PRELOAD", wild)
    holder, other = Actor(spawn, tmp_path, hold=1000), Actor(spawn, tmp_path, hold=1000)
    assert holder.ask("acquire 5") == "free"
    for _ in range(6):
        assert other.ask("acquire 0.02") == "LockTimeout"
        assert holder.ask("fenced") == "mine"
    other.tell(f"acquire {DEADLINE}")
    wait_until(other.is_asleep)
    assert holder.ask("release") == "True"
    assert other.answer() == "free"


LIFE = """
    import json, sys, time
    from pidproof import Http, NeverHealthy, Server, sweep
    command = json.loads(sys.argv[1])
    server = Server("web", command, probe=Http("/"), timeout=60, startup_timeout=30, grace=5)
    first = server.ensure()
    said = [first.action, first.identity.liveness().value, server.ensure().action]
    said += [server.status().state, len(sweep()), server.restart().action, server.stop().action]
    began = time.monotonic()
    try:
        Server("never", ["sleep", "100"], probe=lambda _: False, startup_timeout=0.3).ensure()
    except NeverHealthy:
        said.append(0.3 <= time.monotonic() - began < 10)
    print(json.dumps(said))
"""


@NEEDS_PRELOAD
def test_a_whole_life_under_a_clock_that_steps(state: State, small: Small, wild: str) -> None:
    """From a start to an end, and a start that takes too long; the server is under it as well."""
    out = run(python(LIFE, json.dumps(small.command())), env={**os.environ, "LD_PRELOAD": wild})
    assert json.loads(out) == [
        *("spawned", "alive", "reused"),
        *("healthy", 0, "spawned", "terminated"),
        True,
    ]
    assert not state.running()
