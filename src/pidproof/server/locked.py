# SPDX-License-Identifier: MIT
"""The same job under the lock: look again, end what must not stay, start what is missing."""

from __future__ import annotations

import time

from pidproof import _native
from pidproof.errors import (
    IdentityUnknown,
    LockLost,
    LockTimeout,
    ProcessGone,
    RecordError,
    Refused,
    WaitTimeout,
)
from pidproof.lock.spawn_lock import SpawnLock
from pidproof.process.liveness import Liveness
from pidproof.server import record as records
from pidproof.server.fence import Job
from pidproof.server.record import ENDING, RUNNING, STARTING, BrokenRecord
from pidproof.server.version import mismatch_of


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal

    from pidproof.server.directory import KeyDirectory
    from pidproof.server.record import Record
    from pidproof.server.spec import Spec

    Found = tuple[Record, Literal["reused", "spawned", "adopted", "replaced"]]

__all__ = ["ensure_locked", "lock_for", "read_record"]


def ensure_locked(
    spec: Spec,
    directory: KeyDirectory,
    seen: Record | None,
    *,
    deadline: float,
    say: Callable[[str], None],
) -> Found | None:
    """Take the lock and return the server, or None if a look without the lock is due again:
    a peer has started one meanwhile, or the lock was lost.

    seen: the record that was found not to do.
    """
    lock = lock_for(directory, spec, "ensure")
    try:
        if not lock.acquire(
            timeout=max(0.0, deadline - time.monotonic()),
            satisfied=_comes_up(directory, spec.key, seen, say),
        ):
            return None
        return _decide(Job(lock=lock, directory=directory, spec=spec, deadline=deadline, say=say))
    except LockLost:
        if time.monotonic() >= deadline:
            raise
        say(f"another process took over the lock of {spec.key}; looking again")
        return None
    except LockTimeout as error:
        error.remedy = f"{error.remedy}; its log: pidproof logs {spec.key}"
        raise
    finally:
        lock.release()


def lock_for(directory: KeyDirectory, spec: Spec, purpose: str) -> SpawnLock:
    """Return the lock of a key, with a hold that no legal work of ours exceeds."""
    hold = spec.timeout + spec.startup_timeout + 3 * spec.grace + 30.0
    return SpawnLock(directory.fd, hold=hold, purpose=purpose)


def _comes_up(
    directory: KeyDirectory, key: str, seen: Record | None, say: Callable[[str], None]
) -> Callable[[], bool]:
    """Return what asks: is there a running server now that we have not looked at yet?"""

    def has_come_up() -> bool:
        say(f"waiting for {key}: another process is starting or ending it")
        try:
            now = records.read(directory, key)
        except BrokenRecord:
            return False
        if now is None or now.state != RUNNING or now.identity is None:
            return False
        if seen is not None and seen.state == RUNNING and now.is_same_start(seen):
            return False
        return now.identity.liveness() is Liveness.ALIVE

    return has_come_up


def read_record(directory: KeyDirectory, key: str) -> Record | None:
    """Return the record under the lock; a broken one is none if nobody claims to be its server.

    Raises:
        RecordError: it is broken, and a process runs that was started under it.
    """
    try:
        return records.read(directory, key)
    except BrokenRecord as error:
        from pidproof.server.sweep import claimants

        for identity in claimants(f"{directory.path}/{records.NAME}"):
            raise RecordError(
                f"{error}, and process {identity.pid} was started under it; nothing was done",
                remedy=f"end that process: pidproof sweep, or pidproof kill {identity}",
                path=f"{directory.path}/{records.NAME}",
                pid=identity.pid,
            ) from error
        return None


def _decide(job: Job) -> Found:
    from pidproof.server.start import start

    previous = read_record(job.directory, job.spec.key)
    action: Literal["spawned", "replaced"] = "spawned"
    extra: dict[str, Any] = {}
    if previous is not None and previous.identity is not None:
        liveness, evidence = previous.identity.explain()
        if liveness is Liveness.UNKNOWN:
            extra = _beside(job, previous, evidence)
        elif liveness is Liveness.ALIVE:
            outcome = _settle(job, previous)
            if outcome is None:
                pass  # it exited by itself while we looked
            elif isinstance(outcome, dict):
                action, extra = "replaced", outcome
                # Whoever ends a server owes another one: its start gets the time that a start has.
                owed = max(job.deadline, time.monotonic() + job.spec.startup_timeout)
                job = Job(**{**job.as_dict(), "deadline": owed})
            else:
                return outcome
        else:
            _clear_session(job, previous)
    if previous is not None and (kept := previous.beside()):
        extra["beside"] = [*kept, *extra.get("beside", ())]
    return start(job, previous, extra=extra), action


def _beside(job: Job, previous: Record, evidence: str) -> dict[str, Any]:
    """A server that can be neither proven nor ended: only on demand is one started beside it."""
    assert previous.identity is not None
    if job.spec.on_unknown != "beside":
        raise IdentityUnknown(
            f"whether the recorded server of {previous.key!r} (process "
            f"{previous.identity.pid}) still runs cannot be told: {evidence}; "
            "nothing was ended and nothing started",
            remedy="look from where it was started, or start another beside it with "
            "--on-unknown beside",
            pid=previous.identity.pid,
        )
    return {"beside": [str(previous.identity)]}


def _clear_session(job: Job, previous: Record) -> None:
    """End what a server that died has left running of its session."""
    from pidproof.server import log
    from pidproof.server.terminate import end_session

    ended = end_session(job.lock, job.directory, previous, grace=job.spec.grace)
    if ended and previous.identity is not None:
        log.append_history(
            job.directory,
            "cleared",
            pid=previous.identity.pid,
            evidence=f"{ended} processes of the session of a server that is gone",
        )


def _settle(
    job: Job, record: Record
) -> tuple[Record, Literal["reused", "adopted"]] | dict[str, Any] | None:
    """Decide about a recorded server that runs: return it, or end it.

    After ending it, returns the fields that the next record is to carry; None: it exited by itself.
    """
    from pidproof.server import log
    from pidproof.server.spawn import check_command
    from pidproof.server.terminate import end_server

    assert record.identity is not None
    mismatch = mismatch_of(record, job.spec)
    reason = f"version {record.version}, not {job.spec.version}"
    if record.state == ENDING:
        reason = "whoever was ending it died half way"
    elif mismatch != "replace":
        try:
            kept, reason = _keep_if_healthy(job, record)
        except ProcessGone:
            _clear_session(job, record)
            return None
        if kept is not None:
            return kept
    if record.managed != "auto":
        raise Refused(
            f"process {record.identity.pid}, the server of {record.key!r}, was started by hand "
            f"and is not what was asked for ({reason}); it was left alone",
            remedy=f"pidproof stop {record.key}, then run this again",
            pid=record.identity.pid,
        )
    check_command(job.spec)  # who cannot be started is no reason to end what runs
    job.say(f"ending process {record.identity.pid} of {record.key}: {reason}")
    how = end_server(
        job.lock,
        job.directory,
        record,
        grace=job.spec.grace,
        pattern=record.pattern(),
        also=job.spec.pattern,
    )
    log.append_history(job.directory, "ended", pid=record.identity.pid, how=how, evidence=reason)
    if mismatch == "replace":
        return {"replaced": {"version": record.version, "at": _native.boot_clock()}}
    return {}


def _keep_if_healthy(
    job: Job, record: Record
) -> tuple[tuple[Record, Literal["reused", "adopted"]] | None, str]:
    """Return the server if it is healthy, or comes up in the time its start has; else why not."""
    from pidproof.server.attempt import publish
    from pidproof.server.health import check_patiently, wait_ready
    from pidproof.server.probe import UNKNOWN

    assert record.identity is not None
    spec, until = job.spec, 0.0
    with record.identity.open() as handle:
        if record.state == STARTING:
            # Its launcher died after letting it run: it has what is left of its start-up time.
            started = record.get("started")
            age = 0.0 if started is None else _native.boot_clock() - started
            whole = record.option("startup_timeout") or spec.startup_timeout
            until = time.monotonic() + whole - age
            checkup = wait_ready(
                job.directory,
                record,
                spec.probe,
                timeout=spec.probe_timeout,
                deadline=min(job.deadline, until),
                handle=handle,
                say=job.say,
            )
        else:
            checkup = check_patiently(
                job.directory,
                record,
                spec.probe,
                timeout=spec.probe_timeout,
                threshold=spec.failure_threshold,
                deadline=job.deadline,
                handle=handle,
            )
        if handle.liveness() is Liveness.GONE:
            raise ProcessGone(f"process {handle.pid} has exited", pid=handle.pid)
        if checkup.outcome.health == UNKNOWN:
            raise IdentityUnknown(
                f"whether {record.key!r} (process {handle.pid}) is healthy cannot be told: "
                f"{checkup.outcome.detail}; it was left alone",
                remedy="run this from where that port or socket can be reached",
                pid=handle.pid,
            )
        if not checkup.is_ready:
            is_settled = checkup.settled if record.state != STARTING else until <= job.deadline
            if not is_settled and not checkup.stranger:
                raise WaitTimeout(
                    f"whether {record.key!r} (process {handle.pid}) is healthy was not settled in "
                    f"the {spec.timeout:g} s given ({checkup.outcome.detail}); it was left alone",
                    remedy="wait longer (--timeout)",
                    pid=handle.pid,
                )
            return None, checkup.outcome.detail
    if record.state == STARTING:
        return (publish(job, record, checkup), "adopted"), ""
    if checkup.listener != record.get("listener"):
        record = publish(job, record, checkup)
    return (record, "reused"), ""
