# SPDX-License-Identifier: MIT
"""The fence around each act: who lost the lock, or whose record was replaced, does it no more."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from helpers import wait_until
from pidproof import LockLost, LockTimeout, Running, Server, SpawnLock, StartTimeout
from pidproof.server import attempt, fence, locked, stop
from pidproof.server import record as records
from pidproof.server.directory import KeyDirectory
from servers import QUICK, is_alive, meanwhile, sleeper


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pidproof.server.record import Record
    from pidproof.server.spec import Spec
    from servers import Small, State

# The fenced acts of a start, in their order, and of a stop behind the end of its server.
START = ("write-ahead", "name", "open", "publish")


@contextlib.contextmanager
def opened(key: str) -> Iterator[tuple[KeyDirectory, Record]]:
    """Open the directory of a key and read its record."""
    directory = KeyDirectory.open(key)
    assert directory is not None
    with directory:
        record = records.read(directory, key)
        assert record is not None
        yield directory, record


class Usurper:
    """Takes the lock of a key away from its holder right before his n-th fenced act."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: object, act: int) -> None:
        self._left = act
        self._lock: SpawnLock | None = None
        self.before: bytes | None = None
        monkeypatch.setattr(module, "fenced", self._fenced)

    def _fenced(
        self, lock: SpawnLock, directory: KeyDirectory, record: Record | None
    ) -> contextlib.AbstractContextManager[None]:
        self._left -= 1
        if self._left == 0:
            # As past the deadline of that holder, which no test can wait for.
            os.unlink("lock", dir_fd=directory.fd)
            self._lock = SpawnLock(directory.fd, purpose="usurp")
            self._lock.acquire()
            self.before = directory.read(records.NAME, records.LIMIT)
        return fence.fenced(lock, directory, record)

    def release(self) -> None:
        """Give the lock up again; fails if it was never taken."""
        assert self._lock is not None, "there was no such act"
        assert self._lock.release()


def test_inside_the_fence_the_guard_is_held(state: State) -> None:
    sleeper().ensure()
    with opened("sleeper") as (directory, record), SpawnLock(directory.fd) as lock:
        other = os.open(directory.path, os.O_RDONLY)
        try:
            with fence.fenced(lock, directory, record), pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(other)


def test_an_act_after_the_loss_of_the_lock_is_not_done(state: State) -> None:
    sleeper().ensure()
    with opened("sleeper") as (directory, record), SpawnLock(directory.fd) as lock:
        os.unlink("lock", dir_fd=directory.fd)
        for whose in (record, None):
            with pytest.raises(LockLost), fence.fenced(lock, directory, whose):
                pytest.fail("the act was done")


@pytest.mark.parametrize("content", ["another", "none", "broken"])
def test_an_act_on_a_record_that_is_not_that_one_any_more_is_not_done(
    state: State, content: str
) -> None:
    sleeper().ensure()
    before = state.record_path("sleeper").read_bytes()
    with opened("sleeper") as (directory, record), SpawnLock(directory.fd) as lock:
        match content:
            case "another":
                state.edit("sleeper", nonce="0" * 32)
            case "none":
                state.record_path("sleeper").unlink()
            case "broken":
                state.write("sleeper", b"{")
        with pytest.raises(LockLost, match="replaced"), fence.fenced(lock, directory, record):
            pytest.fail("the act was done")
        with fence.fenced(lock, directory, None):
            pass  # this one takes any
    state.write("sleeper", before)


@pytest.mark.parametrize("act", range(1, len(START) + 1), ids=START)
def test_a_start_that_loses_the_lock_changes_nothing_more(
    state: State, monkeypatch: pytest.MonkeyPatch, act: int
) -> None:
    usurper = Usurper(monkeypatch, attempt, act)
    try:
        with pytest.raises((LockLost, LockTimeout)):
            Server("web", ["sleep", "1000"], timeout=0.3, **QUICK).ensure()
        path = state.record_path("web")
        assert (path.read_bytes() if path.exists() else None) == usurper.before
        # What the record names is for the new holder to judge; what it does not, must not run.
        runs = len(state.servers())
        assert runs == (START[act - 1] == "publish")
    finally:
        usurper.release()


def test_a_start_that_was_not_ready_in_time_and_lost_the_lock_says_that_it_lost_it(
    state: State, small: Small
) -> None:
    """It did not end the server, and does not say so."""
    small.answers(503)

    def hear(text: str) -> None:
        if "answered 503" in text:
            (state.directory("web") / "lock").unlink(missing_ok=True)

    with pytest.raises(LockLost) as caught:
        small.server(on_event=hear, timeout=1.5).ensure()
    assert isinstance(caught.value.__cause__, StartTimeout)
    assert state.servers() == [small.report()["pid"]]


@pytest.mark.parametrize("forget", [True, False])
def test_a_stop_that_loses_the_lock_leaves_the_record(
    state: State, monkeypatch: pytest.MonkeyPatch, forget: bool
) -> None:
    running = sleeper().ensure()
    usurper = Usurper(monkeypatch, stop, 1)
    try:
        with pytest.raises(LockLost):
            stop.stop("sleeper", forget=forget)
        assert state.record_path("sleeper").read_bytes() == usurper.before
        assert not is_alive(running.pid), "that was done before"
    finally:
        usurper.release()


def test_the_end_of_a_server_is_announced_before_its_first_signal(
    state: State, small: Small
) -> None:
    """Whoever ends it may die half way; nobody may be handed the server then."""
    running = small.server("--ignore-term", grace=1.5).ensure()
    with meanwhile(lambda: stop.stop("web", grace=1.5)):
        wait_until((small.directory / "term").exists)
        assert state.record("web")["state"] == "ending"
        assert small.server().status().detail == "it is being ended"
        assert is_alive(running.pid)


def test_a_server_whose_end_was_cut_short_is_ended_and_replaced(state: State, small: Small) -> None:
    first = small.server().ensure()
    state.edit("web", state="ending")
    second = small.server().ensure()
    assert (second.action, is_alive(first.pid)) == ("replaced", False)
    assert state.servers() == [second.pid]


def test_what_a_peer_started_just_before_the_lock_was_free_is_found_under_it(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first look saw nothing; between it and the lock another has come and gone."""
    lock_for: Callable[[KeyDirectory, Spec, str], SpawnLock] = locked.lock_for
    peers: list[Running] = []

    def after_a_peer(directory: KeyDirectory, spec: Spec, purpose: str) -> SpawnLock:
        if not peers:
            monkeypatch.setattr(locked, "lock_for", lock_for)
            peers.append(sleeper().ensure())
        return lock_for(directory, spec, purpose)

    monkeypatch.setattr(locked, "lock_for", after_a_peer)
    running = sleeper().ensure()
    assert (running.action, running.pid) == ("reused", peers[0].pid)
    assert state.servers() == [running.pid]


def test_a_dead_servers_successor_starts_once_it_is_dead(state: State, small: Small) -> None:
    """One that takes its time to end delays the next one: two never run at once."""
    first = small.server("--ignore-term", grace=0.5).ensure()
    seen: list[bool] = []

    def hear(text: str) -> None:
        if text.startswith("started"):
            seen.append(is_alive(first.pid))

    second = small.server(version="2", grace=0.5, on_event=hear).ensure()
    assert second.action == "replaced"
    assert seen == [False]
