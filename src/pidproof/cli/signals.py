# SPDX-License-Identifier: MIT
"""SIGTERM and SIGHUP end a command the way Ctrl-C does: by an exception that cleans up."""

from __future__ import annotations

import contextlib
import signal


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Ended", "end_on_signals"]


class Ended(BaseException):
    """A signal asked us to end.  `status` is the exit status that says so."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


def _raise(number: int, _frame: object) -> None:
    raise Ended(number)


@contextlib.contextmanager
def end_on_signals() -> Iterator[None]:
    """Raise `Ended` on SIGTERM and SIGHUP inside the block; one that is ignored stays ignored."""
    before = {}
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, _raise)
    except ValueError:
        pass  # called from another thread, which signals do not reach
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
