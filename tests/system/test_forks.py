# SPDX-License-Identifier: MIT
"""Children of a process that holds a spawn lock, by every way that Python has to make them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from helpers import DEADLINE, TESTS, Actor, needs_linux, python, read_line, wait_until, write_line
from outside import stat
from pidproof.lock.waiting import LOOK_AROUND
from system.forks import CHILDREN, KEPT, NOT_THERE, PATIENCE, TRIED


if TYPE_CHECKING:
    from pathlib import Path

    from helpers import Spawn
    from system.observer import Observer

# A wake and a system call, on a machine with other things to do.
PROMPT = 1.0


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("end", ["release", "death"])
@pytest.mark.parametrize("method", ["os.fork", "fork", "spawn", "forkserver"])
def test_twenty_children_of_a_holder_neither_own_its_lock_nor_keep_it_from_others(
    method: str, end: str, spawn: Spawn, tmp_path: Path, observer: Observer
) -> None:
    directory = tmp_path / "key"
    directory.mkdir(mode=0o700)
    program = [sys.executable, str(TESTS / "system" / "forks.py"), str(directory), method]
    holder = spawn(program, env={"PYTHONPATH": str(TESTS)})
    waiter = Actor(spawn, directory)
    pids: list[int] = []
    try:
        report = json.loads(read_line(holder, PATIENCE))
        pids = [belief.pop("pid") for belief in report["beliefs"]]
        expected = [TRIED, KEPT] if method in {"os.fork", "fork"} else [NOT_THERE] * 2
        for belief in expected:
            assert report["beliefs"].count(belief) == CHILDREN / len({*map(str, expected)})
        assert not report["can be sent"]
        assert f":{holder.pid}:" in (directory / "lock").read_text()

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
        # At once; should a fork have a copy of the flock all the same, the line looks around.
        assert waited < LOOK_AROUND + PROMPT
        print(f"{method}, {end}: {waited:.3f} s")
        assert all(is_there(pid) for pid in pids), "nothing was shown: the children had gone"
        assert waiter.ask("fenced") == "mine"
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # What multiprocessing has started besides ends with the holder, by itself.
        holder.kill()
        holder.wait()
        wait_until(lambda: {line.pid for line in observer.family()} <= {waiter.pid})


def is_there(pid: int) -> bool:
    """Say whether a process is there and has not exited."""
    line = stat(pid)
    return line is not None and not line.has_exited


@needs_linux("/proc/PID/fdinfo, which tells of locks")
def test_a_fork_has_no_copy_of_what_another_thread_has_locked(spawn: Spawn, tmp_path: Path) -> None:
    """It would keep that locked past the death of its parent, for as long as it lives."""
    code = """
        import os, sys, threading
        from pidproof.lock.spawn_lock import SpawnLock
        def use():
            while True:
                with SpawnLock(sys.argv[1], timeout=60) as lock, lock.fenced():
                    pass
        def locked():
            for fd in os.listdir("/proc/self/fdinfo"):
                if os.path.exists(f"/proc/self/fdinfo/{fd}"):
                    with open(f"/proc/self/fdinfo/{fd}") as file:
                        if "lock:" in file.read():
                            yield os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))
        thread = threading.Thread(target=use, daemon=True)
        thread.start()
        for _ in range(500):
            out, into = os.pipe()
            child = os.fork()
            if child == 0:
                os.write(into, " ".join(sorted(locked())).encode())
                os._exit(0)
            os.close(into)
            print(os.waitpid(child, 0)[1], os.read(out, 1000).decode())
            os.close(out)
        sys.stdout.flush()
        os._exit(0 if thread.is_alive() else 9)
    """
    process = spawn(python(code, str(tmp_path)))
    found = Counter(process.communicate(timeout=2 * DEADLINE)[0].decode().splitlines())
    print(dict(found))
    assert process.returncode == 0, "the thread that takes the lock has died"
    assert found.total() == 500
    # A thread that has opened a file and not yet noted its number: a window of an instant.
    assert found["0 "] > 450
    assert sum(found[line] for line in found if tmp_path.name in line) < 5, "the guard"
    assert all(line.startswith("0 ") for line in found), "a descriptor of others was closed"
