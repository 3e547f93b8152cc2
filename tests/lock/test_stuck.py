# SPDX-License-Identifier: MIT
from __future__ import annotations

import fcntl
import os
import signal
from typing import TYPE_CHECKING

import pytest

from helpers import Actor, needs_linux, wait_until
from pidproof.errors import IdentityUnknown, LockTimeout
from pidproof.lock.spawn_lock import SpawnLock
from pidproof.lock.stuck import who_is_inside
from servers import is_stopped


if TYPE_CHECKING:
    from pathlib import Path

    from helpers import Spawn

pytestmark = pytest.mark.usefixtures("nothing_left")

FIRST_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO of include/linux/proc_ns.h


@needs_linux("/proc/locks")
def test_who_is_stopped_inside_the_guard_is_named_with_what_to_do(
    spawn: Spawn, tmp_path: Path
) -> None:
    stuck = Actor(spawn, tmp_path)
    stuck.ask("guard")
    stuck.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: is_stopped(stuck.pid))
    with pytest.raises(LockTimeout) as caught:
        SpawnLock(tmp_path, timeout=0.1).acquire()
    assert f"process {stuck.pid} (" in str(caught.value)
    assert "lock_actor.py" in str(caught.value)
    assert "is inside it, stopped" in str(caught.value)
    assert f"kill -CONT {stuck.pid}" in str(caught.value.remedy)


@needs_linux("/proc/locks")
def test_who_is_inside_and_runs_is_not_said_to_be_stopped(spawn: Spawn, tmp_path: Path) -> None:
    slow = Actor(spawn, tmp_path)
    slow.ask("guard")
    with pytest.raises(LockTimeout, match=rf"process {slow.pid} .* in state [A-Z]$"):
        SpawnLock(tmp_path, timeout=0.1).acquire()


@needs_linux("/proc/locks")
def test_who_cannot_be_looked_into_is_not_said_to_be_gone(
    spawn: Spawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hidden(pid: int) -> None:
        raise IdentityUnknown(f"process {pid} is hidden", pid=pid)

    monkeypatch.setattr("pidproof.lock.stuck.identify", hidden)
    inside = Actor(spawn, tmp_path)
    inside.ask("guard")
    with pytest.raises(LockTimeout, match=f"process {inside.pid}, which cannot be looked into"):
        SpawnLock(tmp_path, timeout=0.1).acquire()


@needs_linux("/proc/locks")
def test_a_guard_that_a_fork_of_a_dead_process_holds_is_said_to_be_so(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        entered = os.fork()
        if entered == 0:
            fcntl.flock(fd, fcntl.LOCK_EX)
            os._exit(0)
        os.waitpid(entered, 0)
        who, remedy = who_is_inside(fd)
        if os.stat("/proc/self/ns/pid").st_ino == FIRST_PID_NAMESPACE:
            assert f"process {entered} entered it and is gone" in who
            assert "end what" in remedy
        else:  # there the kernel has no number any more for who is gone
            assert "not named by the system" in who
            assert "lslocks" in remedy
    finally:
        os.close(fd)


def test_a_guard_that_nobody_is_inside_names_nobody(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        who, remedy = who_is_inside(fd)
        assert "process inside it" in who
        assert "lslocks" in remedy
    finally:
        os.close(fd)
