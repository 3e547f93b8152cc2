# SPDX-License-Identifier: MIT
"""A start: recorded before it can run, given what was promised, and wholly undone if it fails."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers import (
    NEEDS_PIDFD,
    NEEDS_ROOT,
    NEEDS_SET_TID,
    python,
    read_line,
    signal_at_entry,
    wait_until,
    write_line,
)
from pid_reuse import born
from pidproof import (
    CommandNotExecutable,
    CommandNotFound,
    Http,
    InvalidArgument,
    LogLine,
    NeverHealthy,
    PortInUse,
    ProcessIdentity,
    Server,
    StartTimeout,
    StateError,
    Tcp,
)
from pidproof.interrupts import Relay
from pidproof.lock.spawn_lock import SpawnLock
from pidproof.server.attempt import Attempt
from pidproof.server.children import reap_finished
from servers import QUICK, SLEEPER, free_port, is_alive, kill, meanwhile, sleeper, stranger


if TYPE_CHECKING:
    from collections.abc import Iterator

    from helpers import Spawn
    from servers import Small, State


# --------------------------------------------------------------------------------- what it is given


def test_the_record_names_the_server_before_it_runs(state: State, tmp_path: Path) -> None:
    """What the server finds in its record at its very start is already its own identity."""
    copy = tmp_path / "copy.json"
    script = f'cp "$PIDPROOF_RECORD" {copy}; echo copied; exec sleep 1000'
    # Ready, and published, only after it has looked.
    running = Server("k", ["sh", "-c", script], probe=LogLine("copied"), **QUICK).ensure()
    seen = json.loads(copy.read_bytes())
    assert (seen["state"], seen["identity"]) == ("starting", str(running.identity))


def test_the_server_gets_its_variables(state: State, small: Small) -> None:
    running = small.server(idle_timeout=90.5, env={"MINE": "port {port}"}).ensure()
    env = small.report()["env"]
    record = state.record("web")
    assert env["PIDPROOF_KEY"] == "web"
    assert env["PIDPROOF_NONCE"] == record["nonce"]
    assert env["PIDPROOF_RECORD"] == str(state.record_path("web"))
    assert env["PIDPROOF_TOKEN"] == running.token == record["token"]
    assert env["PIDPROOF_PID"] == str(running.pid)
    assert env["PIDPROOF_IDLE_TIMEOUT"] == "90.5"
    assert env["PORT"] == str(running.port)
    assert env["MINE"] == f"port {running.port}"
    assert env["PATH"] == os.environ["PATH"]


def test_the_port_goes_into_the_variable_that_was_asked_for(small: Small) -> None:
    running = small.server(port_env="WEB_PORT").ensure()
    env = small.report()["env"]
    assert env["WEB_PORT"] == str(running.port)
    assert "PORT" not in env


def test_variables_of_another_server_are_not_passed_on(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a server of ours starts another one."""
    for name in ("PIDPROOF_IDLE_TIMEOUT", "PIDPROOF_NONCE", "LISTEN_FDS", "LISTEN_PID"):
        monkeypatch.setenv(name, "stale")
    small.server().ensure()
    assert "stale" not in small.report()["env"].values()
    assert "LISTEN_FDS" not in small.report()["env"]


def test_a_token_in_the_command_is_the_servers_and_not_shown(state: State, small: Small) -> None:
    running = Server("k", small.command("--secret", "{token}"), probe=Http("/"), **QUICK).ensure()
    assert small.report()["argv"][-1] == running.token
    assert len(running.token) == 64
    assert state.record("k")["command"][-1] == "{token}"
    assert running.token not in state.log("k")


def test_its_input_is_empty_and_its_output_is_the_log(state: State, small: Small) -> None:
    running = small.server().ensure()
    fds = small.report()["fds"]
    assert fds["0"] == "/dev/null"
    assert fds["1"] == fds["2"] == running.log
    assert "small server says hello" in state.log("web")


def test_it_inherits_no_descriptor(small: Small) -> None:
    inherited = os.open("/dev/null", os.O_RDONLY)
    try:
        os.set_inheritable(inherited, True)
        small.server().ensure()
    finally:
        os.close(inherited)
    # What is open beside the three is the directory that the report itself reads.
    assert len([fd for fd in small.report()["fds"] if int(fd) > 2]) <= 1


def test_it_leads_a_session_of_its_own(small: Small) -> None:
    running = small.server().ensure()
    assert (small.report()["session"], small.report()["group"]) == (running.pid, running.pid)


def test_it_neither_ignores_nor_blocks_a_signal(small: Small) -> None:
    """Python itself ignores SIGPIPE; this launcher also ignores SIGINT and blocks SIGUSR1."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        Server("k", ["sh", "-c", f"exec {' '.join(small.bare())}"], **QUICK).ensure()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        signal.signal(signal.SIGINT, before)
    # Python, which the server is too, ignores SIGPIPE and SIGXFSZ; glibc keeps some for itself.
    others = signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}
    assert small.report()["ignored"] & sum(1 << (one - 1) for one in others) == 0
    assert small.report()["blocked"] == 0


def test_it_runs_in_the_directory_that_was_asked_for(small: Small, tmp_path: Path) -> None:
    small.server(cwd=tmp_path).ensure()
    assert small.report()["cwd"] == str(tmp_path)


def test_a_relative_command_is_looked_for_from_its_directory(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "serve").symlink_to("/bin/sleep")
    assert Server("k", ["bin/serve", "1000"], cwd=tmp_path, **QUICK).ensure().pid


def test_a_command_is_looked_for_on_the_path_of_the_server(tmp_path: Path) -> None:
    (tmp_path / "serve-it").symlink_to("/bin/sleep")
    env = {"PATH": f"/nowhere:{tmp_path}"}
    assert Server("k", ["serve-it", "1000"], env=env, **QUICK).ensure().pid


def test_a_socket_is_handed_over_as_systemd_does(small: Small) -> None:
    running = Server("k", small.bare("--fd", "{fd}"), probe=Http("/"), **QUICK).ensure()
    report = small.report()
    assert report["argv"][-1] == "3"
    assert report["env"]["LISTEN_FDS"] == "1"
    assert report["env"]["LISTEN_PID"] == str(running.pid)
    assert report["fds"]["3"].startswith("socket:")
    assert small.request().startswith(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{running.port}".encode())


def test_a_socket_is_handed_over_on_a_fixed_port_too(small: Small) -> None:
    port = free_port()
    server = Server("k", small.bare("--fd", "{fd}"), probe=Tcp(), port=port, **QUICK)
    assert server.ensure().port == port


def test_the_log_keeps_what_earlier_servers_wrote(state: State, small: Small) -> None:
    server = small.server()
    server.ensure()
    server.restart()
    assert state.log("web").count("small server says hello") == 2
    assert state.log("web").count("--- ") == 2
    assert server.logs()[-1] == "small server says hello"
    assert server.logs(0) == []


def test_a_log_line_of_an_earlier_start_does_not_count(state: State, tmp_path: Path) -> None:
    first = tmp_path / "first"
    script = f"mkdir {first} 2>/dev/null && echo up and running; exec sleep 1000"
    command = ["sh", "-c", script]
    kill(Server("k", command, probe=LogLine("^up and"), **QUICK).ensure().pid)
    impatient = {**QUICK, "startup_timeout": 0.3}
    with pytest.raises(StartTimeout, match="none of 0 log lines matches"):
        Server("k", command, probe=LogLine("^up and"), **impatient).ensure()


def test_a_long_log_is_rotated_at_the_start(state: State) -> None:
    sleeper().ensure()
    sleeper().stop()
    path = state.directory("sleeper") / "server.log"
    with path.open("ab") as file:
        file.truncate(11 << 20)
    (path.parent / "server.log.3").write_text("the oldest")
    sleeper().ensure()
    assert path.stat().st_size < 1000
    assert (path.parent / "server.log.1").stat().st_size == 11 << 20
    assert not (path.parent / "server.log.2").exists()


# -------------------------------------------------------------------------------- starts that fail


def assert_nothing_left(state: State, key: str = "web") -> None:
    assert not state.running()
    record = state.record(key)
    assert (record["state"], record["identity"]) == ("failed", None)
    assert state.history(key)[-1] == "rejected"
    assert not (state.directory(key) / "lock").exists()


def test_one_that_is_not_ready_in_time_is_ended_and_reaped(state: State, small: Small) -> None:
    small.answers(503)
    server = small.server("--child", startup_timeout=1.5)
    with pytest.raises(StartTimeout, match=r"not ready within 1\.5 s \(GET / .* 503\)") as caught:
        server.ensure()
    error = caught.value.__dict__
    assert error["pid"] == small.report()["pid"]
    assert error["log_tail"] == ["small server says hello"]
    assert "pidproof logs web" in str(error["remedy"])
    assert_nothing_left(state)
    with pytest.raises(ProcessLookupError):
        os.kill(error["pid"], 0)


@pytest.mark.parametrize(("owner", "step"), [(Relay, "hold"), (Attempt, "reject")])
def test_one_that_is_not_ready_is_ended_though_an_interrupt_comes_right_then(
    state: State, small: Small, owner: type, step: str
) -> None:
    class Interrupt(BaseException):
        pass

    def interrupt(_number: int, _frame: object) -> None:
        raise Interrupt

    small.answers(503)
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with pytest.raises(Interrupt), signal_at_entry(owner, step, signal.SIGTERM):
            small.server(startup_timeout=0.5).ensure()
        assert signal.getsignal(signal.SIGTERM) is interrupt
    finally:
        signal.signal(signal.SIGTERM, before)
    assert_nothing_left(state)


def test_one_that_ignores_sigterm_is_killed_when_it_is_not_ready(
    state: State, small: Small
) -> None:
    small.answers(503)
    with pytest.raises(StartTimeout):
        small.server("--ignore-term", startup_timeout=0.3, grace=0.1).ensure()
    assert_nothing_left(state)
    assert state.record("web")["exit_status"] == -signal.SIGKILL


def test_one_that_exits_tells_status_and_log(state: State, small: Small) -> None:
    with pytest.raises(NeverHealthy, match="exited with status 7 before it was ready") as caught:
        small.server("--exit", "7").ensure()
    error = caught.value.__dict__
    assert error["exit_status"] == 7
    assert error["log"] == str(state.directory("web") / "server.log")
    assert error["log_tail"] == ["small server says hello"]
    assert not isinstance(caught.value, StartTimeout)
    assert_nothing_left(state)
    assert state.record("web")["exit_status"] == 7


def test_one_that_is_killed_tells_the_signal(state: State) -> None:
    server = Server("web", ["sh", "-c", "kill -9 $$"], probe=LogLine("never"), **QUICK)
    with pytest.raises(NeverHealthy, match="was ended by signal 9 before") as caught:
        server.ensure()
    assert caught.value.__dict__["exit_status"] == -9
    assert_nothing_left(state)


def test_one_that_exits_is_noticed_at_once(state: State, small: Small) -> None:
    with pytest.raises(NeverHealthy) as caught:
        small.server("--exit", "1", startup_timeout=50.0, timeout=55.0).ensure()
    assert not isinstance(caught.value, StartTimeout)


def test_the_exit_of_a_server_is_known_where_sigchld_is_ignored(state: State, small: Small) -> None:
    """The kernel reaps there; what is lost is the status, and nothing else may be told wrongly."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(NeverHealthy, match="before it was ready") as caught:
            small.server("--exit", "1").ensure()
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert not isinstance(caught.value, StartTimeout)
    assert_nothing_left(state)


@NEEDS_PIDFD
@NEEDS_SET_TID
def test_the_status_of_another_child_with_the_same_pid_is_not_taken(state: State) -> None:
    """A loop over waitpid(-1) elsewhere in this process collected our server, so its pid was free;
    that of the next child is whoever's who waits for it."""
    pid = sleeper().ensure().pid
    kill(pid)
    assert os.waitpid(-1, 0) == (pid, signal.SIGKILL)
    assert born(pid) == pid
    kill(pid, signal.SIGTERM)
    wait_until(lambda: not is_alive(pid))
    reap_finished()
    assert os.waitpid(pid, 0) == (pid, signal.SIGTERM)


def test_the_next_call_after_a_failed_start_starts_again(state: State, small: Small) -> None:
    with pytest.raises(NeverHealthy):
        small.server("--exit", "7").ensure()
    running = small.server().ensure()
    assert running.action == "spawned"
    assert "exit_status" not in state.record("web")


def test_what_it_left_in_its_session_is_ended_when_it_exits_early(
    state: State, small: Small
) -> None:
    with pytest.raises(NeverHealthy):
        small.server("--child", "--exit", "3").ensure()
    assert not is_alive(small.child())
    assert_nothing_left(state)


@pytest.mark.parametrize("command", [["no-such-command-here"], ["./no/such/file"]])
def test_a_command_that_does_not_exist_is_not_found(state: State, command: list[str]) -> None:
    with pytest.raises(CommandNotFound, match="not found; nothing was started") as caught:
        Server("k", command).ensure()
    assert caught.value.__dict__["command"] == command[0]
    assert not state.running()


def test_a_missing_interpreter_is_not_found_either(state: State, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    with pytest.raises(CommandNotFound, match="interpreter in its first line"):
        Server("k", [str(script)]).ensure()
    assert_nothing_left(state, "k")


def test_a_file_that_is_not_executable_is_refused(state: State, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(CommandNotExecutable, match="is not executable") as caught:
        Server("k", [str(script)]).ensure()
    assert caught.value.remedy == f"chmod +x {script}"


def test_a_directory_is_no_command(state: State, tmp_path: Path) -> None:
    with pytest.raises(CommandNotExecutable, match="is a directory"):
        Server("k", [str(tmp_path)]).ensure()


def test_a_file_of_no_known_format_is_not_executable(state: State, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo without a first line\n")
    script.chmod(0o755)
    with pytest.raises(CommandNotExecutable, match="no #! line"):
        Server("k", [str(script)]).ensure()
    assert_nothing_left(state, "k")


def test_a_directory_that_does_not_exist_is_named(state: State, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be entered") as caught:
        sleeper("k", cwd=tmp_path / "nowhere").ensure()
    assert caught.value.__dict__["path"] == str(tmp_path / "nowhere")
    assert not state.running()
    assert not state.record_path("k").exists()


def test_a_command_too_long_for_a_record_is_refused(state: State) -> None:
    words = ["1" * 20] * 3000
    with pytest.raises(InvalidArgument, match=r"would have \d+ bytes"):
        Server("k", ["sleep", *words]).ensure()
    assert not state.running()
    assert not state.record_path("k").exists()
    assert sleeper("k").ensure().action == "spawned"


# --------------------------------------------------------------------------------------- the port


def test_a_fixed_port_of_a_stranger_names_him(state: State, small: Small) -> None:
    with (
        stranger(serving=True) as (port, pid),
        pytest.raises(PortInUse, match=rf"port {port}, .*process {pid} \(.*socket") as caught,
    ):
        small.server(port=port).ensure()
    assert caught.value.__dict__["port"] == port
    assert not state.running()


def test_a_strangers_answer_on_the_port_is_never_healthy(state: State, small: Small) -> None:
    """He takes the port after it was chosen, and answers every question with 200."""
    thief = Thief(small, 1)
    server = Server("web", thief.command(), port=free_port(), probe=Http("/"), **QUICK)
    with meanwhile(thief.steal):
        with pytest.raises(PortInUse, match="did not get its port") as caught:
            server.ensure()
        thief.is_over = True
    assert f"process {thief.pids[0]} (" in str(caught.value)
    assert f"process {thief.pids[0]} (" in caught.value.__dict__["owner"]
    assert_nothing_left(state)


class Thief:
    """Takes a port between the choice of it and the server's own bind, a number of times."""

    def __init__(self, small: Small, times: int) -> None:
        self.small = small
        self.times = times
        self.ports: list[int] = []
        self.pids: list[int] = []
        self.asked = small.directory / "asked"
        self.taken = small.directory / "taken"
        os.mkfifo(self.asked)
        os.mkfifo(self.taken)

    def command(self, *options: str) -> list[str]:
        """Return the command of a server that has itself robbed first."""
        script = f'echo "$PORT" > {self.asked}; read _ < {self.taken}; exec "$@"'
        return ["sh", "-c", script, "sh", *self.small.bare("--port", "{port}", *options)]

    def steal(self) -> None:
        """Take a port each time that a server asks for it."""
        with contextlib.ExitStack() as thefts:
            for _ in range(self.times):
                port = int(self.asked.read_text())
                _, pid = thefts.enter_context(stranger(port, serving=True))
                self.ports.append(port)
                self.pids.append(pid)
                self.taken.write_text("\n")
            # Stay until the last one has seen it.
            wait_until(lambda: self.is_over)

    is_over = False


def test_another_port_is_chosen_when_a_stranger_takes_the_first(state: State, small: Small) -> None:
    thief = Thief(small, 2)
    told: list[str] = []

    def hear(text: str) -> None:
        told.append(text)
        if sum("trying another port" in text for text in told) == 2:
            thief.is_over = True

    server = Server("web", thief.command(), port="auto", probe=Http("/"), on_event=hear, **QUICK)

    def steal_twice() -> None:
        thief.steal()
        thief.ports.append(int(thief.asked.read_text()))
        thief.taken.write_text("\n")

    with meanwhile(steal_twice):
        running = server.ensure()
    assert running.port == thief.ports[-1]
    # The third may be the second again: it is free once the thief has gone.
    assert thief.ports[0] != thief.ports[1]
    assert state.servers() == [running.pid]


def test_three_stolen_ports_are_enough(state: State, small: Small) -> None:
    thief = Thief(small, 3)
    server = Server("web", thief.command(), port="auto", probe=Http("/"), **QUICK)
    with meanwhile(thief.steal):
        with pytest.raises(PortInUse, match="did not get its port") as caught:
            server.ensure()
        thief.is_over = True
    assert caught.value.__dict__["port"] == thief.ports[-1]
    assert state.record("web")["reason"].startswith("PortInUse: ")
    assert_nothing_left(state)


def test_no_other_start_follows_one_whose_end_was_not_proven(
    state: State, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its port is stolen, and the guard is not to be had while it should be ended."""
    defaults = SpawnLock.fenced.__wrapped__.__kwdefaults__  # type: ignore[attr-defined]
    monkeypatch.setitem(defaults, "timeout", 0.2)
    asked, taken = small.directory / "asked", small.directory / "taken"
    os.mkfifo(asked)
    os.mkfifo(taken)
    script = f'echo "$PORT" > {asked}; read _ < {taken}; exec sleep 1000'
    guards: list[int] = []

    def hear(text: str) -> None:
        if "trying another port" in text:
            os.close(guards.pop())

    server = Server(
        "web", ["sh", "-c", script], port="auto", probe=Http("/"), on_event=hear, **QUICK
    )

    def steal_port_and_guard() -> None:
        port = int(asked.read_text())
        guards.append(os.open(state.directory("web"), os.O_RDONLY))
        fcntl.flock(guards[0], fcntl.LOCK_EX)
        with stranger(port, serving=True):
            taken.write_text("\n")
            wait_until(lambda: is_over or not guards)

    is_over = False
    with meanwhile(steal_port_and_guard):
        with pytest.raises(PortInUse) as caught:
            server.ensure()
        is_over = True
    os.close(guards.pop())
    assert "the guard of the spawn lock was not to be had" in caught.value.__notes__[0]
    assert state.servers() == [ProcessIdentity.parse(state.record("web")["identity"]).pid]


# ------------------------------------------------------------------------------- interrupted starts


LAUNCHER = """
    import json, signal, sys
    from pidproof import Http, Server

    def end(number, frame):
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    Server("web", json.loads(sys.argv[1]), probe=Http("/"), grace=2.0).ensure()
    """


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_launcher_that_is_interrupted_leaves_nothing(
    state: State, small: Small, spawn: Spawn, number: signal.Signals
) -> None:
    small.answers(503)
    launcher = spawn(
        python(LAUNCHER, json.dumps(small.command("--child"))), stderr=subprocess.DEVNULL
    )
    report = small.report()
    wait_until((small.directory / "request").exists)
    launcher.send_signal(number)
    assert launcher.wait(20) != 0
    assert not is_alive(report["pid"])
    assert_nothing_left(state)


def test_a_second_interrupt_does_not_cut_the_cleaning_up_short(
    state: State, small: Small, spawn: Spawn
) -> None:
    """Its server ignores SIGTERM, so that there is time for it."""
    small.answers(503)
    launcher = spawn(
        python(LAUNCHER, json.dumps(small.command("--ignore-term"))), stderr=subprocess.DEVNULL
    )
    wait_until((small.directory / "request").exists)
    launcher.send_signal(signal.SIGINT)
    wait_until((small.directory / "term").exists)
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(20) != 0
    assert_nothing_left(state)


# ---------------------------------------------------------------------------------------- full disk


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The state directory on a filesystem of 16 pages."""
    place = tmp_path / "disk"
    place.mkdir()
    size = 16 * os.sysconf("SC_PAGESIZE")
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "none", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@NEEDS_ROOT
@pytest.mark.parametrize("pages", range(6))
def test_on_a_full_disk_nothing_is_started_or_all_is_well(
    state: State, small_disk: Path, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    monkeypatch.setenv("PIDPROOF_STATE_DIR", str(small_disk / "state"))
    state.root = small_disk / "state"
    server = sleeper("k")
    server.ensure()
    server.stop()
    for path in state.directory("k").iterdir():
        path.unlink()
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096) == 4096:
                pass
        except OSError:
            pass
        file.truncate(max(0, file.tell() // 4096 - pages) * 4096)
    try:
        running = server.ensure()
    except StateError as error:
        refused = str(error)
        assert not state.running()
    else:
        refused = "No space left was not the case"
        assert state.servers() == [running.pid]
        assert state.record("k")["state"] == "running"
    assert "No space left" in refused
    filler.unlink()
    assert server.ensure().pid in state.servers()
    assert len(state.servers()) == 1
    server.stop()


def test_a_start_without_a_free_descriptor_starts_nothing(state: State, spawn: Spawn) -> None:
    """Whatever the number of descriptors that are free: a server runs, or there is an error."""
    code = """
        import os, resource, sys
        from pidproof import Error, Server

        server = Server("k", ["sleep", "1000"], grace=2.0)
        server.ensure()
        server.stop()
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
        held = []
        try:
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        while held:
            try:
                server.ensure()
                print("started", flush=True)
                break
            except Error as error:
                print(type(error).__name__, flush=True)
            sys.stdin.readline()
            os.close(held.pop())
        sys.stdin.read()
        """
    launcher = spawn(python(code), stderr=subprocess.PIPE)
    lines = []
    while (line := read_line(launcher)) != "started":
        lines.append(line)
        assert not state.running()
        write_line(launcher, "go on")
    assert set(lines) <= {"StateError", "IdentityUnknown", "LockTimeout"}
    assert len(state.servers()) == 1


def test_a_start_that_runs_out_of_descriptors_ends_its_server_all_the_same(
    state: State, spawn: Spawn
) -> None:
    """No guard, no record and no pidfd can be opened any more; the one of the fork is there."""
    code = """
        import os, resource, sys
        from pidproof import Error, Server

        held = []

        def hog(_):
            try:
                while True:
                    held.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                return False

        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
        server = Server("k", ["sleep", "1000"], probe=hog, startup_timeout=0.2, grace=2.0)
        try:
            server.ensure()
        except Error as error:
            print(type(error).__name__, flush=True)
        sys.stdin.read()
        """
    launcher = spawn(python(code))
    assert read_line(launcher) in {"StateError", "StartTimeout", "IdentityUnknown"}
    assert not state.running()


def test_what_another_has_adopted_is_left_alone_by_who_can_look_at_nothing_any_more(
    state: State, spawn: Spawn
) -> None:
    """Its deadline is over, and it has no descriptor to see whose the lock and the record are."""
    code = """
        import os, resource, sys
        from pidproof import Error, Server, SpawnLock
        from pidproof.server import locked

        held = []

        def hog(_):
            print("starting", flush=True)
            sys.stdin.readline()
            try:
                while True:
                    held.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                return False

        locked.lock_for = lambda directory, *_: SpawnLock(directory.fd, hold=0.0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
        try:
            Server("k", ["sleep", "1000"], probe=hog, startup_timeout=0.2, grace=2.0).ensure()
        except Error as error:
            print(type(error).__name__, flush=True)
        sys.stdin.read()
        """
    launcher = spawn(python(code))
    assert read_line(launcher) == "starting"
    running = Server("k", SLEEPER).ensure()
    assert running.action == "adopted"
    write_line(launcher, "go on")
    assert read_line(launcher) in {"StateError", "StartTimeout", "IdentityUnknown"}
    assert state.servers() == [running.pid]


# ------------------------------------------------------------------------------------------- wishes


def test_a_probe_without_a_port_is_a_wish_that_cannot_work() -> None:
    with pytest.raises(InvalidArgument, match="needs a port"):
        Server("k", SLEEPER, probe=Tcp())
