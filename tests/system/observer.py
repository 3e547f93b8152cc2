# SPDX-License-Identifier: MIT
"""Who really runs: judged from outside, never from what pidproof says of itself."""

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

from helpers import wait_until
from outside import HAS_PROC, argv, children, environ, files_of, pids, stat


if TYPE_CHECKING:
    from collections.abc import Iterator

    from outside import Stat

_PR_SET_CHILD_SUBREAPER = 36


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

    def servers(self) -> list[Seen]:
        """List the servers that run: each was alive at one common moment."""
        others = (pid for pid in pids() if pid not in self._before)
        first = {seen.pid: seen for seen in map(self._look, others) if seen}
        again = map(self._look, first)
        return sorted(seen for seen in again if seen and first[seen.pid] == seen)

    def _look(self, pid: int) -> Seen | None:
        env = environ(pid)
        if env.get(b"PIDPROOF_PID") != str(pid).encode():
            return None
        record = self._record_in(env)
        line = stat(pid)
        if record is None or line is None or line.has_exited:
            return None
        return Seen(line.pid, line.start, record)

    def _record_in(self, env: dict[bytes, bytes]) -> Path | None:
        record = Path(os.fsdecode(env.get(b"PIDPROOF_RECORD", b"")))
        return record if self.state in record.parents else None

    def _is_marked(self, pid: int) -> bool:
        below = f"{self.state}/"
        return bool(self._record_in(environ(pid))) or any(
            path.startswith(below) for path in files_of(pid)
        )

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
        """List the living descendants of this process: with us as their reaper, nobody escapes.

        On macOS nobody can be that; there they are who has the variables of a server, or its log.
        """
        table = process_table()
        found = []
        if not HAS_PROC:
            new = (line for line in table.values() if line.pid not in self._before)
            return [line for line in new if self._is_marked(line.pid)]
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
            if not is_named(seen) and self._look(seen.pid) == seen:
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
            if command := argv(line.pid):  # none: it has ended since
                words.append(f"{line.pid} ({b' '.join(command).decode(errors='replace')})")
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
        """Look, and leave the processor to the others for three times as long as that took."""
        with contextlib.suppress(PermissionError):
            # A crowd of launchers must not keep us from looking; negative takes root.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -20)
        rest = 0.0
        while not self._over.wait(rest):
            began = time.monotonic()
            self.problems += self._observer.problems()
            self.looks += 1
            rest = 3 * (time.monotonic() - began)

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
    """Be the reaper of our descendants' orphans, so that none is lost from sight, if we can."""
    if not HAS_PROC:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
