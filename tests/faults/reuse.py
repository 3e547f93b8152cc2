# SPDX-License-Identifier: MIT
"""Recycle a pid under our eyes, again and again, and judge what is done to whoever has it now.

    PYTHONPATH=tests python tests/faults/reuse.py CASE ROUNDS

CASE: server, lock or group; `swap.py` has the cases that need a tracer.  PIDPROOF_WITHOUT=pidfs or
pidfd turns the kernel into an older one.  Prints one JSON object.  Runs in a process of its own,
which reaps all orphans, so that a pid is free the moment that we say so.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import NoReturn

from faults.tally import Tally, adopt_orphans, answer, reap_all, take
from pid_reuse import end, start_of_tick, start_ticks
from pidproof import Liveness, ProcessGone, ProcessIdentity, Server, _native, list_all, sweep
from pidproof.lock.spawn_lock import SpawnLock
from pidproof.server.children import reap_finished
from pidproof.server.status import status
from pidproof.server.stop import stop


KEY = "reused"
BOUND = 1.0
# The command line is a process of a tenth of a second: one round in this many.
COMMAND_ROUNDS = 25


def end_server(pid: int) -> None:
    """Kill a child of the package, and let the package collect it, as any launcher does."""
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    reap_finished()


# ------------------------------------------------------------------------------------- a server


def sleeping(command: list[str] | None = None) -> Server:
    """A server without a probe: nothing but its identity says that it runs."""
    return Server(KEY, command or ["sleep", "1000"], grace=0.2, startup_timeout=5.0, timeout=5.0)


def server_round(tally: Tally, number: int) -> bool:
    """A server dies, and a bystander gets its pid before anybody looks."""
    server = sleeping()
    start_of_tick()
    running = server.ensure()
    ticks = start_ticks(running.pid)
    with running.identity.open() as handle:
        end_server(running.pid)
        stranger = take(running.pid, leads=bool(number % 2))
        if stranger is None:
            stop(KEY)
            return False
        try:
            tally.add("equal_ticks", start_ticks(running.pid) == ticks)
            if handle.fileno() >= 0:
                check_handle(tally, handle.signal, "a handle opened before")
            check_identity(tally, running.identity)
            if number % COMMAND_ROUNDS == 0:
                check_commands(tally, str(running.identity))
            check_key(tally, number)
            tally.examine(stranger, f"round {number}")
        finally:
            stranger.end()
            reap_finished()
    return True


def check_handle(tally: Tally, send: Callable[..., None], what: str) -> None:
    tally.check(answer(lambda: send(signal.SIGTERM)), "ProcessGone", what)
    tally.check(answer(lambda: send(signal.SIGKILL, group=True)), "ProcessGone", f"{what}, group")


def check_identity(tally: Tally, identity: ProcessIdentity) -> None:
    tally.check(identity.liveness(), Liveness.GONE, "liveness")
    tally.check(answer(identity.argv), "ProcessGone", "argv")
    try:
        with identity.open() as handle:
            tally.check("open", "gone", "handle")
            check_handle(tally, handle.signal, "a handle opened after")
    except ProcessGone:
        pass


def check_key(tally: Tally, number: int) -> None:
    tally.check(status(KEY).state, "gone", "status")
    tally.check([one.state for one in list_all()], ["gone"], "list")
    tally.check([one.action for one in sweep(dry_run=True)], ["dropped"], "sweep --dry-run")
    match number % 3:
        case 0:
            tally.check(answer(lambda: stop(KEY, grace=0.2).action), "gone", "stop")
        case 1:
            tally.check(answer(lambda: [one.action for one in sweep()]), "['dropped']", "sweep")
        case 2:
            tally.check(answer(lambda: sleeping().ensure().action), "spawned", "ensure")
            tally.check(answer(lambda: stop(KEY, grace=0.2).action), "terminated", "stop after it")


def check_commands(tally: Tally, token: str) -> None:
    for arguments, wanted in (
        (["check", token], 1),
        (["kill", token], 1),
        (["kill", "--group", "-s", "KILL", token], 1),
        (["wait", "--timeout", "0", token], 0),
        (["status", KEY], 1),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "pidproof", *arguments], capture_output=True, check=False
        )
        tally.check(done.returncode, wanted, f"pidproof {arguments[0]}")


# --------------------------------------------------------------------------------------- a lock


def pause() -> NoReturn:
    while True:
        signal.pause()


def fork_holder(directory: str, *, with_heir: bool) -> tuple[int, int]:
    """A process that holds the lock; with an heir, whose copy of the life flock outlives it.

    One that C forks, behind Python's back: what Python forks closes its copy.
    """
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        lock = SpawnLock(directory, hold=60.0, purpose="die")
        lock.acquire(timeout=BOUND)
        heir = ctypes.PyDLL(None).fork() if with_heir else -1
        if heir == 0:
            pause()
        os.write(into, heir.to_bytes(4, "little", signed=True))
        pause()
    os.close(into)
    heir = int.from_bytes(os.read(out, 4), "little", signed=True)
    os.close(out)
    return pid, heir


def fork_waiter(directory: str) -> tuple[int, int]:
    """A process that stands in line for the lock, and says when and how it got it."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        lock = SpawnLock(directory, hold=60.0, purpose="wait")
        text = answer(lambda: lock.acquire(timeout=3 * BOUND) and lock.found)
        os.write(into, f"{text} {time.monotonic()}".encode())
        lock.release()
        os._exit(0)
    os.close(into)
    deadline = time.monotonic() + BOUND
    while not sleeps_in_line(pid) and time.monotonic() < deadline:
        time.sleep(0.0005)
    return pid, out


def sleeps_in_line(pid: int) -> bool:
    """Say whether it has its second thread, the one that sleeps on the holder's life flock."""
    return len(os.listdir(f"/proc/{pid}/task")) > 1


def lock_round(tally: Tally, number: int) -> bool:
    """A holder dies, and a bystander gets its pid: the lock is free, and not the bystander's."""
    directory = tempfile.mkdtemp()
    waiter, out, heir, stranger = 0, -1, -1, None
    try:
        if number % 3 != 2:
            start_of_tick()
        holder, heir = fork_holder(directory, with_heir=number % 3 == 1)
        ticks = start_ticks(holder)
        if number % 3 == 2:
            waiter, out = fork_waiter(directory)
            os.kill(waiter, signal.SIGSTOP)  # it is to look when the bystander is there
        end(holder)
        stranger = take(holder, leads=bool(number % 2))
        if stranger is None:
            return False
        tally.add("equal_ticks", start_ticks(holder) == ticks)
        began = time.monotonic()
        if waiter:
            os.kill(waiter, signal.SIGCONT)
            found, _, at = os.read(out, 100).decode().partition(" ")
            took = float(at) - began
        else:
            lock = SpawnLock(directory)
            found = answer(lambda: lock.acquire(timeout=3 * BOUND) and lock.found)
            took = time.monotonic() - began
            lock.release()
        if found not in {"dead", "abandoned"} or took > BOUND:
            tally.add("wedges")
            tally.violations.append(f"round {number}: the lock was {found} after {took:.3f} s")
        tally.add(f"found_{found}")
        tally.took(took)
        tally.examine(stranger, f"round {number}")
    finally:
        if stranger is not None:
            stranger.end()
        if waiter:
            os.kill(waiter, signal.SIGCONT)
            os.waitpid(waiter, 0)
            os.close(out)
        if heir > 0:
            end(heir)
        shutil.rmtree(directory)
    return True


# -------------------------------------------------------------------------------------- a group


def group_round(tally: Tally, number: int) -> bool:
    """A group's leader dies: its number stays taken while a member lives, then a foreign group
    gets it."""
    running = sleeping(["sh", "-c", "sleep 1000 & exec sleep 1000"]).ensure()
    member = wait_for_member(running.pid)
    with running.identity.open() as handle:
        end_server(running.pid)
        if early := take(running.pid):
            early.end()
            tally.violations.append(f"round {number}: a group's number was given away")
        else:
            tally.add("kept_by_the_kernel")
        end(member)
        stranger = take(running.pid, leads=True)
        if stranger is None:
            stop(KEY)
            return False
        try:
            if handle.fileno() >= 0:
                check_handle(tally, handle.signal, "a handle opened before")
                tally.check(handle.terminate(0), "gone", "terminate")
            check_identity(tally, running.identity)
            check_key(tally, number)
            tally.examine(stranger, f"round {number}")
        finally:
            stranger.end()
            reap_finished()
    return True


def wait_for_member(leader: int) -> int:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with open(f"/proc/{leader}/task/{leader}/children") as file:
            if found := file.read().split():
                return int(found[0])
        time.sleep(0.0005)
    raise TimeoutError("the server did not start its child")


def wants_equal_tick(tally: Tally) -> bool:
    """Say whether a round within one clock tick is still to come: a busy machine has few."""
    is_server = tally.figures["case"] == "server"
    return is_server and "pidfs" in _native.features() and not tally.figures["equal_ticks"]


CASES = {"server": server_round, "lock": lock_round, "group": group_round}


def main() -> None:
    case, rounds = sys.argv[1], int(sys.argv[2])
    adopt_orphans()
    with contextlib.suppress(OSError):
        # A round is to fit into one clock tick, however busy the machine is.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    state = tempfile.mkdtemp()
    os.environ["PIDPROOF_STATE_DIR"] = state
    tally = Tally(case)
    sleeping().ensure()  # everything is imported once before
    stop(KEY)
    began = time.monotonic()
    number, most = 0, 20 * rounds
    while number < rounds or (wants_equal_tick(tally) and number < most):
        while not CASES[case](tally, number):
            tally.add("lost")  # somebody else on this machine got the pid first
        tally.add("rounds")
        reap_all()
        number += 1
    shutil.rmtree(state)
    tally.report(began)


if __name__ == "__main__":
    main()
