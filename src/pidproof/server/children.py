# SPDX-License-Identifier: MIT
"""The servers that this process started and left running: their parent reaps them."""

from __future__ import annotations

import os


TYPE_CHECKING = False
if TYPE_CHECKING:
    from pidproof.server.spawn import Child

__all__ = ["keep", "reap_finished"]

_unreaped: list[Child] = []


def keep(child: Child) -> None:
    """Have a child reaped by a later call into this package, should it end before this process."""
    _unreaped.append(child)


def reap_finished() -> None:
    """Collect the children of this process that have ended since they were handed over."""
    _unreaped[:] = [child for child in _unreaped if not child.collect()]


os.register_at_fork(after_in_child=_unreaped.clear)
