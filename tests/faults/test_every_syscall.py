# SPDX-License-Identifier: MIT
"""Launchers struck at every system call of an operation: killed, or that one call failing."""

from __future__ import annotations

import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
from typing import Any

import pytest


pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        platform.machine() != "x86_64" or shutil.which("cc") is None,
        reason="reads the registers of x86-64 through ptrace, and compiles its server",
    ),
]
HERE = pathlib.Path(__file__).parent
# How many calls apart the strikes are, where PIDPROOF_STRIKE_STEP (1: all of them) does not say.
KILL_STEPS = {"cold": 2, "warm": 2, "dead": 9, "replace": 9, "stop": 9, "sweep": 61}
OPERATIONS = list(KILL_STEPS)
FAIL_STEP = 131
ERRORS = ["EIO", "ENOSPC", "EMFILE", "ENOMEM", "EINTR", "EAGAIN"]


@pytest.fixture(scope="session")
def binary(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The smallest server, compiled."""
    path = tmp_path_factory.mktemp("server") / "server"
    subprocess.run(["cc", "-O1", "-o", str(path), str(HERE / "server.c")], check=True)
    return str(path)


def strike(operation: str, fault: str, binary: str, first: int, step: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(HERE / "strike.py"), operation, fault, binary, str(first), str(step)],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        text=True,
        check=False,
        timeout=580,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout)
    print(done.stdout, done.stderr[-2000:])
    return result


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_launcher_killed_at_any_system_call_leaves_at_most_one_server_and_its_record(
    operation: str, binary: str
) -> None:
    step = int(os.environ.get("PIDPROOF_STRIKE_STEP", KILL_STEPS[operation]))
    result = strike(operation, "kill", binary, 1, step)
    assert result["points"] > 10
    assert result["violations"] == []


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_system_call_that_fails_leaves_at_most_one_server_and_a_typed_error(
    operation: str, error: str, binary: str
) -> None:
    step = int(os.environ.get("PIDPROOF_STRIKE_STEP", FAIL_STEP))
    # From another call on for each error, so that together they reach more of them.
    result = strike(operation, error, binary, 1 + ERRORS.index(error) * step // 7, step)
    assert result["violations"] == []
