# SPDX-License-Identifier: MIT
"""A lock that nobody else wants: beside the same acts in C, and other locks."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from benchmarks.board import Target
from benchmarks.programs import Floor
from benchmarks.race import Bench, Race, in_process, whole_process
from pidproof import SpawnLock, _native_lock


if TYPE_CHECKING:
    from pathlib import Path

SECTION = "lock, free"
CALLS = 50
ROUNDS = 31


def race(bench: Bench, what: str, where: Path) -> Race:
    """Return a race in a directory, with its floors."""
    on = "tmpfs" if where.is_relative_to("/dev/shm") else "disk"
    turns = Race(bench, SECTION, f"{what}, {on}", rounds=ROUNDS)
    (where / "floor").mkdir()
    (where / "ours").mkdir()
    floor = Floor(
        bench.spawn,
        bench.programs / "floor",
        pid=os.getpid(),
        directory=where / "floor",
        record=where,
    )
    turns.beside("floor", "guard, O_EXCL create, write, unlink", floor.batch("lock", CALLS))
    turns.beside("floor", "every system call of ours", floor.batch("lock_all", CALLS))
    return turns


def test_acquire_and_release_native(bench: Bench, lock_directory: Path) -> None:
    turns = race(bench, "acquire and release: the native calls", lock_directory)
    directory = os.open(lock_directory / "ours", os.O_RDONLY | os.O_DIRECTORY)
    try:
        lock = _native_lock.Lock()

        def act() -> None:
            lock.try_acquire(directory, b"bench", 10**9, 10**9)
            lock.release(directory, 10**9)

        turns.run(in_process(act, CALLS), targets=[Target(1.5, "guard")])
    finally:
        os.close(directory)


def test_acquire_and_release(bench: Bench, lock_directory: Path) -> None:
    turns = race(bench, "with SpawnLock(...)", lock_directory)
    path = str(lock_directory / "theirs")

    def ours() -> None:
        with SpawnLock(lock_directory / "ours"):
            pass

    try:
        import filelock
    except ImportError:
        bench.missing("filelock", "not installed")
    else:

        def hard() -> None:
            with filelock.FileLock(path):
                pass

        def soft() -> None:
            with filelock.SoftFileLock(path + ".soft"):
                pass

        turns.beside("peer", "filelock.FileLock", in_process(hard, CALLS))
        turns.beside("peer", "filelock.SoftFileLock", in_process(soft, CALLS))
    try:
        import portalocker
    except ImportError:
        bench.missing("portalocker", "not installed")
    else:

        def port() -> None:
            with portalocker.Lock(path + ".port"):
                pass

        turns.beside("peer", "portalocker.Lock", in_process(port, CALLS))
    if shutil.which("flock"):
        turns.beside("peer", "flock(1) true, whole", whole_process(["flock", path, "true"]))
    else:
        bench.missing("flock", "util-linux is not installed")
    turns.run(
        in_process(ours, CALLS),
        targets=[Target(1.5, "guard"), Target(4, "filelock.Soft", faster=True)],
    )
