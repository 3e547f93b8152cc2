# SPDX-License-Identifier: MIT
"""The kinds of probes: over HTTP, TCP or a Unix socket, by a command, a log line, a callable."""

from __future__ import annotations

import os

from pidproof import _native
from pidproof.errors import InvalidArgument
from pidproof.server.probe import BUSY, FAILED, UNKNOWN, Outcome, Probe, ready


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from pidproof.server.probe import Target

__all__ = ["Call", "Exec", "Http", "LogLine", "Tcp", "Unix", "from_json"]

LOG_LIMIT = 16 << 20


class Http(Probe):
    """GET a path on 127.0.0.1: ready for a status from 200 to 399, busy for 429 and 503.

    Args:
        path: begins with a slash.
        status: the one status that counts as ready, instead of 200 to 399.
        headers: sent along; `{token}` in a value becomes the server's token.
    """

    __slots__ = ("headers", "path", "status")
    kind = "http"
    needs_port = True

    def __init__(
        self,
        path: str = "/",
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path:
            raise InvalidArgument(
                f"{path!r} is not an HTTP path",
                remedy="give a path that begins with a slash, percent-encoded, such as --http /",
            )
        for name, value in (headers or {}).items():
            text = name + value
            ok = bool(name) and name.isascii() and ":" not in name and text.isprintable()
            if not ok or max(text) > "\xff":  # sent as Latin-1
                raise InvalidArgument(f"{name!r}: {value!r} is not an HTTP header")
        self.path = path
        self.status = status
        self.headers = dict(headers or {})

    def _ask(self, target: Target, timeout: float) -> Outcome:
        from pidproof.server.http_get import status_of

        assert target.port is not None
        headers = {
            name: value.replace("{token}", target.token) for name, value in self.headers.items()
        }
        code = status_of("127.0.0.1", target.port, self.path, headers=headers, timeout=timeout)
        detail = f"GET {self.path} on port {target.port} answered {code}"
        if code == self.status or (self.status is None and 200 <= code < 400):
            return ready(detail)
        busy = code in {429, 503}
        return Outcome(health=BUSY if busy else FAILED, detail=detail)

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "path": self.path,
            "status": self.status,
            "headers": self.headers,
        }


class Tcp(Probe):
    """Connect to the port on 127.0.0.1: ready once it accepts."""

    __slots__ = ()
    kind = "tcp"
    needs_port = True

    def _ask(self, target: Target, timeout: float) -> Outcome:
        from pidproof.server.http_get import connect

        assert target.port is not None
        connect("127.0.0.1", target.port, timeout).close()
        return ready(f"port {target.port} accepts connections")

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind}


class Unix(Probe):
    """Connect to a Unix socket: ready once it accepts, and the server is who listens there.

    Who called listen(2) on it, or on macOS used it last, is told by the kernel.
    """

    __slots__ = ("path",)
    kind = "unix"

    def __init__(self, path: str) -> None:
        try:
            raw = os.fsencode(os.path.abspath(path))
        except UnicodeError:
            raw = b""
        limit = _native.unix_path_limit()
        if not path or not 0 < len(raw) <= limit or b"\0" in raw:
            raise InvalidArgument(
                f"{path!r} is not the path of a Unix socket",
                remedy=f"the path of a Unix socket has 1 to {limit} bytes, once it is absolute",
            )
        self.path = os.path.abspath(path)

    def _ask(self, target: Target, timeout: float) -> Outcome:
        import socket

        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(self.path)
            pid, uid = _native.socket_peer(connection.fileno())
        if not target.owns(pid):
            from pidproof.server.listener import describe

            stranger = describe(pid, uid)
            return Outcome(health=FAILED, detail=f"{self.path} belongs to {stranger}")
        return ready(f"{self.path} accepts connections")

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "path": self.path}


class Exec(Probe):
    """Run a command with the server's variables: ready if it exits with 0."""

    __slots__ = ("command",)
    kind = "exec"

    def __init__(self, command: Sequence[str]) -> None:
        words = not isinstance(command, str) and all(isinstance(word, str) for word in command)
        if not words or not command or not command[0]:
            raise InvalidArgument("an exec probe needs a command, as a sequence of words")
        self.command = list(command)

    def _ask(self, target: Target, timeout: float) -> Outcome:
        import signal
        import subprocess

        words = [
            word.replace("{port}", str(target.port or "")).replace("{token}", target.token)
            for word in self.command
        ]
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **target.env},
            start_new_session=True,
        )
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error
        finally:
            if process.returncode is None:
                # Not reaped yet, so the number of its group cannot be another's.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if code == 0:
            return ready(f"{words[0]} exited with 0")
        return Outcome(health=FAILED, detail=f"{words[0]} exited with {code}")

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "command": self.command}


class LogLine(Probe):
    """Search the log of this start: ready once a line matches the regular expression."""

    __slots__ = ("regex",)
    kind = "log-line"

    def __init__(self, regex: str) -> None:
        import re

        try:
            re.compile(regex)
        except (re.error, OverflowError, RecursionError) as error:
            raise InvalidArgument(f"{regex!r} is not a regular expression: {error}") from error
        self.regex = regex

    def _ask(self, target: Target, timeout: float) -> Outcome:
        import re

        from pidproof.server.log import read_log

        text = read_log(target.directory, target.log_offset, LOG_LIMIT)
        lines = text.decode(errors="replace").splitlines()
        for line in lines:
            if re.search(self.regex, line):
                return ready(f"the log says {line.strip()[:200]!r}")
        return Outcome(health=BUSY, detail=f"none of {len(lines)} log lines matches {self.regex!r}")

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "regex": self.regex}


class Call(Probe):
    """Ask a callable: ready if it returns something true; an exception is a failure."""

    __slots__ = ("function",)
    kind = "callable"

    def __init__(self, function: Callable[[Target], object]) -> None:
        self.function = function

    def _ask(self, target: Target, timeout: float) -> Outcome:
        try:
            answer = self.function(target)
        except Exception as error:
            detail = f"the probe raised {type(error).__name__}: {error}"
            return Outcome(health=FAILED, detail=detail)
        if answer:
            return ready("the probe said yes")
        return Outcome(health=BUSY, detail="the probe said no")

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind}


class _Elsewhere(Probe):
    """Stands for a callable of another program: it cannot be asked here."""

    __slots__ = ()
    kind = "callable"

    def _ask(self, target: Target, timeout: float) -> Outcome:
        detail = "it is probed by a function of the program that started it"
        return Outcome(health=UNKNOWN, detail=detail)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind}


def from_json(data: Mapping[str, Any] | None) -> Probe | None:
    """Read what `to_json` gave; None for none.

    Raises:
        InvalidArgument: it is something else, perhaps of a later version.
    """
    if data is None:
        return None
    try:
        match data["kind"]:
            case "http":
                return Http(data["path"], status=data["status"], headers=data["headers"])
            case "tcp":
                return Tcp()
            case "unix":
                return Unix(data["path"])
            case "exec":
                return Exec(data["command"])
            case "log-line":
                return LogLine(data["regex"])
            case "callable":
                return _Elsewhere()
    except (LookupError, TypeError, AttributeError, UnicodeError) as error:
        raise InvalidArgument(f"{data!r} is not a probe") from error
    raise InvalidArgument(f"{data!r} is not a probe that this version knows")
