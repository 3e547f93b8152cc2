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


if TYPE_CHECKING:
    from collections.abc import Iterator

_libc = ctypes.CDLL(None, use_errno=True)
_SYS_CLONE3 = 435
_PR_SET_PDEATHSIG = 1
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


def _sleep_for_ever() -> NoReturn:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    while True:
        _libc.pause()


def can_choose_pids() -> bool:
    """Say whether this process may create one with a pid of its choice."""
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
    child = os.fork() if pid is None else clone3_set_tid(pid)
    if child == 0:
        _sleep_for_ever()
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


@contextmanager
def bystander(pid: int) -> Iterator[None]:
    """A stranger who got the pid of a process that was reaped; no signal may reach him."""
    born(pid)
    try:
        yield
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "a signal reached the bystander"
    finally:
        # Does nothing but reap if a signal ended him: the assertion above did that already.
        try:
            end(pid)
        except (ProcessLookupError, ChildProcessError):
            pass
