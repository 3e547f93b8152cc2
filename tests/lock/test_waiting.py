# SPDX-License-Identifier: MIT
from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import time
from typing import TYPE_CHECKING

import pytest

from helpers import (
    DEADLINE,
    HAVE,
    SEE,
    Actor,
    in_threads,
    is_in_flock,
    python,
    read_line,
    wait_until,
    write_line,
)
from outside import children, native_threads, open_fds
from pidproof import _native, _native_lock
from pidproof.errors import LockTimeout
from pidproof.lock.spawn_lock import SpawnLock
from pidproof.lock.waiting import LOOK_AROUND, PlaceInLine


if TYPE_CHECKING:
    from pathlib import Path

    from helpers import Spawn

pytestmark = pytest.mark.usefixtures("nothing_left")

# Waiters sleep on the kernel's event.  A hand-over that took longer came from the look around,
# which only bounds what can go wrong.
PROMPT = 0.9
# On macOS nobody stands in flock, and so in no order.
FIRST_COME_FIRST_SERVED = "kqueue" not in HAVE
assert PROMPT < LOOK_AROUND


def waiting(actor: Actor) -> bool:
    """Say whether it stands in line: it has a helper thread, which sleeps."""
    return actor.is_asleep()


# ---------------------------------------------------------------------------------- hand-over


def test_release_wakes_the_one_who_waits(spawn: Spawn, tmp_path: Path, kernel: str) -> None:
    holder, waiter = Actor(spawn, tmp_path), Actor(spawn, tmp_path)
    for _ in range(5):
        assert holder.ask("acquire 5") == "free"
        waiter.tell("acquire-at 20")
        wait_until(lambda: waiting(waiter))
        released = float(holder.ask("release-at"))
        assert float(waiter.answer()) - released < PROMPT
        assert waiter.ask("release") == "True"


def test_who_gives_it_up_and_wants_it_again_stands_in_line_behind_who_waits(
    spawn: Spawn, tmp_path: Path
) -> None:
    holder, waiter = Actor(spawn, tmp_path), Actor(spawn, tmp_path)
    line, directory = _native_lock.Lock(), os.open(tmp_path, os.O_RDONLY)
    holder.ask("acquire 5")
    for _ in range(5):
        waiter.tell("acquire 20")
        wait_until(lambda: waiting(waiter) and line.has_line(directory))
        holder.tell("release")
        holder.tell("acquire 20")
        assert holder.answer() == "True"
        assert waiter.answer() == "free"
        wait_until(lambda: waiting(holder))
        assert waiter.ask("release") == "True"
        assert holder.answer() == "free"
    os.close(directory)


def test_a_try_without_waiting_takes_a_free_lock_whoever_stands_in_line(
    spawn: Spawn, tmp_path: Path
) -> None:
    holder, head = Actor(spawn, tmp_path), Actor(spawn, tmp_path)
    holder.ask("acquire 5")
    head.tell("acquire 20")
    wait_until(lambda: waiting(head))
    head.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: _native.status(head.pid)[0] == "T")
    holder.ask("release")
    lock = SpawnLock(tmp_path)
    assert lock.acquire(timeout=0)
    lock.release()


@pytest.mark.parametrize("reap", [True, False], ids=["reaped", "zombie"])
def test_death_of_the_holder_wakes_the_one_who_waits(
    spawn: Spawn, tmp_path: Path, kernel: str, reap: bool
) -> None:
    holder, waiter = Actor(spawn, tmp_path), Actor(spawn, tmp_path)
    holder.ask("acquire 5")
    waiter.tell("acquire-at 20")
    wait_until(lambda: waiting(waiter))
    killed = time.monotonic()
    holder.process.kill()
    if reap:
        holder.process.wait()
    assert float(waiter.answer()) - killed < PROMPT
    assert waiter.ask("fenced") == "mine"


def test_exec_of_the_holder_wakes_the_one_who_waits(
    spawn: Spawn, tmp_path: Path, kernel: str
) -> None:
    holder, waiter = Actor(spawn, tmp_path), Actor(spawn, tmp_path)
    holder.ask("acquire 5")
    waiter.tell("acquire 20")
    wait_until(lambda: waiting(waiter))
    began = time.monotonic()
    holder.tell("exec")
    assert waiter.answer() == "abandoned"
    assert time.monotonic() - began < PROMPT


def test_twenty_in_line_are_all_served_and_in_turn(spawn: Spawn, tmp_path: Path) -> None:
    holder = Actor(spawn, tmp_path)
    holder.ask("acquire 5")
    waiters = [Actor(spawn, tmp_path) for _ in range(20)]
    for waiter in waiters:
        waiter.tell("acquire-at 30")
        wait_until(lambda waiter=waiter: waiting(waiter))  # type: ignore[misc]
    holder.ask("release")
    order = []
    streams = {waiter.output: index for index, waiter in enumerate(waiters)}
    while streams:
        ready = select.select(list(streams), [], [], DEADLINE)[0]
        assert len(ready) == 1, "one holder at a time"
        index = streams.pop(ready[0])
        began = time.monotonic()
        waiters[index].answer()
        order.append(index)
        assert waiters[index].ask("release") == "True"
        assert time.monotonic() - began < PROMPT
    assert sorted(order) == list(range(20)), "nobody starved"
    if FIRST_COME_FIRST_SERVED:
        assert order == list(range(20))


def test_the_line_goes_on_when_some_in_it_are_killed(spawn: Spawn, tmp_path: Path) -> None:
    holder = Actor(spawn, tmp_path)
    holder.ask("acquire 5")
    waiters = [Actor(spawn, tmp_path) for _ in range(6)]
    for waiter in waiters:
        waiter.tell("acquire-at 30")
        wait_until(lambda waiter=waiter: waiting(waiter))  # type: ignore[misc]
    for index in (0, 2, 4):  # the head among them
        waiters[index].kill()
    released = float(holder.ask("release-at"))
    streams = {waiters[index].output: waiters[index] for index in (1, 3, 5)}
    while streams:
        (ready,) = select.select(list(streams), [], [], DEADLINE)[0]
        waiter = streams.pop(ready)  # in any order: those behind one that dies in line ask anew
        assert float(waiter.answer()) - released < PROMPT
        released = float(waiter.ask("release-at"))


def test_a_waiter_that_gives_up_does_not_hold_up_the_line(spawn: Spawn, tmp_path: Path) -> None:
    holder, first, second = (Actor(spawn, tmp_path) for _ in range(3))
    holder.ask("acquire 5")
    first.tell("acquire 0.3")
    wait_until(lambda: waiting(first))
    second.tell("acquire-at 20")
    wait_until(lambda: waiting(second))
    assert first.answer() == "LockTimeout"
    released = float(holder.ask("release-at"))
    assert float(second.answer()) - released < PROMPT


def test_a_stopped_head_of_the_line_costs_the_others_no_more_than_their_timeout(
    spawn: Spawn, tmp_path: Path
) -> None:
    holder, head, second = (Actor(spawn, tmp_path) for _ in range(3))
    holder.ask("acquire 5")
    head.tell("acquire 20")
    wait_until(lambda: waiting(head))
    second.tell("acquire-at 20")
    wait_until(lambda: waiting(second))
    head.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: _native.status(head.pid)[0] == "T")
    released = float(holder.ask("release-at"))
    assert float(second.answer()) - released < LOOK_AROUND + 1
    second.ask("release")
    head.process.send_signal(signal.SIGCONT)
    assert head.answer() == "free"


def test_a_lock_whose_owner_changes_while_one_waits_is_still_waited_for(
    spawn: Spawn, tmp_path: Path
) -> None:
    """Each holder has a lock file of its own; the sleep must be on the present one."""
    holders = [Actor(spawn, tmp_path) for _ in range(2)]
    second = Actor(spawn, tmp_path)
    holders[0].ask("acquire 5")
    second.tell("acquire-at 20")
    wait_until(lambda: waiting(second))
    # Behind the waiter's back: as if another had got in before it.
    guard = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(guard, fcntl.LOCK_EX)
    path = tmp_path / "lock"
    with path.open("rb") as old:
        content = old.read()
    path.unlink()
    path.write_bytes(content)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.close(guard)
        assert holders[0].ask("release") == "False"
        assert not select.select([second.output], [], [], 0.05)[0]
        released = time.monotonic()
    assert float(second.answer()) - released < PROMPT


# ------------------------------------------------------------------------------------ timeout


def test_many_that_time_out_together_all_name_the_holder(
    spawn: Spawn, tmp_path: Path, kernel: str
) -> None:
    """They crowd the guard; none may take the others for one who is stopped inside."""
    holder = Actor(spawn, tmp_path)
    holder.ask("acquire 5")
    deadline = time.monotonic() + 0.4

    def wait(index: int) -> None:
        with pytest.raises(LockTimeout) as caught:
            SpawnLock(tmp_path).acquire(timeout=deadline - time.monotonic())
        assert caught.value.__dict__["holder"] is not None, str(caught.value)
        assert caught.value.__dict__["holder"].identity.pid == holder.pid

    in_threads(30, wait)
    assert time.monotonic() - deadline < 3


def test_a_wait_uses_no_processor(spawn: Spawn, tmp_path: Path) -> None:
    holder = Actor(spawn, tmp_path)
    holder.ask("acquire 5")
    before = time.process_time()
    with pytest.raises(LockTimeout):
        SpawnLock(tmp_path, timeout=0.5).acquire()
    assert time.process_time() - before < 0.1


# ---------------------------------------------------------------------------------- satisfied


def test_satisfied_is_not_asked_when_the_lock_is_free(tmp_path: Path) -> None:
    lock = SpawnLock(tmp_path)
    assert lock.acquire(satisfied=lambda: pytest.fail("asked for nothing")) is True
    assert lock.held
    lock.release()


def test_a_satisfied_caller_gets_no_lock_and_leaves_the_line(spawn: Spawn, tmp_path: Path) -> None:
    holder = Actor(spawn, tmp_path)
    holder.ask("acquire 5")
    lock = SpawnLock(tmp_path)
    assert lock.acquire(satisfied=lambda: True) is False
    assert not lock.held
    assert lock.release() is False
    assert not (tmp_path / "turn").exists(), "it did not even stand in line"
    assert holder.ask("fenced") == "mine"


def test_satisfied_is_asked_after_each_wake_before_the_lock_is_taken(
    spawn: Spawn, tmp_path: Path
) -> None:
    holder = Actor(spawn, tmp_path)
    holder.ask("acquire 5")
    asked: list[int] = []

    def satisfied() -> bool:
        if not asked:
            holder.tell("release")
        asked.append(1)
        return len(asked) == 2

    lock = SpawnLock(tmp_path, timeout=DEADLINE)
    assert lock.acquire(satisfied=satisfied) is False
    assert len(asked) == 2
    assert holder.answer() == "True"
    assert not (tmp_path / "lock").exists(), "taken by nobody"


def test_an_unsatisfied_caller_gets_the_lock(spawn: Spawn, tmp_path: Path) -> None:
    holder = Actor(spawn, tmp_path)
    holder.ask("acquire 5")
    asked: list[int] = []

    def satisfied() -> bool:
        if not asked:
            holder.tell("release")
        asked.append(1)
        return False

    lock = SpawnLock(tmp_path, timeout=DEADLINE)
    assert lock.acquire(satisfied=satisfied) is True
    assert len(asked) >= 1
    assert holder.answer() == "True"
    lock.release()


def test_an_error_in_satisfied_leaves_nothing(spawn: Spawn, tmp_path: Path) -> None:
    holder = Actor(spawn, tmp_path)
    holder.ask("acquire 5")
    lock = SpawnLock(tmp_path)
    before = open_fds()
    calls = 0

    def fail() -> bool:
        nonlocal calls
        calls += 1
        if calls == 2:  # before the wait the first time, then after it
            holder.tell("release")
            return False
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            lock.acquire(satisfied=fail)
        assert open_fds() == before
        assert not lock.held
    assert calls == 3
    assert holder.answer() == "True"


# --------------------------------------------------------------------------------------- fork


def test_a_fork_while_one_waits_keeps_no_place_in_line(spawn: Spawn, tmp_path: Path) -> None:
    """The child of one that waits may live for ever; the line must not wait for it."""
    holder, second = Actor(spawn, tmp_path), Actor(spawn, tmp_path)
    holder.ask("acquire 5")
    code = f"""
        {SEE}
        import os, signal, threading
        from pidproof.lock.spawn_lock import SpawnLock
        lock = SpawnLock(sys.argv[1], timeout=60)
        threading.Thread(target=lock.acquire, daemon=True).start()
        sys.stdin.readline()
        child = os.fork()
        if child == 0:
            what = open_fds().values()
            print(sum("turn" in name or "lock" in name or "event" in name for name in what),
                  flush=True)
            signal.pause()
        sys.stdin.readline()
        os.kill(child, signal.SIGKILL)
        os.wait()
        os._exit(0)
    """
    waiter = spawn(python(code, str(tmp_path)))
    wait_until((tmp_path / "turn").exists)
    wait_until(lambda: is_in_flock(waiter.pid))
    second.tell("acquire-at 20")
    wait_until(lambda: waiting(second))
    write_line(waiter, "fork")
    assert read_line(waiter) == "0", "descriptors of the wait in the fork"
    os.kill(waiter.pid, signal.SIGSTOP)
    forks = children(waiter.pid)
    os.kill(waiter.pid, signal.SIGKILL)
    waiter.wait()
    released = float(holder.ask("release-at"))
    assert float(second.answer()) - released < PROMPT
    for child in forks:
        os.kill(child, signal.SIGKILL)


def test_a_fork_in_satisfied_goes_on_waiting_by_itself(spawn: Spawn, tmp_path: Path) -> None:
    holder = Actor(spawn, tmp_path)
    holder.ask("acquire 5")
    child = -1

    def satisfied() -> bool:
        nonlocal child
        if child < 0:
            child = os.fork()
            if child:
                holder.tell("release")
        return False

    lock = SpawnLock(tmp_path, timeout=DEADLINE)
    try:
        assert lock.acquire(satisfied=satisfied)
        with lock.fenced():
            pass
        lock.release()
    finally:
        if child == 0:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert holder.answer() == "True"
    assert not (tmp_path / "lock").exists()


# ---------------------------------------------------------------------------------- one sleep


def test_a_place_in_line_sleeps_once_and_wakes(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    threads = native_threads()
    place = PlaceInLine(directory)
    try:
        began = time.monotonic()
        assert place.sleep(DEADLINE, lambda: True) is True, "no lock: nothing to wait for"
        assert time.monotonic() - began < PROMPT
        path = tmp_path / "lock"
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            assert place.sleep(0.05, lambda: True) is False
            assert native_threads() == threads
        assert place.sleep(DEADLINE, lambda: True) is True
    finally:
        place.leave()
        place.leave()
        os.close(directory)
    assert native_threads() == threads


def test_a_place_in_line_looks_around_once_a_second(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    place = PlaceInLine(directory)
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        began = time.monotonic()
        assert place.sleep(DEADLINE, lambda: False) is True
        assert LOOK_AROUND <= time.monotonic() - began < LOOK_AROUND + 1
        place.leave()
    os.close(directory)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [40])
def test_nobody_starves_among_many(spawn: Spawn, tmp_path: Path, count: int) -> None:
    code = """
        import json, os, sys, time
        from pidproof.lock.spawn_lock import SpawnLock
        where, count = sys.argv[1], int(sys.argv[2])
        end = time.monotonic() + 6
        reports = []
        for index in range(count):
            out, into = os.pipe()
            if os.fork() == 0:
                served, worst = 0, 0.0
                while time.monotonic() < end:
                    began = time.monotonic()
                    with SpawnLock(where, timeout=60):
                        worst = max(worst, time.monotonic() - began)
                        served += 1
                os.write(into, json.dumps([served, worst]).encode())
                os._exit(0)
            os.close(into)
            reports.append(out)
        for _ in range(count):
            os.wait()
        print(json.dumps([json.loads(os.read(out, 1000)) for out in reports]))
    """
    farm = spawn(python(code, str(tmp_path), str(count)))
    served = json.loads(read_line(farm, 120))
    assert min(number for number, _ in served) > 0
    assert max(worst for _, worst in served) < 5
