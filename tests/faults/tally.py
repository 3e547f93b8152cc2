# SPDX-License-Identifier: MIT
"""What is seen while pids are recycled, and the few acts that all of its cases share."""

from __future__ import annotations

import ctypes
import json
import os
import time
from collections.abc import Callable
from typing import Any

from pid_reuse import Bystander
from pidproof import Error


PR_SET_CHILD_SUBREAPER = 36


class Tally:
    """What was seen in the rounds of one case."""

    def __init__(self, case: str) -> None:
        self.figures: dict[str, Any] = {
            "case": case,
            "without": os.environ.get("PIDPROOF_WITHOUT", ""),
            "rounds": 0,
            "equal_ticks": 0,
            "signals": 0,
            "mistaken": 0,
            "slowest": 0.0,
        }
        self.violations: list[str] = []

    def add(self, name: str, amount: int = 1) -> None:
        """Count something."""
        self.figures[name] = self.figures.get(name, 0) + amount

    def check(self, answer: object, wanted: object, what: str) -> None:
        """Note an answer that takes the bystander for somebody else."""
        if answer != wanted:
            self.add("mistaken")
            self.violations.append(f"{what}: {answer}, not {wanted}")

    def examine(self, stranger: Bystander, what: str) -> None:
        """Note what has reached a bystander."""
        if reached := stranger.signals():
            self.add("signals", len(reached))
            self.violations.append(f"{what}: {', '.join(reached)} reached the bystander")

    def took(self, seconds: float) -> None:
        """Note how long it took to go on."""
        self.figures["slowest"] = max(self.figures["slowest"], round(seconds, 4))

    def report(self, began: float) -> None:
        """Print all of it."""
        seconds = round(time.monotonic() - began, 1)
        print(json.dumps({**self.figures, "seconds": seconds, "violations": self.violations}))


def take(pid: int, *, leads: bool = False) -> Bystander | None:
    """Put a bystander on a pid; None if it is taken."""
    try:
        return Bystander(pid, leads=leads)
    except FileExistsError:
        return None


def answer(act: Callable[[], object]) -> str:
    """Return what an act says, or which typed error it raises."""
    try:
        return str(act())
    except Error as error:
        return type(error).__name__


def adopt_orphans() -> None:
    """From now on the orphans of our descendants are ours to reap."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_all() -> None:
    """Collect the orphans that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
