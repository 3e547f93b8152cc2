# SPDX-License-Identifier: MIT
"""Ask the recorded server once: its probe, over a port that is proven to be its own."""

from __future__ import annotations

from pidproof.frozen import Frozen
from pidproof.server import listener
from pidproof.server.probe import BUSY, FAILED, READY, UNKNOWN, Outcome, Target
from pidproof.server.probes import LogLine
from pidproof.server.record import STARTING


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pidproof.server.directory import KeyDirectory
    from pidproof.server.probe import Health, Probe
    from pidproof.server.record import Record

__all__ = ["Checkup", "check", "check_running", "checkup_of"]


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
        return self.outcome.health == READY


def checkup_of(health: Health, detail: str, *, stranger: bool = False) -> Checkup:
    """Return a checkup for which no probe was needed."""
    outcome = Outcome(health=health, detail=detail)
    return Checkup(outcome=outcome, stranger=stranger, settled=True, listener=None)


def check(directory: KeyDirectory, record: Record, probe: Probe | None, timeout: float) -> Checkup:
    """Ask once.  The port is proven to be the server's first, so that neither a stranger's answer
    counts nor a token reaches him."""
    identity = record.identity
    assert identity is not None
    proven = record.get("listener")
    if record.state == STARTING:
        from pidproof.server.spawn import has_execed

        if not has_execed(identity.pid):
            return checkup_of(BUSY, "its command does not run yet")
    if probe is None:
        return checkup_of(READY, "it runs, and has no probe")
    if probe.needs_port:
        port = record.port
        if port is None:
            return checkup_of(UNKNOWN, f"the {probe.kind} probe needs a port, and none is known")
        if not listener.is_proven(proven, port):
            proof = listener.prove(port, identity, record.nonce)
            if proof.found != "ours":
                health: Health = UNKNOWN if proof.found == "unknown" else FAILED
                return checkup_of(health, proof.detail, stranger=proof.found == "stranger")
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


def check_running(
    directory: KeyDirectory, record: Record, probe: Probe | None, timeout: float
) -> Checkup:
    """Ask once a server that was ready before: its log line need not be there any more."""
    if isinstance(probe, LogLine):
        return checkup_of(READY, "its log line was seen when it started")
    return check(directory, record, probe, timeout)
