# SPDX-License-Identifier: MIT
"""A launcher killed at any moment of a start leaves nothing that the next one trips over."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from helpers import wait_until
from outside import stat
from system.launching import NODE_SERVER, needs, python_server, status_of
from system.rounds import Rounds, kill_at


if TYPE_CHECKING:
    from pathlib import Path

    from system.launching import Pidproof
    from system.observer import Observer


@pytest.fixture
def seed() -> int:
    """A new one each time; to see a failure again, put the one that was printed here."""
    return random.SystemRandom().randrange(10**6)


def test_a_launcher_killed_while_it_starts_a_server_leaves_no_second_one(
    tmp_path: Path, pidproof: Pidproof, observer: Observer, seed: int
) -> None:
    Rounds(pidproof, observer, python_server(tmp_path / "empty")).run(8, seed)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_fifty_launchers_killed_while_they_start_python_leave_no_second_server(
    tmp_path: Path, pidproof: Pidproof, observer: Observer, seed: int
) -> None:
    Rounds(pidproof, observer, python_server(tmp_path / "empty")).run(50, seed)


@needs("node")
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_twenty_launchers_killed_while_they_start_node_leave_no_second_server(
    pidproof: Pidproof, observer: Observer, seed: int
) -> None:
    node = ["--http", "/", "--port", "auto", "--", *NODE_SERVER]
    Rounds(pidproof, observer, node).run(20, seed)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_launchers_that_die_in_a_crowd_leave_one_server(
    tmp_path: Path, pidproof: Pidproof, observer: Observer, seed: int
) -> None:
    """Of ten at once nine are killed, one after the other, wherever they are."""
    chance = random.Random(seed)
    print(f"seed {seed}")
    ensure = ["ensure", "web", *python_server(tmp_path / "empty")]
    for _ in range(8):
        with observer.watching():
            survivor, *others = [pidproof.start(*ensure) for _ in range(10)]
            for moment, launcher in zip(
                sorted(chance.uniform(0.1, 1.0) for _ in others), others, strict=True
            ):
                kill_at(launcher._replace(began=survivor.began), moment)
            done = survivor.finish()
        assert done.status == 0, done
        assert status_of(done.url) == 200
        observer.one()
        assert pidproof("stop", "web").status == 0
        assert not observer.servers()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_launcher_that_was_stopped_past_its_deadline_changes_nothing_when_it_goes_on(
    tmp_path: Path, pidproof: Pidproof, observer: Observer
) -> None:
    """SIGSTOP: it lives and holds the lock; the deadline that it wrote lets the next one in."""
    never = [sys.executable, "-c", "import signal; signal.pause()"]
    brief = ["--timeout", "1", "--startup-timeout", "1", "--grace", "0"]
    stopped = pidproof.start("ensure", "web", *brief, "--http", "/", "--port", "auto", "--", *never)
    directory = os.open(observer.wait_for_server().record.parent, os.O_RDONLY)
    # Who has the guard of that directory is not stopped inside it, where all would wait for him.
    fcntl.flock(directory, fcntl.LOCK_EX)
    stopped.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: (line := stat(stopped.process.pid)) is not None and line.state == "T")
    os.close(directory)
    with observer.watching():
        patience = ["--startup-timeout", "10"]
        done = pidproof("ensure", "web", "--json", *patience, *python_server(tmp_path / "empty"))
        assert done.status == 0, done
        assert done.data["action"] == "replaced"
        stopped.process.send_signal(signal.SIGCONT)
        late = stopped.finish()
    print(f"the next one was let in after {done.seconds:.1f} s; the first one says: {late.words}")
    assert late.status == 75
    assert observer.one().pid == done.data["pid"]
    assert pidproof("status", "web", "--json").data["state"] == "healthy"
