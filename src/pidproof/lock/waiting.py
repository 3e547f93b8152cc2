# SPDX-License-Identifier: MIT
"""A place in the line for a lock, and the sleep in it."""

from __future__ import annotations

import select
import time

from pidproof import _native_lock


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PlaceInLine"]

# A sleep that long is cut to look around.  The kernel wakes the head of the line by itself; this
# only bounds what a fork of a dead waiter, which still holds its place, can cost the others.
LOOK_AROUND = 1.0


class PlaceInLine:
    """Stand in line for the lock of a directory, one sleep at a time.

    The head of the line wakes at the release of the lock, at the death and at the exec of its
    holder; the others sleep until they are the head.  A timeout costs the place.
    """

    __slots__ = ("_directory_fd", "_waiter")

    def __init__(self, directory_fd: int) -> None:
        self._directory_fd = directory_fd
        self._waiter = _native_lock.Waiter()

    def sleep(self, timeout: float, worth_it: Callable[[], bool]) -> bool:
        """Sleep until woken, for `timeout` seconds at most; True if woken.

        The place at the head is kept if it was reached.  `worth_it` is asked about once a second
        whether there is still something to wait for; if not, the sleep ends as if woken.
        """
        deadline = time.monotonic() + timeout
        try:
            self._waiter.start(self._directory_fd)
            poller = select.poll()
            poller.register(self._waiter.event_fd, select.POLLIN)
            while True:
                left = deadline - time.monotonic()
                slept = min(max(left, 0.0), LOOK_AROUND)
                if poller.poll(int(slept * 1000 + 0.999)):
                    return True
                if left <= LOOK_AROUND:
                    return False
                if not worth_it():
                    return True
        finally:
            self._waiter.stop(keep_turn=True)

    def leave(self) -> None:
        """Give the place up; nothing to do if there is none."""
        self._waiter.stop(keep_turn=False)

    def forget(self) -> None:
        """In a forked child: close our copies, leave the parent's place alone."""
        self._waiter.forget()
