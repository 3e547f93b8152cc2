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


def crowd(bench: Bench, kind: str, waiters: int, handovers: int, *how: str) -> dict[str, Any]:
    """Run one, in a directory of its own."""
    with tempfile.TemporaryDirectory() as directory:
        words = [kind, directory, str(waiters), str(handovers), *how]
        process = bench.spawn(
            [sys.executable, str(HERE / "lock_crowd.py"), *words],
            env={"PYTHONPATH": str(TESTS)},
        )
        out, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(out)
    return found


def beside(kind: str, figure: float) -> Beside:
    """Return the figure of another kind."""
    return Beside("floor" if kind == "flock" else "peer", KINDS[kind], figure)


@pytest.mark.parametrize("waiters", ALL)
def test_hand_over_after_a_release(waiters: int, bench: Bench) -> None:
    need_room(2 * waiters, 4)
    handovers = min(4 * waiters, 1500) if waiters > 10 else 100
    handovers = 5 if bench.once else handovers
    found = {}

    def all_kinds() -> None:
        for kind in kinds(bench, waiters):
            few = handovers if kind in {"pidproof", "flock"} else min(handovers, 100)
            found[kind] = crowd(bench, kind, waiters, few)

    bench.benchmark.pedantic(all_kinds, rounds=1)
    wanted = {0.5: [Target(0.3e-3)], 0.99: [Target(1e-3)]} if waiters == 100 else {}
    for share, name in ((0.5, "median"), (0.99, "99 of 100")):
        show(bench, found, f"{waiters} waiting: hand-over after a release, {name}", share, wanted)
    ours = found.pop("pidproof")
    bench.board.add(
        SECTION,
        f"{waiters} waiting: never served in {len(ours['latencies'])} hand-overs",
        ours["never"],
        unit="waiters",
        besides=[beside(kind, one["never"]) for kind, one in found.items()],
        targets=[Target(0)] if waiters == 100 else [],
    )
    bench.board.add(
        SECTION,
        f"{waiters} waiting: processor time of all for one hand-over",
        ours["processor"] / max(1, len(ours["latencies"])),
        besides=[
            beside(kind, one["processor"] / max(1, len(one["latencies"])))
            for kind, one in found.items()
        ],
    )
    if waiters == 100:
        distribution(bench, {"pidproof": ours, **found}, "a release")


@pytest.mark.parametrize("waiters", ALL)
def test_hand_over_after_a_kill(waiters: int, bench: Bench) -> None:
    need_room(2 * waiters, 4)
    found = {}

    def both() -> None:
        # Small crowds are used up quickly: several of them.
        for kind in ("pidproof", "flock"):
            runs = [
                crowd(bench, kind, waiters, waiters, "die")
                for _ in range(1 if bench.once else max(1, 30 // waiters))
            ]
            found[kind] = {"latencies": [n for run in runs for n in run["latencies"]]}

    bench.benchmark.pedantic(both, rounds=1)
    wanted = {0.5: [Target(0.6e-3)]} if waiters == 100 else {}
    for share, name in ((0.5, "median"), (0.99, "99 of 100")):
        measure = f"{waiters} waiting: hand-over after SIGKILL of the holder, {name}"
        show(bench, found, measure, share, wanted)
    if waiters == 100:
        distribution(bench, found, "SIGKILL of the holder")


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
            found[kind] = crowd(bench, kind, waiters, 0)["processor"] / waiters / 2

    bench.benchmark.pedantic(all_kinds, rounds=1)
    bench.board.add(
        SECTION,
        f"{waiters} waiting: processor time of one for a second of waiting",
        found.pop("pidproof"),
        besides=[beside(kind, figure) for kind, figure in found.items()],
    )
