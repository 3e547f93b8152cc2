# SPDX-License-Identifier: MIT
"""ensure: one healthy server per key, whoever asks, whatever was there before."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from command import PIDPROOF
from helpers import in_threads, python, read_line, wait_until
from outside import argv
from pid_reuse import born, end
from pidproof import (
    InvalidArgument,
    Liveness,
    LockTimeout,
    Refused,
    Running,
    Server,
    SpawnLock,
    StartTimeout,
    Unix,
    VersionMismatch,
    WaitTimeout,
    identify,
)
from servers import QUICK, SLEEPER, is_alive, is_stopped, kill, meanwhile, sleeper


if TYPE_CHECKING:
    from helpers import Spawn
    from servers import Small, State


def test_the_first_call_starts_the_server_and_the_next_one_uses_it(
    state: State, small: Small
) -> None:
    server = small.server()
    first = server.ensure()
    second = server.ensure()
    assert (first.action, second.action) == ("spawned", "reused")
    assert first.identity == second.identity
    assert state.servers() == [first.pid]
    assert second.identity.liveness() is Liveness.ALIVE


def test_the_result_tells_all_that_a_caller_needs(state: State, small: Small) -> None:
    running = small.server(version="1.2").ensure()
    assert isinstance(running, Running)
    assert running.key == "web"
    assert running.pid == running.identity.pid == small.report()["pid"]
    assert running.url == f"http://127.0.0.1:{running.port}"
    assert (running.state, running.version) == ("running", "1.2")
    assert running.log == str(state.directory("web") / "server.log")
    assert running.token == small.report()["env"]["PIDPROOF_TOKEN"]
    assert running.elapsed_ms > 0
    assert running.token not in repr(running)


def test_a_healthy_server_is_returned_without_taking_the_lock(state: State, small: Small) -> None:
    server = small.server(timeout=5.0)
    first = server.ensure()
    with SpawnLock(state.directory("web")):
        assert server.ensure().pid == first.pid


def test_a_server_that_was_killed_is_started_again_on_its_port(state: State, small: Small) -> None:
    server = small.server()
    first = server.ensure()
    kill(first.pid)
    second = server.ensure()
    assert second.action == "spawned"
    assert second.pid != first.pid
    assert second.port == first.port
    assert second.token != first.token
    assert state.servers() == [second.pid]
    assert state.record("web")["generation"] == 2


def test_what_a_killed_server_left_in_its_session_is_ended_before_the_next_one(
    state: State, small: Small
) -> None:
    server = small.server("--child")
    first = server.ensure()
    child = small.child()
    kill(first.pid)
    assert is_alive(child)
    server.ensure()
    assert not is_alive(child)
    assert "cleared" in state.history("web")


def test_what_a_killed_server_left_can_start_the_next_one(state: State, tmp_path: Path) -> None:
    """It belongs to the session that is to be cleared, and does not clear itself away."""
    again = f"{shlex.join(PIDPROOF)} ensure sleeper -- {shlex.join(SLEEPER)} 2>words; echo $? >new"
    orphan = f"(until [ -e go ]; do sleep 0.01; done; {again}; mv new status) &"
    script = f"( {orphan} ); exec sleep 1000"
    first = Server("sleeper", ["sh", "-c", script], cwd=tmp_path, **QUICK).ensure()
    wait_until(lambda: argv(first.pid) == [b"sleep", b"1000"])
    kill(first.pid)
    (tmp_path / "go").touch()
    wait_until((tmp_path / "status").exists)
    assert ((tmp_path / "words").read_text(), (tmp_path / "status").read_text()) == ("", "0\n")
    wait_until(lambda: len(state.running()) == 1)  # the orphan itself ends a little later
    (pid,) = state.servers()
    assert pid != first.pid
    assert sleeper().ensure().pid == pid


def test_a_server_that_answers_wrongly_three_times_is_replaced(state: State, small: Small) -> None:
    server = small.server()
    first = server.ensure()
    small.answers(500)
    (small.directory / "report.json").unlink()

    # The next one answers as it should.
    def recover() -> None:
        wait_until(lambda: not is_alive(first.pid))
        small.answers(200)

    with meanwhile(recover):
        second = server.ensure()
    assert second.action == "replaced"
    assert second.pid != first.pid
    assert state.servers() == [second.pid]
    assert state.history("web") == ["started", "ended", "started"]


def test_a_server_that_recovers_before_the_third_question_is_kept(
    state: State, small: Small
) -> None:
    server = small.server(failure_threshold=10)
    first = server.ensure()
    small.answers(500)
    (small.directory / "request").unlink()

    def recover() -> None:
        wait_until((small.directory / "request").exists)
        small.answers(200)

    with meanwhile(recover):
        second = server.ensure()
    assert (second.action, second.pid) == ("reused", first.pid)


def test_a_slow_server_is_given_more_time_and_not_ended(state: State, small: Small) -> None:
    """It answers within the time of the third question, not within that of the first."""
    server = small.server(probe_timeout=0.5)
    first = server.ensure()
    small.answers("drip")  # takes more than a second
    second = server.ensure()
    assert (second.action, second.pid) == ("reused", first.pid)


def test_a_server_that_is_busy_for_a_moment_is_kept(state: State, small: Small) -> None:
    """It says so itself, with 503, so it gets all of the time and not only all of the questions."""
    server = small.server()
    first = server.ensure()
    small.answers(503)
    began = time.monotonic()

    def recover() -> None:
        wait_until(lambda: time.monotonic() - began > 1.2)
        small.answers(200)

    with meanwhile(recover):
        second = server.ensure()
    assert (second.action, second.pid) == ("reused", first.pid)
    assert state.history("web") == ["started"]


def test_a_server_that_stays_busy_is_replaced(state: State, small: Small) -> None:
    server = small.server(probe_timeout=0.1)
    first = server.ensure()
    small.answers(503)

    def recover() -> None:
        wait_until(lambda: not is_alive(first.pid))
        small.answers(200)

    with meanwhile(recover):
        second = server.ensure()
    assert second.action == "replaced"
    assert state.servers() == [second.pid]


def test_a_caller_without_patience_leaves_a_slow_server_alone(state: State, small: Small) -> None:
    first = small.server().ensure()
    small.answers("slow")
    with pytest.raises(WaitTimeout, match=r"not settled in the 0\.5 s .* left alone") as caught:
        small.server(timeout=0.5, probe_timeout=20.0).ensure()
    assert caught.value.__dict__["pid"] == first.pid
    assert state.record("web")["state"] == "running"
    patient = small.server(probe_timeout=5.0).ensure()
    assert (patient.action, patient.pid) == ("reused", first.pid)
    assert state.history("web") == ["started"]


@pytest.mark.parametrize("startup_timeout", [30.0, 0.1])
def test_a_caller_without_patience_leaves_a_server_that_comes_up_alone(
    state: State, small: Small, spawn: Spawn, startup_timeout: float
) -> None:
    """Its launcher died; it has the time that its own start was given, whoever asks."""
    small.answers(503)
    launcher = spawn(launch(small, timeout=30.0))
    pid = small.report()["pid"]
    wait_until((small.directory / "request").exists)
    launcher.kill()
    launcher.wait()
    with pytest.raises(WaitTimeout, match=r"not settled in the 0\.5 s .* left alone"):
        small.server(timeout=0.5, startup_timeout=startup_timeout).ensure()
    assert state.servers() == [pid]
    assert state.record("web")["state"] == "starting"
    small.answers(200)
    running = small.server().ensure()
    assert (running.action, running.pid) == ("adopted", pid)


def test_a_child_that_never_got_to_its_command_is_not_adopted(state: State) -> None:
    """Without a probe whoever runs is ready, but the fork of a launcher is not the server yet."""
    kill(sleeper().ensure().pid)
    at_gate = born()
    try:
        token = str(identify(at_gate))
        state.edit("sleeper", state="starting", identity=token, started=time.monotonic())
        with pytest.raises(WaitTimeout, match="its command does not run yet"):
            sleeper(timeout=0.3).ensure()
        assert is_alive(at_gate)
        assert state.record("sleeper")["state"] == "starting"
        assert state.record("sleeper")["identity"] == token
    finally:
        end(at_gate)
    assert sleeper().ensure().action == "spawned"


def test_a_server_stopped_by_a_signal_is_replaced(state: State, small: Small) -> None:
    server = small.server(probe_timeout=0.1)
    first = server.ensure()
    os.kill(first.pid, signal.SIGSTOP)
    wait_until(lambda: is_stopped(first.pid))
    second = server.ensure()
    assert second.action == "replaced"
    assert not is_alive(first.pid)
    assert state.servers() == [second.pid]


def test_twelve_threads_get_one_server(state: State, small: Small) -> None:
    found: list[Running] = []
    in_threads(12, lambda _: found.append(small.server().ensure()))
    assert len({running.identity for running in found}) == 1
    assert sorted(running.action for running in found) == ["reused"] * 11 + ["spawned"]
    assert len(state.servers()) == 1


def test_two_keys_have_two_servers(state: State) -> None:
    one, two = sleeper("one").ensure(), sleeper("two").ensure()
    assert state.servers() == sorted([one.pid, two.pid])
    sleeper("one").stop()
    assert state.servers() == [two.pid]


def test_a_server_whose_launcher_was_killed_while_it_came_up_is_adopted(
    state: State, small: Small, spawn: Spawn
) -> None:
    small.answers(503)
    launcher = spawn(launch(small, timeout=30.0))
    report = small.report()
    wait_until((small.directory / "request").exists)
    launcher.kill()
    launcher.wait()
    assert state.record("web")["state"] == "starting"
    small.answers(200)
    running = small.server(timeout=30.0).ensure()
    assert (running.action, running.pid) == ("adopted", report["pid"])
    assert state.record("web")["state"] == "running"
    assert small.server().ensure().action == "reused"


def test_one_that_came_up_for_too_long_after_its_launcher_died_is_replaced(
    state: State, small: Small, spawn: Spawn
) -> None:
    small.answers(503)
    launcher = spawn(launch(small, timeout=30.0))
    report = small.report()
    wait_until((small.directory / "request").exists)
    launcher.kill()
    launcher.wait()
    state.edit("web", started=0.0)  # as this machine was

    def recover() -> None:
        wait_until(lambda: not is_alive(report["pid"]))
        small.answers(200)

    with meanwhile(recover):
        running = small.server().ensure()
    assert running.action == "replaced"
    assert state.servers() == [running.pid]


def test_a_waiting_caller_takes_the_server_that_the_holder_started(
    state: State, small: Small, spawn: Spawn
) -> None:
    small.answers(503)
    launcher = spawn(launch(small, timeout=30.0))
    small.report()
    found: list[Running] = []
    with meanwhile(lambda: found.append(small.server(timeout=30.0).ensure())):
        small.answers(200)
    assert read_line(launcher) == f"spawned {found[0].pid}"
    assert found[0].action == "reused"


def test_a_lock_that_is_not_to_be_had_in_time_names_its_holder(state: State) -> None:
    sleeper().ensure()
    sleeper().stop()
    with (
        SpawnLock(state.directory("sleeper"), purpose="tinker"),
        pytest.raises(LockTimeout, match=rf"process {os.getpid()} .* to tinker") as caught,
    ):
        sleeper(timeout=0.05).ensure()
    assert caught.value.__dict__["holder"].identity.pid == os.getpid()
    assert "pidproof logs sleeper" in str(caught.value.remedy)
    assert not state.servers()


def test_an_unhealthy_server_that_was_started_by_hand_is_refused_and_left(
    state: State, small: Small
) -> None:
    server = small.server(probe_timeout=0.1)
    manual = server.start()
    assert server.ensure().pid == manual.pid
    small.answers(500)
    with pytest.raises(Refused, match=r"by hand.*answered 500.*left alone"):
        server.ensure()
    assert state.servers() == [manual.pid]
    small.answers(200)
    assert server.ensure().pid == manual.pid


def test_starting_by_hand_beside_a_running_server_is_refused(state: State) -> None:
    running = sleeper().ensure()
    with pytest.raises(Refused, match=f"process {running.pid} is recorded"):
        sleeper().start()
    assert state.servers() == [running.pid]


def test_a_server_found_gone_in_the_middle_of_the_questions_is_started_again(
    state: State, small: Small
) -> None:
    server = small.server(probe_timeout=5.0)
    first = server.ensure()
    small.answers("hang")
    (small.directory / "request").unlink()

    def end_it() -> None:
        wait_until((small.directory / "request").exists)
        small.answers(200)
        kill(first.pid)

    began = time.monotonic()
    with meanwhile(end_it):
        second = server.ensure()
    assert second.pid != first.pid
    assert time.monotonic() - began < 4, "its end should have been noticed at once"


def test_callers_that_want_another_command_get_the_server_that_runs(state: State) -> None:
    first = Server("k", SLEEPER, **QUICK).ensure()
    assert Server("k", ["sleep", "999"], **QUICK).ensure().pid == first.pid


def test_restart_keeps_port_and_command(state: State, small: Small) -> None:
    server = small.server()
    first = server.ensure()
    second = Server.recorded("web").restart()
    assert second.pid != first.pid
    assert second.port == first.port
    assert state.servers() == [second.pid]
    assert small.report()["argv"][2:] == ["--port", str(first.port)]


def test_restart_of_a_manual_server_keeps_it_manual(state: State, small: Small) -> None:
    first = small.server().start()
    second = Server.recorded("web").restart()
    assert second.pid != first.pid
    assert state.record("web")["managed"] == "manual"


def test_on_event_is_told_what_takes_long(small: Small) -> None:
    told: list[str] = []

    def hear(text: str) -> None:
        told.append(text)
        small.answers(200)

    small.answers(503)
    running = small.server(on_event=hear).ensure()
    assert f"started web as process {running.pid}" in told


def test_a_server_that_serves_a_unix_socket_is_returned_with_its_path(
    small: Small, socket_path: str
) -> None:
    path = socket_path
    running = Server("u", small.bare("--unix", path), probe=Unix(path), **QUICK).ensure()
    assert running.url == f"unix:{path}"
    assert running.port is None


@pytest.mark.parametrize("launchers", [6])
def test_launchers_in_processes_of_their_own_get_one_server(
    state: State, small: Small, spawn: Spawn, launchers: int
) -> None:
    processes = [spawn(launch(small, timeout=40.0)) for _ in range(launchers)]
    lines = sorted(read_line(process) for process in processes)
    (pid,) = state.servers()
    assert lines == [f"reused {pid}"] * (launchers - 1) + [f"spawned {pid}"]


def test_the_server_outlives_its_launcher(state: State, small: Small, spawn: Spawn) -> None:
    launcher = spawn(launch(small))
    line = read_line(launcher)
    assert launcher.wait(20) == 0
    assert line == f"spawned {state.servers()[0]}"


def test_a_child_that_ends_after_it_was_handed_over_leaves_no_zombie(state: State) -> None:
    first = sleeper().ensure()
    kill(first.pid)
    sleeper().ensure()
    with pytest.raises(ProcessLookupError):
        os.kill(first.pid, 0)


def test_a_malformed_key_is_refused_before_anything_is_created(state: State) -> None:
    with pytest.raises(InvalidArgument):
        Server("a b", SLEEPER)
    assert not state.root.exists()


def test_two_versions_at_once_leave_one_server(state: State) -> None:
    """Each of the two may win; the other gets a server or a clear error, and one server runs."""
    found: list[Any] = []

    def want(index: int) -> None:
        with contextlib.suppress(VersionMismatch):
            server = sleeper(version=str(index), on_mismatch="replace")
            found.append(server.ensure())

    in_threads(2, want)
    (pid,) = state.servers()
    assert found[-1].pid == pid or found[0].pid == pid


def launch(small: Small, **options: float) -> list[str]:
    """Return the command of a launcher that ensures the small server and says what it got."""
    return python(
        """
        import sys
        from pidproof import Http, Server

        timeout = float(sys.argv[1])
        server = Server("web", sys.argv[2:], probe=Http("/"), startup_timeout=timeout, grace=2.0)
        running = server.ensure()
        print(running.action, running.pid, flush=True)
        """,
        str(options.get("timeout", 15.0)),
        *small.command(),
    )


def test_stdout_of_the_caller_is_not_inherited(state: State, small: Small) -> None:
    """Whoever reads the launcher's output sees its end while the server lives on."""
    done = subprocess.run(launch(small), capture_output=True, timeout=20, check=True, text=True)
    (pid,) = state.servers()
    assert done.stdout == f"spawned {pid}\n"
    assert done.stderr == ""


def test_a_whole_life_is_the_same_on_older_kernels(state: State, small: Small, kernel: str) -> None:
    server = small.server("--child", probe_timeout=0.1)
    first = server.ensure()
    assert server.ensure().pid == first.pid
    os.kill(first.pid, signal.SIGSTOP)
    (small.directory / "child").unlink()
    second = server.ensure()
    assert second.action == "replaced"
    kill(second.pid)
    assert server.status().state == "gone"
    (small.directory / "child").unlink()
    third = server.ensure()
    assert third.action == "spawned"
    assert state.servers() == [third.pid]
    assert server.stop().action == "terminated"
    assert not state.running()
    small.answers(503)
    (small.directory / "child").unlink()
    with pytest.raises(StartTimeout):
        small.server("--child", startup_timeout=0.3).ensure()
    assert not state.running()
