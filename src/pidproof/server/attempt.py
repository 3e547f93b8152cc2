# SPDX-License-Identifier: MIT
"""One start: a record and a child that go through the steps together, or neither."""

from __future__ import annotations

import os
import time

from pidproof.errors import (
    Error,
    LockLost,
    LockTimeout,
    NeverHealthy,
    PortInUse,
    ProcessGone,
    RecordError,
    StartTimeout,
    StateError,
)
from pidproof.process.liveness import Liveness
from pidproof.server import listener, log
from pidproof.server import record as records
from pidproof.server.fence import fenced
from pidproof.server.health import exited, unsure, wait_ready
from pidproof.server.plan import Plan
from pidproof.server.record import FAILED, RUNNING
from pidproof.server.spawn import Child
from pidproof.server.terminate import end_server


TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    from pidproof.process.identity import ProcessIdentity
    from pidproof.server.checkup import Checkup
    from pidproof.server.fence import Job
    from pidproof.server.record import Record

__all__ = ["Attempt", "publish"]

# A server that we give up on gets this long after SIGTERM, at most.
REJECT_GRACE = 2.0
REAP_TIMEOUT = 5.0
# What identity, socket and the reason of a failure add to a record, at most.
RESERVE = 2048


class Attempt:
    """One start: a record and a child that go through the steps together."""

    def __init__(self, job: Job, record: Record) -> None:
        self.job = job
        self.record = record
        self._child = Child()
        self._output_fd = -1
        self._waited = 0.0
        self._is_published = False

    def write_ahead(self, previous: Record | None, plan: Plan) -> None:
        """Record that this start is under way, before there is a process."""
        job = self.job
        header = f"start of {job.spec.key} by process {os.getpid()}: {' '.join(plan.shown)}"
        self._output_fd, offset = log.open_log(job.directory, header)
        record = self.record.with_(log_offset=offset)
        with fenced(job.lock, job.directory, previous):
            records.write(job.directory, record, reserve=RESERVE)
        self.record = record

    def fork(self, plan: Plan, path: str) -> None:
        """Fork the child behind its gate, and write its identity into the record."""
        job = self.job
        identity = self._child.fork(
            path,
            plan.command,
            plan.environment(job.spec, job.directory, self.record.managed),
            job.spec.cwd,
            output_fd=self._output_fd,
            listen_fd=plan.bound.fileno() if plan.bound else -1,
        )
        self._name(identity)

    def _name(self, identity: ProcessIdentity) -> None:
        # Kept before it is written: a reject must know whom the record may name.
        before, self.record = self.record, self.record.with_(identity=str(identity))
        with fenced(self.job.lock, self.job.directory, before):
            records.write(self.job.directory, self.record)

    def open_gate(self, bound: socket.socket | None) -> None:
        """Let the child exec: from here on the server runs, and the record names it."""
        job, spec = self.job, self.job.spec
        with fenced(job.lock, job.directory, self.record):
            self._child.open_gate(spec.command, spec.cwd)
        self._child.wait_exec(spec.command, spec.cwd)
        if bound is not None:
            bound.close()  # the server has its own
        self.job.say(f"started {spec.key} as process {self._child.pid}")

    def until_ready(self) -> Checkup:
        """Probe until it is ready, has exited, or its time is over."""
        job, spec = self.job, self.job.spec
        assert self.record.identity is not None
        began = time.monotonic()
        limit = min(job.deadline, began + spec.startup_timeout)
        self._waited = max(0.0, limit - began)
        try:
            handle = self.record.identity.open()
        except ProcessGone:
            return exited()
        with handle:
            checkup = wait_ready(
                job.directory,
                self.record,
                spec.probe,
                timeout=spec.probe_timeout,
                deadline=limit,
                handle=handle,
                say=job.say,
            )
            # Ready is only who still runs after its answer: the answer may have been its last.
            if not checkup.is_ready or (found := handle.liveness()) is Liveness.ALIVE:
                return checkup
            return exited() if found is Liveness.GONE else unsure()

    def publish(self, checkup: Checkup) -> None:
        """Record it as running and let it live on.  Not to be interrupted half way."""
        log.append_history(
            self.job.directory,
            "started",
            pid=self._child.pid,
            port=self.record.port,
            version=self.record.version,
            evidence=checkup.outcome.detail,
        )
        self.record = publish(self.job, self.record, checkup)
        self._child.hand_over()
        self._is_published = True

    def failure(self, checkup: Checkup) -> Exception:
        """Return the error for a server that did not become ready."""
        record = self.record
        status = self._child.reap(0.0)
        has_exited = self._child.is_reaped
        facts = {
            "pid": self._child.pid,
            "exit_status": status,
            "log": record.get("log"),
            "log_tail": log.tail(self.job.directory, 10, record.get("log_offset") or 0),
        }
        stranger = checkup.outcome.detail if checkup.stranger else None
        owner = None
        if record.port is not None and (stranger or has_exited):
            owner = listener.owner_of(record.port)
            if owner and not stranger:
                stranger = f"port {record.port} belongs to {owner}"
        if stranger:
            return PortInUse(
                f"{record.key!r} did not get its port: {stranger}; it was ended",
                remedy="end that process, or use --port auto",
                port=record.port,
                owner=owner,
                **facts,
            )
        remedy = f"read its log: pidproof logs {record.key}"
        if has_exited:
            how = "exited" if status is None else f"exited with status {status}"
            if status is not None and status < 0:
                how = f"was ended by signal {-status}"
            message = f"{record.key!r} {how} before it was ready"
            return NeverHealthy(message, remedy=remedy, **facts)
        return StartTimeout(
            f"{record.key!r} was not ready within {self._waited:.3g} s "
            f"({checkup.outcome.detail}); process {self._child.pid} was ended",
            remedy=remedy,
            **facts,
        )

    def reject(self, error: BaseException) -> None:
        """End and reap the child, and record that nothing runs.

        What goes wrong here becomes a note on the error that brought us here.

        Raises:
            LockLost: that error is about the server, which is another's to judge by now.
        """
        if self._is_published:
            return  # an interrupt that came too late: it is a server like any other by now
        self._child.close_gate()
        try:
            self._end_child(error)
        except LockLost as lost:
            # Whoever has the lock now decides about what the record names, and we only collect it;
            # what the record does not name must not run.
            if not self._is_recorded():
                self._child.kill()
                self._child.reap(REAP_TIMEOUT)
            self._leave_child()
            if isinstance(error, NeverHealthy):
                # What it was not ready for may be another's doing, and it was not ended.
                raise lost from error
        except LockTimeout as problem:
            self._leave_child()
            error.add_note(f"while cleaning up: {problem}")
        except (Error, OSError) as problem:
            # Out of descriptors, or a record that was edited: it is still our own child, and until
            # our deadline nobody else's server.
            if not self.job.lock.is_overdue:
                self._child.kill()
                self._child.reap(REAP_TIMEOUT)
            self._leave_child()
            error.add_note(f"while cleaning up: {problem}")

    def _end_child(self, error: BaseException) -> None:
        job, record = self.job, self.record
        if record.identity is not None:
            grace = min(job.spec.grace, REJECT_GRACE)
            end_server(job.lock, job.directory, record, grace=grace)
        status = self._child.reap(REAP_TIMEOUT)
        reason = "its launcher was interrupted"
        if isinstance(error, Exception):
            reason = f"{type(error).__name__}: {error}"[:500]
        failed = record.with_(state=FAILED, identity=None, exit_status=status, reason=reason)
        with job.lock.fenced():
            if record.is_same_start(records.read(job.directory, record.key)):
                records.write(job.directory, failed)
        log.append_history(
            job.directory,
            "rejected",
            pid=self._child.pid or None,
            exit_status=status,
            evidence=reason,
        )

    def _is_recorded(self) -> bool:
        try:
            found = records.read(self.job.directory, self.record.key)
        except (records.BrokenRecord, RecordError):
            return False
        except StateError:
            return True  # not to be told, so not ours to decide
        return self.record.is_same_start(found)

    def _leave_child(self) -> None:
        if self._child.pid and self._child.reap(0.0) is None:
            self._child.hand_over()

    def close(self) -> None:
        """Close what the start itself needed."""
        fd, self._output_fd = self._output_fd, -1
        if fd >= 0:
            os.close(fd)


def publish(job: Job, record: Record, checkup: Checkup) -> Record:
    """Write the record `running`, if the lock and the record are still what they were.

    Raises:
        LockLost: they are not; nothing was written.
    """
    running = record.with_(state=RUNNING, listener=checkup.listener)
    with fenced(job.lock, job.directory, record):
        records.write(job.directory, running)
    return running
