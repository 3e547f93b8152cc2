# SPDX-License-Identifier: MIT
"""The C module as Python, the spawn lock and the wait for it."""

from __future__ import annotations

from pidproof._native import Identity, _check, _host_struct, _own_struct
from pidproof._pp import ffi, lib


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# How the lock was found; enum pp_found.
FOUND = {
    lib.PP_FOUND_FREE: "free",
    lib.PP_FOUND_HALF_WRITTEN: "half-written",
    lib.PP_FOUND_DEAD: "dead",
    lib.PP_FOUND_ABANDONED: "abandoned",
    lib.PP_FOUND_AGED: "aged",
}


class LockCopies:
    """What a fork has of a `struct pp_lock`.  Whoever keeps this does not keep the lock held."""

    __slots__ = ("_struct",)

    def __init__(self, struct: Any) -> None:
        self._struct = struct

    def forget(self) -> None:
        lib.pp_lock_forget(self._struct)


class Lock:
    """A `struct pp_lock` and the `struct pp_holder` last seen."""

    __slots__ = ("_holder", "_lock", "copies")

    def __init__(self) -> None:
        struct = ffi.new("struct pp_lock *", {"fd": -1, "guard": {"fd": -1}})
        self._lock = ffi.gc(struct, lib.pp_lock_drop)
        self.copies = LockCopies(struct)
        self._holder = ffi.new("struct pp_holder *")

    @property
    def held(self) -> bool:
        return bool(self._lock.fd >= 0)

    @property
    def owner(self) -> int:
        return int(self._lock.owner)

    @property
    def nonce(self) -> str:
        return ffi.string(self._lock.nonce).decode()

    def try_acquire(self, directory_fd: int, purpose: bytes, hold_ns: int, timeout_ns: int) -> int:
        """Return 0 if another holds it, else how it was found (a key of FOUND)."""
        result = lib.pp_lock_try(
            _host_struct(),
            _own_struct(),
            directory_fd,
            purpose,
            hold_ns,
            timeout_ns,
            self._lock,
            self._holder,
        )
        return _check(result, "spawn lock")

    def has_line(self, directory_fd: int) -> bool:
        """Say whether anybody stands in line for it.  Not while it is held."""
        result = lib.pp_lock_has_line(directory_fd, self._lock)
        return bool(_check(result, "line for the spawn lock"))

    def look(self, directory_fd: int) -> bool:
        """Read the lock file without guard; False: there is none."""
        result = lib.pp_lock_look(_host_struct(), directory_fd, self._holder)
        return bool(_check(result, "spawn lock"))

    def holder(self) -> tuple[Identity, int, int, str, int, int] | None:
        """Return identity, since, deadline, purpose, liveness and reason of the holder seen.

        Both times are nanoseconds of this process's CLOCK_MONOTONIC.  None: it could not be read.
        """
        if not self._holder.liveness:
            return None
        struct = ffi.new("struct pp_identity *", self._holder.identity)
        offset = _host_struct().monotonic_offset
        return (
            Identity(struct),
            self._holder.since + offset,
            self._holder.deadline + offset,
            ffi.string(self._holder.purpose).decode(),
            self._holder.liveness,
            self._holder.reason,
        )

    def enter_guard(self, directory_fd: int, timeout_ns: int) -> None:
        """Raises InterruptedError after a signal: its handler has run, call again."""
        guard = ffi.addressof(self._lock, "guard")
        _check(lib.pp_guard_enter(directory_fd, timeout_ns, guard), "flock of the guard")

    def leave_guard(self) -> None:
        """Nothing to do if it is not entered."""
        lib.pp_guard_leave(ffi.addressof(self._lock, "guard"))

    def mine(self, directory_fd: int) -> bool:
        return bool(_check(lib.pp_lock_mine(directory_fd, self._lock), "spawn lock"))

    def release(self, directory_fd: int, timeout_ns: int) -> bool:
        """Return whether it was still ours; InterruptedError: call again."""
        result = lib.pp_lock_release(directory_fd, timeout_ns, self._lock)
        return bool(_check(result, "release of the spawn lock"))


class Waiter:
    """A `struct pp_waiter`; its memory must outlive the helper thread, so it is freed last."""

    __slots__ = ("_struct",)

    def __init__(self) -> None:
        self._struct = ffi.new("struct pp_waiter *")
        for name in ("directory_fd", "event_fd", "notify_fd", "turn_fd", "life_fd", "stop_fd"):
            setattr(self._struct, name, -1)

    @property
    def event_fd(self) -> int:
        return int(self._struct.event_fd)

    def start(self, directory_fd: int) -> None:
        _check(lib.pp_waiter_start(directory_fd, self._struct), "wait for the spawn lock")

    def stop(self, *, keep_turn: bool) -> None:
        lib.pp_waiter_stop(self._struct, keep_turn)

    def forget(self) -> None:
        lib.pp_waiter_forget(self._struct)
