# SPDX-License-Identifier: MIT
"""Data on standard output, words on standard error."""

from __future__ import annotations

import sys
import time

from pidproof.cli.codes import status_of
from pidproof.errors import Error


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Progress", "print_json", "print_line", "print_table", "show_error", "words"]

SCHEMA = 1


def print_line(text: object) -> None:
    """Print a line in one write: print() makes two of it where standard output has no buffer, and
    launchers that share a file would tear each other's lines apart."""
    print(f"{text}\n", end="")


def print_json(data: Mapping[str, object]) -> None:
    """Print one JSON object on one line, with the schema number first."""
    import json

    print_line(json.dumps({"schema": SCHEMA, **data}, default=_plain))


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return str(value)


def words(text: str) -> None:
    """Print a line for people; nobody may be there to read it, which is no reason to fail."""
    try:
        print(f"{printable(text)}\n", end="", file=sys.stderr)
    except OSError:
        return


def printable(text: str) -> str:
    """Return text that cannot steer a terminal: it may come from another's log or command line."""
    return "".join(c if c.isprintable() else " " for c in text)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns, with a header on a terminal only; one line a row, so that scripts can read."""
    if sys.stdout.isatty():
        rows = [header, *rows]
    if not rows:
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    for row in rows:
        cells = [printable(cell).ljust(width) for cell, width in zip(row, widths, strict=True)]
        print_line("  ".join(cells).rstrip())


def show_error(error: Error, *, as_json: bool) -> int:
    """Show what was found, what was not done and what to do; return the exit status."""
    status = status_of(error)
    tail = list(getattr(error, "log_tail", None) or [])
    notes = list(getattr(error, "__notes__", []))
    if as_json:
        print_json(
            {
                "error": {
                    "kind": type(error).__name__,
                    "message": error.message,
                    "remedy": error.remedy,
                    "exit_status": status,
                    "log": getattr(error, "log", None),
                    "log_tail": tail,
                    "notes": notes,
                }
            }
        )
        return status
    words(f"pidproof: {error.message}")
    for note in notes:
        words(f"  {note}")
    if tail:
        words(f"  last lines of {getattr(error, 'log', 'its log')}:")
        for line in tail:
            words(f"  | {line}")
    if error.remedy:
        words(f"  try: {error.remedy}")
    return status


class Progress:
    """One line on a terminal that tells what takes long, gone when it is over."""

    def __init__(self, *, quiet: bool, verbose: bool) -> None:
        self._live = sys.stderr.isatty() and not quiet and not verbose
        self._verbose = verbose
        self._began = time.monotonic()
        self._shown = False
        self._last = ""

    def __call__(self, text: str) -> None:
        if self._verbose and text != self._last:
            words(f"pidproof: {text}")
        elif self._live and time.monotonic() - self._began > 0.3:
            self._shown = True
            self._write(f"\r\x1b[K{printable(text[:100])} ...")
        self._last = text

    def done(self) -> None:
        """Wipe the line."""
        if self._shown:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        try:
            print(text, end="", file=sys.stderr, flush=True)
        except OSError:
            return  # the terminal has gone; the start goes on
