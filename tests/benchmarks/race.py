# SPDX-License-Identifier: MIT
"""Several ways to do one act, measured in turns, so that what the machine does besides hits all."""

from __future__ import annotations

import dataclasses
import os
import statistics
import time
from itertools import repeat
from typing import TYPE_CHECKING, Any

from benchmarks.board import Beside


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from benchmarks.board import Board, Row, Target
    from helpers import Spawn


def in_process(act: Callable[[], object], calls: int) -> Callable[[], float]:
    """Return what does an act `calls` times and returns the seconds of one."""

    def batch() -> float:
        began = time.perf_counter_ns()
        for _ in repeat(None, calls):
            act()
        return (time.perf_counter_ns() - began) / calls / 1e9

    return batch


def whole_process(
    command: Sequence[str], env: Mapping[str, str] | None = None, *, cpu: bool = False
) -> Callable[[], float]:
    """Return what runs a command to its end and returns its seconds, exec to exit.

    cpu: those of the processor in its place; fails if the command does.
    """
    environment = dict(os.environ if env is None else env)
    quiet = [(os.POSIX_SPAWN_OPEN, n, "/dev/null", os.O_RDWR, 0) for n in (0, 1)]

    def batch() -> float:
        began = time.perf_counter()
        pid = os.posix_spawnp(command[0], list(command), environment, file_actions=quiet)
        _, status, usage = os.wait4(pid, 0)
        took = time.perf_counter() - began
        assert status == 0, f"{command}: wait status {status}"
        return usage.ru_utime + usage.ru_stime if cpu else took

    return batch


@dataclasses.dataclass(frozen=True, slots=True)
class Bench:
    """What a benchmark needs: pytest-benchmark's fixture, the board, the C programs.

    once: each act is done once, to see that it can be.
    """

    benchmark: Any
    board: Board
    spawn: Spawn
    programs: Path
    once: bool

    def program(self, name: str) -> str:
        """Return the path of a compiled C program."""
        return str(self.programs / name)

    def missing(self, name: str, why: str) -> None:
        """Say that a peer is not here, and why."""
        self.board.absent[name] = why


class Race:
    """One measure: our way, and others beside it."""

    def __init__(self, bench: Bench, section: str, measure: str, *, rounds: int) -> None:
        self._bench = bench
        self._section = section
        self._measure = measure
        self._rounds = rounds
        self._others: list[tuple[str, str, Callable[[], float], list[float]]] = []

    def beside(self, kind: str, name: str, batch: Callable[[], float]) -> None:
        """Add another way: see `Beside`."""
        self._others.append((kind, name, batch, []))

    def run(
        self,
        ours: Callable[[], float],
        *,
        targets: Iterable[Target] = (),
        less: str | None = None,
    ) -> Row:
        """Take turns, write the medians down, and return them.

        less: name of one whose median is taken off all others, and which is then not shown.
        """
        figures: list[float] = []

        def others() -> None:
            for _, _, batch, found in self._others:
                found.append(batch())

        self._bench.benchmark.pedantic(
            lambda: figures.append(ours()), setup=others, rounds=self._rounds, warmup_rounds=1
        )
        base = 0.0
        if less is not None:
            base = next(statistics.median(f) for _, name, _, f in self._others if name == less)
        return self._bench.board.add(
            self._section,
            self._measure,
            statistics.median(figures) - base,
            besides=[
                Beside(kind, name, statistics.median(found) - base)
                for kind, name, _, found in self._others
                if name != less
            ],
            targets=targets,
        )
