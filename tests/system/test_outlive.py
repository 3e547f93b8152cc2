# SPDX-License-Identifier: MIT
"""A server outlives launcher and terminal, and a launcher that is interrupted leaves nothing."""

from __future__ import annotations

import contextlib
import os
import pty
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers import DEADLINE, needs_linux, python, wait_until
from outside import held_by, native_threads
from system.launching import PIDPROOF, python_server, status_of


if TYPE_CHECKING:
    from collections.abc import Iterator

    from helpers import Spawn
    from system.launching import Pidproof
    from system.observer import Observer

# Becomes the leader of a session on the terminal that is its standard input, as a login shell is.
LOGIN = [
    sys.executable,
    "-c",
    "import os, sys; os.login_tty(0); os.execvp(sys.argv[1], sys.argv[1:])",
]
NEVER_READY = python("import signal; signal.pause()")
SLOW = ["--http", "/", "--port", "auto", "--", *NEVER_READY]


class Terminal:
    """A terminal with a program on it."""

    def __init__(self, spawn: Spawn) -> None:
        self._spawn = spawn
        self.fd, self._slave = pty.openpty()
        self.screen = ""

    def run(self, *command: str) -> subprocess.Popen[bytes]:
        """Start the program that has the terminal to itself."""
        tty = self._slave
        process = self._spawn([*LOGIN, *command], stdin=tty, stdout=tty, stderr=tty)
        os.close(tty)
        self._slave = -1
        return process

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.fd, text.encode())

    def read_until(self, text: str) -> None:
        """Read what is shown until a text appears; "" for all there will ever be."""
        end = time.monotonic() + DEADLINE
        while not text or text not in self.screen:
            assert select.select([self.fd], [], [], max(0, end - time.monotonic()))[0], self.screen
            try:
                shown = os.read(self.fd, 4096)
            except OSError:  # EIO: nobody has the terminal open any more
                shown = b""
            if not shown:
                assert not text, self.screen
                return
            self.screen += shown.decode(errors="replace")

    def hang_up(self) -> None:
        """Close the window."""
        for fd in (self.fd, self._slave):
            if fd >= 0:
                os.close(fd)
        self.fd = self._slave = -1


@pytest.fixture
def terminal(spawn: Spawn) -> Iterator[Terminal]:
    """A terminal that is hung up at the end."""
    terminal = Terminal(spawn)
    try:
        yield terminal
    finally:
        terminal.hang_up()


def test_a_server_outlives_the_terminal_it_was_started_from(
    tmp_path: Path, terminal: Terminal, observer: Observer
) -> None:
    ensure = [*PIDPROOF, "ensure", "web", *python_server(tmp_path / "empty")]
    shell = terminal.run("sh", "-c", '"$@"; echo "left $?"; read _', "sh", *ensure)
    terminal.read_until("left 0")
    url = terminal.screen.split()[0]
    seen = observer.one()

    terminal.hang_up()

    assert shell.wait(DEADLINE) == -signal.SIGHUP
    assert observer.one() == seen
    assert status_of(url) == 200


@needs_linux("/proc/PID/stat, which tells of terminals")
def test_a_server_has_no_terminal(tmp_path: Path, terminal: Terminal, observer: Observer) -> None:
    shell = terminal.run(*PIDPROOF, "ensure", "web", *python_server(tmp_path / "empty"))
    terminal.read_until("")
    assert shell.wait(DEADLINE) == 0
    pid = observer.one().pid
    files = {name: os.readlink(f"/proc/{pid}/fd/{name}") for name in ("0", "1", "2")}
    assert files["0"] == "/dev/null"
    assert files["1"] == files["2"] == str(observer.one().record.with_name("server.log"))
    assert os.getsid(pid) == pid
    # Field 7 of proc_pid_stat(5), tty_nr: none.
    assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[4] == "0"


def test_a_launcher_in_a_pipeline_ends_it(tmp_path: Path, spawn: Spawn, observer: Observer) -> None:
    """A server that held the pipe would keep `cat` waiting for as long as it runs."""
    ensure = [*PIDPROOF, "ensure", "web", *python_server(tmp_path / "empty")]
    process = spawn(["sh", "-c", '"$@" 2>&1 | cat', "sh", *ensure])
    out, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    assert status_of(out.decode().strip()) == 200
    observer.one()


def test_a_server_inherits_no_open_file_of_its_launcher(
    tmp_path: Path, pidproof: Pidproof, observer: Observer
) -> None:
    reader, writer = os.pipe()
    file = os.open(tmp_path, os.O_RDONLY)
    inherited = [writer, file, *(os.dup(writer) for _ in range(20))]
    ensure = ["ensure", "web", *python_server(tmp_path / "empty")]
    try:
        done = pidproof.start(*ensure, pass_fds=inherited).finish()
    finally:
        for fd in inherited:
            os.close(fd)
    with open(reader, "rb") as pipe:
        assert select.select([pipe], [], [], DEADLINE)[0]
        assert pipe.read() == b""  # the end: nobody holds the other side
    assert str(tmp_path) not in held_by(observer.one().pid)
    assert status_of(done.url) == 200


@needs_linux("/proc/PID/status, which tells of signals")
def test_signals_that_a_launcher_ignores_or_blocks_are_at_their_defaults_in_the_server(
    tmp_path: Path, spawn: Spawn, observer: Observer
) -> None:
    ignoring = """
        import os, signal, sys
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
        os.execvp(sys.argv[1], sys.argv[1:])
    """
    never = python("import signal; print('up', flush=True); signal.pause()")
    ensure = [*PIDPROOF, "ensure", "web", "--log-line", "up", "--", *never]
    process = spawn(python(ignoring, *ensure))
    assert process.wait(DEADLINE) == 0
    status = Path(f"/proc/{observer.one().pid}/status").read_text()
    masks = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Sig"))
    assert int(masks["SigBlk"], 16) == 0
    # Python itself ignores SIGPIPE and SIGXFSZ.
    bits = int(masks["SigIgn"], 16)
    ignored = {number for number in signal.Signals if bits >> number - 1 & 1}
    assert ignored <= {signal.SIGPIPE, signal.SIGXFSZ}


# ------------------------------------------------------------------------------------ interrupts


def test_ctrl_c_while_a_server_starts_leaves_nothing_and_says_nothing_ugly(
    terminal: Terminal, observer: Observer, pidproof: Pidproof
) -> None:
    launcher = terminal.run(*PIDPROOF, "ensure", "web", *SLOW)
    observer.wait_for_server()
    terminal.type("\x03")
    terminal.read_until("")
    assert launcher.wait(DEADLINE) == 130
    assert "Traceback" not in terminal.screen
    assert "Interrupt" not in terminal.screen
    assert observer.family() == []
    assert pidproof("status", "web", "--json").data["state"] == "failed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_while_a_server_starts_leaves_nothing(
    number: signal.Signals, pidproof: Pidproof, observer: Observer
) -> None:
    launcher = pidproof.start("ensure", "web", *SLOW)
    observer.wait_for_server()
    launcher.process.send_signal(number)
    done = launcher.finish()
    assert (done.status, done.out, done.words) == (128 + number, "", "")
    assert observer.family() == []


def test_two_signals_at_once_while_a_server_starts_leave_nothing(
    pidproof: Pidproof, observer: Observer
) -> None:
    """As of a service manager that sends SIGHUP right after SIGTERM."""
    launcher = pidproof.start("ensure", "web", *SLOW)
    observer.wait_for_server()
    for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGHUP, signal.SIGCONT):
        launcher.process.send_signal(number)
    done = launcher.finish()
    assert done.status in {128 + signal.SIGTERM, 128 + signal.SIGHUP}
    assert (done.out, done.words) == ("", "")
    assert observer.family() == []


def test_a_terminal_that_closes_while_a_server_starts_leaves_nothing(
    terminal: Terminal, observer: Observer
) -> None:
    launcher = terminal.run(*PIDPROOF, "ensure", "web", *SLOW)
    observer.wait_for_server()
    terminal.hang_up()
    assert launcher.wait(DEADLINE) == 128 + signal.SIGHUP
    assert observer.family() == []


def test_ctrl_c_while_waiting_for_another_launcher_disturbs_neither_it_nor_its_server(
    terminal: Terminal, observer: Observer, pidproof: Pidproof
) -> None:
    first = pidproof.start("ensure", "web", *SLOW)
    seen = observer.wait_for_server()
    waiting = terminal.run(*PIDPROOF, "ensure", "web", *SLOW)
    # It sleeps in flock(2) behind the first, in a thread of its own.
    wait_until(lambda: native_threads(waiting.pid) > 1)
    terminal.type("\x03")
    terminal.read_until("")
    assert waiting.wait(DEADLINE) == 130
    assert "Traceback" not in terminal.screen
    assert observer.one() == seen
    assert first.process.poll() is None
    first.process.terminate()
    assert first.finish().status == 128 + signal.SIGTERM


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_ctrl_c_at_any_moment_leaves_nothing_or_a_server_with_a_record(
    tmp_path: Path, pidproof: Pidproof, observer: Observer, spawn: Spawn
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    ensure = [*PIDPROOF, "ensure", "web", *python_server(tmp_path / "empty")]
    ugly, ends = [], []
    for _ in range(25):
        terminal = Terminal(spawn)
        with contextlib.ExitStack() as stack, observer.watching():
            stack.callback(terminal.hang_up)
            launcher = terminal.run(*ensure)
            with contextlib.suppress(subprocess.TimeoutExpired):
                launcher.wait(chance.uniform(0.05, 0.5))
            terminal.type("\x03")
            terminal.read_until("")
            ends.append(launcher.wait(DEADLINE))
        # Before `main` it is the interpreter that is interrupted, and none of our words help.
        if "pidproof/cli" in terminal.screen:
            ugly.append(terminal.screen)
        # It may come after the server is ready and before we have said so.
        state = pidproof("status", "web", "--json").data["state"]
        assert state in {"healthy", "failed", "absent"}
        assert len(observer.servers()) == (state == "healthy")
        assert state == "healthy" or ends[-1] != 0
        pidproof("stop", "web")
    print(f"ended with {sorted(set(ends))}: {[ends.count(end) for end in sorted(set(ends))]}")
    assert not ugly, "\n".join(ugly)
