# SPDX-License-Identifier: MIT
"""status and list: what is known, in one look that changes nothing."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from helpers import wait_until
from pidproof import NeverHealthy, Server, list_all
from servers import QUICK, is_stopped, kill, sleeper, token_of


if TYPE_CHECKING:
    from pathlib import Path

    from servers import Small, State


def snapshot(root: Path) -> dict[str, bytes]:
    """Return every file below a directory with its content."""
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_healthy_server_is_told_with_all_its_facts(state: State, small: Small) -> None:
    server = small.server(version="7")
    running = server.ensure()
    before = snapshot(state.root)
    status = server.status()
    assert (status.state, status.key, status.pid) == ("healthy", "web", running.pid)
    assert status.identity == running.identity
    assert (status.url, status.port, status.log) == (running.url, running.port, running.log)
    assert (status.version, status.managed) == ("7", "auto")
    assert list(status.command) == [*small.command()[:-1], str(running.port)]
    assert status.detail == f"GET / on port {running.port} answered 200"
    assert snapshot(state.root) == before


def test_nothing_recorded_is_absent() -> None:
    status = sleeper().status()
    assert (status.state, status.pid, status.command) == ("absent", None, ())


def test_a_server_that_was_killed_is_gone() -> None:
    running = sleeper().ensure()
    kill(running.pid)
    status = sleeper().status()
    assert (status.state, status.pid) == ("gone", running.pid)
    assert status.detail


def test_a_server_that_answers_wrongly_is_unhealthy(small: Small) -> None:
    server = small.server()
    server.ensure()
    small.answers(500)
    assert server.status().state == "unhealthy"
    assert "answered 500" in server.status().detail


def test_a_stopped_server_is_unhealthy_and_said_to_be_stopped(small: Small) -> None:
    server = small.server()
    running = server.ensure()
    os.kill(running.pid, signal.SIGSTOP)
    wait_until(lambda: is_stopped(running.pid))
    status = server.status(timeout=0.2)
    assert status.state == "unhealthy"
    assert "SIGSTOP" in status.detail


def test_a_start_under_way_is_starting(state: State, small: Small) -> None:
    seen: list[str] = []
    small.answers(503)

    def hear(_: str) -> None:
        seen.append(small.server().status().state)
        small.answers(200)

    server = small.server(on_event=hear)
    server.ensure()
    assert "starting" in seen
    assert server.status().state == "healthy"


def test_a_record_written_ahead_is_starting(state: State) -> None:
    running = sleeper().ensure()
    token = state.record("sleeper")["identity"]
    state.edit("sleeper", state="starting", identity=None)
    assert sleeper().status().state == "starting"
    state.edit("sleeper", state="running", identity=token)
    assert sleeper().status().pid == running.pid


def test_a_failed_start_is_told_with_its_reason(small: Small) -> None:
    server = small.server("--exit", "3")
    with pytest.raises(NeverHealthy):
        server.ensure()
    status = server.status()
    assert (status.state, status.pid) == ("failed", None)
    assert "exited with status 3" in status.detail


def test_a_server_of_another_pid_namespace_is_unknown(state: State) -> None:
    running = sleeper().ensure()
    token = state.record("sleeper")["identity"]
    state.edit("sleeper", identity=token_of(running.pid, pidns=1))
    status = sleeper().status()
    assert (status.state, status.pid) == ("unknown", running.pid)
    assert "namespace" in status.detail
    state.edit("sleeper", identity=token)


def test_a_probe_of_another_program_is_unknown_there(state: State) -> None:
    server = Server("k", ["sleep", "1000"], probe=lambda _: True, **QUICK)
    server.ensure()
    assert server.status().state == "healthy"
    assert Server.recorded("k").status().state == "unknown"


def test_list_tells_of_every_key_in_order(state: State, small: Small) -> None:
    small.server(key="b").ensure()
    kill(sleeper("a").ensure().pid)
    sleeper("c").ensure()
    sleeper("c").stop()
    assert [(found.key, found.state) for found in list_all()] == [("a", "gone"), ("b", "healthy")]


def test_list_names_a_directory_that_cannot_be_read(state: State) -> None:
    state.write("a", b"{")
    (found,) = list_all()
    assert found.state == "unknown"
    assert found.key == state.directory("a").name
