# SPDX-License-Identifier: MIT
"""Halt a launcher at a system call, swap the process that it means for a bystander, and let it on.

    PYTHONPATH=tests python tests/faults/swap.py OPERATION CALLS ROUNDS

OPERATION: stop, stubborn, replace, sweep, kill, members, gate or gate-ignored.  CALLS: signals (the
entries of pidfd_open, pidfd_send_signal and kill alone) or all.  ROUNDS: swaps, at least; each of
these calls has one at least, and each kill(2) that sends a signal one of its own: how many calls
come before it is not the same each time.  x86-64 only; else as `reuse.py`.

With PIDPROOF_WITHOUT every signal to a group by pidfd fails, as before Linux 6.9.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from faults.swapped import (
    BOUND,
    OPERATIONS,
    answer_with_status,
    free,
    prepare,
    record_of,
    sleeping,
)
from faults.tally import Tally, adopt_orphans, reap_all, take
from pid_reuse import Bystander
from pidproof import Liveness, _native, identify
from ptrace_strike import ORIG_RAX, Traced


KILL, OPENAT, PIDFD_SEND_SIGNAL, PIDFD_OPEN = 62, 257, 424, 434
SIGNAL_CALLS = {KILL, PIDFD_SEND_SIGNAL, PIDFD_OPEN}
# A look at a process begins with one of these.
LOOKS = {OPENAT, PIDFD_SEND_SIGNAL, PIDFD_OPEN}
OLD_KERNEL = "pidfs" not in _native.features()


class Launcher(Traced):
    """Halts where it is told to; before Linux 6.9 there is no signal to a group by pidfd."""

    _at_entry = False

    def step(self) -> int | None:
        """Run on to the entry of the next call; None once it has ended."""
        if self._at_entry and not self._next_stop():
            return None
        self._at_entry = self._next_stop()
        if not self._at_entry:
            return None
        call = int(self._registers()[ORIG_RAX])
        if OLD_KERNEL and call == PIDFD_SEND_SIGNAL and self.arguments()[3]:
            self.fail_call(errno.EINVAL)
            self._at_entry = False
            return self.step()
        return call

    def halt(self, which: Which, number: int) -> int | None:
        """Run on to the number-th of these calls, counted from 1; returns which it is."""
        while (call := self.step()) is not None:
            number -= which(self, call)
            if number == 0:
                return call
        return None

    def sends(self, call: int) -> bool:
        """Say whether it halts at a kill(2) with a signal, not with 0."""
        return call == KILL and self.arguments()[1] != 0


Which = Callable[[Launcher, int], bool]
CHOICES: dict[str, list[Which]] = {
    "signals": [lambda _, call: call in SIGNAL_CALLS, Launcher.sends],
    "all": [lambda _, _call: True, Launcher.sends],
}


def swap_at(tally: Tally, name: str, which: Which, number: int, state: Path) -> bool:
    """Swap at the number-th call; False if the operation ends before."""
    identity, victim = prepare(name, state)
    act = OPERATIONS[name].act
    launcher = Launcher(lambda: answer_with_status(lambda: act(identity)))
    call = launcher.halt(which, number)
    if call is None:
        return False
    free(victim)
    stranger = take(victim, leads=True)
    if stranger is None:
        launcher.finish()
        tally.add("lost")
        return True
    go_on(tally, launcher, call, stranger, f"{name}, call {number} (nr {call})")
    return True


def go_on(
    tally: Tally, launcher: Launcher, call: int | None, stranger: Bystander, what: str
) -> None:
    """Let the launcher run to its end, and see what it has done to the bystander.

    It stands at the entry of `call`.  The window of a kernel without pidfds, or without a signal to
    a group by pidfd, is between the last look and kill(2): a signal in it is counted by itself.
    """
    has_looked, is_in_window = False, False
    try:
        while call is not None:
            has_looked |= call in LOOKS
            if launcher.sends(call) and not has_looked:
                is_in_window = True
            call = launcher.step()
        tally.add("rounds")
        tally.add(f"status_{launcher.status}")
        if launcher.status not in {0, 1, 70, 75}:
            tally.violations.append(f"{what}: the launcher ended with {launcher.status}")
        tally.add("in_window", is_in_window)
        reached = stranger.signals()
        if is_in_window and OLD_KERNEL and len(reached) <= 1:
            tally.add("through_window", len(reached))
        else:
            tally.examine(stranger, what)
    finally:
        stranger.end()


# ------------------------------------------------------------------------- a child behind its gate


def child_of(launcher: Launcher) -> int:
    found = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    return int(found[0]) if found else 0


def gate_at(tally: Tally, name: str, which: Which, number: int, state: Path) -> bool:
    """The launcher's child is killed at the number-th call after its fork, and its pid is given to
    a bystander as soon as the kernel gives it away."""
    ignored = name == "gate-ignored"

    def launch() -> None:
        # Then the kernel reaps children, and nothing keeps their pids.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN if ignored else signal.SIG_DFL)
        sleeping().ensure()

    launcher = Launcher(lambda: answer_with_status(launch))
    while not (child := child_of(launcher)):
        if launcher.step() is None:
            raise RuntimeError("the launcher has forked no child")
    if number > 1 and launcher.halt(which, number - 1) is None:
        free(child)
        return False
    os.kill(child, signal.SIGKILL)
    stranger = wait_and_take(child) if ignored else take(child)
    tally.add("free_at_once", stranger is not None)
    call: int | None = 0
    while stranger is None and (call := launcher.step()) is not None:
        stranger = take(child)
    if stranger is None:  # the launcher has ended and left it a zombie, which is ours
        free(child)
        tally.add("never_free")
        return True
    go_on(tally, launcher, call, stranger, f"{name}, call {number}")
    check_record(tally, state, child, f"{name}, call {number}")
    return True


def wait_and_take(pid: int) -> Bystander | None:
    deadline = time.monotonic() + BOUND
    while (stranger := take(pid)) is None and time.monotonic() < deadline:
        time.sleep(0.0001)
    return stranger


def check_record(tally: Tally, state: Path, child: int, what: str) -> None:
    """The record must not say that the child, or whoever has its pid, runs."""
    if (again := take(child)) is None:
        return
    try:
        _, identity = record_of(state)
        if identity is not None and identity.liveness() is not Liveness.GONE:
            tally.add("mistaken")
            tally.violations.append(f"{what}: the record names {identity} as alive")
    finally:
        again.end()


# ------------------------------------------------------------------------------------------- main


def clear(state: Path) -> None:
    """End what runs below a state directory, by the process table alone, and remove it."""
    mark = f"PIDPROOF_RECORD={state}/".encode()
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if mark in Path(f"/proc/{name}/environ").read_bytes():
                free(int(name))
    reap_all()
    shutil.rmtree(state)


def main() -> None:
    name, calls, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    choices = CHOICES[calls]
    adopt_orphans()
    identify(os.getpid())
    at = gate_at if name.startswith("gate") else swap_at
    tally = Tally(f"{name}, {calls}")
    began = time.monotonic()
    number, passes = 1, 0
    while True:
        state = Path(tempfile.mkdtemp())
        os.environ["PIDPROOF_STATE_DIR"] = str(state)
        reached = at(tally, name, choices[passes % len(choices)], number, state)
        clear(state)
        number = number + 1 if reached else 1
        passes += not reached
        if passes >= len(choices) and tally.figures["rounds"] >= rounds:
            break
    tally.figures["passes"] = passes
    tally.report(began)


if __name__ == "__main__":
    main()
