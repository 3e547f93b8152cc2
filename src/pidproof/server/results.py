# SPDX-License-Identifier: MIT
"""What the operations on a server return."""

from __future__ import annotations

from pidproof.frozen import Frozen


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from pidproof.process.identity import ProcessIdentity

__all__ = ["Running", "Status", "Stopped", "Swept"]


class Running(Frozen):
    """A server that was healthy a moment ago.

    action: reused (it ran), spawned (it was started), adopted (its launcher had died, and we saw
    it through) or replaced (another was ended first).
    url: where it listens, None without a port or socket.
    log: path of its log.  elapsed_ms: what the call took.
    """

    __slots__ = (
        "action",
        "elapsed_ms",
        "identity",
        "key",
        "log",
        "pid",
        "port",
        "state",
        "token",
        "url",
        "version",
    )
    key: str
    pid: int
    identity: ProcessIdentity
    url: str | None
    port: int | None
    state: str
    action: Literal["reused", "spawned", "adopted", "replaced"]
    version: str | None
    log: str | None
    token: str
    elapsed_ms: float

    def __repr__(self) -> str:
        # The token is a secret, and reprs end up in logs.
        return (
            f"Running(key={self.key!r}, pid={self.pid}, url={self.url!r}, action={self.action!r})"
        )


class Status(Frozen):
    """What is known of a key, without changing anything.

    state: healthy, unhealthy, starting, unknown, gone (recorded, and proven to run no more),
    failed (its last start did not succeed) or absent (nothing is recorded, or it was
    stopped to be started again).
    detail: the evidence, in words.
    """

    __slots__ = (
        "command",
        "detail",
        "identity",
        "key",
        "log",
        "managed",
        "pid",
        "port",
        "started_at",
        "state",
        "url",
        "version",
    )
    key: str
    state: Literal["healthy", "unhealthy", "starting", "unknown", "gone", "failed", "absent"]
    detail: str
    pid: int | None
    identity: ProcessIdentity | None
    url: str | None
    port: int | None
    managed: str | None
    version: str | None
    command: tuple[str, ...]
    log: str | None
    started_at: str | None


class Stopped(Frozen):
    """What it took to stop a server: terminated, killed, gone (it ran no more) or absent."""

    __slots__ = ("action", "key", "pid")
    key: str
    action: Literal["terminated", "killed", "gone", "absent"]
    pid: int | None


class Swept(Frozen):
    """One thing that a sweep did, or would do: dropped a record, ended or left a process."""

    __slots__ = ("action", "key", "pid", "reason")
    key: str | None
    action: Literal["dropped", "ended", "left"]
    pid: int | None
    reason: str
