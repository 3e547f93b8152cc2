# SPDX-License-Identifier: MIT
"""What a later version wrote is refused by every act, and nothing of it is touched."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pidproof import RecordError, Server, list_all, sweep
from servers import QUICK, is_alive


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from command import Command
    from servers import Small, State

# What a later version may have changed: nothing that shows, everything, or the meaning of a field.
LATER: dict[str, dict[str, Any]] = {
    "2": {"schema": 2},
    "99": {"schema": 99},
    "2, of other fields": {"schema": 2, "identity": {"pid": 1}, "command": "x", "nonce": 7},
    "a number of many digits": {"schema": 10**30},
}
ACTS = {
    "ensure": lambda server: server.ensure(),
    "start": lambda server: server.start(),
    "stop": lambda server: server.stop(),
    "restart": lambda server: server.restart(),
    "status": lambda server: server.status(),
}
COMMANDS: dict[str, list[str]] = {
    "ensure": ["ensure", "web", "--", "sleep", "1000"],
    "start": ["start", "web", "--detach", "--", "sleep", "1000"],
    "stop": ["stop", "web"],
    "restart": ["restart", "web"],
    "status": ["status", "web"],
}


class Later:
    """A server that runs under a record that a later version wrote."""

    def __init__(self, state: State, small: Small, changes: dict[str, Any]) -> None:
        self.pid = small.server().ensure().pid
        self.whole = state.record("web")
        self.raw = json.dumps({**self.whole, **changes}).encode()
        state.write("web", self.raw)
        self.path = state.record_path("web")
        self.files = self.listing()

    def listing(self) -> dict[str, bytes]:
        """Return all files of the key, but for the queue of the lock, which every act may make."""
        found = {path.name: path.read_bytes() for path in self.path.parent.iterdir()}
        found.pop("turn", None)
        return found

    def is_untouched(self) -> bool:
        """Say whether the server runs on, and every file is as it was."""
        return is_alive(self.pid) and self.listing() == self.files


@pytest.fixture(params=list(LATER.values()), ids=list(LATER))
def later(request: pytest.FixtureRequest, state: State, small: Small) -> Iterator[Later]:
    """That server."""
    later = Later(state, small, request.param)
    yield later
    state.write("web", json.dumps(later.whole).encode())


@pytest.mark.parametrize("act", ACTS)
def test_an_act_is_refused_and_says_why(later: Later, act: str) -> None:
    server = Server("web", ["sleep", "1000"], **QUICK)
    with pytest.raises(RecordError, match=r"was written by a later version .* not touched"):
        ACTS[act](server)
    assert later.is_untouched()


@pytest.mark.parametrize("command", COMMANDS)
def test_so_is_a_command_and_its_exit_status_tells(
    later: Later, pidproof: Command, command: str
) -> None:
    done = pidproof(*COMMANDS[command])
    assert done.status == 78
    assert "later version" in done.words
    assert done.out == ""
    assert later.is_untouched()


def test_lists_and_sweeps_pass_over_it(later: Later, pidproof: Command) -> None:
    assert [(one.state, "later version" in one.detail) for one in list_all()] == [("unknown", True)]
    for dry_run in (True, False):
        done = sweep(dry_run=dry_run)
        assert {one.action for one in done} == {"left"}, done
        assert any("later version" in one.reason for one in done)
    assert pidproof("list").status == 0
    assert later.is_untouched()


@pytest.mark.parametrize("command", ["logs", "history"])
def test_what_can_be_shown_is_shown(later: Later, pidproof: Command, command: str) -> None:
    """Log and history are lines, of whatever version; neither is changed."""
    done = pidproof(command, "web")
    assert done.status == 0, done
    assert later.is_untouched()


def test_a_whole_state_of_a_later_version_is_left_as_it_is(state: State, tmp_path: Path) -> None:
    """Keys side by side: that of the later one does not keep those of this one from working."""
    state.write("theirs", json.dumps({"schema": 99, "key": "theirs"}).encode())
    before = state.record_path("theirs").read_bytes()
    running = Server("ours", ["sleep", "1000"], **QUICK).ensure()
    assert running.action == "spawned"
    assert sorted(one.state for one in list_all()) == ["healthy", "unknown"]
    sweep()
    assert state.record_path("theirs").read_bytes() == before
    assert state.servers() == [running.pid]
