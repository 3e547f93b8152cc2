# SPDX-License-Identifier: MIT
"""The spawn lock: who may start, stop or replace the server of a key.

An O_EXCL file names the holder.  Every look at it that leads to an act happens inside the guard,
an flock on the directory that the kernel drops with its holder; and as long as the lock is held
its own inode is flocked too.  So a half-written file can only be a dead creator's, two cannot both
take over one stale lock, and a holder that was deposed changes nothing when it wakes up.
"""

from __future__ import annotations

import contextlib
import os
import time

from pidproof import _native, _native_lock
from pidproof.errors import InvalidArgument, LockLost
from pidproof.lock import failing
from pidproof.lock.holder import Holder
from pidproof.lock.waiting import PlaceInLine
from pidproof.process.identity import ProcessIdentity
from pidproof.process.liveness import Liveness, liveness_of


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

__all__ = ["SpawnLock"]

# How long the way out of a lock may wait for the guard before it drops the life flock alone.
RELEASE_TIMEOUT = 5.0
# The least that a try waits for the guard: those inside need microseconds, and many whose time
# runs out together must not take one another for stopped.
GUARD_PATIENCE = 0.05
_SECOND = 1_000_000_000
_FOR_EVER = 9e9  # seconds; their nanoseconds still fit an int64_t


def _nanoseconds(seconds: float) -> int:
    return int(min(seconds, _FOR_EVER) * _SECOND)


class SpawnLock:
    """The lock of one directory: between processes, threads and pid namespaces of a machine.

        with SpawnLock(directory, timeout=30):
            ...

    Guaranteed: among live processes at most one passes `fenced()`; a holder that died, whenever
    and however, delays nobody.  Not guaranteed: that a holder which outlived its own `hold` is
    still the holder; `fenced()` tells.  Not reentrant.  A fork of the holder does not hold it.

    Args:
        directory: an existing directory of this user, as a path or an open descriptor.
        timeout: seconds to wait at most.
        hold: seconds after which others may depose us.
        purpose: what for, in lower-case letters and dashes; shown to those who wait.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | int,
        *,
        timeout: float = 60.0,
        hold: float = 120.0,
        purpose: str = "hold",
    ) -> None:
        self._opened: list[int] = []
        ok = purpose.replace("-", "a").isalpha() and purpose.isascii() and purpose.islower()
        if not ok or len(purpose) > 32:
            raise InvalidArgument(f"purpose {purpose!r}: at most 32 lower-case letters and dashes")
        self._where = directory
        self._timeout = timeout
        self._hold = hold
        self._purpose = purpose.encode()
        self._lock = _native_lock.Lock()
        self._place: PlaceInLine | None = None
        self._deadline = 0.0
        self._section: object = None
        self.found: str | None = None
        """How the lock was found: free, half-written, dead, abandoned or aged."""

    # ------------------------------------------------------------------------------- acquire

    def acquire(
        self, *, timeout: float | None = None, satisfied: Callable[[], bool] | None = None
    ) -> bool:
        """Wait in line for the lock and take it.

        Args:
            timeout: seconds, in place of the one given at first.  0: take it only if it is free
                just now, whoever stands in line.
            satisfied: asked whenever the lock was seen held and after each wake, at the head of
                the line, so it must be quick.  Once it says yes, nothing is acquired and the
                answer is False.

        Raises:
            LockTimeout: with the holder.  The lock is then not ours.
            StateError: the directory or the file cannot be used.
        """
        if self._lock.held:
            raise RuntimeError("this SpawnLock is held already; it is not reentrant")
        limit = self._timeout if timeout is None else timeout
        deadline = time.monotonic() + limit
        try:
            try:
                return self._stand_in_line(deadline, limit, satisfied)
            except BaseException:
                self._give_up()
                raise
        except BaseException:
            self._give_up()  # once more: an interrupt may have cut the first time short
            raise

    def _stand_in_line(
        self, deadline: float, limit: float, satisfied: Callable[[], bool] | None
    ) -> bool:
        self._open_directory()
        acquired = self._wait_for_it(deadline, limit, satisfied)
        self._leave_line()
        if not acquired:
            self._close()
        return acquired

    def _give_up(self) -> None:
        self._leave_line()
        self.release()

    def _wait_for_it(
        self, deadline: float, limit: float, satisfied: Callable[[], bool] | None
    ) -> bool:
        # Whoever gives it up and wants it again at once would have it long before the head of the
        # line is awake.
        in_line = limit > 0 and self._is_waited_for()
        while in_line or not self._try(deadline, limit):
            in_line = False
            if satisfied is not None and satisfied():
                return False
            self._wait(deadline, limit)
            if satisfied is not None and satisfied():
                return False
        return True

    def _is_waited_for(self) -> bool:
        try:
            if not self._lock.has_line(self._directory_fd):
                return False
            self._lock.look(self._directory_fd)
        except OSError:
            return False  # what is wrong there is the error of those who have to wait
        return True

    def _leave_line(self) -> None:
        if self._place is not None:
            self._place.leave()
            _of_this_process.discard(self._place)
            self._place = None

    def _open_directory(self) -> None:
        _of_this_process.add(self._lock.copies)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        # In one call: between two, an interrupt would lose the descriptor.
        try:
            if isinstance(self._where, int):
                self._opened.extend(map(os.dup, (self._where,)))
            else:
                self._opened.extend(map(os.open, (self._where,), (flags,)))
        except OSError as error:
            raise failing.unusable(error, self._where) from error

    @property
    def _directory_fd(self) -> int:
        return self._opened[0] if self._opened else -1

    def _try(self, deadline: float, limit: float) -> bool:
        """Take the lock if it is to be had; InterruptedError means a signal's handler has run."""
        while True:
            now = time.monotonic()
            left = _nanoseconds(max(deadline - now, GUARD_PATIENCE))
            try:
                found = self._lock.try_acquire(
                    self._directory_fd, self._purpose, _nanoseconds(self._hold), left
                )
            except InterruptedError:
                continue
            except TimeoutError as error:
                raise failing.guard_is_stuck(limit, self._directory_fd) from error
            except OSError as error:
                raise failing.unusable(error, self._where) from error
            self.found = _native_lock.FOUND.get(found)
            self._deadline = now + self._hold
            return found > 0

    def _wait(self, deadline: float, limit: float) -> None:
        """Sleep until it makes sense to try again."""
        if time.monotonic() >= deadline:
            raise failing.timed_out(limit, self._seen())
        holder = self._seen()
        # Woken for the moment too at which the holder may be deposed.
        until = min(deadline, holder.deadline + 0.001) if holder else deadline
        if self._place is None:
            self._place = PlaceInLine(self._directory_fd)
            _of_this_process.add(self._place)
        try:
            self._place.sleep(until - time.monotonic(), self._is_held)
        except OSError as error:
            raise failing.unusable(error, self._where) from error

    def _is_held(self) -> bool:
        """Look without guard: is there a lock whose holder is not proven dead?"""
        seen = self._lock.look(self._directory_fd)
        holder = self._seen() if seen else None
        return seen and (holder is None or holder.liveness is not Liveness.GONE)

    def _seen(self) -> Holder | None:
        seen = self._lock.holder()
        if seen is None:
            return None
        native, since, deadline, purpose, liveness, reason = seen
        return Holder(
            identity=ProcessIdentity(native),
            purpose=purpose,
            since=since / _SECOND,
            deadline=deadline / _SECOND,
            liveness=liveness_of(liveness),
            reason=_native.reason_text(reason),
        )

    # ---------------------------------------------------------------------- fence and release

    @property
    def held(self) -> bool:
        """Whether this object holds the lock, as far as it knows; `fenced()` makes sure."""
        return self._lock.held and self._lock.owner == os.getpid()

    @property
    def is_overdue(self) -> bool:
        """Whether others may have taken it by now.  Opens nothing, and says nothing of the next
        moment: only for where `fenced()` cannot be had."""
        return time.monotonic() >= self._deadline

    @contextlib.contextmanager
    def fenced(self, *, timeout: float = RELEASE_TIMEOUT) -> Iterator[None]:
        """Hold the guard around an act that only the holder may do.

        Inside, the lock is ours for certain, and nobody can take it.  Keep it to a few system
        calls: everyone else who comes to this directory waits.  Not one inside another.

        Raises:
            LockLost: another has taken the lock; the act must not be done.
            LockTimeout: the process inside the guard is stopped.
        """
        section = self._section = object()
        try:
            self._enter_guard(timeout)
            try:
                mine = self._lock.mine(self._directory_fd)
            except OSError as error:
                raise failing.unusable(error, self._where) from error
            if not mine:
                raise LockLost(
                    "the spawn lock was taken over by another process past our deadline; "
                    "nothing was changed",
                    remedy="run the command again",
                )
            yield
        finally:
            # Not of the next one, if an interrupt has kept this one from being left in time.
            if self._section is section:
                self._lock.leave_guard()

    def _enter_guard(self, timeout: float) -> None:
        if not self.held:
            raise RuntimeError("this SpawnLock is not held")
        deadline = time.monotonic() + timeout
        while True:
            left = _nanoseconds(deadline - time.monotonic())
            try:
                self._lock.enter_guard(self._directory_fd, left)
            except InterruptedError:
                continue
            except TimeoutError as error:
                raise failing.guard_is_stuck(timeout, self._directory_fd) from error
            except OSError as error:
                raise failing.unusable(error, self._where) from error
            return

    def release(self) -> bool:
        """Give the lock up; returns whether it was still ours.  Nothing to do if it is not held.

        Whatever goes wrong, the life flock is dropped, which lets the next one in.
        """
        deadline = time.monotonic() + RELEASE_TIMEOUT
        try:
            self._lock.leave_guard()  # still held only if an interrupt cut `fenced` short
            while True:
                left = _nanoseconds(deadline - time.monotonic())
                try:
                    return self._lock.release(self._directory_fd, left)
                except InterruptedError:
                    continue
                except OSError:
                    # The guard or the directory is not to be had; the life flock is dropped all
                    # the same, and the next one finds the file abandoned.
                    return False
        finally:
            if not self._lock.held:
                self._close()

    def _close(self) -> None:
        opened, self._opened = self._opened, []
        for fd in opened:
            os.close(fd)
        _of_this_process.discard(self._lock.copies)

    def __enter__(self) -> SpawnLock:
        try:
            self.acquire()
            return self
        except BaseException:
            self.release()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.release()
        except BaseException:
            self.release()  # an interrupt
            raise


# What may hold a descriptor just now.  A fork copies those, whatever other threads are doing, and
# must not keep a place in line, the guard or the lock alive past its parent.
_of_this_process: set[_native_lock.LockCopies | PlaceInLine] = set()


def _forget_all() -> None:
    for held in _of_this_process:
        held.forget()
    _of_this_process.clear()


os.register_at_fork(after_in_child=_forget_all)
