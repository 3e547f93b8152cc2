# SPDX-License-Identifier: MIT
"""sweep: what is dropped, what is ended, what is left, and what a dry run does: nothing."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from helpers import (
    NEEDS_FEWER_RIGHTS,
    NEEDS_NAMESPACES,
    python,
    run,
    wait_until,
    without_capabilities,
)
from pidproof import LogLine, NeverHealthy, Server, SpawnLock, Swept, sweep
from servers import QUICK, SLEEPER, is_alive, kill, sleeper


if TYPE_CHECKING:
    from pathlib import Path

    from helpers import Spawn
    from servers import Small, State


def both(state: State) -> list[Swept]:
    """Sweep dry, see that nothing changed, sweep, and see that the same was done."""
    files = {path: path.read_bytes() for path in state.root.rglob("*") if path.is_file()}
    running = state.servers()
    dry = sweep(dry_run=True)
    assert {p: p.read_bytes() for p in state.root.rglob("*") if p.is_file()} == files
    assert state.servers() == running
    done = sweep()
    assert [(one.action, one.key, one.pid) for one in dry] == [
        (one.action, one.key, one.pid) for one in done
    ]
    return done


def test_a_healthy_server_is_not_swept(state: State) -> None:
    running = sleeper().ensure()
    assert both(state) == []
    assert state.servers() == [running.pid]


def test_the_record_of_a_server_that_is_gone_is_dropped(state: State) -> None:
    running = sleeper().ensure()
    kill(running.pid)
    (done,) = both(state)
    assert (done.action, done.key, done.pid) == ("dropped", "sleeper", running.pid)
    assert done.reason
    assert not state.record_path("sleeper").exists()
    assert state.history("sleeper")[-1] == "swept"


def test_what_it_left_in_its_session_is_ended(state: State, small: Small) -> None:
    kill(small.server("--child").ensure().pid)
    (done,) = sweep()
    assert "1 left of its session" in done.reason
    assert not is_alive(small.child())


def test_a_failed_start_is_dropped(state: State, small: Small) -> None:
    with pytest.raises(NeverHealthy):
        small.server("--exit", "3").ensure()
    (done,) = both(state)
    assert (done.action, done.pid) == ("dropped", None)
    assert "exited with status 3" in done.reason


def program(tmp_path: Path) -> tuple[Path, Server]:
    """Return a script and the server that it is."""
    script = tmp_path / "serve.sh"
    script.write_text("echo up\nsleep 1000\n")
    return script, Server("k", ["sh", str(script)], probe=LogLine("^up"), **QUICK)


def test_a_server_whose_program_was_removed_is_ended(state: State, tmp_path: Path) -> None:
    script, server = program(tmp_path)
    running = server.ensure()
    assert both(state) == []
    script.unlink()
    (done,) = both(state)
    assert (done.action, done.key, done.pid) == ("ended", "k", running.pid)
    assert str(script) in done.reason
    assert not state.running()
    assert not state.record_path("k").exists()


def test_one_that_was_started_by_hand_is_left_even_without_its_program(
    state: State, tmp_path: Path
) -> None:
    script, server = program(tmp_path)
    running = server.start()
    script.unlink()
    (done,) = both(state)
    assert (done.action, done.pid) == ("left", running.pid)
    assert "by hand" in done.reason
    assert is_alive(running.pid)


def test_servers_whose_state_was_deleted_are_ended(state: State, small: Small) -> None:
    running = small.server("--child").ensure()
    shutil.rmtree(state.root)
    (done,) = both(state)
    assert (done.action, done.key, done.pid) == ("ended", "web", running.pid)
    assert "no record names it" in done.reason
    assert not state.servers()
    kill(small.child())


def test_a_second_server_that_the_record_does_not_name_is_ended(state: State) -> None:
    first = sleeper().ensure()
    state.record_path("sleeper").unlink()
    second = sleeper().ensure()
    assert sorted(state.servers()) == sorted([first.pid, second.pid])
    (done,) = both(state)
    assert (done.action, done.pid) == ("ended", first.pid)
    assert state.servers() == [second.pid]


def test_servers_of_another_state_are_not_touched(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = sleeper().ensure()
    with monkeypatch.context() as patch:
        patch.setenv("PIDPROOF_STATE_DIR", str(tmp_path / "other"))
        assert sweep() == []
    assert state.servers() == [running.pid]


def test_a_broken_record_of_nobody_is_dropped(state: State) -> None:
    state.write("sleeper", b"{")
    (done,) = both(state)
    assert (done.action, done.pid) == ("dropped", None)
    assert not state.record_path("sleeper").exists()


def test_under_a_broken_record_the_living_server_is_ended_first(state: State) -> None:
    running = sleeper().ensure()
    state.write("sleeper", b"{")
    (done,) = both(state)
    assert (done.action, done.key, done.pid) == ("ended", "sleeper", running.pid)
    (done,) = both(state)
    assert done.action == "dropped"
    assert both(state) == []


def test_a_key_that_somebody_is_busy_with_is_left(state: State) -> None:
    kill(sleeper().ensure().pid)
    with SpawnLock(state.directory("sleeper"), purpose="tinker"):
        (done,) = sweep(timeout=0.05)
    assert done.action == "left"
    assert "to tinker" in done.reason
    assert state.record_path("sleeper").exists()


def test_what_a_server_started_is_not_taken_for_a_server(state: State, small: Small) -> None:
    small.server("--own-session-child").ensure()
    child = small.child()
    assert both(state) == []
    small.server().stop()
    assert both(state) == []
    assert is_alive(child)
    kill(child)


SWEEP = """
    from pidproof import sweep
    for one in sweep():
        print(one.action, one.key, one.pid, one.reason)
"""


@NEEDS_FEWER_RIGHTS
def test_a_server_whose_program_may_not_be_looked_at_is_left(state: State, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    script, server = program(closed)
    running = server.ensure()
    closed.chmod(0)
    try:
        with_less = without_capabilities("dac_override", "dac_read_search")
        assert run([*with_less, *python(SWEEP)]) == ""
    finally:
        closed.chmod(0o700)
    assert script.exists()
    assert state.servers() == [running.pid]
    assert server.ensure().action == "reused"


@NEEDS_NAMESPACES
def test_a_server_whose_program_another_mount_namespace_has_is_left(
    state: State, tmp_path: Path
) -> None:
    """Its script lies on a mount that only it sees; here there is no such file."""
    inside = tmp_path / "inside"
    inside.mkdir()
    script = inside / "serve.sh"
    run([*start_in_mount_namespace(inside), "k", str(script)])
    assert not script.exists()
    (pid,) = state.servers()
    assert both(state) == []
    assert state.servers() == [pid]


@NEEDS_NAMESPACES
def test_a_server_whose_record_another_mount_namespace_has_is_left(
    state: State, tmp_path: Path
) -> None:
    """Here no record names it, and there one may."""
    state.root.mkdir(mode=0o700)
    run([*start_in_mount_namespace(state.root), "k", str(state.root / "serve.sh")])
    assert not list(state.root.iterdir())
    (pid,) = state.servers()
    try:
        (done,) = both(state)
        assert (done.action, done.key, done.pid) == ("left", "k", pid)
        assert "does not see the same files" in done.reason
        assert is_alive(pid)
    finally:
        kill(pid)


# In the namespace: a script, and the server that it is.
START = """
    import sys
    from pathlib import Path
    from pidproof import Server

    script = Path(sys.argv[2])
    script.write_text("exec sleep 1000\\n")
    Server(sys.argv[1], ["sh", str(script)]).ensure()
"""


def start_in_mount_namespace(path: Path) -> list[str]:
    """Return what runs it in a namespace of its own, with an empty disk mounted on that path."""
    inner = f"mount -t tmpfs -o mode=700 none {path} && exec {sys.executable} -c"
    return ["unshare", "-m", "sh", "-c", f'{inner} "$@"', "sh", textwrap.dedent(START)]


def test_a_recycled_pid_with_inherited_variables_is_not_taken_for_a_server(
    state: State, spawn: Spawn
) -> None:
    """What a server started may get, in time, the pid that the variables name; it leads nothing."""
    running = sleeper().ensure()
    env = {
        "PIDPROOF_KEY": "sleeper",
        "PIDPROOF_RECORD": str(state.record_path("sleeper")),
        "PIDPROOF_NONCE": "0" * 32,
        "PIDPROOF_MANAGED": "auto",
    }
    bystander = spawn(["sh", "-c", f"exec env PIDPROOF_PID=$$ {shlex.join(SLEEPER)}"], env=env)
    wait_until(lambda: bystander.pid in state.servers())
    assert os.getsid(bystander.pid) != bystander.pid
    assert both(state) == []
    assert bystander.poll() is None
    # Nor does it stand in the way of a start, when the record is broken.
    kill(running.pid)
    state.write("sleeper", b"{")
    assert sleeper().ensure().action == "spawned"
    assert bystander.poll() is None
