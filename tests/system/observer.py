# SPDX-License-Identifier: MIT
"""Who really runs: judged from /proc alone, never from what pidproof says of itself."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from helpers import needs_linux, wait_until
from outside import children, pids, stat


if TYPE_CHECKING:
    from collections.abc import Iterator

    from outside import Stat

_PR_SET_CHILD_SUBREAPER = 36
NEEDS_REAPER = needs_linux("to be the reaper of orphans (prctl)")


class Seen(NamedTuple):
    """A living server: the process that carries its own pid and the path of its record."""

    pid: int
    start: int
    record: Path


def process_table() -> dict[int, Stat]:
    """Return every process but the zombies."""
    lines = map(stat, pids())
    return {line.pid: line for line in lines if line is not None and not line.has_exited}


class Observer:
    """Watches one state directory, as the reaper of whatever is orphaned meanwhile."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._before = set(process_table())
        self._strangers = {str(pid) for pid in self._before}

    def servers(self) -> list[Seen]:
        """List the servers that run: each was alive at one common moment."""
        names = (name for name in os.listdir("/proc") if name not in self._strangers)
        first = {seen.pid: seen for seen in map(self._look, names) if seen}
        again = (self._look(str(pid)) for pid in first)
        return sorted(seen for seen in again if seen and first[seen.pid] == seen)

    def _look(self, name: str) -> Seen | None:
        if not name.isdigit():
            return None
        try:
            raw = Path(f"/proc/{name}/environ").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return None
        if f"\0PIDPROOF_PID={name}\0".encode() not in b"\0" + raw:
            return None
        env = dict(entry.partition(b"=")[::2] for entry in raw.split(b"\0"))
        record = Path(os.fsdecode(env.get(b"PIDPROOF_RECORD", b"")))
        line = stat(int(name))
        if self.state not in record.parents or line is None or line.has_exited:
            return None
        return Seen(line.pid, line.start, record)

    def one(self) -> Seen:
        """Return the one server that runs."""
        found = self.servers()
        assert len(found) == 1, found
        return found[0]

    def is_alive(self, seen: Seen) -> bool:
        """Say whether this very process still runs."""
        line = stat(seen.pid)
        return line is not None and line.start == seen.start and not line.has_exited

    def wait_for_server(self) -> Seen:
        """Wait until a server runs, ready or not."""
        wait_until(self.servers)
        return self.one()

    def family(self) -> list[Stat]:
        """List the living descendants of this process: with us as their reaper, nobody escapes."""
        table = process_table()
        found = []
        for line in table.values():
            parent = line.parent
            while parent in table and parent != os.getpid():
                parent = table[parent].parent
            if parent == os.getpid() and line.pid not in self._before:
                found.append(line)
        return found

    def problems(self) -> list[str]:
        """Name what must never be: two servers of one record, or one that its record denies."""
        found = []
        servers = self.servers()
        for seen in servers:
            twins = [other.pid for other in servers if other.record == seen.record]
            if len(twins) > 1:
                found.append(f"{len(twins)} servers at once: {twins}")
            if not is_named(seen) and self._look(str(seen.pid)) == seen:
                found.append(f"process {seen.pid} runs and its record does not name it")
        return found

    def reap(self) -> None:
        """Collect the orphans that have ended.  Only when no other child is waited for."""
        for pid in set(children()) - self._before:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)

    def end_all(self) -> list[str]:
        """Kill and collect whatever is left, and name it."""
        left = self.family()
        words = []
        for line in left:
            with contextlib.suppress(OSError):
                argv = Path(f"/proc/{line.pid}/cmdline").read_bytes().replace(b"\0", b" ")
                words.append(f"{line.pid} ({argv.decode(errors='replace').strip()})")
            with contextlib.suppress(ProcessLookupError):
                os.kill(line.pid, signal.SIGKILL)
        wait_until(lambda: not self.family())
        self.reap()
        return words

    @contextlib.contextmanager
    def watching(self) -> Iterator[Watch]:
        """Look all the time; fails at the end if there was ever a problem."""
        watch = Watch(self)
        watch.start()
        try:
            yield watch
        finally:
            watch.stop()
        assert not watch.problems, watch.problems


class Watch(threading.Thread):
    """Looks again and again, and keeps what it saw."""

    def __init__(self, observer: Observer) -> None:
        super().__init__(name="watch")
        self._observer = observer
        self._over = threading.Event()
        self.looks = 0
        self.problems: list[str] = []

    def run(self) -> None:
        """Look, and leave the processor to the others for as long as that took."""
        with contextlib.suppress(PermissionError):
            # A crowd of launchers must not keep us from looking; negative takes root.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -20)
        took = 0.0
        while not self._over.wait(took):
            began = time.monotonic()
            self.problems += self._observer.problems()
            self.looks += 1
            took = time.monotonic() - began

    def stop(self) -> None:
        """End the thread."""
        self._over.set()
        self.join()


def is_named(seen: Seen) -> bool:
    """Say whether the record of a server names this very process."""
    try:
        token = json.loads(seen.record.read_bytes())["identity"]
    except FileNotFoundError:
        return False
    return token is not None and token.split(":")[2:4] == [str(seen.pid), str(seen.start)]


@contextlib.contextmanager
def adopting_orphans() -> Iterator[None]:
    """Be the reaper of our descendants' orphans, so that none is lost from sight."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
