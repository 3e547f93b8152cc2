# SPDX-License-Identifier: MIT
"""Exit statuses: sysexits where there is one, LSB for `status`, the shell's for commands."""

from __future__ import annotations

from pidproof import errors


__all__ = ["CHECK", "STATUS", "status_of"]

STATUS = {
    "healthy": 0,
    "gone": 1,
    "absent": 3,
    "failed": 3,
    "unknown": 4,
    "unhealthy": 150,
    "starting": 151,
}
CHECK = {"alive": 0, "gone": 1, "unknown": 4}

# The first that fits counts, so the special stands before the general.
_ERRORS = (
    (errors.InvalidArgument, 2),
    (errors.CommandNotFound, 127),
    (errors.CommandNotExecutable, 126),
    (errors.NeverHealthy, 69),
    (errors.LockTimeout, 75),
    (errors.LockLost, 75),
    (errors.WaitTimeout, 75),
    (errors.VersionMismatch, 78),
    (errors.RecordError, 78),
    (errors.IdentityUnknown, 77),
    (errors.Refused, 77),
    (errors.ProcessSurvived, 77),
    (errors.UnsafePath, 77),
    (errors.StateError, 74),
    (errors.KeyNotFound, 3),
    (errors.ProcessGone, 1),
)


def status_of(error: errors.Error) -> int:
    """Return the exit status of an error."""
    return next((status for kind, status in _ERRORS if isinstance(error, kind)), 70)
