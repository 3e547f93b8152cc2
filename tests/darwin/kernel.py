# SPDX-License-Identifier: MIT
"""The made-up processes of the stand-in kernel, as a test sees and changes them."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cffi import FFI

from pidproof import _native, _pp


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Of the kernel of macOS (bsd/sys/proc.h).
SIDL, SRUN, SSLEEP, SSTOP, SZOMB = 1, 2, 3, 4, 5
P_LP64, P_WEXIT, P_EXEC = 0x4, 0x2000, 0x4000
KERNEL_STRINGS = (b"pfz=0x7ffffff12000", b"stack_guard=0xd3b0c2", b"main_stack=0x16fe0,0x800000")
LISTEN, ESTABLISHED = 1, 4
IPV4, IPV6 = 1, 2
SO_REUSEPORT = 0x200
# No process of the machine has such a pid.
FIRST_PID = 5_000_001

HEADER = Path(__file__).parent / "xnu" / "xnu.h"


def controls(header: str) -> str:
    """Return what the header of the stand-in declares for tests."""
    plain = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    (process,) = re.findall(r"^struct process \{.*?^\};", plain, flags=re.DOTALL | re.MULTILINE)
    functions = re.findall(r"^CONTROL (.*?;)", plain, flags=re.DOTALL | re.MULTILINE)
    return "\n".join([process, *functions])


_FFI = FFI()
_FFI.cdef(controls(HEADER.read_text()))


def area(
    argv: Iterable[bytes],
    environment: Iterable[bytes] = (),
    *,
    path: bytes = b"/bin/program",
    argc: int | None = None,
    kernel: Iterable[bytes] = KERNEL_STRINGS,
) -> bytes:
    """Return what KERN_PROCARGS2 answers: argc, path, arguments, environment, and the kernel's."""
    arguments = list(argv)
    text = _padded(path + b"\0")
    text += b"".join(word + b"\0" for word in arguments)
    text = _padded(text + b"".join(word + b"\0" for word in environment))
    text += b"".join(word + b"\0" for word in kernel)
    count = len(arguments) if argc is None else argc
    return struct.pack("<i", count) + text + bytes(16)


def hidden_area(argv: Iterable[bytes], *, path: bytes = b"/bin/program") -> bytes:
    """Return the same of a hardened program: all behind its arguments is kept back."""
    arguments = list(argv)
    words = b"".join(word + b"\0" for word in arguments)
    return struct.pack("<i", len(arguments)) + _padded(path + b"\0") + words


def _padded(text: bytes) -> bytes:
    return text + bytes(-len(text) % 8)


class Process:
    """One made-up process; its fields are those of `struct process`."""

    kernel: Kernel
    pid: int
    struct: Any

    def __init__(self, kernel: Kernel, pid: int) -> None:
        self.__dict__["kernel"] = kernel
        self.__dict__["pid"] = pid
        self.__dict__["struct"] = kernel.lib.xnu_add(pid)

    def __getattr__(self, name: str) -> int:
        return int(getattr(self.struct, name))

    def __setattr__(self, name: str, value: int) -> None:
        setattr(self.struct, name, value)

    def runs(self, argv: Iterable[bytes], environment: Iterable[bytes] = (), **more: Any) -> None:
        """Give it arguments and an environment."""
        self.answers(area(argv, environment, **more))

    def answers(self, text: bytes) -> None:
        """Give it what KERN_PROCARGS2 answers."""
        self.kernel.lib.xnu_set_area(self.pid, text, len(text))

    def execs(self, argv: Iterable[bytes], environment: Iterable[bytes] = ()) -> None:
        """Let it become another program."""
        self.version = self.kernel.next_version()
        self.flags |= P_EXEC
        self.runs(argv, environment)

    def is_exiting(self) -> None:
        """Let it be on the way to a zombie: only a flag tells."""
        self.flags |= P_WEXIT

    def dies(self) -> None:
        """Let it become a zombie; the event comes first."""
        self.flags |= P_WEXIT
        self.kernel.lib.xnu_exit(self.pid)
        self.state = SZOMB

    def is_reaped(self) -> None:
        """Let its pid be free."""
        self.kernel.lib.xnu_remove(self.pid)

    def is_replaced(self) -> Process:
        """Let it be reaped, and its pid be given to another process at once."""
        self.is_reaped()
        return self.kernel.process(self.pid)


class Kernel:
    """The stand-in kernel."""

    def __init__(self) -> None:
        path = _pp.__file__
        self.lib: Any = _FFI.dlopen(path)
        self._hook: Any = None
        self.reset()

    def reset(self) -> None:
        """Forget all that was made up."""
        self.lib.xnu_clear()
        self.lib.xnu_clear_sockets()
        self._hook = None
        self._pid = FIRST_PID
        self._unique = 1000
        self._version = 77
        self.calls: list[str] = []
        _native._forget_host()

    def next_version(self) -> int:
        """Return a p_idversion that no program has had."""
        self._version += 1
        return self._version

    def process(self, pid: int | None = None) -> Process:
        """Make up a process: of this user, execed, asleep, with a session of its own."""
        if pid is None:
            pid = self._pid
            self._pid += 1
        self._unique += 1
        process = Process(self, pid)
        process.parent, process.group, process.session = 1, pid, pid
        process.real_uid = process.effective_uid = 501
        process.unique_id = self._unique
        process.version = self.next_version()
        process.start_seconds, process.start_microseconds = 1_764_000_000 + self._unique, 123_456
        process.state, process.flags = SRUN, P_LP64 | P_EXEC
        process.runs([b"program"], [b"A=1"])
        self.lib.xnu_set_path(pid, b"/bin/program")
        return process

    def is_called_by(self, uid: int) -> None:
        """Ask as that user."""
        self.lib.xnu_set_kernel(1, 1, uid)
        _native._forget_host()

    def lacks(self, *, unique: bool = False, audit: bool = False, uid: int = 501) -> None:
        """Be an older one."""
        self.lib.xnu_set_kernel(not unique, not audit, uid)
        _native._forget_host()

    def before(self, hook: Callable[[str, int], object]) -> None:
        """Call back before each answer about a made-up process: with the call and its pid."""

        @_FFI.callback("void(const char *, int32_t)")  # type: ignore[untyped-decorator, unused-ignore]
        def called(call: Any, pid: int) -> None:
            name = _FFI.string(call).decode()  # type: ignore[union-attr, unused-ignore]
            self.calls.append(name)
            hook(name, pid)

        self._hook = called
        self.lib.xnu_set_hook(called)

    def at(self, number: int, act: Callable[[], object]) -> None:
        """Do something before the answer with that number, counted from 0 and from now."""
        count = -1

        def hook(_call: str, _pid: int) -> None:
            nonlocal count
            count += 1
            if count == number:
                act()

        self.calls.clear()
        self.before(hook)

    def every(self, call: str, act: Callable[[], object]) -> None:
        """Do something before every answer to a call."""
        self.before(lambda name, _: act() if name == call else None)

    def socket(
        self,
        process: Process,
        fd: int,
        port: int,
        *,
        id: int,
        address: bytes = bytes(12) + b"\x7f\0\0\1",
        state: int = LISTEN,
        flags: int = IPV4,
        options: int = 0,
    ) -> None:
        """Give a process a socket, which listens on 127.0.0.1."""
        self.lib.xnu_add_socket(process.pid, fd, port, state, flags, options, id, address)

    def replay(self, path: Path) -> list[int]:
        """Answer as a Mac did once (record_kernel.py); returns the pids that it was asked for."""
        recording = json.loads(path.read_text())
        if recording["schema"] != 1:
            raise ValueError(f"{path} is of schema {recording['schema']}")
        self.lib.xnu_set_boot(recording["boot_session"].encode())
        self.is_called_by(recording["uid"])
        pids = []
        for item in recording["processes"]:
            if not item["kinfo_proc"]:
                continue  # nobody had that pid
            process = self.process(item["pid"])
            process.unique_errno = item["unique_errno"]
            kinfo, unique = (bytes.fromhex(item[name]) for name in ("kinfo_proc", "unique"))
            self.lib.xnu_set_raw(process.pid, kinfo, len(kinfo), unique, len(unique))
            # What the stand-in itself decides by has to agree with the bytes.
            process.flags, process.state = struct.unpack_from("<iB", kinfo, 32)
            (process.effective_uid,) = struct.unpack_from("<I", kinfo, 420)
            process.area_errno = item["procargs2_errno"]
            process.answers(bytes.fromhex(item["procargs2"]))
            self.lib.xnu_set_path(process.pid, item["path"].encode())
            pids.append(process.pid)
        return pids
