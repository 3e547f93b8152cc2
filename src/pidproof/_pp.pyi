# SPDX-License-Identifier: MIT
"""The compiled module, generated from csrc/pp_decls.h, where each function is documented."""

from typing import Any, Protocol

class _FFI(Protocol):
    NULL: Any
    def new(self, cdecl: str, init: Any = ...) -> Any: ...
    def gc(self, cdata: Any, destructor: Any, size: int = ...) -> Any: ...
    def string(self, cdata: Any, maxlen: int = ...) -> bytes: ...
    def buffer(self, cdata: Any, size: int = ...) -> Any: ...
    def unpack(self, cdata: Any, length: int) -> Any: ...

class _Lib(Protocol):
    PP_BOOT_ID_SIZE: int
    PP_TOKEN_SIZE: int
    PP_NONCE_SIZE: int
    PP_PURPOSE_SIZE: int
    PP_HAS_PIDFD: int
    PP_HAS_PIDFS: int
    PP_HAS_PROC: int
    PP_CLOCK_INEXACT: int
    PP_ALIVE: int
    PP_GONE: int
    PP_UNKNOWN: int
    PP_SAME_PROCESS: int
    PP_NO_SUCH_PID: int
    PP_OTHER_PROCESS: int
    PP_EXITED: int
    PP_OTHER_BOOT: int
    PP_OTHER_NAMESPACE: int
    PP_NOTHING_TO_COMPARE: int
    PP_TOO_CLOSE: int
    PP_SCOPE_PROCESS: int
    PP_SCOPE_GROUP: int
    PP_TEXT_ARGV: int
    PP_TEXT_ENVIRON: int
    PP_TEXT_EXE: int
    PP_FOUND_FREE: int
    PP_FOUND_HALF_WRITTEN: int
    PP_FOUND_DEAD: int
    PP_FOUND_ABANDONED: int
    PP_FOUND_AGED: int
    PP_STAGE_SESSION: int
    PP_STAGE_STDIO: int
    PP_STAGE_DIRECTORY: int
    PP_STAGE_EXEC: int
    def pp_host_read(self, without: int, ret_host: Any) -> int: ...
    def pp_process_identify(self, host: Any, pid: int, ret_identity: Any) -> int: ...
    def pp_process_compare(self, host: Any, identity: Any, ret_reason: Any) -> int: ...
    def pp_process_open(self, host: Any, identity: Any, ret_fd: Any, ret_reason: Any) -> int: ...
    def pp_process_poll(self, host: Any, identity: Any, fd: int, ret_reason: Any) -> int: ...
    def pp_process_signal(
        self, host: Any, identity: Any, fd: int, signal_number: int, scope: int
    ) -> int: ...
    def pp_process_read(
        self, host: Any, identity: Any, what: int, buffer: Any, size: int, ret_size: Any
    ) -> int: ...
    def pp_pid_status(self, host: Any, pid: int, ret_status: Any) -> int: ...
    def pp_process_scan(
        self,
        host: Any,
        uid: int,
        arguments: bytes,
        arguments_size: int,
        variables: bytes,
        variables_size: int,
        ret_pids: Any,
        capacity: int,
        ret_count: Any,
    ) -> int: ...
    def pp_listener_find(self, host: Any, port: int, session_id: int, ret_listener: Any) -> int: ...
    def pp_listener_check(self, host: Any, port: int, pid: int, fd: int, inode: int) -> int: ...
    def pp_token_format(self, identity: Any, ret_token: Any, size: int) -> int: ...
    def pp_token_parse(self, token: bytes, size: int, ret_identity: Any) -> int: ...
    def pp_guard_enter(self, directory_fd: int, timeout: int, guard: Any) -> int: ...
    def pp_guard_leave(self, guard: Any) -> None: ...
    def pp_guard_forget(self, guard: Any) -> None: ...
    def pp_lock_try(
        self,
        host: Any,
        myself: Any,
        directory_fd: int,
        purpose: bytes,
        hold: int,
        guard_timeout: int,
        lock: Any,
        holder: Any,
        /,
    ) -> int: ...
    def pp_lock_look(self, host: Any, directory_fd: int, ret_holder: Any) -> int: ...
    def pp_lock_mine(self, directory_fd: int, lock: Any) -> int: ...
    def pp_lock_release(self, directory_fd: int, guard_timeout: int, lock: Any) -> int: ...
    def pp_lock_drop(self, lock: Any) -> None: ...
    def pp_lock_forget(self, lock: Any) -> None: ...
    def pp_waiter_start(self, directory_fd: int, waiter: Any) -> int: ...
    def pp_waiter_stop(self, waiter: Any, keep_turn: int) -> None: ...
    def pp_waiter_forget(self, waiter: Any) -> None: ...
    def pp_gate_fork(
        self,
        host: Any,
        path: bytes,
        arguments: Any,
        environment: Any,
        directory: Any,
        output_fd: int,
        listen_fd: int,
        gate: Any,
    ) -> int: ...
    def pp_gate_open(self, gate: Any) -> int: ...
    def pp_gate_result(self, gate: Any, timeout: int, ret_stage: Any, ret_error: Any) -> int: ...
    def pp_gate_close(self, gate: Any) -> None: ...

ffi: _FFI
lib: _Lib
