# SPDX-License-Identifier: MIT
"""What a version other than the one asked for means: keep it, replace it, or refuse."""

from __future__ import annotations

from pidproof import _native
from pidproof.errors import VersionMismatch


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from pidproof.server.record import Record
    from pidproof.server.spec import Spec

__all__ = ["mismatch_of"]

# Two callers that want different versions may replace each other's server once in this time.
REPLACE_AGAIN = 60.0


def _numbers(version: str) -> tuple[int, ...] | None:
    """Return a version of plain numbers as such, without trailing zeros; None for any other."""
    parts = version.removeprefix("v").split(".")
    if not all(part.isascii() and part.isdigit() for part in parts):
        return None
    numbers = [int(part[:18]) for part in parts]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def mismatch_of(record: Record, spec: Spec) -> Literal["fits", "reuse", "replace"]:
    """Say what the recorded version means for this caller.

    Raises:
        VersionMismatch: the policy is error, or two callers replace each other's server.
    """
    if spec.version is None or record.version == spec.version or spec.on_mismatch == "reuse":
        return "fits"
    if spec.on_mismatch == "upgrade" and record.version is not None:
        have, want = _numbers(record.version), _numbers(spec.version)
        if have is not None and want is not None and have >= want:
            return "reuse"  # never a downgrade
    if spec.on_mismatch == "error":
        raise VersionMismatch(
            f"the server of {spec.key!r} has version {record.version}, not {spec.version}; "
            "it was left alone",
            remedy="use --on-mismatch replace, upgrade or reuse",
            running=record.version,
            wanted=spec.version,
        )
    replaced = record.get("replaced")
    if isinstance(replaced, dict) and replaced.get("version") == spec.version:
        age = _native.boot_clock() - float(replaced.get("at") or 0)
        if 0 <= age < REPLACE_AGAIN:
            raise VersionMismatch(
                f"the server of {spec.key!r} was replaced from version {spec.version} to "
                f"{record.version} {age:.0f} s ago; it was not replaced back: two callers want "
                "different versions",
                remedy="let both ask for one version, or use two keys, or --on-mismatch reuse",
                running=record.version,
                wanted=spec.version,
            )
    return "replace"
