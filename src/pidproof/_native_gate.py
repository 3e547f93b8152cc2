# SPDX-License-Identifier: MIT
"""The C module as Python, a child behind its gate."""

from __future__ import annotations

import os

from pidproof._native import _check, _host_struct
from pidproof._pp import ffi, lib


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

STAGE_DIRECTORY = lib.PP_STAGE_DIRECTORY
STAGE_EXEC = lib.PP_STAGE_EXEC


class Gate:
    """A `struct pp_gate`: the child is known here from the instant that it exists."""

    __slots__ = ("_struct",)

    def __init__(self) -> None:
        self._struct = ffi.new("struct pp_gate *", {"pid": 0, "pid_fd": -1, "fd": -1})

    @property
    def pid(self) -> int:
        """The child's pid; 0 before the fork."""
        return int(self._struct.pid)

    @property
    def pid_fd(self) -> int:
        return int(self._struct.pid_fd)

    def fork(
        self,
        path: bytes,
        arguments: Iterable[bytes],
        environment: Iterable[bytes],
        directory: bytes | None,
        *,
        output_fd: int,
        listen_fd: int,
    ) -> None:
        # The arrays hold bare pointers: `kept` keeps their strings alive across the call.
        kept = [[ffi.new("char[]", item) for item in items] for items in (arguments, environment)]
        vectors = [ffi.new("char *[]", [*strings, ffi.NULL]) for strings in kept]
        result = lib.pp_gate_fork(
            _host_struct(),
            path,
            vectors[0],
            vectors[1],
            ffi.NULL if directory is None else directory,
            output_fd,
            listen_fd,
            self._struct,
        )
        _check(result, "fork")

    def open(self) -> None:
        _check(lib.pp_gate_open(self._struct), "opening the gate")

    def result(self, timeout_ns: int) -> tuple[int, int] | None:
        """Return None once the child execed or died, else the stage that failed and its errno."""
        out = ffi.new("int32_t[2]")
        result = lib.pp_gate_result(self._struct, timeout_ns, out, out + 1)
        return None if _check(result, "exec") else (out[0], out[1])

    def has_ended(self) -> bool:
        """Say whether the child has ended, and collect nothing.

        Raises ChildProcessError if another has collected it.
        """
        return bool(_check(lib.pp_gate_has_ended(self._struct), f"wait for pid {self.pid}"))

    def reap(self) -> int | None:
        """Collect the child: its exit status or minus its signal, None if it has not ended.

        Raises ChildProcessError if another has collected it.
        """
        status = ffi.new("int32_t *")
        result = lib.pp_gate_reap(self._struct, status)
        return int(status[0]) if _check(result, f"wait for pid {self.pid}") else None

    def close(self) -> None:
        lib.pp_gate_close(self._struct)

    def close_pid_fd(self) -> None:
        """Close the event of its exit, once the child is reaped or no longer ours to reap."""
        fd, self._struct.pid_fd = self._struct.pid_fd, -1
        if fd >= 0:
            os.close(fd)
