# SPDX-License-Identifier: MIT
"""A launcher suspended in the midst of an operation, those who come meanwhile, and its awakening.

`stop`: another comes while it is suspended, with little time; then it goes on.
`steal`: the deadline that it wrote into its lock has passed besides, so the other takes the lock.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator

from faults.judge import content, file_of_key, live_servers, named, untracked
from faults.operations import BOUND, Operation, Outcome, Telling, has_ended, in_child, server
from pidproof.lock.spawn_lock import SpawnLock
from ptrace_strike import Traced


# What another launcher is given where it may wait in vain, and by how much it may be late on a
# machine with other work.
GIVEN = 0.3
LATE = 1.0
AWAKENING = 10.0


class Suspension:
    """One launcher, suspended; `tally` counts what was seen over all points."""

    def __init__(
        self,
        traced: Traced,
        telling: Telling,
        operation: Operation,
        *,
        state: str,
        binary: str,
        tally: Counter[str],
    ) -> None:
        self._traced = traced
        self._telling = telling
        self._operation = operation
        self._state = state
        self._binary = binary
        self._tally = tally
        self.slowest_waiter = 0.0

    def strike(self, *, steal: bool) -> Iterator[str]:
        """Suspend it after its call, let another come, let it go on; yields violations."""
        if not self._traced.suspend():
            self._tally["ended by that call"] += 1
            return
        yield from untracked(self._state, "while it is suspended")
        is_inside = _guard_is_held()
        lock = content("lock")
        if is_inside:
            self._tally["inside the guard"] += 1
        elif lock is not None:
            self._tally["holding the lock"] += 1
        is_aged = steal and _age_lock()
        # Where it keeps nobody out, only a machine with other work makes a wait long.
        is_in_the_way = is_inside or (lock is not None and not is_aged)
        given = GIVEN if is_in_the_way else AWAKENING
        other = self._other(given)
        if other.kind == "LockTimeout" and other.took > given + LATE:
            # A machine with other work is late now and then, and what waits too long always.
            self._tally["late once"] += 1
            other = self._other(given)
        yield from untracked(self._state, "after another came")
        yield from self._judge_other(other, given, is_free=lock is None and not is_inside)
        is_stolen = is_aged and not _is_the_same(lock)
        if is_stolen and is_inside:
            yield "its lock was stolen from inside the guard"
        yield from self._awaken(other, is_stolen=is_stolen)

    def _other(self, given: float) -> Outcome:
        other = in_child(
            server(self._binary, self._operation.wanted, timeout=given).ensure,
            seconds=given + 10 * LATE,
        )
        self.slowest_waiter = max(self.slowest_waiter, other.took)
        self._tally[f"the other: {other.kind}"] += 1
        return other

    def _judge_other(self, other: Outcome, given: float, *, is_free: bool) -> Iterator[str]:
        if other.took > min(given, BOUND) + LATE or other.kind == "nothing":
            yield f"the other had {given:g} s and took {other.took:.2f}: {other}"
        if other.kind == "Running":
            if live_servers(self._state) != [other.pid] or named() != other.pid:
                yield f"the other got {other.pid}, and there is {live_servers(self._state)}"
        elif other.kind != "LockTimeout" or is_free:
            yield f"the other ended with {other}"
        elif f"process {self._traced.pid} " not in other.text or not other.remedy:
            yield f"the other was not told who holds it: {other.text!r}, {other.remedy!r}"

    def _awaken(self, other: Outcome, *, is_stolen: bool) -> Iterator[str]:
        record, watch = content("record.json"), None
        if is_stolen:
            self._tally["stolen"] += 1
            # A lock of another, which it must leave alone until it knows that it lost its own.
            watch = SpawnLock(_directory(), timeout=1.0, purpose="watch")
            watch.acquire()
        self._traced.resume()
        deadline = time.monotonic() + AWAKENING
        while watch is not None and not self._telling.lost and not has_ended(self._traced.pid, 0):
            if time.monotonic() > deadline:
                break
            time.sleep(0.0005)
        if watch is not None and not watch.release():
            yield "it removed the lock of another"
        if not has_ended(self._traced.pid, max(0.0, deadline - time.monotonic())):
            yield f"it did not end within {AWAKENING:g} s of going on"
            os.kill(self._traced.pid, signal.SIGKILL)
        status = self._traced.collect()
        outcome = self._telling.outcome()
        self._tally[f"it: {outcome.kind}"] += 1
        if self._telling.lost:
            self._tally["LockLost"] += 1
        if status != 0 or not outcome.is_typed:
            yield f"it ended with {status}, {outcome}"
        if is_stolen and content("record.json") != record:
            yield "it changed the record of another"
        if not outcome.is_success and not is_stolen:
            yield f"nobody took its lock, and it ended with {outcome}"
        if not is_stolen and self._telling.lost:
            yield "nobody took its lock, and it believed so"
        yield from self._judge_servers(other, outcome, is_stolen=is_stolen)

    def _judge_servers(self, other: Outcome, outcome: Outcome, *, is_stolen: bool) -> Iterator[str]:
        alive = live_servers(self._state)
        if outcome.kind == "Running" and alive != [outcome.pid]:
            yield f"it got {outcome.pid}, and there is {alive}"
        # Only a stop that has the lock ends the server of another.
        may_end = outcome.kind == "Stopped" and not is_stolen
        if other.kind == "Running" and alive != [other.pid] and not (may_end and not alive):
            yield f"the server {other.pid} of the other is no more: {alive}"


def _directory() -> str:
    path = file_of_key(".")
    assert path is not None
    return str(path)


def _guard_is_held() -> bool:
    """Whether somebody is inside the guard: only the suspended one can be."""
    path = file_of_key(".")
    if path is None:
        return False
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _aged(line: bytes) -> bytes:
    """Return a lock's line with the deadline at its beginning, which is past."""
    word, version, nonce, token, since, _, purpose = line.split(b" ")
    return b" ".join((word, version, nonce, token, since, since, purpose))


def _age_lock() -> bool:
    """Write into the lock file, in place, what the passing of time amounts to."""
    path, line = file_of_key("lock"), content("lock")
    if path is None or not line or not line.endswith(b"\n"):
        return False
    with open(path, "r+b") as file:
        file.write(_aged(line))
        file.truncate()
    return True


def _is_the_same(lock: bytes | None) -> bool:
    """Whether the lock file is the one that was aged."""
    return lock is not None and content("lock") == _aged(lock)
