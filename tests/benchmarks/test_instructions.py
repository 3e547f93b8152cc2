# SPDX-License-Identifier: MIT
"""Instructions rather than time: the same on a busy machine, so that a regression shows there too.

Counted by valgrind, outside the kernel, without pidfds (see native.c).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks.board import Beside
from benchmarks.compare import UNIT
from benchmarks.launchers import pidproof
from benchmarks.race import Bench


if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from servers import State

SECTION = "instructions"
# Ours, and what in floor.c makes the same system calls.
ACTS = {
    "compare": "by_number",
    "identify": None,
    "argv": None,
    "lock": "lock_all",
    "format": None,
    "parse": None,
    "scan": "scan",
}

pytestmark = [
    pytest.mark.counts,
    pytest.mark.skipif(shutil.which("valgrind") is None, reason="needs valgrind"),
]


def instructions(command: Sequence[str], words: str = "") -> int:
    """Run a command under callgrind and return how many instructions it took."""
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command],
        input=words,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env={**os.environ, "PYTHONHASHSEED": "0", "PIDPROOF_WITHOUT": "pidfd,pidfs"},
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found is not None, done.stderr
    return int(found[1])


def of_one(command: Sequence[str], act: str) -> int:
    """Return how many one act takes: of many, less those of few."""
    few, many = (10, 110) if act != "scan" else (1, 4)
    more = instructions(command, f"{act} {many}\n") - instructions(command, f"{act} {few}\n")
    return more // (many - few)


@pytest.mark.parametrize(
    "act",
    [pytest.param(act, marks=[] if act == "lock" else [pytest.mark.full]) for act in ACTS],
)
def test_native_call(act: str, bench: Bench, tmp_path: Path) -> None:
    pid, ours, theirs = str(os.getpid()), [0], [0]
    floor = ACTS[act]

    def count() -> None:
        ours[0] = of_one([bench.program("native"), pid, str(tmp_path)], act)
        if floor is not None:
            words = [bench.program("floor"), pid, str(tmp_path), "/dev/null", "0"]
            theirs[0] = of_one(words, floor)

    bench.benchmark.pedantic(count, rounds=1)
    besides = [Beside("floor", f"{floor} of floor.c", theirs[0])] if floor is not None else []
    # What a scan takes depends on how many processes there are: not for the baseline.
    unit = f"{UNIT} in all" if act == "scan" else UNIT
    bench.board.add(SECTION, f"native {act}", ours[0], unit=unit, besides=besides)


@pytest.mark.full
def test_whole_process(bench: Bench, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIDPROOF_WITHOUT", "pidfd,pidfs")
    with_probe = ["ensure", "web", "--http", "/", "--", bench.program("answer"), "{port}"]
    without = ["ensure", "sleeper", "--", "sleep", "10000"]
    for arguments in (with_probe, without):
        subprocess.run([pidproof(), *arguments], check=True, stdout=subprocess.DEVNULL)
    ours = [sys.executable, "-m", "pidproof"]
    found = {}

    def count() -> None:
        found["bare"] = instructions([sys.executable, "-c", "pass"])
        found["import"] = instructions([sys.executable, "-c", "from pidproof import Server"])
        found["without"] = instructions([*ours, *without])
        found["with"] = instructions([*ours, *with_probe])

    bench.benchmark.pedantic(count, rounds=1)
    beside = Beside("bare", "python -c pass", found["bare"])
    for measure, name in (
        ("python -c 'from pidproof import Server'", "import"),
        ("python -m pidproof ensure, healthy, no probe", "without"),
        ("python -m pidproof ensure, healthy, HTTP probe", "with"),
    ):
        # What a bare interpreter does differs from one virtual environment to the next.
        bench.board.add(SECTION, measure, found[name], unit=f"{UNIT} in all", besides=[beside])
        # A probe looks through the machine's TCP sockets.
        unit = f"{UNIT} in all" if name == "with" else UNIT
        bench.board.add(SECTION, f"{measure}, over bare", found[name] - found["bare"], unit=unit)
