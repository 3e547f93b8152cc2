# SPDX-License-Identifier: MIT
"""What a probe is: one bounded question to a server, with an answer that is never an exception."""

from __future__ import annotations

from pidproof.frozen import Frozen


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Final, Literal

    from pidproof.server.directory import KeyDirectory

    Health = Literal["ready", "busy", "failed", "unknown"]

__all__ = ["BUSY", "FAILED", "READY", "UNKNOWN", "Outcome", "Probe", "Target", "ready"]

# What a probe found.  Strings, for an enum would cost the fast path its import.
READY: Final = "ready"
"""It serves."""
BUSY: Final = "busy"
"""It answered that it cannot serve yet or just now."""
FAILED: Final = "failed"
"""It did not answer, or answered wrongly."""
UNKNOWN: Final = "unknown"
"""We were not allowed, or not able, to ask."""


class Outcome(Frozen):
    """The answer of a probe: a health, and in words what was seen."""

    __slots__ = ("detail", "health")
    health: Health
    detail: str


class Target(Frozen):
    """What a probe may need to know of the server it asks.

    owns: says of a pid whether it is the server's, or of a process that it has started.
    """

    __slots__ = ("directory", "env", "log_offset", "owns", "pid", "port", "token")
    directory: KeyDirectory
    pid: int
    port: int | None
    token: str
    log_offset: int
    env: Mapping[str, str]
    owns: Callable[[int], bool]


class Probe:
    """Base of the probes.  `needs_port`: it makes no sense without a port."""

    __slots__ = ()
    kind = ""
    needs_port = False

    def check(self, target: Target, timeout: float) -> Outcome:
        """Ask once, for at most `timeout` seconds."""
        try:
            return self._ask(target, timeout)
        except PermissionError as error:
            # A sandbox that may not connect has learned nothing about the server.
            return Outcome(health=UNKNOWN, detail=f"not allowed to ask: {error}")
        except TimeoutError:
            return Outcome(health=FAILED, detail=f"no answer within {timeout:g} s")
        except (OSError, ValueError) as error:
            return Outcome(health=FAILED, detail=str(error))

    def _ask(self, target: Target, timeout: float) -> Outcome:
        raise TypeError(f"{type(self).__name__} does not say how to ask")

    def to_json(self) -> dict[str, Any]:
        """Return the probe as plain data, for the record."""
        raise TypeError(f"{type(self).__name__} does not say how it is recorded")


def ready(detail: str) -> Outcome:
    """Return the outcome of a probe that found the server serving."""
    return Outcome(health=READY, detail=detail)
