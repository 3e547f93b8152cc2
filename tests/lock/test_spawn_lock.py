# SPDX-License-Identifier: MIT
from __future__ import annotations

import contextlib
import ctypes
import dis
import fcntl
import json
import math
import os
import pickle
import re
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from helpers import (
    DEADLINE,
    NEEDS_NAMESPACES,
    NEEDS_ROOT,
    NEEDS_STRACE,
    NEEDS_TIME_NAMESPACES,
    NOBODY,
    SEE,
    Actor,
    Leftovers,
    in_threads,
    python,
    read_line,
    run,
    wait_until,
    write_line,
)
from outside import native_threads, open_fds
from pidproof import _native, _native_lock
from pidproof.errors import (
    InvalidArgument,
    LockLost,
    LockTimeout,
    StateError,
    UnsafePath,
)
from pidproof.lock.spawn_lock import SpawnLock
from pidproof.process.identity import identify
from pidproof.process.liveness import Liveness


if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from helpers import Spawn

pytestmark = pytest.mark.usefixtures("nothing_left")

NONCE = "0123456789abcdef" * 2


def line_of(**changes: str) -> bytes:
    """Return the content of a lock file that this process could have written."""
    now = time.monotonic_ns()
    fields = {
        "word": "pidproof-lock",
        "version": "1",
        "nonce": NONCE,
        "token": str(identify(os.getpid())),
        "since": str(now),
        "deadline": str(now + 120 * 10**9),
        "purpose": "test",
    }
    return (" ".join({**fields, **changes}.values()) + "\n").encode()


def of_the_dead() -> str:
    """Return the token of a process that is gone."""
    me = str(identify(os.getpid()))
    return re.sub(r"[0-9a-f]{8}-", "00000000-", me, count=1)


# --------------------------------------------------------------------------- take and release


def test_lock_file_stands_while_the_lock_is_held(tmp_path: Path, kernel: str) -> None:
    path = tmp_path / "lock"
    with SpawnLock(tmp_path, purpose="start", hold=7) as lock:
        assert lock.held
        assert lock.found == "free"
        assert path.stat().st_mode & 0o777 == 0o600
        word, version, nonce, token, since, deadline, purpose = path.read_text().split()
        assert (word, version, purpose) == ("pidproof-lock", "1", "start")
        assert token == str(identify(os.getpid()))
        assert len(nonce) == 32
        assert int(deadline) - int(since) == 7 * 10**9
        assert abs(int(since) - time.monotonic_ns()) < 10**9
        assert path.read_text().endswith("\n")
    assert os.listdir(tmp_path) == []
    assert lock.release() is False


def test_every_acquisition_has_a_nonce_of_its_own(tmp_path: Path) -> None:
    lock = SpawnLock(tmp_path)
    nonces = set()
    for _ in range(20):
        with lock:
            nonces.add((tmp_path / "lock").read_text().split()[2])
    assert len(nonces) == 20


def test_release_says_whether_there_was_something_to_release(tmp_path: Path) -> None:
    lock = SpawnLock(tmp_path)
    assert lock.release() is False
    assert lock.acquire() is True
    assert lock.release() is True
    assert lock.release() is False


def test_a_directory_may_be_given_as_a_descriptor(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with SpawnLock(fd):
            assert (tmp_path / "lock").exists()
        os.fstat(fd)
    finally:
        os.close(fd)


def test_a_held_lock_cannot_be_acquired_by_its_own_object(tmp_path: Path) -> None:
    with SpawnLock(tmp_path) as lock:
        with pytest.raises(RuntimeError, match="not reentrant"):
            lock.acquire()
        assert lock.held


def test_fenced_without_the_lock_is_a_mistake(tmp_path: Path) -> None:
    lock = SpawnLock(tmp_path)
    with pytest.raises(RuntimeError, match="not held"), lock.fenced():
        pass


@pytest.mark.parametrize("purpose", ["", "Start", "a b", "a\nb", "a1", "ä", "x" * 33])
def test_a_purpose_that_would_not_fit_the_file_is_refused(tmp_path: Path, purpose: str) -> None:
    with pytest.raises(InvalidArgument):
        SpawnLock(tmp_path, purpose=purpose)


@pytest.mark.parametrize("seconds", [1e12, math.inf])
def test_for_ever_is_a_time_like_any_other(tmp_path: Path, seconds: float) -> None:
    with SpawnLock(tmp_path, timeout=seconds, hold=seconds) as lock, lock.fenced():
        assert lock.held
    assert not (tmp_path / "lock").exists()


def test_hold_of_the_past_makes_a_lock_that_others_may_take(spawn: Spawn, tmp_path: Path) -> None:
    actor = Actor(spawn, tmp_path, hold=0)
    assert actor.ask("acquire 5") == "free"
    with SpawnLock(tmp_path, timeout=DEADLINE) as lock:
        assert lock.found == "aged"


def test_a_lock_outlives_the_thread_that_took_it(spawn: Spawn, tmp_path: Path) -> None:
    actor = Actor(spawn, tmp_path)
    assert actor.ask("acquire-in-thread") == "free"
    with pytest.raises(LockTimeout):
        SpawnLock(tmp_path, timeout=0.05).acquire()
    assert actor.ask("fenced") == "mine"
    assert actor.ask("release") == "True"


# -------------------------------------------------------------------------------- live holder


def test_a_live_holder_is_named_in_time(spawn: Spawn, tmp_path: Path, kernel: str) -> None:
    holder = Actor(spawn, tmp_path, purpose="restart")
    assert holder.ask("acquire 5") == "free"
    began = time.monotonic()
    with pytest.raises(LockTimeout) as caught:
        SpawnLock(tmp_path, timeout=0.2).acquire()
    assert 0.2 <= time.monotonic() - began < 1.5
    seen = caught.value.__dict__["holder"]
    assert seen.identity == identify(holder.pid)
    assert seen.purpose == "restart"
    assert seen.liveness is Liveness.ALIVE
    assert seen.since <= time.monotonic() < seen.deadline
    for part in (f"process {holder.pid} ", "lock_actor.py", "to restart", "within 0.2 s"):
        assert part in str(caught.value)
    assert str(holder.pid) in (caught.value.remedy or "")
    assert isinstance(caught.value, TimeoutError)
    assert holder.ask("release") == "True"


def test_a_timeout_of_nothing_tries_once(spawn: Spawn, tmp_path: Path, kernel: str) -> None:
    lock = SpawnLock(tmp_path)
    for timeout in (0, -1):
        assert lock.acquire(timeout=timeout)
        lock.release()
    holder = Actor(spawn, tmp_path)
    holder.ask("acquire 5")
    for timeout in (0, -1):
        with pytest.raises(LockTimeout) as caught:
            lock.acquire(timeout=timeout)
        assert caught.value.__dict__["holder"].identity.pid == holder.pid


def test_a_stopped_holder_is_alive(spawn: Spawn, tmp_path: Path, kernel: str) -> None:
    holder = Actor(spawn, tmp_path)
    holder.ask("acquire 5")
    holder.process.send_signal(signal.SIGSTOP)
    with pytest.raises(LockTimeout):
        SpawnLock(tmp_path, timeout=0.1).acquire()
    holder.process.send_signal(signal.SIGCONT)
    assert holder.ask("fenced") == "mine"


def test_threads_of_one_process_exclude_one_another(tmp_path: Path, kernel: str) -> None:
    inside = 0
    worst = 0

    def act(index: int) -> None:
        nonlocal inside, worst
        for _ in range(25):
            with SpawnLock(tmp_path, timeout=DEADLINE) as lock:
                inside += 1
                with lock.fenced():
                    worst = max(worst, inside)
                inside -= 1

    in_threads(6, act)
    assert worst == 1
    assert not (tmp_path / "lock").exists()


# -------------------------------------------------------------------------------- dead holder


@pytest.mark.parametrize("reap", [True, False], ids=["reaped", "zombie"])
def test_the_lock_of_a_dead_holder_is_taken_at_once(
    spawn: Spawn, tmp_path: Path, kernel: str, reap: bool
) -> None:
    holder = Actor(spawn, tmp_path)
    holder.ask("acquire 5")
    holder.process.kill()
    wait_until(lambda: _native.status(holder.pid)[0] == "Z")
    if reap:
        holder.process.wait()
    began = time.monotonic()
    with SpawnLock(tmp_path, timeout=0) as lock:
        assert lock.found == "dead"
        assert time.monotonic() - began < 0.5
        assert str(identify(os.getpid())) in (tmp_path / "lock").read_text()


def test_the_lock_of_a_holder_that_execed_is_abandoned(
    spawn: Spawn, tmp_path: Path, kernel: str
) -> None:
    """It keeps its pid, start time and unique id: by identity it would hold for ever."""
    holder = Actor(spawn, tmp_path)
    holder.ask("acquire 5")
    identity = identify(holder.pid)
    holder.tell("exec")
    assert holder.answer() == "execing"
    write_line(holder.process, "hello")
    assert read_line(holder.process) == "hello", "from cat"
    assert identity.liveness() is Liveness.ALIVE
    with SpawnLock(tmp_path, timeout=0) as lock:
        assert lock.found == "abandoned"


def test_the_lock_of_a_dead_holder_whose_fork_lives_on_is_taken(
    spawn: Spawn, tmp_path: Path, kernel: str
) -> None:
    """The fork has a copy of the descriptor, and so of the life flock."""
    code = """
        import os, signal, sys, time
        from pidproof.lock.spawn_lock import SpawnLock
        lock = SpawnLock(sys.argv[1])
        lock.acquire()
        child = os.fork()
        if child == 0:
            sys.stdin.readline()
            os._exit(0)
        print(child, flush=True)
        signal.pause()
    """
    holder = spawn(python(code, str(tmp_path)))
    fork = identify(int(read_line(holder)))
    holder.kill()
    holder.wait()
    assert fork.liveness() is Liveness.ALIVE
    with SpawnLock(tmp_path, timeout=0) as lock:
        assert lock.found == "dead"
    write_line(holder, "")
    wait_until(lambda: fork.liveness() is not Liveness.ALIVE)


def test_the_lock_of_another_boot_is_dead(tmp_path: Path, kernel: str) -> None:
    (tmp_path / "lock").write_bytes(line_of(token=of_the_dead()))
    with SpawnLock(tmp_path, timeout=0) as lock:
        assert lock.found == "dead"


@NEEDS_NAMESPACES
def test_death_in_another_pid_namespace_frees_the_lock(
    spawn: Spawn, tmp_path: Path, kernel: str
) -> None:
    new_namespace = ["unshare", "-p", "-f", "--kill-child", "--mount-proc"]
    holder = Actor(spawn, tmp_path, prefix=new_namespace)
    assert holder.pid == 1
    assert holder.ask("acquire 5") == "free"
    with pytest.raises(LockTimeout) as caught:
        SpawnLock(tmp_path, timeout=0.05).acquire()
    assert caught.value.__dict__["holder"].liveness is Liveness.UNKNOWN
    assert "another pid namespace" in str(caught.value)
    holder.kill()
    with SpawnLock(tmp_path, timeout=DEADLINE) as lock:
        assert lock.found == "abandoned"


# ------------------------------------------------------------------------------- half-written


WHOLE = b"pidproof-lock 1 " + NONCE.encode() + b" "


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"p",
        b"pidproof-lock 1 ",
        WHOLE,
        b"\0" * 100,
        b"{}\n",
        b"garbage\n",
        b"\xff" * 511,
        b"x" * 100_000,
        b"pidproof-lock 2 whatever later versions write\n",
        b"pidproof-lock 99999999999999999999 \n",
        b"pidproof-lock 1\n",
        WHOLE + b"pidproof:1:1:1 1 1 test\n",
    ],
    ids=lambda content: repr(content[:24]),
)
def test_a_file_that_nobody_holds_and_says_nothing_is_taken_at_once(
    tmp_path: Path, kernel: str, content: bytes
) -> None:
    (tmp_path / "lock").write_bytes(content)
    with SpawnLock(tmp_path, timeout=0) as lock:
        assert lock.found == "half-written"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": NONCE[:-1]},
        {"nonce": NONCE.upper()},
        {"token": "pidproof:1:x"},
        {"since": "-1"},
        {"since": str(2**63)},
        {"deadline": "never"},
        {"deadline": str(2**64)},
        {"purpose": ""},
        {"purpose": "Test"},
        {"purpose": "test more"},
        {"purpose": "x" * 33},
        {"purpose": "test\0"},
        {"purpose": "x" * 600},
        {"word": "pidproof-lock "},
        {"version": "01"},
    ],
    ids=str,
)
def test_a_line_with_one_wrong_field_is_no_holder(tmp_path: Path, changes: dict[str, str]) -> None:
    (tmp_path / "lock").write_bytes(line_of(**changes))
    with SpawnLock(tmp_path, timeout=0) as lock:
        assert lock.found == "half-written"


def test_every_prefix_of_a_line_is_half_written(tmp_path: Path) -> None:
    line = line_of()
    for length in range(len(line)):
        (tmp_path / "lock").write_bytes(line[:length])
        with SpawnLock(tmp_path, timeout=0) as lock:
            assert lock.found == "half-written"
    (tmp_path / "lock").write_bytes(line)
    with SpawnLock(tmp_path, timeout=0) as lock:
        assert lock.found == "abandoned", "whole, of a process that lives, and not held"


def test_a_held_file_that_says_nothing_is_waited_for(tmp_path: Path, kernel: str) -> None:
    """Of a later version, perhaps: its holder can be neither named nor deposed."""
    path = tmp_path / "lock"
    path.write_bytes(b"pidproof-lock 2 of a later version\n")
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(LockTimeout, match="does not tell") as caught:
            SpawnLock(tmp_path, timeout=0.1).acquire()
        assert caught.value.__dict__["holder"] is None
        assert path.exists()
    with SpawnLock(tmp_path, timeout=0) as lock:
        assert lock.found == "half-written"


# ---------------------------------------------------------------- something else in its place


def put_symlink(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")


def put_symlink_to_itself(path: Path) -> None:
    path.symlink_to(path)


def put_symlink_to_a_file(path: Path) -> None:
    (path.parent / "elsewhere").write_text("precious")
    path.symlink_to(path.parent / "elsewhere")


def put_fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("name", ["lock", "turn"])
@pytest.mark.parametrize(
    ("put", "kind"),
    [
        (put_symlink, StateError),
        (put_symlink_to_itself, StateError),
        (put_symlink_to_a_file, StateError),
        (put_fifo, UnsafePath),
        (Path.mkdir, StateError),
    ],
)
def test_what_is_no_lock_file_is_an_error_at_once_and_left_alone(
    tmp_path: Path, put: Callable[[Path], None], kind: type[StateError], name: str
) -> None:
    path = tmp_path / name
    put(path)
    before = os.lstat(path)
    with contextlib.ExitStack() as stack:
        if name == "turn":  # looked at only by those who wait
            stack.enter_context(SpawnLock(tmp_path))
        began = time.monotonic()
        with pytest.raises(kind) as caught:
            SpawnLock(tmp_path, timeout=DEADLINE).acquire()
        assert time.monotonic() - began < 2
    assert type(caught.value) is kind
    assert caught.value.__dict__["path"] == tmp_path
    assert caught.value.errno
    assert str(tmp_path) in str(caught.value)
    after = os.lstat(path)
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    if put is put_symlink_to_a_file:
        assert (tmp_path / "elsewhere").read_text() == "precious"
    else:
        assert not (tmp_path / "elsewhere").exists()


@NEEDS_ROOT
@pytest.mark.parametrize("name", ["lock", "turn"])
def test_a_file_of_another_user_is_unsafe(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"")
    os.chown(path, NOBODY, NOBODY)
    with contextlib.ExitStack() as stack:
        if name == "turn":
            stack.enter_context(SpawnLock(tmp_path))
        with pytest.raises(UnsafePath):
            SpawnLock(tmp_path, timeout=DEADLINE).acquire()
    assert path.stat().st_uid == NOBODY


def test_a_directory_that_is_missing_or_none_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    for where in (tmp_path / "missing", file, link, 10**6):
        with pytest.raises(StateError):
            SpawnLock(where).acquire()


def test_a_directory_that_is_removed_under_the_holder_is_lost(tmp_path: Path) -> None:
    where = tmp_path / "key"
    where.mkdir()
    lock = SpawnLock(where)
    lock.acquire()
    (where / "lock").unlink()
    where.rmdir()
    with pytest.raises((LockLost, StateError)), lock.fenced():
        pytest.fail("fenced by a directory that is no more")
    assert lock.release() is False
    with pytest.raises(StateError):
        SpawnLock(where).acquire()


@NEEDS_NAMESPACES
@pytest.mark.parametrize("options", ["size=4k", "nr_inodes=2", "size=1m,ro"])
def test_a_full_or_read_only_disk_is_an_error_and_leaves_no_lock(
    tmp_path: Path, options: str
) -> None:
    code = """
        import os, sys
        from pidproof.errors import StateError
        from pidproof.lock.spawn_lock import SpawnLock
        where, options = sys.argv[1:]
        if "ro" not in options:
            try:
                with open(where + "/filler", "wb", 0) as file:
                    while True:
                        file.write(b"x" * 4096)
            except OSError:
                pass
        before = os.listdir(where)
        try:
            SpawnLock(where, timeout=5).acquire()
        except StateError as error:
            print(type(error).__name__, error.errno, os.listdir(where) == before,
                  len(os.listdir("/proc/self/fd")))
    """
    script = 'mount -t tmpfs -o "$0" tmpfs "$1" && shift && exec "$@"'
    if "inodes" in options:  # the filler takes the last one, and no block
        code = code.replace('file.write(b"x" * 4096)', "raise OSError")
    command = ["unshare", "-m", "sh", "-c", script, options, str(tmp_path)]
    out = run([*command, *python(code, str(tmp_path), options)]).split()
    errno_wanted = "30" if "ro" in options else "28"
    assert out == ["StateError", errno_wanted, "True", "4"]


# -------------------------------------------------------------------------------- aged holder


def test_an_aged_holder_is_deposed_and_changes_nothing_after(
    spawn: Spawn, tmp_path: Path, kernel: str
) -> None:
    holder = Actor(spawn, tmp_path, hold=0.3)
    assert holder.ask("acquire 5") == "free"
    holder.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    with SpawnLock(tmp_path, timeout=DEADLINE) as thief:
        assert thief.found == "aged"
        assert time.monotonic() - began < 1.2, "woken at the deadline, not by the look-around"
        mine = (tmp_path / "lock").read_text()
        holder.process.send_signal(signal.SIGCONT)
        assert holder.ask("fenced") == "LockLost"
        assert holder.ask("release") == "False"
        assert (tmp_path / "lock").read_text() == mine
        with thief.fenced():
            pass
    assert holder.ask("acquire 5") == "free"


def test_a_holder_is_not_deposed_before_its_deadline(spawn: Spawn, tmp_path: Path) -> None:
    holder = Actor(spawn, tmp_path, hold=0.5)
    before = time.monotonic()
    holder.ask("acquire 5")
    with SpawnLock(tmp_path, timeout=DEADLINE) as thief:
        assert time.monotonic() - before >= 0.5
        assert thief.found == "aged"


def test_past_its_deadline_a_holder_whom_nobody_deposed_still_holds(
    spawn: Spawn, tmp_path: Path
) -> None:
    holder = Actor(spawn, tmp_path, hold=0)
    holder.ask("acquire 5")
    assert holder.ask("fenced") == "mine"
    assert holder.ask("release") == "True"


def test_a_lock_file_that_was_rewritten_in_place_is_not_ours(tmp_path: Path) -> None:
    """Same path, same inode: the nonce alone tells."""
    lock = SpawnLock(tmp_path)
    lock.acquire()
    path = tmp_path / "lock"
    nonce = path.read_text().split()[2]
    other = path.read_text().replace(nonce, NONCE)
    with path.open("r+") as file:
        file.write(other)
    with pytest.raises(LockLost), lock.fenced():
        pytest.fail("fenced by another's lock")
    assert lock.release() is False
    assert path.read_text() == other


def test_a_lock_file_that_was_replaced_is_not_ours(tmp_path: Path) -> None:
    """Same path, same content: the inode alone tells."""
    lock = SpawnLock(tmp_path)
    lock.acquire()
    path = tmp_path / "lock"
    copy = tmp_path / "copy"
    copy.write_bytes(path.read_bytes())
    copy.rename(path)
    with pytest.raises(LockLost), lock.fenced():
        pytest.fail("fenced by another's lock")
    assert lock.release() is False
    assert path.exists()


def test_a_lock_file_that_was_removed_is_not_ours(tmp_path: Path) -> None:
    lock = SpawnLock(tmp_path)
    lock.acquire()
    (tmp_path / "lock").unlink()
    with pytest.raises(LockLost), lock.fenced():
        pytest.fail("fenced by nothing")
    assert lock.release() is False


def test_nobody_takes_the_lock_while_another_is_fenced(
    spawn: Spawn, tmp_path: Path, kernel: str
) -> None:
    thief = Actor(spawn, tmp_path)
    with SpawnLock(tmp_path, hold=0) as lock:
        with lock.fenced():
            assert thief.ask("acquire 0.1") == "LockTimeout"
            assert str(identify(os.getpid())) in (tmp_path / "lock").read_text()
        assert thief.ask("acquire 5") == "aged"


def test_lock_lost_can_be_pickled_and_is_a_runtime_error() -> None:
    error = LockLost("gone", remedy="again")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, RuntimeError)
    assert (str(again), getattr(again, "remedy", None)) == ("gone", "again")


@NEEDS_TIME_NAMESPACES
def test_times_are_the_same_in_every_time_namespace(spawn: Spawn, tmp_path: Path) -> None:
    shifted = ["unshare", "-T", "-f", "--monotonic", "100000", "--boottime", "100000"]
    holder = Actor(spawn, tmp_path, prefix=shifted)
    assert holder.ask("acquire 5") == "free"
    with pytest.raises(LockTimeout) as caught:
        SpawnLock(tmp_path, timeout=0).acquire()
    seen = caught.value.__dict__["holder"]
    assert abs(seen.since - time.monotonic()) < 5
    assert abs(seen.deadline - seen.since - 120) < 1
    assert holder.ask("release") == "True"
    with SpawnLock(tmp_path):
        assert holder.ask("acquire 0") == "LockTimeout", "not aged by the shifted clock"


# -------------------------------------------------------------------------------------- guard


def test_a_process_stopped_inside_the_guard_delays_nobody_beyond_his_timeout(
    spawn: Spawn, tmp_path: Path, kernel: str
) -> None:
    stuck = Actor(spawn, tmp_path)
    assert stuck.ask("guard") == "done"
    stuck.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(LockTimeout, match="guard"):
        SpawnLock(tmp_path, timeout=0.2).acquire()
    assert 0.2 <= time.monotonic() - began < 1.5
    assert not (tmp_path / "lock").exists()
    stuck.process.send_signal(signal.SIGCONT)
    assert stuck.ask("leave") == "done"
    with SpawnLock(tmp_path, timeout=0):
        pass


def test_a_process_that_dies_inside_the_guard_delays_nobody(spawn: Spawn, tmp_path: Path) -> None:
    stuck = Actor(spawn, tmp_path)
    stuck.ask("guard")
    stuck.kill()
    with SpawnLock(tmp_path, timeout=0):
        pass


def test_fenced_waits_for_the_guard_no_longer_than_told(spawn: Spawn, tmp_path: Path) -> None:
    stuck = Actor(spawn, tmp_path)
    with SpawnLock(tmp_path) as lock:
        stuck.ask("guard")
        began = time.monotonic()
        with pytest.raises(LockTimeout, match="guard"), lock.fenced(timeout=0.1):
            pytest.fail("two inside the guard")
        assert 0.1 <= time.monotonic() - began < 1
        assert lock.held
        stuck.ask("leave")
        with lock.fenced(timeout=0):
            pass


def test_release_without_the_guard_still_lets_the_next_one_in(
    spawn: Spawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pidproof.lock.spawn_lock.RELEASE_TIMEOUT", 0.1)
    stuck = Actor(spawn, tmp_path)
    lock = SpawnLock(tmp_path)
    lock.acquire()
    stuck.ask("guard")
    assert lock.release() is False
    assert not lock.held
    assert (tmp_path / "lock").exists()
    stuck.ask("leave")
    with SpawnLock(tmp_path, timeout=0) as after:
        assert after.found == "abandoned"


# --------------------------------------------------------------------------------------- fork


def test_a_fork_of_the_holder_is_not_the_holder(spawn: Spawn, tmp_path: Path) -> None:
    holder = Actor(spawn, tmp_path)
    holder.ask("acquire 5")
    content = (tmp_path / "lock").read_text()
    assert holder.ask("fork fenced") == "RuntimeError"
    assert holder.ask("fork release") == "False False"
    assert (tmp_path / "lock").read_text() == content
    with pytest.raises(LockTimeout):  # and the life flock was not dropped either
        SpawnLock(tmp_path, timeout=0.05).acquire()
    assert holder.ask("fenced") == "mine"
    assert holder.ask("release") == "True"


def test_a_fork_that_lives_on_keeps_nobody_out_after_the_release(
    spawn: Spawn, tmp_path: Path
) -> None:
    child = -1
    with SpawnLock(tmp_path):
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
    try:
        with SpawnLock(tmp_path, timeout=0) as lock:
            assert lock.found == "free"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_fork_inside_the_guard_does_not_keep_it(tmp_path: Path) -> None:
    with SpawnLock(tmp_path) as lock:
        with lock.fenced():
            child = os.fork()
            if child == 0:
                signal.pause()
                os._exit(0)
        try:
            with lock.fenced(timeout=0):
                pass
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def test_a_fork_may_take_the_lock_for_itself(tmp_path: Path, kernel: str) -> None:
    with SpawnLock(tmp_path):
        child = os.fork()
        if child == 0:
            try:
                SpawnLock(tmp_path, timeout=0.05).acquire()
            except LockTimeout as error:
                os._exit(0 if error.__dict__["holder"].identity.pid == os.getppid() else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    child = os.fork()
    if child == 0:
        with SpawnLock(tmp_path, timeout=0):
            ok = f":{os.getpid()}:" in (tmp_path / "lock").read_text()
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# --------------------------------------------------------------------------------- interrupts


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_section_that_an_interrupt_cut_short_keeps_nobody_out(
    tmp_path: Path, goes_on: bool
) -> None:
    """It comes right before the section would be left, and is kept with its frames."""
    before = open_fds()
    lock = SpawnLock(tmp_path)
    lock.acquire()
    section = lock.fenced()
    section.__enter__()
    if goes_on:
        with lock.fenced(timeout=0):
            pass
    assert lock.release()
    assert open_fds() == before
    with SpawnLock(tmp_path, timeout=0):
        pass
    del section


def test_a_section_that_is_over_late_does_not_end_the_next_one(tmp_path: Path) -> None:
    other = os.open(tmp_path, os.O_RDONLY)
    with SpawnLock(tmp_path) as lock:
        late = lock.fenced()
        late.__enter__()
        with lock.fenced():
            del late
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_UN)
    os.close(other)


def test_a_fork_that_python_does_not_know_of_leaves_the_guard_to_its_parent(
    tmp_path: Path,
) -> None:
    other = os.open(tmp_path, os.O_RDONLY)
    with SpawnLock(tmp_path) as lock, lock.fenced():
        if (child := ctypes.PyDLL(None).fork()) == 0:
            lock._lock.leave_guard()
            os._exit(0)
        os.waitpid(child, 0)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


def test_a_lock_that_is_lost_inside_the_guard_keeps_nobody_out(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    lock = _native_lock.Lock()
    assert lock.try_acquire(directory, b"spawn", 10**9, 0)
    lock.enter_guard(directory, 0)
    del lock
    with SpawnLock(tmp_path, timeout=0):
        pass
    os.close(directory)


class Interrupted(BaseException):
    """Stands for KeyboardInterrupt, which pytest would take for itself."""


class Interrupter:
    """A tracer that raises at the n-th place where the interpreter would run a signal handler.

    Those are after calls and at the begin of functions and loops; none is missed.
    """

    def __init__(self, place: int) -> None:
        self.place = place
        self.seen = 0
        self.where = ""
        self._previous: dict[FrameType, str] = {}

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        if "/pidproof/" not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        if event != "opcode":
            return self
        before = self._previous.get(frame, "")
        self._previous[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
        if before.startswith(("CALL", "RESUME", "JUMP_BACKWARD")):
            self.seen += 1
            if self.seen == self.place:
                sys.settrace(None)
                self.where = f"{frame.f_code.co_name} in line {frame.f_lineno}"
                raise Interrupted
        return self


def interruptions(act: Callable[[], None], reset: Callable[[], None], directory: Path) -> int:
    """Interrupt `act` at each place in turn and return how many places there were."""
    # CPython 3.12.1 tells of no instruction the first time that it traces a function by them.
    tracer = sys.gettrace()
    sys.settrace(Interrupter(place=-1))
    try:
        act()
    finally:
        sys.settrace(tracer)
    place = 0
    while True:
        place += 1
        before = Leftovers()
        interrupter = Interrupter(place)
        try:
            sys.settrace(interrupter)
            act()
        except Interrupted:
            pass
        finally:
            sys.settrace(tracer)
        where, seen = interrupter.where, interrupter.seen
        del interrupter
        if where.startswith("__exit__ "):
            # Before its first instruction the lock can only be dropped with its object.
            close_directories(before, directory)
        try:
            reset()
            before.check()
        except BaseException as error:
            error.add_note(f"after an interrupt at {where}")
            raise
        if seen < place:
            return place - 1


def close_directories(before: Leftovers, directory: Path) -> None:
    for fd, what in open_fds().items():
        if fd not in before.fds and what == str(directory):
            os.close(fd)


def test_an_interrupt_anywhere_in_a_with_block_leaves_nothing(tmp_path: Path) -> None:
    def act() -> None:
        with SpawnLock(tmp_path):
            pass

    found = []

    def reset() -> None:
        with SpawnLock(tmp_path, timeout=0) as lock:
            found.append(lock.found)

    assert interruptions(act, reset, tmp_path) > 20
    assert found.count("abandoned") <= 1, "the one place before the first one of `__exit__`"
    assert set(found) <= {"free", "abandoned"}


def test_an_interrupt_anywhere_in_a_fenced_act_leaves_the_guard_free(tmp_path: Path) -> None:
    lock = SpawnLock(tmp_path)
    lock.acquire()

    def act() -> None:
        with lock.fenced():
            pass

    def reset() -> None:
        lock.release()
        lock.acquire(timeout=0)
        with lock.fenced(timeout=0):
            pass

    assert interruptions(act, reset, tmp_path) > 5
    lock.release()


def test_an_interrupt_anywhere_in_a_wait_leaves_nothing(spawn: Spawn, tmp_path: Path) -> None:
    holder = Actor(spawn, tmp_path)
    holder.ask("acquire 5")
    lock = SpawnLock(tmp_path)

    def act() -> None:
        with pytest.raises(LockTimeout):
            lock.acquire(timeout=0.002)

    def reset() -> None:
        assert not lock.held

    assert interruptions(act, reset, tmp_path) > 40
    assert holder.ask("fenced") == "mine"
    holder.ask("release")
    with SpawnLock(tmp_path, timeout=0):
        pass


def test_ctrl_c_ends_a_wait_at_once_and_leaves_nothing(
    spawn: Spawn, tmp_path: Path, kernel: str
) -> None:
    holder = Actor(spawn, tmp_path)
    holder.ask("acquire 5")
    code = f"""
        {SEE}
        from pidproof.lock.spawn_lock import SpawnLock
        lock = SpawnLock(sys.argv[1], timeout=20)
        native_threads()
        fds = len(open_fds())
        print("ready", flush=True)
        try:
            lock.acquire()
        except KeyboardInterrupt:
            threads = native_threads()
            left = len(open_fds()) - fds
            print("interrupted", left, threads, lock.held, flush=True)
        sys.stdin.readline()
    """
    waiter = spawn(python(code, str(tmp_path)))
    assert read_line(waiter) == "ready"
    wait_until(lambda: native_threads(waiter.pid) == 2)
    began = time.monotonic()
    waiter.send_signal(signal.SIGINT)
    assert read_line(waiter) == "interrupted 0 1 False"
    assert time.monotonic() - began < 0.9
    assert holder.ask("release") == "True"
    with SpawnLock(tmp_path, timeout=0) as lock:
        assert lock.found == "free"


def test_ctrl_c_while_acquiring_never_leaves_a_lock(tmp_path: Path) -> None:
    """A real SIGINT at a random moment, hundreds of times."""
    code = """
        import os, signal, sys
        from pidproof.lock.spawn_lock import SpawnLock
        where = sys.argv[1]
        interrupts = 0
        def handler(number, frame):
            raise KeyboardInterrupt
        signal.signal(signal.SIGALRM, handler)
        for round in range(400):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-5 + round * 5e-7)
                while True:
                    with SpawnLock(where):
                        pass
            except KeyboardInterrupt:
                interrupts += 1
            with SpawnLock(where, timeout=0) as lock:
                assert lock.found in {"free", "abandoned"}, lock.found
        print(interrupts)
    """
    assert int(run(python(code, str(tmp_path)))) == 400
    assert not (tmp_path / "lock").exists()


def test_a_signal_with_a_handler_does_not_end_the_wait(spawn: Spawn, tmp_path: Path) -> None:
    holder = Actor(spawn, tmp_path)
    holder.ask("acquire 5")
    code = """
        import signal, sys
        from pidproof.lock.spawn_lock import SpawnLock
        signal.signal(signal.SIGUSR1, lambda *_: print("handled", flush=True))
        print("ready", flush=True)
        with SpawnLock(sys.argv[1], timeout=20) as lock:
            print(lock.found, flush=True)
    """
    waiter = spawn(python(code, str(tmp_path)))
    assert read_line(waiter) == "ready"
    wait_until(lambda: native_threads(waiter.pid) == 2)
    for _ in range(3):
        waiter.send_signal(signal.SIGUSR1)
        assert read_line(waiter) == "handled"
    holder.ask("release")
    assert read_line(waiter) == "free"


# --------------------------------------------------------------------------- mutual exclusion


FARM = """
    # Workers take the lock over and over; some are killed at random moments and replaced.
    # A record lock, which the kernel drops with its owner, shows whether two are inside.
    import fcntl, json, os, random, signal, sys, time
    from pidproof import _native
    from pidproof.lock.spawn_lock import SpawnLock
    where, count, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    key = where + "/key"
    os.mkdir(key)

    def work(index):
        inside = os.open(where + "/inside", os.O_RDWR | os.O_CREAT)
        served = os.open(f"{where}/served-{index}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        wrong = os.open(where + "/wrong", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        lock = SpawnLock(key, timeout=30)
        while True:
            try:
                with lock:
                    try:
                        fcntl.lockf(inside, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except OSError:
                        os.write(wrong, b"two inside\\n")
                    with lock.fenced():
                        os.write(served, b".")
                    fcntl.lockf(inside, fcntl.LOCK_UN)
            except Exception as error:
                os.write(wrong, repr(error).encode() + b"\\n")

    def start(index):
        child = os.fork()
        if child == 0:
            work(index)
        return child

    workers = [start(index) for index in range(count)]
    end = time.monotonic() + seconds
    killed = 0
    while time.monotonic() < end:
        index = random.randrange(count)
        time.sleep(random.uniform(0, 0.01))
        os.kill(workers[index], signal.SIGKILL)
        os.waitpid(workers[index], 0)
        killed += 1
        workers[index] = start(index)
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
    served = [os.path.getsize(f"{where}/served-{index}") for index in range(count)]
    wrong = open(where + "/wrong").read()
    began = time.monotonic()
    with SpawnLock(key, timeout=5):
        pass
    print(json.dumps({"killed": killed, "served": served, "wrong": wrong,
                      "after": time.monotonic() - began}))
"""


@pytest.mark.parametrize("seconds", [1.5, pytest.param(4.0, marks=pytest.mark.slow)])
def test_never_two_inside_while_holders_and_waiters_are_killed(
    spawn: Spawn, tmp_path: Path, seconds: float, kernel: str
) -> None:
    farm = spawn(python(FARM, str(tmp_path), "6", str(seconds)))
    result = json.loads(read_line(farm, seconds + DEADLINE))
    assert result["wrong"] == ""
    assert result["killed"] > 10 * seconds
    assert min(result["served"]) > 0
    assert sum(result["served"]) > 100 * seconds
    assert result["after"] < 1


def test_a_waiter_that_touches_a_lock_being_born_does_not_fail_its_creator(
    spawn: Spawn, tmp_path: Path
) -> None:
    """A waiter sleeps on the life flock; it may get hold of it before the creator does."""
    code = """
        import fcntl, os, sys
        print("ready", flush=True)
        path = sys.argv[1] + "/lock"
        while True:
            try:
                fd = os.open(path, os.O_RDWR)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            os.close(fd)
    """
    pushy = spawn(python(code, str(tmp_path)))
    assert read_line(pushy) == "ready"
    lock = SpawnLock(tmp_path, timeout=DEADLINE)
    for _ in range(3000):
        with lock, lock.fenced():
            pass


# ------------------------------------------------------------------------- kill at every call


ONCE = """
    import os, sys
    from pidproof import _native
    from pidproof.lock.spawn_lock import SpawnLock
    lock = SpawnLock(sys.argv[1], timeout=5)
    _native.features()
    os.stat("/begin")
    lock.acquire()
    with lock.fenced():
        pass
    lock.release()
    os.stat("/end")
""".replace('os.stat("/', 'os.access("/').replace('")\n', '", 0)\n')


def steps(tmp_path: Path) -> list[tuple[str, int]]:
    """Return each system call of an acquisition: its name and which of that name it is."""
    trace = tmp_path / "trace"
    where = tmp_path / "recorded"
    where.mkdir()
    run(["strace", "-o", str(trace), *python(ONCE, str(where))])
    counts: dict[str, int] = {}
    found = []
    inside = False
    for line in trace.read_text().splitlines():
        name = line.partition("(")[0]
        if not name.isidentifier():
            continue
        counts[name] = counts.get(name, 0) + 1
        inside = (inside or '"/begin"' in line) and '"/end"' not in line
        if inside:
            found.append((name, counts[name]))
    return found[1:]


@NEEDS_STRACE
@pytest.mark.faults
@pytest.mark.timeout(300)
def test_death_at_any_system_call_delays_the_next_one_by_nothing(tmp_path: Path) -> None:
    seen = set()
    for number, (name, nth) in enumerate(steps(tmp_path)):
        where = tmp_path / f"at-{number}"
        where.mkdir()
        inject = ["-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={nth}"]
        killed = ["strace", "-o", "/dev/null", *inject, *python(ONCE, str(where))]
        with pytest.raises(AssertionError):
            run(killed)
        began = time.monotonic()
        with SpawnLock(where, timeout=5) as lock:
            seen.add(lock.found)
        assert time.monotonic() - began < 0.5, f"after death at {name} #{nth}"
        assert os.listdir(where) == []
    assert seen == {"free", "half-written", "dead"}


@NEEDS_STRACE
@pytest.mark.faults
@pytest.mark.timeout(300)
@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "EMFILE"])
def test_failure_of_any_system_call_leaves_no_lock(tmp_path: Path, error: str) -> None:
    for number, (name, nth) in enumerate(steps(tmp_path)):
        if name in {"close", "exit_group"}:
            continue
        where = tmp_path / f"at-{number}"
        where.mkdir()
        inject = ["-e", f"trace={name}", "-e", f"inject={name}:error={error}:when={nth}"]
        with contextlib.suppress(AssertionError):
            run(["strace", "-o", "/dev/null", *inject, *python(ONCE, str(where))])
        with SpawnLock(where, timeout=0) as lock:
            assert lock.found in {"free", "abandoned", "dead"}, f"after {error} of {name} #{nth}"


def test_the_directory_holds_no_litter_and_the_process_no_descriptor(
    spawn: Spawn, tmp_path: Path
) -> None:
    before = open_fds()
    lock = SpawnLock(tmp_path, timeout=0.02)
    holder = Actor(spawn, tmp_path)
    started = open_fds()
    for _ in range(20):
        holder.ask("acquire 5")
        with pytest.raises(LockTimeout):
            lock.acquire()
        holder.ask("release")
        with lock, lock.fenced():
            pass
    assert open_fds() == started
    assert before.items() <= open_fds().items()
    assert set(os.listdir(tmp_path)) == {"turn"}
