# SPDX-License-Identifier: MIT
"""find() among more and more processes: beside the same reads in C, psutil and pgrep."""

from __future__ import annotations

import functools
import os
import shutil
from typing import TYPE_CHECKING

import psutil
import pytest

from benchmarks.board import Target
from benchmarks.programs import crowd, need_room
from benchmarks.race import Bench, Race, in_process, whole_process
from pidproof import ArgvPattern, find


if TYPE_CHECKING:
    from benchmarks.programs import Floor

SECTION = "scan by argv"
SIZES = [100, *(pytest.param(size, marks=pytest.mark.full) for size in (1000, 10_000, 20_000))]


def with_psutil(argv: list[str], *, anew: bool) -> list[psutil.Process]:
    """Do the same with psutil: in a process that has just begun, or again in the same one."""
    if anew:
        psutil.process_iter.cache_clear()
    found = psutil.process_iter(["cmdline"])
    return [process for process in found if process.info["cmdline"] == argv]


@pytest.mark.parametrize("size", SIZES)
def test_find_among_many(size: int, bench: Bench, floor: Floor) -> None:
    need_room(size, 0.1)
    with crowd(bench.spawn, bench.program("crowd"), size) as argv:
        pattern = ArgvPattern(*argv)
        assert len(find(pattern)) == len(with_psutil(argv, anew=True)) == 1
        rounds = 7 if size < 5000 else 3
        turns = Race(bench, SECTION, f"find() among {size:,} processes", rounds=rounds)
        turns.beside("floor", "the same reads", floor.batch("scan", 1))
        for anew in (True, False):
            name = f"psutil.process_iter, {'first' if anew else 'second'} time"
            act = functools.partial(with_psutil, argv, anew=anew)
            turns.beside("peer", name, in_process(act, 1))
        if shutil.which("pgrep"):
            line = " ".join(argv).replace(".", "[.]")
            command = ["pgrep", "-U", str(os.getuid()), "-fx", line]
            turns.beside("peer", "pgrep -fx", whole_process(command))
        else:
            bench.missing("pgrep", "not installed")
        targets = [Target(8, "psutil", faster=True)] if size >= 10_000 else []
        row = turns.run(in_process(lambda: find(pattern), 1), targets=targets)
    lines = bench.board.plot(
        "scan",
        "find(): time against the number of processes",
        ("processes", "milliseconds"),
        ("log", "log"),
    )
    for name, figure in [("find()", row.figure), *((b.name, b.figure) for b in row.besides)]:
        lines.setdefault(name, []).append((size, round(figure * 1e3, 3)))
