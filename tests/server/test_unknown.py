# SPDX-License-Identifier: MIT
"""Unknown is not dead: a server that can be neither proven nor ended is left, and said so."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from helpers import NEEDS_NAMESPACES, python, run
from pidproof import IdentityUnknown, Refused, sweep
from servers import is_alive, kill, sleeper, token_of


if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers import State


@pytest.fixture
def elsewhere(state: State) -> Iterator[int]:
    """A running server whose record says that it was started in another pid namespace."""
    running = sleeper().ensure()
    state.edit("sleeper", identity=token_of(running.pid, pidns=1))
    yield running.pid
    kill(running.pid)


def test_nothing_is_started_and_nothing_ended(state: State, elsewhere: int) -> None:
    before = state.record_path("sleeper").read_bytes()
    with pytest.raises(IdentityUnknown, match=r"namespace.*nothing was ended.*started") as caught:
        sleeper().ensure()
    assert "--on-unknown beside" in str(caught.value.remedy)
    assert caught.value.__dict__["pid"] == elsewhere
    assert state.servers() == [elsewhere]
    assert state.record_path("sleeper").read_bytes() == before


def test_starting_by_hand_is_refused_too(state: State, elsewhere: int) -> None:
    with pytest.raises(Refused, match="nothing was started"):
        sleeper().start()
    assert state.servers() == [elsewhere]


def test_another_is_started_beside_it_when_told_to(state: State, elsewhere: int) -> None:
    token = state.record("sleeper")["identity"]
    running = sleeper(on_unknown="beside").ensure()
    assert running.action == "spawned"
    assert sorted(state.servers()) == sorted([elsewhere, running.pid])
    assert state.record("sleeper")["beside"] == [token]
    # And from then on that one is the server.
    assert sleeper().ensure().pid == running.pid
    assert sleeper().stop().pid == running.pid
    assert is_alive(elsewhere)


def test_one_that_another_was_started_beside_is_never_forgotten(state: State) -> None:
    """It runs where we cannot look; only the record tells of it, however many come and go here."""
    kill(sleeper().ensure().pid)
    token = token_of(os.getpid(), pidns=1)
    state.edit("sleeper", identity=token)
    beside = sleeper(on_unknown="beside").ensure()
    assert sleeper().stop().pid == beside.pid
    assert (state.record("sleeper")["beside"], state.record("sleeper")["state"]) == (
        [token],
        "stopped",
    )
    for _ in range(2):
        ((action, key, pid, reason),) = [
            (one.action, one.key, one.pid, one.reason) for one in sweep()
        ]
        assert (action, key, pid) == ("left", "sleeper", None)
        assert "servers beside that are not gone" in reason
        assert state.record("sleeper")["beside"] == [token]
    assert sleeper().ensure().action == "spawned"
    assert state.record("sleeper")["beside"] == [token]
    assert sleeper().stop().action == "terminated"
    assert sleeper().stop().action == "absent"
    assert state.record("sleeper")["beside"] == [token]
    # Until it is proven gone.
    state.edit("sleeper", beside=[token_of(os.getpid(), start=1, unique=1)])
    assert [(one.action, one.key) for one in sweep()] == [("dropped", "sleeper")]
    assert not state.record_path("sleeper").exists()


def test_a_sweep_leaves_it_and_names_it(state: State, elsewhere: int) -> None:
    done = [one for one in sweep() if one.key == "sleeper" and one.pid == elsewhere]
    assert "left" in {one.action for one in done}
    assert state.record_path("sleeper").exists()


def test_a_record_of_another_boot_is_of_a_server_that_is_gone(state: State) -> None:
    """The pid is a bystander's in this boot; he is not touched."""
    bystander = sleeper("bystander").ensure()
    sleeper().ensure()
    sleeper().stop()
    token = token_of(bystander.pid, boot="11111111-2222-3333-4444-555555555555")
    state.write("sleeper", written_by_hand(token))
    assert sleeper().status().state == "gone"
    running = sleeper().ensure()
    assert running.action == "spawned"
    assert sorted(state.servers()) == sorted([bystander.pid, running.pid])


def test_a_recycled_pid_is_a_server_that_is_gone(state: State) -> None:
    bystander = sleeper("bystander").ensure()
    state.write("sleeper", written_by_hand(token_of(bystander.pid, start=1, unique=1)))
    assert sleeper().ensure().action == "spawned"
    assert is_alive(bystander.pid)


def written_by_hand(token: str) -> bytes:
    """Return a record that names a process."""
    import json

    record: dict[str, Any] = {
        "schema": 1,
        "key": "sleeper",
        "nonce": "ab" * 16,
        "state": "running",
        "managed": "auto",
        "command": ["sleep", "1000"],
        "identity": token,
    }
    return json.dumps(record).encode()


@NEEDS_NAMESPACES
def test_a_real_other_pid_namespace_is_unknown(state: State) -> None:
    """A launcher in a namespace of its own, on the same state, leaves our server alone."""
    running = sleeper().ensure()
    code = """
        from pidproof import IdentityUnknown, Server
        server = Server("sleeper", ["sleep", "1000"])
        print(server.status().state)
        for act in (server.ensure, server.stop):
            try:
                act()
            except IdentityUnknown:
                print("unknown")
        """
    out = run(["unshare", "-m", "-p", "-f", "--mount-proc", *python(code)])
    assert out.split() == ["unknown"] * 3
    assert state.servers() == [running.pid]
