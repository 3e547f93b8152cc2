# SPDX-License-Identifier: MIT
"""Each native call, thousands of times: descriptors, threads and memory stay as they were."""

from __future__ import annotations

import os
import select
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest

from helpers import KERNELS, TRUE, wait_for_exit
from native.repeating import Repeat
from pid_reuse import born, end
from pidproof import _native, _native_lock
from pidproof._pp import ffi, lib


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.usefixtures("nothing_left")

# Of a fork, of a thread, or of all of /proc.
FEW = 150


@pytest.fixture
def child() -> Iterator[int]:
    """A process that does nothing."""
    pid = born()
    yield pid
    end(pid)


def identity_of(pid: int) -> Any:
    struct = ffi.new("struct pp_identity *")
    assert lib.pp_process_identify(_native._host_struct(), pid, struct) == 0
    return struct


def test_host_is_read_without_leak(repeat: Repeat) -> None:
    host = ffi.new("struct pp_host *")
    repeat(lambda: lib.pp_host_read(0, host))


def test_identity_is_read_and_compared_without_leak(
    repeat: Repeat, kernel: str, child: int
) -> None:
    host, struct = _native._host_struct(), ffi.new("struct pp_identity *")
    reason = ffi.new("int32_t *")
    alive, gone = identity_of(child), identity_of(child)
    gone.unique_id += 1
    gone.start_time += 1
    unknown = identity_of(child)
    unknown.pid_namespace = 1

    def act() -> None:
        assert lib.pp_process_identify(host, child, struct) == 0
        assert lib.pp_process_identify(host, 2**31 - 1, struct) < 0
        assert lib.pp_process_compare(host, alive, reason) == lib.PP_ALIVE
        assert lib.pp_process_compare(host, gone, reason) == lib.PP_GONE
        assert lib.pp_process_compare(host, unknown, reason) == lib.PP_UNKNOWN

    repeat(act)


def test_processes_are_opened_polled_and_signalled_without_leak(
    repeat: Repeat, kernel: str, child: int
) -> None:
    host, alive = _native._host_struct(), identity_of(child)
    gone = identity_of(child)
    gone.unique_id += 1
    gone.start_time += 1
    fd, reason = ffi.new("int32_t *"), ffi.new("int32_t *")

    def act() -> None:
        assert lib.pp_process_open(host, alive, fd, reason) == lib.PP_ALIVE
        assert lib.pp_process_poll(host, alive, fd[0], reason) == lib.PP_ALIVE
        assert lib.pp_process_signal(host, alive, fd[0], 0, lib.PP_SCOPE_PROCESS) == 0
        assert lib.pp_process_signal(host, alive, fd[0], 0, lib.PP_SCOPE_GROUP) < 0
        assert lib.pp_process_signal(host, alive, fd[0], 999, lib.PP_SCOPE_PROCESS) < 0
        if fd[0] >= 0:
            os.close(fd[0])
        assert lib.pp_process_open(host, gone, fd, reason) == lib.PP_GONE
        assert fd[0] == -1

    repeat(act)


def test_texts_and_status_are_read_without_leak(repeat: Repeat, kernel: str, child: int) -> None:
    host, alive = _native._host_struct(), identity_of(child)
    buffer, size = ffi.new("char[65536]"), ffi.new("size_t *")
    status = ffi.new("struct pp_status *")

    def act() -> None:
        for what in (lib.PP_TEXT_ARGV, lib.PP_TEXT_ENVIRON, lib.PP_TEXT_EXE):
            assert lib.pp_process_read(host, alive, what, buffer, 65536, size) == 0
            assert lib.pp_process_read(host, alive, what, buffer, 1, size) < 0
        assert lib.pp_pid_status(host, child, status) == 0
        assert lib.pp_pid_status(host, 2**31 - 1, status) < 0

    repeat(act)


def test_scan_without_leak(repeat: Repeat, child: int) -> None:
    host, uid = _native._host_struct(), os.geteuid()
    pids, count = ffi.new("int32_t[65536]"), ffi.new("size_t *")

    def act() -> None:
        assert lib.pp_process_scan(host, uid, b"", 0, b"", 0, pids, 65536, count) == 0
        assert lib.pp_process_scan(host, uid, b"\0", 1, b"A=B\0", 4, pids, 65536, count) == 0
        assert lib.pp_process_scan(host, uid, b"", 0, b"", 0, pids, 0, count) < 0

    repeat(act, quick=FEW, thorough=3_334)  # three scans each


def test_listeners_are_found_without_leak(repeat: Repeat) -> None:
    host, found = _native._host_struct(), ffi.new("struct pp_listener *")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        inode = os.fstat(server.fileno()).st_ino

        def act() -> None:
            lib.pp_listener_find(host, port, os.getsid(0), found)
            lib.pp_listener_check(host, port, os.getpid(), server.fileno(), inode)

        repeat(act, quick=FEW)


def test_facts_of_the_machine_without_leak(repeat: Repeat, child: int) -> None:
    text, number = ffi.new("char[]", lib.PP_MACHINE_ID_SIZE), ffi.new("int32_t *")
    duration, uid = ffi.new("int64_t *"), ffi.new("uint32_t *")
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)

    def act() -> None:
        lib.pp_machine_id(text, lib.PP_MACHINE_ID_SIZE)
        assert lib.pp_machine_id(text, 1) < 0
        assert lib.pp_state_home(text, lib.PP_MACHINE_ID_SIZE) == 0
        assert lib.pp_state_home(text, 1) < 0
        lib.pp_clock_suspended(duration)
        lib.pp_unix_path_limit(number)
        assert lib.pp_socket_peer(one.fileno(), number, uid) == 0
        assert lib.pp_socket_peer(-1, number, uid) < 0
        assert lib.pp_pid_shares_files(child) == 1
        assert lib.pp_pid_shares_files(2**31 - 1) < 0

    with one, other:
        repeat(act)


def test_tokens_without_leak(repeat: Repeat, child: int) -> None:
    alive, struct = identity_of(child), ffi.new("struct pp_identity *")
    buffer = ffi.new("char[]", lib.PP_TOKEN_SIZE)

    def act() -> None:
        assert lib.pp_token_format(alive, buffer, lib.PP_TOKEN_SIZE) == 0
        token = ffi.string(buffer)
        assert lib.pp_token_parse(token, len(token), struct) == 0
        assert lib.pp_token_parse(token, 20, struct) < 0

    repeat(act)


def test_guard_without_leak(repeat: Repeat, directory: int) -> None:
    guard, second = (ffi.new("struct pp_guard *", {"fd": -1}) for _ in range(2))

    def act() -> None:
        assert lib.pp_guard_enter(directory, 0, guard) == 0
        assert lib.pp_guard_enter(directory, 0, second) < 0
        lib.pp_guard_leave(guard)
        lib.pp_guard_leave(guard)
        assert lib.pp_guard_enter(directory, 0, guard) == 0
        lib.pp_guard_forget(guard)

    repeat(act)


def test_lock_without_leak(repeat: Repeat, kernel: str, directory: int) -> None:
    host, me = _native._host_struct(), _native._own_struct()
    lock, other = (ffi.new("struct pp_lock *", {"fd": -1}) for _ in range(2))
    holder = ffi.new("struct pp_holder *")

    def attempt(lock: Any, hold: int) -> int:
        return lib.pp_lock_try(host, me, directory, b"test", hold, 10**9, lock, holder)

    def act() -> None:
        assert attempt(lock, 10**12) == lib.PP_FOUND_FREE
        assert lib.pp_lock_look(host, directory, holder) == 1
        assert lib.pp_lock_mine(directory, lock) == 1
        assert attempt(other, 10**12) == 0
        assert lib.pp_lock_release(directory, 10**9, lock) == 1
        assert lib.pp_lock_look(host, directory, holder) == 0
        assert attempt(lock, 0) == lib.PP_FOUND_FREE
        assert attempt(other, 10**12) == lib.PP_FOUND_AGED
        assert lib.pp_lock_release(directory, 10**9, lock) == 0
        lib.pp_lock_drop(other)
        assert attempt(other, 10**12) == lib.PP_FOUND_ABANDONED
        assert lib.pp_lock_release(directory, 10**9, other) == 1
        assert attempt(other, 10**12) == lib.PP_FOUND_FREE
        lib.pp_lock_forget(other)  # as a fork does: the file stays, and nobody has its flock
        assert attempt(lock, 10**12) == lib.PP_FOUND_ABANDONED
        assert lib.pp_lock_release(directory, 10**9, lock) == 1

    repeat(act)


def test_waiter_without_leak(repeat: Repeat, directory: int) -> None:
    host, me = _native._host_struct(), _native._own_struct()
    lock, holder = ffi.new("struct pp_lock *", {"fd": -1}), ffi.new("struct pp_holder *")
    waiter, other = _native_lock.Waiter()._struct, ffi.new("struct pp_lock *", {"fd": -1})
    assert lib.pp_lock_try(host, me, directory, b"test", 10**12, 0, lock, holder) > 0

    def act() -> None:
        assert lib.pp_waiter_start(directory, waiter) == 0
        lib.pp_waiter_stop(waiter, 1)
        assert lib.pp_waiter_start(directory, waiter) == 0
        assert lib.pp_lock_has_line(directory, other) in {0, 1}
        lib.pp_waiter_stop(waiter, 0)
        lib.pp_waiter_stop(waiter, 0)
        lib.pp_waiter_forget(waiter)

    repeat(act, quick=1000, thorough=60_000)  # it was a leak once in thousands of them
    assert lib.pp_lock_release(directory, 0, lock) == 1


def test_woken_waiter_without_leak(repeat: Repeat, directory: int) -> None:
    host, me = _native._host_struct(), _native._own_struct()
    lock, holder = ffi.new("struct pp_lock *", {"fd": -1}), ffi.new("struct pp_holder *")
    waiter = _native_lock.Waiter()._struct

    def act() -> None:
        for keep_turn in (1, 0):
            taken = lib.pp_lock_try(host, me, directory, b"test", 10**12, 10**9, lock, holder)
            assert taken == lib.PP_FOUND_FREE
            assert lib.pp_waiter_start(directory, waiter) == 0
            assert lib.pp_lock_release(directory, 10**9, lock) == 1
            assert select.select([waiter.event_fd], [], [], 20)[0]
            lib.pp_waiter_stop(waiter, keep_turn)
        assert waiter.running == 0
        assert waiter.turn_fd < 0

    repeat(act, quick=300)


@pytest.mark.parametrize("features", KERNELS.values(), ids=KERNELS)
def test_gate_without_leak(repeat: Repeat, without: Callable[[str], None], features: str) -> None:
    without(features)
    host = _native._host_struct()
    output = os.open("/dev/null", os.O_WRONLY)
    words = [ffi.new("char[]", word) for word in (b"true", b"A=B")]
    arguments, environment = (ffi.new("char *[]", [word, ffi.NULL]) for word in words)
    stage, error = ffi.new("int32_t *"), ffi.new("int32_t *")
    true = os.fsencode(TRUE)

    def once(path: bytes, *, opened: bool) -> None:
        gate = ffi.new("struct pp_gate *", {"pid": 0, "pid_fd": -1, "fd": -1})
        forked = lib.pp_gate_fork(host, path, arguments, environment, ffi.NULL, output, -1, gate)
        assert forked == 0
        if opened:
            assert lib.pp_gate_open(gate) == 0
            result = lib.pp_gate_result(gate, 10**10, stage, error)
            assert result == (path == true)
        lib.pp_gate_close(gate)
        wait_for_exit(gate.pid)
        assert lib.pp_gate_has_ended(gate) == 1
        assert lib.pp_gate_reap(gate, error) == 1
        assert lib.pp_gate_reap(gate, error) < 0
        if gate.pid_fd >= 0:
            os.close(gate.pid_fd)

    def act() -> None:
        once(true, opened=True)
        once(true, opened=False)
        once(b"/nowhere", opened=True)

    repeat(act, quick=FEW // 3, thorough=3_334)  # three forks each
    os.close(output)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
