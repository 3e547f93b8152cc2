# SPDX-License-Identifier: MIT
"""What launchers do in the fault tests, and what became of it, told without a system call."""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import time
from collections.abc import Callable
from typing import NamedTuple

from pidproof import Error, LockLost, Running, Server, Stopped, Tcp, sweep


KEY = "struck"
# Far more than anything takes here that is not stuck.
BOUND = 3.0
# getpid, geteuid, getppid, gettid: the kernel has no way to fail them.  exit_group: no way back.
NEVER_FAIL = {39, 107, 110, 186, 231}
# Every other call is made to fail with every errno, those included that it never returns.


class Operation(NamedTuple):
    """One operation of a launcher: what must be there before it, and the version it wants."""

    prepare: Callable[[], object]
    act: Callable[[], object]
    wanted: str = "1"


def server(binary: str, version: str = "1", *, timeout: float = 10.0) -> Server:
    """Return the server of all fault tests."""
    return Server(
        KEY,
        [binary, "{port}"],
        probe=Tcp(),
        version=version,
        grace=0.5,
        probe_timeout=0.2,
        startup_timeout=1.5,
        timeout=timeout,
    )


def operations(binary: str) -> dict[str, Operation]:
    """Return the operations by name."""

    def ensured() -> Running:
        return server(binary).ensure()

    def dead() -> None:
        with ensured().identity.open() as handle:
            handle.signal(signal.SIGKILL)
            assert handle.wait(BOUND)

    return {
        "cold": Operation(lambda: None, ensured),
        "warm": Operation(ensured, ensured),
        "dead": Operation(dead, ensured),
        "replace": Operation(ensured, server(binary, "2").ensure, "2"),
        "stop": Operation(ensured, server(binary).stop),
        "sweep": Operation(dead, sweep),
    }


class Outcome(NamedTuple):
    """What an operation came to: the type of its result or of its error, and what that says."""

    kind: str = "nothing"
    pid: int | None = None
    text: str = ""
    remedy: str | None = None
    is_typed: bool = False
    took: float = 0.0

    @property
    def is_success(self) -> bool:
        return self.kind in {"Running", "Stopped", "list"}

    def __str__(self) -> str:
        return f"{self.kind} ({self.text or self.pid})"


class Telling:
    """A page that a forked process shares with us, in which it tells how its operation went."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act
        self._page = mmap.mmap(-1, 16384)

    def __call__(self) -> None:
        """Run the operation, in the forked process."""
        began = time.monotonic()
        _tell_losses(self._page)
        try:
            outcome = _of_result(self._act())
        except Error as error:
            outcome = Outcome(type(error).__name__, None, str(error), error.remedy, True)
        except BaseException as error:  # told, and judged a violation
            outcome = Outcome(type(error).__name__, None, repr(error))
        took = time.monotonic() - began
        raw = json.dumps(outcome._replace(took=took, text=outcome.text[:4000])).encode()
        self._page[1 : 1 + len(raw)] = raw

    def outcome(self) -> Outcome:
        """Return how it went, as far as it was told."""
        raw = self._page[1:].rstrip(b"\0")
        return Outcome(*json.loads(raw)) if raw else Outcome()

    @property
    def lost(self) -> bool:
        """Whether it has come upon LockLost, be it that it went on after that."""
        return self._page[0] == 1

    def close(self) -> None:
        self._page.close()


def _of_result(result: object) -> Outcome:
    if isinstance(result, Running):
        return Outcome("Running", result.pid, result.action, is_typed=True)
    if isinstance(result, Stopped):
        return Outcome("Stopped", result.pid, result.action, is_typed=True)
    return Outcome(type(result).__name__, None, str(result), is_typed=True)


def _tell_losses(page: mmap.mmap) -> None:
    def init(self: Error, message: str, *, remedy: str | None = None, **facts: object) -> None:
        page[0] = 1
        Error.__init__(self, message, remedy=remedy, **facts)

    LockLost.__init__ = init  # type: ignore[method-assign]


def has_ended(pid: int, seconds: float) -> bool:
    """Wait for the end of a process, which stays to be collected."""
    fd = os.pidfd_open(pid)
    try:
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        return bool(poller.poll(seconds * 1000))
    finally:
        os.close(fd)


def in_child(act: Callable[[], object], *, seconds: float = 30.0) -> Outcome:
    """Do something in a process of its own, so that it leaves nothing in this one."""
    telling = Telling(act)
    pid = os.fork()
    if pid == 0:
        try:
            telling()
        finally:
            os._exit(0)
    try:
        if not has_ended(pid, seconds):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return telling.outcome()
    finally:
        telling.close()
