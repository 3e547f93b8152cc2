# SPDX-License-Identifier: MIT
"""The dead whom nobody reaps, and launchers that are pid 1: as in a container without an init."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from helpers import DEADLINE, NEEDS_NAMESPACES, Actor, python, read_line, run, wait_until
from outside import argv, children, stat
from pidproof import Liveness, ProcessIdentity, SpawnLock, identify, sweep
from servers import kill, sleeper
from worlds import NEW_PID_NAMESPACE


if TYPE_CHECKING:
    from pathlib import Path

    from helpers import Spawn
    from servers import Small, State

# Starts a server, says its pid, and never waits for anybody.
CARELESS = """
    import signal
    from pidproof import Server
    print(Server("sleeper", ["sleep", "1000"]).ensure().pid, flush=True)
    signal.pause()
"""


def is_zombie(pid: int) -> bool:
    """Say whether a process has exited and was not reaped."""
    line = stat(pid)
    return line is not None and line.state == "Z"


@pytest.fixture
def dead_server(state: State, spawn: Spawn) -> int:
    """A server that was killed, and whose launcher lives on and does not reap it."""
    launcher = spawn(python(CARELESS))
    pid = int(read_line(launcher))
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: is_zombie(pid))
    return pid


def test_a_zombie_server_is_gone(dead_server: int, kernel: str) -> None:
    assert sleeper().status().state == "gone"
    assert [(one.action, one.pid) for one in sweep(dry_run=True)] == [("dropped", dead_server)]
    assert is_zombie(dead_server)


def test_a_zombie_server_is_followed_by_another(
    state: State, dead_server: int, kernel: str
) -> None:
    running = sleeper().ensure()
    assert running.action == "spawned"
    assert state.servers() == [running.pid]
    assert is_zombie(dead_server)


def test_a_zombie_server_is_stopped_already(state: State, dead_server: int, kernel: str) -> None:
    assert sleeper().stop(timeout=5.0).action == "gone"
    assert not state.record_path("sleeper").exists()


def test_a_zombie_server_is_swept(state: State, dead_server: int, kernel: str) -> None:
    assert [(one.action, one.pid) for one in sweep()] == [("dropped", dead_server)]
    assert not state.record_path("sleeper").exists()


def test_what_a_zombie_server_left_in_its_session_is_ended(
    state: State, small: Small, spawn: Spawn
) -> None:
    command = json.dumps(small.command("--child"))
    launcher = spawn(python(CARELESS.replace('["sleep", "1000"]', f"{command}, port='auto'")))
    pid = int(read_line(launcher))
    child = small.child()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: is_zombie(pid))
    assert sleeper().ensure().action == "spawned"
    assert not stat(child) or is_zombie(child)


def test_the_lock_of_a_zombie_is_taken_at_once(spawn: Spawn, tmp_path: Path, kernel: str) -> None:
    holder = Actor(spawn, tmp_path)
    assert holder.ask("acquire 5") == "free"
    holder.process.send_signal(signal.SIGKILL)
    wait_until(lambda: is_zombie(holder.pid))
    with SpawnLock(tmp_path, timeout=0) as lock:
        assert lock.found == "dead"
    assert is_zombie(holder.pid)


def test_a_waiter_wakes_when_the_holder_becomes_a_zombie(spawn: Spawn, tmp_path: Path) -> None:
    holder, waiter = Actor(spawn, tmp_path), Actor(spawn, tmp_path)
    assert holder.ask("acquire 5") == "free"
    waiter.tell("acquire 60")
    wait_until(waiter.is_asleep)
    holder.process.send_signal(signal.SIGKILL)
    # The kernel drops the flock a moment before it shows the exit.
    assert waiter.answer() in {"dead", "abandoned"}
    wait_until(lambda: is_zombie(holder.pid))


# ------------------------------------------------------------------------------------- pid 1

# A whole life, launched by pid 1.  Nobody but pid 1 reaps there, and it does not before it is told.
LIFE = """
    import json, os, signal, sys
    from pidproof import Liveness, Server, SpawnLock, identify, list_all, sweep

    assert os.getpid() == 1
    command = json.loads(sys.argv[1])
    server = Server("web", command, port="auto", startup_timeout=15, grace=2)
    said = []
    first = server.ensure()
    said += [first.action, server.ensure().action, server.status().state]
    os.kill(first.pid, signal.SIGKILL)
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
    said += [first.identity.liveness().value, server.status().state]
    second = server.ensure()
    said += [second.action, second.pid != first.pid]
    said += [server.restart().action, server.stop().action, server.status().state]
    said += [len(sweep()), len(list_all())]
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
    print(json.dumps(said))
"""


@NEEDS_NAMESPACES
@pytest.mark.parametrize("without", ["", "pidfs", "pidfd"])
def test_a_launcher_that_is_pid_1_starts_and_ends_servers(
    state: State, small: Small, monkeypatch: pytest.MonkeyPatch, without: str
) -> None:
    """The children of a killed server become pid 1's, and zombies once they are ended."""
    monkeypatch.setenv("PIDPROOF_WITHOUT", without)
    command = json.dumps(small.command("--child"))
    said = json.loads(run([*NEW_PID_NAMESPACE, *python(LIFE, command)]))
    assert said == [
        *("spawned", "reused", "healthy"),
        *("gone", "gone"),
        *("spawned", True),
        *("spawned", "terminated", "absent"),
        *(0, 0),
    ]
    assert not state.running()


@NEEDS_NAMESPACES
def test_a_server_that_is_pid_1_is_found_and_never_signalled(state: State, spawn: Spawn) -> None:
    """The command of a container: `pidproof start KEY -- ...`, and others look in from beside."""
    command = ["-m", "pidproof", "start", "k", "--", "sleep", "1000"]
    outer = spawn([*NEW_PID_NAMESPACE, python("")[0], *command])

    def container() -> int | None:
        return next(iter(children(outer.pid)), None)

    def has_execed() -> bool:
        inside = container()
        return inside is not None and argv(inside)[:1] == [b"sleep"]

    wait_until(has_execed)
    inside = container()
    assert inside is not None
    code = """
        from pidproof import Refused, Server
        server = Server("k", ["sleep", "1000"], timeout=5)
        print(server.status().state, server.ensure().action)
        try:
            server.stop()
        except Refused as error:
            print(error)
    """
    beside = ["nsenter", "-t", str(inside), "-p", "-m", *python(code)]
    first, second = run(beside).splitlines()
    assert first == "healthy adopted"  # nobody had seen it ready yet
    assert second.startswith("process 1 is pid 1")
    assert stat(inside)
    kill(inside)
    outer.wait(DEADLINE)
    assert ProcessIdentity.parse(state.record("k")["identity"]).pid == 1
    assert identify(os.getpid()).liveness() is Liveness.ALIVE
