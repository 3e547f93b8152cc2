# SPDX-License-Identifier: MIT
"""Find processes by what they were started with."""

from __future__ import annotations

import os

from pidproof import _native
from pidproof.errors import IdentityUnknown, InvalidArgument, ProcessGone
from pidproof.process.identity import ProcessIdentity, identify


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pidproof.process.pattern import ArgvPattern

__all__ = ["find"]


def find(
    pattern: ArgvPattern | None = None, *, environ: Mapping[str, str] | None = None
) -> list[ProcessIdentity]:
    """List the processes of this user whose argv and environment match, by ascending pid.

    Each one in the list was identified first and matched after, so what matched is that process
    and no other.  A process that this user may not read does not match; one that starts while we
    look may be missed.  The environment is the one a process was started with.

    Raises:
        IdentityUnknown: /proc cannot be read, or shows another pid namespace.
        InvalidArgument: a variable with `=` in its name, or a NUL.
    """
    wanted = [_variable(name, value) for name, value in (environ or {}).items()]
    arguments = pattern.exact_arguments() if pattern else []
    try:
        candidates = _native.scan(arguments, wanted, os.geteuid())
    except OSError as error:
        raise IdentityUnknown(f"processes cannot be listed: {error.strerror}") from error

    found = []
    for pid in sorted(candidates):
        try:
            identity = identify(pid)
            if pattern and not pattern.matches(identity.argv()):
                continue
            if wanted:
                present = identity.environ()
                if any(present.get(name) != value for name, _, value in map(_split, wanted)):
                    continue
        except (ProcessGone, IdentityUnknown, InvalidArgument):
            continue  # went, or became somebody else's, since the scan
        found.append(identity)
    return found


def _variable(name: str, value: str) -> bytes:
    if not name or "=" in name or "\0" in name + value:
        raise InvalidArgument(f"{name!r} is not the name of an environment variable")
    return os.fsencode(f"{name}={value}")


def _split(variable: bytes) -> tuple[bytes, bytes, bytes]:
    return variable.partition(b"=")
