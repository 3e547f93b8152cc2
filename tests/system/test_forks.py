# SPDX-License-Identifier: MIT
"""Children of a process that holds a spawn lock, by every way that Python has to make them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from helpers import TESTS, Actor, read_line, wait_until, write_line
from pidproof.lock.waiting import LOOK_AROUND
from system.forks import CHILDREN, KEPT, NOT_THERE, TRIED
from system.observer import stat


if TYPE_CHECKING:
    from pathlib import Path

    from helpers import Spawn

# A wake and a system call, on a machine with other things to do.
PROMPT = 1.0


@pytest.mark.slow
@pytest.mark.parametrize("end", ["release", "death"])
@pytest.mark.parametrize("method", ["os.fork", "fork", "spawn", "forkserver"])
def test_twenty_children_of_a_holder_neither_own_its_lock_nor_keep_it_from_others(
    method: str, end: str, spawn: Spawn, tmp_path: Path
) -> None:
    directory = tmp_path / "key"
    directory.mkdir(mode=0o700)
    program = [sys.executable, str(TESTS / "system" / "forks.py"), str(directory), method]
    holder = spawn(program, env={"PYTHONPATH": str(TESTS)})
    pids: list[int] = []
    try:
        report = json.loads(read_line(holder))
        pids = [belief.pop("pid") for belief in report["beliefs"]]
        expected = [TRIED, KEPT] if method in {"os.fork", "fork"} else [NOT_THERE] * 2
        for belief in expected:
            assert report["beliefs"].count(belief) == CHILDREN / len({*map(str, expected)})
        assert not report["can be sent"]
        assert f":{holder.pid}:" in (directory / "lock").read_text()

        waiter = Actor(spawn, directory)
        waiter.tell("acquire-at 20")
        wait_until(waiter.is_asleep)
        began = time.monotonic()
        if end == "death":
            holder.kill()
            holder.wait()
        else:
            write_line(holder, "release")
            assert read_line(holder) == "released"
        waited = float(waiter.answer()) - began
        # The kernel keeps the flock of a dead holder for its forks; the line looks around.
        assert waited < LOOK_AROUND + PROMPT
        print(f"{method}, {end}: {waited:.3f} s")
        assert all(is_there(pid) for pid in pids), "nothing was shown: the children had gone"
        assert waiter.ask("fenced") == "mine"
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def is_there(pid: int) -> bool:
    """Say whether a process is there and has not exited."""
    line = stat(pid)
    return line is not None and line.state not in "ZX"
