# SPDX-License-Identifier: MIT
"""Each native call that opens something, short of descriptors: it fails, and keeps none."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import socket
from typing import TYPE_CHECKING, Any

import pytest

from helpers import NEEDS_PROC, TRUE
from native.repeating import Repeat, allocated
from pid_reuse import born, end
from pidproof import _native, _native_lock
from pidproof._pp import ffi, lib


if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("nothing_left")

# More than any call opens at once.
SPARE = 7


def short_of_descriptors(act: Callable[[], int]) -> list[int]:
    """Call it with no descriptor to spare, then with one, and so on; returns what it answered."""
    free = os.dup(0)
    os.close(free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    answers = []
    try:
        for spare in range(SPARE):
            resource.setrlimit(resource.RLIMIT_NOFILE, (free + spare, hard))
            answers.append(act())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return answers


def test_the_measure_sees_a_leak_of_a_few_bytes() -> None:
    if not allocated():
        pytest.skip("needs mallinfo2 (glibc 2.33), and malloc as it is")
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    lost: list[int] = []
    with pytest.raises(AssertionError, match="of malloc"):
        Repeat(thorough=False)(lambda: lost.append(libc.malloc(8)))
    for block in lost:
        libc.free(ctypes.c_void_p(block))


@NEEDS_PROC  # elsewhere a look takes no descriptor
def test_reading_without_descriptors_keeps_none(repeat: Repeat, kernel: str) -> None:
    child = born()
    host, struct = _native._host_struct(), ffi.new("struct pp_identity *")
    assert lib.pp_process_identify(host, child, struct) == 0
    other, fresh = ffi.new("struct pp_identity *"), ffi.new("struct pp_host *")
    status, reason = ffi.new("struct pp_status *"), ffi.new("int32_t *")
    buffer, size = ffi.new("char[65536]"), ffi.new("size_t *")
    fd = ffi.new("int32_t *")

    def opened() -> int:
        liveness = int(lib.pp_process_open(host, struct, fd, reason))
        if fd[0] >= 0:
            os.close(fd[0])
        return liveness

    def act() -> None:
        for call in (
            lambda: lib.pp_host_read(0, fresh),
            lambda: lib.pp_process_identify(host, child, other),
            lambda: lib.pp_pid_status(host, child, status),
            *(
                lambda what=what: lib.pp_process_read(host, struct, what, buffer, 65536, size)
                for what in (lib.PP_TEXT_ARGV, lib.PP_TEXT_ENVIRON, lib.PP_TEXT_EXE)
            ),
        ):
            answers = short_of_descriptors(call)
            assert answers[0] < 0, "it was short of nothing"
            assert all(answer <= 0 for answer in answers)
            assert answers[-1] == 0
        for judge in (opened, lambda: lib.pp_process_compare(host, struct, reason)):
            answers = short_of_descriptors(judge)
            assert set(answers) <= {lib.PP_UNKNOWN, lib.PP_ALIVE}
            assert answers[-1] == lib.PP_ALIVE

    try:
        repeat(act, quick=100, thorough=1_500)  # seven calls of each in a round
    finally:
        end(child)


@NEEDS_PROC
def test_searching_without_descriptors_keeps_none(repeat: Repeat) -> None:
    host, found = _native._host_struct(), ffi.new("struct pp_listener *")
    pids, count = ffi.new("int32_t[65536]"), ffi.new("size_t *")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port, inode = server.getsockname()[1], os.fstat(server.fileno()).st_ino

        def act() -> None:
            for call in (
                lambda: lib.pp_process_scan(host, 0, b"", 0, b"A=B\0", 4, pids, 65536, count),
                lambda: lib.pp_listener_find(host, port, os.getsid(0), found),
                lambda: lib.pp_listener_check(host, port, os.getpid(), server.fileno(), inode),
            ):
                answers = short_of_descriptors(call)
                assert answers[0] < 0 <= answers[-1]

        repeat(act, quick=3, thorough=500)


def test_locking_without_descriptors_keeps_none(
    repeat: Repeat, kernel: str, directory: int
) -> None:
    host, me = _native._host_struct(), _native._own_struct()
    lock, guard = ffi.new("struct pp_lock *", {"fd": -1}), ffi.new("struct pp_guard *", {"fd": -1})
    holder = ffi.new("struct pp_holder *")

    def attempt() -> int:
        found = int(lib.pp_lock_try(host, me, directory, b"test", 10**12, 0, lock, holder))
        if found > 0:  # to give it up takes one descriptor more than to take it
            assert lib.pp_lock_release(directory, 0, lock) in {1, -errno.EMFILE}
        return found

    def enter() -> int:
        r = int(lib.pp_guard_enter(directory, 0, guard))
        lib.pp_guard_leave(guard)
        return r

    def act() -> None:
        for call, success in ((attempt, {lib.PP_FOUND_FREE, lib.PP_FOUND_ABANDONED}), (enter, {0})):
            answers = short_of_descriptors(call)
            assert answers[0] < 0
            assert answers[-1] in success
        # Looked at, judged and released while it is held, without the means to.
        assert lib.pp_lock_try(host, me, directory, b"test", 10**12, 0, lock, holder) > 0
        answers = short_of_descriptors(lambda: lib.pp_lock_look(host, directory, holder))
        assert answers[0] < 0
        assert answers[-1] == 1
        # The fence needs none of its own.
        assert set(short_of_descriptors(lambda: lib.pp_lock_mine(directory, lock))) == {1}
        short = short_of_descriptors(lambda: lib.pp_lock_release(directory, 0, lock))
        assert short[0] < 0
        assert set(short[1:]) == {0}, "the life flock is dropped all the same"
        assert lib.pp_lock_try(host, me, directory, b"t", 10**12, 0, lock, holder) == (
            lib.PP_FOUND_ABANDONED
        )
        assert lib.pp_lock_release(directory, 0, lock) == 1

    repeat(act, quick=100, thorough=1_500)


def test_waiting_without_descriptors_keeps_none(repeat: Repeat, directory: int) -> None:
    waiter: Any = _native_lock.Waiter()._struct

    def begin() -> int:
        r = int(lib.pp_waiter_start(directory, waiter))
        lib.pp_waiter_stop(waiter, 0)
        return r

    def act() -> None:
        answers = short_of_descriptors(begin)
        assert answers[0] < 0
        assert answers[-1] == 0

    repeat(act, quick=100, thorough=1_500)


def test_forking_without_descriptors_leaves_no_child(repeat: Repeat, kernel: str) -> None:
    host = _native._host_struct()
    output = os.open("/dev/null", os.O_WRONLY)
    words = [ffi.new("char[]", word) for word in (b"true", b"A=B")]
    arguments, environment = (ffi.new("char *[]", [word, ffi.NULL]) for word in words)
    true = os.fsencode(TRUE)

    def fork() -> int:
        gate = ffi.new("struct pp_gate *", {"pid": 0, "pid_fd": -1, "fd": -1})
        r = int(lib.pp_gate_fork(host, true, arguments, environment, ffi.NULL, output, -1, gate))
        lib.pp_gate_close(gate)
        if gate.pid:
            os.waitpid(gate.pid, 0)
        if gate.pid_fd >= 0:
            os.close(gate.pid_fd)
        assert (r == 0) == (gate.pid > 0)
        return r

    def act() -> None:
        answers = short_of_descriptors(fork)
        assert answers[0] < 0
        assert answers[-1] == 0

    repeat(act, quick=30, thorough=500)
    os.close(output)
