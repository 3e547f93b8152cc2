# SPDX-License-Identifier: MIT
"""System calls denied by seccomp(2), as container runtimes and sandboxes do."""

from __future__ import annotations

import ctypes
import platform
import struct


PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
RETURN_ERRNO, ALLOW = 0x00050000, 0x7FFF0000
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER, FIRST_ARGUMENT = 0, 16  # offsets in struct seccomp_data
PIDFD_OPEN = 434
SOCKET = {"x86_64": 41, "aarch64": 198}.get(platform.machine(), -1)


def deny(number: int, error: int, *, first: int | None = None) -> None:
    """Let a system call fail in this process from now on, if `first` is its first argument."""
    steps = [(LOAD, 0, 0, NUMBER), (EQUAL, 0, 1 if first is None else 3, number)]
    if first is not None:
        steps += [(LOAD, 0, 0, FIRST_ARGUMENT), (EQUAL, 0, 1, first)]
    steps += [(RETURN, 0, 0, RETURN_ERRNO | error), (RETURN, 0, 0, ALLOW)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    header = struct.pack("=HxxxxxxQ", len(steps), ctypes.addressof(program))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.create_string_buffer(header), 0, 0),
    ):
        if libc.prctl(*call) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
