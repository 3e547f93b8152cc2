# SPDX-License-Identifier: MIT
"""Many keys: list, sweep and status, each of which should cost the same per key however many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.board import Beside
from benchmarks.programs import Floor, need_room
from benchmarks.race import Bench, Race, in_process
from pidproof import Server, list_all, sweep
from pidproof.server.status import status


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from servers import State

SECTION = "many keys"
FULL = pytest.mark.full
SIZES = [10, pytest.param(100, marks=FULL), pytest.param(1000, marks=FULL)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("what", ["list", "sweep", "status"])
def test_many_keys(what: str, size: int, bench: Bench, state: State, tmp_path: Path) -> None:
    need_room(size, 1)
    servers = [Server(f"key-{index}", ["sleep", "10000"]) for index in range(size)]
    pids = [server.ensure().pid for server in servers]
    middle = servers[size // 2].key
    acts: dict[str, tuple[str, Callable[[], object]]] = {
        "list": (f"list_all() of {size:,} keys", list_all),
        "sweep": (f"sweep(dry_run=True) of {size:,} keys", lambda: sweep(dry_run=True)),
        "status": (f"status of one of {size:,} keys", lambda: status(middle)),
    }
    name, act = acts[what]
    floor = Floor(
        bench.spawn,
        bench.programs / "floor",
        pid=pids[size // 2],
        directory=tmp_path,
        record=state.record_path(middle),
    )
    each = 1 if what == "status" else size
    calls = 30 if what == "status" else 1
    turns = Race(bench, SECTION, name, rounds=5)
    record = floor.batch("record", calls * each)
    turns.beside("floor", f"{each:,} x record read and compared", lambda: record() * each)
    row = turns.run(in_process(act, calls))
    lines = bench.board.plot(
        "keys", "Time against the number of keys", ("keys", "milliseconds"), ("log", "log")
    )
    points = lines.setdefault(what, [])
    if points and what != "status":
        fewer, before = points[-1]
        growth = size / fewer
        bench.board.add(
            SECTION,
            f"{name}, beside its growth",
            row.figure,
            besides=[Beside("floor", f"{growth:g} x {fewer:,} keys", before * growth / 1e3)],
        )
    points.append((size, round(row.figure * 1e3, 4)))
