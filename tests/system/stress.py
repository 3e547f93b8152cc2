# SPDX-License-Identifier: MIT
"""Waves of launchers that all begin at once, and are killed and stopped wherever they are.

    stress.py DIRECTORY WITNESS SECONDS SEED LAUNCHERS

After each wave, when no launcher is left, it prints a line of JSON and waits for a line of input,
so that somebody outside can look at what is left; `end` ends it early.  It is a program of its own
because launchers are forked from it, warm: one that is forked costs a hundredth of one that starts.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import heapq
import importlib
import itertools
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from outside import stat
from system.launches import (
    TRAITS,
    Act,
    Stage,
    become_command,
    draw,
    judge_command,
    perform,
    read_results,
)
from system.observer import adopting_orphans


if TYPE_CHECKING:
    from collections.abc import Callable

# No act may take longer, whatever else happens, once nobody is stopped any more.
HANGS = 90.0
KILLED = 0.25
STOPPED = 0.25
SERVERS_STRUCK = 16


class Launcher(NamedTuple):
    """A launcher that was not reaped yet, so that its pid is its own."""

    act: Act
    began: float


class Waves:
    """Forks, strikes, reaps and counts."""

    def __init__(self, stage: Stage, launchers: int, seed: int) -> None:
        self._stage = stage
        self._launchers = launchers
        self._chance = random.Random(seed)
        self._results = f"{stage.directory}/results"
        self._alive: dict[int, Launcher] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._killed: set[int] = set()
        self._reported = 0
        self._serial = itertools.count()
        self.counts: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.slowest: dict[str, float] = {}
        self.violations: list[str] = []

    def wave(self) -> None:
        """Let them all begin at one moment, strike, and wait for the end of all."""
        Path(self._results).write_bytes(b"")
        self._reported = 0
        for _ in range(self._chance.randrange(4)):
            self._strike_server()
        door, opener = os.pipe()
        for _ in range(self._launchers):
            self._fork(draw(self._chance), door, opener)
        os.close(door)
        os.close(opener)
        self._plan(time.monotonic())
        began = time.monotonic()
        while self._alive:
            self._strike()
            self._reap()
            if time.monotonic() - began > HANGS:
                self._end_what_hangs()
            time.sleep(0.001)
        self._events.clear()
        self.counts["waves"] += 1
        self._read_results()

    def _fork(self, act: Act, door: int, opener: int) -> None:
        self.counts["launchers"] += 1
        self.counts["launchers by command"] += act.by_command
        self.counts["launchers that may be deposed"] += bool(act.hold and not act.by_command)
        pid = os.fork()
        if pid == 0:
            try:
                os.close(opener)
                os.read(door, 1)
                os.close(door)
                if act.by_command:
                    become_command(act, self._stage, f"{self._results}-{os.getpid()}")
                line = json.dumps(perform(act, self._stage)).encode() + b"\n"
                fd = os.open(self._results, os.O_WRONLY | os.O_APPEND)
                os._exit(0 if os.write(fd, line) == len(line) else 4)
            finally:
                os._exit(3)
        self._alive[pid] = Launcher(act, time.monotonic())

    # ------------------------------------------------------------------------------- strikes

    def _plan(self, now: float) -> None:
        """Choose whom to strike and when: most acts are over after milliseconds, some last."""
        for pid in self._alive:
            fate = self._chance.random()
            if fate < KILLED + STOPPED:
                strike = self._kill if fate < KILLED else self._stop
                self._at(now + self._some_time(), functools.partial(strike, pid))
        for _ in range(self._chance.randrange(SERVERS_STRUCK)):
            self._at(now + self._some_time(), self._strike_server)

    def _some_time(self) -> float:
        return float(10 ** self._chance.uniform(-3, 0.5))

    def _at(self, moment: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._serial), act))

    def _strike(self) -> None:
        while self._events and self._events[0][0] <= time.monotonic():
            heapq.heappop(self._events)[2]()

    def _is_there(self, pid: int) -> bool:
        return pid in self._alive and (line := stat(pid)) is not None and not line.has_exited

    def _kill(self, pid: int) -> None:
        if self._is_there(pid):
            os.kill(pid, signal.SIGKILL)
            self._killed.add(pid)

    def _stop(self, pid: int) -> None:
        if self._is_there(pid):
            os.kill(pid, signal.SIGSTOP)
            self.counts["launchers stopped"] += 1
            until = time.monotonic() + 10 ** self._chance.uniform(-3, 0.3)
            self._at(until, functools.partial(self._continue, pid))

    def _continue(self, pid: int) -> None:
        if pid in self._alive:
            os.kill(pid, signal.SIGCONT)

    def _strike_server(self) -> None:
        """Kill or stop the server of a key, if it runs."""
        marks = self._stage.marks(self._chance.choice(list(TRAITS)))
        number = signal.SIGKILL if self._chance.random() < 0.8 else signal.SIGSTOP
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, IndexError):
            pid = int(Path(marks).read_text().splitlines()[-1].split()[1])
            fd = os.pidfd_open(pid)
            with contextlib.closing(os.fdopen(fd)):
                # Held by the descriptor, so what is read here is of whom the signal goes to.
                if marks.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    signal.pidfd_send_signal(fd, number)
                    self.counts[f"servers sent {number.name}"] += 1

    # ---------------------------------------------------------------------------------- ends

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = found
                launcher = self._alive.pop(pid, None)
                if launcher is None:
                    self.counts["orphans reaped"] += 1
                else:
                    self._finished(pid, launcher, os.waitstatus_to_exitcode(status))

    def _finished(self, pid: int, launcher: Launcher, status: int) -> None:
        output = Path(f"{self._results}-{pid}")
        if status == -signal.SIGKILL and pid in self._killed:
            self.counts["launchers killed"] += 1
        elif launcher.act.by_command and output.exists():
            seconds = time.monotonic() - launcher.began
            self._count(judge_command(launcher.act, output.read_text(), status, seconds))
        elif status:
            self.violations.append(f"{launcher.act} ended with {status}")
        else:
            self._reported += 1
        self._killed.discard(pid)
        output.unlink(missing_ok=True)

    def _end_what_hangs(self) -> None:
        for pid, launcher in self._alive.items():
            where = " ".join(
                Path(f"/proc/{pid}/{name}").read_text().strip() for name in ("wchan", "syscall")
            )
            self.violations.append(f"{launcher.act} hangs: {where}")
            os.kill(pid, signal.SIGKILL)
            self._killed.add(pid)

    def _read_results(self) -> None:
        found = list(read_results(self._results))
        for ended in found:
            self._count(ended)
        # One that was killed may have written its line before.
        if len(found) < self._reported:
            self.violations.append(f"{self._reported} launchers ended well, {len(found)} said so")

    def _count(self, ended: Any) -> None:
        self.outcomes[f"{ended.kind}: {ended.outcome}"] += 1
        self.slowest[ended.kind] = max(ended.seconds, self.slowest.get(ended.kind, 0.0))
        if ended.trace:
            self.violations.append(ended.trace)


def warm_up() -> None:
    """Load whatever a launcher needs, so that those forked from here begin with their act."""
    for name in ("ensure", "health", "start", "status", "stop", "sweep", "terminate"):
        importlib.import_module(f"pidproof.server.{name}")
    gc.freeze()


def main() -> None:
    """Play waves until the time is over."""
    directory, program, seconds, seed, launchers = sys.argv[1:]
    waves = Waves(Stage(directory, program), int(launchers), int(seed))
    end = time.monotonic() + float(seconds)
    warm_up()
    with adopting_orphans():
        while time.monotonic() < end:
            waves.wave()
            report = {
                "counts": waves.counts,
                "outcomes": waves.outcomes,
                "slowest": waves.slowest,
                "violations": waves.violations,
            }
            print(json.dumps(report), flush=True)
            if sys.stdin.readline().strip() != "go on":
                break
            waves._reap()


if __name__ == "__main__":
    main()
