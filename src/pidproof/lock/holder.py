# SPDX-License-Identifier: MIT
"""Who holds a lock, for those who wait and for what they are told."""

from __future__ import annotations

import time

from pidproof.frozen import Frozen
from pidproof.process.liveness import Liveness


TYPE_CHECKING = False
if TYPE_CHECKING:
    from pidproof.process.identity import ProcessIdentity

__all__ = ["Holder"]


class Holder(Frozen):
    """Who holds a lock, as its file says.

    Attributes:
        identity: of the holding process.
        purpose: what it took the lock for.
        since, deadline: seconds of `time.monotonic()`; past the deadline it may be deposed.
        liveness, reason: whether it runs, and the evidence.
    """

    __slots__ = ("deadline", "identity", "liveness", "purpose", "reason", "since")
    identity: ProcessIdentity
    purpose: str
    since: float
    deadline: float
    liveness: Liveness
    reason: str

    def describe(self) -> str:
        """Return pid, command and age in words."""
        alive = self.liveness is Liveness.ALIVE
        command = self.identity.command_line() if alive else self.reason
        held = time.monotonic() - self.since
        return f"process {self.identity.pid} ({command}), for {held:.1f} s, to {self.purpose}"
