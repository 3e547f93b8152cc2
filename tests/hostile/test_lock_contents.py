# SPDX-License-Identifier: MIT
"""A lock file of which any byte is wrong: held, left behind, or neither."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

import pytest

from helpers import Actor
from hostile.mutations import FLIPS, flipped, wholly_wrong
from pidproof import LockLost, LockTimeout, SpawnLock


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from helpers import Spawn

GIBIBYTE = 1 << 30


def passes_fence(lock: SpawnLock) -> bool:
    """Say whether the lock still lets its holder act."""
    try:
        with lock.fenced():
            return True
    except LockLost:
        return False


def contend(directory: Path, content: bytes) -> tuple[bool, bool]:
    """Spoil a lock that is held, try to take it, and say who of the two may act after that."""
    path = directory / "lock"
    holder, other = SpawnLock(directory, timeout=0), SpawnLock(directory, timeout=0)
    holder.acquire()
    try:
        path.write_bytes(content)
        with contextlib.suppress(LockTimeout):
            other.acquire()
        may = passes_fence(holder), other.held and passes_fence(other)
        assert may[1] == other.held
    finally:
        other.release()
        holder.release()
    path.unlink(missing_ok=True)  # nobody's any more: it is found abandoned
    return may


def line_of(directory: Path) -> bytes:
    """Return what a held lock's file says."""
    with SpawnLock(directory, timeout=0):
        return (directory / "lock").read_bytes()


def never_two(directory: Path, contents: Iterator[bytes]) -> list[tuple[bool, bool]]:
    """Try all; nowhere may both the holder and the other act, nor the holder by a line not his."""
    found = [contend(directory, content) for content in contents]
    assert (True, True) not in found
    return found


@pytest.mark.parametrize("flip", FLIPS)
def test_a_changed_byte_lets_no_two_pass_the_fence(tmp_path: Path, kernel: str, flip: str) -> None:
    line = line_of(tmp_path)
    found = never_two(tmp_path, (content for _, content in flipped(line, flip)))
    assert len(found) > 150
    assert found.count((False, True)) < len(found), "a wrong byte in itself frees no lock"


def test_a_cut_or_grown_line_lets_no_two_pass_the_fence(tmp_path: Path) -> None:
    line = line_of(tmp_path)
    contents = [line[:length] for length in range(len(line))]
    contents += wholly_wrong(line).values()
    found = never_two(tmp_path, iter(contents))
    assert (False, True) not in found, "who holds the file and does not tell is waited for"


@pytest.mark.parametrize("flip", FLIPS)
def test_a_changed_byte_of_a_dead_holder_delays_nobody(
    spawn: Spawn, tmp_path: Path, flip: str
) -> None:
    actor = Actor(spawn, tmp_path)
    actor.ask("acquire 0")
    line = (tmp_path / "lock").read_bytes()
    actor.kill()
    contents = [content for _, content in flipped(line, flip)]
    contents += [line[:length] for length in range(len(line))] + [line, line * 2, line + b"\0"]
    for content in contents:
        (tmp_path / "lock").write_bytes(content)
        with SpawnLock(tmp_path, timeout=0) as lock:
            assert passes_fence(lock)


def test_a_lock_file_of_a_gibibyte_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    os.truncate(path, GIBIBYTE)
    began = time.monotonic()
    with SpawnLock(tmp_path, timeout=0) as lock:
        assert lock.found == "half-written"
        os.truncate(path, GIBIBYTE)
        assert not passes_fence(lock)
        with pytest.raises(LockTimeout, match="does not tell"):
            SpawnLock(tmp_path, timeout=0).acquire()
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("deadline", [0, 1, 2**63 - 1])
@pytest.mark.parametrize("since", [0, 2**63 - 1])
def test_any_time_in_the_line_is_waited_out_or_not_in_time(
    spawn: Spawn, tmp_path: Path, since: int, deadline: int
) -> None:
    actor = Actor(spawn, tmp_path)
    actor.ask("acquire 0")
    words = (tmp_path / "lock").read_text().split()
    words[4:6] = [str(since), str(deadline)]
    (tmp_path / "lock").write_text(" ".join(words) + "\n")
    other = SpawnLock(tmp_path, timeout=0.05)
    began = time.monotonic()
    if deadline == 2**63 - 1:
        with pytest.raises(LockTimeout, match=f"process {actor.pid}"):
            other.acquire()
    else:
        with other:
            assert other.found == "aged"
            assert actor.ask("fenced") == "LockLost"
    assert time.monotonic() - began < 5
