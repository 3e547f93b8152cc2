# SPDX-License-Identifier: MIT
"""The identity of a process, which a recycled pid cannot fool."""

from __future__ import annotations

import os

from pidproof import _native
from pidproof.errors import IdentityUnknown, InvalidToken, ProcessGone
from pidproof.process.liveness import Liveness, liveness_of


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from pidproof.process.handle import ProcessHandle

__all__ = ["ProcessIdentity", "identify"]


class ProcessIdentity:
    """One process of one boot, told from every other that has or will have its pid.

    Where both sides have a `unique_id` it decides alone; else `start_time` does, which is read once
    its clock tick is over: whoever gets the pid later has another.

    Attributes:
        pid: the number; it means something inside `pid_namespace` only.
        start_time: clock ticks since boot, as the kernel keeps it; 0 if not known.
        boot_id: of the boot that the process belongs to (random(4)).
        pid_namespace: inode of the pid namespace (pid_namespaces(7)).
        unique_id: inode of its pidfd (Linux 6.9 and later), else None.
        uid: real user id when it was identified, None for a parsed one; no part of equality.
    """

    __slots__ = ("_native",)

    def __init__(self, native: _native.Identity) -> None:
        self._native = native

    @classmethod
    def parse(cls, token: str) -> ProcessIdentity:
        """Read a token back, or `PID:INODE` as util-linux and systemd write pidfd ids.

        Raises:
            InvalidToken: it is neither, or of a later version, or the kernel has no pidfs.
        """
        text = token.strip()
        if text.count(":") == 1:
            return cls._parse_pidfd_id(text)
        try:
            return cls(_native.Identity.parse(text.encode("ascii", "replace")))
        except OSError as error:
            later = text.startswith("pidproof:") and not text.startswith("pidproof:1:")
            hint = " of this version" if later else ""
            raise InvalidToken(
                f"{token!r} is not a process token{hint}",
                remedy="a token looks like pidproof:1:<pid>:<start>:<boot>:<pidns>:<unique>; "
                "`pidproof id PID` prints one",
            ) from error

    @classmethod
    def _parse_pidfd_id(cls, text: str) -> ProcessIdentity:
        pid, _, inode = text.partition(":")
        digits = text.isascii() and pid.isdigit() and inode.isdigit() and len(text) < 32
        if not digits or not 0 < int(pid) < 2**31 or not 0 < int(inode) < 2**64:
            raise InvalidToken(
                f"{text!r} is not a process token",
                remedy="`pidproof id PID` prints one; PID:INODE takes two numbers",
            )
        if "pidfs" not in _native.features():
            raise InvalidToken(
                f"{text!r} names a pidfd inode, which this kernel does not have",
                remedy="use the token that `pidproof id PID` prints",
            )
        return cls(_native.Identity.by_unique_id(int(pid), int(inode)))

    @property
    def pid(self) -> int:
        return self._native.pid

    @property
    def start_time(self) -> int:
        return self._native.start_time

    @property
    def boot_id(self) -> str:
        return self._native.boot_id

    @property
    def pid_namespace(self) -> int:
        return self._native.pid_namespace

    @property
    def unique_id(self) -> int | None:
        return self._native.unique_id

    @property
    def uid(self) -> int | None:
        return self._native.uid

    def liveness(self) -> Liveness:
        """Say whether this very process runs.  Never raises; what prevents an answer is UNKNOWN."""
        return liveness_of(self._native.liveness())

    def explain(self) -> tuple[Liveness, str]:
        """The same, with the evidence in words."""
        liveness, reason = self._native.compare()
        return liveness_of(liveness), _native.reason_text(reason)

    def argv(self) -> tuple[bytes, ...]:
        """Return its arguments as they are now; a process may have rewritten them.

        Verified to be this process's before and after the read (proc_pid_cmdline(5)).

        Raises:
            ProcessGone: it runs no more.
            IdentityUnknown: it is not ours to read, or cannot be proven to be it.
        """
        return _split(self._read(_native.TEXT_ARGV))

    def command_line(self) -> str:
        """Return its arguments as one printable line for people, cut; `?` if there are none.

        Never to be matched against: words run together here.
        """
        try:
            text = b" ".join(self.argv()).decode(errors="replace")
        except (ProcessGone, IdentityUnknown):
            return "?"
        return "".join(c if c.isprintable() else " " for c in text[:120])

    def environ(self) -> dict[bytes, bytes]:
        """Return the environment it was started with; errors as `argv`.

        Only readable for processes of the same user; what it set since does not show.
        """
        entries = (item.partition(b"=") for item in _split(self._read(_native.TEXT_ENVIRON)))
        return {name: value for name, separator, value in entries if separator}

    def exe(self) -> str:
        """Return the path of its executable, with ` (deleted)` if it was unlinked since.

        Raises:
            FileNotFoundError: a kernel thread, which has none.
            ProcessGone, IdentityUnknown: as `argv`.
        """
        return os.fsdecode(self._read(_native.TEXT_EXE))

    def open(self) -> ProcessHandle:
        """Pin the process, to signal it and to wait for it.

        Raises:
            ProcessGone: it runs no more.
            IdentityUnknown: it cannot be proven to be it.
        """
        from pidproof.process.handle import ProcessHandle

        return ProcessHandle(self)

    def _read(self, what: int) -> bytes:
        try:
            return self._native.read(what)
        except OSError as error:
            self._raise(error)

    def _raise(self, error: OSError) -> NoReturn:
        if isinstance(error, ProcessLookupError):
            raise ProcessGone(f"process {self.pid} is gone", pid=self.pid) from error
        if isinstance(error, FileNotFoundError):
            raise error
        raise IdentityUnknown(f"process {self.pid}: {error.strerror}", pid=self.pid) from error

    def __str__(self) -> str:
        return self._native.token()

    def __repr__(self) -> str:
        return f"ProcessIdentity.parse({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ProcessIdentity):
            return NotImplemented
        mine, theirs = self._native, other._native
        if (mine.pid, mine.boot_id, mine.pid_namespace) != (
            theirs.pid,
            theirs.boot_id,
            theirs.pid_namespace,
        ):
            return False
        if mine.unique_id and theirs.unique_id:
            return mine.unique_id == theirs.unique_id
        return mine.start_time == theirs.start_time != 0

    def __hash__(self) -> int:
        return hash((self.pid, self.boot_id))

    def __reduce__(self) -> tuple[Callable[[str], ProcessIdentity], tuple[str]]:
        return ProcessIdentity.parse, (str(self),)


def _split(raw: bytes) -> tuple[bytes, ...]:
    """Split what the kernel keeps; the last entry may lack its NUL after setproctitle."""
    if not raw:
        return ()
    return tuple(raw.removesuffix(b"\0").split(b"\0"))


def identify(pid: int) -> ProcessIdentity:
    """Read the identity of the process that has this pid now.

    Before Linux 6.9 a process in its first clock tick is waited with, for up to 10 ms.

    Raises:
        InvalidArgument: not a pid, or the id of a thread.
        ProcessGone: there is no such process, or it is a zombie.
        IdentityUnknown: it is hidden from us (hidepid, a foreign /proc), with the errno named.
    """
    from pidproof.errors import InvalidArgument

    if type(pid) is not int or not 0 < pid < 2**31:
        raise InvalidArgument(f"{pid!r} is not a pid; a pid is a whole number above 0")
    try:
        return ProcessIdentity(_native.Identity.of(pid))
    except ProcessLookupError as error:
        raise ProcessGone(f"no process has pid {pid}, or it is a zombie", pid=pid) from error
    except OSError as error:
        import errno

        if error.errno == errno.EINVAL:
            raise InvalidArgument(
                f"{pid} is the id of a thread, not of a process", pid=pid
            ) from error
        raise IdentityUnknown(
            f"process {pid} cannot be identified: {error.strerror}", pid=pid
        ) from error
