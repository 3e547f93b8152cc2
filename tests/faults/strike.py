# SPDX-License-Identifier: MIT
"""Do an operation again and again, struck at its 1st, 2nd, ... last system call, and judge.

    python strike.py OPERATION FAULT[,FAULT...] SERVER [FIRST STEP]

OPERATION: cold, warm, dead, replace, stop, sweep.  FAULT: kill, stop, steal, end (SIGTERM), end2
(SIGTERM and SIGHUP at once), or the name of an errno.
SERVER: the compiled server.c.  Prints one JSON object per fault.  Runs in a process of its
own, which becomes the reaper of all it leaves behind.  Under `unshare -npf --mount-proc
--kill-child` there are no processes and sockets but its own to be looked through: that is quicker,
and what others do does not change the number of calls.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import signal
import socket
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from typing import Any

from faults.judge import clear, judge, live_servers, reap, state_of_record
from faults.operations import NEVER_FAIL, Operation, Telling, in_child, operations, server
from faults.suspension import Suspension
from pidproof import identify
from pidproof.cli.signals import end_on_signals
from ptrace_strike import Traced


PR_SET_CHILD_SUBREAPER = 36
# A run that ends before its turn can have been a short one: how often a probe is repeated varies.
SHORT_RUNS = 3
# As a service manager sends them, or a terminal that closes while it is ended.
ENDS = {"end": [signal.SIGTERM], "end2": [signal.SIGTERM, signal.SIGHUP]}


class Strikes:
    """One operation, struck in one way at one call after the other."""

    def __init__(self, name: str, operation: Operation, fault: str, binary: str) -> None:
        self._name = name
        self._operation = operation
        self._fault = fault
        self._binary = binary
        self._tally: Counter[str] = Counter()
        self._violations: list[str] = []
        self._slowest_recovery, self._slowest_at = 0.0, 0
        self._slowest_waiter = 0.0
        self._skipped = 0
        self._points = 0

    def all(self, first: int, step: int) -> dict[str, Any]:
        """Strike at every step-th call from the first on; returns what was seen."""
        number, calls, short = first, 0, 0
        while short < SHORT_RUNS:
            made = self._at(number)
            if made is None:
                number, short = number + step, 0
            else:
                calls, short = max(calls, made), short + 1
        return {
            "operation": self._name,
            "fault": self._fault,
            "points": self._points,
            "cannot_fail": self._skipped,
            # Of the longest run that nothing struck, and whether each of its calls was tried.
            "calls": calls,
            "complete": self._points + self._skipped >= calls,
            "slowest_recovery": round(self._slowest_recovery, 3),
            "slowest_at": self._slowest_at,
            "slowest_waiter": round(self._slowest_waiter, 3),
            "seen": dict(sorted(self._tally.items())),
            "violations": self._violations,
        }

    def _at(self, number: int) -> int | None:
        """Strike the number-th call; returns how many it made if it ended before."""
        state = tempfile.mkdtemp()
        os.environ["PIDPROOF_STATE_DIR"] = state
        prepared = in_child(self._operation.prepare)
        assert prepared.is_typed, f"the preparation failed: {prepared}"
        act = self._operation.act
        telling = Telling(ended_by_signals(act) if self._fault in ENDS else act)
        traced = Traced(telling)
        try:
            if not traced.run_to_call(number):
                return len(traced.calls)
            call = traced.calls[-1]
            if hasattr(errno, self._fault) and call in NEVER_FAIL:
                self._skipped += 1
                traced.kill()
                return None
            found = self._strike(traced, telling, state)
            more, following = judge(state, self._binary, self._operation.wanted)
            if following.took > self._slowest_recovery:
                self._slowest_recovery, self._slowest_at = following.took, number
            self._points += 1
            self._violations += [f"call {number} (nr {call}): {text}" for text in (*found, *more)]
            return None
        finally:
            telling.close()
            clear(state)
            reap()

    def _strike(self, traced: Traced, telling: Telling, state: str) -> list[str]:
        if self._fault == "kill":
            traced.kill()
            return []
        if self._fault in {"stop", "steal"}:
            suspension = Suspension(
                traced,
                telling,
                self._operation,
                state=state,
                binary=self._binary,
                tally=self._tally,
            )
            found = [*suspension.strike(steal=self._fault == "steal")]
            self._slowest_waiter = max(self._slowest_waiter, suspension.slowest_waiter)
            return found
        if self._fault in ENDS:
            return self._end(traced, telling, state)
        traced.fail_call(getattr(errno, self._fault))
        status = traced.finish()
        outcome = telling.outcome()
        self._tally[outcome.kind] += 1
        # Nothing was wrong with what it was asked for.
        if status != 0 or not outcome.is_typed or outcome.kind == "InvalidArgument":
            return [f"it ended with {status}, {outcome}"]
        return []

    def _end(self, traced: Traced, telling: Telling, state: str) -> list[str]:
        status = traced.interrupt(*ENDS[self._fault])
        outcome = telling.outcome()
        self._tally[outcome.kind] += 1
        # Before it could handle them: its first calls see to that.
        early = -status in ENDS[self._fault] and len(traced.calls) <= len(ENDS["end2"])
        if not early and (status != 0 or not (outcome.is_typed or outcome.kind == "Ended")):
            return [f"it ended with {status}, {outcome}"]
        if live_servers(state) and state_of_record() == "starting":
            return [f"it left a server that is not ready, with {outcome}"]
        return []


def ended_by_signals(act: Callable[[], object]) -> Callable[[], object]:
    """Return the act as a command runs it."""

    def command() -> object:
        try:
            try:
                end_on_signals()
                return act()
            finally:
                ignore()
        finally:
            ignore()  # what came together with the first

    def ignore() -> None:
        for number in ENDS["end2"]:
            signal.signal(number, signal.SIG_IGN)

    return command


def import_all(binary: str) -> None:
    """Do everything once before, so that a strike hits the operation and no import."""
    state = tempfile.mkdtemp()
    os.environ["PIDPROOF_STATE_DIR"] = state
    for operation in operations(binary).values():
        operation.prepare()
        operation.act()
    server(binary).stop()
    clear(state)


def raise_loopback() -> None:
    """In a network namespace that is new it is down."""
    interface, get_flags, set_flags, up = struct.Struct("16sh14x"), 0x8913, 0x8914, 1
    with socket.socket() as any_socket:
        answer = fcntl.ioctl(any_socket, get_flags, interface.pack(b"lo", 0))
        flags = interface.unpack(answer)[1]
        if not flags & up:
            fcntl.ioctl(any_socket, set_flags, interface.pack(b"lo", flags | up))


def main() -> None:
    name, faults, binary = sys.argv[1:4]
    first, step = (int(text) for text in (sys.argv[4:] or ["1", "1"]))
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    raise_loopback()
    identify(os.getpid())
    import_all(binary)
    operation = operations(binary)[name]
    for fault in faults.split(","):
        print(json.dumps(Strikes(name, operation, fault, binary).all(first, step)), flush=True)


if __name__ == "__main__":
    main()
