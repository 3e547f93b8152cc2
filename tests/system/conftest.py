# SPDX-License-Identifier: MIT
"""Fixtures of the system tests: a state of its own, launchers, and somebody who watches."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from system.launching import Pidproof
from system.observer import Observer, adopting_orphans


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from helpers import Spawn


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory of this test, which does not exist yet."""
    for name in [name for name in os.environ if name.startswith("PIDPROOF_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIDPROOF_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def pidproof(spawn: Spawn) -> Pidproof:
    """The command `pidproof`."""
    return Pidproof(spawn)


@pytest.fixture(autouse=True)
def observer(state: Path, spawn: Spawn, pidproof: Pidproof) -> Iterator[Observer]:
    """Who watches.  At the end every recorded server is stopped; then nothing may be left."""
    with adopting_orphans():
        observer = Observer(state)
        try:
            yield observer
            spawn.end()
            keys = [server["key"] for server in pidproof("list", "--json").data["servers"]]
            for key in keys:
                done = pidproof("stop", key)
                assert done.status == 0, done
        finally:
            spawn.end()
            left = observer.end_all()
        assert not left, f"left running: {left}"
