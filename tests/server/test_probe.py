# SPDX-License-Identifier: MIT
"""Each probe against real sockets, files and commands: an answer, never an exception."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from helpers import NEEDS_ROOT, NOBODY, wait_until
from pidproof import Exec, Http, InvalidArgument, LogLine, Target, Tcp, Unix
from pidproof.server.directory import KeyDirectory
from pidproof.server.probe import BUSY, FAILED, READY, UNKNOWN, Outcome, Probe
from pidproof.server.probes import Call, from_json
from servers import Small, free_port, is_alive


if TYPE_CHECKING:
    from collections.abc import Iterator

    from helpers import Spawn
    from pidproof.server.probe import Health


@pytest.fixture
def directory() -> Iterator[KeyDirectory]:
    """The directory of a key."""
    found = KeyDirectory.open("web", create=True)
    assert found is not None
    with found:
        yield found


class Ask:
    """Asks a probe about a target with some facts."""

    def __init__(self, directory: KeyDirectory) -> None:
        self.facts: dict[str, Any] = {
            "directory": directory,
            "pid": os.getpid(),
            "port": None,
            "token": "s3cret",
            "log_offset": 0,
            "env": {},
            "owns": lambda pid: True,
        }

    def __call__(self, probe: Probe, timeout: float = 5.0, **facts: Any) -> Outcome:
        return probe.check(Target(**{**self.facts, **facts}), timeout)


@pytest.fixture
def ask(directory: KeyDirectory) -> Ask:
    """Who asks."""
    return Ask(directory)


class Serving:
    """A small server that no launcher of ours started."""

    def __init__(self, small: Small, spawn: Spawn) -> None:
        self.port = free_port()
        self.small = small
        self.process = spawn(small.bare("--port", str(self.port)))
        wait_until(self._accepts)

    def _accepts(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def serving(small: Small, spawn: Spawn) -> Serving:
    """A small server on a port."""
    return Serving(small, spawn)


# ------------------------------------------------------------------------------------------- http


@pytest.mark.parametrize(
    ("status", "health"),
    [
        (200, READY),
        (204, READY),
        (302, READY),
        (399, READY),
        (100, FAILED),
        (404, FAILED),
        (500, FAILED),
        (429, BUSY),
        (503, BUSY),
    ],
)
def test_http_judges_by_the_status(ask: Ask, serving: Serving, status: int, health: Health) -> None:
    serving.small.answers(status)
    outcome = ask(Http("/health?deep=1"), port=serving.port)
    assert outcome.health is health
    assert outcome.detail == f"GET /health?deep=1 on port {serving.port} answered {status}"


def test_http_with_a_status_of_its_own_takes_no_other(ask: Ask, serving: Serving) -> None:
    serving.small.answers(404)
    assert ask(Http("/", status=404), port=serving.port).health == READY
    serving.small.answers(200)
    assert ask(Http("/", status=404), port=serving.port).health == FAILED


def test_http_sends_headers_with_the_token(ask: Ask, serving: Serving) -> None:
    ask(Http("/x", headers={"Authorization": "Bearer {token}", "X-A": "b"}), port=serving.port)
    lines = serving.small.request().decode().split("\r\n")
    assert lines[0] == "GET /x HTTP/1.1"
    assert lines[1] == f"Host: 127.0.0.1:{serving.port}"
    assert "Authorization: Bearer s3cret" in lines
    assert "X-A: b" in lines
    assert lines[-2:] == ["", ""]


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("garbage", "not HTTP"),
        ("endless", "first line does not end"),
        ("close", "closed without an answer"),
    ],
)
def test_http_calls_what_is_no_answer_failed(
    ask: Ask, serving: Serving, how: str, says: str
) -> None:
    serving.small.answers(how)
    outcome = ask(Http("/"), port=serving.port)
    assert outcome.health == FAILED
    assert says in outcome.detail


@pytest.mark.parametrize("how", ["drip", "hang"])
def test_http_never_waits_beyond_its_timeout(ask: Ask, serving: Serving, how: str) -> None:
    serving.small.answers(how)
    began = time.monotonic()
    outcome = ask(Http("/"), 0.2, port=serving.port)
    assert outcome == Outcome(health=FAILED, detail="no answer within 0.2 s")
    assert time.monotonic() - began < 1.0


def test_http_on_a_closed_port_is_failed(ask: Ask) -> None:
    outcome = ask(Http("/"), port=free_port())
    assert outcome.health == FAILED
    assert "refused" in outcome.detail


@pytest.mark.parametrize("path", ["", "health", "/a b", "/a\r\nX: y", "/ä", "/\0"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidArgument, match="is not an HTTP path"):
        Http(path)


@pytest.mark.parametrize(
    ("name", "value"), [("", "x"), ("A:", "x"), ("A", "x\r\nB: y"), ("Ä", "x")]
)
def test_what_is_no_header_is_refused(name: str, value: str) -> None:
    with pytest.raises(InvalidArgument, match="is not an HTTP header"):
        Http("/", headers={name: value})


# -------------------------------------------------------------------------------------- tcp, unix


def test_tcp_is_ready_once_it_accepts(ask: Ask, serving: Serving) -> None:
    assert ask(Tcp(), port=serving.port).health == READY
    serving.process.kill()
    serving.process.wait()
    assert ask(Tcp(), port=serving.port).health == FAILED


def test_unix_is_ready_once_it_accepts(
    ask: Ask, small: Small, spawn: Spawn, socket_path: str
) -> None:
    assert ask(Unix(socket_path)).health == FAILED
    process = spawn(small.bare("--unix", socket_path))
    wait_until(lambda: ask(Unix(socket_path)).health == READY)
    process.kill()
    process.wait()
    outcome = ask(Unix(socket_path))
    assert outcome.health == FAILED
    assert "refused" in outcome.detail


def test_unix_of_a_stranger_names_him(
    ask: Ask, small: Small, spawn: Spawn, socket_path: str
) -> None:
    path = socket_path
    process = spawn(small.bare("--unix", path))
    wait_until(lambda: ask(Unix(path)).health == READY)
    outcome = ask(Unix(path), owns=lambda pid: pid != process.pid)
    assert outcome.health == FAILED
    assert f"{path} belongs to process {process.pid} (" in outcome.detail


@pytest.mark.parametrize("path", ["", "/tmp/" + "x" * 103, "a\0b"])
def test_a_path_that_no_unix_socket_can_have_is_refused(path: str) -> None:
    with pytest.raises(InvalidArgument, match="is not the path of a Unix socket"):
        Unix(path)


def test_a_relative_path_too_long_once_it_is_absolute_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.chdir(deep)
    with pytest.raises(InvalidArgument, match="is not the path of a Unix"):
        Unix("socket")


@NEEDS_ROOT
def test_a_probe_that_may_not_ask_knows_nothing(ask: Ask, small: Small, tmp_path: Path) -> None:
    """As in a sandbox; here a Unix socket that another user may not connect to."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        path.chmod(0o600)
        os.chmod(tmp_path, 0o755)
        os.seteuid(NOBODY)
        try:
            outcome = ask(Unix(str(path)))
        finally:
            os.seteuid(0)
    assert outcome.health == UNKNOWN
    assert "not allowed to ask" in outcome.detail


# ------------------------------------------------------------------------------------------- exec


def test_exec_is_ready_if_it_exits_with_0(ask: Ask) -> None:
    assert ask(Exec(["true"])).health == READY
    outcome = ask(Exec(["sh", "-c", "exit 3"]))
    assert outcome == Outcome(health=FAILED, detail="sh exited with 3")


def test_exec_gets_port_token_and_variables(ask: Ask, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = f'echo "$1 $2 $PORT" > {out}'
    probe = Exec(["sh", "-c", script, "sh", "{port}", "{token}"])
    assert ask(probe, port=4321, env={"PORT": "4321"}).health == READY
    assert out.read_text() == "4321 s3cret 4321\n"


def test_exec_of_no_command_is_failed(ask: Ask) -> None:
    outcome = ask(Exec(["/no/such/command"]))
    assert outcome.health == FAILED
    assert "/no/such/command" in outcome.detail


def test_exec_that_takes_too_long_is_ended_with_its_children(ask: Ask, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 1000 & echo $! $$ > {pids}.new; mv {pids}.new {pids}; wait"
    outcome = ask(Exec(["sh", "-c", script]), 1.0)
    assert outcome == Outcome(health=FAILED, detail="no answer within 1 s")
    ended = [int(pid) for pid in pids.read_text().split()]
    wait_until(lambda: not any(map(is_alive, ended)))


@pytest.mark.parametrize("command", [[], "true", [""], [5]])
def test_an_exec_probe_needs_a_sequence_of_words(command: Any) -> None:
    with pytest.raises(InvalidArgument, match="needs a command"):
        Exec(command)


# ----------------------------------------------------------------------------- log line, callable


def test_a_log_line_counts_from_the_offset_on(ask: Ask, directory: KeyDirectory) -> None:
    assert ask(LogLine("up")).health == BUSY
    log = Path(directory.path) / "server.log"
    log.write_bytes(b"was up before\nnot now\n\xff\xfe\n")
    log.chmod(0o600)
    assert ask(LogLine("^was up")).health == READY
    outcome = ask(LogLine("^was up"), log_offset=14)
    assert outcome.health == BUSY
    assert outcome.detail == "none of 2 log lines matches '^was up'"


def test_what_is_no_regular_expression_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="is not a regular expression"):
        LogLine("(")


def test_a_callable_gets_the_target(ask: Ask) -> None:
    seen: list[Target] = []

    def look(target: Target) -> bool:
        seen.append(target)
        return True

    assert ask(Call(look), port=7).health == READY
    assert (seen[0].port, seen[0].token, seen[0].pid) == (7, "s3cret", os.getpid())


def test_a_callable_that_says_no_is_busy_and_one_that_raises_failed(ask: Ask) -> None:
    assert ask(Call(lambda _: 0)).health == BUSY

    def broken(_: Target) -> object:
        raise KeyError("what")

    outcome = ask(Call(broken))
    assert outcome.health == FAILED
    assert outcome.detail == "the probe raised KeyError: 'what'"


def test_a_callable_is_not_asked_by_another_program(ask: Ask) -> None:
    elsewhere = from_json(Call(bool).to_json())
    assert elsewhere is not None
    assert ask(elsewhere).health == UNKNOWN


# ------------------------------------------------------------------------------------------- json


@pytest.mark.parametrize(
    "probe",
    [
        Http("/x", status=204, headers={"A": "{token}"}),
        Tcp(),
        Unix("/run/s"),
        Exec(["a", "b"]),
        LogLine("x+"),
    ],
)
def test_a_probe_survives_the_record(probe: Probe) -> None:
    again = from_json(probe.to_json())
    assert type(again) is type(probe)
    assert again is not None
    assert again.to_json() == probe.to_json()


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"kind": "smoke-signal"},
        {"kind": "http"},
        {"kind": "http", "path": 5, "status": None, "headers": {}},
        {"kind": "exec", "command": [5]},
        {"kind": "unix", "path": 7},
        {"kind": "log-line", "regex": "("},
        [],
        "http",
    ],
)
def test_what_is_no_probe_is_refused(data: Any) -> None:
    with pytest.raises(InvalidArgument):
        from_json(data)
