# SPDX-License-Identifier: MIT
"""Ask a server again and again: with patience while it runs, until it is ready when it starts."""

from __future__ import annotations

import select
import time

from pidproof import _native
from pidproof.process.liveness import Liveness
from pidproof.server.checkup import Checkup, check, check_running, checkup_of
from pidproof.server.probe import BUSY, FAILED, UNKNOWN


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pidproof.process.handle import ProcessHandle
    from pidproof.server.directory import KeyDirectory
    from pidproof.server.probe import Probe
    from pidproof.server.record import Record

__all__ = ["check_patiently", "exited", "unsure", "wait_ready"]

# While a server starts it is asked at once, then at intervals that grow between these bounds.
FIRST_PAUSE = 0.005
LONGEST_PAUSE = 0.25
# What it waits for is said again, for those who show only what takes long.
SAY_AGAIN = 0.5


def exited() -> Checkup:
    """Return the checkup of a server that runs no more."""
    return checkup_of(FAILED, "it has exited")


def unsure() -> Checkup:
    """Return the checkup of a server of which it cannot be told whether it still runs."""
    return checkup_of(UNKNOWN, "whether it still runs cannot be told")


def _unsettled(checkup: Checkup) -> Checkup:
    return Checkup(**{**checkup.as_dict(), "settled": False})


def check_patiently(
    directory: KeyDirectory,
    record: Record,
    probe: Probe | None,
    *,
    timeout: float,
    threshold: int,
    deadline: float,
    handle: ProcessHandle,
) -> Checkup:
    """Ask a running server until it is ready, or has failed `threshold` times in a row.

    Each time is given twice as long as the one before, for a slow server is not a dead one; one
    that says it is busy is asked again after that long.  A failure while the machine slept does
    not count, nor one of a probe that the deadline cut short: the result is then not settled.
    """
    failures, wait = 0, timeout
    while True:
        asleep = _native.suspended()
        given = min(wait, deadline - time.monotonic())
        if given <= 0:
            return _unsettled(checkup_of(FAILED, "there was no time left to ask it"))
        result = check_running(directory, record, probe, given)
        if result.is_ready or result.outcome.health == UNKNOWN:
            return result
        if handle.liveness() is Liveness.GONE:
            return result
        if given < wait and time.monotonic() >= deadline:
            return _unsettled(result)
        is_busy = result.outcome.health == BUSY
        pause = wait if is_busy else 0.1 * (failures + 1)
        if _native.suspended() - asleep < 1.0:
            failures += 1
            wait *= 2
        if failures >= threshold:
            return result
        left = deadline - time.monotonic()
        if left <= pause:
            return _unsettled(result)
        _pause(handle, pause)


def wait_ready(
    directory: KeyDirectory,
    record: Record,
    probe: Probe | None,
    *,
    timeout: float,
    deadline: float,
    handle: ProcessHandle,
    say: Callable[[str], None],
) -> Checkup:
    """Ask a starting server until it is ready, exits, or the deadline passes; a stranger on its
    port ends the wait too.  Returns the last checkup."""
    pause, said, said_at = FIRST_PAUSE, "", 0.0
    before: Checkup | None = None
    longest = 0.0
    while True:
        given = max(0.001, min(timeout, deadline - time.monotonic()))
        result = check(directory, record, probe, given)
        if result.is_ready or result.stranger:
            return result
        longest = max(longest, given)
        if given < longest / 10 and before is not None:
            result = before  # what it said in its time tells more than silence in a tenth of that
        before = result
        left = deadline - time.monotonic()
        if left <= 0 or handle.liveness() is Liveness.GONE:
            return result
        if result.outcome.detail != said or time.monotonic() - said_at > SAY_AGAIN:
            said, said_at = result.outcome.detail, time.monotonic()
            say(f"waiting for {record.key}: {said}")
        _pause(handle, min(left, pause))
        pause = min(pause * 1.5, LONGEST_PAUSE)


def _pause(handle: ProcessHandle, seconds: float) -> None:
    """Sleep, but not past the end of the process."""
    if handle.fileno() < 0:
        time.sleep(seconds)
        return
    poller = select.poll()
    poller.register(handle.fileno(), select.POLLIN)
    poller.poll(max(1, int(seconds * 1000)))
