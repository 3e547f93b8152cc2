# SPDX-License-Identifier: MIT
"""The C module as Python, host and processes: -errno becomes OSError, buffers become bytes.

Beside it `_native_lock` and `_native_gate`; nothing else imports the C module.
"""

from __future__ import annotations

import errno
import os
import time

from pidproof._pp import ffi, lib


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

ALIVE = lib.PP_ALIVE
GONE = lib.PP_GONE
UNKNOWN = lib.PP_UNKNOWN
TEXT_ARGV = lib.PP_TEXT_ARGV
TEXT_ENVIRON = lib.PP_TEXT_ENVIRON
TEXT_EXE = lib.PP_TEXT_EXE
SCOPE_PROCESS = lib.PP_SCOPE_PROCESS
SCOPE_GROUP = lib.PP_SCOPE_GROUP

_ANY_UID = 2**32 - 1
_TEXT_LIMIT = 16 << 20
_REASONS = {
    lib.PP_SAME_PROCESS: "it is the same process",
    lib.PP_NO_SUCH_PID: "no process has its pid",
    lib.PP_OTHER_PROCESS: "another process has its pid by now",
    lib.PP_EXITED: "it has exited",
    lib.PP_OTHER_BOOT: "it belongs to another boot of the machine",
    lib.PP_OTHER_NAMESPACE: "it was recorded in another pid namespace",
    lib.PP_NOTHING_TO_COMPARE: "there is neither a unique id nor a start time to compare",
    lib.PP_TOO_CLOSE: (
        "the start times are one clock tick apart, and clocks here are not exact to that"
    ),
}
_FEATURES = {
    "pidfd": lib.PP_HAS_PIDFD,
    "pidfs": lib.PP_HAS_PIDFS,
    "proc": lib.PP_HAS_PROC,
    "unique": lib.PP_HAS_UNIQUE,
    "audit": lib.PP_HAS_AUDIT,
    "kqueue": lib.PP_HAS_KQUEUE,
}


def _check(result: int, function: str) -> int:
    if result < 0:
        raise OSError(-result, f"{function}: {os.strerror(-result)}")
    return result


def reason_text(reason: int) -> str:
    """Say in words why a comparison came out as it did; a negative reason is an errno."""
    if reason < 0:
        name = errno.errorcode.get(-reason, str(-reason))
        return f"the system would not tell ({name}: {os.strerror(-reason)})"
    return _REASONS[reason]


# ------------------------------------------------------------------------------------------ host

_host: Any = None
_NULL: Any = ffi.NULL
_myself: Any = None


def _host_struct() -> Any:
    """Return the facts of this process's world, read at the first call.

    `PIDPROOF_WITHOUT` (names of `features()`, with commas) forces the fallbacks of older kernels
    on a newer one; it can only make answers more careful.
    """
    global _host  # noqa: PLW0603 - a cache of what cannot change but by fork and unshare
    if _host is None:
        without = 0
        for name in os.environ.get("PIDPROOF_WITHOUT", "").split(","):
            without |= _FEATURES.get(name.strip(), 0)
        host = ffi.new("struct pp_host *")
        _check(lib.pp_host_read(without, host), "/proc cannot be read")
        _host = host
    return _host


def _own_struct() -> Any:
    """Return the identity of this process, read at the first call."""
    global _myself  # noqa: PLW0603
    if _myself is None:
        struct = ffi.new("struct pp_identity *")
        result = lib.pp_process_identify(_host_struct(), os.getpid(), struct)
        _check(result, "identity of this process")
        _myself = struct
    return _myself


def _forget_host() -> None:
    global _host, _myself  # noqa: PLW0603
    _host = _myself = None


os.register_at_fork(after_in_child=_forget_host)


def features() -> frozenset[str]:
    """Return what is used here: pidfd, pidfs and proc, or unique, audit and kqueue."""
    have = _host_struct().features
    return frozenset(name for name, bit in _FEATURES.items() if have & bit)


def events_pass_fork() -> bool:
    """Say whether a forked child has the descriptors that `Identity.open` gave its parent."""
    return not _host_struct().features & lib.PP_HAS_KQUEUE


def machine_id() -> str | None:
    """Return a name of this machine that stays the same, None if it has none."""
    buffer = ffi.new("char[]", lib.PP_MACHINE_ID_SIZE)
    result = lib.pp_machine_id(buffer, lib.PP_MACHINE_ID_SIZE)
    if result == -errno.ENOENT:
        return None
    _check(result, "machine id")
    return ffi.string(buffer).decode("latin-1")


def state_home() -> str:
    """Return where programs keep state here, relative to the home of their user."""
    buffer = ffi.new("char[64]")
    _check(lib.pp_state_home(buffer, 64), "pp_state_home")
    return ffi.string(buffer).decode()


def suspended() -> float:
    """Return the seconds that the machine has slept since its boot."""
    duration = ffi.new("int64_t *")
    lib.pp_clock_suspended(duration)
    return int(duration[0]) / 1e9


def socket_peer(fd: int) -> tuple[int, int]:
    """Return pid (0: not to be seen) and uid of who is at the other end of a Unix socket."""
    pid, uid = ffi.new("int32_t *"), ffi.new("uint32_t *")
    _check(lib.pp_socket_peer(fd, pid, uid), "peer of the socket")
    return int(pid[0]), int(uid[0])


def unix_path_limit() -> int:
    """Return how many bytes the path of a Unix socket may have."""
    limit = ffi.new("int32_t *")
    lib.pp_unix_path_limit(limit)
    return int(limit[0])


def boot_id() -> str:
    """Return the boot id of the running kernel."""
    return ffi.string(_host_struct().boot_id).decode()


def boot_clock() -> float:
    """Return the seconds of CLOCK_MONOTONIC as they are outside any time namespace: the same for
    all of this boot, so fit to be written down."""
    return time.monotonic() - float(_host_struct().monotonic_offset) / 1e9


def pid_namespace() -> int:
    """Return the inode of the pid namespace of this process."""
    return int(_host_struct().pid_namespace)


# --------------------------------------------------------------------------------------- process


class Identity:
    """A `struct pp_identity` and the calls that take one."""

    __slots__ = ("_struct",)

    def __init__(self, struct: Any) -> None:
        self._struct = struct

    @classmethod
    def of(cls, pid: int) -> Identity:
        struct = ffi.new("struct pp_identity *")
        _check(lib.pp_process_identify(_host_struct(), pid, struct), f"identify pid {pid}")
        return cls(struct)

    @classmethod
    def parse(cls, token: bytes) -> Identity:
        struct = ffi.new("struct pp_identity *")
        _check(lib.pp_token_parse(token, len(token), struct), "pp_token_parse")
        return cls(struct)

    @classmethod
    def by_unique_id(cls, pid: int, unique_id: int) -> Identity:
        host = _host_struct()
        struct = ffi.new("struct pp_identity *")
        struct.pid = pid
        struct.uid = _ANY_UID
        struct.unique_id = unique_id
        struct.pid_namespace = host.pid_namespace
        struct.boot_id = host.boot_id
        return cls(struct)

    @property
    def pid(self) -> int:
        return int(self._struct.pid)

    @property
    def start_time(self) -> int:
        return int(self._struct.start_time)

    @property
    def boot_id(self) -> str:
        return ffi.string(self._struct.boot_id).decode()

    @property
    def pid_namespace(self) -> int:
        return int(self._struct.pid_namespace)

    @property
    def unique_id(self) -> int | None:
        return int(self._struct.unique_id) or None

    @property
    def uid(self) -> int | None:
        uid = int(self._struct.uid)
        return None if uid == _ANY_UID else uid

    def token(self) -> str:
        buffer = ffi.new("char[]", lib.PP_TOKEN_SIZE)
        _check(lib.pp_token_format(self._struct, buffer, lib.PP_TOKEN_SIZE), "pp_token_format")
        return ffi.string(buffer).decode()

    def liveness(self, fd: int = -1) -> int:
        """Return liveness alone; `fd` pins the process, or -1.  Makes no object for the answer."""
        try:
            host = _host or _host_struct()
        except OSError:
            return UNKNOWN
        return lib.pp_process_poll(host, self._struct, fd, _NULL)

    def compare(self) -> tuple[int, int]:
        """Return liveness and reason."""
        reason = ffi.new("int32_t *")
        try:
            host = _host_struct()
        except OSError as error:
            return UNKNOWN, -(error.errno or errno.EIO)
        return lib.pp_process_compare(host, self._struct, reason), reason[0]

    def open(self) -> tuple[int, int, int]:
        """Return liveness, reason and a descriptor that pins the process (-1: none)."""
        out = ffi.new("int32_t[2]", [-1, 0])
        try:
            host = _host_struct()
        except OSError as error:
            return UNKNOWN, -(error.errno or errno.EIO), -1
        liveness = lib.pp_process_open(host, self._struct, out, out + 1)
        return liveness, out[1], out[0]

    def signal(self, fd: int, number: int, scope: int) -> None:
        result = lib.pp_process_signal(_host_struct(), self._struct, fd, number, scope)
        _check(result, f"signal {number} to pid {self.pid}")

    def read(self, what: int) -> bytes:
        """Return the raw argv, environment or path of the executable."""
        size = 4096
        used = ffi.new("size_t *")
        while True:
            buffer = ffi.new("char[]", size)
            result = lib.pp_process_read(_host_struct(), self._struct, what, buffer, size, used)
            if result == -errno.ENOBUFS and size < _TEXT_LIMIT:
                size *= 4
                continue
            _check(result, f"read of pid {self.pid}")
            return bytes(ffi.buffer(buffer, used[0]))


def status(pid: int) -> tuple[str, int, int, int, int, bool]:
    """Return state letter, parent, group, session, threads and whether it has execed.

    By number, so of whatever process has the pid just now.
    """
    found = ffi.new("struct pp_status *")
    _check(lib.pp_pid_status(_host_struct(), pid, found), f"status of pid {pid}")
    return (
        found.state.decode("latin-1"),
        found.parent_pid,
        found.group_id,
        found.session_id,
        found.threads,
        bool(found.has_execed),
    )


def sees_same_files(pid: int) -> bool | None:
    """Say whether a path means the same to whatever process has the pid as to this one.

    None: that is not to be told.
    """
    result = lib.pp_pid_shares_files(pid)
    return None if result < 0 else bool(result)


def scan(arguments: Iterable[bytes], variables: Iterable[bytes], uid: int | None) -> list[int]:
    """Return the pids that hold every argument and every variable; candidates only."""
    packed = [b"".join(item + b"\0" for item in items) for items in (arguments, variables)]
    capacity = 1024
    count = ffi.new("size_t *")
    while True:
        pids = ffi.new("int32_t[]", capacity)
        result = lib.pp_process_scan(
            _host_struct(),
            _ANY_UID if uid is None else uid,
            packed[0],
            len(packed[0]),
            packed[1],
            len(packed[1]),
            pids,
            capacity,
            count,
        )
        if result == -errno.ENOBUFS:
            capacity *= 4
            continue
        _check(result, "scan of processes")
        return list(ffi.unpack(pids, count[0]))


def find_listener(port: int, session_id: int) -> tuple[bool, int, int, int, int] | None:
    """Return who listens on a TCP port of 127.0.0.1, None if nobody.

    Whether it is of the session, pid (0: not to be seen), descriptor, uid, inode.
    """
    found = ffi.new("struct pp_listener *")
    result = lib.pp_listener_find(_host_struct(), port, session_id, found)
    if not _check(result, f"listener of port {port}"):
        return None
    return result == 1, found.pid, found.fd, found.uid, found.inode


def check_listener(port: int, pid: int, fd: int, inode: int) -> bool:
    """Say whether that socket alone listens on the port, and the process holds it there."""
    result = lib.pp_listener_check(_host_struct(), port, pid, fd, inode)
    return bool(_check(result, f"listener of port {port}"))
