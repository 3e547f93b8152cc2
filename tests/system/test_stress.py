# SPDX-License-Identifier: MIT
"""Two hundred launchers at once, killed and stopped at random: one server per key, and no orphan.

PIDPROOF_STRESS_SECONDS, PIDPROOF_STRESS_SEED and PIDPROOF_STRESS_LAUNCHERS change how long, which
and how many.  The seed repeats what is drawn, not how the processes take turns.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from helpers import TESTS, needs_linux, read_line, wait_until, write_line
from system.launches import TRAITS, Stage
from system.launching import status_of
from system.observer import Observer, is_named
from system.rounds import MARGIN


if TYPE_CHECKING:
    from helpers import Spawn
    from system.launching import Pidproof

SECONDS = float(os.environ.get("PIDPROOF_STRESS_SECONDS", "12"))
SEED = int(os.environ.get("PIDPROOF_STRESS_SEED", random.SystemRandom().randrange(10**6)))
LAUNCHERS = int(os.environ.get("PIDPROOF_STRESS_LAUNCHERS", "200"))
# Longer than a wave may take until it ends by itself what hangs in it.
WAVE = 180.0
# What a key's directory may hold in the end, besides logs that were rotated.
FILES = {"history.jsonl", "server.log", "turn"}

pytestmark = [
    pytest.mark.slow,
    needs_linux("to be the reaper of orphans"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="compiles its server"),
]


class Timed(Observer):
    """An observer that knows how far apart its looks were."""

    def __init__(self, state: Path) -> None:
        super().__init__(state)
        self._last = 0.0
        self.gaps: list[float] = []

    def problems(self) -> list[str]:
        """Look, and take the time since the last look began."""
        now = time.monotonic()
        if self._last:
            self.gaps.append(now - self._last)
        self._last = now
        found = super().problems()
        # Witnesses see what falls between two looks; the processors are for the launchers.
        time.sleep(min(2 * (time.monotonic() - now), 0.1))
        return found


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A compiled witness, and a place for its marks."""
    program = tmp_path / "witness"
    source = TESTS / "system" / "witness.c"
    subprocess.run(["cc", "-O1", "-o", str(program), str(source)], check=True)
    (tmp_path / "marks").mkdir()
    stage = Stage(str(tmp_path / "marks"), str(program))
    Path(f"{stage.marks('flaky')}.flaky").touch()
    return stage


class Judge:
    """Looks from outside: at the process table, at environments, and at the witnesses' marks."""

    def __init__(self, observer: Timed, stage: Stage) -> None:
        self.observer = observer
        self._stage = stage
        self.launchers = 0

    def marks(self) -> Counter[str]:
        """Count what servers have said of themselves: start, end, overlap."""
        found: Counter[str] = Counter()
        for path in map(Path, map(self._stage.marks, TRAITS)):
            if path.exists():
                found.update(line.split()[0] for line in path.read_text().splitlines())
        return found

    def strays(self) -> list[str]:
        """Name the living processes that no record accounts for, once no launcher is left."""
        recorded = set()
        for path in self.observer.state.glob("*/*/record.json"):
            token = json.loads(path.read_bytes())["identity"]
            recorded.add(int(token.split(":")[2]) if token else 0)
        return [
            f"{line} belongs to no server"
            for line in self.observer.family()
            if line.pid != self.launchers and line.session not in recorded
        ]

    def violations(self) -> list[str]:
        """Name what must not be while no launcher is left; shims get a moment to exit."""
        found = [f"{seen} is not named" for seen in self.observer.servers() if not is_named(seen)]
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not self.strays(), 5)
        overlaps = self.marks()["overlap"]
        return found + self.strays() + ([f"{overlaps} overlaps"] if overlaps else [])

    def show(self, report: dict[str, Any]) -> None:
        """Print what happened."""
        marks, gaps = self.marks(), self.observer.gaps
        print(", ".join(f"{count} {name}" for name, count in report["counts"].items()))
        print(", ".join(f"{count} {name}" for name, count in sorted(report["outcomes"].items())))
        print("slowest:", ", ".join(f"{kind} {s:.2f} s" for kind, s in report["slowest"].items()))
        print(f"{marks['start']} servers started, {marks['end']} of them ended by SIGTERM")
        print(f"{len(gaps)} looks, at most {max(gaps):.3f} s from one to the next")
        print(f"{len(report['violations'])} violations")


def play(spawn: Spawn, judge: Judge, stage: Stage) -> dict[str, Any]:
    """Run the waves and judge what is left after each; the first violation ends it."""
    settings = [stage.directory, stage.program, str(SECONDS), str(SEED), str(LAUNCHERS)]
    program = [sys.executable, str(TESTS / "system" / "stress.py"), *settings]
    end = time.monotonic() + SECONDS
    with judge.observer.watching() as watch:
        waves = spawn(program, env={"PYTHONPATH": str(TESTS)})
        judge.launchers = waves.pid
        while True:
            report: dict[str, Any] = json.loads(read_line(waves, WAVE))
            report["violations"] += judge.violations() + watch.problems
            watch.problems = []
            is_over = bool(report["violations"]) or time.monotonic() >= end
            write_line(waves, "end" if is_over else "go on")
            if is_over:
                waves.wait(WAVE)
                return report


@pytest.mark.timeout(SECONDS + 300)
def test_launchers_that_are_killed_and_stopped_never_make_two_servers_of_a_key_nor_an_orphan(
    state: Path, stage: Stage, spawn: Spawn, pidproof: Pidproof
) -> None:
    print(f"seed {SEED}")
    judge = Judge(Timed(state), stage)
    report = play(spawn, judge, stage)
    judge.show(report)
    assert report["violations"] == []
    assert judge.marks()["start"] >= len(TRAITS), "hardly anything happened"
    assert len(judge.observer.gaps) > SECONDS, "hardly anybody looked"
    for what in ("launchers killed", "launchers stopped"):
        assert report["counts"].get(what, 0) > 0, f"no {what}"

    # Now that it is quiet, all is as if nothing had been.
    Path(f"{stage.marks('flaky')}.flaky").unlink()
    for key in TRAITS:
        done = pidproof(*stage.ensure(key))
        assert done.status == 0, done
        assert done.seconds < MARGIN
        assert status_of(done.data["url"]) == 200
    assert len(judge.observer.servers()) == len(TRAITS)
    assert judge.violations() == []
    for key in TRAITS:
        assert pidproof("stop", key).status == 0
    assert judge.observer.family() == []
    left = {path.name for path in state.glob("*/*/*") if not path.name.startswith("server.log.")}
    assert left <= FILES
