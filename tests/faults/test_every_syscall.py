# SPDX-License-Identifier: MIT
"""Launchers struck at every system call: killed, suspended, or that call failing."""

from __future__ import annotations

import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from helpers import needs_linux


pytestmark = [
    pytest.mark.faults,
    # With PIDPROOF_STRIKE_STEP=1 a test takes minutes.
    pytest.mark.timeout(1200),
    needs_linux("ptrace, as a tracer can stop at each call"),
    pytest.mark.skipif(
        platform.machine() != "x86_64" or shutil.which("cc") is None,
        reason="reads the registers of x86-64 through ptrace, and compiles its server",
    ),
]
# Below it there are no processes and sockets but our own: a scan is short, and the same each time.
ALONE = ["unshare", "-n", "-p", "-f", "--mount-proc", "--kill-child"]
HERE = pathlib.Path(__file__).parent
OPERATIONS = ["cold", "warm", "dead", "replace", "stop", "sweep"]
LOCKED = [name for name in OPERATIONS if name != "warm"]
# How many calls apart the strikes are, where PIDPROOF_STRIKE_STEP (1: all of them) does not say.
# Primes: a step that divides the length of a loop in the code would hit the same call each time.
KILL, END, SUSPEND, FAIL = 3, 5, 13, 29
Result = dict[str, Any]
Strike = Callable[[str, list[str], int], list[Result]]
ERRORS = ["EIO", "ENOSPC", "EMFILE", "ENOMEM", "EINTR", "EAGAIN"]


@pytest.fixture(scope="session")
def binary(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The smallest server, compiled."""
    path = tmp_path_factory.mktemp("server") / "server"
    subprocess.run(["cc", "-O1", "-o", str(path), str(HERE / "server.c")], check=True)
    return str(path)


@pytest.fixture(scope="session")
def alone() -> list[str]:
    """What to run a command under, where that is allowed."""
    try:
        allowed = subprocess.run([*ALONE, "true"], capture_output=True, check=False)
    except FileNotFoundError:
        return []
    return ALONE if allowed.returncode == 0 else []


@pytest.fixture
def strike(binary: str, alone: list[str]) -> Strike:
    """Strike an operation."""

    def run(operation: str, faults: list[str], step: int) -> list[Result]:
        return strikes(operation, faults, step, binary, alone)

    return run


def strikes(
    operation: str, faults: list[str], step: int, binary: str, alone: list[str]
) -> list[Result]:
    """Run strike.py; returns what it says of each fault, after the checks that hold for all."""
    step = int(os.environ.get("PIDPROOF_STRIKE_STEP", step))
    script = [sys.executable, str(HERE / "strike.py"), operation, ",".join(faults), binary]
    done = subprocess.run(
        [*alone, *script, "1", str(step)],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        text=True,
        check=False,
        timeout=1180,
    )
    print(done.stdout, done.stderr[-2000:])
    assert done.returncode == 0, done.stderr[-3000:]
    results: list[Result] = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["fault"] for result in results] == faults
    for result in results:
        assert result["violations"] == [], result["fault"]
        tried = result["points"] + result["cannot_fail"]
        assert tried >= result["calls"] // step > 0
        assert result["complete"] or step > 1
    return results


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_launcher_killed_at_any_system_call_leaves_at_most_one_server_and_its_record(
    operation: str, strike: Strike
) -> None:
    strike(operation, ["kill"], KILL)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_launcher_asked_to_end_at_any_system_call_leaves_no_server_that_is_not_ready(
    operation: str, strike: Strike
) -> None:
    results = strike(operation, ["end", "end2"], END)
    assert all(result["seen"]["Ended"] > 0 for result in results)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_launcher_suspended_at_any_system_call_delays_nobody_and_goes_on_as_if_nothing_was(
    operation: str, strike: Strike
) -> None:
    (result,) = strike(operation, ["stop"], SUSPEND)
    seen = result["seen"]
    assert seen["the other: Running"] > 0
    if operation in LOCKED:
        assert seen["inside the guard"] > 0
        assert seen["holding the lock"] > 0
        assert seen["the other: LockTimeout"] > 0


@pytest.mark.parametrize("operation", LOCKED)
def test_a_suspended_launcher_whose_lock_was_taken_changes_nothing_any_more(
    operation: str, strike: Strike
) -> None:
    (result,) = strike(operation, ["steal"], SUSPEND)
    seen = result["seen"]
    assert seen["stolen"] > 0
    assert 0 < seen["LockLost"] <= seen["stolen"]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_system_call_that_fails_leaves_at_most_one_server_and_a_typed_error(
    operation: str, strike: Strike
) -> None:
    results = strike(operation, ERRORS, FAIL)
    if operation != "sweep":  # which goes on after an error, and tells it among what it did
        assert sum(result["seen"].get("StateError", 0) for result in results) > 0
