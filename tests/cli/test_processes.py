# SPDX-License-Identifier: MIT
"""id, check, kill, wait."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from command import PIDPROOF
from helpers import needs_linux, wait_until
from pidproof import identify
from servers import is_stopped, token_of


if TYPE_CHECKING:
    from command import Command
    from helpers import Spawn


FULL = os.strerror(errno.ENOSPC)


def test_id_prints_the_token(pidproof: Command) -> None:
    assert pidproof.ok("id", str(os.getpid())).out == f"{identify(os.getpid())}\n"
    data = pidproof.ok("id", str(os.getpid()), "--json").json
    mine = identify(os.getpid())
    assert data["identity"] == str(mine)
    for name in ("pid", "start_time", "boot_id", "pid_namespace", "unique_id", "uid"):
        assert data[name] == getattr(mine, name)


def test_id_of_nobody_is_1_and_of_no_pid_2(pidproof: Command, spawn: Spawn) -> None:
    gone = spawn(["true"])
    gone.wait()
    assert pidproof("id", str(gone.pid), "--json").error["kind"] == "ProcessGone"
    assert pidproof("id", str(gone.pid)).status == 1
    assert pidproof("id", "0", "--json").error["kind"] == "InvalidArgument"
    assert pidproof("id", "first").status == 2


def test_a_line_is_one_write_even_without_a_buffer() -> None:
    """Launchers that share a file for their output do not tear each other's lines apart."""
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with mine, theirs:
        command = [*PIDPROOF, "id", str(os.getpid())]
        env = {**os.environ, "PYTHONUNBUFFERED": "1"}
        subprocess.run(command, stdout=theirs.fileno(), env=env, check=True, timeout=20)
        assert mine.recv(1000).decode() == f"{identify(os.getpid())}\n"


def test_check_0_alive_1_gone_4_unknown(pidproof: Command, spawn: Spawn) -> None:
    process = spawn.sleeper()
    token = str(identify(process.pid))
    assert pidproof.ok("check", token).out == "alive\n"
    assert pidproof.ok("check", token, "--json").json["liveness"] == "alive"
    foreign = pidproof("check", token_of(process.pid, pidns=1))
    assert (foreign.status, foreign.out) == (4, "unknown\n")
    process.kill()
    process.wait()
    done = pidproof("check", token)
    assert (done.status, done.out, done.words) == (1, "gone\n", "")
    assert pidproof("check", token, "--json").json["evidence"]


@pytest.mark.parametrize("token", ["", "nonsense", "pidproof:1:2:3", "-5", "pidproof:2:1:1:1:1:1"])
@pytest.mark.parametrize("name", ["check", "kill", "wait"])
def test_what_is_no_token_is_2(pidproof: Command, name: str, token: str) -> None:
    assert pidproof(name, token).status == 2


def test_kill_signals_the_process_of_the_token(pidproof: Command, spawn: Spawn) -> None:
    process = spawn.sleeper()
    token = str(identify(process.pid))
    for name in ("STOP", "SIGSTOP", "stop", str(int(signal.SIGSTOP))):
        pidproof.ok("kill", token, "-s", name)
        wait_until(lambda: is_stopped(process.pid))
        pidproof.ok("kill", token, "-s", "CONT")
        wait_until(lambda: not is_stopped(process.pid))
    assert pidproof.ok("kill", token, "-s", "0", "--json").json["signal"] == 0
    pidproof.ok("kill", token)
    assert process.wait(20) == -signal.SIGTERM
    done = pidproof("kill", token, "--json")
    assert (done.status, done.error["kind"]) == (1, "ProcessGone")


def test_kill_never_reaches_another_process(pidproof: Command, spawn: Spawn) -> None:
    process = spawn.sleeper()
    done = pidproof("kill", token_of(process.pid, start=1, unique=1))
    assert done.status == 1
    done = pidproof("kill", token_of(process.pid, pidns=1))
    assert done.status == 77
    assert process.poll() is None


def test_kill_refuses_its_own_ancestors(pidproof: Command) -> None:
    done = pidproof("kill", str(identify(os.getpid())), "--json")
    assert (done.status, done.error["kind"]) == (77, "Refused")


def test_kill_of_a_group_needs_its_leader(pidproof: Command, spawn: Spawn) -> None:
    leader = spawn(["sh", "-c", "sleep 1000 & wait"], start_new_session=True)
    pidproof.ok("kill", str(identify(leader.pid)), "--group", "-s", "KILL")
    assert leader.wait(20) == -signal.SIGKILL


@pytest.mark.parametrize("name", ["NOPE", "-1", "999", "1.5", ""])
def test_kill_with_no_signal_is_2(pidproof: Command, spawn: Spawn, name: str) -> None:
    process = spawn.sleeper()
    assert pidproof("kill", str(identify(process.pid)), f"--signal={name}").status == 2
    assert process.poll() is None


def test_wait_ends_with_the_process(pidproof: Command, spawn: Spawn) -> None:
    process = spawn.sleeper()
    token = str(identify(process.pid))
    waiting = pidproof.start("wait", token, "--json")
    process.kill()
    process.wait()
    out, _ = waiting.communicate(timeout=20)
    assert waiting.returncode == 0
    assert b'"gone"' in out
    assert pidproof.ok("wait", token).out == ""


def test_wait_that_takes_too_long_is_75(pidproof: Command, spawn: Spawn) -> None:
    process = spawn.sleeper()
    token = str(identify(process.pid))
    done = pidproof("wait", token, "--timeout", "0.05", "--json")
    assert (done.status, done.error["kind"]) == (75, "WaitTimeout")
    assert process.poll() is None


def test_wait_for_what_cannot_be_told_is_77(pidproof: Command, spawn: Spawn) -> None:
    process = spawn.sleeper()
    assert pidproof("wait", token_of(process.pid, pidns=1), "--timeout", "0.05").status == 77


@needs_linux("/dev/full")
@pytest.mark.parametrize("words", ["to somebody", "to nobody"])
def test_an_output_that_could_not_be_written_is_74(pidproof: Command, words: str) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        stderr = {"stderr": full} if words == "to nobody" else {}
        done = pidproof("id", str(os.getpid()), stdout=full, **stderr)
    finally:
        os.close(full)
    assert done.status == 74
    assert done.words == ("" if stderr else f"pidproof: the output could not be written: {FULL}\n")
