# SPDX-License-Identifier: MIT
"""A recycled pid fools nothing: the process that is meant dies, and a bystander gets its number."""

from __future__ import annotations

import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
from typing import Any

import pytest

from helpers import HAVE, KERNELS, NEEDS_NAMESPACES, NEEDS_SET_TID
from pid_reuse import Bystander, born, end, name_of


pytestmark = [pytest.mark.faults, pytest.mark.timeout(1500), NEEDS_SET_TID]
HERE = pathlib.Path(__file__).parent
# 500 and more: a swap at every system call of an operation, not only at those that find and signal.
ROUNDS = int(os.environ.get("PIDPROOF_REUSE_ROUNDS", "12"))
FULL = ROUNDS >= 500
NEEDS_TRACER = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="reads the registers of x86-64 through ptrace"
)
# A namespace of our own: nobody else takes the pid between two processes.
ALONE = ["unshare", "-pf", "--mount-proc", "--kill-child"]
# Those that signal by pidfd alone, from Linux 5.3 on.
PINNED = {"newest", "without-pidfs"}


def has_pidfs(kernel: str) -> bool:
    """Say whether a kernel of the tests tells every process by a number of its own."""
    return kernel == "newest" and "pidfs" in HAVE


def run(kernel: str, script: str, *arguments: str) -> dict[str, Any]:
    """Run a script of this folder as on one of the kernels, and return what it has seen."""
    done = subprocess.run(
        [*ALONE, sys.executable, str(HERE / script), *arguments],
        env={
            **os.environ,
            "PIDPROOF_WITHOUT": KERNELS[kernel],
            "PYTHONPATH": str(HERE.parent),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=1400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout, done.stderr[-2000:])
    seen: dict[str, Any] = json.loads(done.stdout)
    assert seen["violations"] == []
    assert (seen["signals"], seen["mistaken"]) == (0, 0)
    return seen


@NEEDS_NAMESPACES
@pytest.mark.parametrize("kernel", KERNELS)
def test_whoever_gets_the_pid_of_a_dead_server_is_not_it_and_is_not_signalled(kernel: str) -> None:
    seen = run(kernel, "reuse.py", "server", str(ROUNDS))
    assert seen["rounds"] >= ROUNDS
    # Before pidfs nobody is identified in his first tick, so no two of one pid share theirs.
    assert (seen["equal_ticks"] > 0) == has_pidfs(kernel)


@NEEDS_NAMESPACES
@pytest.mark.parametrize("kernel", KERNELS)
def test_whoever_gets_the_pid_of_a_dead_holder_holds_up_nobody(kernel: str) -> None:
    seen = run(kernel, "reuse.py", "lock", str(ROUNDS))
    assert seen["rounds"] == ROUNDS
    assert "wedges" not in seen


@NEEDS_NAMESPACES
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_foreign_group_with_the_number_of_a_dead_one_is_not_signalled(kernel: str) -> None:
    seen = run(kernel, "reuse.py", "group", str(ROUNDS))
    assert seen["kept_by_the_kernel"] == seen["rounds"] == ROUNDS


@NEEDS_NAMESPACES
@NEEDS_TRACER
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("operation", ["stop", "stubborn", "replace", "sweep", "kill", "members"])
def test_a_process_swapped_between_look_and_signal_is_not_signalled(
    operation: str, kernel: str
) -> None:
    calls = ["all", "0"] if FULL else ["signals", str(ROUNDS)]
    seen = run(kernel, "swap.py", operation, *calls)
    assert seen["rounds"] >= (1 if FULL else ROUNDS)
    assert seen["rounds"] > seen.get("lost", 0)
    # The window of the older kernels, which docs/limits.md states; on this one there is none.
    by_number = kernel == "without-pidfd" or (
        not has_pidfs(kernel) and operation in {"stubborn", "kill"}
    )
    assert (seen["in_window"] > 0) == by_number


@NEEDS_NAMESPACES
@NEEDS_TRACER
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("operation", ["gate", "gate-ignored"])
def test_whoever_gets_the_pid_of_a_child_that_died_at_its_gate_is_not_it(
    operation: str, kernel: str
) -> None:
    calls = ["all", "0"] if FULL else ["signals", str(ROUNDS)]
    seen = run(kernel, "swap.py", operation, *calls)
    assert seen["rounds"] >= (1 if FULL else ROUNDS)
    # A launcher that does not ignore SIGCHLD keeps the pid itself until it has reaped the child.
    assert seen["free_at_once"] == (seen["rounds"] if operation == "gate-ignored" else 0)


@pytest.mark.skipif(shutil.which("cc") is None, reason="compiles what is preloaded")
def test_the_window_before_a_signal_by_number_can_be_measured() -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "window.py"), "100"],
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("median") == 3


@pytest.mark.parametrize("leads", [False, True], ids=["process", "group"])
def test_a_bystander_remembers_whatever_signal_reaches_him(leads: bool) -> None:
    for number in sorted(signal.valid_signals()):
        pid = born()
        end(pid)
        stranger = Bystander(pid, leads=leads)
        try:
            assert stranger.signals() == []
            os.kill(stranger.member or pid, number)
            assert stranger.signals() == [name_of(number)]
        finally:
            stranger.end()
