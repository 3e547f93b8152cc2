# SPDX-License-Identifier: MIT
"""Processes as seen from outside the package: in /proc on Linux, by psutil and /dev/fd on macOS.

Programs that tests start take it too, and are to start fast, some of them without site-packages:
what is not in every interpreter is loaded where it is used.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import stat as modes
import time
from typing import TYPE_CHECKING, NamedTuple


if TYPE_CHECKING:
    from collections.abc import Iterator

HAS_PROC = os.path.exists("/proc/self/stat")
"""Whether this is Linux.  The package may do without /proc there; `HAVE` of helpers.py tells."""
FDS = "/proc/self/fd" if HAS_PROC else "/dev/fd"
F_GETPATH = 50  # of <sys/fcntl.h> of macOS
MAXPATHLEN = 1024
EXEC_TIME = 5.0  # far more than it takes
# psutil has words for them.
LETTERS = {"zombie": "Z", "dead": "X", "stopped": "T", "tracing-stop": "t", "sleeping": "S"}


class Stat(NamedTuple):
    """What tells processes apart and together."""

    pid: int
    state: str
    parent: int
    session: int
    start: int
    """As the token of the process has it: in clock ticks since boot, on macOS in microseconds."""

    @property
    def has_exited(self) -> bool:
        """Say whether it is a zombie, or about to be none."""
        return self.state in "ZX"


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


# ------------------------------------------------------------------------------- other processes


def pids() -> list[int]:
    """List all processes that we may know of, zombies included."""
    if HAS_PROC:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    import psutil

    return list(psutil.pids())


def stat(pid: int) -> Stat | None:
    """Read a process's line in the process table; None if it has none."""
    if not HAS_PROC:
        return _stat_by_psutil(pid)
    try:
        text = _read(f"/proc/{pid}/stat").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return Stat(pid, fields[0], int(fields[1]), int(fields[3]), int(fields[19]))


def _stat_by_psutil(pid: int) -> Stat | None:
    import psutil

    try:
        process = psutil.Process(pid)
        # A process of which psutil knows nothing more is a zombie by now.
        state, parent = LETTERS.get(process.status(), "R"), process.ppid()
        start = round(process.create_time() * 1_000_000)
    except psutil.NoSuchProcess:
        return None
    try:
        session = os.getsid(pid)
    except OSError:  # it has exited, or is another's
        session = 0
    return Stat(pid, state, parent, session, start)


def argv(pid: int) -> list[bytes]:
    """Return the words of a process's command; none if it is gone or not ours to look into."""
    if HAS_PROC:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            return _read(f"/proc/{pid}/cmdline").split(b"\0")[:-1]
        return []
    import psutil

    with contextlib.suppress(psutil.Error):
        return [os.fsencode(word) for word in psutil.Process(pid).cmdline()]
    return []


def environ(pid: int) -> dict[bytes, bytes]:
    """Return a process's variables; none if it is gone or not ours to look into.

    macOS shows nobody those of the programs that come with it.
    """
    if HAS_PROC:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            entries = _environ_in_proc(pid).split(b"\0")
            return dict(entry.partition(b"=")[::2] for entry in entries)
        return {}
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        found = psutil.Process(pid).environ().items()
        return {os.fsencode(name): os.fsencode(value) for name, value in found}
    return {}


def _environ_in_proc(pid: int) -> bytes:
    """Read it once an exec is over: in its second half, when the descriptors marked close-on-exec
    are closed and others believe it to be over, a process has memory and no variables yet."""
    deadline = time.monotonic() + EXEC_TIME
    while True:
        text = _read(f"/proc/{pid}/environ")
        fields = [] if text else _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        # proc_pid_stat(5): vsize is field 23, env_end field 51.
        in_exec = len(fields) > 48 and fields[20] != b"0" and fields[48] == b"0"
        if not in_exec or time.monotonic() > deadline:
            return text
        os.sched_yield()


def files_of(pid: int) -> set[str]:
    """Return the paths of the regular files that a process has open."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        return {file.path for file in psutil.Process(pid).open_files()}
    return set()


def held_by(pid: int) -> set[str]:
    """Return what a process has open; of macOS the regular files alone."""
    if not HAS_PROC:
        return files_of(pid)
    folder = f"/proc/{pid}/fd"
    return {os.readlink(f"{folder}/{name}") for name in os.listdir(folder)}


def children(pid: int | None = None) -> list[int]:
    """Return the pids of the children of a process, zombies included; without a pid, of ours."""
    if not HAS_PROC:
        import psutil

        return [child.pid for child in psutil.Process(pid).children()]
    tasks, found = f"/proc/{pid or 'self'}/task", list[int]()
    for task in os.listdir(tasks):
        with contextlib.suppress(FileNotFoundError):
            found += map(int, _read(f"{tasks}/{task}/children").split())
    return found


def native_threads(pid: int | None = None) -> int:
    """Return how many threads a process has, those that Python does not know included."""
    if HAS_PROC:
        return len(os.listdir(f"/proc/{pid or 'self'}/task"))
    import psutil

    return int(psutil.Process(pid).num_threads())


# ----------------------------------------------------------------------------------- our own


def open_fds() -> dict[int, str]:
    """Return what each descriptor of this process is."""
    return dict(_open_fds())


def _open_fds() -> Iterator[tuple[int, str]]:
    for name in os.listdir(FDS):
        with contextlib.suppress(OSError):  # the listing's own
            yield int(name), what_is(int(name))


def what_is(fd: int) -> str:
    """Return the path of what a descriptor is, or its kind and a number."""
    if HAS_PROC:
        return os.readlink(f"{FDS}/{fd}")
    info = os.fstat(fd)
    if modes.S_ISSOCK(info.st_mode) or modes.S_ISFIFO(info.st_mode):
        kind = "socket" if modes.S_ISSOCK(info.st_mode) else "pipe"
        return f"{kind}:[{info.st_ino}]"
    try:
        path = fcntl.fcntl(fd, F_GETPATH, bytes(MAXPATHLEN))
    except OSError:  # its file has no name any more
        return f"file:[{info.st_dev}:{info.st_ino}]"
    return os.fsdecode(path.partition(b"\0")[0])


def resident() -> int:
    """Return the bytes of this process that are in memory."""
    if HAS_PROC:
        pages = int(_read("/proc/self/statm").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    import psutil

    return int(psutil.Process().memory_info().rss)


def signal_masks() -> tuple[int, int]:
    """Return the signals that this process ignores, and those that it blocks, as bits."""
    if HAS_PROC:
        lines = _read("/proc/self/status").decode().splitlines()
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        return int(status["SigIgn"], 16), int(status["SigBlk"], 16)
    ignored = [n for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN]
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return sum(1 << (n - 1) for n in ignored), sum(1 << (n - 1) for n in blocked)
