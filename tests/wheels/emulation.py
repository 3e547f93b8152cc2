# SPDX-License-Identifier: MIT
"""Run a command in a root for another processor, without a change to this machine.

A user namespace has a binfmt_misc of its own (Linux 6.7): what is registered there is seen there
alone, and gone with its last process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["run_emulated"]

NEW_MOUNTS, NEW_USERS, NEW_PIDS = 0x00020000, 0x10000000, 0x20000000
END_WITH_PARENT = 1  # prctl(2)
RECURSIVE, PRIVATE, BIND = 0x4000, 0x40000, 0x1000
# The head of an ELF file for aarch64, and which of its bits count.
MAGIC = bytes.fromhex("7f454c460201010000000000000000000200b700")
MASK = bytes.fromhex("ffffffffffffff00fffffffffffffffffeffffff")
FAILED = 125


def run_emulated(
    root: Path, emulator: Path, command: Sequence[str], environment: Mapping[str, str]
) -> int:
    """Run a command in a root; returns its exit status, 125 if it could not be started.

    emulator: a static qemu-aarch64; the kernel keeps it open, so it need not be in the root.
    """
    ready_read, ready_write = os.pipe()
    mapped_read, mapped_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(mapped_write)
            _enter(ready_write, mapped_read)
            if child := os.fork():
                os._exit(_status_of(child))
            _end_with_parent()
            _mount(root, emulator)
            os.chroot(root)
            os.chdir("/w")
            if child := os.fork():
                os._exit(_reap_until(child))
            os.execvpe(command[0], list(command), dict(environment))
        except BaseException as error:  # whatever it was: no second parent
            print(f"emulation: {error!r}", file=sys.stderr, flush=True)
        os._exit(FAILED)
    os.close(ready_write)
    os.read(ready_read, 1)
    with contextlib.suppress(OSError):
        for name in ("uid_map", "gid_map"):
            # All numbers mean what they mean outside.
            with open(f"/proc/{pid}/{name}", "w") as file:
                file.write("0 0 65536\n")
        os.write(mapped_write, b"x")
    os.close(mapped_write)
    for fd in (ready_read, mapped_read):
        os.close(fd)
    return _status_of(pid)


def _status_of(pid: int) -> int:
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status if status >= 0 else 128 - status


def _reap_until(child: int) -> int:
    """Be the first process of a pid namespace, which gets the orphans of all others."""
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _enter(ready: int, mapped: int) -> None:
    """Enter new namespaces, and wait until the parent has mapped the users."""
    libc = ctypes.CDLL(None, use_errno=True)
    _end_with_parent()
    _check(libc.unshare(NEW_USERS | NEW_MOUNTS | NEW_PIDS))
    os.write(ready, b"x")
    if not os.read(mapped, 1):
        raise PermissionError("users cannot be mapped: that takes root")
    os.setgroups([])
    os.setgid(0)
    os.setuid(0)


def _end_with_parent() -> None:
    """The first process of a pid namespace takes all others in it along."""
    _check(ctypes.CDLL(None, use_errno=True).prctl(END_WITH_PARENT, signal.SIGKILL))


def _mount(root: Path, emulator: Path) -> None:
    """As the first process of the pid namespace: give the root its file systems, and register."""
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(what: str, where: str, kind: str | None, flags: int = 0) -> None:
        _check(libc.mount(what.encode(), where.encode(), kind and kind.encode(), flags, None))

    mount("none", "/", None, RECURSIVE | PRIVATE)
    mount("proc", "/proc", "proc")
    mount("binfmt_misc", "/proc/sys/fs/binfmt_misc", "binfmt_misc")
    with open("/proc/sys/fs/binfmt_misc/register", "w") as file:
        file.write(f":pidproof:M::{_escaped(MAGIC)}:{_escaped(MASK)}:{emulator}:F")
    mount("/dev", f"{root}/dev", None, BIND | RECURSIVE)
    mount("proc", f"{root}/proc", "proc")
    mount("tmpfs", f"{root}/tmp", "tmpfs")


def _escaped(data: bytes) -> str:
    """A NUL would end the magic: it would match every program, the emulator as well."""
    return "".join(f"\\x{byte:02x}" for byte in data)


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
