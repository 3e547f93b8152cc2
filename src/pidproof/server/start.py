# SPDX-License-Identifier: MIT
"""Starting a server so that no crash can orphan it: recorded first, then let go, then published.

The steps have the names that docs/protocol.md gives them: write-ahead, fork, name, open, ready,
publish, and reject on every way out that is not success.
"""

from __future__ import annotations

from pidproof.errors import (
    PortInUse,
    RecordError,
    StateError,
)
from pidproof.interrupts import Relay
from pidproof.server import record as records
from pidproof.server.attempt import Attempt
from pidproof.server.plan import Plan, choose_port, prepare
from pidproof.server.record import FAILED
from pidproof.server.spawn import check_command


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pidproof.server.fence import Job
    from pidproof.server.record import Record

__all__ = ["start"]

# A port that was free when we chose it can be taken before the server binds it.
PORT_ATTEMPTS = 3


def start(
    job: Job,
    previous: Record | None,
    *,
    managed: str = "auto",
    extra: dict[str, Any] | None = None,
) -> Record:
    """Start the server, under the lock, with whoever the record named before proven gone.

    Returns the record as published.  Whatever else happens, the child is ended and reaped before
    the error is raised, interrupts included.  `extra` are fields for the record.

    Raises:
        CommandNotFound, CommandNotExecutable, NeverHealthy, StartTimeout, PortInUse, StateError,
        LockLost.
    """
    spec = job.spec
    path = check_command(spec)
    attempts = PORT_ATTEMPTS if spec.port == "auto" else 1
    while True:
        port, bound = choose_port(spec, previous)
        try:
            plan = Plan(spec, port, bound)
            record = prepare(spec, plan, job.directory, previous, path=path, managed=managed).with_(
                **(extra or {})
            )
            return _start_once(job, plan, record, previous, path)
        except PortInUse as taken:
            # It went to another between our choice and the server's own bind.
            attempts -= 1
            previous = _failed_record(job) if attempts else None
            if previous is None:
                raise
            job.say(f"{taken.message}; trying another port")
        finally:
            if bound is not None:
                bound.close()


def _failed_record(job: Job) -> Record | None:
    """Return the record if it says `failed`, which it does only once the end of that server was
    proven: else it may run still, and would run beside the next one."""
    try:
        record = records.read(job.directory, job.spec.key)
    except (records.BrokenRecord, RecordError, StateError):
        return None
    return record if record is not None and record.state == FAILED else None


def _start_once(job: Job, plan: Plan, record: Record, previous: Record | None, path: str) -> Record:
    attempt, relay = Attempt(job, record), Relay()
    try:
        relay.begin()
        attempt.write_ahead(previous, plan)
        attempt.fork(plan, path)
        attempt.open_gate(plan.bound)
        checkup = attempt.until_ready()
        if not checkup.is_ready:
            raise attempt.failure(checkup)
        relay.hold()
        attempt.publish(checkup)
    except BaseException as error:
        try:
            relay.hold()
        finally:
            attempt.reject(error)
        raise
    finally:
        try:
            attempt.close()
        finally:
            try:
                relay.end()
            finally:
                relay.end()
    return attempt.record
