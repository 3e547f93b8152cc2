# SPDX-License-Identifier: MIT
"""A process held fast: signals that cannot hit another, and a wait on its end itself."""

from __future__ import annotations

import errno
import os
import select
import signal as signals
import time

from pidproof import _native
from pidproof.errors import (
    IdentityUnknown,
    InvalidArgument,
    ProcessGone,
    ProcessSurvived,
    Refused,
    StateError,
)
from pidproof.process.liveness import Liveness, liveness_of


TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Literal, NoReturn

    from pidproof.process.identity import ProcessIdentity

__all__ = ["ProcessHandle"]

# How long a process may take to die after SIGKILL: only an uninterruptible call delays it.
KILL_TIMEOUT = 5.0
# How often a wait looks for itself, where the event of an exit can be late.
LOOK_AROUND = 1.0
_POLL_LIMIT = 2**31 - 1  # milliseconds; poll(2) takes an int


class ProcessHandle:
    """Holds a process whose identity was proven when it was opened: a pidfd, or on macOS a kqueue.

    While it is open no signal sent through it can reach another process.  Before Linux 5.3 and
    macOS 14.2 the identity is compared right before each signal, and a window of microseconds
    remains.  Before Linux 5.3 `fileno()` is -1, and `wait` looks at growing intervals of up to
    50 ms; so it is on macOS in a fork of the process that opened the handle.
    """

    __slots__ = ("_closed", "_fd", "_identity", "_opener")

    def __init__(self, identity: ProcessIdentity) -> None:
        self._fd = -1
        self._closed = False
        self._identity = identity
        self._opener = os.getpid()
        liveness, reason, self._fd = identity._native.open()
        if liveness == _native.GONE:
            raise ProcessGone(
                f"process {identity.pid} is gone: {_native.reason_text(reason)}",
                pid=identity.pid,
            )
        if liveness == _native.UNKNOWN:
            raise IdentityUnknown(
                f"process {identity.pid} cannot be proven to be the one meant: "
                f"{_native.reason_text(reason)}",
                pid=identity.pid,
            )

    @property
    def identity(self) -> ProcessIdentity:
        """The identity that was proven."""
        return self._identity

    @property
    def pid(self) -> int:
        """Its pid, a number for people."""
        return int(self._identity.pid)

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when the process exits, or -1."""
        if self._fd >= 0 and self._opener != os.getpid() and not _native.events_pass_fork():
            self._fd = -1  # in this process the number is nobody's, or another's
        return self._fd

    def close(self) -> None:
        """Let go of the process; may be called again, and nothing else may be after it."""
        self._closed = True
        fd, self._fd = self.fileno(), -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> ProcessHandle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ProcessHandle {self._identity}>"

    def liveness(self) -> Liveness:
        """Say whether the process runs still.  A zombie does not."""
        self._refuse_if_closed()
        return liveness_of(self._identity._native.liveness(self.fileno()))

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send a signal to the process, or to the process group that it leads.

        Raises:
            ProcessGone: it has exited (and for a group: nobody is left in it).
            Refused: it is pid 1, this process or one of its ancestors, or not ours to signal.
            InvalidArgument: there is no such signal.
            StateError: the system has refused to send it, for want of memory or descriptors.
        """
        self._refuse_if_closed()
        self._refuse_our_own()
        scope = _native.SCOPE_GROUP if group else _native.SCOPE_PROCESS
        try:
            self._identity._native.signal(self.fileno(), number, scope)
        except OSError as error:
            self._raise(error, number)

    def _refuse_if_closed(self) -> None:
        # Without a descriptor it would go on by number, as on a kernel that has no pidfds.
        if self._closed:
            raise ValueError("the process handle is closed")

    def _refuse_our_own(self) -> None:
        pid = self.pid
        if pid == 1 or pid in ancestors():
            who = "pid 1" if pid == 1 else "this process itself or one of its ancestors"
            raise Refused(f"process {pid} is {who}; it was not signalled", pid=pid)

    def _raise(self, error: OSError, number: int) -> NoReturn:
        if isinstance(error, ProcessLookupError):
            raise ProcessGone(f"process {self.pid} is gone", pid=self.pid) from error
        if isinstance(error, PermissionError):
            raise Refused(
                f"process {self.pid} may not be signalled by uid {os.geteuid()}", pid=self.pid
            ) from error
        if error.errno == errno.EINVAL:
            raise InvalidArgument(f"signal {number}: {error.strerror}") from error
        raise StateError(
            f"signal {number} could not be sent to process {self.pid}: {error.strerror}",
            errno=error.errno,
            path=None,
        ) from error

    def wait(self, timeout: float) -> bool:
        """Sleep until the process has exited, for at most `timeout` seconds.

        Returns True once it has, False if it is still there.  Reaps nothing.

        Raises:
            IdentityUnknown: it can no longer be told whether it runs.
        """
        deadline = time.monotonic() + timeout
        self._refuse_if_closed()
        if self.fileno() >= 0:
            return self._wait_on_descriptor(deadline)
        pause = 0.001
        while (answer := self.liveness()) is Liveness.ALIVE:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(pause, left))
            pause = min(pause * 2, 0.05)
        if answer is Liveness.UNKNOWN:
            raise IdentityUnknown(
                f"whether process {self.pid} runs can no longer be told", pid=self.pid
            )
        return True

    def _wait_on_descriptor(self, deadline: float) -> bool:
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        # On macOS the event stays out for as long as a debugger holds the process.
        limit = LOOK_AROUND * 1000 if "kqueue" in _native.features() else _POLL_LIMIT
        while True:
            left = max(deadline - time.monotonic(), 0)
            # Rounded up: a wait that ends early would be taken for a process that stays.
            if poller.poll(int(min(left * 1000 + 0.999, limit))):
                return True
            if limit != _POLL_LIMIT and self.liveness() is Liveness.GONE:
                return True
            if time.monotonic() >= deadline:
                return False

    def terminate(self, grace: float) -> Literal["gone", "terminated", "killed"]:
        """SIGTERM, wait `grace` seconds, then SIGKILL; return what it took.

        Signals this process only, none of its children.

        Raises:
            ProcessSurvived: it is still there seconds after SIGKILL.
            Refused: as `signal`.
        """
        try:
            self.signal(signals.SIGTERM)
            if self.wait(grace):
                return "terminated"
            self.signal(signals.SIGKILL)
        except ProcessGone:
            return "gone"
        if not self.wait(KILL_TIMEOUT):
            raise survived(self.pid)
        return "killed"


def survived(pid: int) -> ProcessSurvived:
    """Return the error for a process that SIGKILL did not end."""
    state = state_of(pid)
    return ProcessSurvived(
        f"process {pid} is still there {KILL_TIMEOUT:g} s after SIGKILL (state {state})",
        remedy=f"look at what it waits for: ps -o pid,stat,wchan,command -p {pid}",
        pid=pid,
    )


def state_of(pid: int) -> str:
    """Return the state letter of whatever has this pid (proc_pid_stat(5)), or `?`."""
    try:
        return _native.status(pid)[0]
    except OSError:
        return "?"


def ancestors() -> frozenset[int]:
    """Return the pids of this process and of its parents up to the root of its namespace."""
    pid = os.getpid()
    chain = {pid}
    while pid > 1:
        try:
            pid = os.getppid() if pid == os.getpid() else _native.status(pid)[1]
        except OSError:
            break  # hidden from us, and so is all above it: not ours to signal either
        chain.add(pid)
    return frozenset(chain)
