# SPDX-License-Identifier: MIT
"""A lock that many want: how soon after its release the next one has it, and what waiting costs."""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from typing import Any

import pytest

from benchmarks.board import Beside, Target, percentile
from benchmarks.programs import HERE, need_room
from benchmarks.race import Bench
from helpers import TESTS


SECTION = "lock, wanted by many"
# Beside a plain blocking flock, the floor: no queue of ours, no file to judge, no record.
KINDS = {
    "pidproof": "SpawnLock",
    "flock": "blocking flock(2)",
    "filelock": "filelock.FileLock",
    "soft": "filelock.SoftFileLock",
    "portalocker": "portalocker.Lock",
}
FULL = pytest.mark.full
ALL = [
    2,
    pytest.param(10, marks=FULL),
    pytest.param(100, marks=FULL),
    pytest.param(1000, marks=FULL),
]


def kinds(bench: Bench, waiters: int) -> list[str]:
    """Return those that can be run here; who polls is left out of the largest crowd."""
    found = ["pidproof", "flock"]
    for kind, module in (("filelock",) * 2, ("soft", "filelock"), ("portalocker",) * 2):
        if importlib.util.find_spec(module) is None:
            bench.missing(module, "not installed")
        elif waiters <= 100:
            found.append(kind)
    return found


def crowd(bench: Bench, kind: str, waiters: int, how: str) -> dict[str, Any]:
    """Run one, in a directory of its own; of small ones several, for they have few hand-overs."""
    several = not bench.once and how in {"once", "die"} and kind in {"pidproof", "flock"}
    runs = max(1, 30 // waiters) if several else 1
    found: dict[str, Any] = {"latencies": [], "never": 0, "processor": 0.0}
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as directory:
            process = bench.spawn(
                [sys.executable, str(HERE / "lock_crowd.py"), kind, directory, str(waiters), how],
                env={"PYTHONPATH": str(TESTS)},
            )
            out, _ = process.communicate(timeout=240)
        assert process.returncode == 0
        for name, figure in json.loads(out).items():
            found[name] += figure
    if how in {"once", "die"} and kind in {"pidproof", "flock"}:
        assert found["never"] == 0, f"{found['never']} of {waiters} were never woken"
    return found


def beside(kind: str, figure: float) -> Beside:
    """Return the figure of another kind."""
    return Beside("floor" if kind == "flock" else "peer", KINDS[kind], figure)


@pytest.mark.parametrize("waiters", ALL)
@pytest.mark.parametrize("how", ["once", "die"])
def test_hand_over(how: str, waiters: int, bench: Bench) -> None:
    need_room(2 * waiters, 4)
    found = {}

    def all_kinds() -> None:
        for kind in kinds(bench, waiters) if how == "once" else ("pidproof", "flock"):
            found[kind] = crowd(bench, kind, waiters, how)

    bench.benchmark.pedantic(all_kinds, rounds=1)
    wanted: dict[float, list[Target]] = {}
    after = "a release" if how == "once" else "SIGKILL of the holder"
    if waiters == 100:
        limits = {0.5: 0.3e-3, 0.99: 1e-3} if how == "once" else {0.5: 0.6e-3}
        wanted = {share: [Target(limit)] for share, limit in limits.items()}
        distribution(bench, found, after)
    for share, name in ((0.5, "median"), (0.99, "99 of 100")):
        show(bench, found, f"{waiters} waiting: hand-over after {after}, {name}", share, wanted)
    if how == "once":
        each = {kind: one["processor"] / len(one["latencies"]) for kind, one in found.items()}
        bench.board.add(
            SECTION,
            f"{waiters} waiting: processor time of all for one hand-over",
            each.pop("pidproof"),
            besides=[beside(kind, figure) for kind, figure in each.items()],
        )


@pytest.mark.full
@pytest.mark.parametrize("waiters", [100])
def test_who_is_never_served(waiters: int, bench: Bench) -> None:
    """Each wants the lock again the moment that it has given it up."""
    need_room(2 * waiters, 4)
    found = {}

    def all_kinds() -> None:
        for kind in kinds(bench, waiters):
            found[kind] = crowd(bench, kind, waiters, "again")["never"]

    bench.benchmark.pedantic(all_kinds, rounds=1)
    bench.board.add(
        SECTION,
        f"{waiters} that want it again and again: never served in {4 * waiters} hand-overs",
        found.pop("pidproof"),
        unit="waiters",
        besides=[beside(kind, never) for kind, never in found.items()],
        targets=[Target(0)],
    )


def show(
    bench: Bench,
    found: dict[str, dict[str, Any]],
    measure: str,
    share: float,
    wanted: dict[float, list[Target]],
) -> None:
    """Write the latency that this share of the hand-overs kept within."""
    figures = {
        kind: percentile(one["latencies"], share) / 1e9
        for kind, one in found.items()
        if one["latencies"]
    }
    bench.board.add(
        SECTION,
        measure,
        figures.pop("pidproof"),
        besides=[beside(kind, figure) for kind, figure in figures.items()],
        targets=wanted.get(share, []),
    )


def distribution(bench: Bench, found: dict[str, dict[str, Any]], after: str) -> None:
    """Keep the points of the plot: which share of the hand-overs was done within a time."""
    lines = bench.board.plot(
        "handover",
        "Hand-over of a lock that 100 wait for",
        ("microseconds since it was given up", "share of the hand-overs"),
        ("log", "linear"),
    )
    for kind, one in found.items():
        if one["latencies"]:
            shares = [n / 100 for n in range(1, 100)]
            lines[f"{KINDS[kind]}, after {after}"] = [
                (round(percentile(one["latencies"], share) / 1e3, 1), share) for share in shares
            ]


@pytest.mark.full
@pytest.mark.parametrize("waiters", [100])
def test_what_waiting_costs(waiters: int, bench: Bench) -> None:
    need_room(2 * waiters, 4)
    found = {}

    def all_kinds() -> None:
        for kind in kinds(bench, waiters):
            # Held for two seconds.
            found[kind] = crowd(bench, kind, waiters, "idle")["processor"] / waiters / 2

    bench.benchmark.pedantic(all_kinds, rounds=1)
    bench.board.add(
        SECTION,
        f"{waiters} waiting: processor time of one for a second of waiting",
        found.pop("pidproof"),
        besides=[beside(kind, figure) for kind, figure in found.items()],
    )
