# SPDX-License-Identifier: MIT
"""Do an operation again and again, struck at its 1st, 2nd, ... last system call, and judge.

    python strike.py OPERATION FAULT SERVER [FIRST STEP]

OPERATION: cold, replace, stop, sweep.  FAULT: kill, stop, or the name of an errno.  SERVER: the
compiled server.c.  Prints one JSON object: points tried and what was violated.  Runs in a process
of its own, which becomes the reaper of all it leaves behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from pidproof import Error, LockLost, Running, Server, Tcp, identify, sweep
from pidproof.server import record as records
from pidproof.server.paths import KeyDirectory
from ptrace_strike import Traced


KEY = "struck"
BOUND = 3.0
# getpid, getppid, geteuid: the kernel has no way to fail them.
NEVER_FAIL = {39, 107, 110}
PR_SET_CHILD_SUBREAPER = 36


def server(binary: str, version: str = "1") -> Server:
    return Server(
        KEY,
        [binary, "{port}"],
        probe=Tcp(),
        version=version,
        grace=0.5,
        probe_timeout=0.2,
        startup_timeout=5.0,
        timeout=10.0,
    )


def operations(binary: str) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Return for each operation what prepares it and what does it."""

    def dead() -> None:
        running = server(binary).ensure()
        with running.identity.open() as handle:
            handle.signal(signal.SIGKILL)
            assert handle.wait(BOUND)

    return {
        "cold": (lambda: None, lambda: server(binary).ensure()),
        "warm": (lambda: server(binary).ensure(), lambda: server(binary).ensure()),
        "dead": (dead, lambda: server(binary).ensure()),
        "replace": (lambda: server(binary).ensure(), lambda: server(binary, "2").ensure()),
        "stop": (lambda: server(binary).ensure(), lambda: server(binary).stop()),
        "sweep": (dead, sweep),
    }


def in_child(act: Callable[[], object]) -> None:
    """Run something in a process of its own, so that it leaves nothing in this one."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the preparation failed: {status}"


def live_servers(state: str) -> list[int]:
    """List the servers of this state from the process table, not from our own records."""
    mark = f"PIDPROOF_RECORD={state}/".encode()
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
            entries = file.read().split(b"\0")
            if any(entry.startswith(mark) for entry in entries) and not is_zombie(name):
                found.append(int(name))
    return found


def is_zombie(name: str) -> bool:
    with open(f"/proc/{name}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0] in {b"Z", b"X"}


def reap() -> int:
    """Collect what has died; return how many children of ours are still there."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 0
        if pid == 0:
            with open(f"/proc/self/task/{os.getpid()}/children") as file:
                return len(file.read().split())


def settled(condition: Callable[[], bool]) -> bool:
    """Wait for what the kernel does after a kill by itself."""
    deadline = time.monotonic() + BOUND
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def named() -> int | None:
    """The pid that the record names, if it names a live process."""
    directory = KeyDirectory.open(KEY)
    if directory is None:
        return None
    with directory:
        record = records.read(directory, KEY)
    if record is None or record.identity is None:
        return None
    return int(record.identity.pid) if record.identity.liveness().value == "alive" else None


def judge(state: str, binary: str, wanted: str) -> Iterator[str]:
    """Check the promises after a strike, and say which are broken."""

    def only_servers_left() -> bool:
        return reap() == len(live_servers(state))

    if not settled(only_servers_left):
        yield f"a process that is no server was left: {reap()} children, {live_servers(state)}"
    alive = live_servers(state)
    if len(alive) > 1:
        yield f"{len(alive)} servers"
    for pid in alive:
        if named() != pid:
            yield f"server {pid} is not named by the record ({named()})"
    began = time.monotonic()
    try:
        running: Running | None = server(binary, wanted).ensure()
    except Error as error:
        running = None
        yield f"the next ensure failed: {type(error).__name__}: {error}"
    took = time.monotonic() - began
    if took > BOUND:
        yield f"the next ensure took {took:.1f} s"
    reap()
    alive = live_servers(state)
    if running and alive != [running.pid]:
        yield f"after the next ensure: {alive}, not {running.pid}"


def clear(state: str) -> None:
    for pid in live_servers(state):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    settled(lambda: reap() == 0)
    shutil.rmtree(state, ignore_errors=True)


def strike(traced: Traced, fault: str) -> Iterator[str]:
    if fault == "kill":
        traced.kill()
    else:
        traced.fail_call(getattr(errno, fault))
        if traced.finish() not in {0, 70, 75, -signal.SIGKILL}:
            yield f"it ended with {traced.status}"


def report_error(act: Callable[[], object]) -> None:
    """What the struck process runs: a typed error is an answer, anything else is a violation."""
    try:
        act()
    except LockLost:
        os._exit(75)
    except Error:
        os._exit(70)
    except BaseException as error:
        sys.stderr.write(f"untyped: {error!r}\n")
        os._exit(99)


def main() -> None:
    operation, fault, binary = sys.argv[1:4]
    first, step = (int(text) for text in (sys.argv[4:] or ["1", "1"]))
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    identify(os.getpid())
    prepare, act = operations(binary)[operation]
    wanted = "2" if operation == "replace" else "1"
    violations: list[str] = []
    points, number, slowest = 0, first, 0.0
    # Everything is imported once before, so that a strike hits the operation and no import.
    warm = tempfile.mkdtemp()
    os.environ["PIDPROOF_STATE_DIR"] = warm
    for run in operations(binary).values():
        run[0]()
        run[1]()
    server(binary).stop()
    clear(warm)
    while True:
        state = tempfile.mkdtemp()
        os.environ["PIDPROOF_STATE_DIR"] = state
        in_child(prepare)
        traced = Traced(lambda: report_error(act))
        reached = traced.run_to_call(number)
        if reached and fault != "kill" and traced.calls[-1] in NEVER_FAIL:
            traced.kill()
        elif reached:
            call = traced.calls[-1]
            found = [*strike(traced, fault)]
            began = time.monotonic()
            found += judge(state, binary, wanted)
            slowest = max(slowest, time.monotonic() - began)
            violations += [f"call {number} (nr {call}): {text}" for text in found]
            points += 1
        clear(state)
        reap()
        if not reached:
            break
        number += step
    print(
        json.dumps(
            {
                "operation": operation,
                "fault": fault,
                "points": points,
                "calls": len(traced.calls),
                "slowest_recovery": round(slowest, 3),
                "violations": violations,
            }
        )
    )


if __name__ == "__main__":
    main()
