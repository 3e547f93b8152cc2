# SPDX-License-Identifier: MIT
"""What the tests share: child processes, waits with a deadline, capabilities."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

from outside import HAS_PROC, children, native_threads, open_fds, stat
from pidproof import _native


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import FrameType

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
# Far more than anything takes here: a test that reaches it has failed.
DEADLINE = 20.0
NOBODY = 65534
TRUE = "/bin/true" if os.path.exists("/bin/true") else "/usr/bin/true"
# The first line of a program that looks at its own descriptors and threads.
SEE = (
    f"import sys; sys.path.insert(0, {str(TESTS)!r}); from outside import native_threads, open_fds"
)
HAVE = _native.features()
# The values of PIDPROOF_WITHOUT that turn this kernel into one of 6.9, of 5.3 and of 4.18; and that
# of macOS into one before 14.2, and into one that keeps its numbers and events to itself.
KERNELS = (
    {"newest": "", "without-audit": "audit", "without-unique": "unique", "without-kqueue": "kqueue"}
    if "kqueue" in HAVE
    else {"newest": "", "without-pidfs": "pidfs", "without-pidfd": "pidfd"}
)
# macOS does not say whether a process sleeps.
ASLEEP = "S" if "proc" in HAVE else "R"
WITHOUT_EVENTS = {"without-pidfd", "without-kqueue"}


def python(code: str, *arguments: str) -> list[str]:
    """Return the command that runs `code` in an interpreter like this one, without a buffer."""
    return [sys.executable, "-u", "-c", textwrap.dedent(code), *arguments]


def wait_until(predicate: Callable[[], object], deadline: float = DEADLINE) -> None:
    """Wait for something that has no event of its own; fails when it does not come."""
    end = time.monotonic() + deadline
    while not predicate():
        assert time.monotonic() < end, f"not within {deadline} s"
        time.sleep(0.001)


@contextlib.contextmanager
def signal_at_entry(owner: type, name: str, number: int) -> Iterator[None]:
    """Let a signal come at the entry of a method, the first time it is called."""
    code = getattr(owner, name).__code__

    def trace(frame: FrameType, _event: str, _argument: object) -> None:
        if frame.f_code is code:
            sys.settrace(None)
            signal.raise_signal(number)

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


class Leftovers:
    """What this process holds now, to be compared with what it holds later."""

    def __init__(self) -> None:
        self.fds = open_fds()
        self.children = children()
        self.threads = native_threads()

    def check(self) -> None:
        """Fail if there is anything that was not there before."""
        # A thread is joined before the kernel takes it off the list.
        wait_until(lambda: native_threads() <= self.threads, 5)
        new = {fd: what for fd, what in open_fds().items() if self.fds.get(fd) != what}
        assert not new, f"descriptors left open: {new}"
        more = set(children()) - set(self.children)
        assert not more, f"child processes left: {more}"


class Spawn:
    """Starts child processes, and ends and reaps them."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []

    def __call__(
        self,
        command: Sequence[str | bytes | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        **options: Any,
    ) -> subprocess.Popen[bytes]:
        """Start a program with pipes to its standard input and output."""
        options.setdefault("stdin", subprocess.PIPE)
        options.setdefault("stdout", subprocess.PIPE)
        full = None if env is None else {**os.environ, **env}
        process = subprocess.Popen(command, env=full, **options)
        self._processes.append(process)
        return process

    def sleeper(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a process that does nothing, with `arguments` in its argv."""
        process = self(
            python("print(flush=True); __import__('signal').pause()", *arguments), **options
        )
        assert read_line(process) == ""
        return process

    def end(self) -> None:
        """SIGTERM, then SIGKILL, then reap, whatever state they are in."""
        for process in self._processes:
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            if process.poll() is None:
                process.terminate()
        for process in self._processes:
            try:
                process.wait(0.5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(DEADLINE)
        self._processes.clear()


def wait_for_exit(pid: int) -> None:
    """Wait for the end of a child of ours, and do not reap it."""
    if hasattr(os, "waitid"):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    else:  # on macOS it came with Python 3.13
        wait_until(lambda: (line := stat(pid)) is not None and line.has_exited)


def read_line(process: subprocess.Popen[bytes], deadline: float = DEADLINE) -> str:
    """Return the next line of the process's output without its end."""
    assert process.stdout is not None
    return read_line_of(process.stdout, deadline)


def read_line_of(stream: IO[bytes], deadline: float = DEADLINE) -> str:
    """Return the next line; byte by byte, so that nothing hides in a buffer from `select`."""
    end = time.monotonic() + deadline
    line = b""
    while not line.endswith(b"\n"):
        left = end - time.monotonic()
        ready = select.select([stream], [], [], max(left, 0))[0]
        assert ready, f"no line within {deadline} s, only {line!r}"
        byte = os.read(stream.fileno(), 1)
        assert byte, f"end of output after {line!r}"
        line += byte
    return line[:-1].decode()


def write_line(process: subprocess.Popen[bytes], line: str) -> None:
    """Send a line to the process's standard input."""
    assert process.stdin is not None
    process.stdin.write(line.encode() + b"\n")
    process.stdin.flush()


def run(command: Sequence[str], **options: Any) -> str:
    """Run a program to its end and return its output; fails if it fails."""
    done = subprocess.run(
        command,
        capture_output=True,
        timeout=DEADLINE * (3 if SANITIZED else 1),
        check=False,
        text=True,
        **options,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


class Actor:
    """A process that takes and releases a spawn lock on command (tests/lock_actor.py)."""

    def __init__(
        self,
        spawn: Spawn,
        directory: Path,
        *,
        hold: float = 120.0,
        purpose: str = "test",
        prefix: Sequence[str] = (),
    ) -> None:
        program = [sys.executable, str(TESTS / "lock_actor.py")]
        self.process = spawn([*prefix, *program, str(directory), str(hold), purpose])
        self.pid = int(self.answer())

    def tell(self, command: str) -> None:
        """Send a command and do not wait for its end."""
        write_line(self.process, command)

    def answer(self, deadline: float = DEADLINE) -> str:
        """Return the answer to the oldest command that was not answered yet."""
        return read_line(self.process, deadline)

    @property
    def output(self) -> IO[bytes]:
        """The stream of its answers, to be selected on."""
        assert self.process.stdout is not None
        return self.process.stdout

    def ask(self, command: str) -> str:
        """Send a command and return its answer."""
        self.tell(command)
        return self.answer()

    def kill(self) -> None:
        """SIGKILL and reap."""
        self.process.kill()
        self.process.wait(DEADLINE)

    def is_asleep(self) -> bool:
        """Say whether its helper thread sleeps in flock: it stands in line."""
        return is_in_flock(self.pid, first_too=False)


def is_in_flock(pid: int, *, first_too: bool = True) -> bool:
    """Say whether a thread of a process sleeps in flock, perhaps the first one too."""
    if not HAS_PROC:  # nobody tells where a thread sleeps, and this one is about to
        return native_threads(pid) > 1
    with contextlib.suppress(FileNotFoundError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            if (first_too or int(task.name) != pid) and "flock" in _syscall_place(task):
                return True
    return False


def _syscall_place(task: Path) -> str:
    try:
        number = (task / "syscall").read_text().split()[0]
    except (OSError, IndexError):
        return ""
    # x86-64 and aarch64; elsewhere any sleep in a system call has to do.
    return "flock" if number in {"73", "32"} else ""


def in_threads(count: int, act: Callable[[int], None]) -> None:
    """Run `act(index)` in threads at once; raises the first of their errors."""
    errors: list[BaseException] = []

    def body(index: int) -> None:
        try:
            act(index)
        except BaseException as error:  # noqa: BLE001, RUF100 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=body, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert not any(thread.is_alive() for thread in threads)
    if errors:
        raise errors[0]


# ------------------------------------------------------------------------------- capabilities


def _works(*command: str) -> bool:
    """Say whether a command exists and succeeds."""
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@functools.cache
def _nobody_can_import() -> bool:
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return os.geteuid() == 0 and _works(*drop, *python("import pidproof._native"))


def without_capabilities(*names: str) -> list[str]:
    """Return what to put before a command to run it without these; nothing, unless we are root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--bounding-set", ",".join(f"-{name}" for name in names)]


def _can_choose_pids() -> bool:
    from pid_reuse import can_choose_pids

    return can_choose_pids()


def rounds_of(quick: int, more: int, most: int) -> list[Any]:
    """Return how often for `parametrize`: at every change, among the faults, and for a release."""
    return [
        quick,
        pytest.param(more, marks=pytest.mark.faults),
        pytest.param(most, marks=[pytest.mark.thorough, pytest.mark.timeout(600)]),
    ]


def needs_linux(what: str) -> pytest.MarkDecorator:
    """Skip on macOS, which has none of what is named here."""
    return pytest.mark.skipif(not HAS_PROC, reason=f"needs {what} (Linux)")


SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")
"""Under AddressSanitizer: all is several times slower, and freed memory is kept for a while."""
NEEDS_PIDFD = pytest.mark.skipif("pidfd" not in HAVE, reason="needs pidfds (Linux 5.3)")
NEEDS_PIDFS = pytest.mark.skipif("pidfs" not in HAVE, reason="needs pidfs (Linux 6.9)")
NEEDS_EVENT = pytest.mark.skipif(
    not HAVE & {"pidfd", "kqueue"}, reason="needs pidfds (Linux 5.3) or kqueues (macOS)"
)
NEEDS_UNIQUE = pytest.mark.skipif(
    not HAVE & {"pidfs", "unique"}, reason="needs a number of each process (Linux 6.9, macOS)"
)
NEEDS_PROC = pytest.mark.skipif("proc" not in HAVE, reason="needs /proc, as Linux has it")
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
NEEDS_FEWER_RIGHTS = pytest.mark.skipif(
    not _works(*without_capabilities("sys_ptrace"), "true"), reason="needs setpriv"
)
NEEDS_NOBODY = pytest.mark.skipif(
    not _nobody_can_import(), reason="needs root, setpriv and a package that all may read"
)
NEEDS_NAMESPACES = pytest.mark.skipif(
    "proc" not in HAVE or not _works("unshare", "-m", "-p", "-f", "--mount-proc", "true"),
    reason="needs unshare and the right to make namespaces",
)
NEEDS_TIME_NAMESPACES = pytest.mark.skipif(
    "proc" not in HAVE or not _works("unshare", "-T", "--boottime", "1000", "true"),
    reason="needs unshare with time namespaces (Linux 5.6)",
)
NEEDS_SET_TID = pytest.mark.skipif(
    not _can_choose_pids(),
    reason="needs clone3 with set_tid (Linux 5.5, CAP_CHECKPOINT_RESTORE)",
)
NEEDS_STRACE = pytest.mark.skipif(
    not _works("strace", "-o", "/dev/null", "true"), reason="needs strace and ptrace"
)
