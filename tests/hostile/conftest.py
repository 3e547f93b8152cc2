# SPDX-License-Identifier: MIT
"""Every test here gets a state directory of its own, a victim, and leaves no server behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hostile.objects import Victim
from own_state import state


if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["state", "victim"]


@pytest.fixture
def victim(tmp_path: Path) -> Victim:
    """Files outside the state directory that nothing may touch."""
    return Victim(tmp_path / "victim")
