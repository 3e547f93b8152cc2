# SPDX-License-Identifier: MIT
"""Launchers that begin at one moment: servers started, time, processor time and memory of all."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from benchmarks.account import memory_of
from benchmarks.board import Beside, Target
from benchmarks.launchers import NEEDS_NODE, Argent, pidproof
from benchmarks.programs import need_room
from benchmarks.race import Bench
from helpers import read_line, wait_until
from pidproof import SpawnLock
from pidproof.server.directory import KeyDirectory
from system.test_argent import OPTIONS


if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from servers import State

SECTION = "bursts"
FULL = pytest.mark.full
SIZES = [
    pytest.param(1, marks=FULL),
    10,
    pytest.param(100, marks=FULL),
    pytest.param(500, marks=FULL),
]


class Burst(NamedTuple):
    """What one burst took: seconds until the last was done, of processors, and MiB."""

    wall: float
    processor: float
    memory: float
    answers: set[str]


def burst(
    bench: Bench,
    directory: Path,
    count: int,
    command: list[str],
    env: Mapping[str, str] | None = None,
) -> Burst:
    """Begin a command so many times at one moment; fails if one of them fails."""
    report, output = directory / "report", directory / "output"
    with output.open("wb") as stream:
        words = [bench.program("burst"), str(report), str(count), *command]
        process = bench.spawn(words, stdin=subprocess.DEVNULL, stdout=stream, env=env)
        assert process.wait(600) == 0
    lines = [list(map(int, line.split())) for line in report.read_text().splitlines()]
    assert [status for status, *_ in lines] == [0] * count, lines
    return Burst(
        wall=max(wall for _, wall, _, _ in lines) / 1e6,
        processor=sum(cpu for _, _, cpu, _ in lines) / 1e6,
        memory=sum(kib for *_, kib in lines) / 1024,
        answers=set(output.read_text().splitlines()),
    )


def ensure(bench: Bench, key: str) -> list[str]:
    """Return the command of a launcher."""
    server = [bench.program("answer"), "{port}"]
    return [pidproof(), "ensure", key, "--timeout", "300", "--http", "/", "--", *server]


@pytest.mark.parametrize("size", SIZES)
def test_cold_launchers_at_once(size: int, bench: Bench, state: State, tmp_path: Path) -> None:
    need_room(size, 15)
    rounds = 1 if bench.once or size > 200 else 3 if size > 50 else 9
    cold: list[Burst] = []
    one_cold: list[Burst] = []
    warm: list[Burst] = []
    bare: list[Burst] = []
    servers = 0

    def turn() -> None:
        nonlocal servers
        key = f"{size}-{len(cold)}"
        before = len(state.servers())
        cold.append(burst(bench, tmp_path, size, ensure(bench, key)))
        servers = max(servers, len(state.servers()) - before, len(cold[-1].answers))
        one_cold.append(burst(bench, tmp_path, 1, ensure(bench, f"{key}-one")))
        if size > 1:
            warm.append(burst(bench, tmp_path, size - 1, ensure(bench, key)))
        bare.append(burst(bench, tmp_path, size, [sys.executable, "-c", "pass"]))
        state.stop_all()

    bench.benchmark.pedantic(turn, rounds=rounds)
    name = f"{size} cold launchers at once"
    wall = median(cold, "wall")
    besides = [Beside("bare", f"{size} x python -c pass at once", median(bare, "wall"))]
    if warm:
        sum_of = median(one_cold, "wall") + median(warm, "wall")
        besides.insert(0, Beside("floor", f"one cold, then {size - 1} warm", sum_of))
    bench.board.add(
        SECTION,
        f"{name}: the last is done after",
        wall,
        besides=besides,
        targets=[Target(1.3, "floor")] if size == 100 else [],
    )
    bench.board.add(SECTION, f"{name}: servers", servers, unit="", targets=[Target(1)])
    for what, field, unit in (
        ("processor time of all", "processor", "s"),
        ("sum of the peak memory of each", "memory", "MiB"),
    ):
        beside = Beside("bare", f"{size} x python -c pass", median(bare, field))
        figure = median(cold, field)
        bench.board.add(SECTION, f"{name}: {what}", figure, unit=unit, besides=[beside])
    lines = bench.board.plot(
        "bursts",
        "Cold launchers at once, one server: until the last is done",
        ("launchers", "seconds"),
        ("log", "log"),
    )
    for label, runs in (("pidproof ensure", cold), ("python -c pass", bare)):
        lines.setdefault(label, []).append((size, round(median(runs, "wall"), 4)))


def median(runs: list[Burst], field: str) -> float:
    """Return the median of one of the figures."""
    return float(statistics.median(getattr(run, field) for run in runs))


@pytest.mark.full
@NEEDS_NODE
def test_cold_launchers_at_once_beside_argent(
    bench: Bench, state: State, tmp_path: Path, argent: Argent, argent_package: Path
) -> None:
    need_room(20, 150)
    server = ["node", str(argent_package / "dist/tool-server.cjs"), "start"]
    command = [pidproof(), "ensure", "argent", "--timeout", "300", *OPTIONS, "--", *server]
    ours, theirs = [], []

    def turn() -> None:
        ours.append(burst(bench, tmp_path, 20, command))
        state.stop_all()
        found = burst(bench, tmp_path, 20, argent.command("tools"), argent.env)
        theirs.append((found.wall, len(argent.servers())))
        argent.end()

    bench.benchmark.pedantic(turn, rounds=3)
    name = "20 cold launchers of argent's tool-server at once"
    beside = Beside("peer", "argent tools", statistics.median(wall for wall, _ in theirs))
    bench.board.add(
        SECTION, f"{name}: the last is done after", median(ours, "wall"), besides=[beside]
    )
    most = max(servers for _, servers in theirs)
    bench.board.add(
        SECTION,
        f"{name}: servers",
        max(len(run.answers) for run in ours),
        unit="",
        besides=[Beside("peer", "argent tools", most)],
        targets=[Target(1)],
    )


def test_memory_of_a_waiting_launcher(bench: Bench, state: State) -> None:
    directory = KeyDirectory.open("waited-for", create=True)
    assert directory is not None
    found: list[tuple[tuple[float, float], tuple[float, float]]] = []

    def look() -> None:
        waiting = bench.spawn(ensure(bench, "waited-for"))
        bare = bench.spawn([sys.executable, "-c", "print(flush=True); input()"])
        wait_until(lambda: len(os.listdir(f"/proc/{waiting.pid}/task")) == 2)
        assert read_line(bare) == ""
        found.append((memory_of(waiting.pid), memory_of(bare.pid)))
        waiting.terminate()
        bare.terminate()
        waiting.wait(20)
        bare.wait(20)

    with directory, SpawnLock(directory.fd, hold=600):
        bench.benchmark.pedantic(look, rounds=3)
    for index, (what, targets) in enumerate(
        (("resident memory", [Target(1.3, "python")]), ("memory of its own", []))
    ):
        ours, bare = (statistics.median(pair[who][index] for pair in found) for who in (0, 1))
        bench.board.add(
            SECTION,
            f"{what} of a launcher that waits",
            ours,
            unit="MiB",
            besides=[Beside("bare", "python -c 'input()'", bare)],
            targets=targets,
        )
