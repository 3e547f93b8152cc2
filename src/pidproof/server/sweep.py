# SPDX-License-Identifier: MIT
"""Putting the state in order: records of what is gone, servers without a program or a record."""

from __future__ import annotations

import os

from pidproof import _native
from pidproof.errors import Error, IdentityUnknown, LockTimeout, ProcessGone, typed
from pidproof.lock.spawn_lock import SpawnLock
from pidproof.process.liveness import Liveness
from pidproof.process.scan import find
from pidproof.server import log
from pidproof.server import record as records
from pidproof.server.directory import KeyDirectory
from pidproof.server.paths import host_directory, list_names
from pidproof.server.record import FAILED, STOPPED, BrokenRecord
from pidproof.server.results import Swept
from pidproof.server.terminate import end_server, end_session


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pidproof.process.identity import ProcessIdentity
    from pidproof.server.record import Record

__all__ = ["claimants", "sweep"]

GRACE = 6.0


def claimants(path: str | None = None) -> list[ProcessIdentity]:
    """List the servers that we started below this state directory, or under one record.

    A server is the process that carries its own pid as PIDPROOF_PID; what it has started carries
    the same variables with another pid.
    """
    found = []
    for identity in find(environ={"PIDPROOF_RECORD": path} if path else {}):
        try:
            env = identity.environ()
        except (ProcessGone, IdentityUnknown):
            continue
        recorded = os.fsdecode(env.get(b"PIDPROOF_RECORD", b""))
        if env.get(b"PIDPROOF_PID") != str(identity.pid).encode():
            continue
        if env.get(b"PIDPROOF_MANAGED") != b"manual" and not _leads_session(identity.pid):
            continue  # a recycled pid, and variables that it has inherited
        if path is None and not recorded.startswith(host_directory() + "/"):
            continue
        found.append(identity)
    return found


def _leads_session(pid: int) -> bool:
    try:
        return _native.status(pid)[3] == pid
    except OSError:
        return False


@typed
def sweep(*, dry_run: bool = False, timeout: float = 10.0) -> list[Swept]:
    """Drop records of gone processes; end servers whose program vanished or that no record names.

    Whatever is unknown is left, and named.  Each key is swept under its lock; one whose lock is
    not to be had within `timeout` seconds is left.

    Raises:
        StateError: the state directory cannot be used.
    """
    done: list[Swept] = []
    for name in list_names():
        try:
            directory = KeyDirectory.named(name)
            if directory is not None:
                with directory:
                    done.extend(_sweep_key(directory, dry_run=dry_run, timeout=timeout))
        except LockTimeout as error:
            done.append(_swept("left", None, None, f"{name}: {error}"))
        except Error as error:
            done.append(_swept("left", None, None, str(error)))
    try:
        done.extend(_sweep_untracked(dry_run=dry_run))
    except IdentityUnknown as error:
        done.append(_swept("left", None, None, f"servers that no record names: {error}"))
    return done


def _swept(action: str, key: str | None, pid: int | None, reason: str) -> Swept:
    return Swept(action=action, key=key, pid=pid, reason=reason)


def _sweep_key(directory: KeyDirectory, *, dry_run: bool, timeout: float) -> Iterator[Swept]:
    lock = SpawnLock(directory.fd, timeout=timeout, hold=timeout + 60.0, purpose="sweep")
    try:
        lock.acquire()
        try:
            record = records.read(directory, None)
        except BrokenRecord as error:
            if claimants(f"{directory.path}/{records.NAME}"):
                return  # its server is found as one that no record names
            if not dry_run:
                _drop(lock, directory)
            yield _swept("dropped", None, None, str(error))
            return
        if record is not None and record.beside():
            yield _swept("left", record.key, None, "it names servers beside that are not gone")
        elif record is not None:
            yield from _sweep_record(lock, directory, record, dry_run=dry_run)
    finally:
        lock.release()


def _sweep_record(
    lock: SpawnLock, directory: KeyDirectory, record: Record, *, dry_run: bool
) -> Iterator[Swept]:
    if record.identity is None:
        reason = {
            FAILED: f"its last start failed: {record.get('reason')}",
            STOPPED: "it was stopped",
        }.get(record.state, "its launcher died before anything ran")
        if not dry_run:
            _drop(lock, directory)
        yield _swept("dropped", record.key, None, reason)
        return
    liveness, evidence = record.identity.explain()
    pid = record.identity.pid
    if liveness is Liveness.UNKNOWN:
        yield _swept("left", record.key, pid, f"unknown: {evidence}")
    elif liveness is Liveness.GONE:
        if not dry_run:
            ended = end_session(lock, directory, record, grace=GRACE)
            evidence += f"; {ended} left of its session were ended" if ended else ""
            _drop(lock, directory)
            log.append_history(directory, "swept", pid=pid, evidence=evidence)
        yield _swept("dropped", record.key, pid, evidence)
    elif (vanished := _vanished(record)) is not None:
        if record.managed != "auto":
            yield _swept("left", record.key, pid, f"started by hand; {vanished}")
            return
        if not dry_run:
            how = end_server(lock, directory, record, grace=GRACE, pattern=record.pattern())
            _drop(lock, directory)
            log.append_history(directory, "swept", pid=pid, how=how, evidence=vanished)
        yield _swept("ended", record.key, pid, vanished)


def _drop(lock: SpawnLock, directory: KeyDirectory) -> None:
    with lock.fenced():
        directory.remove(records.NAME)


def _vanished(record: Record) -> str | None:
    """Say which file of a server's program is gone: its executable, or the script it runs."""
    assert record.identity is not None
    for file in record.get("program") or []:
        try:
            os.lstat(file)
        except (FileNotFoundError, NotADirectoryError):
            if _native.sees_same_files(record.identity.pid):
                return f"{file}, which it runs, was removed"
        except (OSError, ValueError):
            continue  # not to be told, or no path at all: no reason to end anything
    return None


def _sweep_untracked(*, dry_run: bool) -> Iterator[Swept]:
    """End servers of ours that no record names: the state was deleted, or edited, under them."""
    for identity in claimants():
        try:
            env = identity.environ()
        except (ProcessGone, IdentityUnknown):
            continue
        path = os.fsdecode(env.get(b"PIDPROOF_RECORD", b""))
        nonce = os.fsdecode(env.get(b"PIDPROOF_NONCE", b""))
        key = os.fsdecode(env.get(b"PIDPROOF_KEY", b"")) or None
        named = _is_named(path, nonce, identity)
        if named is not None:
            if named:
                yield _swept("left", key, identity.pid, named)
            continue
        reason = f"no record names it ({path})"
        if not _native.sees_same_files(identity.pid):
            yield _swept("left", key, identity.pid, f"it does not see the same files; {reason}")
            continue
        if env.get(b"PIDPROOF_MANAGED") == b"manual":
            yield _swept("left", key, identity.pid, f"started by hand; {reason}")
            continue
        if not dry_run:
            try:
                with identity.open() as handle:
                    handle.terminate(GRACE)
            except ProcessGone:
                continue
            except Error as error:
                yield _swept("left", key, identity.pid, str(error))
                continue
        yield _swept("ended", key, identity.pid, reason)


def _is_named(path: str, nonce: str, identity: ProcessIdentity) -> str | None:
    """Return "" if the record names this process, words if that cannot be told, else None."""
    try:
        directory = KeyDirectory.named(os.path.basename(os.path.dirname(path)))
    except Error as error:
        return str(error)
    if directory is None:
        return None
    with directory:
        lock = SpawnLock(directory.fd, timeout=5.0, hold=60.0, purpose="sweep")
        try:
            # Under the lock no start is half way between its process and its record.
            lock.acquire()
            record = records.read(directory, None)
        except BrokenRecord:
            return None
        except Error as error:
            return str(error)
        finally:
            lock.release()
    if record is None or record.nonce != nonce or record.identity is None:
        return "" if record is not None and str(identity) in (record.get("beside") or []) else None
    return "" if record.identity == identity else None
