# SPDX-License-Identifier: MIT
"""ensure, start, status, list, stop, restart: what they print, and with what they exit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from command import PIDPROOF
from helpers import needs_linux, read_line, wait_until
from pidproof import Server, SpawnLock, identify
from servers import QUICK, SLEEPER, free_port, is_alive, kill, sleeper, stranger, token_of


if TYPE_CHECKING:
    from pathlib import Path

    from command import Command
    from servers import Small, State

FAST = ["--startup-timeout", "15", "--grace", "2"]


def ensure(small: Small, *options: str, key: str = "web") -> list[str]:
    """Return the arguments that ensure the small server."""
    return ["ensure", key, "--http", "/", *FAST, *options, "--", *small.command()]


# ----------------------------------------------------------------------------------------- ensure


def test_ensure_prints_the_url_and_nothing_else(
    state: State, small: Small, pidproof: Command
) -> None:
    first = pidproof.ok(*ensure(small))
    assert first.out == f"http://127.0.0.1:{state.record('web')['port']}\n"
    assert pidproof.ok(*ensure(small)).out == first.out
    assert len(state.servers()) == 1


def test_ensure_without_a_port_prints_the_token(state: State, pidproof: Command) -> None:
    done = pidproof.ok("ensure", "k", "--", *SLEEPER)
    assert done.out == f"{identify(state.servers()[0])}\n"


def test_ensure_prints_all_as_json_but_the_secret(
    state: State, small: Small, pidproof: Command
) -> None:
    data = pidproof.ok(*ensure(small, "--json", "--version", "3")).json
    record = state.record("web")
    assert set(data) == {
        *("schema", "key", "pid", "identity", "url", "port", "state", "action"),
        *("version", "log", "elapsed_ms"),
    }
    assert (data["key"], data["pid"], data["action"]) == ("web", state.servers()[0], "spawned")
    assert (data["identity"], data["port"]) == (record["identity"], record["port"])
    assert (data["version"], data["state"]) == ("3", "running")
    assert record["token"] not in json.dumps(data)
    assert pidproof.ok(*ensure(small, "--json")).json["action"] == "reused"


def test_ensure_in_a_pipe_returns_while_the_server_lives_on(
    state: State, small: Small, pidproof: Command
) -> None:
    command = " ".join([*PIDPROOF, *ensure(small)])
    done = subprocess.run(
        f"{command} 2>&1 | cat", shell=True, capture_output=True, timeout=20, check=True
    )
    assert done.stdout.startswith(b"http://127.0.0.1:")
    assert len(state.servers()) == 1


def test_every_option_reaches_the_server(
    state: State, small: Small, pidproof: Command, tmp_path: Path
) -> None:
    port = free_port()
    options = [
        *("--port", str(port), "--port-env", "P", "--env", "A=b=c", "--env", "T={token}"),
        *("--cwd", str(tmp_path), "--idle-timeout", "7", "--http-header", "X: {token}"),
    ]
    pidproof.ok(*ensure(small, *options))
    report = small.report()
    assert report["env"]["P"] == str(port)
    assert report["env"]["A"] == "b=c"
    assert report["env"]["T"] == report["env"]["PIDPROOF_TOKEN"]
    assert report["env"]["PIDPROOF_IDLE_TIMEOUT"] == "7"
    assert report["cwd"] == str(tmp_path)
    assert f"X: {report['env']['PIDPROOF_TOKEN']}".encode() in small.request()


@pytest.mark.parametrize(
    "probe",
    [["--tcp"], ["--exec", "true"], ["--log-line", "says hello"], ["--http", "/x"], []],
)
def test_each_probe_can_be_asked_for(
    state: State, small: Small, pidproof: Command, probe: list[str]
) -> None:
    pidproof.ok("ensure", "k", *FAST, *probe, "--", *small.command())
    recorded = state.record("k")["probe"]
    assert (recorded or {}).get("kind") == (probe[0][2:] if probe else None)


def test_a_unix_socket_can_be_asked_for(small: Small, pidproof: Command, socket_path: str) -> None:
    path = socket_path
    done = pidproof.ok("ensure", "k", *FAST, "--unix", path, "--", *small.bare("--unix", path))
    assert done.out == f"unix:{path}\n"


def test_http_status_is_the_one_that_counts(small: Small, pidproof: Command) -> None:
    small.answers(404)
    assert pidproof(*ensure(small, "--http-status", "404")).status == 0


def test_verbose_says_each_step_on_stderr(small: Small, pidproof: Command) -> None:
    done = pidproof(*ensure(small, "-v"))
    assert done.status == 0
    assert "pidproof: started web as process" in done.words
    assert done.out.startswith("http:")


@pytest.mark.parametrize(
    "stderr",
    ["closed", "broken pipe", pytest.param("full disk", marks=needs_linux("/dev/full"))],
)
def test_a_verbose_start_goes_on_when_nobody_reads_its_words(
    state: State, small: Small, pidproof: Command, stderr: str
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    full = os.open("/dev/full" if stderr == "full disk" else os.devnull, os.O_WRONLY)
    options: dict[str, dict[str, Any]] = {
        "closed": {"preexec_fn": lambda: os.close(2)},
        "broken pipe": {"stderr": writer},
        "full disk": {"stderr": full},
    }
    try:
        done = pidproof(*ensure(small, "-v"), **options[stderr])
    finally:
        os.close(writer)
        os.close(full)
    assert (done.status, done.words) == (0, "")
    assert done.out.startswith("http://")
    assert len(state.servers()) == 1


# ----------------------------------------------------------------------------- ensure that fails


def test_69_tells_status_and_the_last_lines_of_the_log(
    state: State, small: Small, pidproof: Command
) -> None:
    arguments = ["ensure", "web", "--http", "/", "--", *small.command("--exit", "3")]
    done = pidproof(*arguments)
    assert (done.status, done.out) == (69, "")
    assert "'web' exited with status 3 before it was ready" in done.words
    assert "  | small server says hello\n" in done.words
    assert "  try: read its log: pidproof logs web\n" in done.words
    error = pidproof(*arguments[:2], "--json", *arguments[2:]).error
    assert (error["kind"], error["exit_status"]) == ("NeverHealthy", 69)
    assert error["log_tail"] == ["small server says hello"]
    assert error["log"] == str(state.directory("web") / "server.log")


def test_69_for_one_that_is_never_ready(small: Small, pidproof: Command) -> None:
    small.answers(503)
    done = pidproof(*ensure(small, "--startup-timeout", "0.3", "--json"))
    assert done.status == 69
    assert done.error["kind"] == "StartTimeout"


def test_69_for_a_port_of_a_stranger(small: Small, pidproof: Command) -> None:
    with stranger() as (port, pid):
        done = pidproof(*ensure(small, "--port", str(port), "--json"))
    assert done.status == 69
    assert done.error["kind"] == "PortInUse"
    assert f"process {pid} " in done.error["message"]


def test_75_names_who_holds_the_lock(state: State, pidproof: Command) -> None:
    sleeper("k").ensure()
    sleeper("k").stop()
    with SpawnLock(state.directory("k"), purpose="tinker"):
        done = pidproof("ensure", "k", "--timeout", "0.1", "--json", "--", *SLEEPER)
    assert done.status == 75
    assert done.error["kind"] == "LockTimeout"
    assert f"process {os.getpid()} " in done.error["message"]


def test_77_for_an_identity_that_cannot_be_proven(state: State, pidproof: Command) -> None:
    running = sleeper("k").ensure()
    token = state.record("k")["identity"]
    state.edit("k", identity=token_of(running.pid, pidns=1))
    for command in (["ensure", "k", "--json", "--", *SLEEPER], ["stop", "k", "--json"]):
        done = pidproof(*command)
        assert (done.status, done.error["kind"]) == (77, "IdentityUnknown")
    assert pidproof("status", "k").status == 4
    state.edit("k", identity=token)


def test_77_for_an_unsafe_state_directory(state: State, pidproof: Command) -> None:
    state.root.mkdir()
    state.root.chmod(0o777)
    for command in (["ensure", "k", "--", *SLEEPER], ["status", "k"], ["list"], ["sweep"]):
        done = pidproof(*command)
        assert (done.status, done.out) == (77, ""), done
        assert f"try: chmod go-w {state.root}" in done.words


def test_74_for_a_state_directory_that_cannot_be_used(
    pidproof: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIDPROOF_STATE_DIR", "relative")
    done = pidproof("ensure", "k", "--json", "--", *SLEEPER)
    assert (done.status, done.error["kind"]) == (74, "StateError")


def test_78_for_another_version(state: State, pidproof: Command) -> None:
    sleeper("k", version="1").ensure()
    arguments = ["--version", "2", "--on-mismatch", "error", "--json", "--", *SLEEPER]
    done = pidproof("ensure", "k", *arguments)
    assert (done.status, done.error["kind"]) == (78, "VersionMismatch")


def test_78_for_a_record_of_a_later_version(state: State, pidproof: Command) -> None:
    state.write("k", b'{"schema": 2, "key": "k"}')
    for command in (["ensure", "k", "--json", "--", *SLEEPER], ["status", "k", "--json"]):
        done = pidproof(*command)
        assert (done.status, done.error["kind"]) == (78, "RecordError")


@pytest.mark.parametrize("name", ["ensure", "start"])
def test_127_and_126_for_the_command(
    state: State, pidproof: Command, tmp_path: Path, name: str
) -> None:
    done = pidproof(name, "k", "--json", "--", "no-such-command")
    assert (done.status, done.error["kind"]) == (127, "CommandNotFound")
    script = tmp_path / "script"
    script.write_text("no first line\n")
    done = pidproof(name, "k", "--json", "--", str(script))
    assert (done.status, done.error["kind"]) == (126, "CommandNotExecutable")
    # What only the kernel knows, at the exec.
    script.chmod(0o755)
    done = pidproof(name, "k", "--json", "--", str(script))
    assert (done.status, done.error["kind"]) == (126, "CommandNotExecutable")
    script.write_text("#!/no/such/interpreter\n")
    done = pidproof(name, "k", "--json", "--", str(script))
    assert (done.status, done.error["kind"]) == (127, "CommandNotFound")
    assert not state.running()
    assert pidproof("status", "k").status in {1, 3}


@pytest.mark.parametrize("name", ["ensure", "start"])
def test_74_for_a_directory_that_does_not_exist(
    state: State, pidproof: Command, tmp_path: Path, name: str
) -> None:
    done = pidproof(name, "k", "--json", "--cwd", str(tmp_path / "no"), "--", *SLEEPER)
    assert (done.status, done.error["kind"]) == (74, "StateError")
    assert "cannot be entered" in done.error["message"]
    assert not state.running()


@pytest.mark.parametrize(
    ("status", "options", "command"),
    [
        (127, [], ["no-such-command"]),
        (126, [], ["/etc/passwd"]),
        (74, ["--cwd", "/no/such/directory"], SLEEPER),
    ],
)
def test_what_cannot_be_started_replaces_nothing(
    state: State, pidproof: Command, status: int, options: list[str], command: list[str]
) -> None:
    first = pidproof.ok("ensure", "k", "--version", "1", "--json", "--", *SLEEPER).json
    second = ["ensure", "k", "--version", "2", "--on-mismatch", "replace", *options]
    done = pidproof(*second, "--", *command)
    assert (done.status, done.out) == (status, "")
    assert "nothing was started" in done.words
    assert state.servers() == [first["pid"]]
    assert (state.record("k")["version"], state.record("k")["state"]) == ("1", "running")
    assert state.history("k") == ["started"]


def test_75_for_a_server_that_takes_longer_than_its_caller(
    state: State, small: Small, pidproof: Command
) -> None:
    first = small.server().ensure()
    small.answers("slow")
    done = pidproof(*ensure(small, "--timeout", "1", "--json"))
    assert (done.status, done.error["kind"]) == (75, "WaitTimeout")
    assert "it was left alone" in done.error["message"]
    assert state.servers() == [first.pid]
    data = pidproof.ok(*ensure(small, "--probe-timeout", "5", "--json")).json
    assert (data["pid"], data["action"]) == (first.pid, "reused")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_of_a_start_leaves_no_server(
    state: State, small: Small, pidproof: Command, number: signal.Signals
) -> None:
    small.answers(503)
    process = pidproof.start(*ensure(small))
    pid = small.report()["pid"]
    wait_until((small.directory / "request").exists)
    process.send_signal(number)
    out, words = process.communicate(timeout=20)
    assert (process.returncode, out) == (128 + number, b"")
    assert b"Traceback" not in words
    assert not is_alive(pid)
    assert not state.running()
    assert state.record("web")["state"] == "failed"


def test_a_hangup_that_is_ignored_stays_ignored(
    state: State, small: Small, pidproof: Command
) -> None:
    """As below nohup."""
    small.answers(503)
    process = pidproof.start(
        *ensure(small), preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    small.report()
    wait_until((small.directory / "request").exists)
    process.send_signal(signal.SIGHUP)
    small.answers(200)
    assert read_line(process).startswith("http://")
    assert process.wait(20) == 0


@pytest.mark.parametrize("closed", ["0<&-", "2>&-", "0<&- 2>&-"])
def test_closed_standard_streams_do_no_harm(state: State, small: Small, closed: str) -> None:
    command = " ".join([*PIDPROOF, *ensure(small)])
    done = subprocess.run(
        f"{command} {closed}", shell=True, capture_output=True, timeout=20, check=False, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("http://")


def test_a_closed_stdout_does_no_harm(state: State, small: Small) -> None:
    command = " ".join([*PIDPROOF, *ensure(small)])
    done = subprocess.run(
        f"{command} >&-", shell=True, capture_output=True, timeout=20, check=False, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(state.servers()) == 1


def test_words_never_go_to_stdout_even_if_stderr_is_closed() -> None:
    command = " ".join([*PIDPROOF, "stop", "k"])
    done = subprocess.run(
        f"{command} 2>&-", shell=True, capture_output=True, timeout=20, check=False, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")


# ------------------------------------------------------------------------------------------ start


def test_start_in_the_foreground_becomes_the_server(
    state: State, small: Small, pidproof: Command
) -> None:
    arguments = ensure(small)[1:]
    process = pidproof.start("start", *arguments)
    report = small.report()
    assert report["pid"] == process.pid
    assert report["session"] != process.pid, "it stays in the session of its terminal"
    assert report["env"]["PIDPROOF_PID"] == str(process.pid)
    wait_until(lambda: pidproof("status", "web").status == 0)
    data = pidproof(*ensure(small, "--json")).json
    assert (data["pid"], data["action"]) == (process.pid, "adopted")
    # And it is never ended by ensure.
    small.answers(500)
    done = pidproof(*ensure(small, "--json", "--probe-timeout", "0.1"))
    assert (done.status, done.error["kind"]) == (77, "Refused")
    assert is_alive(process.pid)
    small.answers(200)
    assert pidproof.ok(*ensure(small, "--json")).json["pid"] == process.pid
    assert pidproof("stop", "web").status == 0
    assert process.wait(20) == -signal.SIGTERM


@needs_linux("/proc/PID/status, which tells of signals")
def test_the_server_of_a_foreground_start_gets_default_signals(
    state: State, pidproof: Command, small: Small
) -> None:
    """Python ignores SIGPIPE, and an exec would hand that on."""
    script = f"grep SigIgn /proc/self/status > {small.directory}/ignored; exec sleep 1000"
    process = pidproof.start("start", "k", "--", "sh", "-c", script)
    wait_until((small.directory / "ignored").exists)
    wait_until((small.directory / "ignored").read_text)
    text = (small.directory / "ignored").read_text()
    assert int(text.split()[1], 16) & (1 << (signal.SIGPIPE - 1)) == 0
    process.terminate()


def test_start_in_the_foreground_hands_a_socket_over(small: Small, pidproof: Command) -> None:
    process = pidproof.start("start", "web", "--tcp", "--", *small.bare("--fd", "{fd}"))
    report = small.report()
    assert report["env"]["LISTEN_PID"] == str(process.pid)
    wait_until(lambda: pidproof("status", "web").status == 0)
    process.terminate()
    process.wait()


@pytest.mark.parametrize("last", [0, 2])
def test_start_in_the_foreground_hands_a_socket_over_even_without_standard_streams(
    small: Small, pidproof: Command, last: int
) -> None:
    """Where they are closed, the socket and what else is opened get their numbers, or 3."""
    arguments = ["start", "web", "--tcp", "--", *small.bare("--fd", "{fd}")]
    process = pidproof.start(*arguments, preexec_fn=lambda: os.closerange(0, last + 1))
    report = small.report()
    assert report["pid"] == process.pid
    assert report["fds"]["3"].startswith("socket:")
    wait_until(lambda: pidproof("status", "web").status == 0)
    process.terminate()
    process.wait()


def test_start_detached_is_manual(state: State, small: Small, pidproof: Command) -> None:
    arguments = ["start", "web", "--detach", *ensure(small)[2:]]
    done = pidproof.ok(*arguments)
    assert done.out.startswith("http://")
    assert state.record("web")["managed"] == "manual"
    again = pidproof(*arguments)
    assert again.status == 77
    assert "is recorded as the server of 'web'" in again.words
    assert pidproof.ok(*ensure(small, "--json")).json["action"] == "reused"


# ------------------------------------------------------------------------------------ status, list


def test_status_0_healthy_150_unhealthy_1_gone_3_absent(
    state: State, small: Small, pidproof: Command
) -> None:
    running = small.server().ensure()
    done = pidproof("status", "web")
    assert (done.status, done.words) == (0, "")
    assert done.out.splitlines()[0] == "state:    healthy"
    assert f"pid:      {running.pid}\n" in done.out
    small.answers(500)
    done = pidproof("status", "web", "--json")
    assert (done.status, done.json["state"]) == (150, "unhealthy")
    kill(running.pid)
    done = pidproof("status", "web", "--json")
    assert (done.status, done.json["state"]) == (1, "gone")
    small.server().stop()
    done = pidproof("status", "web", "--json")
    assert (done.status, done.json["state"]) == (3, "absent")


def test_status_151_while_it_starts(state: State, small: Small, pidproof: Command) -> None:
    small.answers(503)
    process = pidproof.start(*ensure(small))
    small.report()
    wait_until((small.directory / "request").exists)
    done = pidproof("status", "web", "--json")
    assert (done.status, done.json["state"]) == (151, "starting")
    small.answers(200)
    assert process.wait(20) == 0


def test_status_3_after_a_start_that_failed(small: Small, pidproof: Command) -> None:
    pidproof("ensure", "web", "--", "sh", "-c", "exit 1", "{port}")
    pidproof("ensure", "web", "--tcp", "--", "sh", "-c", "exit 1", "{port}")
    done = pidproof("status", "web", "--json")
    assert (done.status, done.json["state"]) == (3, "failed")


def test_status_4_for_a_broken_record(state: State, pidproof: Command) -> None:
    state.write("k", b"{")
    done = pidproof("status", "k", "--json")
    assert (done.status, done.json["state"]) == (4, "unknown")


def test_list_prints_one_line_a_server(state: State, small: Small, pidproof: Command) -> None:
    running = small.server(version="1").ensure()
    other = sleeper("a").ensure()
    done = pidproof.ok("list")
    assert [line.split() for line in done.out.splitlines()] == [
        ["a", "healthy", str(other.pid), "-", "-"],
        ["web", "healthy", str(running.pid), running.url, "1"],
    ]
    servers = pidproof.ok("list", "--json").json["servers"]
    assert [server["key"] for server in servers] == ["a", "web"]


def test_list_with_nothing_says_so_on_stderr(pidproof: Command) -> None:
    done = pidproof("list")
    assert done == (0, "", "no server is recorded\n")
    assert pidproof("list", "--json").json["servers"] == []


def test_escape_sequences_of_others_do_not_reach_the_terminal(pidproof: Command) -> None:
    """A version is whatever a caller says, a log whatever a server writes."""
    evil = "1\x1b]0;owned\x07\x1b[2J"
    sleeper("k", version=evil).ensure()
    shown = pidproof.ok("list").out + pidproof.ok("status", "k").out
    wanted = ["ensure", "k", "--version", "2", "--on-mismatch", "error", "--", *SLEEPER]
    shown += pidproof(*wanted).words
    printing = ["sh", "-c", r"printf '\033]0;owned\007\033[2J\n'; exit 3"]
    shown += pidproof("ensure", "b", "--log-line", "never", "--", *printing).words
    assert shown.count("]0;owned") == 4, "each of them showed it"
    assert shown.replace("\n", "").isprintable()
    assert pidproof("list", "--json").json["servers"][-1]["version"] == evil


# ----------------------------------------------------------------------------------- stop, restart


def test_stop_says_what_it_took(state: State, pidproof: Command) -> None:
    running = sleeper("k").ensure()
    assert pidproof("stop", "k") == (0, "", f"k: process {running.pid} terminated\n")
    assert pidproof("stop", "k") == (0, "", "k: not running\n")
    assert pidproof("stop", "k", "--json").json["action"] == "absent"
    running = sleeper("k").ensure()
    kill(running.pid)
    assert pidproof("stop", "k").words == f"k: process {running.pid} was gone already\n"
    running = sleeper("k").ensure()
    data = pidproof("stop", "k", "--json").json
    assert (data["key"], data["action"], data["pid"]) == ("k", "terminated", running.pid)


def test_restart_keeps_the_command(state: State, small: Small, pidproof: Command) -> None:
    first = pidproof.ok(*ensure(small, "--json", "--env", "A=b")).json
    (small.directory / "report.json").unlink()
    second = pidproof.ok("restart", "web", "--json").json
    assert second["pid"] != first["pid"]
    assert second["port"] == first["port"]
    assert small.report()["argv"][2:] == ["--port", str(first["port"])]
    assert small.report()["env"]["A"] == "b"


def test_restart_of_nothing_is_3(pidproof: Command) -> None:
    done = pidproof("restart", "web", "--json")
    assert (done.status, done.error["kind"]) == (3, "KeyNotFound")


def test_restart_of_a_broken_record_says_what_to_do(state: State, pidproof: Command) -> None:
    state.write("k", b"{")
    done = pidproof("restart", "k", "--json")
    assert (done.status, done.error["kind"]) == (78, "RecordError")
    assert "pidproof ensure k" in done.error["remedy"]


def test_the_console_script_is_the_same_command(pidproof: Command) -> None:
    script = os.path.join(os.path.dirname(sys.executable), "pidproof")
    if not os.path.exists(script):
        pytest.skip("needs the installed command")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == pidproof("--version").out


def test_python_and_command_share_their_servers(small: Small, pidproof: Command) -> None:
    running = Server("k", SLEEPER, **QUICK).ensure()
    assert pidproof.ok("ensure", "k", "--json", "--", *SLEEPER).json["pid"] == running.pid
