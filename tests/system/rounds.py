# SPDX-License-Identifier: MIT
"""Launchers that are killed at random moments, each followed by one that is not."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections import Counter
from typing import TYPE_CHECKING

from system.launching import status_of


if TYPE_CHECKING:
    from system.launching import Launcher, Pidproof
    from system.observer import Observer

# Far beyond what an `ensure` adds to a server's own start; a wait for a dead holder would show.
MARGIN = 10.0


class Rounds:
    """Kills launchers at random moments of their start, each time followed by an `ensure`."""

    def __init__(
        self, pidproof: Pidproof, observer: Observer, arguments: list[str], *, answer: int = 200
    ) -> None:
        self._answer = answer  # to a GET of / without any header
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
        assert (done.status, done.data["state"]) == (0, "running"), done
        assert status_of(done.data["url"]) == self._answer
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
