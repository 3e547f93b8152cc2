# SPDX-License-Identifier: MIT
"""Holding back interrupts while something is put in order that must not be left half done."""

from __future__ import annotations

import signal


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

__all__ = ["Relay", "unignore"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Relay:
    """Stands before the handlers of SIGINT, SIGTERM, SIGHUP: holds back what comes, or hands it on.

    Until it holds, one that interrupts makes it hold: those that come together are handled one
    right after the other, and the second would interrupt an `except` before its first step.

    Only signals with a Python handler are relayed, for only those interrupt Python code; and only
    the main thread is interrupted by any, so in others there is nothing to do.

    Python looks for signals at the entry of each function.  So whoever began calls `end` in a
    `finally`, and again in a `finally` of that; a `with` would not do, for its `__exit__` is one.
    """

    __slots__ = ("_before", "_came", "_holds", "_relayed")

    def __init__(self) -> None:
        self._before: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._relayed: list[int] = []
        self._came: list[int] = []
        self._holds = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Be the handler."""
        if self._holds:
            self._came.append(number)
            return
        self._holds = True
        self._before[number](number, frame)
        self._holds = False  # it interrupted nothing
        self._deliver()

    def begin(self) -> None:
        """Stand there from now on."""
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                self._before[number] = handler
                self._relayed.append(number)
                try:
                    signal.signal(number, self)
                except ValueError:
                    if len(self._relayed) > 1 or signal.getsignal(number) is self:
                        raise  # of a handler
                    self._relayed.clear()  # not the main thread; to import threading takes longer
                    return

    def hold(self) -> None:
        """Hold back what comes; so it does too if an interrupt comes in the way of this."""
        self._holds = True

    def end(self) -> None:
        """Put the handlers back and deliver what came; nothing to do if that was done."""
        self._holds = True
        try:
            self._put_back()
        finally:
            # Those that are back can interrupt this.
            try:
                self._put_back()
            finally:
                try:
                    self._put_back()
                finally:
                    self._holds = False
                    self._deliver()

    def _put_back(self) -> None:
        while self._relayed:
            number = self._relayed[-1]
            handler = self._before[number]
            if signal.getsignal(number) is self:
                signal.signal(number, handler)
            self._relayed.pop()

    def _deliver(self) -> None:
        if self._came:
            try:
                signal.raise_signal(self._came.pop(0))
            finally:
                self._deliver()


def unignore() -> None:
    """Give the signals that Python ignores their default again, before this process execs."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
