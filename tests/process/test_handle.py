# SPDX-License-Identifier: MIT
from __future__ import annotations

import errno
import math
import os
import select
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from helpers import (
    DEADLINE,
    HAVE,
    NEEDS_EVENT,
    NEEDS_NOBODY,
    NEEDS_PROC,
    NEEDS_SET_TID,
    NOBODY,
    WITHOUT_EVENTS,
    in_threads,
    python,
    read_line,
    rounds_of,
    run,
    wait_for_exit,
    wait_until,
    write_line,
)
from outside import open_fds
from pid_reuse import born, bystander, end, next_tick, start_of_tick
from pidproof import _native
from pidproof.errors import IdentityUnknown, InvalidArgument, ProcessGone, Refused, StateError
from pidproof.process import handle as handle_module
from pidproof.process.handle import ancestors
from pidproof.process.identity import ProcessIdentity, identify
from pidproof.process.liveness import Liveness


if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers import Spawn

pytestmark = pytest.mark.usefixtures("nothing_left")

# Says which signals it gets; ends at the end of its input.
LISTENER = """
    import signal, sys
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, lambda got, _: print(signal.Signals(got).name, flush=True))
    print("ready", flush=True)
    sys.stdin.read()
"""
# Leads a group with one child in it, which says "member ready" and then which signal it got.
GROUP = """
    import os, select, signal
    def told(number, frame):
        os.write(1, f"{name} {signal.Signals(number).name}\\n".encode())
    def open_ears():
        heard, here = os.pipe()
        os.set_blocking(here, False)
        signal.set_wakeup_fd(here)
        return heard
    def listen(heard):
        # A signal right before the wait is heard too: it has left its byte.
        while 0 not in select.select([0, heard], [], [])[0]:
            os.read(heard, 1)
    name, heard = "leader", open_ears()
    signal.signal(signal.SIGUSR1, told)
    os.setpgid(0, 0)
    if os.fork() == 0:
        name, heard = "member", open_ears()
        os.write(1, b"member ready\\n")
        listen(heard)
        os._exit(0)
    listen(heard)
    os.kill(0, signal.SIGKILL)
"""


def listener(spawn: Spawn) -> subprocess.Popen[bytes]:
    child = spawn(python(LISTENER))
    assert read_line(child) == "ready"
    return child


# ------------------------------------------------------------------------------------ opening


def test_opening_what_is_gone_or_unknown_raises_and_opens_nothing(
    spawn: Spawn, kernel: str
) -> None:
    child = spawn.sleeper()
    identity = identify(child.pid)
    foreign = ProcessIdentity.parse(str(identity).replace(f":{identity.pid_namespace}:", ":1:"))
    before = open_fds()
    with pytest.raises(IdentityUnknown):
        foreign.open()
    child.kill()
    child.wait()
    with pytest.raises(ProcessGone, match="gone") as caught:
        identity.open()
    assert caught.value.__dict__["pid"] == child.pid
    assert open_fds() == before


def test_handle_knows_its_process(spawn: Spawn, kernel: str) -> None:
    child = spawn.sleeper()
    identity = identify(child.pid)
    with identity.open() as handle:
        assert handle.pid == child.pid
        assert handle.identity is identity
        assert str(identity) in repr(handle)
        assert handle.liveness() is Liveness.ALIVE
        assert (handle.fileno() >= 0) == (kernel not in WITHOUT_EVENTS)
    assert handle.fileno() == -1
    handle.close()


@NEEDS_EVENT
def test_descriptor_becomes_readable_when_the_process_exits(spawn: Spawn) -> None:
    child = spawn.sleeper()
    with identify(child.pid).open() as handle:
        assert select.select([handle], [], [], 0) == ([], [], [])
        child.kill()
        assert select.select([handle], [], [], DEADLINE)[0] == [handle]


@NEEDS_EVENT
def test_a_handle_that_is_dropped_closes_its_descriptor(spawn: Spawn) -> None:
    child = spawn.sleeper()
    before = open_fds()
    handle = identify(child.pid).open()
    assert open_fds() != before
    del handle
    assert open_fds() == before


@NEEDS_EVENT
def test_the_descriptor_is_closed_on_exec(spawn: Spawn) -> None:
    child = spawn.sleeper()
    with identify(child.pid).open() as handle:
        assert not os.get_inheritable(handle.fileno())


# ----------------------------------------------------------------------------------- liveness


def test_handle_follows_the_process_to_its_end(spawn: Spawn, kernel: str) -> None:
    child = spawn.sleeper()
    with identify(child.pid).open() as handle:
        child.send_signal(signal.SIGSTOP)
        assert handle.liveness() is Liveness.ALIVE
        child.kill()
        wait_until(lambda: handle.liveness() is Liveness.GONE)
        assert _native.status(child.pid)[0] == "Z", "not reaped by the handle"
        child.wait()
        assert handle.liveness() is Liveness.GONE


# ------------------------------------------------------------------------------------ signals


def test_signal_arrives(spawn: Spawn, kernel: str) -> None:
    child = listener(spawn)
    with identify(child.pid).open() as handle:
        handle.signal(signal.SIGUSR1)
        assert read_line(child) == "SIGUSR1"
        handle.signal(signal.SIGTERM)
        assert read_line(child) == "SIGTERM"
        handle.signal(0)


def test_signal_to_an_exited_process_is_gone(spawn: Spawn, kernel: str) -> None:
    child = spawn.sleeper()
    with identify(child.pid).open() as handle:
        child.kill()
        wait_until(lambda: handle.liveness() is Liveness.GONE)
        with pytest.raises(ProcessGone):  # a zombie: kill(2) would call that a success
            handle.signal(signal.SIGTERM)
        child.wait()
        with pytest.raises(ProcessGone):
            handle.signal(signal.SIGTERM)


def test_a_signal_that_the_system_refuses_to_send_is_no_invalid_argument(
    spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with identify(spawn.sleeper().pid).open() as handle:
        monkeypatch.setattr(_native.Identity, "signal", refuse)
        with pytest.raises(StateError, match="signal 15 could not be sent") as caught:
            handle.signal(signal.SIGTERM)
    assert caught.value.errno == errno.EMFILE


@NEEDS_PROC
def test_short_of_descriptors_a_signal_by_number_is_not_said_to_be_forbidden(spawn: Spawn) -> None:
    code = """
        import errno, os, resource, sys
        from pidproof.errors import StateError
        from pidproof.process.identity import identify
        with identify(int(sys.argv[1])).open() as handle:
            assert handle.fileno() == -1
            resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
            from pidproof.process.handle import ancestors
            told = ancestors()
            import pidproof.process.handle as module
            module.ancestors = lambda: told
            try:
                while True:
                    os.dup(0)
            except OSError:
                pass
            try:
                handle.signal(15)
            except StateError as error:
                print(errno.errorcode[error.errno])
    """
    child = spawn.sleeper()
    environment = {**os.environ, "PIDPROOF_WITHOUT": "pidfd,pidfs"}
    assert run(python(code, str(child.pid)), env=environment) == "EMFILE\n"
    assert child.poll() is None


@NEEDS_PROC
def test_by_number_a_zombie_leader_still_proves_its_group(spawn: Spawn, kernel: str) -> None:
    """Its pid is that of its group for as long as a member lives."""
    code = """
        import os, signal
        os.setpgid(0, 0)
        if os.fork() == 0:
            os.write(1, b"ready\\n")
            signal.pause()
        os.read(0, 1)
    """
    child = spawn(python(code))
    assert read_line(child) == "ready"
    identity = identify(child.pid)
    write_line(child, "")
    wait_for_exit(child.pid)
    assert identity.liveness() is Liveness.GONE
    identity._native.signal(-1, signal.SIGUSR1, _native.SCOPE_GROUP)
    assert child.stdout is not None
    assert child.stdout.read() == b"", "the member has got it, and gone"


@pytest.mark.parametrize("number", [-1, 65, 1000])
def test_no_such_signal_is_an_invalid_argument(spawn: Spawn, kernel: str, number: int) -> None:
    child = spawn.sleeper()
    with (
        identify(child.pid).open() as handle,
        pytest.raises(InvalidArgument, match=str(number)),
    ):
        handle.signal(number)


def test_group_signal_reaches_the_whole_group(spawn: Spawn, kernel: str) -> None:
    child = spawn(python(GROUP))
    assert read_line(child) == "member ready"
    with identify(child.pid).open() as handle:
        handle.signal(signal.SIGUSR1, group=True)
        said = {read_line(child), read_line(child)}
        assert said == {"leader SIGUSR1", "member SIGUSR1"}
        handle.signal(signal.SIGUSR1)
        assert read_line(child) == "leader SIGUSR1"
        handle.signal(signal.SIGKILL, group=True)
        assert handle.wait(DEADLINE)
    assert child.stdout is not None
    assert child.stdout.read() == b"", "the member died as well"


def test_group_signal_is_refused_for_one_that_leads_no_group(spawn: Spawn, kernel: str) -> None:
    """Else it would go to a group that happens to have that number, or to ours."""
    child = listener(spawn)
    assert os.getpgid(child.pid) == os.getpgid(0)
    with identify(child.pid).open() as handle, pytest.raises(ProcessGone):
        handle.signal(signal.SIGUSR1, group=True)
    write_line(child, "")


def test_pid_1_ourselves_and_our_ancestors_are_never_signalled(kernel: str) -> None:
    chain = ancestors()
    assert {os.getpid(), os.getppid()} <= chain
    for pid in chain:
        identity = identify(pid)
        with identity.open() as handle:
            for group in (False, True):
                with pytest.raises(Refused, match="not signalled"):
                    handle.signal(0, group=group)
            with pytest.raises(Refused):
                handle.terminate(0)


def test_pid_1_is_never_signalled_even_where_it_is_no_ancestor(
    kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handle_module, "ancestors", frozenset[int])
    with identify(1).open() as handle, pytest.raises(Refused, match="pid 1"):
        handle.signal(0)
    with pytest.raises(PermissionError):  # and the floor below refuses it as well
        identify(1)._native.signal(-1, 0, _native.SCOPE_PROCESS)


def test_ancestors_of_a_grandchild_include_us(spawn: Spawn, kernel: str) -> None:
    code = """
        import os, subprocess, sys
        inner = "from pidproof.process.handle import ancestors; print(*ancestors())"
        print(os.getpid(), flush=True)
        subprocess.run([sys.executable, "-c", inner])
    """
    own, chain = run(python(code)).splitlines()
    assert {int(own), os.getpid(), 1} <= set(map(int, chain.split()))


@NEEDS_NOBODY
def test_a_process_of_another_user_is_refused(spawn: Spawn, kernel: str) -> None:
    child = listener(spawn)
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    code = """
        import sys
        from pidproof.errors import Refused
        from pidproof.process.identity import identify
        with identify(int(sys.argv[1])).open() as handle:
            for act in (lambda: handle.signal(15), lambda: handle.terminate(0)):
                try:
                    act()
                except Refused as error:
                    print(error)
    """
    out = run([*drop, *python(code, str(child.pid))])
    assert out.count(f"process {child.pid} may not be signalled by uid {NOBODY}") == 2
    child.send_signal(signal.SIGUSR1)
    assert read_line(child) == "SIGUSR1", "the first signal it ever got"


# ---------------------------------------------------------------------------------- PID reuse


@NEEDS_SET_TID
@pytest.mark.parametrize("rounds", rounds_of(20, 150, 5000))
@pytest.mark.parametrize("features", ["", *(["pidfs"] if "pidfs" in HAVE else [])])
def test_a_held_handle_never_reaches_the_one_who_got_the_pid(
    without: Callable[[str], None], features: str, rounds: int
) -> None:
    if not HAVE & {"pidfd", "kqueue"}:
        pytest.skip("needs pidfds or kqueues")
    without(features)
    for _ in range(rounds):
        start_of_tick()
        pid = born()
        with identify(pid).open() as handle:
            end(pid)
            with bystander(pid):
                assert handle.liveness() is Liveness.GONE
                assert handle.wait(0)
                with pytest.raises(ProcessGone):
                    handle.signal(signal.SIGTERM)
                with pytest.raises(ProcessGone):
                    handle.signal(signal.SIGKILL, group=True)
                assert handle.terminate(0) == "gone"


@NEEDS_SET_TID
@pytest.mark.parametrize("rounds", rounds_of(10, 50, 1000))
def test_a_pid_reused_in_a_later_tick_is_never_signalled(kernel: str, rounds: int) -> None:
    for _ in range(rounds):
        pid = born()
        identity = identify(pid)
        with identity.open() as handle:
            end(pid)
            next_tick()
            with bystander(pid):
                assert handle.liveness() is Liveness.GONE
                with pytest.raises(ProcessGone):
                    handle.signal(signal.SIGTERM)
                with pytest.raises(ProcessGone):
                    handle.signal(signal.SIGTERM, group=True)
                assert handle.wait(0)
                assert handle.terminate(0) == "gone"
                with pytest.raises(ProcessGone):
                    identity.open()


@NEEDS_SET_TID
def test_a_handle_that_was_closed_signals_nobody(kernel: str) -> None:
    pid = born()
    try:
        handle = identify(pid).open()
        handle.close()
        with pytest.raises(ValueError, match="closed"):
            handle.signal(signal.SIGTERM)
        with pytest.raises(ValueError, match="closed"):
            handle.liveness()
        with pytest.raises(ValueError, match="closed"):
            handle.wait(0)
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    finally:
        end(pid)


# --------------------------------------------------------------------------------------- wait


@pytest.mark.parametrize("timeout", [0, -1, 0.0001, 0.05])
def test_wait_is_bounded(spawn: Spawn, kernel: str, timeout: float) -> None:
    child = spawn.sleeper()
    with identify(child.pid).open() as handle:
        began = time.monotonic()
        assert handle.wait(timeout) is False
        took = time.monotonic() - began
        assert max(timeout, 0) <= took < max(timeout, 0) + 1


@pytest.mark.parametrize("timeout", [DEADLINE, 1e10, math.inf])
def test_wait_wakes_when_the_process_exits(spawn: Spawn, kernel: str, timeout: float) -> None:
    child = spawn.sleeper()
    ended: list[float] = []

    def kill() -> None:
        ended.append(time.monotonic())
        child.kill()

    with identify(child.pid).open() as handle:
        timer = threading.Timer(0.05, kill)
        timer.start()
        assert handle.wait(timeout) is True
        assert time.monotonic() - ended[0] < 1
        timer.join()
        assert handle.wait(0) is True
    assert child.poll() == -signal.SIGKILL, "the handle has not reaped it"


def test_waits_in_many_threads_wake_together(spawn: Spawn, kernel: str) -> None:
    handles = [identify(spawn.sleeper().pid).open() for _ in range(4)]

    def wait(index: int) -> None:
        if index == len(handles):
            for handle in handles:
                handle.signal(signal.SIGKILL)
        else:
            assert handles[index].wait(DEADLINE)

    in_threads(len(handles) + 1, wait)
    for handle in handles:
        handle.close()


# ---------------------------------------------------------------------------------- terminate


def test_terminate_ends_with_sigterm_what_ends_by_it(spawn: Spawn, kernel: str) -> None:
    child = spawn.sleeper()
    with identify(child.pid).open() as handle:
        assert handle.terminate(DEADLINE) == "terminated"
        assert handle.liveness() is Liveness.GONE
    assert child.wait() == -signal.SIGTERM


def test_terminate_kills_what_ignores_sigterm_after_the_grace(spawn: Spawn, kernel: str) -> None:
    child = listener(spawn)
    with identify(child.pid).open() as handle:
        began = time.monotonic()
        assert handle.terminate(0.2) == "killed"
        assert 0.2 <= time.monotonic() - began < 2
    assert child.wait() == -signal.SIGKILL
    assert read_line(child) == "SIGTERM", "it was asked first"


def test_terminate_of_an_exited_process_is_gone(spawn: Spawn, kernel: str) -> None:
    child = spawn.sleeper()
    with identify(child.pid).open() as handle:
        child.kill()
        wait_until(lambda: handle.liveness() is Liveness.GONE)
        assert handle.terminate(1) == "gone"
        child.wait()
        assert handle.terminate(1) == "gone"


def test_terminate_ends_a_stopped_process(spawn: Spawn, kernel: str) -> None:
    child = spawn.sleeper()
    child.send_signal(signal.SIGSTOP)
    wait_until(lambda: _native.status(child.pid)[0] == "T")
    with identify(child.pid).open() as handle:
        assert handle.terminate(0.05) == "killed"
    assert child.wait() == -signal.SIGKILL


def test_terminate_signals_no_child_of_the_process(spawn: Spawn, kernel: str) -> None:
    code = """
        import os, sys
        child = os.fork()
        if child == 0:
            sys.stdin.readline()
            print("still here", flush=True)
            os._exit(0)
        print("ready", flush=True)
        os.wait()
    """
    child = spawn(python(code))
    assert read_line(child) == "ready"
    with identify(child.pid).open() as handle:
        assert handle.terminate(DEADLINE) == "terminated"
    write_line(child, "")
    assert read_line(child) == "still here"
