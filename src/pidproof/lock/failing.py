# SPDX-License-Identifier: MIT
"""The errors of the spawn lock, in words: who is in the way, and what to do about it."""

from __future__ import annotations

import os

from pidproof.errors import LockTimeout, StateError, UnsafePath


TYPE_CHECKING = False
if TYPE_CHECKING:
    from pidproof.lock.holder import Holder

__all__ = ["guard_is_stuck", "timed_out", "unusable"]


def timed_out(limit: float, holder: Holder | None) -> LockTimeout:
    """Return the error of a wait that was too short; it names the holder."""
    who = holder.describe() if holder else "a process that its file does not tell"
    pid = holder.identity.pid if holder else None
    return LockTimeout(
        f"the spawn lock was not to be had within {round(limit, 2):g} s: it is held by {who}",
        remedy=f"wait longer (--timeout), or look at that process: ps -fp {pid}"
        if pid
        else "wait longer (--timeout)",
        holder=holder,
    )


def guard_is_stuck(limit: float, directory_fd: int) -> LockTimeout:
    """Return the error of a guard that was not left; it names who is inside."""
    from pidproof.lock.stuck import who_is_inside

    who, remedy = who_is_inside(directory_fd)
    return LockTimeout(
        f"the guard of the spawn lock was not to be had within {round(limit, 2):g} s: {who}",
        remedy=remedy,
        holder=None,
    )


def unusable(error: OSError, where: str | os.PathLike[str] | int) -> StateError:
    """Return what the system said of the lock's directory as a typed error."""
    if isinstance(where, int):
        try:
            where = os.readlink(f"/proc/self/fd/{where}")
        except OSError:
            where = "the lock's directory"
    kind = UnsafePath if isinstance(error, PermissionError) else StateError
    return kind(
        f"{where}: {error.strerror}",
        remedy=f"look at it with `ls -la {where}`: it must be a directory, and what is named "
        "lock or turn in it a plain file, of your own",
        path=where,
        errno=error.errno,
    )
