# SPDX-License-Identifier: MIT
"""A child behind a gate: it exists and is identified before it can run, and is always reaped."""

from __future__ import annotations

import errno
import os
import select
import signal
import time

from pidproof import _native, _native_gate
from pidproof.errors import (
    CommandNotExecutable,
    CommandNotFound,
    Error,
    NeverHealthy,
    ProcessGone,
    StateError,
)
from pidproof.process.identity import ProcessIdentity, identify
from pidproof.server import children


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pidproof.server.spec import Spec

__all__ = ["Child", "check_command", "exec_error", "find_command", "has_execed"]

# How long fork to exec may take: the kernel loads the program in between, perhaps from a slow disk.
EXEC_TIMEOUT = 30.0
_SECOND = 1_000_000_000


def find_command(command: Sequence[str], path: str | None, cwd: str) -> str:
    """Return the file that the first word of a command names, as execvp(3) would find it.

    path: what to search instead of the PATH of this process.

    Raises:
        CommandNotFound, CommandNotExecutable: with the command named.
    """
    name = command[0]
    if path is None:
        path = os.environ.get("PATH", os.defpath)
    if "/" in name:
        candidates = [os.path.join(cwd, name)]
    else:
        candidates = [os.path.join(cwd, entry, name) for entry in path.split(os.pathsep)]
    denied = None
    for candidate in candidates:
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
        if os.path.lexists(candidate) and os.path.exists(candidate):
            denied = denied or candidate
    if denied:
        what = "is a directory" if os.path.isdir(denied) else "is not executable"
        raise CommandNotExecutable(
            f"{denied} {what}; nothing was started",
            remedy=None if os.path.isdir(denied) else f"chmod +x {denied}",
            command=name,
        )
    raise CommandNotFound(
        f"{name}: command not found; nothing was started",
        remedy="check its spelling and PATH" if "/" not in name else "check its path",
        command=name,
    )


def exec_error(stage: int, number: int, command: Sequence[str], cwd: str) -> Error:
    """Return the error for a stage between fork and exec that failed with an errno."""
    name, why = command[0], os.strerror(number)
    if stage == _native_gate.STAGE_DIRECTORY:
        return StateError(
            f"the working directory {cwd} cannot be entered: {why}; nothing was started",
            path=cwd,
            errno=number,
        )
    if stage != _native_gate.STAGE_EXEC:
        return StateError(
            f"the new process could not be set up: {why}; nothing was started",
            path=None,
            errno=number,
        )
    if number == errno.ENOENT:
        return CommandNotFound(
            f"{name}: {why} (the file, or the interpreter in its first line); nothing was started",
            command=name,
        )
    hint = " (no #! line?)" if number == errno.ENOEXEC else ""
    return CommandNotExecutable(
        f"{name} cannot be executed: {why}{hint}; nothing was started", command=name
    )


def check_command(spec: Spec) -> str:
    """Return the file of a server's command, once it and its directory are seen to be usable.

    Raises:
        CommandNotFound, CommandNotExecutable, StateError.
    """
    if not os.path.isdir(spec.cwd) or not os.access(spec.cwd, os.X_OK):
        number = errno.EACCES if os.path.isdir(spec.cwd) else errno.ENOENT
        raise exec_error(_native_gate.STAGE_DIRECTORY, number, spec.command, spec.cwd)
    return find_command(spec.command, spec.env.get("PATH"), spec.cwd)


def has_execed(pid: int) -> bool:
    """Say whether whatever process has the pid runs its own program, not its parent's still."""
    try:
        return _native.status(pid)[5]
    except OSError:
        return False


class Child:
    """One child from fork to its end, in a session of its own.

    As long as it is neither handed over nor reaped, its pid cannot become another's.
    """

    def __init__(self) -> None:
        self._gate = _native_gate.Gate()
        self._identity: ProcessIdentity | None = None
        self._status: int | None = None
        self._reaped = False

    @property
    def pid(self) -> int:
        """Its pid, 0 before the fork."""
        return self._gate.pid

    @property
    def is_reaped(self) -> bool:
        """Whether it has ended and was collected, be it by another."""
        return self._reaped

    def fork(
        self,
        path: str,
        command: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        *,
        output_fd: int,
        listen_fd: int = -1,
    ) -> ProcessIdentity:
        """Fork it; it waits at the gate.  Returns its identity.

        Raises:
            StateError: the system has no process, memory or descriptor to spare, or the working
                directory cannot be entered.
            NeverHealthy: it was killed at the gate.
        """
        try:
            self._gate.fork(
                os.fsencode(path),
                [os.fsencode(word) for word in command],
                [os.fsencode(f"{name}={value}") for name, value in env.items()],
                os.fsencode(cwd),
                output_fd=output_fd,
                listen_fd=listen_fd,
            )
        except OSError as error:
            raise StateError(
                f"no process could be forked: {error.strerror}; nothing was started",
                remedy="free some memory, processes or descriptors (ulimit -a)",
                errno=error.errno,
                path=None,
            ) from error
        try:
            identity = identify(self.pid)
        except ProcessGone as error:
            raise self._ended_at_gate(command, cwd) from error
        # By number, so it counts only if the child has not exited by now.
        if self._has_exited(identity):
            raise self._ended_at_gate(command, cwd)
        self._identity = identity
        return identity

    def _has_exited(self, identity: ProcessIdentity) -> bool:
        if self._gate.pid_fd >= 0:
            return identity._native.liveness(self._gate.pid_fd) != _native.ALIVE
        # Where SIGCHLD is ignored its pid can be another's by now; but not that of a child of ours.
        try:
            return self._gate.has_ended()
        except ChildProcessError:
            return True

    def _ended_at_gate(self, command: Sequence[str], cwd: str) -> Error:
        """Return what the child said before it gave up, else that somebody killed it."""
        try:
            failure = self._gate.result(0)
        except (InterruptedError, TimeoutError):
            failure = None
        if failure:
            return exec_error(*failure, command, cwd)
        status = self.reap(1.0)
        return NeverHealthy(
            f"the new process {self.pid} was ended by another before it could run",
            pid=self.pid,
            exit_status=status,
        )

    def open_gate(self, command: Sequence[str], cwd: str) -> None:
        """Let it exec.

        Raises:
            NeverHealthy, StateError: it is dead, with what it said before.
        """
        try:
            self._gate.open()
        except OSError as error:
            raise self._ended_at_gate(command, cwd) from error

    def wait_exec(self, command: Sequence[str], cwd: str) -> None:
        """Wait until it has execed.

        Raises:
            CommandNotFound, CommandNotExecutable: the kernel's answer, with the command named.
            StateError: it could not be set up, or its directory not be entered.
            NeverHealthy: the exec took longer than EXEC_TIMEOUT.
        """
        failure = self._exec_result()
        self._gate.close()
        if failure:
            raise exec_error(*failure, command, cwd)

    def _exec_result(self) -> tuple[int, int] | None:
        deadline = time.monotonic() + EXEC_TIMEOUT
        while True:
            left = deadline - time.monotonic()
            try:
                return self._gate.result(int(max(0.0, min(left, 0.1)) * _SECOND))
            except InterruptedError:
                continue
            except TimeoutError as error:
                # A fork of this process made meanwhile may hold the gate's other end open; the
                # kernel knows whether the exec has happened.
                if has_execed(self.pid):
                    return None
                if left <= 0:
                    raise NeverHealthy(
                        f"process {self.pid} did not get to its command within {EXEC_TIMEOUT:g} s",
                        pid=self.pid,
                    ) from error

    def close_gate(self) -> None:
        """Shut the gate for good: a child that still waits there exits without exec."""
        self._gate.close()

    def kill(self) -> None:
        """SIGKILL to its group, through what the fork opened: it works without a new descriptor."""
        if self._identity is None or self._reaped:
            return
        try:
            self._identity._native.signal(self._gate.pid_fd, signal.SIGKILL, _native.SCOPE_GROUP)
        except OSError:
            pass  # it has exited, or has made itself another user's

    def reap(self, timeout: float) -> int | None:
        """Wait for its end and collect it; returns its exit status, or minus its signal.

        None: it is still there after `timeout` seconds, or somebody else collected it.
        """
        if self._reaped or not self.pid:
            return self._status
        deadline, pause = time.monotonic() + timeout, 0.001
        if self._gate.pid_fd >= 0:
            poller = select.poll()
            poller.register(self._gate.pid_fd, select.POLLIN)
            poller.poll(max(0, int(timeout * 1000 + 0.999)))
        # Where there is no event to wait for, or where (macOS) it comes a moment too early.
        while not self.collect() and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(pause, left))
            pause = min(pause * 2, 0.05)
        return self._status

    def collect(self) -> bool:
        """Reap it if it has ended; say whether it is reaped."""
        try:
            status = self._gate.reap()
        except ChildProcessError:
            self._reaped = True  # SIGCHLD is ignored here, or another thread was faster
        else:
            if status is not None:
                self._status = status
                self._reaped = True
        if self._reaped:
            self._gate.close()
            self._gate.close_pid_fd()
        return self._reaped

    def hand_over(self) -> None:
        """Let it live on.  It is reaped by later calls into this package if it ends before us."""
        self._gate.close()
        children.keep(self)
