# SPDX-License-Identifier: MIT
"""Servers under test: how they are made, and which of them run, judged from outside alone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from helpers import DEADLINE, TESTS, wait_until
from outside import HAS_PROC, argv, children, environ, files_of, pids, stat
from pidproof import Error, Http, ProcessIdentity, Server
from pidproof.server.children import reap_finished
from pidproof.server.directory import KeyDirectory
from pidproof.server.stop import stop


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from helpers import Spawn

# Isolated and without site-packages: such an interpreter starts in a quarter of the time.
PYTHON = [sys.executable, "-I", "-S"]
# macOS shows nobody the variables of `sleep`, by which a server is found that has no record.
SLEEPER = ["sleep", "1000"] if HAS_PROC else [*PYTHON, "-c", "import signal; signal.pause()"]
# Short where nothing should be waited for, long enough where a slow machine has to answer.
QUICK: dict[str, Any] = {"startup_timeout": 15.0, "grace": 2.0, "probe_timeout": 1.0}


class Line(NamedTuple):
    """A line of the process table that carries our variables."""

    pid: int
    leads: bool
    """Whether it is a server itself, and not something that a server started."""
    key: str
    command: str


def is_alive(pid: int) -> bool:
    """Say whether a process is there and has not exited."""
    line = stat(pid)
    return line is not None and not line.has_exited


def is_stopped(pid: int) -> bool:
    """Say whether a process is stopped by a signal."""
    line = stat(pid)
    return line is not None and line.state == "T"


def process_table(root: Path) -> list[Line]:
    """List the living processes that were started below a state directory."""
    found = []
    for pid in pids():
        variables = environ(pid)
        record = os.fsdecode(variables.get(b"PIDPROOF_RECORD", b""))
        leads = variables.get(b"PIDPROOF_PID") == str(pid).encode()
        key = os.fsdecode(variables.get(b"PIDPROOF_KEY", b""))
        if not variables and not HAS_PROC:
            record, leads, key = _by_its_log(pid, root)
        if record.startswith(f"{root}/") and is_alive(pid):
            command = b" ".join(argv(pid)).decode(errors="replace").strip()
            found.append(Line(pid, leads, key, command))
    return sorted(found)


def _by_its_log(pid: int, root: Path) -> tuple[str, bool, str]:
    """Return the record, whether it is the server itself, and the key: by the log it writes to.

    That is for macOS, which hides the variables of `sleep` and of every other program of its own.
    """
    for log in files_of(pid):
        if log.startswith(f"{root}/") and os.path.basename(log).startswith("server.log"):
            line, directory = stat(pid), os.path.dirname(log)
            leads = line is not None and line.session == pid
            return f"{directory}/record.json", leads, os.path.basename(directory)
    return "", False, ""


class State:
    """The state directory of one test, and what was started below it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def running(self) -> list[Line]:
        """List the processes that were started below it."""
        return process_table(self.root)

    def servers(self) -> list[int]:
        """Return the pids of the servers among them."""
        return [line.pid for line in self.running() if line.leads]

    def directory(self, key: str) -> Path:
        """Return the directory of a key, which must exist."""
        found = KeyDirectory.open(key)
        assert found is not None, f"nothing was ever recorded under {key}"
        with found:
            return Path(found.path)

    def record_path(self, key: str) -> Path:
        """Return the path of the record of a key."""
        return self.directory(key) / "record.json"

    def record(self, key: str) -> dict[str, Any]:
        """Return the record of a key as plain data."""
        data: dict[str, Any] = json.loads(self.record_path(key).read_bytes())
        return data

    def edit(self, key: str, **changes: object) -> dict[str, Any]:
        """Change fields of the record of a key, behind everybody's back."""
        data = {**self.record(key), **changes}
        self.write(key, json.dumps(data).encode())
        return data

    def write(self, key: str, content: bytes) -> None:
        """Put something in the place of the record of a key."""
        directory = KeyDirectory.open(key, create=True)
        assert directory is not None
        with directory:
            path = Path(directory.path) / "record.json"
        path.write_bytes(content)
        path.chmod(0o600)

    def history(self, key: str) -> list[str]:
        """Return the events in the history of a key."""
        text = (self.directory(key) / "history.jsonl").read_text()
        return [json.loads(line)["event"] for line in text.splitlines()]

    def log(self, key: str) -> str:
        """Return the log of a key."""
        return (self.directory(key) / "server.log").read_text()

    def stop_all(self) -> None:
        """Stop every server that a record names."""
        for path in self.root.glob("*/*/record.json"):
            if not path.is_file() or path.is_symlink():
                continue
            try:
                stop(json.loads(path.read_bytes())["key"], grace=1.0)
            except (OSError, ValueError, TypeError, LookupError, Error):
                continue  # the test broke it, and has to see to what ran under it
        reap_finished()

    def end_all(self) -> list[Line]:
        """SIGKILL what still runs, and name it."""
        left = self.running()
        for line in left:
            kill(line.pid)
        reap_finished()
        return left


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Signal a process; SIGKILL waits for its end, and reaps it if it is our child."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    if number == signal.SIGKILL:
        wait_until(lambda: not is_alive(pid))


@contextlib.contextmanager
def fresh_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spawn: Spawn) -> Iterator[State]:
    """A state directory of its own; at the end nothing that was started below it may run.

    Whether descriptors, threads or children are left is seen by the fixture `spawn`, after this.
    """
    for name in [name for name in os.environ if name.startswith(("PIDPROOF_", "LISTEN_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIDPROOF_STATE_DIR", str(tmp_path / "state"))
    before = set(children())
    state = State(tmp_path / "state")
    try:
        yield state
        spawn.end()
        state.stop_all()
    finally:
        left = state.end_all()
    assert not left, f"servers survived: {left}"

    # Servers that the test killed itself are collected at the next call.
    def is_reaped() -> bool:
        reap_finished()
        return set(children()) <= before

    wait_until(is_reaped, 5)


# ------------------------------------------------------------------------------------- to be served


class Small:
    """tests/small_server.py with a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)

    def command(self, *options: str) -> list[str]:
        """Return the command of a server that listens on its port."""
        return self.bare("--port", "{port}", *options)

    def bare(self, *options: str) -> list[str]:
        """Return the command with these options alone."""
        return [*PYTHON, str(TESTS / "small_server.py"), str(self.directory), *options]

    def server(self, *options: str, key: str = "web", **arguments: Any) -> Server:
        """Return an HTTP server on an automatic port."""
        full = {"probe": Http("/"), **QUICK, **arguments}
        return Server(key, self.command(*options), **full)

    def answers(self, how: int | str) -> None:
        """From now on: a status, or garbage, endless, drip, slow, close, hang."""
        (self.directory / "answer.new").write_text(str(how))
        (self.directory / "answer.new").rename(self.directory / "answer")

    def report(self) -> dict[str, Any]:
        """Return what the server last started with."""
        wait_until((self.directory / "report.json").exists)
        data: dict[str, Any] = json.loads((self.directory / "report.json").read_bytes())
        return data

    def request(self) -> bytes:
        """Return the last request it got."""
        return (self.directory / "request").read_bytes()

    def child(self) -> int:
        """Return the pid of its child."""
        wait_until((self.directory / "child").exists)
        return int((self.directory / "child").read_text())


def sleeper(key: str = "sleeper", **arguments: Any) -> Server:
    """Return a server that does nothing, and is ready as soon as it runs."""
    return Server(key, SLEEPER, **{**QUICK, **arguments})


@contextlib.contextmanager
def meanwhile(act: Callable[[], object]) -> Iterator[None]:
    """Do something in a thread of its own; what it raises is raised at the end of the block."""
    errors: list[BaseException] = []

    def body() -> None:
        try:
            act()
        except BaseException as error:  # noqa: BLE001, RUF100 - raised again below
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    try:
        yield
    finally:
        thread.join(DEADLINE)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


@contextlib.contextmanager
def stranger(
    port: int = 0, host: str = "127.0.0.1", *, serving: bool = False
) -> Iterator[tuple[int, int]]:
    """Another process that listens on a port; yields port and pid.  Serving: it answers 200."""
    code = (
        "import socket, sys\n"
        "host, port, serving = sys.argv[1:]\n"
        "family = socket.AF_INET6 if ':' in host else socket.AF_INET\n"
        "s = socket.socket(family)\n"
        "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
        "s.bind((host, int(port)))\n"
        "s.listen()\n"
        "print(s.getsockname()[1], flush=True)\n"
        "while True:\n"
        "    c, _ = s.accept()\n"
        "    if serving == '1':\n"
        "        c.recv(9999)\n"
        "        c.sendall(b'HTTP/1.1 200 OK\\r\\n\\r\\n')\n"
        "    c.close()\n"
    )
    import subprocess

    # In a session of its own: it would be of ours where the tests themselves lead one.
    process = subprocess.Popen(
        [*PYTHON, "-c", code, host, str(port), str(int(serving))],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the stranger could not have the port"
        yield int(line), process.pid
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def free_port() -> int:
    """Return a port that nobody listens on, most likely for a while."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def token_of(pid: int, **changes: object) -> str:
    """Return the token of a process, with fields changed: pid, start, boot, pidns, unique."""
    from pidproof import identify

    names = ("pid", "start", "boot", "pidns", "unique")
    fields = dict(zip(names, str(identify(pid)).split(":")[2:], strict=True))
    fields |= {name: str(value) for name, value in changes.items()}
    token = ":".join(("pidproof", "1", *(fields[name] for name in names)))
    ProcessIdentity.parse(token)
    return token
