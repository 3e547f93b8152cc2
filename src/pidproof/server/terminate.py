# SPDX-License-Identifier: MIT
"""Ending a server: every signal fenced, through a handle, at what the record names and no other."""

from __future__ import annotations

import os
import signal
import time

from pidproof import _native
from pidproof.errors import IdentityUnknown, InvalidArgument, ProcessGone, Refused, StateError
from pidproof.process.handle import KILL_TIMEOUT, ancestors, survived
from pidproof.process.identity import identify
from pidproof.process.liveness import Liveness
from pidproof.server import listener
from pidproof.server import record as records
from pidproof.server.fence import fenced


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from pidproof.lock.spawn_lock import SpawnLock
    from pidproof.process.handle import ProcessHandle
    from pidproof.process.pattern import ArgvPattern
    from pidproof.server.directory import KeyDirectory
    from pidproof.server.record import Record

    class _Send(Protocol):
        def __call__(self, number: int, *, group: bool = False) -> None: ...


__all__ = ["end_server", "end_session"]


def end_server(
    lock: SpawnLock,
    directory: KeyDirectory,
    record: Record,
    *,
    grace: float,
    pattern: ArgvPattern | None = None,
    also: ArgvPattern | None = None,
) -> str:
    """SIGTERM, wait `grace` seconds on the event, SIGKILL to its group, wait.

    Returns gone, terminated or killed.  Its argv must match both patterns.  What else runs of its
    session is ended as well.  Before each signal the guard is entered, and the lock, the record and
    the process are looked at again.

    Raises:
        LockLost: another holds the lock now; nothing more was signalled.
        Refused: its command line no longer matches the pattern, or it is not ours to signal.
        IdentityUnknown: it cannot be proven to be the one recorded.
        ProcessSurvived: it is still there after SIGKILL; the record is kept.
    """
    if record.identity is None:
        return "gone"
    _refuse_own_session(record.identity.pid)
    try:
        handle = record.identity.open()
    except ProcessGone:
        end_session(lock, directory, record, grace=grace)
        return "gone"
    with handle:
        _check_pattern(record, pattern)
        _check_pattern(record, also)
        try:
            handle.signal(0)  # may we at all?  Before anyone is told that it is being ended
        except ProcessGone:
            end_session(lock, directory, record, grace=grace)
            return "gone"
        _announce(lock, directory, record)
        how = _end(handle, grace, _fenced_sender(lock, directory, record, handle))
    end_session(lock, directory, record, grace=grace)
    return how


def _refuse_own_session(session: int) -> None:
    """The end of a session would be ours, half way."""
    if session in {os.getsid(0), os.getpgrp()}:
        raise Refused(
            f"this process belongs to the session of the server (process {session}), which would "
            "end it half way; nothing was done",
            remedy="run it from outside that server",
            pid=session,
        )


def _announce(lock: SpawnLock, directory: KeyDirectory, record: Record) -> None:
    """Write that it is being ended: should we die half way, nobody is handed a dying server."""
    with fenced(lock, directory, record):
        try:
            records.write(directory, record.with_(state=records.ENDING))
        except (StateError, InvalidArgument):
            # Neither a full disk nor a record that somebody has filled up keeps anyone from ending
            # a server; then only that moment is lost.
            return


def _check_pattern(record: Record, pattern: ArgvPattern | None) -> None:
    if pattern is None or record.identity is None:
        return
    if not pattern.matches(record.identity.argv()):
        raise Refused(
            f"process {record.identity.pid} runs {record.identity.command_line()!r}, which the "
            f"pattern of {record.key!r} does not match; it was not signalled",
            remedy=f"if it is the server all the same: pidproof kill {record.identity}",
            pid=record.identity.pid,
        )


def _fenced_sender(
    lock: SpawnLock, directory: KeyDirectory, record: Record, handle: ProcessHandle
) -> _Send:
    """Return what sends a signal, to the process or to its group, from inside the guard."""

    def send(number: int, *, group: bool = False) -> None:
        with fenced(lock, directory, record):
            handle.signal(number, group=group)

    return send


def _end(handle: ProcessHandle, grace: float, send: _Send) -> str:
    try:
        send(signal.SIGTERM)
    except ProcessGone:
        return "gone"
    try:
        # A stopped process would keep the SIGTERM pending until it is continued.
        send(signal.SIGCONT)
    except ProcessGone:
        return "terminated"
    if handle.wait(grace):
        # Members of its group that outlive it get no grace of their own from here: end_session.
        return "terminated"
    try:
        send(signal.SIGKILL, group=True)
    except ProcessGone:
        # It leads no group (started by hand in a shell's), or has just gone.
        try:
            send(signal.SIGKILL)
        except ProcessGone:
            return "terminated"
    if not handle.wait(KILL_TIMEOUT):
        raise survived(handle.pid)
    return "killed"


def _members(record: Record) -> list[ProcessHandle]:
    """Open what is left of the session that a server led.

    By its number, which proves nothing until one of the members does: it carries the nonce, or
    holds the socket that was the server's.  Then the others are members of that session too, for
    the kernel gives its number to no other while it has one; so those count that have written
    over their environment (nginx and whatever else sets its title).
    A process that left the session has made itself independent, and is not ours to end.
    """
    if record.identity is None:
        return []
    session = record.identity.pid
    found = _in_session(session)
    witness = _witness(record, found)
    # All of them once more, the witness last: then they were members at a moment when he was.
    members = [handle for handle in found if witness and _is_in(session, handle)]
    if witness is None or not _is_in(session, witness):
        members = []
    for handle in found:
        if handle not in members:
            handle.close()
    return members


def _in_session(session: int) -> list[ProcessHandle]:
    uid = os.geteuid()
    ours = ancestors()  # this process may be one of them, when the server itself is dead
    handles = []
    for pid in _native.scan((), (), uid or None):  # root may end the workers of any user
        try:
            if _native.status(pid)[3] == session and pid not in ours:
                handles.append(identify(pid).open())
        except (OSError, ProcessGone, IdentityUnknown, InvalidArgument):
            continue
    return handles


def _is_in(session: int, handle: ProcessHandle) -> bool:
    try:
        found = _native.status(handle.pid)[3]
    except OSError:
        return False
    return found == session and handle.liveness() is Liveness.ALIVE


def _witness(record: Record, found: list[ProcessHandle]) -> ProcessHandle | None:
    """Return who belongs to the very start that a record tells of; None for nobody."""
    nonce = record.nonce.encode()
    for handle in found:
        try:
            if handle.identity.environ().get(b"PIDPROOF_NONCE") == nonce:
                return handle
        except (ProcessGone, IdentityUnknown):
            continue
    if not found or record.identity is None:
        return None
    pid = listener.holder(record.get("listener"), record.port, record.identity.pid)
    return next((handle for handle in found if handle.pid == pid), None)


def end_session(lock: SpawnLock, directory: KeyDirectory, record: Record, *, grace: float) -> int:
    """End what a server that is gone has left behind in its session; returns how many.

    Raises:
        LockLost, ProcessSurvived: as `end_server`.
    """
    ended = 0
    # Members can fork while we look; each round ends what it found, and few are ever needed.
    for _ in range(8):
        handles = _members(record)
        if not handles:
            break
        deadline = time.monotonic() + grace
        try:
            for number, until in ((signal.SIGTERM, deadline), (signal.SIGKILL, None)):
                for handle in handles:
                    try:
                        with fenced(lock, directory, record):
                            handle.signal(number)
                    except ProcessGone:
                        continue
                stop = until if until is not None else time.monotonic() + KILL_TIMEOUT
                left = [
                    handle
                    for handle in handles
                    if not handle.wait(max(0.0, stop - time.monotonic()))
                ]
                ended += len(handles) - len(left)
                if not left:
                    break
                handles, done = left, [handle for handle in handles if handle not in left]
                for handle in done:
                    handle.close()
            else:
                raise survived(handles[0].pid)
        finally:
            for handle in handles:
                handle.close()
    return ended
