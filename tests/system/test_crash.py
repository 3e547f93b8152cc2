# SPDX-License-Identifier: MIT
"""A launcher killed at any moment of a start leaves nothing that the next one trips over."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from system.launching import NODE_SERVER, needs, python_server, status_of


if TYPE_CHECKING:
    from pathlib import Path

    from system.launching import Launcher, Pidproof
    from system.observer import Observer

# Far beyond what an `ensure` adds to a server's own start; a wait for a dead holder would show.
MARGIN = 10.0


class Rounds:
    """Kills launchers at random moments of their start, each time followed by an `ensure`."""

    def __init__(self, pidproof: Pidproof, observer: Observer, arguments: list[str]) -> None:
        self._pidproof = pidproof
        self._observer = observer
        self._ensure = ["ensure", "web", "--json", *arguments]
        self.moments: Counter[str] = Counter()
        self.actions: Counter[str] = Counter()
        self.waits: list[float] = []
        self.alone = self.cold = 0.0

    def _measure(self) -> None:
        """Take the time of a launcher that starts the server, and of one that finds it."""
        self.cold = self._pidproof(*self._ensure).seconds
        self.alone = self._pidproof(*self._ensure).seconds
        assert self._pidproof("stop", "web").status == 0

    def round(self, moment: float) -> None:
        """Kill a launcher this many seconds after its birth, then ask for the server."""
        launcher = self._pidproof.start(*self._ensure)
        kill_at(launcher, moment)
        self.moments[self._state()] += 1
        done = self._pidproof(*self._ensure)
        assert done.status == 0, done
        assert status_of(done.data["url"]) == 200
        assert self._observer.one().pid == done.data["pid"]
        self.actions[done.data["action"]] += 1
        self.waits.append(done.seconds)
        assert done.seconds < self.cold + MARGIN
        assert self._pidproof("stop", "web").status == 0
        assert not self._observer.servers()

    def _state(self) -> str:
        """Say how far the killed launcher had come, by its record."""
        records = list(self._observer.state.glob("*/*/record.json"))
        if not records:
            return "before its record"
        record = json.loads(records[0].read_bytes())
        named = "named" if record["identity"] else "not named"
        return f"{record['state']}, {named}"

    def run(self, count: int, seed: int) -> None:
        """Play some rounds; the seed repeats the moments, not what happens at them."""
        chance = random.Random(seed)
        try:
            with self._observer.watching() as watch:
                self._measure()
                for _ in range(count):
                    # Most of what it takes to find a server is the interpreter's own start.
                    self.round(chance.uniform(self.alone * 0.6, self.cold * 1.1))
        finally:
            print(f"seed {seed}: {len(self.waits)} rounds of {count}")
            print(f"killed at: {dict(self.moments)}; then: {dict(self.actions)}")
            print(f"a cold start takes {self.cold:.3f} s, {self.alone:.3f} s of it the launcher's")
        waits = sorted(self.waits)
        print(
            f"the ensure after it: median {waits[len(waits) // 2]:.3f} s, at most {waits[-1]:.3f}"
        )
        print(f"{watch.looks} looks, {len(watch.problems)} problems")


def kill_at(launcher: Launcher, moment: float) -> None:
    """SIGKILL a launcher some seconds after its birth, unless it is done by then."""
    process = launcher.process
    try:
        process.wait(max(0.0, launcher.began + moment - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    # Not until the end of its output: a child at the gate may hold that a moment longer.
    process.wait()


@pytest.fixture
def seed() -> int:
    """A new one each time; to see a failure again, put the one that was printed here."""
    return random.SystemRandom().randrange(10**6)


def test_a_launcher_killed_while_it_starts_a_server_leaves_no_second_one(
    tmp_path: Path, pidproof: Pidproof, observer: Observer, seed: int
) -> None:
    Rounds(pidproof, observer, python_server(tmp_path / "empty")).run(8, seed)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_fifty_launchers_killed_while_they_start_python_leave_no_second_server(
    tmp_path: Path, pidproof: Pidproof, observer: Observer, seed: int
) -> None:
    Rounds(pidproof, observer, python_server(tmp_path / "empty")).run(50, seed)


@needs("node")
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_fifty_launchers_killed_while_they_start_node_leave_no_second_server(
    pidproof: Pidproof, observer: Observer, seed: int
) -> None:
    node = ["--http", "/", "--port", "auto", "--", *NODE_SERVER]
    Rounds(pidproof, observer, node).run(50, seed)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_launchers_that_die_in_a_crowd_leave_one_server(
    tmp_path: Path, pidproof: Pidproof, observer: Observer, seed: int
) -> None:
    """Of ten at once nine are killed, one after the other, wherever they are."""
    chance = random.Random(seed)
    print(f"seed {seed}")
    ensure = ["ensure", "web", *python_server(tmp_path / "empty")]
    for _ in range(8):
        with observer.watching():
            survivor, *others = [pidproof.start(*ensure) for _ in range(10)]
            for moment, launcher in zip(
                sorted(chance.uniform(0.1, 1.0) for _ in others), others, strict=True
            ):
                kill_at(launcher._replace(began=survivor.began), moment)
            done = survivor.finish()
        assert done.status == 0, done
        assert status_of(done.url) == 200
        observer.one()
        assert pidproof("stop", "web").status == 0
        assert not observer.servers()
