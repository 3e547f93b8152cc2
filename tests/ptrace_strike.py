# SPDX-License-Identifier: MIT
"""Strike a process at its N-th system call: kill it, suspend it, or let that call fail.

x86-64 only.  Its threads and children are not traced: a forked server runs untouched.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable


TRACEME, CONT, KILL, GETREGS, SETREGS, DETACH, SYSCALL = 0, 7, 8, 12, 13, 17, 24
SETOPTIONS = 0x4200
TRACESYSGOOD, EXITKILL = 1, 0x100000
# Index into struct user_regs_struct of <sys/user.h>.
RAX, ORIG_RAX = 10, 15
ARGUMENTS = (14, 13, 12, 7, 9, 8)  # rdi, rsi, rdx, r10, r8, r9
# close: the kernel has let go of the descriptor, whatever it answers.
DONE_ALL_THE_SAME = {3}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request: int, pid: int, data: object = 0) -> None:
    if _libc.ptrace(request, pid, None, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace {request}: {os.strerror(number)}")


class Traced:
    """A forked child that runs `act` under our eyes, from its first system call on."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.status: int | None = None
        self.calls: list[int] = []
        self.pid = os.fork()
        if self.pid == 0:
            code = 70
            try:
                _ptrace(TRACEME, 0)
                os.kill(os.getpid(), signal.SIGSTOP)
                act()
                code = 0
            finally:
                os._exit(code)
        os.waitpid(self.pid, 0)
        _ptrace(SETOPTIONS, self.pid, TRACESYSGOOD | EXITKILL)

    def _next_stop(self) -> bool:
        """Run on to the next entry or exit of a system call; False once it is dead."""
        deliver = 0
        while True:
            _ptrace(SYSCALL, self.pid, deliver)
            _, status = os.waitpid(self.pid, 0)
            if not os.WIFSTOPPED(status):
                self.status = os.waitstatus_to_exitcode(status)
                return False
            stopped = os.WSTOPSIG(status)
            if stopped == signal.SIGTRAP | 0x80:
                return True
            deliver = stopped

    def _registers(self) -> ctypes.Array[ctypes.c_ulonglong]:
        registers = (ctypes.c_ulonglong * 27)()
        _ptrace(GETREGS, self.pid, ctypes.byref(registers))
        return registers

    def run_to_call(self, number: int) -> bool:
        """Run on to the entry of the number-th call, counted from 1; False if it ends before."""
        while len(self.calls) < number:
            if not self._next_stop():
                return False
            self.calls.append(int(self._registers()[ORIG_RAX]))
            if len(self.calls) == number:
                return True
            if not self._next_stop():
                return False
        return True

    def arguments(self) -> list[int]:
        """Return the arguments of the call whose entry it stands at."""
        registers = self._registers()
        return [int(registers[index]) for index in ARGUMENTS]

    def fail_call(self, error: int) -> None:
        """At the entry of a call: let it do nothing and return -error."""
        registers = self._registers()
        if registers[ORIG_RAX] not in DONE_ALL_THE_SAME:
            registers[ORIG_RAX] = 2**64 - 1
            _ptrace(SETREGS, self.pid, ctypes.byref(registers))
        if self._next_stop():
            registers = self._registers()
            registers[RAX] = 2**64 - error
            _ptrace(SETREGS, self.pid, ctypes.byref(registers))

    def kill(self) -> None:
        """SIGKILL, before the call that it stands at is executed."""
        os.kill(self.pid, signal.SIGKILL)
        self.collect()

    def interrupt(self, *numbers: int) -> int:
        """Send signals, which come by the end of the call that it stands at, and let it run to its
        end untraced; returns its exit status."""
        for number in numbers:
            os.kill(self.pid, number)
        _ptrace(DETACH, self.pid, 0)
        return self.collect()

    def suspend(self) -> bool:
        """SIGSTOP right after the call that it stands at; False if it has ended by that call.

        From then on it is stopped as by anybody, and traced no more.
        """
        os.kill(self.pid, signal.SIGSTOP)
        _ptrace(DETACH, self.pid, 0)
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            self.status = os.waitstatus_to_exitcode(status)
        return self.status is None

    def resume(self) -> None:
        """SIGCONT to a suspended one."""
        os.kill(self.pid, signal.SIGCONT)

    def finish(self) -> int:
        """Let it run to its end under trace; returns its exit status."""
        while self.status is None:
            _ptrace(CONT, self.pid, 0)
            _, status = os.waitpid(self.pid, 0)
            if not os.WIFSTOPPED(status):
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def collect(self) -> int:
        """Wait for the end of one that is killed, or is traced no more."""
        while self.status is None:
            _, status = os.waitpid(self.pid, 0)
            if not os.WIFSTOPPED(status):
                self.status = os.waitstatus_to_exitcode(status)
        return self.status
