# SPDX-License-Identifier: MIT
"""Signals and waits, while the pid changes hands at every possible moment."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from pidproof import _native
from pidproof.errors import InvalidArgument, ProcessGone, Refused, StateError
from pidproof.process import handle as handle_module
from pidproof.process.identity import identify
from pidproof.process.liveness import Liveness


if TYPE_CHECKING:
    from darwin.kernel import Kernel, Process

pytestmark = pytest.mark.darwin

# Of macOS.
SIGTERM, SIGUSR1 = 15, 30
EPERM = 1
BY_TOKEN = "proc_signal_with_audittoken"


def send(process: Process, number: int = signal.SIGUSR1, *, group: bool = False) -> None:
    """Signal it by the identity that was read just now."""
    with identify(process.pid).open() as handle:
        handle.signal(number, group=group)


def test_a_signal_arrives_with_the_number_that_this_system_has_for_it(kernel: Kernel) -> None:
    process = kernel.process()
    send(process)
    assert (process.signals, process.last_signal) == (1, SIGUSR1)


@pytest.mark.parametrize("number", range(16))
def test_no_signal_reaches_the_one_who_got_the_pid(kernel: Kernel, number: int) -> None:
    """With audit tokens: whatever moment it happens in."""
    process = kernel.process()
    with identify(process.pid).open() as handle:
        others = []
        kernel.at(number, lambda: others.append(process.is_replaced()))
        try:
            handle.signal(signal.SIGTERM)
        except ProcessGone:
            assert others
        assert not any(other.signals for other in others)
        assert not others or len(kernel.calls) > number


def test_before_audit_tokens_the_proof_is_the_last_thing_before_the_signal(kernel: Kernel) -> None:
    kernel.lacks(audit=True)
    process = kernel.process()
    with identify(process.pid).open() as handle:
        kernel.before(lambda _call, _pid: None)
        handle.signal(signal.SIGTERM)
    assert kernel.calls == ["proc_pidinfo", "KERN_PROC_PID", "proc_pidinfo", "kill"]
    assert (process.signals, process.last_signal) == (1, SIGTERM)


@pytest.mark.parametrize("number", range(3))
def test_before_audit_tokens_a_pid_reused_before_the_proof_is_not_signalled(
    kernel: Kernel, number: int
) -> None:
    kernel.lacks(audit=True)
    process = kernel.process()
    with identify(process.pid).open() as handle:
        others = []
        kernel.at(number, lambda: others.append(process.is_replaced()))
        with pytest.raises(ProcessGone):
            handle.signal(signal.SIGTERM)
    assert [other.signals for other in others] == [0]


@pytest.mark.parametrize("moment", ["before", "between"])
def test_where_its_number_is_refused_a_live_process_is_signalled_and_not_gone(
    kernel: Kernel, moment: str
) -> None:
    """As a sandbox may, of one process: there is no version for a token then."""
    process = kernel.process()
    with identify(process.pid).open() as handle:

        def refuse() -> None:
            process.unique_errno = EPERM
            if moment == "between":
                process.execs([b"other"])

        if moment == "before":
            refuse()
        else:
            kernel.every(BY_TOKEN, refuse)
        handle.signal(signal.SIGTERM)
    assert (process.signals, process.last_signal) == (1, SIGTERM)


def test_a_process_that_execs_just_then_gets_the_signal_once(kernel: Kernel) -> None:
    process = kernel.process()
    with identify(process.pid).open() as handle:
        for number in range(12):
            before = process.signals
            kernel.at(number, lambda: process.execs([b"other"]))
            handle.signal(signal.SIGTERM)
            assert process.signals == before + 1


def test_a_process_that_execs_all_the_time_does_not_keep_us(kernel: Kernel) -> None:
    process = kernel.process()
    with identify(process.pid).open() as handle:
        kernel.every(BY_TOKEN, lambda: process.execs([b"other"]))
        with pytest.raises(StateError, match="unavailable"):
            handle.signal(signal.SIGTERM)
        assert kernel.calls.count(BY_TOKEN) == 8
    assert process.signals == 0


@pytest.mark.parametrize("act", ["dies", "is_exiting", "is_reaped"])
@pytest.mark.parametrize("audit", [True, False], ids=["token", "number"])
def test_a_signal_to_what_exits_is_gone(kernel: Kernel, act: str, audit: bool) -> None:
    kernel.lacks(audit=not audit)
    process = kernel.process()
    with identify(process.pid).open() as handle:
        getattr(process, act)()
        with pytest.raises(ProcessGone):
            handle.signal(signal.SIGTERM)
        with pytest.raises(ProcessGone):
            handle.signal(0)


@pytest.mark.parametrize("audit", [True, False], ids=["token", "number"])
def test_a_process_of_another_user_is_refused(kernel: Kernel, audit: bool) -> None:
    kernel.lacks(audit=not audit)
    process = kernel.process()
    process.effective_uid = process.real_uid = 0
    with identify(process.pid).open() as handle, pytest.raises(Refused):
        handle.signal(signal.SIGTERM)
    with pytest.raises(Refused):
        send(process, 0)


@pytest.mark.parametrize("audit", [True, False], ids=["token", "number"])
@pytest.mark.parametrize("number", [-1, 32, 64, 65, 1000])
def test_no_such_signal_is_an_invalid_argument(kernel: Kernel, number: int, audit: bool) -> None:
    kernel.lacks(audit=not audit)
    process = kernel.process()
    with identify(process.pid).open() as handle, pytest.raises(InvalidArgument):
        handle.signal(number)
    assert process.signals == 0


def test_signal_0_asks_and_sends_nothing(kernel: Kernel) -> None:
    process = kernel.process()
    send(process, 0)
    assert process.signals == 0


# ------------------------------------------------------------------------------------- groups


def test_a_group_is_signalled_by_number_once_its_leader_is_proven(kernel: Kernel) -> None:
    process = kernel.process()
    send(process, group=True)
    assert process.signals == 1
    process.group = 99
    with pytest.raises(ProcessGone):
        send(process, group=True)
    assert process.signals == 1


def test_a_leader_that_is_a_zombie_still_proves_its_group(kernel: Kernel) -> None:
    leader, member = kernel.process(), kernel.process()
    member.group = leader.pid
    with identify(leader.pid).open() as handle:
        leader.dies()
        kernel.before(lambda _call, _pid: None)
        handle.signal(signal.SIGTERM, group=True)
        assert kernel.calls[-1] == "kill"


def test_a_group_of_zombies_is_gone_and_not_forbidden(kernel: Kernel) -> None:
    """The kernel says EPERM of it, which elsewhere means that it is another user's."""
    leader = kernel.process()
    with identify(leader.pid).open() as handle:
        leader.dies()
        with pytest.raises(ProcessGone):
            handle.signal(signal.SIGKILL, group=True)


def test_a_group_of_another_user_is_refused(kernel: Kernel) -> None:
    leader = kernel.process()
    leader.effective_uid = leader.real_uid = 0
    with identify(leader.pid).open() as handle, pytest.raises(Refused):
        handle.signal(signal.SIGKILL, group=True)


@pytest.mark.parametrize("number", range(3))
def test_the_group_of_one_who_got_the_pid_is_not_signalled(kernel: Kernel, number: int) -> None:
    leader = kernel.process()
    with identify(leader.pid).open() as handle:
        others = []
        kernel.at(number, lambda: others.append(leader.is_replaced()))
        with pytest.raises(ProcessGone):
            handle.signal(signal.SIGKILL, group=True)
    assert [other.signals for other in others] == [0]


# --------------------------------------------------------------------------------------- waits


def test_a_wait_wakes_at_the_event(kernel: Kernel) -> None:
    process = kernel.process()
    with identify(process.pid).open() as handle:
        assert not handle.wait(0.01)
        timer = threading.Timer(0.02, process.dies)
        timer.start()
        assert handle.wait(10)
        timer.join()
        assert handle.wait(0), "and the event stays"
        assert handle.liveness() is Liveness.GONE


def test_the_event_is_believed_before_the_kernel_shows_the_exit(kernel: Kernel) -> None:
    process = kernel.process()
    with identify(process.pid).open() as handle:
        kernel.lib.xnu_exit(process.pid)
        assert handle.liveness() is Liveness.GONE
        with pytest.raises(ProcessGone):
            handle.signal(signal.SIGTERM)


def test_an_event_that_a_debugger_keeps_back_is_not_waited_for(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handle_module, "LOOK_AROUND", 0.02)
    process = kernel.process()
    with identify(process.pid).open() as handle:
        process.flags |= 0x2000  # P_WEXIT, and no event
        assert handle.liveness() is Liveness.GONE
        assert handle.wait(10)


@pytest.mark.parametrize("number", range(8))
def test_a_handle_is_never_of_the_one_who_got_the_pid(kernel: Kernel, number: int) -> None:
    process = kernel.process()
    identity = identify(process.pid)
    others = []
    kernel.at(number, lambda: others.append(process.is_replaced()))
    try:
        handle = identity.open()
    except ProcessGone:
        assert others
        return
    with handle:
        # The exit of the first has been posted; a handle of the second would sleep on.
        assert handle.liveness() is (Liveness.GONE if others else Liveness.ALIVE)
        assert handle.wait(0) is bool(others)


def test_the_event_is_registered_before_the_last_look(kernel: Kernel) -> None:
    process = kernel.process()
    identity = identify(process.pid)
    kernel.before(lambda _call, _pid: None)
    identity.open().close()
    last = len(kernel.calls) - 1 - kernel.calls[::-1].index("EVFILT_PROC")
    assert kernel.calls[last + 1 :] == ["proc_pidinfo", "KERN_PROC_PID", "proc_pidinfo"]


def test_what_exits_between_the_look_and_the_registration_is_gone(kernel: Kernel) -> None:
    for act in ("dies", "is_exiting", "is_reaped"):
        process = kernel.process()
        identity = identify(process.pid)
        done: list[str] = []

        def strike(process: Process = process, act: str = act, done: list[str] = done) -> None:
            if not done:
                done.append(act)
                getattr(process, act)()

        kernel.every("EVFILT_PROC", strike)
        with pytest.raises(ProcessGone):
            identity.open()
        assert done


def test_a_fork_of_the_opener_asks_by_number_and_closes_nothing(kernel: Kernel) -> None:
    """A kqueue passes no fork: in the child its number is nobody's, or another file's."""
    process = kernel.process()
    handle = identify(process.pid).open()
    number = handle.fileno()
    child = os.fork()
    if child == 0:
        ok = not os.path.exists(f"/proc/self/fd/{number}")
        read, _write = os.pipe()
        os.dup2(read, number)  # readable or not, it is not our event
        ok = ok and handle.fileno() == -1
        ok = ok and handle.liveness() is Liveness.ALIVE
        handle.close()
        ok = ok and os.path.exists(f"/proc/self/fd/{number}")
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert handle.fileno() == number
    assert handle.liveness() is Liveness.ALIVE
    handle.close()


def test_without_kqueues_a_wait_looks_by_itself(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIDPROOF_WITHOUT", "kqueue")
    _native._forget_host()
    process = kernel.process()
    with identify(process.pid).open() as handle:
        assert handle.fileno() == -1
        assert not handle.wait(0.01)
        process.dies()
        assert handle.wait(10)
