# SPDX-License-Identifier: MIT
"""Processes with a pid of our choice: the reuse that takes a busy machine days, at once."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from outside import HAS_PROC, stat


if TYPE_CHECKING:
    from collections.abc import Iterator

# PyDLL keeps the GIL: no fork handler runs here, so a child could not get it again.
_libc = ctypes.PyDLL(None, use_errno=True)
_SYS_CLONE3 = 435
_PR_SET_PDEATHSIG = 1
_PF_EXITING = 0x4  # of include/linux/sched.h: field 9 of /proc/pid/stat
_PF_SIGNALED = 0x400
_TICK = 1 / os.sysconf("SC_CLK_TCK")


def clone3_set_tid(pid: int) -> int:
    """Fork with a chosen pid; no fork handlers run, so the child may only sleep or exit."""
    tid = (ctypes.c_int32 * 1)(pid)
    # struct clone_args, from flags to cgroup
    fields = (0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(tid), 1, 0)
    arguments = struct.pack("=11Q", *fields)
    buffer = ctypes.create_string_buffer(arguments, len(arguments))
    child = int(_libc.syscall(_SYS_CLONE3, buffer, ctypes.c_size_t(len(arguments))))
    if child < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return child


def _sleep_for_ever(parent: int) -> NoReturn:
    if HAS_PROC:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
    while True:
        _libc.pause()


def can_choose_pids() -> bool:
    """Say whether this process may create one with a pid of its choice."""
    if not HAS_PROC:  # there the number of the call is that of another
        return False
    try:
        end(born(_free_pid()))
    except OSError:
        return False
    return True


def _free_pid() -> int:
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)
    return child


def born(pid: int | None = None) -> int:
    """Start a process that does nothing, with this pid if one is given, and return its pid."""
    parent = os.getpid()
    child = os.fork() if pid is None else clone3_set_tid(pid)
    if child == 0:
        _sleep_for_ever(parent)
    return child


def end(pid: int) -> None:
    """Kill and reap a child."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def start_of_tick() -> None:
    """Return just after a clock tick began: what follows at once happens within that tick."""
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    time.sleep(_TICK - now % _TICK + 0.0003)


def next_tick() -> None:
    """Return in another clock tick than the present one."""
    before = time.clock_gettime(time.CLOCK_BOOTTIME) // _TICK
    while time.clock_gettime(time.CLOCK_BOOTTIME) // _TICK <= before + 1:
        time.sleep(_TICK)


class Bystander:
    """A stranger who got the pid of a process that was reaped; no signal may reach him.

    He blocks all signals, so that each stays pending and is seen from outside; the two that cannot
    be blocked end or stop him.  `leads`: in a session and process group of his own, with a member,
    so that a signal to the group of that number is seen as well.
    """

    def __init__(self, pid: int, *, leads: bool = False) -> None:
        self.pid = pid
        self._unblockable: set[str] = set()
        parent = os.getpid()
        out, into = os.pipe()
        # Blocked before he exists: there is no moment at which he would miss one.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            if clone3_set_tid(pid) == 0:
                _stand_by(parent, into, leads)
            os.close(into)
            into = -1
            self.member = struct.unpack("=i", os.read(out, 4))[0]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(out)
            if into >= 0:
                os.close(into)

    def signals(self) -> list[str]:
        """Name the signals that have reached him or his member."""
        if not self._unblockable:
            try:
                _, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:  # and whoever took him for his own has reaped him
                status = signal.SIGKILL
            if status:
                self._unblockable.add("SIGSTOP" if os.WIFSTOPPED(status) else "SIGKILL")
        found = set(self._unblockable)
        for pid in filter(None, (self.pid, self.member)):
            found |= _pending(pid) if "SIGKILL" not in self._unblockable else set()
        if found & {"SIGKILL", "SIGSTOP"}:
            found.discard("SIGCHLD")  # it is how he hears, sooner or later, of his member
        return sorted(found)

    def end(self) -> None:
        """Kill and reap him; his member, who is killed too, becomes the subreaper's to reap."""
        if "SIGKILL" not in self._unblockable:
            if self.member:
                os.kill(self.member, signal.SIGKILL)
            end(self.pid)
            self._unblockable.add("SIGKILL")


def _stand_by(parent: int, into: int, leads: bool) -> NoReturn:
    member = 0
    if leads:
        os.setsid()
        myself = os.getpid()
        member = int(_libc.fork())
        if member == 0:
            _sleep_for_ever(myself)
    os.write(into, struct.pack("=i", member))
    _sleep_for_ever(parent)


def name_of(number: int) -> str:
    """Return the name of a signal; real-time ones have none in Python."""
    return signal.Signals(number).name if number < signal.SIGRTMIN else f"SIG{number}"


def _pending(pid: int) -> set[str]:
    """Name what is pending for a process; SIGKILL if it is dying or dead, SIGSTOP if stopped."""
    try:
        with open(f"/proc/{pid}/status") as file:
            status = dict(line.rstrip().partition(":\t")[::2] for line in file)
        # After what is pending: a signal that has been taken since shows in the state.
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return {"SIGKILL"}
    if fields[0] in "ZX" or int(fields[6]) & (_PF_EXITING | _PF_SIGNALED):
        return {"SIGKILL"}
    mask = int(status["SigPnd"], 16) | int(status["ShdPnd"], 16)
    found = {name_of(n) for n in signal.valid_signals() if mask >> (n - 1) & 1}
    return found | ({"SIGSTOP"} if fields[0] == "T" else set())


@contextmanager
def bystander(pid: int) -> Iterator[None]:
    """Have one there; fails if a signal has reached him."""
    stranger = Bystander(pid)
    try:
        yield
        assert stranger.signals() == [], "a signal reached the bystander"
    finally:
        stranger.end()


def start_ticks(pid: int) -> int:
    """Return when a process was started, in clock ticks since boot: field 22 of its stat."""
    line = stat(pid)
    assert line is not None
    return line.start
