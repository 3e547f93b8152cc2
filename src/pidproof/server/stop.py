# SPDX-License-Identifier: MIT
"""Stopping the server of a key, and starting it anew from its record."""

from __future__ import annotations

from pidproof.errors import IdentityUnknown, KeyNotFound, RecordError, typed
from pidproof.process.liveness import Liveness
from pidproof.server import log
from pidproof.server import record as records
from pidproof.server.children import reap_finished
from pidproof.server.directory import KeyDirectory
from pidproof.server.fence import fenced
from pidproof.server.locked import read_record
from pidproof.server.results import Stopped
from pidproof.server.spec import spec_from_record
from pidproof.server.terminate import end_server, end_session


TYPE_CHECKING = False
if TYPE_CHECKING:
    from pidproof.lock.spawn_lock import SpawnLock
    from pidproof.server.record import Record
    from pidproof.server.spec import Spec

__all__ = ["recorded_spec", "stop"]


@typed
def stop(key: str, *, grace: float = 6.0, timeout: float = 60.0, forget: bool = True) -> Stopped:
    """End the server of a key, whoever started it, and drop its record.

    Waits for a start that is under way.  To stop what does not run is no error.  forget False: the
    record stays, so that the next start takes the same port.

    Raises:
        IdentityUnknown: it cannot be proven to be the one recorded; it was left alone.
        Refused: it is not ours to signal, or its command line does not match its pattern.
        ProcessSurvived: it is still there after SIGKILL; the record is kept.
        LockTimeout, LockLost, StateError, InvalidArgument.
    """
    from pidproof.lock.spawn_lock import SpawnLock

    reap_finished()
    directory = KeyDirectory.open(key)
    if directory is None:
        return Stopped(key=key, action="absent", pid=None)
    with directory:
        lock = SpawnLock(
            directory.fd, timeout=timeout, hold=timeout + 4 * grace + 30.0, purpose="stop"
        )
        try:
            lock.acquire()
            record = read_record(directory, key)
            if record is None or record.identity is None:
                if forget:
                    _drop(lock, directory, record)
                return Stopped(key=key, action="absent", pid=None)
            how = _end(lock, directory, record, grace)
            if forget:
                _drop(lock, directory, record)
            else:
                _keep(lock, directory, record)
            log.append_history(
                directory, "stopped", pid=record.identity.pid, how=how, evidence="asked to"
            )
            reap_finished()
            return Stopped(key=key, action=how, pid=record.identity.pid)
        finally:
            lock.release()


def _end(lock: SpawnLock, directory: KeyDirectory, record: Record, grace: float) -> str:
    assert record.identity is not None
    liveness, evidence = record.identity.explain()
    if liveness is Liveness.UNKNOWN:
        raise IdentityUnknown(
            f"whether process {record.identity.pid} is the server of {record.key!r} cannot be "
            f"told: {evidence}; it was left alone",
            remedy="stop it from where it was started",
            pid=record.identity.pid,
        )
    if liveness is Liveness.GONE:
        end_session(lock, directory, record, grace=grace)
        return "gone"
    return end_server(lock, directory, record, grace=grace, pattern=record.pattern())


def _drop(lock: SpawnLock, directory: KeyDirectory, record: Record | None) -> None:
    with fenced(lock, directory, record):
        if record is not None and record.beside():
            # Others run that only this record names.
            records.write(directory, record.with_(state=records.STOPPED, identity=None))
        else:
            directory.remove(records.NAME)


def _keep(lock: SpawnLock, directory: KeyDirectory, record: Record) -> None:
    with fenced(lock, directory, record):
        records.write(directory, record.with_(state=records.STOPPED, identity=None))


@typed
def recorded_spec(key: str, **changes: object) -> Spec:
    """Return the specification that the key was last started from.

    Raises:
        KeyNotFound: nothing is recorded.
        StateError, InvalidArgument: the record cannot be used.
    """
    directory = KeyDirectory.open(key)
    record = None
    if directory is not None:
        with directory:
            try:
                record = records.read(directory, key)
            except records.BrokenRecord as error:
                raise RecordError(
                    f"{error}; what was started cannot be told from it",
                    remedy=f"start it anew: pidproof ensure {key} -- COMMAND [ARGUMENT ...]",
                    path=f"{directory.path}/{records.NAME}",
                ) from error
    if record is None:
        raise KeyNotFound(
            f"no server is recorded under {key!r}",
            remedy=f"start one: pidproof ensure {key} -- COMMAND [ARGUMENT ...]",
            key=key,
        )
    return spec_from_record(record.data, **changes)
