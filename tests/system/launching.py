# SPDX-License-Identifier: MIT
"""Launchers as users have them: the command `pidproof`, in processes of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from helpers import Spawn


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PIDPROOF = [sys.executable, "-m", "pidproof"]
# An http.server that says nothing of who asks and listens where it is told.
PYTHON_SERVER = [sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1"]
NODE_SERVER = [
    "node",
    "-e",
    "require('http').createServer((q, r) => r.end('ok')).listen(process.env.PORT, '127.0.0.1')",
]
# Answers 500 while the file of its second argument exists, else 200.
SICKLY = """\
import http.server, os, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(500 if os.path.exists(sys.argv[2]) else 200)
        self.end_headers()

http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Done(NamedTuple):
    """A launcher that has ended."""

    status: int
    out: str
    words: str
    seconds: float

    @property
    def url(self) -> str:
        """What `ensure` printed."""
        assert self.status == 0, self
        return self.out.strip()

    @property
    def data(self) -> dict[str, Any]:
        """What a command with --json printed."""
        found: dict[str, Any] = json.loads(self.out)
        return found


class Launcher(NamedTuple):
    """A launcher that runs."""

    process: subprocess.Popen[bytes]
    began: float

    def finish(self, deadline: float = 60) -> Done:
        """Wait for its end, of itself and of its output."""
        out, words = self.process.communicate(timeout=deadline)
        seconds = time.monotonic() - self.began
        return Done(self.process.returncode, out.decode(), words.decode(), seconds)


class Pidproof:
    """Runs the command."""

    def __init__(self, spawn: Spawn) -> None:
        self._spawn = spawn

    def start(self, *arguments: str, prefix: Iterable[str] = (), **options: Any) -> Launcher:
        """Run it and do not wait."""
        options.setdefault("stdin", subprocess.DEVNULL)
        command = [*prefix, *PIDPROOF, *arguments]
        began = time.monotonic()
        return Launcher(self._spawn(command, stderr=subprocess.PIPE, **options), began)

    def __call__(self, *arguments: str, **options: Any) -> Done:
        """Run it to its end."""
        return self.start(*arguments, **options).finish()

    def ensure(self, key: str, *arguments: str) -> dict[str, Any]:
        """Return what `ensure --json` found; fails if it fails."""
        done = self("ensure", key, "--json", *arguments)
        assert done.status == 0, done
        return done.data

    def at_once(self, commands: Iterable[list[str]]) -> list[Done]:
        """Start all behind one closed door, open it, and wait for the end of all."""
        door, opener = os.pipe()
        wait = ["sh", "-c", 'read _; exec "$@"', "sh"]
        try:
            launchers = [self.start(*command, prefix=wait, stdin=door) for command in commands]
        finally:
            os.close(door)
            os.close(opener)
        began = time.monotonic()
        return [launcher._replace(began=began).finish() for launcher in launchers]


def python_server(directory: Path) -> list[str]:
    """Return options and command of an http.server that shows an empty directory."""
    directory.mkdir(exist_ok=True)
    return ["--http", "/", "--", *PYTHON_SERVER, "--directory", str(directory)]


def sickly_server(directory: Path, name: str = "bundle.py") -> tuple[list[str], Path]:
    """Return the command of a server, and the file that makes it answer 500."""
    bundle = directory / name
    bundle.write_text(SICKLY)
    sick = directory / f"{name}.sick"
    return [sys.executable, str(bundle), "{port}", str(sick)], sick


@contextlib.contextmanager
def connection_to(url: str) -> Iterator[http.client.HTTPConnection]:
    """Connect to the server of a URL."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    try:
        yield connection
    finally:
        connection.close()


def status_of(url: str, path: str = "/", headers: dict[str, str] | None = None) -> int:
    """GET and return the status."""
    with connection_to(url) as connection:
        connection.request("GET", path, headers=headers or {})
        return connection.getresponse().status


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip unless all these programs are installed."""
    # Debian keeps servers in /usr/sbin, which is not on everybody's PATH.
    path = f"{os.environ['PATH']}:/usr/sbin"
    missing = [name for name in programs if shutil.which(name, path=path) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")
