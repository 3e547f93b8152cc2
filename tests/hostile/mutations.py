# SPDX-License-Identifier: MIT
"""What becomes of a file: by a bad disk, a torn write, or somebody who knows the format."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FLIPS: dict[str, Callable[[int], int]] = {
    "lowest bit": lambda byte: byte ^ 0x01,
    "case": lambda byte: byte ^ 0x20,
    "highest bit": lambda byte: byte ^ 0x80,
    "NUL": lambda _: 0x00,
    "ones": lambda _: 0xFF,
}
# As JSON text, so that what Python would not write can stand there too.
VALUES = {
    "null": "null",
    "true": "true",
    "NaN": "NaN",
    "infinity": "-Infinity",
    "beyond a double": "1e999",
    "minus one": "-1",
    "zero": "0",
    "beyond 64 bits": "1" + "0" * 400,
    "longest number": "9" * 4300,
    "longer than any": "9" * 5000,
    "half a number": "0.5",
    "empty text": '""',
    "half a surrogate": '"\\ud800"',
    "NUL": '"a\\u0000b"',
    "long text": json.dumps("x" * 60_000),
    "empty list": "[]",
    "list of it": '["\\ud800", "a\\u0000", ""]',
    "empty object": "{}",
    "object of it": '{"\\ud800": "\\ud800", "=": "\\u0000"}',
    "deep": "[" * 900 + "]" * 900,
    "too deep": "[" * 20_000 + "]" * 20_000,
}


def flipped(content: bytes, flip: str) -> Iterator[tuple[int, bytes]]:
    """Yield the content with each byte changed in turn, where that is a change."""
    for at, byte in enumerate(content):
        other = FLIPS[flip](byte)
        if other != byte:
            yield at, content[:at] + bytes([other]) + content[at + 1 :]


def wholly_wrong(content: bytes) -> dict[str, bytes]:
    """Return contents that are wrong as a whole."""
    return {
        "empty": b"",
        "NULs": b"\0" * len(content),
        "doubled": content * 2,
        "extended": content + b"x",
        "a NUL more": content + b"\0",
        "a line end more": content + b"\n",
        "carriage returns": content.replace(b"\n", b"\r\n"),
        "a mark before": b"\xef\xbb\xbf" + content,
        "UTF-16": content.decode().encode("utf-16"),
        "latin-1": b"\xe4" + content,
        "a megabyte": content + b" " * (1 << 20),
    }


def with_value(record: dict[str, Any], path: tuple[str, ...], value: str) -> bytes:
    """Return the text of a record with one field, perhaps of an object in it, replaced."""
    mark = "\x01 here"
    changed = json.loads(json.dumps(record))
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = mark
    return json.dumps(changed).replace(json.dumps(mark), value).encode()


def duplicated(record: dict[str, Any], name: str, value: str) -> bytes:
    """Return the text of a record in which a field stands twice."""
    return b'{"%s": %s, ' % (name.encode(), value.encode()) + json.dumps(record).encode()[1:]
