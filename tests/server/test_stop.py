# SPDX-License-Identifier: MIT
"""stop and restart."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import pytest

from command import PIDPROOF
from helpers import wait_until
from pidproof import IdentityUnknown, KeyNotFound, NeverHealthy, Server, Stopped
from pidproof.server.stop import stop
from servers import PYTHON, QUICK, is_alive, kill, meanwhile, sleeper, token_of


if TYPE_CHECKING:
    from pathlib import Path

    from servers import Small, State


def test_stop_ends_the_server_and_drops_its_record(state: State) -> None:
    running = sleeper().ensure()
    assert sleeper().stop() == Stopped(key="sleeper", action="terminated", pid=running.pid)
    assert not is_alive(running.pid)
    assert not state.record_path("sleeper").exists()
    assert not (state.directory("sleeper") / "lock").exists()
    assert state.history("sleeper") == ["started", "stopped"]
    assert sleeper().status().state == "absent"


def test_to_stop_what_does_not_run_is_no_error(state: State) -> None:
    assert sleeper().stop().action == "absent"
    sleeper().ensure()
    sleeper().stop()
    assert sleeper().stop().action == "absent"


def test_stop_of_one_that_has_gone_drops_its_record(state: State) -> None:
    running = sleeper().ensure()
    kill(running.pid)
    assert sleeper().stop() == Stopped(key="sleeper", action="gone", pid=running.pid)
    assert not state.record_path("sleeper").exists()


def test_stop_after_a_failed_start_drops_its_record(state: State, small: Small) -> None:
    with pytest.raises(NeverHealthy):
        small.server("--exit", "3").ensure()
    assert small.server().stop().action == "absent"
    assert not state.record_path("web").exists()


def test_stop_says_when_it_had_to_kill(small: Small) -> None:
    small.server("--ignore-term").ensure()
    assert stop("web", grace=0.2).action == "killed"


def test_stop_ends_one_that_was_started_by_hand(state: State) -> None:
    running = sleeper().start()
    assert stop("sleeper").action == "terminated"
    assert not is_alive(running.pid)


def test_stop_waits_for_a_start_under_way(state: State, small: Small) -> None:
    """And then ends what was started."""
    small.answers(503)
    stopped: list[Stopped] = []

    def hear(text: str) -> None:
        if text.startswith("started"):
            stopper.__enter__()
        small.answers(200)

    stopper = meanwhile(lambda: stopped.append(stop("web")))
    server = small.server(on_event=hear)
    running = server.ensure()
    stopper.__exit__(None, None, None)
    assert stopped == [Stopped(key="web", action="terminated", pid=running.pid)]
    assert not state.running()


def test_what_cannot_be_proven_is_left_alone(state: State) -> None:
    running = sleeper().ensure()
    token = state.record("sleeper")["identity"]
    state.edit("sleeper", identity=token_of(running.pid, pidns=1))
    with pytest.raises(IdentityUnknown, match=f"whether process {running.pid} .* left alone"):
        sleeper().stop()
    assert is_alive(running.pid)
    assert state.record_path("sleeper").exists()
    state.edit("sleeper", identity=token)


def test_a_stranger_with_the_recorded_pid_is_not_signalled(state: State) -> None:
    """A recorded pid that is another process's by now."""
    running = sleeper().ensure()
    kill(running.pid)
    state.edit("sleeper", identity=token_of(os.getppid(), start=1, unique=1))
    assert sleeper().stop().action == "gone"


def test_restart_of_what_was_never_started_is_not_found() -> None:
    with pytest.raises(KeyNotFound, match="no server is recorded") as caught:
        Server.recorded("web")
    assert "pidproof ensure web" in str(caught.value.remedy)


def test_restart_starts_it_as_it_was(state: State, small: Small) -> None:
    server = small.server(version="3", env={"MINE": "x"}, idle_timeout=7, port_env="P")
    first = server.ensure()
    small.answers(200)
    second = Server.recorded("web").restart()
    assert second.pid != first.pid
    assert (second.port, second.version) == (first.port, "3")
    env = small.report()["env"]
    assert (env["MINE"], env["P"], env["PIDPROOF_IDLE_TIMEOUT"]) == ("x", str(first.port), "7")
    assert state.servers() == [second.pid]


def test_restart_fills_a_new_token_in(small: Small) -> None:
    server = Server("k", small.bare("{token}"), **QUICK)
    first = server.ensure()
    small.report()
    (small.directory / "report.json").unlink()
    second = Server.recorded("k").restart()
    assert second.token != first.token
    assert small.report()["argv"][-1] == second.token


def test_restart_of_what_was_killed_starts_it() -> None:
    first = sleeper().ensure()
    kill(first.pid)
    assert Server.recorded("sleeper").restart().action == "spawned"


# macOS has no setsid(1).
SETSID = "import os, sys; os.setsid(); os.execvp('sh', ['sh', '-c', sys.argv[1]])"
FROM_WITHIN = {
    "as its child": "sh -c {}",
    "as its child in a session of its own": f"{shlex.join([*PYTHON, '-c', SETSID])} {{}}",
    # Not before it is an orphan: the server makes `go` once the parent has gone.
    "as an orphan of its session": "( (until [ -e go ]; do sleep 0.01; done; sh -c {}) & ); : >go",
}


@pytest.mark.parametrize("script", FROM_WITHIN.values(), ids=FROM_WITHIN.keys())
def test_a_stop_that_is_refused_leaves_the_server_as_healthy_as_it_was(
    state: State, tmp_path: Path, script: str
) -> None:
    """From within the server: it would end itself half way."""
    # The stop waits for the start that is under way.
    stop_it = f"{shlex.join(PIDPROOF)} stop k --grace 1 2>words; echo $? >new; mv new status"
    script = f"{script.format(shlex.quote(stop_it))}; exec sleep 1000"
    server = Server("k", ["sh", "-c", script], cwd=tmp_path, **QUICK)
    running = server.ensure()
    wait_until((tmp_path / "status").exists)
    assert (tmp_path / "status").read_text() == "77\n"
    assert f"process {running.pid}" in (tmp_path / "words").read_text()
    assert server.status().state == "healthy"
    assert (server.ensure().action, server.ensure().pid) == ("reused", running.pid)
    assert state.history("k") == ["started"]
