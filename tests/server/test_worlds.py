# SPDX-License-Identifier: MIT
"""Every operation from every other world: nothing killed, nothing stolen, and the reason named."""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from helpers import (
    NEEDS_NAMESPACES,
    NEEDS_NOBODY,
    NEEDS_PIDFD,
    NEEDS_TIME_NAMESPACES,
    NOBODY,
    python,
    run,
    wait_until,
)
from pidproof import Running, SpawnLock
from pidproof.process.liveness import Liveness
from pidproof.server.directory import KeyDirectory
from seccomp import PIDFD_OPEN
from servers import is_alive, kill, sleeper
from worlds import (
    AS_NOBODY,
    DENY,
    EMPTY_PROC,
    FOREIGN_PROC,
    HIDEPID,
    NEW_PID_NAMESPACE,
    NEW_TIME_NAMESPACE,
    NEW_USER_NAMESPACE,
    NO_PROC,
    PIDFD_SEND_SIGNAL,
    answers_in,
    denied,
    with_machine_id,
)


if TYPE_CHECKING:
    from collections.abc import Iterator

    from helpers import Spawn
    from servers import Small, State

OPERATIONS = (
    "status",
    "list",
    "sweep_dry_run",
    "sweep",
    "lock",
    "liveness",
    "signal",
    "ensure",
    "start",
    "restart",
    "stop",
)


class Outside(NamedTuple):
    """What runs and is held out here."""

    running: Running
    lock: SpawnLock
    lock_path: str
    record: bytes


@pytest.fixture
def outside(state: State) -> Iterator[Outside]:
    """The server `web`, and the lock of another key."""
    running = sleeper("web").ensure()
    directory = KeyDirectory.open("held", create=True)
    assert directory is not None
    with directory, SpawnLock(directory.fd, purpose="hold-it-outside") as lock:
        record = state.record_path("web").read_bytes()
        yield Outside(running, lock, directory.path, record)


def assert_all(answers: dict[str, str], **patterns: str) -> None:
    """Each operation must have come out as the pattern of its name, or as `others`, says."""
    assert tuple(answers) == OPERATIONS
    held = r"LockTimeout: .* held by process \d+ .* to hold-it-outside"
    for name, answer in answers.items():
        pattern = {"lock": held, **patterns}.get(name, patterns.get("others", ""))
        assert re.fullmatch(pattern, answer, re.DOTALL), (name, answer)


def assert_untouched(state: State, outside: Outside) -> None:
    """The server runs, its record is as it was, and the lock is held."""
    assert outside.running.identity.liveness() is Liveness.ALIVE
    assert state.servers() == [outside.running.pid]
    assert state.record_path("web").read_bytes() == outside.record
    with outside.lock.fenced():
        pass


ELSEWHERE = "recorded in another pid namespace"


@NEEDS_NAMESPACES
@pytest.mark.parametrize(
    "world", [NEW_PID_NAMESPACE, NEW_USER_NAMESPACE], ids=["pid namespace", "user namespace"]
)
def test_from_another_pid_namespace(state: State, outside: Outside, world: list[str]) -> None:
    answers = answers_in(world, outside.lock_path, str(outside.running.identity))
    left = rf"\[.*'left: unknown: it was {ELSEWHERE}'.*\]"
    assert_all(
        answers,
        status=f"unknown: it was {ELSEWHERE}",
        list=rf"\['unknown: it was {ELSEWHERE}'\]",
        sweep=left,
        sweep_dry_run=left,
        liveness=f"Liveness.UNKNOWN: it was {ELSEWHERE}",
        ensure=f"IdentityUnknown: .*{ELSEWHERE}; nothing was ended and nothing started",
        start=f"Refused: .*{ELSEWHERE}.*; nothing was started",
        others=f"IdentityUnknown: .*{ELSEWHERE}.*",
    )
    assert_untouched(state, outside)


@NEEDS_NAMESPACES
def test_from_a_pid_namespace_with_the_proc_of_another(state: State, outside: Outside) -> None:
    answers = answers_in(FOREIGN_PROC, outside.lock_path, str(outside.running.identity))
    left = rf"\[.*'left: unknown: it was {ELSEWHERE}'.*'left: .*cannot be listed.*'\]"
    assert_all(
        answers,
        status=f"unknown: it was {ELSEWHERE}",
        list=rf"\['unknown: it was {ELSEWHERE}'\]",
        sweep=left,
        sweep_dry_run=left,
        liveness=f"Liveness.UNKNOWN: it was {ELSEWHERE}",
        start="Refused: .*nothing was started",
        others=f"IdentityUnknown: .*{ELSEWHERE}.*",
    )
    assert_untouched(state, outside)


@NEEDS_NAMESPACES
@pytest.mark.parametrize("world", [NO_PROC, EMPTY_PROC], ids=["no proc", "an empty proc"])
def test_without_proc(state: State, outside: Outside, world: list[str]) -> None:
    answers = answers_in(world, outside.lock_path, str(outside.running.identity))
    why = r".*/proc cannot be read: No such file or directory"
    left = rf"""\[(["']left: {why}["'](, )?)+\]"""
    assert_all(
        answers,
        status=r"unknown: the system would not tell \(ENOENT.*\)",
        list=r"\['unknown: the system would not tell \(ENOENT.*\)'\]",
        sweep=left,
        sweep_dry_run=left,
        liveness=r"Liveness.UNKNOWN: the system would not tell \(ENOENT.*\)",
        signal=r"IdentityUnknown: .*the system would not tell \(ENOENT.*\)",
        others=f"StateError: {why}",
        lock=f"StateError: {why}",
    )
    assert_untouched(state, outside)


@NEEDS_NAMESPACES
def test_from_another_machine_with_the_same_disk(
    state: State, outside: Outside, tmp_path: Path
) -> None:
    """It has a state of its own: nothing of ours is seen, so nothing of ours is touched."""
    world = with_machine_id(tmp_path)
    answers = answers_in(world, outside.lock_path, str(outside.running.identity))
    assert_all(
        answers,
        status="absent: no server is recorded",
        list=r"\[\]",
        sweep=r"\[\]",
        sweep_dry_run=r"\[\]",
        liveness="Liveness.ALIVE: .*",  # a machine-id is a name; the kernel is the same one
        signal="sent",
        ensure="spawned",
        start="Refused: .*",
        restart="spawned",
        stop="terminated",
    )
    assert_untouched(state, outside)


def works(outside: Outside, world: list[str]) -> None:
    """All goes as it does here; in the end the server is stopped from there."""
    answers = answers_in(world, outside.lock_path, str(outside.running.identity))
    left = r"\['left: held-.* held by process .*'\]"
    assert_all(
        answers,
        status="healthy: .*",
        list=r"\['healthy: .*'\]",
        sweep=left,
        sweep_dry_run=left,
        liveness="Liveness.ALIVE: it is the same process",
        signal="sent",
        ensure="reused",
        start="Refused: .*nothing was started",
        restart="spawned",
        stop="terminated",
    )
    assert not is_alive(outside.running.pid)
    with outside.lock.fenced():
        pass


@NEEDS_TIME_NAMESPACES
def test_from_another_time_namespace(outside: Outside) -> None:
    works(outside, NEW_TIME_NAMESPACE)


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS])
def test_under_a_filter_that_denies_pidfds(outside: Outside, error: int) -> None:
    works(outside, denied(PIDFD_OPEN, error))


LATE = """
from pidproof import ProcessIdentity, identify
theirs = ProcessIdentity.parse(sys.argv[1])
with theirs.open() as handle:
    assert handle.fileno() >= 0
deny(int(sys.argv[2]), int(sys.argv[3]))
with theirs.open() as handle:
    print(theirs.liveness().value, handle.fileno(), identify(theirs.pid) == theirs)
"""


@NEEDS_PIDFD
@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS, errno.EACCES])
def test_under_a_filter_that_denies_pidfds_from_now_on(outside: Outside, error: int) -> None:
    """A program that locks itself up once it has started."""
    token = str(outside.running.identity)
    out = run(python(DENY + LATE, token, str(PIDFD_OPEN), str(error)))
    assert out.split() == ["alive", "-1", "True"]


@NEEDS_PIDFD
def test_under_a_filter_that_denies_signals_through_pidfds(state: State, outside: Outside) -> None:
    """By number would work there, and is not done: it could hit another."""
    world = denied(PIDFD_SEND_SIGNAL, errno.EPERM)
    answers = answers_in(world, outside.lock_path, str(outside.running.identity))
    for name in ("signal", "restart", "stop"):
        assert re.match(r"Refused: process \d+ may not be signalled", answers[name])
    assert (answers["ensure"], answers["status"][:7]) == ("reused", "healthy")
    assert_untouched(state, outside)


@pytest.fixture
def of_nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for a state directory that another user can get to."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        monkeypatch.setenv("PIDPROOF_STATE_DIR", f"{name}/state")
        yield Path(name) / "state"


@NEEDS_NOBODY
@NEEDS_NAMESPACES
@pytest.mark.parametrize(
    ("world", "without", "seen"),
    [
        (AS_NOBODY, "", True),
        (AS_NOBODY, "pidfd", True),
        (HIDEPID, "", True),
        (HIDEPID, "pidfs", False),
        (HIDEPID, "pidfd", False),
    ],
    ids=["plain", "plain-without-pidfd", "hidepid", "hidepid-without-pidfs", "hidepid-4.18"],
)
def test_as_a_user_who_may_not_signal_the_server(
    of_nobody: Path, monkeypatch: pytest.MonkeyPatch, world: list[str], without: str, seen: bool
) -> None:
    """His own state, and in it the record of a process of root's: as after a setuid program."""
    running = sleeper("web").ensure()
    try:
        directory = KeyDirectory.open("held", create=True)
        assert directory is not None
        with directory, SpawnLock(directory.fd, purpose="hold-it-outside"):
            for path in [of_nobody, *of_nobody.rglob("*")]:
                os.chown(path, NOBODY, NOBODY)
            (record,) = of_nobody.glob("*/web-*/record.json")
            before = record.read_bytes()
            monkeypatch.setenv("PIDPROOF_WITHOUT", without)
            answers = answers_in(world, directory.path, str(running.identity))
            if seen:
                assert (answers["ensure"], answers["status"][:7]) == ("reused", "healthy")
                refused = r"Refused: process \d+ may not be signalled by uid 65534"
                names = ["signal", "stop", "restart"]
            else:
                assert answers["status"].startswith("unknown: the system would not tell (EACCES")
                refused = "IdentityUnknown: .*EACCES.*"
                names = ["signal", "stop", "restart", "ensure"]
            for name in names:
                assert re.match(refused, answers[name]), answers
            assert answers["start"].startswith("Refused: ")
            assert re.match(r"LockTimeout: .* to hold-it-outside", answers["lock"])
            assert record.read_bytes() == before
            assert running.identity.liveness() is Liveness.ALIVE
    finally:
        for path in [of_nobody, *of_nobody.rglob("*")]:
            os.chown(path, 0, 0)
        kill(running.pid)


ADOPT = """
    import json, sys
    from pathlib import Path
    from pidproof import Http, Server

    command, answer = json.loads(sys.argv[1]), Path(sys.argv[2])

    def hear(text):
        if text.startswith("waiting for web: GET"):
            answer.write_text("200")

    server = Server("web", command, probe=Http("/"), timeout=20, startup_timeout=30, on_event=hear)
    running = server.ensure()
    print(running.action, running.pid)
"""


@NEEDS_TIME_NAMESPACES
def test_a_server_that_comes_up_has_its_time_in_every_time_namespace(
    state: State, small: Small, spawn: Spawn
) -> None:
    """Its launcher died; how long it has been coming up must not be read off the shifted clock."""
    small.answers(503)
    command = json.dumps(small.command())
    launcher = spawn(python(ADOPT, command, "/dev/null"))
    wait_until((small.directory / "request").exists)
    launcher.kill()
    launcher.wait()
    (pid,) = state.servers()
    answer = str(small.directory / "answer")
    out = run([*NEW_TIME_NAMESPACE, *python(ADOPT, command, answer)])
    assert out.split() == ["adopted", str(pid)]
