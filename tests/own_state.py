# SPDX-License-Identifier: MIT
"""Fixtures of the tests that start servers: a folder's conftest.py takes those it needs.

Not for all tests: `state` comes by itself, and those of the C and of the lock have none.
"""

from __future__ import annotations

import os
import tempfile
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
    """The state directory of this test, which does not exist yet; no server outlives the test."""
    with fresh_state(tmp_path, monkeypatch, spawn) as state:
        yield state


@pytest.fixture
def small(tmp_path: Path) -> Small:
    """A small HTTP server."""
    return Small(tmp_path / "small")


@pytest.fixture
def socket_path() -> Iterator[str]:
    """Where a Unix socket may be: its path has 103 bytes on macOS, and `tmp_path` has more."""
    with tempfile.TemporaryDirectory() as directory:
        yield f"{os.path.realpath(directory)}/s"


@pytest.fixture
def pidproof(spawn: Spawn) -> Command:
    """The command `pidproof`, as a subprocess."""
    return Command(spawn)
