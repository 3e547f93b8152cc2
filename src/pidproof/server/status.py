# SPDX-License-Identifier: MIT
"""Looking at a key without changing anything, and without the lock."""

from __future__ import annotations

from pidproof.errors import InvalidArgument, typed
from pidproof.process.handle import state_of
from pidproof.process.liveness import Liveness
from pidproof.server import record as records
from pidproof.server.checkup import check, check_running
from pidproof.server.directory import KeyDirectory
from pidproof.server.paths import list_names
from pidproof.server.probe import READY, UNKNOWN
from pidproof.server.probes import from_json
from pidproof.server.record import ENDING, FAILED, STARTING, STOPPED, BrokenRecord, Record
from pidproof.server.results import Status


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pidproof.server.probe import Probe

__all__ = ["list_all", "status"]


def _absent(key: str, detail: str = "no server is recorded") -> Status:
    return Status(
        key=key,
        state="absent",
        detail=detail,
        pid=None,
        identity=None,
        url=None,
        port=None,
        managed=None,
        version=None,
        command=(),
        log=None,
        started_at=None,
    )


@typed
def status(key: str, *, probe: Probe | None = None, timeout: float = 2.0) -> Status:
    """Return what is known of a key, after one probe of at most `timeout` seconds.

    Raises:
        InvalidArgument: malformed key.
        StateError: the state cannot be read, or is of a later version.
    """
    directory = KeyDirectory.open(key)
    if directory is None:
        return _absent(key)
    with directory:
        try:
            record = records.read(directory, key)
        except BrokenRecord as error:
            return _unknown(key, str(error))
        return _absent(key) if record is None else _look(directory, record, probe, timeout)


def _unknown(key: str, detail: str) -> Status:
    fields = _absent(key).as_dict()
    return Status(**{**fields, "state": "unknown", "detail": detail})


@typed
def list_all(*, timeout: float = 2.0) -> tuple[Status, ...]:
    """Return the status of every key of this machine, in the order of their directories.

    Raises:
        StateError: the state directory cannot be used.

    One that cannot be read is listed as unknown, with the name of its directory as its key.
    """
    return tuple(_look_at_all(timeout))


def _look_at_all(timeout: float) -> Iterator[Status]:
    for name in list_names():
        try:
            directory = KeyDirectory.named(name)
            if directory is None:
                continue
            with directory:
                record = records.read(directory, None)
                if record is not None:
                    yield _look(directory, record, None, timeout)
        except (BrokenRecord, OSError) as error:
            yield _unknown(name, str(error))


def _look(directory: KeyDirectory, record: Record, probe: Probe | None, timeout: float) -> Status:
    state, detail = _judge(directory, record, probe, timeout)
    return Status(
        key=record.key,
        state=state,
        detail=detail,
        pid=record.identity.pid if record.identity else None,
        identity=record.identity,
        url=record.url,
        port=record.port,
        managed=record.managed,
        version=record.version,
        command=tuple(record.command),
        log=record.get("log"),
        started_at=record.get("started_at"),
    )


def _judge(
    directory: KeyDirectory, record: Record, probe: Probe | None, timeout: float
) -> tuple[str, str]:
    if record.identity is None:
        if record.state == FAILED:
            return "failed", f"its last start failed: {record.get('reason')}"
        if record.state == STOPPED:
            return "absent", "it was stopped"
        return "starting", "its launcher is about to start it, or died before that"
    liveness, evidence = record.identity.explain()
    if liveness is not Liveness.ALIVE:
        return ("gone" if liveness is Liveness.GONE else "unknown"), evidence
    if record.state == ENDING:
        return "unhealthy", "it is being ended"
    try:
        asked = probe or from_json(record.get("probe"))
    except InvalidArgument as error:
        return "unknown", str(error)
    is_starting = record.state == STARTING
    checkup = (check if is_starting else check_running)(directory, record, asked, timeout)
    health, detail = checkup.outcome.health, checkup.outcome.detail
    if health == READY:
        return "healthy", detail
    if health == UNKNOWN:
        return "unknown", detail
    if is_starting:
        return "starting", detail
    stopped = " (the process is stopped: SIGSTOP)" if state_of(record.identity.pid) == "T" else ""
    return "unhealthy", detail + stopped
