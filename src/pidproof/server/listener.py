# SPDX-License-Identifier: MIT
"""Whose port it is: an answer on a port proves nothing until the socket is shown to be ours."""

from __future__ import annotations

import os

from pidproof import _native
from pidproof.errors import Error, IdentityUnknown
from pidproof.frozen import Frozen
from pidproof.process.identity import identify


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pidproof.process.identity import ProcessIdentity

__all__ = ["Proof", "describe", "holder", "is_of", "is_proven", "owner_of", "prove"]


def is_proven(listener: dict[str, Any] | None, port: int) -> bool:
    """Say whether the socket that was proven to be the server's once still has the port, alone."""
    if not listener:
        return False
    try:
        return _native.check_listener(port, listener["pid"], listener["fd"], listener["inode"])
    except OSError:
        return False  # not to be told: it is proven anew, and that says why it cannot be


def holder(listener: dict[str, Any] | None, port: int | None, session: int) -> int:
    """Return the process of a session that holds the socket proven once; 0 for none."""
    if not listener or port is None:
        return 0
    try:
        found = _native.find_listener(port, session)
    except OSError:
        return 0
    # The number of a socket is not given again while the machine is up.
    return found[1] if found and found[0] and found[4] == listener["inode"] else 0


class Proof(Frozen):
    """Whose a port is.  found: ours, nobody, stranger or unknown; detail: in words."""

    __slots__ = ("detail", "found", "listener")
    found: str
    detail: str
    listener: dict[str, Any] | None


def prove(port: int, identity: ProcessIdentity, nonce: str) -> Proof:
    """Find out whether the listening socket of a port is the server's.

    The server's is one held by a process of its session, or by one that carries its nonce in its
    environment.  A socket of this user whose holder is not to be seen (a server that made itself
    undumpable) counts as the server's and is looked for again each time.
    """
    try:
        found = _native.find_listener(port, identity.pid)
    except OSError as error:
        detail = f"whose port {port} is cannot be told: {error.strerror}"
        return Proof(found="unknown", detail=detail, listener=None)
    if found is None:
        return Proof(found="nobody", detail=f"nobody listens on port {port}", listener=None)
    ours, pid, fd, uid, inode = found
    if ours or _carries(pid, nonce) or (not pid and _may_hide(identity, uid)):
        listener = {"pid": pid, "fd": fd, "inode": inode} if pid else None
        return Proof(found="ours", detail=f"port {port} is the server's", listener=listener)
    detail = f"port {port} belongs to {describe(pid, uid)}"
    return Proof(found="stranger", detail=detail, listener=None)


def _may_hide(identity: ProcessIdentity, uid: int) -> bool:
    """Say whether a socket that nobody is seen to hold can be the server's: if it is of its user,
    and the server does not let itself be looked into."""
    if uid != os.geteuid():
        return False
    try:
        identity.environ()
    except IdentityUnknown:
        return True
    except Error:
        return False
    return False


def is_of(pid: int, identity: ProcessIdentity, nonce: str) -> bool:
    """Say whether whatever process has the pid is the server, or one that it has started."""
    if pid == identity.pid or _carries(pid, nonce):
        return True
    try:
        return pid > 0 and _native.status(pid)[3] == identity.pid
    except OSError:
        return False


def _carries(pid: int, nonce: str) -> bool:
    try:
        return identify(pid).environ().get(b"PIDPROOF_NONCE") == nonce.encode()
    except Error:
        return False


def owner_of(port: int) -> str | None:
    """Return in words who listens on a port, None if nobody does."""
    try:
        found = _native.find_listener(port, 0)
    except OSError as error:
        return f"a process that cannot be named ({error.strerror})"
    return describe(found[1], found[3]) if found else None


def describe(pid: int, uid: int) -> str:
    """Return pid and command of whatever process has the pid, for a message."""
    if not pid:
        return f"a process of uid {uid}"
    try:
        return f"process {pid} ({identify(pid).command_line()})"
    except Error:
        return f"process {pid}"
