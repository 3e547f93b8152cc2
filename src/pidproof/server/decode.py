# SPDX-License-Identifier: MIT
"""Read JSON by the C scanner of the json package, without what that package imports first.

`import json` brings re, enum, functools and collections: half the time of a healthy `ensure`.
"""

from __future__ import annotations


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["decode"]


class _Context:
    """What the scanner asks of a json.JSONDecoder; these are its defaults."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = {"-Infinity": -float("inf"), "Infinity": float("inf"), "NaN": float("nan")}.get


def _scanner() -> Callable[[str, int], tuple[Any, int]] | None:
    try:
        from _json import make_scanner
    except ImportError:
        return None  # not CPython
    scan: Callable[[str, int], tuple[Any, int]] = make_scanner(_Context)  # type: ignore[arg-type]
    return scan


_scan = _scanner()


def decode(raw: bytes) -> Any:
    """Return what `json.loads` returns for UTF-8 without a byte order mark.

    Raises:
        ValueError: it is not JSON, or not UTF-8.
        RecursionError: it is nested too deep.
    """
    text = raw.decode().strip(" \t\n\r")
    if _scan is not None:
        try:
            value, end = _scan(text, 0)
        except (StopIteration, SystemError):
            pass  # the scanner finds the words for an error in a module that is not loaded
        else:
            if end == len(text):
                return value
    from json import loads

    return loads(text)
