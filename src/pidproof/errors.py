# SPDX-License-Identifier: MIT
"""Every error that pidproof raises on purpose: one tree, each also the builtin to expect."""

from __future__ import annotations


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, ParamSpec, TypeVar

    from pidproof.lock.holder import Holder

    P = ParamSpec("P")
    R = TypeVar("R")

__all__ = [
    "CommandNotExecutable",
    "CommandNotFound",
    "Error",
    "IdentityUnknown",
    "InvalidArgument",
    "InvalidToken",
    "KeyNotFound",
    "LockLost",
    "LockTimeout",
    "NeverHealthy",
    "PortInUse",
    "ProcessGone",
    "ProcessSurvived",
    "RecordError",
    "Refused",
    "StartTimeout",
    "StateError",
    "UnsafePath",
    "VersionMismatch",
    "WaitTimeout",
    "typed",
]


def _rebuild(kind: type[Error], message: str, attributes: dict[str, Any]) -> Error:
    # By a call: __new__ of a class with two builtin bases is not safe to look up.
    return kind(message, **attributes)


class Error(Exception):
    """Base of all.  `str()` says what was found and what was not done; `remedy` what to do.

    Whatever an error knows beyond its words is an attribute of the same name as the keyword.
    """

    remedy: str | None = None

    def __init__(self, message: str, *, remedy: str | None = None, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        for name, fact in facts.items():
            setattr(self, name, fact)  # not into __dict__: an OSError keeps its errno elsewhere

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Callable[..., Error], tuple[object, ...]]:
        facts = {name: fact for name, fact in self.__dict__.items() if name != "message"}
        if isinstance(self, OSError):
            facts["errno"] = self.errno
        return _rebuild, (type(self), self.message, facts)


class InvalidArgument(Error, ValueError):
    """A key, command or option that can never work, whatever the state of the world."""


class InvalidToken(InvalidArgument):
    """Text that is not the token of a process identity."""


class ProcessGone(Error, ProcessLookupError):
    """The process meant is proven to run no more."""

    pid: int | None = None


class IdentityUnknown(Error, PermissionError):
    """Whether the process meant still runs cannot be proven; so nothing was done to it."""

    pid: int | None = None


class Refused(Error, PermissionError):
    """It could have been done and must not be: not ours, or not what was recorded."""

    pid: int | None = None


class ProcessSurvived(Error, TimeoutError):
    """A process is still there after SIGKILL, for instance in an uninterruptible system call."""

    pid: int | None = None


class WaitTimeout(Error, TimeoutError):
    """A process that was waited for still runs."""

    pid: int | None = None


class LockTimeout(Error, TimeoutError):
    """The lock was not to be had in time.  `holder` is the `Holder` found, or None."""

    holder: Holder | None = None


class LockLost(Error, RuntimeError):
    """Another took the lock past our own deadline; nothing was changed after that."""


class StateError(Error, OSError):
    """A file or directory of the state cannot be read or written.  `path` names it."""

    path: str | None = None


class UnsafePath(StateError, PermissionError):
    """Something stands in the state directory that another user could control."""


class RecordError(StateError):
    """A record that must not be touched: of a later version, or of another key."""


class KeyNotFound(Error, LookupError):
    """No server is recorded under the key."""


class NeverHealthy(Error, RuntimeError):
    """The server exited, or was ended, before it was ready.

    `pid`, `exit_status` (negative: the signal), `log` and `log_tail` tell of its end.
    """

    pid: int | None = None
    exit_status: int | None = None
    log: str | None = None
    log_tail: Sequence[str] = ()


class StartTimeout(NeverHealthy, TimeoutError):
    """The server ran and was not ready within its start-up time; it was ended and reaped."""


class PortInUse(NeverHealthy, OSError):
    """Another process listens where the server should.  `port` and `owner` name both."""

    port: int | None = None
    owner: str | None = None


class CommandNotFound(Error, FileNotFoundError):
    """The command does not exist.  `command` is its first word."""

    command: str | None = None


class CommandNotExecutable(Error, PermissionError):
    """The command exists and cannot be executed.  `command` is its first word."""

    command: str | None = None


class VersionMismatch(Error, RuntimeError):
    """A server of another version runs and the policy does not let it be replaced."""

    running: str | None = None
    wanted: str | None = None


def typed(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap an operation so that what the system refuses anywhere in it is raised as ours.

    The places that can say more do so themselves; this is for the call that fails once in a life:
    out of descriptors, a disk that dies.
    """

    def operation(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Error:
            raise
        except OSError as error:
            raise StateError(
                f"the system refused what was needed: {error}",
                remedy="see what it is short of (ulimit -a, df, dmesg), then run this again",
                path=error.filename,
                errno=error.errno,
            ) from error

    operation.__name__ = function.__name__
    operation.__doc__ = function.__doc__
    operation.__wrapped__ = function  # type: ignore[attr-defined]  # what inspect looks at
    return operation
