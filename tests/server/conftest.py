# SPDX-License-Identifier: MIT
"""Every test here gets a state directory of its own and leaves no server behind."""

from __future__ import annotations

from own_state import small, socket_path, state


__all__ = ["small", "socket_path", "state"]
