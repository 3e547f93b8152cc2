# SPDX-License-Identifier: MIT
"""Many keys: list, sweep and status, each of which should cost the same per key however many."""

from __future__ import annotations

import os
import shutil
import signal
import statistics
from typing import TYPE_CHECKING

import pytest

from benchmarks.board import Beside
from benchmarks.programs import Floor, need_room
from benchmarks.race import Bench, in_process
from pidproof import Server, list_all, sweep
from pidproof.server.status import status


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from servers import State

SECTION = "many keys"
FULL = pytest.mark.full
SIZES = [10, pytest.param(100, marks=FULL), pytest.param(1000, marks=FULL)]
ROUNDS = 5


@pytest.mark.parametrize("size", SIZES)
def test_many_keys(size: int, bench: Bench, state: State, tmp_path: Path) -> None:
    need_room(size, 1)
    servers = [Server(f"key-{index}", ["sleep", "10000"]) for index in range(size)]
    pids = [server.ensure().pid for server in servers]
    middle = servers[size // 2].key
    floor = Floor(
        bench.spawn,
        bench.programs / "floor",
        pid=pids[size // 2],
        directory=tmp_path,
        record=state.record_path(middle),
    )
    record = floor.batch("record", size)
    acts: dict[str, Callable[[], float]] = {
        "list_all()": in_process(list_all, 1),
        "sweep(dry_run=True)": in_process(lambda: sweep(dry_run=True), 1),
        "status() of one": in_process(lambda: status(middle), 20),
        "floor": lambda: record() * size,
    }
    found: dict[str, list[float]] = {name: [] for name in acts}

    def turn() -> None:
        for name, act in acts.items():
            found[name].append(act())

    bench.benchmark.pedantic(turn, rounds=ROUNDS)
    # To stop them one by one takes longer than all of the above.
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(state.root)
    floor_of_all = statistics.median(found.pop("floor"))
    lines = bench.board.plot(
        "keys", "Time against the number of keys", ("keys", "milliseconds"), ("log", "log")
    )
    for name, figures in found.items():
        figure = statistics.median(figures)
        each = 1 if name.startswith("status") else size
        price = f"{each:,} x record read and compared"
        besides = [Beside("floor", price, floor_of_all * each / size)]
        points = lines.setdefault(name, [])
        if points:
            fewer, before = points[-1]
            growth = size / fewer if each > 1 else 1
            besides.append(
                Beside("floor", f"{growth:g} x that of {fewer:,}", before * growth / 1e3)
            )
        bench.board.add(SECTION, f"{name}, {size:,} keys", figure, besides=besides)
        points.append((size, round(figure * 1e3, 4)))
