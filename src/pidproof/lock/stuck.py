# SPDX-License-Identifier: MIT
"""Who is inside the guard and does not leave it: asked only once a wait for it was in vain."""

from __future__ import annotations

import os

from pidproof import _native
from pidproof.errors import IdentityUnknown, ProcessGone
from pidproof.process.identity import identify


__all__ = ["who_is_inside"]


def who_is_inside(directory_fd: int) -> tuple[str, str]:
    """Return in words who holds the guard of a directory, and what to do about it."""
    pid = _holder_of_flock(directory_fd)
    if pid is None:
        return "the process inside it is not named by the system", (
            "find it with `lslocks`, or `lsof` on macOS, and continue or end it"
        )
    remedy = f"continue that process (kill -CONT {pid}) or end it (kill -KILL {pid})"
    try:
        command, state = identify(pid).command_line(), _native.status(pid)[0]
    except ProcessGone:
        # It forked inside the guard, and died.
        return f"process {pid} entered it and is gone, and a fork of it holds it still", (
            "end what that process has started"
        )
    except (IdentityUnknown, OSError):
        return f"process {pid}, which cannot be looked into, is inside it", remedy
    stopped = "stopped" if state in {"T", "t"} else f"in state {state}"
    return f"process {pid} ({command}) is inside it, {stopped}", remedy


def _holder_of_flock(fd: int) -> int | None:
    """Return the pid that proc_locks(5) has for the flock on an open file; None if not told."""
    info = os.fstat(fd)
    file_id = f"{os.major(info.st_dev):02x}:{os.minor(info.st_dev):02x}:{info.st_ino}"
    try:
        with open("/proc/locks", encoding="ascii") as file:
            # 1: FLOCK ADVISORY WRITE 4711 08:01:1234 0 EOF; those who wait have an arrow there.
            lines = [line.split() for line in file]
    except (OSError, UnicodeDecodeError):
        return None
    for line in lines:
        if len(line) > 5 and line[1] == "FLOCK" and line[5] == file_id and int(line[4]) > 0:
            return int(line[4])
    return None
