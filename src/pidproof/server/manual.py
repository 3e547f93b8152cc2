# SPDX-License-Identifier: MIT
"""Servers that a person starts: recorded as manual, so that `ensure` uses and never ends them."""

from __future__ import annotations

import os
import time

from pidproof._native_gate import STAGE_EXEC
from pidproof.errors import Refused, typed
from pidproof.interrupts import unignore
from pidproof.process.identity import identify
from pidproof.process.liveness import Liveness
from pidproof.server import log
from pidproof.server import record as records
from pidproof.server.directory import KeyDirectory
from pidproof.server.ensure import running
from pidproof.server.fence import Job, fenced
from pidproof.server.locked import lock_for, read_record
from pidproof.server.plan import LISTEN_FD, Plan, choose_port, prepare
from pidproof.server.spawn import check_command, exec_error
from pidproof.server.start import start


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from pidproof.server.record import Record
    from pidproof.server.results import Running
    from pidproof.server.spec import Spec

__all__ = ["start_detached", "start_here"]


def _check_free(record: Record | None, spec: Spec) -> None:
    """Refuse to start beside a server that runs, or that may run."""
    if record is None or record.identity is None:
        return
    liveness, evidence = record.identity.explain()
    if liveness is Liveness.GONE:
        return
    raise Refused(
        f"process {record.identity.pid} is recorded as the server of {spec.key!r} "
        f"({evidence}); nothing was started",
        remedy=f"use it (pidproof status {spec.key}), or pidproof stop {spec.key} first",
        pid=record.identity.pid,
    )


@typed
def start_detached(spec: Spec, say: Callable[[str], None]) -> Running:
    """Start a server by hand, in the background, and wait until it is ready.

    Raises:
        Refused: one runs already.
        Error: as `ensure`.
    """
    began = time.monotonic()
    directory = KeyDirectory.open(spec.key, create=True)
    assert directory is not None
    with directory:
        lock = lock_for(directory, spec, "start")
        try:
            lock.acquire(timeout=spec.timeout)
            previous = read_record(directory, spec.key)
            _check_free(previous, spec)
            deadline = began + spec.timeout
            job = Job(lock=lock, directory=directory, spec=spec, deadline=deadline, say=say)
            record = start(job, previous, managed="manual")
            return running(record, "spawned", began)
        finally:
            lock.release()


@typed
def start_here(spec: Spec) -> NoReturn:
    """Become the server: record this very process, then exec the command in it.

    It keeps terminal, session and standard streams, so that a supervisor or a person at a terminal
    has it in hand.  Pid and identity survive the exec.

    Raises:
        Refused: one runs already.
        Error: as `ensure`.
    """
    directory = KeyDirectory.open(spec.key, create=True)
    assert directory is not None
    path = check_command(spec)
    os.chdir(spec.cwd)
    lock = lock_for(directory, spec, "start")
    try:
        lock.acquire(timeout=spec.timeout)
        previous = read_record(directory, spec.key)
        _check_free(previous, spec)
        port, bound = choose_port(spec, previous)
        plan = Plan(spec, port, bound)
        record = prepare(spec, plan, directory, previous, path=path, managed="manual")
        record = record.with_(identity=str(identify(os.getpid())), log=None)
        with fenced(lock, directory, previous):
            records.write(directory, record)
        log.append_history(
            directory, "started", pid=os.getpid(), evidence="by hand, in the foreground"
        )
        env = plan.environment(spec, directory, record.managed)
        env["PIDPROOF_PID"] = str(os.getpid())
    finally:
        lock.release()
        directory.close()
    if bound is not None:
        env["LISTEN_PID"] = str(os.getpid())
        # Last of all: whatever had that number, the directory or the lock, is closed by now.
        os.dup2(bound.fileno(), LISTEN_FD, inheritable=True)
    unignore()
    try:
        os.execve(path, plan.command, env)
    except OSError as error:
        # The record names this process, which is about to exit.
        raise exec_error(STAGE_EXEC, error.errno or 0, spec.command, spec.cwd) from error
