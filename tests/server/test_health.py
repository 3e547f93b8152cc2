# SPDX-License-Identifier: MIT
"""Checkups: how often, how long, and what does not count."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from helpers import wait_until
from pid_reuse import born, end
from pidproof import Http, LogLine, ProcessHandle, StartTimeout, Target, _native, identify
from pidproof.process.liveness import Liveness
from pidproof.server import record as records
from pidproof.server.checkup import check, check_running
from pidproof.server.directory import KeyDirectory
from pidproof.server.health import check_patiently, wait_ready
from pidproof.server.probe import BUSY, FAILED, READY, UNKNOWN, Outcome, Probe
from pidproof.server.probes import Call
from servers import is_alive, kill, meanwhile, sleeper


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pidproof.server.checkup import Checkup
    from pidproof.server.probe import Health
    from pidproof.server.record import Record
    from servers import Small, State


class Scripted(Probe):
    """Answers as it is told, and notes how long it might have taken."""

    kind = "scripted"

    def __init__(self, *answers: Health) -> None:
        self.answers = list(answers)
        self.timeouts: list[float] = []

    def check(self, target: Target, timeout: float) -> Outcome:
        self.timeouts.append(timeout)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return Outcome(health=answer, detail=f"scripted {answer}")


@contextlib.contextmanager
def opened(key: str) -> Iterator[tuple[KeyDirectory, Record, ProcessHandle]]:
    """Open directory, record and process of a running server."""
    directory = KeyDirectory.open(key)
    assert directory is not None
    with directory:
        record = records.read(directory, key)
        assert record is not None
        assert record.identity is not None
        with record.identity.open() as handle:
            yield directory, record, handle


def patiently(probe: Probe, **options: Any) -> Checkup:
    """Ask the sleeper."""
    full = {"timeout": 0.5, "threshold": 3, "deadline": time.monotonic() + 20, **options}
    with opened("sleeper") as (directory, record, handle):
        return check_patiently(directory, record, probe, handle=handle, **full)


def test_a_failed_probe_is_repeated_and_each_time_given_twice_as_long() -> None:
    sleeper().ensure()
    probe = Scripted(FAILED)
    assert not patiently(probe).is_ready
    assert probe.timeouts == [0.5, 1.0, 2.0]


def test_one_good_answer_ends_the_questions() -> None:
    sleeper().ensure()
    probe = Scripted(BUSY, READY)
    assert patiently(probe).is_ready
    assert probe.timeouts == [0.5, 1.0]


def test_what_cannot_be_asked_is_not_asked_again() -> None:
    sleeper().ensure()
    probe = Scripted(UNKNOWN)
    assert patiently(probe).outcome.health == UNKNOWN
    assert len(probe.timeouts) == 1


def test_failures_while_the_machine_slept_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper().ensure()
    slept = iter([0.0, 100.0, 100.0, 200.0])
    monkeypatch.setattr(_native, "suspended", lambda: next(slept, 200.0))
    probe = Scripted(FAILED)
    patiently(probe)
    assert probe.timeouts == [0.5, 0.5, 0.5, 1.0, 2.0]


def test_the_end_of_the_process_ends_the_questions() -> None:
    running = sleeper().ensure()

    def ask(_: Target) -> bool:
        kill(running.pid)
        return False

    with opened("sleeper") as (directory, record, handle):
        result = check_patiently(
            directory,
            record,
            Call(ask),
            timeout=1.0,
            threshold=1000,
            deadline=time.monotonic() + 20,
            handle=handle,
        )
    assert not result.is_ready


def be_unknown_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next time that one asks a handle, it cannot tell whether the process still runs."""
    answer, told = ProcessHandle.liveness, []

    def liveness(handle: ProcessHandle) -> Liveness:
        told.append(handle)
        return answer(handle) if len(told) > 1 else Liveness.UNKNOWN

    monkeypatch.setattr(ProcessHandle, "liveness", liveness)


def test_one_of_which_it_cannot_be_told_whether_it_runs_is_not_taken_for_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sleeper().ensure()
    be_unknown_once(monkeypatch)
    assert patiently(Scripted(FAILED, READY)).is_ready


def test_a_starting_server_of_which_that_cannot_be_told_is_asked_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sleeper().ensure()
    be_unknown_once(monkeypatch)
    probe = Scripted(FAILED, READY)
    assert until_ready(probe, lambda _: None, 20).is_ready


def test_a_start_is_no_success_while_it_cannot_be_told_whether_the_server_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ProcessHandle, "liveness", lambda _: Liveness.UNKNOWN)
    with pytest.raises(StartTimeout, match="whether it still runs cannot be told"):
        sleeper().ensure()


def test_the_deadline_ends_the_questions() -> None:
    sleeper().ensure()
    probe = Scripted(FAILED)
    began = time.monotonic()
    checkup = patiently(probe, threshold=1000, deadline=began + 0.2)
    assert time.monotonic() - began < 5
    assert not checkup.settled


def until_ready(probe: Probe, say: Callable[[str], None], seconds: float) -> Checkup:
    """Wait for the sleeper as one that starts."""
    with opened("sleeper") as (directory, record, handle):
        return wait_ready(
            directory,
            record,
            probe,
            timeout=1.0,
            deadline=time.monotonic() + seconds,
            handle=handle,
            say=say,
        )


def test_a_starting_server_is_asked_until_it_is_ready() -> None:
    sleeper().ensure()
    told: list[str] = []
    probe = Scripted(FAILED, FAILED, FAILED, BUSY, BUSY, BUSY, READY)
    assert until_ready(probe, told.append, 20).is_ready
    assert told == ["waiting for sleeper: scripted failed", "waiting for sleeper: scripted busy"]


def test_a_starting_server_is_asked_at_least_once() -> None:
    sleeper().ensure()
    probe = Scripted(READY)
    assert until_ready(probe, lambda _: None, 0).is_ready


def test_a_starting_server_is_not_asked_for_longer_than_it_has() -> None:
    sleeper().ensure()
    probe = Scripted(FAILED)
    assert not until_ready(probe, lambda _: None, 0.1).is_ready
    assert all(timeout <= 0.1 for timeout in probe.timeouts)


def test_the_exit_of_a_starting_server_ends_the_wait_at_once() -> None:
    running = sleeper().ensure()
    probe = Scripted(FAILED)

    def end_it() -> None:
        wait_until(lambda: len(probe.timeouts) >= 12)  # it is asked slowly by now
        kill(running.pid)

    began = time.monotonic()
    with meanwhile(end_it):
        assert not until_ready(probe, lambda _: None, 60).is_ready
    assert time.monotonic() - began < 15
    assert not is_alive(running.pid)


def test_without_a_probe_it_is_ready_as_long_as_it_runs() -> None:
    sleeper().ensure()
    with opened("sleeper") as (directory, record, _):
        assert check(directory, record, None, 1.0).is_ready


def test_one_that_starts_is_not_ready_before_its_command_runs() -> None:
    sleeper().ensure()
    at_gate = born()
    try:
        with opened("sleeper") as (directory, record, _):
            forked = record.with_(state="starting", identity=str(identify(at_gate)))
            assert check(directory, forked, None, 1.0).outcome.health == BUSY
            assert check(directory, record.with_(state="starting"), None, 1.0).is_ready
    finally:
        end(at_gate)


def test_a_port_probe_without_a_known_port_knows_nothing() -> None:
    sleeper().ensure()
    with opened("sleeper") as (directory, record, _):
        result = check(directory, record, Http("/"), 1.0)
    assert result.outcome.health == UNKNOWN


def test_the_log_line_of_a_running_server_need_not_be_there_any_more(state: State) -> None:
    """The log may have been rotated away since."""
    sleeper().ensure()
    with opened("sleeper") as (directory, record, _):
        assert not check(directory, record, LogLine("never"), 1.0).is_ready
        assert check_running(directory, record, LogLine("never"), 1.0).is_ready


def test_the_token_is_not_sent_to_a_stranger(state: State, small: Small) -> None:
    """Whose port it is comes first, so that the secret in the header stays one."""
    running = small.server(probe=Http("/", headers={"X-Token": "{token}"})).ensure()
    assert running.token.encode() in small.request()
    asked: list[Target] = []
    with opened("web") as (directory, record, _):
        foreign = record.with_(listener=None, identity=state_token(), nonce="0" * 32)
        probe = Call(asked.append)
        probe_type = type("Ported", (Call,), {"needs_port": True})
        result = check(directory, foreign, probe_type(probe.function), 1.0)
    assert result.stranger
    assert not asked


def state_token() -> str:
    """Return the token of this process, which is not the server."""
    import os

    from servers import token_of

    return token_of(os.getpid())
