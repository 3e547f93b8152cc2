# SPDX-License-Identifier: MIT
"""TCP and one HTTP/1.1 GET for its status code: what a probe needs, and no more is imported.

`_socket` is what the socket module wraps; without the wrapping, and so without enum and selectors.
"""

from __future__ import annotations

import time
from _socket import AF_INET, SOCK_STREAM, socket


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["connect", "status_of"]

LINE_LIMIT = 4096


def status_of(
    host: str, port: int, path: str, *, headers: Mapping[str, str], timeout: float
) -> int:
    """GET a path and return the status code; the body is not read.

    Raises:
        OSError: it could not be reached, or not in time (TimeoutError).
        ValueError: the answer is not HTTP.
    """
    deadline = time.monotonic() + timeout
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}:{port}",
        "User-Agent: pidproof",
        "Accept: */*",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    request = "\r\n".join([*lines, "", ""]).encode("latin-1")
    connection = connect(host, port, timeout)
    try:
        connection.settimeout(_left(deadline))
        connection.sendall(request)
        return _parse(_read_line(connection, deadline))
    finally:
        connection.close()


def connect(host: str, port: int, timeout: float) -> socket:
    """Connect to a port of an IPv4 address; the caller closes what is returned.

    Raises:
        OSError: it could not be reached, or not in time (TimeoutError).
    """
    connection = socket(AF_INET, SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect((host, port))
    except BaseException:
        connection.close()
        raise
    return connection


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left


def _read_line(connection: socket, deadline: float) -> bytes:
    """Read up to the first newline; a peer that drips bytes cannot outlast the deadline."""
    line = b""
    while b"\n" not in line:
        connection.settimeout(_left(deadline))
        more = connection.recv(LINE_LIMIT)
        if not more:
            raise ConnectionResetError("the connection was closed without an answer")
        line += more
        if len(line) > LINE_LIMIT and b"\n" not in line[:LINE_LIMIT]:
            raise ValueError("the answer is not HTTP: its first line does not end")
    return line.partition(b"\n")[0].rstrip(b"\r")


def _parse(line: bytes) -> int:
    protocol, _, rest = line.partition(b" ")
    code = rest[:3]
    if not protocol.startswith(b"HTTP/1.") or len(code) != 3 or not code.isdigit():
        raise ValueError(f"the answer is not HTTP: {line[:60]!r}")
    return int(code)
