# SPDX-License-Identifier: MIT
"""Every test here gets a state directory of its own and leaves no server behind."""

from __future__ import annotations

from own_state import pidproof, small, socket_path, state


__all__ = ["pidproof", "small", "socket_path", "state"]
