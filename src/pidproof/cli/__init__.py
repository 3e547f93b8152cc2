# SPDX-License-Identifier: MIT
"""The command `pidproof`: parse, call, show, translate; it decides nothing."""

from __future__ import annotations

import sys


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from pidproof.cli.grammar import Options

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; errors are shown, never raised."""
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        # Around the imports and the parsing too, which are most of a short command's time.
        return 130
    finally:
        _drop_words()


def _run(argv: list[str]) -> int:
    from pidproof.cli.codes import status_of
    from pidproof.cli.parser import parse
    from pidproof.cli.show import show_error, words
    from pidproof.cli.signals import Ended
    from pidproof.errors import Error

    _replace_closed_streams()
    options = parse(argv)
    status = 0
    try:
        try:
            status = _command(options.run)(options)
        except Error as error:
            status = status_of(error)
            show_error(error, as_json=options.json)
        sys.stdout.flush()
    except Ended as ended:
        return ended.status
    except BrokenPipeError:
        # Whoever read our output has gone.  What was asked for is done.
        _silence(sys.stdout)
    except OSError as error:
        _silence(sys.stdout)
        words(f"pidproof: the output could not be written: {error.strerror}")
        return 74
    return status


def _command(name: str) -> Callable[[Options], int]:
    module, _, function = name.partition(":")
    # Not by importlib: its import costs more than what it would import here.
    __import__(f"pidproof.cli.{module}")
    command: Callable[[Options], int] = getattr(sys.modules[f"pidproof.cli.{module}"], function)
    return command


def _replace_closed_streams() -> None:
    """A stream that was closed for us takes what is said and drops it; print would use stdout."""
    import os

    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None:
            # What others wrote, in whatever encoding, is shown rather than failed on.
            stream.reconfigure(errors="backslashreplace")
        else:
            # Open as long as the process lives.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _drop_words() -> None:
    """Words that nobody took are no failure; Python would make status 120 of them at its end."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.flush()
    except OSError:
        _silence(sys.stderr)


def _silence(stream: TextIO) -> None:
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
