# SPDX-License-Identifier: MIT
"""A crowd that wants one lock: who got it, how long after it was given up, at what cost.

    python lock_crowd.py KIND DIRECTORY WAITERS HOW

The first holder is this process.  It forks the others, waits until they are asleep in the line,
and gives the lock up; each holds it for a millisecond.  HOW they go on: `once`, each wants it once;
`again`, each wants it again at once, until there were four hand-overs for each; `die`, each ends by
SIGKILL in place of a release; `idle`, the lock is held for two seconds and given to nobody.
Prints JSON.
"""

from __future__ import annotations

import ctypes
import fcntl
import itertools
import json
import mmap
import os
import select
import signal
import struct
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from benchmarks.account import processor_seconds


if TYPE_CHECKING:
    from collections.abc import Callable

    Lock = tuple[Callable[[], object], Callable[[], object]]

HOLD = 0.001
IDLE = 2.0
PR_SET_PDEATHSIG = 1  # sys/prctl.h
GIVE_UP = 40.0  # seconds after which a crowd is counted as it is
SLOT = struct.Struct("qqq")  # acquired, given up (nanoseconds), by which waiter
COUNT = struct.Struct("q")


def make_lock(kind: str, directory: str) -> Lock:
    """Return what acquires and what releases a lock of this kind."""
    path = f"{directory}/{kind}"
    match kind:
        case "pidproof":
            from pidproof import SpawnLock

            lock: Any = SpawnLock(directory, timeout=600, hold=600)
            return lock.acquire, lock.release
        case "flock":
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            return lambda: fcntl.flock(fd, fcntl.LOCK_EX), lambda: fcntl.flock(fd, fcntl.LOCK_UN)
        case "filelock":
            import filelock

            lock = filelock.FileLock(path)
            return lock.acquire, lock.release
        case "soft":
            import filelock

            lock = filelock.SoftFileLock(path)
            return lock.acquire, lock.release
        case "portalocker":
            import portalocker

            lock = portalocker.Lock(path, timeout=600)
            return lock.acquire, lock.release
    raise SystemExit(f"no such lock: {kind}")


class Slots:
    """The hand-overs so far, in memory that all share.  Only the holder of the lock writes."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._memory = mmap.mmap(-1, COUNT.size + SLOT.size * (capacity + 1))

    def __len__(self) -> int:
        return int(COUNT.unpack_from(self._memory)[0])

    def __getitem__(self, index: int) -> tuple[int, int, int]:
        acquired, given_up, by = SLOT.unpack_from(self._memory, COUNT.size + SLOT.size * index)
        return acquired, given_up, by

    def hold(self, by: int, seconds: float) -> None:
        """Hold the lock that was just acquired, and write down when it is given up, next."""
        acquired, index = time.monotonic_ns(), len(self)
        time.sleep(seconds)
        COUNT.pack_into(self._memory, 0, index + 1)
        at = COUNT.size + SLOT.size * index
        SLOT.pack_into(self._memory, at, acquired, time.monotonic_ns(), by)


def wait_in_line(me: int, lock: Lock, slots: Slots, done: int, how: str) -> None:
    """Take the lock, hold it, give it up; whoever is the last says so and keeps it."""
    acquire, release = lock
    while True:
        acquire()
        if len(slots) > slots.capacity:
            signal.pause()  # the last holder was ended a moment before us
        slots.hold(me, HOLD)
        if len(slots) > slots.capacity:
            os.write(done, b"d")
            signal.pause()  # ended from outside
        if how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        release()
        if how == "once":
            signal.pause()


def warm_up(kind: str, directory: str, me: int) -> None:
    """Wait for a lock of our own and get it, so that this fork has pages of its own of what is used
    then: launchers are no forks of one another, and share none that they write to."""
    own = f"{directory}/{me}"
    os.mkdir(own)
    holder, taker = make_lock(kind, own), make_lock(kind, own)
    holder[0]()
    thread = threading.Thread(target=taker[0])
    thread.start()
    time.sleep(0.01)  # so that most do wait; one that does not is only less warm
    holder[1]()
    thread.join()
    taker[1]()


def settle(pids: list[int]) -> None:
    """Return once they no longer run, or after two seconds: some look for ever."""
    before, end = -1.0, time.monotonic() + 2
    while (now := processor_seconds(pids)) != before and time.monotonic() < end:
        before = now
        time.sleep(0.05)


def main() -> None:
    """Run one crowd."""
    kind, directory, waiters, how = sys.argv[1:]
    slots = Slots(int(waiters) * {"once": 1, "again": 4, "die": 1, "idle": 0}[how])
    acquire, release = make_lock(kind, directory)
    acquire()
    ready, door = os.pipe()
    finished, done = os.pipe()
    pids = []
    for me in range(1, int(waiters) + 1):
        pid = os.fork()
        if pid == 0:
            if ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
                os._exit(1)  # nobody would end it if the crowd is cut short
            warm_up(kind, directory, me)
            lock = make_lock(kind, directory)
            os.write(door, b"r")
            wait_in_line(me, lock, slots, done, how)
        pids.append(pid)
    for _ in pids:
        os.read(ready, 1)
    settle(pids)

    before = processor_seconds(pids)
    if slots.capacity:
        slots.hold(0, HOLD)
        release()
        select.select([finished], [], [], GIVE_UP)
    else:
        time.sleep(IDLE)
    after = processor_seconds(pids)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        os.waitpid(pid, 0)
    held = [slots[index] for index in range(len(slots))]
    served = {by for _, _, by in held}
    late = [now[0] - then[1] for then, now in itertools.pairwise(held)]
    print(
        json.dumps(
            {
                "latencies": late,
                "never": int(waiters) - len(served - {0}),
                "processor": after - before,
            }
        )
    )


if __name__ == "__main__":
    main()
