# SPDX-License-Identifier: MIT
"""What a launcher does while the process that it means is swapped, and how that is prepared."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from faults.reuse import wait_for_member
from pid_reuse import end
from pidproof import Error, LockLost, ProcessGone, ProcessIdentity, Server, sweep
from pidproof.server.stop import stop


KEY = "swapped"
SLEEP = ["sleep", "1000"]
STUBBORN = ["env", "--ignore-signal=TERM", *SLEEP]
WITH_MEMBER = ["sh", "-c", "sleep 1000 & exec sleep 1000"]
BOUND = 5.0


class Operation(NamedTuple):
    """What is started, and what the launcher does to it."""

    command: list[str]
    act: Callable[[ProcessIdentity], object]


def server(command: list[str], version: str = "1") -> Server:
    return Server(KEY, command, version=version, grace=0.05, startup_timeout=5.0, timeout=BOUND)


def sleeping(version: str = "1") -> Server:
    return server(SLEEP, version)


def signal_it(identity: ProcessIdentity) -> None:
    with identity.open() as handle:
        handle.signal(signal.SIGCONT)
        handle.signal(signal.SIGCONT, group=True)
        handle.terminate(0.05)


OPERATIONS = {
    "stop": Operation(SLEEP, lambda _: stop(KEY, grace=0.05)),
    "stubborn": Operation(STUBBORN, lambda _: stop(KEY, grace=0.05)),
    "replace": Operation(SLEEP, lambda _: sleeping("2").ensure()),
    "sweep": Operation(SLEEP, lambda _: sweep()),
    "kill": Operation(STUBBORN, signal_it),
    "members": Operation(WITH_MEMBER, lambda _: stop(KEY, grace=0.05)),
    "gate": Operation(SLEEP, lambda _: sleeping().ensure()),
    "gate-ignored": Operation(SLEEP, lambda _: sleeping().ensure()),
}


def in_child(act: Callable[[], object]) -> None:
    """Run something in a process of its own: what it starts becomes ours to reap."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0, "the preparation failed"


def record_of(state: Path) -> tuple[Path, ProcessIdentity | None]:
    """Return where the record is, and whom it names."""
    path = next(state.glob("*/*/record.json"))
    token = json.loads(path.read_bytes())["identity"]
    return path, ProcessIdentity.parse(token) if token else None


def ignores_sigterm(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    ignored = next(line for line in lines if line.startswith("SigIgn"))
    return bool(int(ignored.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BOUND
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("not within its time")
        time.sleep(0.0005)


def prepare(name: str, state: Path) -> tuple[ProcessIdentity, int]:
    """Start what the operation is about; returns its identity and the pid to be recycled."""
    command = OPERATIONS[name].command
    in_child(server(command).ensure)
    path, identity = record_of(state)
    assert identity is not None
    victim = identity.pid
    if name == "sweep":
        path.unlink()
    if command is STUBBORN:
        wait_for(lambda: ignores_sigterm(identity.pid))
    if name == "members":
        victim = wait_for_member(identity.pid)
        end(identity.pid)
    return identity, victim


def answer_with_status(act: Callable[[], object]) -> None:
    """What the launcher runs: a typed error is an answer, anything else is a violation."""
    try:
        act()
    except LockLost:
        os._exit(75)
    except ProcessGone:
        os._exit(1)
    except Error:
        os._exit(70)
    except BaseException as error:
        sys.stderr.write(f"untyped: {error!r}\n")
        os._exit(99)


def free(pid: int) -> None:
    """End a process and reap it, so that its pid is free."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
