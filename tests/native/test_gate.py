# SPDX-License-Identifier: MIT
"""The gate: a child that exists, and runs nothing before it is let."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any

import pytest

from helpers import (
    ASLEEP,
    DEADLINE,
    HAVE,
    SEE,
    TRUE,
    WITHOUT_EVENTS,
    in_threads,
    needs_linux,
    python,
    read_line,
    wait_until,
    write_line,
)
from pidproof import _native, _native_gate
from pidproof._pp import lib
from pidproof.process.identity import identify
from pidproof.process.liveness import Liveness


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from helpers import Spawn

pytestmark = pytest.mark.usefixtures("nothing_left")

SECOND = 10**9
# Prints what a program can find out about how it was started.
LOOK = f"""
    {SEE}
    import json, os
    fds = open_fds()
    print(json.dumps({{
        "pid": os.getpid(), "ppid": os.getppid(),
        "session": os.getsid(0), "group": os.getpgid(0),
        "fds": sorted(fds), "stdin": fds[0],
        "same": os.path.sameopenfile(1, 2),
        "cwd": os.getcwd(), "environ": dict(os.environ),
    }}))
"""


class Child:
    """One child behind a gate, and the pipe that its output goes to."""

    def __init__(self) -> None:
        self.gate = _native_gate.Gate()
        self.output, self._into = os.pipe()

    def fork(
        self,
        command: list[str],
        environment: dict[str, str] | None = None,
        *,
        path: str | None = None,
        directory: bytes | None = None,
        listen_fd: int = -1,
    ) -> None:
        self.gate.fork(
            os.fsencode(path or command[0]),
            [os.fsencode(word) for word in command],
            [os.fsencode(f"{name}={value}") for name, value in (environment or {}).items()],
            directory,
            output_fd=self._into,
            listen_fd=listen_fd,
        )

    def start(self, command: list[str], **options: Any) -> tuple[int, int] | None:
        """Fork, open the gate and return the result of the exec."""
        self.fork(command, **options)
        self.gate.open()
        return self.gate.result(20 * SECOND)

    def read(self) -> bytes:
        """Return all that it says until its end."""
        if self._into >= 0:
            os.close(self._into)
            self._into = -1
        said = b""
        while more := os.read(self.output, 65536):
            said += more
        return said

    def wait(self) -> int:
        """Reap it; returns its exit status, negative for a signal."""
        status = os.waitpid(self.gate.pid, 0)[1]
        return os.waitstatus_to_exitcode(status)

    def end(self) -> None:
        self.gate.close()
        if self.gate.pid:
            try:
                os.kill(self.gate.pid, signal.SIGKILL)
                os.waitpid(self.gate.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        self.gate.close_pid_fd()
        for fd in (self.output, self._into):
            if fd >= 0:
                os.close(fd)


@pytest.fixture
def child(nothing_left: None) -> Iterator[Child]:
    """A child that does not outlive the test."""
    child = Child()
    yield child
    child.end()


def look(child: Child, **options: Any) -> dict[str, Any]:
    """Start the program that looks around, and return what it saw."""
    assert child.start([sys.executable, "-S", "-c", textwrap.dedent(LOOK)], **options) is None
    seen: dict[str, Any] = json.loads(child.read())
    assert child.wait() == 0
    return seen


# ------------------------------------------------------------------------------- at the gate


def test_a_child_at_the_gate_is_a_process_and_runs_nothing(
    child: Child, kernel: str, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    child.fork(["/bin/sh", "-c", f"echo > {mark}"])
    identity = identify(child.gate.pid)
    assert identity.liveness() is Liveness.ALIVE
    wait_until(lambda: _native.status(child.gate.pid)[3] == child.gate.pid)
    wait_until(lambda: _native.status(child.gate.pid)[0] == ASLEEP)
    _, parent, group, session, threads, has_execed = _native.status(child.gate.pid)
    assert (parent, has_execed) == (os.getpid(), False)
    assert threads == (1 if "proc" in HAVE else 0), "macOS does not tell"
    assert group == session == child.gate.pid
    with pytest.raises(TimeoutError):
        child.gate.result(SECOND // 20)
    assert not mark.exists()
    child.gate.open()
    assert child.gate.result(20 * SECOND) is None
    assert child.wait() == 0
    assert mark.exists()


def test_exec_keeps_the_identity_that_was_read_at_the_gate(child: Child, kernel: str) -> None:
    child.fork(["/bin/sh", "-c", "echo $$"])
    identity = identify(child.gate.pid)
    child.gate.open()
    assert child.gate.result(20 * SECOND) is None
    assert child.read() == f"{identity.pid}\n".encode()
    assert child.wait() == 0


def test_a_gate_that_is_closed_ends_the_child_without_exec(
    child: Child, kernel: str, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    child.fork(["/bin/sh", "-c", f"echo > {mark}"])
    child.gate.close()
    assert child.wait() == 127
    assert not mark.exists()


def test_opening_the_gate_of_a_dead_child_is_a_broken_pipe(child: Child, kernel: str) -> None:
    child.fork([TRUE])
    os.kill(child.gate.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    with pytest.raises(BrokenPipeError):
        child.gate.open()
    assert child.gate.result(SECOND) is None, "no exec failed: there was none"


def test_pid_fd_pins_the_child(child: Child, kernel: str) -> None:
    child.fork([TRUE])
    assert (child.gate.pid_fd >= 0) == (kernel not in WITHOUT_EVENTS)
    if child.gate.pid_fd >= 0:
        if "pidfs" in _native.features():
            identity = identify(child.gate.pid)
            assert identity.unique_id == os.fstat(child.gate.pid_fd).st_ino
        assert not os.get_inheritable(child.gate.pid_fd)


PARENT = """
    import os, signal, sys
    from pidproof import _native, _native_gate
    mark, sibling = sys.argv[1:]
    gate = _native_gate.Gate()
    command = [b"sh", b"-c", b"echo > " + os.fsencode(mark)]
    gate.fork(b"/bin/sh", command, [], None, output_fd=1, listen_fd=-1)
    other = 0
    if sibling:
        other = os.fork()
        if other == 0:
            os.close(1)
            signal.pause()  # with a copy of our end of the gate
    print(gate.pid, other, flush=True)
    sys.stdin.readline()
    gate.open()
    print(gate.result(20 * 10**9), flush=True)
"""


@pytest.mark.parametrize("sibling", ["", "sibling"])
def test_death_of_the_parent_ends_the_child_without_exec(
    spawn: Spawn, tmp_path: Path, kernel: str, sibling: str
) -> None:
    """Also when a fork of the parent lives on and holds its end of the gate open."""
    mark = tmp_path / "mark"
    parent = spawn(python(PARENT, str(mark), sibling))
    child, other = map(int, read_line(parent).split())
    identity = identify(child)
    try:
        assert identity.liveness() is Liveness.ALIVE
        parent.kill()
        parent.wait()
        wait_until(lambda: identity.liveness() is Liveness.GONE, 5)
        assert not mark.exists()
    finally:
        if other:
            os.kill(other, signal.SIGKILL)


def test_death_of_the_parent_after_the_opening_leaves_the_server_running(
    spawn: Spawn, tmp_path: Path, kernel: str
) -> None:
    mark = tmp_path / "mark"
    parent = spawn(python(PARENT, str(mark), ""))
    read_line(parent)
    write_line(parent, "go")
    assert read_line(parent) == "None"
    parent.kill()
    parent.wait()
    wait_until(mark.exists)


def test_a_stopped_parent_keeps_the_child_waiting(spawn: Spawn, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    parent = spawn(python(PARENT, str(mark), ""))
    child = int(read_line(parent).split()[0])
    parent.send_signal(signal.SIGSTOP)
    wait_until(lambda: _native.status(parent.pid)[0] == "T")
    assert identify(child).liveness() is Liveness.ALIVE
    assert not mark.exists()
    parent.send_signal(signal.SIGCONT)
    write_line(parent, "go")
    assert read_line(parent) == "None"
    wait_until(mark.exists)


# ------------------------------------------------------------------------------ what it inherits


def test_a_child_has_a_session_and_nothing_of_ours(child: Child, kernel: str) -> None:
    extra = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(extra, True)
    high = os.dup2(extra, 500, inheritable=True)
    try:
        seen = look(child, environment={"A": "1", "B": "x=y"})
    finally:
        os.close(extra)
        os.close(high)
    assert seen["pid"] == seen["session"] == seen["group"] == child.gate.pid
    assert seen["ppid"] == os.getpid()
    assert seen["fds"] == [0, 1, 2]
    assert seen["stdin"] == "/dev/null"
    assert seen["same"] is True
    assert seen["environ"].items() >= {"A": "1", "B": "x=y"}.items()
    assert set(seen["environ"]) <= {"A", "B", "LC_CTYPE"}
    assert seen["cwd"] == os.getcwd()


@needs_linux("/proc/PID/status, which tells of signals")
def test_a_child_has_default_signals_and_an_empty_mask(child: Child, kernel: str) -> None:
    ours = {signal.SIGUSR1: signal.SIG_IGN, signal.SIGHUP: signal.SIG_IGN}
    ours[signal.SIGUSR2] = lambda *_: None  # type: ignore[assignment]
    before = {number: signal.signal(number, how) for number, how in ours.items()}
    blocked = {signal.SIGTERM, signal.SIGCHLD, signal.SIGRTMIN}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    try:
        # Not Python, which ignores and catches some by itself.
        assert child.start(["/bin/cat", "/proc/self/status"]) is None
        said = child.read().decode()
    finally:
        for number, how in before.items():
            signal.signal(number, how)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    status = dict(line.split(":\t", 1) for line in said.splitlines())
    # glibc keeps some for itself, and what posix_spawn started ignores them.
    valid = sum(1 << (number - 1) for number in signal.valid_signals())
    for field in ("SigBlk", "SigIgn", "SigCgt", "SigPnd"):
        assert int(status[field], 16) & valid == 0, field
    assert child.wait() == 0


def test_our_own_mask_is_as_before(child: Child) -> None:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        child.fork([TRUE])
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask | {signal.SIGUSR1}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 9, 10, 11, 40])
def test_a_listening_socket_is_descriptor_three_wherever_it_was(
    spawn: Spawn, kernel: str, number: int
) -> None:
    """Also where ours stand in the way of where the child's shall be."""
    code = f"""
        import os, socket, sys
        from pidproof import _native, _native_gate
        _native.features()
        output, into = os.pipe()
        say = os.dup2(1, 60)
        output = os.dup2(output, 62)
        into = os.dup2(into, 61)
        server = socket.create_server(("127.0.0.1", 0))
        port = server.getsockname()[1]
        os.dup2(server.fileno(), {number})
        gate = _native_gate.Gate()
        script = (
            "{SEE}; import socket;"
            "print(sorted(open_fds()), socket.socket(fileno=3).getsockname()[1])"
        )
        path = os.fsencode(sys.executable)
        command = [path, b"-S", b"-c", script.encode()]
        gate.fork(path, command, [], None, output_fd=into, listen_fd={number})
        gate.open()
        assert gate.result(20 * 10**9) is None
        os.close(into)
        os.waitpid(gate.pid, 0)
        os.write(say, os.read(output, 1000).replace(str(port).encode(), b"port"))
    """
    child = spawn(python(code))
    assert read_line(child) == "[0, 1, 2, 3] port"


def test_pid_variables_hold_the_pid_of_the_child(child: Child, kernel: str) -> None:
    names = {"PIDPROOF_PID": "", "LISTEN_PID": "0", "LISTEN_PIDS": "7", "XLISTEN_PID": "8"}
    seen = look(child, environment=names)
    assert seen["environ"]["PIDPROOF_PID"] == str(child.gate.pid)
    assert seen["environ"]["LISTEN_PID"] == str(child.gate.pid)
    assert seen["environ"]["LISTEN_PIDS"] == "7"
    assert seen["environ"]["XLISTEN_PID"] == "8"


def test_arguments_arrive_byte_for_byte(child: Child) -> None:
    words = ["argv0", "", "a b\n", os.fsdecode(b"\xff"), "x" * 100_000]
    assert child.start(words, path="/bin/sleep") is None
    assert child.read() != b"", "sleep complains of them"
    assert child.wait() == 1


# -------------------------------------------------------------------------------- what goes wrong


def put_script(path: Path, content: str, mode: int) -> str:
    path.write_text(content)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("name", "content", "mode", "error"),
    [
        ("missing", None, 0, errno.ENOENT),
        ("no-permission", "#!/bin/sh\n", 0o600, errno.EACCES),
        ("no-format", "echo no first line\n", 0o700, errno.ENOEXEC),
        ("no-interpreter", "#!/nowhere/sh\n", 0o700, errno.ENOENT),
        ("below/a-file", None, 0, errno.ENOENT),
    ],
)
@pytest.mark.usefixtures("kernel")
def test_an_exec_that_fails_says_why(  # noqa: PLR0917 - the table has as many columns
    child: Child, tmp_path: Path, name: str, content: str | None, mode: int, error: int
) -> None:
    path = str(tmp_path / name)
    if content is not None:
        path = put_script(tmp_path / name, content, mode)
    assert child.start([path]) == (_native_gate.STAGE_EXEC, error)
    assert child.wait() == 127
    assert child.read() == b""


def test_a_directory_is_no_command(child: Child, tmp_path: Path) -> None:
    assert child.start([str(tmp_path)]) == (_native_gate.STAGE_EXEC, errno.EACCES)


def test_a_working_directory_that_is_none_says_why(
    child: Child, kernel: str, tmp_path: Path
) -> None:
    missing = os.fsencode(tmp_path / "missing")
    child.fork([TRUE], directory=missing)
    assert child.gate.result(20 * SECOND) == (_native_gate.STAGE_DIRECTORY, errno.ENOENT)
    assert child.wait() == 127


def test_a_working_directory_is_entered(child: Child, tmp_path: Path) -> None:
    assert look(child, directory=os.fsencode(tmp_path))["cwd"] == str(tmp_path)


def test_arguments_that_are_too_long_say_why(child: Child) -> None:
    assert child.start([TRUE, "x" * (1 << 21)]) == (_native_gate.STAGE_EXEC, errno.E2BIG)


def test_an_output_that_is_no_descriptor_says_why(kernel: str) -> None:
    gate = _native_gate.Gate()
    gate.fork(os.fsencode(TRUE), [b"true"], [], None, output_fd=999, listen_fd=-1)
    try:
        assert gate.result(20 * SECOND) == (lib.PP_STAGE_STDIO, errno.EBADF)
    finally:
        gate.close()
        os.waitpid(gate.pid, 0)
        gate.close_pid_fd()


def test_a_child_needs_no_descriptor_beyond_what_the_fork_took(spawn: Spawn, kernel: str) -> None:
    """A listening socket stands where the child's own shall be, and no number is free."""
    code = """
        import os, resource, socket, sys
        from pidproof import _native, _native_gate
        # A pair of sockets, and what tells of the child and of its parent.
        features = _native.features()
        taken = 4 if "pidfd" in features else 3 if "kqueue" in features else 2
        os.closerange(3, 64)
        server = socket.create_server(("127.0.0.1", 0))
        output = os.open("/dev/null", os.O_RDWR)
        assert (server.fileno(), output) == (3, 4)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (5 + taken, hard))
        gate = _native_gate.Gate()
        test = b'test -S /dev/fd/3 && test -c /dev/fd/2 && ! test -e /dev/fd/4'
        gate.fork(b"/bin/sh", [b"sh", b"-c", test], [], None, output_fd=output, listen_fd=3)
        gate.open()
        print(gate.result(20 * 10**9), os.waitpid(gate.pid, 0)[1])
    """
    assert read_line(spawn(python(code))) == "None 0"


def test_what_a_child_gets_may_stand_where_its_standard_streams_shall_be(
    spawn: Spawn, tmp_path: Path, kernel: str
) -> None:
    code = f"""
        import os, socket, sys
        from pidproof import _native, _native_gate
        _native.features()
        os.closerange(0, 64)
        server = socket.create_server(("127.0.0.1", 0))
        output = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
        assert (server.fileno(), output) == (0, 1)
        look = b"{SEE}; print(*(what for _, what in sorted(open_fds().items())), sep=chr(10))"
        path = os.fsencode(sys.executable)
        gate = _native_gate.Gate()
        gate.fork(path, [path, b"-S", b"-c", look], [], None, output_fd=output, listen_fd=0)
        gate.open()
        assert gate.result(20 * 10**9) is None
        sys.exit(os.waitpid(gate.pid, 0)[1])
    """
    output = tmp_path / "output"
    assert spawn(python(code, str(output))).wait(DEADLINE) == 0
    *streams, listening = output.read_text().splitlines()
    assert streams == ["/dev/null", str(output), str(output)]
    assert listening.startswith("socket:")


# Tells what it has open, and stays.
TELL = f"""
    {SEE}
    import os, signal
    lines = ["%s %s" % item + chr(10) for item in sorted(open_fds().items())]
    with open(sys.argv[1] + ".new", "w") as file:
        file.writelines(lines)
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    signal.pause()
"""


@pytest.mark.parametrize("closed", [[], [0], [1, 2], [0, 1, 2]])
def test_a_server_starts_with_few_descriptors_and_without_standard_streams(
    spawn: Spawn, tmp_path: Path, kernel: str, closed: list[int]
) -> None:
    """What is opened for the child then has the numbers that its standard streams shall have."""
    code = f"""
        import os, resource, sys, time
        from pidproof import Server, _native
        program = [sys.executable, "-S", "-c", {textwrap.dedent(TELL)!r}, sys.argv[2]]
        server = Server("k", program, grace=2.0)
        server.ensure()
        server.stop()
        if os.path.exists(sys.argv[2]):
            os.unlink(sys.argv[2])
        os.closerange(3, 64)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, ({12 - len(closed)}, hard))
        for fd in {closed}:
            os.close(fd)
        said = []
        try:
            server.ensure()
            end = time.monotonic() + 10
            while not os.path.exists(sys.argv[2]) and time.monotonic() < end:
                time.sleep(0.001)
            with open(sys.argv[2]) as file:
                said += file.read().splitlines()
            server.stop()
        except Exception as error:
            said.append(repr(error))
        with open(sys.argv[1], "w") as file:
            file.write("\\n".join(said))
    """
    answer = tmp_path / "answer"
    state = str(tmp_path / "state")
    told = str(tmp_path / "told")
    child = spawn(python(code, str(answer), told), env={**os.environ, "PIDPROOF_STATE_DIR": state})
    assert child.wait(DEADLINE) == 0
    said = [line.split(" ") for line in answer.read_text().splitlines()]
    assert [fd for fd, *_ in said] == ["0", "1", "2"], said
    assert said[0][1] == "/dev/null"
    assert said[1][1] == said[2][1]
    assert said[1][1].endswith("/server.log")


def test_no_descriptors_no_child(spawn: Spawn, kernel: str) -> None:
    code = f"""
        {SEE}
        import os, resource
        from pidproof import _native, _native_gate
        _native.features()
        used = len(open_fds())
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        # Room for so many more: the pair takes two, our own pidfd one, the child's one.
        for room in range(4):
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + room, hard))
            gate = _native_gate.Gate()
            try:
                gate.fork({os.fsencode(TRUE)!r}, [b"true"], [], None, output_fd=1, listen_fd=-1)
            except OSError as error:
                print(error.errno, gate.pid, gate.pid_fd)
            else:
                print("forked")
                gate.close()
                os.waitpid(gate.pid, 0)
                gate.close_pid_fd()
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, hard))
        print(len(open_fds()) == used)
    """
    child = spawn(python(code))
    said = [read_line(child) for _ in range(5)]
    refused = f"{errno.EMFILE} 0 -1"
    taken = 2 if kernel in WITHOUT_EVENTS else 4 if "pidfd" in HAVE else 3
    rooms = [refused] * taken + ["forked"] * (4 - taken)
    assert said == [*rooms, "True"]


# ------------------------------------------------------------------------------------ concurrency


def test_children_forked_at_once_hold_nothing_of_one_another(kernel: str) -> None:
    """Each one's gate must close with its own parent's end, whoever else was forked meanwhile."""
    children = [Child() for _ in range(8)]
    try:
        in_threads(8, lambda index: children[index].fork(["/bin/cat", "/dev/null"]))
        for child in children[::2]:
            child.gate.close()
        for child in children[::2]:
            assert child.wait() == 127, "the others are still at their gates"
        for child in children[1::2]:
            assert _native.status(child.gate.pid)[5] is False
            child.gate.open()
        for child in children[1::2]:
            assert child.gate.result(20 * SECOND) is None
            assert child.wait() == 0
    finally:
        for child in children:
            child.end()


def test_many_threads_start_children_over_and_over(kernel: str) -> None:
    def act(index: int) -> None:
        for turn in range(5):
            child = Child()
            try:
                failing = (index + turn) % 2
                command = ["/nowhere"] if failing else ["/bin/sh", "-c", "echo /dev/fd/*"]
                result = child.start(command)
                said = child.read().split()
                if failing:
                    assert result == (_native_gate.STAGE_EXEC, errno.ENOENT)
                    assert child.wait() == 127
                else:
                    assert result is None
                    assert len(said) == 4, said  # three, and that of the look itself
                    assert child.wait() == 0
            finally:
                child.end()

    in_threads(6, act)


def test_result_waits_no_longer_than_told_and_is_ended_by_a_signal(child: Child) -> None:
    child.fork([TRUE])
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        child.gate.result(SECOND // 10)
    assert 0.1 <= time.monotonic() - began < 1
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    pending = signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(InterruptedError):
            child.gate.result(int(DEADLINE) * SECOND)
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *pending)


def test_a_server_that_listens_is_reached_through_the_socket_it_was_given(child: Child) -> None:
    code = """
        import socket
        peer, _ = socket.socket(fileno=3).accept()
        peer.sendall(b"hello")
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-S", "-c", textwrap.dedent(code)]
        assert child.start(command, listen_fd=server.fileno()) is None
        address = server.getsockname()
    with socket.create_connection(address, timeout=DEADLINE) as peer:
        assert peer.recv(100) == b"hello"
    assert child.wait() == 0
