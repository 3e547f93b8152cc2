# SPDX-License-Identifier: MIT
"""SIGTERM and SIGHUP end a command the way Ctrl-C does: by an exception that cleans up."""

from __future__ import annotations


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pidproof.cli.grammar import Options

    Run = Callable[[Options], int]

__all__ = ["Ended", "cleaning_up", "end_on_signals"]


class Ended(BaseException):
    """A signal asked us to end.  `status` is the exit status that says so."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


def _raise(number: int, _frame: object) -> None:
    raise Ended(number)


def end_on_signals() -> Callable[[], None]:
    """Raise `Ended` on SIGTERM and SIGHUP from now on; one that is ignored stays ignored.

    Returns what puts back what was there.
    """
    import signal

    before = {}
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, _raise)
    except ValueError:
        pass  # called from another thread, which signals do not reach

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    return put_back


def cleaning_up(run: Run) -> Run:
    """Wrap a command that holds what a sudden end would leave behind."""

    def command(options: Options) -> int:
        put_back = end_on_signals()
        try:
            return run(options)
        finally:
            put_back()

    return command
