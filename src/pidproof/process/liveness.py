# SPDX-License-Identifier: MIT
"""Three answers to "does it still run", for unknown is not dead."""

from __future__ import annotations

import enum

from pidproof import _native


__all__ = ["Liveness", "liveness_of"]


class Liveness(enum.Enum):
    """Whether a process that was identified once still runs."""

    ALIVE = "alive"
    """It is this very process, and it has not exited."""
    GONE = "gone"
    """Proven: it has exited, or its pid is another's, or the machine was booted since."""
    UNKNOWN = "unknown"
    """Neither could be proven.  Never a licence to kill, to steal or to start another."""


_LIVENESS = {
    _native.ALIVE: Liveness.ALIVE,
    _native.GONE: Liveness.GONE,
    _native.UNKNOWN: Liveness.UNKNOWN,
}


def liveness_of(answer: int) -> Liveness:
    """Return an answer of the C module as what it means."""
    return _LIVENESS[answer]
