# SPDX-License-Identifier: MIT
"""The main job: return the one healthy server of a key, started if need be.

Without the lock: a record that names a process proven alive, of a fitting version, and healthy.
Under it: the same look again, then end what must not stay, then start.
"""

from __future__ import annotations

import time

from pidproof.errors import (
    IdentityUnknown,
    LockLost,
    LockTimeout,
    ProcessGone,
    RecordError,
    Refused,
    VersionMismatch,
)
from pidproof.lock.spawn_lock import SpawnLock
from pidproof.process.identity import Liveness
from pidproof.server import record as records
from pidproof.server.health import check_running
from pidproof.server.paths import KeyDirectory
from pidproof.server.record import FAILED, RUNNING, STARTING, BrokenRecord, Record
from pidproof.server.results import Running
from pidproof.server.spawn import reap_finished


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal

    from pidproof.server.spec import Spec

__all__ = ["ensure", "lock_for", "read_record", "running"]

# Two callers that want different versions may replace each other's server once in this time.
REPLACE_AGAIN = 60.0


def ensure(spec: Spec, say: Callable[[str], None]) -> Running:
    """Return the healthy server of the key; `say` is told what takes long.

    Raises:
        Error: every kind but InvalidToken; each says what was found and what was not done.
    """
    began = time.monotonic()
    deadline = began + spec.timeout
    reap_finished()
    directory = KeyDirectory.open(spec.key, create=True)
    assert directory is not None
    with directory:
        while True:
            record = _read_quietly(directory, spec.key)
            if record is not None and _is_reusable(directory, record, spec):
                return running(record, "reused", began)
            lock = lock_for(directory, spec, "ensure")
            try:
                if not lock.acquire(
                    timeout=max(0.0, deadline - time.monotonic()),
                    satisfied=lambda seen=record: _has_come_up(directory, spec.key, seen),
                ):
                    continue  # a peer has started it meanwhile: look at that one
                record, action = _ensure_locked(lock, directory, spec, deadline, say)
                return running(record, action, began)
            except LockLost:
                if time.monotonic() >= deadline:
                    raise
                say(f"another process took over the lock of {spec.key}; looking again")
            except LockTimeout as error:
                error.remedy = f"{error.remedy}; its log: pidproof logs {spec.key}"
                raise
            finally:
                lock.release()


def lock_for(directory: KeyDirectory, spec: Spec, purpose: str) -> SpawnLock:
    """Return the lock of a key, with a hold that no legal work of ours exceeds."""
    hold = spec.timeout + spec.startup_timeout + 3 * spec.grace + 30.0
    return SpawnLock(directory.fd, hold=hold, purpose=purpose)


def running(
    record: Record, action: Literal["reused", "spawned", "adopted", "replaced"], began: float
) -> Running:
    assert record.identity is not None
    return Running(
        key=record.key,
        pid=record.identity.pid,
        identity=record.identity,
        url=record.url,
        port=record.port,
        state=record.state,
        action=action,
        version=record.version,
        log=record.get("log"),
        token=record.get("token", ""),
        elapsed_ms=round((time.monotonic() - began) * 1000, 3),
    )


# ------------------------------------------------------------------------------- without the lock


def _read_quietly(directory: KeyDirectory, key: str) -> Record | None:
    """Return the record; a broken one is looked at under the lock."""
    try:
        return records.read(directory, key)
    except BrokenRecord:
        return None


def _is_reusable(directory: KeyDirectory, record: Record, spec: Spec) -> bool:
    if record.state != RUNNING or record.identity is None:
        return False
    if record.identity.liveness() is not Liveness.ALIVE or _mismatch(record, spec) == "replace":
        return False
    return check_running(directory, record, spec.probe, spec.probe_timeout).is_ready


def _has_come_up(directory: KeyDirectory, key: str, seen: Record | None) -> bool:
    """Is there a running server now that we have not looked at yet?"""
    now = _read_quietly(directory, key)
    if now is None or now.state != RUNNING or now.identity is None:
        return False
    if seen is not None and seen.state == RUNNING and now.is_same_start(seen):
        return False
    return now.identity.liveness() is Liveness.ALIVE


# ---------------------------------------------------------------------------------- under the lock


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


def _ensure_locked(
    lock: SpawnLock,
    directory: KeyDirectory,
    spec: Spec,
    deadline: float,
    say: Callable[[str], None],
) -> tuple[Record, Literal["reused", "spawned", "adopted", "replaced"]]:
    from pidproof.server.start import start

    previous = read_record(directory, spec.key)
    action: Literal["spawned", "replaced"] = "spawned"
    extra: dict[str, Any] = {}
    if previous is not None and previous.state != FAILED and previous.identity is not None:
        liveness, evidence = previous.identity.explain()
        if liveness is Liveness.UNKNOWN:
            extra = _beside(previous, evidence, spec)
        elif liveness is Liveness.ALIVE:
            outcome = _settle(lock, directory, previous, spec, deadline, say)
            if not isinstance(outcome, dict):
                return outcome
            action, extra = "replaced", outcome
        else:
            _clear_session(lock, directory, previous, spec)
    record = start(
        lock, directory, spec, previous, deadline=deadline, say=say, extra=extra
    )
    return record, action


def _beside(previous: Record, evidence: str, spec: Spec) -> dict[str, Any]:
    """The recorded server can be neither proven nor ended: only on demand is one started beside."""
    assert previous.identity is not None
    if spec.on_unknown != "beside":
        raise IdentityUnknown(
            f"whether the recorded server of {spec.key!r} (process {previous.identity.pid}) still "
            f"runs cannot be told: {evidence}; nothing was ended and nothing started",
            remedy="look from where it was started, or start another beside it with "
            "--on-unknown beside",
            pid=previous.identity.pid,
        )
    return {"beside": [*(previous.get("beside") or []), str(previous.identity)]}


def _clear_session(
    lock: SpawnLock, directory: KeyDirectory, previous: Record, spec: Spec
) -> None:
    """End what a server that died has left running of its session."""
    from pidproof.server import log
    from pidproof.server.terminate import end_session

    if previous.managed != "auto":
        return
    ended = end_session(lock, directory, previous, grace=spec.grace)
    if ended and previous.identity is not None:
        log.append_history(
            directory, "cleared", pid=previous.identity.pid,
            evidence=f"{ended} processes of the session of a server that is gone",
        )


def _settle(
    lock: SpawnLock,
    directory: KeyDirectory,
    record: Record,
    spec: Spec,
    deadline: float,
    say: Callable[[str], None],
) -> tuple[Record, Literal["reused", "adopted"]] | dict[str, Any]:
    """Decide about a recorded server that runs: return it, or end it.

    After ending it, returns the fields that the next record is to carry.
    """
    from pidproof.server import log
    from pidproof.server.terminate import end_server

    assert record.identity is not None
    mismatch = _mismatch(record, spec)
    reason = f"version {record.version}, not {spec.version}"
    if mismatch != "replace":
        try:
            kept, reason = _keep_if_healthy(lock, directory, record, spec, deadline, say)
        except ProcessGone:
            _clear_session(lock, directory, record, spec)
            return {}
        if kept is not None:
            return kept
    if record.managed != "auto":
        raise Refused(
            f"process {record.identity.pid}, the server of {spec.key!r}, was started by hand and "
            f"is not what was asked for ({reason}); it was left alone",
            remedy=f"pidproof stop {spec.key}, then run this again",
            pid=record.identity.pid,
        )
    say(f"ending process {record.identity.pid} of {spec.key}: {reason}")
    how = end_server(
        lock, directory, record, grace=spec.grace, pattern=spec.pattern or _pattern_of(record)
    )
    log.append_history(directory, "ended", pid=record.identity.pid, how=how, evidence=reason)
    if mismatch == "replace":
        return {"replaced": {"version": record.version, "at": time.monotonic()}}
    return {}


def _pattern_of(record: Record) -> Any:
    from pidproof.process.pattern import ArgvPattern

    return ArgvPattern.from_json(record.get("pattern")) if record.get("pattern") else None


def _keep_if_healthy(
    lock: SpawnLock,
    directory: KeyDirectory,
    record: Record,
    spec: Spec,
    deadline: float,
    say: Callable[[str], None],
) -> tuple[tuple[Record, Literal["reused", "adopted"]] | None, str]:
    """Return the server if it is healthy, or comes up in the time that its start has; else why."""
    from pidproof.server.health import check_patiently, wait_ready
    from pidproof.server.probe import Health
    from pidproof.server.start import publish

    assert record.identity is not None
    with record.identity.open() as handle:
        if record.state == STARTING:
            # Its launcher died after letting it run: it has what is left of its start-up time.
            since = record.get("started") or time.monotonic()
            until = min(deadline, max(since, time.monotonic() - 86400) + spec.startup_timeout)
            checkup = wait_ready(
                directory, record, spec.probe, timeout=spec.probe_timeout, deadline=until,
                handle=handle, say=say,
            )
        else:
            checkup = check_patiently(
                directory, record, spec.probe, timeout=spec.probe_timeout,
                threshold=spec.failure_threshold, deadline=deadline, handle=handle,
            )
        if handle.liveness() is Liveness.GONE:
            raise ProcessGone(f"process {handle.pid} has exited", pid=handle.pid)
        if checkup.outcome.health is Health.UNKNOWN:
            raise IdentityUnknown(
                f"whether {spec.key!r} (process {handle.pid}) is healthy cannot be told: "
                f"{checkup.outcome.detail}; it was left alone",
                remedy="run this from where that port or socket can be reached",
                pid=handle.pid,
            )
        if not checkup.is_ready:
            return None, checkup.outcome.detail
    if record.state == STARTING:
        return (publish(lock, directory, record, checkup), "adopted"), ""
    if checkup.listener != record.get("listener"):
        record = publish(lock, directory, record, checkup)
    return (record, "reused"), ""


# ---------------------------------------------------------------------------------------- versions


def _numbers(version: str) -> tuple[int, ...] | None:
    """Return a version of plain numbers as such, without trailing zeros; None for any other."""
    parts = version.removeprefix("v").split(".")
    if not all(part.isascii() and part.isdigit() for part in parts):
        return None
    numbers = [int(part[:18]) for part in parts]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _mismatch(record: Record, spec: Spec) -> Literal["fits", "reuse", "replace"]:
    """Say what the recorded version means for this caller.

    Raises:
        VersionMismatch: the policy is error, or two callers replace each other's server.
    """
    if spec.version is None or record.version == spec.version or spec.on_mismatch == "reuse":
        return "fits"
    if spec.on_mismatch == "upgrade" and record.version is not None:
        have, want = _numbers(record.version), _numbers(spec.version)
        if have is not None and want is not None and have >= want:
            return "reuse"  # never a downgrade
    if spec.on_mismatch == "error":
        raise VersionMismatch(
            f"the server of {spec.key!r} has version {record.version}, not {spec.version}; "
            "it was left alone",
            remedy="use --on-mismatch replace, upgrade or reuse",
            running=record.version,
            wanted=spec.version,
        )
    replaced = record.get("replaced")
    if isinstance(replaced, dict) and replaced.get("version") == spec.version:
        age = time.monotonic() - float(replaced.get("at") or 0)
        if 0 <= age < REPLACE_AGAIN:
            raise VersionMismatch(
                f"the server of {spec.key!r} was replaced from version {spec.version} to "
                f"{record.version} {age:.0f} s ago; it was not replaced back: two callers want "
                "different versions",
                remedy="let both ask for one version, or use two keys, or --on-mismatch reuse",
                running=record.version,
                wanted=spec.version,
            )
    return "replace"
