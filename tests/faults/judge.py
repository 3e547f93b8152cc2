# SPDX-License-Identifier: MIT
"""What must hold after a strike, judged from the process table and the bytes on the disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from faults.operations import BOUND, KEY, Outcome, in_child, server
from pidproof.server import record as records
from pidproof.server.directory import KeyDirectory


def live_servers(state: str) -> list[int]:
    """List the servers of this state from the process table, not from our own records."""
    mark = f"PIDPROOF_RECORD={state}/".encode()
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
            entries = file.read().split(b"\0")
            if any(entry.startswith(mark) for entry in entries) and not is_zombie(name):
                found.append(int(name))
    return found


def is_zombie(name: str) -> bool:
    with open(f"/proc/{name}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0] in {b"Z", b"X"}


def reap() -> int:
    """Collect what has died; return how many children of ours are still there."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 0
        if pid == 0:
            with open(f"/proc/self/task/{os.getpid()}/children") as file:
                return len(file.read().split())


def settled(condition: Callable[[], bool]) -> bool:
    """Wait for what the kernel does after a kill by itself."""
    deadline = time.monotonic() + BOUND
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def record_of_key() -> records.Record | None:
    """The record of the key, if there is one."""
    directory = KeyDirectory.open(KEY)
    if directory is None:
        return None
    with directory:
        return records.read(directory, KEY)


def named() -> int | None:
    """The pid that the record names, whether it still runs or not."""
    record = record_of_key()
    return int(record.identity.pid) if record is not None and record.identity else None


def state_of_record() -> str | None:
    """How the record says it is."""
    record = record_of_key()
    return record.state if record is not None else None


def file_of_key(name: str) -> Path | None:
    """The path of a file in the directory of the key, if there is that directory."""
    directory = KeyDirectory.open(KEY)
    if directory is None:
        return None
    with directory:
        return Path(directory.path) / name


def content(name: str) -> bytes | None:
    """The bytes of a file of the key, None if there is none."""
    path = file_of_key(name)
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes() if path else None
    return None


def untracked(state: str, when: str) -> Iterator[str]:
    """At any instant: one server at most, and the record names it."""
    alive = live_servers(state)
    if len(alive) > 1:
        yield f"{when}: {len(alive)} servers"
    for pid in alive:
        if named() != pid:
            yield f"{when}: server {pid} is not named by the record ({named()})"


def judge(state: str, binary: str, wanted: str) -> tuple[list[str], Outcome]:
    """Check the promises once the struck launcher is gone; returns what is broken, and how the
    next launcher fared."""
    found: list[str] = []

    def only_servers_left() -> bool:
        return reap() == len(live_servers(state))

    if not settled(only_servers_left):
        found.append(
            f"a process that is no server was left: {reap()} children, {live_servers(state)}"
        )
    found += untracked(state, "afterwards")
    following = in_child(server(binary, wanted).ensure)
    if following.kind != "Running":
        found.append(f"the next ensure ended with {following}")
    if following.took > BOUND:
        found.append(f"the next ensure took {following.took:.1f} s")
    reap()
    alive = live_servers(state)
    if following.kind == "Running" and (alive != [following.pid] or named() != following.pid):
        found.append(f"after the next ensure: {alive} and {named()}, not {following.pid}")
    return found, following


def clear(state: str) -> None:
    """End what runs below a state, and remove it."""
    for pid in live_servers(state):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    settled(lambda: reap() == 0)
    shutil.rmtree(state, ignore_errors=True)
