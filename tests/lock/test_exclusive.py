# SPDX-License-Identifier: MIT
"""A lock file that comes into being outside the guard is nobody's to write over."""

from __future__ import annotations

import fcntl
import os
import platform
from typing import TYPE_CHECKING

import pytest

from helpers import needs_linux
from pidproof.errors import LockTimeout
from pidproof.lock.spawn_lock import SpawnLock
from ptrace_strike import Traced


if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("nothing_left")

OPENAT = 257  # x86-64
TIMED_OUT = 3


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads the registers of x86-64")
@needs_linux("ptrace, as a tracer can stop at each call")
def test_a_lock_file_that_appears_right_before_it_is_created_is_left_alone(tmp_path: Path) -> None:
    """Put there by what knows no guard: a restored backup, another program."""

    def acquire() -> None:
        try:
            SpawnLock(tmp_path, timeout=0.5).acquire()
        except LockTimeout:
            os._exit(TIMED_OUT)

    traced, calls = Traced(acquire), 0
    while True:
        calls += 1
        assert traced.run_to_call(calls), "the lock was never created"
        if traced.calls[-1] == OPENAT and traced.arguments()[2] & os.O_CREAT:
            break
    path = tmp_path / "lock"
    with path.open("w") as theirs:
        theirs.write("theirs")
        theirs.flush()
        fcntl.flock(theirs, fcntl.LOCK_EX)
        assert traced.finish() == TIMED_OUT
        assert path.read_text() == "theirs"
        assert os.fstat(theirs.fileno()).st_nlink == 1
