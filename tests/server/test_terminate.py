# SPDX-License-Identifier: MIT
"""Ending a server: what the record names, all of its session, and nothing else."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from helpers import wait_until
from pidproof import ArgvPattern, LockLost, Refused, SpawnLock
from pidproof.server import record as records
from pidproof.server.directory import KeyDirectory
from pidproof.server.terminate import end_server
from servers import SLEEPER, is_alive, is_stopped, kill, meanwhile, sleeper


if TYPE_CHECKING:
    from collections.abc import Iterator

    from pidproof.server.record import Record
    from servers import Small, State


@contextlib.contextmanager
def under_lock(key: str) -> Iterator[tuple[SpawnLock, KeyDirectory, Record]]:
    """Hold the lock of a key, as whoever ends its server does."""
    directory = KeyDirectory.open(key)
    assert directory is not None
    with directory, SpawnLock(directory.fd, purpose="test") as lock:
        record = records.read(directory, key)
        assert record is not None
        yield lock, directory, record


def test_a_server_that_listens_to_sigterm_is_terminated(state: State) -> None:
    running = sleeper().ensure()
    with under_lock("sleeper") as (lock, directory, record):
        assert end_server(lock, directory, record, grace=5.0) == "terminated"
    assert not is_alive(running.pid)


def test_the_grace_is_not_waited_for_when_it_is_not_needed() -> None:
    sleeper().ensure()
    began = time.monotonic()
    with under_lock("sleeper") as (lock, directory, record):
        end_server(lock, directory, record, grace=50.0)
    assert time.monotonic() - began < 10


def test_one_that_ignores_sigterm_is_killed_after_the_grace(state: State, small: Small) -> None:
    small.server("--ignore-term").ensure()
    began = time.monotonic()
    with under_lock("web") as (lock, directory, record):
        assert end_server(lock, directory, record, grace=0.3) == "killed"
    assert time.monotonic() - began >= 0.3
    assert (small.directory / "term").exists(), "it was asked first"
    assert not state.running()


def test_one_that_is_gone_is_gone(state: State) -> None:
    running = sleeper().ensure()
    kill(running.pid)
    with under_lock("sleeper") as (lock, directory, record):
        assert end_server(lock, directory, record, grace=1.0) == "gone"


def test_a_stopped_server_is_woken_to_terminate(state: State) -> None:
    running = sleeper().ensure()
    os.kill(running.pid, signal.SIGSTOP)
    wait_until(lambda: is_stopped(running.pid))
    with under_lock("sleeper") as (lock, directory, record):
        assert end_server(lock, directory, record, grace=10.0) == "terminated"


def test_its_children_end_with_it(state: State, small: Small) -> None:
    small.server("--child").ensure()
    child = small.child()
    with under_lock("web") as (lock, directory, record):
        end_server(lock, directory, record, grace=2.0)
    assert not is_alive(child)
    assert not state.running()


def test_its_children_end_too_when_it_was_killed_from_outside(state: State, small: Small) -> None:
    running = small.server("--child").ensure()
    kill(running.pid)
    assert is_alive(small.child())
    with under_lock("web") as (lock, directory, record):
        assert end_server(lock, directory, record, grace=2.0) == "gone"
    assert not is_alive(small.child())


def test_a_child_that_made_itself_independent_is_left_alone(state: State, small: Small) -> None:
    small.server("--own-session-child").ensure()
    child = small.child()
    with under_lock("web") as (lock, directory, record):
        end_server(lock, directory, record, grace=2.0)
    try:
        assert is_alive(child)
        assert not state.servers()
    finally:
        kill(child)


def test_another_command_line_than_the_pattern_is_refused(state: State) -> None:
    running = sleeper().ensure()
    pattern = ArgvPattern(ArgvPattern.named("node"), ...)
    words = re.escape(" ".join(SLEEPER))
    with (
        under_lock("sleeper") as (lock, directory, record),
        pytest.raises(Refused, match=rf"'{words}', which the pattern .* not signalled") as caught,
    ):
        end_server(lock, directory, record, grace=1.0, pattern=pattern)
    assert f"pidproof kill {running.identity}" in str(caught.value.remedy)
    assert is_alive(running.pid)


def test_a_matching_pattern_lets_it_be_ended(state: State) -> None:
    sleeper().ensure()
    with under_lock("sleeper") as (lock, directory, record):
        name, *others = SLEEPER
        any_words = [ArgvPattern.ANY] * len(others)
        pattern = ArgvPattern(ArgvPattern.named(os.path.basename(name)), *any_words)
        assert end_server(lock, directory, record, grace=5.0, pattern=pattern) == "terminated"


def test_the_recorded_pattern_guards_stop_and_replace(state: State, small: Small) -> None:
    pattern = ArgvPattern(sys.executable, "elsewhere.py")
    server = small.server(pattern=pattern, probe_timeout=0.1)
    running = server.ensure()
    with pytest.raises(Refused, match="pattern"):
        server.stop()
    small.answers(500)
    with pytest.raises(Refused, match="pattern"):
        server.ensure()
    assert state.servers() == [running.pid]
    # Without it the record lets go, so that the test can.
    state.edit("web", pattern=None)


def test_a_record_that_was_replaced_protects_its_process(state: State) -> None:
    running = sleeper().ensure()
    nonce = state.record("sleeper")["nonce"]
    with under_lock("sleeper") as (lock, directory, record):
        state.edit("sleeper", nonce="0" * 32)
        with pytest.raises(LockLost, match="replaced by another"):
            end_server(lock, directory, record, grace=1.0)
    assert is_alive(running.pid)
    state.edit("sleeper", nonce=nonce)


def test_a_lock_that_was_taken_over_protects_the_process(state: State) -> None:
    running = sleeper().ensure()
    directory = KeyDirectory.open("sleeper")
    assert directory is not None
    with directory:
        late = SpawnLock(directory.fd, hold=0.0)
        late.acquire()
        record = records.read(directory, "sleeper")
        assert record is not None
        with SpawnLock(directory.fd):
            with pytest.raises(LockLost, match="taken over"):
                end_server(late, directory, record, grace=1.0)
            assert is_alive(running.pid)
        late.release()


def test_it_is_not_killed_if_the_lock_is_lost_during_the_grace(state: State, small: Small) -> None:
    """SIGTERM was still ours to send; what comes after the grace no longer is."""
    running = small.server("--ignore-term").ensure()
    nonce = state.record("web")["nonce"]

    def replace() -> None:
        wait_until((small.directory / "term").exists)
        state.edit("web", nonce="0" * 32)

    with (
        under_lock("web") as (lock, directory, record),
        meanwhile(replace),
        pytest.raises(LockLost),
    ):
        end_server(lock, directory, record, grace=1.0)
    assert is_alive(running.pid)
    state.edit("web", nonce=nonce)
