# SPDX-License-Identifier: MIT
"""Every test here gets a state directory of its own and leaves no server behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from command import Command
from servers import Small, State, fresh_state


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from helpers import Spawn


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spawn: Spawn) -> Iterator[State]:
    """The state directory of this test, which does not exist yet."""
    with fresh_state(tmp_path, monkeypatch, spawn) as state:
        yield state


@pytest.fixture
def small(tmp_path: Path) -> Small:
    """A small HTTP server."""
    return Small(tmp_path / "small")


@pytest.fixture
def pidproof(spawn: Spawn) -> Command:
    """The command `pidproof`."""
    return Command(spawn)
