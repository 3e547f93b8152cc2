# SPDX-License-Identifier: MIT
"""The command `pidproof`: parse, call, show, translate; it decides nothing."""

from __future__ import annotations

import sys


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; errors are shown, never raised."""
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        # Around the imports and the parsing too, which are most of a short command's time.
        return 130


def _run(argv: list[str]) -> int:
    from pidproof.cli.parser import parse
    from pidproof.cli.show import show_error
    from pidproof.cli.signals import Ended, end_on_signals
    from pidproof.errors import Error

    options = parse(argv)
    try:
        with end_on_signals():
            status = int(options.run(options))
            sys.stdout.flush()
            return status
    except Error as error:
        return show_error(error, as_json=options.json)
    except Ended as ended:
        return ended.status
    except BrokenPipeError:
        # Whoever read our output has gone.  What was asked for is done.
        _silence_stdout()
        return 0


def _silence_stdout() -> None:
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
