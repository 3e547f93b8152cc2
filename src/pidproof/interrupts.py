# SPDX-License-Identifier: MIT
"""Holding back interrupts while something is put in order that must not be left half done."""

from __future__ import annotations

import contextlib
import signal


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Any

__all__ = ["held_back", "one_at_most", "unignore"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Relay:
    """Stands before the handlers of SIGINT, SIGTERM, SIGHUP: holds back what comes, or hands it on.

    Only signals with a Python handler are relayed, for only those interrupt Python code; and only
    the main thread is interrupted by any, so in others there is nothing to do.
    """

    __slots__ = ("_before", "_came", "_holds", "_once")

    def __init__(self, *, holds: bool, once: bool) -> None:
        self._before: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._came: list[int] = []
        self._holds = holds
        self._once = once

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._holds:
            self._came.append(number)
            return
        self._holds = self._once
        self._before[number](number, frame)
        self._holds = False  # it interrupted nothing

    def begin(self) -> None:
        """Stand there from now on."""
        try:
            for number in _SIGNALS:
                handler = signal.getsignal(number)
                if callable(handler):
                    self._before[number] = handler
                    signal.signal(number, self)
        except ValueError:
            self._before.clear()  # not the main thread: nothing was changed

    def end(self) -> None:
        """Deliver what came.  An interrupt in here leaves handlers that hand all on."""
        self._once = self._holds = False
        for number, handler in self._before.items():
            signal.signal(number, handler)
        for arrived in self._came:
            signal.raise_signal(arrived)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Delay SIGINT, SIGTERM and SIGHUP until the block is done, then deliver what came."""
    relay = _Relay(holds=True, once=False)
    try:
        relay.begin()
        yield
    finally:
        relay.end()


@contextlib.contextmanager
def one_at_most() -> Iterator[None]:
    """Let one of SIGINT, SIGTERM and SIGHUP interrupt the block; delay others until it is done.

    Those that come together are handled one right after the other: the second would interrupt an
    `except` or `finally` before its first step.
    """
    relay = _Relay(holds=False, once=True)
    try:
        relay.begin()
        yield
    finally:
        relay.end()


def unignore() -> None:
    """Give the signals that Python ignores their default again, before this process execs."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
