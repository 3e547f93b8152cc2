# SPDX-License-Identifier: MIT
"""Is the recorded server healthy: its probe, asked of a port that is proven to be its own."""

from __future__ import annotations

import select
import time

from pidproof.frozen import Frozen
from pidproof.process.identity import Liveness
from pidproof.server import listener
from pidproof.server.probe import Health, LogLine, Outcome, Target
from pidproof.server.record import STARTING
from pidproof.server.spawn import has_execed


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pidproof.process.handle import ProcessHandle
    from pidproof.server.paths import KeyDirectory
    from pidproof.server.probe import Probe
    from pidproof.server.record import Record

__all__ = ["Checkup", "check", "check_patiently", "check_running", "exited", "unsure", "wait_ready"]

# While a server starts it is asked at once, then at intervals that grow between these bounds.
FIRST_PAUSE = 0.005
LONGEST_PAUSE = 0.25
# What it waits for is said again, for those who show only what takes long.
SAY_AGAIN = 0.5


class Checkup(Frozen):
    """An outcome, whether a stranger holds the port, and the socket that was proven, if any.

    settled: False if the caller's time ran out before the server had all of its own.
    """

    __slots__ = ("listener", "outcome", "settled", "stranger")
    outcome: Outcome
    stranger: bool
    settled: bool
    listener: dict[str, Any] | None

    @property
    def is_ready(self) -> bool:
        return self.outcome.health is Health.READY


def _checkup(
    health: Health,
    detail: str,
    *,
    stranger: bool = False,
    proven: dict[str, Any] | None = None,
) -> Checkup:
    outcome = Outcome(health=health, detail=detail)
    return Checkup(outcome=outcome, stranger=stranger, settled=True, listener=proven)


def exited() -> Checkup:
    """Return the checkup of a server that runs no more."""
    return _checkup(Health.FAILED, "it has exited")


def unsure() -> Checkup:
    """Return the checkup of a server of which it cannot be told whether it still runs."""
    return _checkup(Health.UNKNOWN, "whether it still runs cannot be told")


def check(directory: KeyDirectory, record: Record, probe: Probe | None, timeout: float) -> Checkup:
    """Ask once.  The port is proven to be the server's first, so that neither a stranger's answer
    counts nor a token reaches him."""
    identity = record.identity
    assert identity is not None
    proven = record.get("listener")
    if record.state == STARTING and not has_execed(identity.pid):
        return _checkup(Health.BUSY, "its command does not run yet")
    if probe is None:
        return _checkup(Health.READY, "it runs, and has no probe")
    if probe.needs_port:
        port = record.port
        if port is None:
            return _checkup(Health.UNKNOWN, f"a {probe.kind} probe needs a port, and none is known")
        if not listener.is_proven(proven, port):
            proof = listener.prove(port, identity, record.nonce)
            if proof.found != "ours":
                health = Health.UNKNOWN if proof.found == "unknown" else Health.FAILED
                return _checkup(health, proof.detail, stranger=proof.found == "stranger")
            proven = proof.listener
    target = Target(
        directory=directory,
        pid=identity.pid,
        port=record.port,
        token=record.get("token", ""),
        log_offset=record.get("log_offset") or 0,
        env=record.get("probe_env") or {},
        owns=lambda pid: listener.is_of(pid, identity, record.nonce),
    )
    outcome = probe.check(target, timeout)
    return Checkup(outcome=outcome, stranger=False, settled=True, listener=proven)


def _unsettled(checkup: Checkup) -> Checkup:
    return Checkup(**{**checkup.as_dict(), "settled": False})


def _suspended() -> float:
    """Seconds that the machine has slept since boot."""
    whole = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(whole) - time.monotonic()


def check_running(
    directory: KeyDirectory, record: Record, probe: Probe | None, timeout: float
) -> Checkup:
    """Ask once a server that was ready before: its log line need not be there any more."""
    if isinstance(probe, LogLine):
        return _checkup(Health.READY, "its log line was seen when it started")
    return check(directory, record, probe, timeout)


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
        asleep = _suspended()
        given = min(wait, deadline - time.monotonic())
        if given <= 0:
            return _unsettled(_checkup(Health.FAILED, "there was no time left to ask it"))
        result = check_running(directory, record, probe, given)
        if result.is_ready or result.outcome.health is Health.UNKNOWN:
            return result
        if handle.liveness() is Liveness.GONE:
            return result
        if given < wait and time.monotonic() >= deadline:
            return _unsettled(result)
        is_busy = result.outcome.health is Health.BUSY
        pause = wait if is_busy else 0.1 * (failures + 1)
        if _suspended() - asleep < 1.0:
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
    while True:
        left = deadline - time.monotonic()
        result = check(directory, record, probe, max(0.001, min(timeout, left)))
        if result.is_ready or result.stranger:
            return result
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
