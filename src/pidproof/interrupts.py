# SPDX-License-Identifier: MIT
"""Holding back interrupts while something is put in order that must not be left half done."""

from __future__ import annotations

import contextlib
import signal


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["held_back", "unignore"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Delay SIGINT, SIGTERM and SIGHUP until the block is done, then deliver what came.

    Only signals with a Python handler are delayed, for only those interrupt Python code; and only
    the main thread is interrupted by any, so in others there is nothing to do.
    """
    came: list[int] = []
    before = {}
    try:
        try:
            for number in _SIGNALS:
                handler = signal.getsignal(number)
                if callable(handler):
                    before[number] = handler
                    signal.signal(number, lambda number, _frame: came.append(number))
        except ValueError:
            before.clear()  # not the main thread: nothing was changed, nothing is to be put back
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for arrived in came:
            signal.raise_signal(arrived)


def unignore() -> None:
    """Give the signals that Python ignores their default again, before this process execs."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
