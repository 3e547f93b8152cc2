# SPDX-License-Identifier: MIT
"""Every path that we open or make, with everything that an enemy could put there, in every act."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from helpers import DEADLINE
from hostile.objects import KINDS, Place, Victim, can_make
from pidproof import Error, StateError, sweep
from pidproof.cli import main
from pidproof.lock.spawn_lock import SpawnLock
from pidproof.server.log import HISTORY_LIMIT, LOG_LIMIT
from pidproof.server.paths import host_directory
from pidproof.server.status import list_all, status
from servers import is_alive, sleeper


if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers import Spawn
    from servers import State

# An act takes a few milliseconds here, and some for the end and the start of a server; a wait for
# what was put there has no end.
SOON = 5.0
DIRECTORIES = ["state", "host", "key"]
FILES = [
    "record.json",
    "record.json.new",
    "lock",
    "turn",
    "server.log",
    "server.log.1",
    "server.log.3",
    "history.jsonl",
    "history.jsonl.1",
]
# Acts that cannot do without a path, so that they have to refuse.  What they do without, or what is
# replaced without being opened, costs them nothing.
NEED: dict[str, set[str]] = {
    "record.json": {"status", "stop", "ensure", "restart"},
    "lock": {"lock", "stop", "restart"},
    "turn": {"wait"},
    "server.log": {"logs", "ensure"},
    "history.jsonl": {"history"},
    "state": {"list", "sweep", "status", "stop", "ensure", "logs", "history"},
    "host": {"list", "sweep", "status", "stop", "ensure", "logs", "history"},
    "key": {"status", "stop", "ensure", "logs", "history"},  # the others tell of it, and go on
}
# A lock file of ours that others may write: they cannot reach it, for the directory is checked; and
# whatever it says, nobody passes the fence by it.
HARMLESS = {(name, kind) for name in ("lock", "turn") for kind in KINDS if "writable" in kind}
# An empty directory of ours in the place of one is a state that was deleted.
NO_ATTACK = {(name, kind) for name in DIRECTORIES for kind in ("directory", "full directory")}
# One of each way in; the rest of the matrix takes a minute.
QUICK = {"link to a file", "hard link", "FIFO", "of another user"}
MATRIX = [
    pytest.param(name, kind, marks=() if kind in QUICK else pytest.mark.faults)
    for name in [*FILES, *DIRECTORIES]
    for kind in KINDS
    if (name, kind) not in NO_ATTACK
]


class Told(Exception):
    """A command failed, and said why."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(f"{code}: {words}")
        self.code, self.words = code, words


class Scene:
    """A running server, a bystander, and what is done to the key meanwhile."""

    def __init__(self, state: State, spawn: Spawn, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd
        self.bystander = spawn.sleeper()
        self.server = sleeper("web", timeout=2.0)
        self.running = self.server.ensure()
        self.root = state.root
        self.directory = state.directory("web")
        self.said: list[str] = []
        self.acts: dict[str, Callable[[], Any]] = {
            "status": lambda: status("web"),
            "list": list_all,
            "dry sweep": lambda: sweep(dry_run=True),
            "logs": lambda: self._command("logs", "web"),
            "history": lambda: self._command("history", "web"),
            "lock": self._lock,
            "wait": self._wait,
            "sweep": sweep,
            "stop": self.server.stop,
            "ensure": self.server.ensure,
            "restart": self.server.restart,
        }

    def path_of(self, name: str) -> Path:
        """Return the path that a name of the matrix stands for."""
        places = {"state": self.root, "host": Path(host_directory()), "key": self.directory}
        return places.get(name, self.directory / name)

    def outgrow(self) -> None:
        """Let log and history be so long that the next who writes renames them."""
        for name, limit in (("server.log", LOG_LIMIT), ("history.jsonl", HISTORY_LIMIT)):
            os.truncate(self.directory / name, limit)

    def _command(self, *words: str) -> None:
        self._capfd.readouterr()
        code = main([*words])
        out, err = self._capfd.readouterr()
        self.said += [out, err]
        if code:
            raise Told(code, err)

    def _lock(self) -> None:
        with SpawnLock(self.directory, timeout=0.1) as lock, lock.fenced():
            pass

    def _wait(self) -> None:
        """Stand in line for a lock that is held."""
        with SpawnLock(self.directory, timeout=0.1), contextlib.suppress(TimeoutError):
            SpawnLock(self.directory, timeout=0.02).acquire()

    def do(self, act: str) -> Exception | None:
        """Do one act; return its error, if it had one, which must be ours and say enough."""
        began, error = time.monotonic(), None
        try:
            self.said.append(repr(self.acts[act]()))
        except (Error, Told) as caught:
            self._check_words(caught)
            self.said.append(repr(caught))
            error = caught
        assert time.monotonic() - began < SOON, act
        assert is_alive(self.bystander.pid), act
        return error

    def _check_words(self, error: Error | Told) -> None:
        """Path, reason and remedy."""
        if isinstance(error, Told):
            assert error.code in {3, 74, 77}, error
            assert "pidproof: " in error.words
            assert "try: " in error.words, error
            return
        assert error.remedy, repr(error)
        if isinstance(error, StateError):
            assert str(error.path).startswith(str(self.root)), repr(error)
            assert str(error.path) in str(error)

    def check_private(self) -> None:
        """What was written is for us alone, and the secret is in the record alone."""
        for path in [self.root, *self.root.rglob("*")]:
            info = path.lstat()
            assert not info.st_mode & 0o077 or path.name[-1].isdigit(), path  # rotated as it was
            if stat.S_ISREG(info.st_mode) and "record.json" not in path.name:
                assert self.running.token.encode() not in path.read_bytes(), path
        assert not [words for words in self.said if self.running.token in words]


@pytest.fixture
def scene(state: State, spawn: Spawn, capfd: pytest.CaptureFixture[str]) -> Scene:
    return Scene(state, spawn, capfd)


@pytest.mark.parametrize(("name", "kind"), MATRIX)
def test_whatever_stands_there_is_neither_followed_nor_waited_for(
    scene: Scene, state: State, victim: Victim, name: str, kind: str
) -> None:
    if not can_make(kind, victim):
        pytest.skip("needs root, and a filesystem with devices")
    if name[-1].isdigit():
        scene.outgrow()
    place = Place(scene.path_of(name))
    place.spoil(kind, victim)
    errors = {}
    for act in scene.acts:
        errors[act] = scene.do(act)
        victim.check()
        if act == "sweep":  # so far nobody had asked for its end
            assert is_alive(scene.running.pid)
    if (name, kind) not in HARMLESS:
        assert {act for act, error in errors.items() if error} >= NEED.get(name, set())
    place.repair()
    victim.check()

    running = scene.server.ensure()
    assert state.servers() == [running.pid]
    scene.check_private()
    assert scene.server.stop().pid == running.pid
    assert not state.running()
    assert is_alive(scene.bystander.pid)


@pytest.mark.parametrize("kind", KINDS)
def test_a_log_that_is_not_ours_is_not_followed_to_its_end(
    state: State, victim: Victim, kind: str
) -> None:
    """`logs --follow` hands the path to a program that would read whatever stands there."""
    if not can_make(kind, victim):
        pytest.skip("needs root, and a filesystem with devices")
    sleeper("web").ensure()
    place = Place(state.directory("web") / "server.log")
    place.spoil(kind, victim)
    done = subprocess.run(
        [sys.executable, "-m", "pidproof", "logs", "web", "--follow"],
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode in {74, 77}
    assert done.stdout == b""
    assert b"server.log" in done.stderr
    place.repair()


@pytest.mark.parametrize("kind", KINDS)
def test_a_lock_that_is_spoilt_while_it_is_held_is_given_up_in_time(
    state: State, victim: Victim, kind: str
) -> None:
    """Whoever holds it may act no more, and what stands there now stays as it is."""
    if not can_make(kind, victim):
        pytest.skip("needs root, and a filesystem with devices")
    sleeper("web").ensure()
    directory = state.directory("web")
    lock = SpawnLock(directory, timeout=0)
    lock.acquire()
    place = Place(directory / "lock")
    place.spoil(kind, victim)
    before = os.lstat(directory / "lock")
    began = time.monotonic()
    with contextlib.suppress(Error), lock.fenced():
        assert ("lock", kind) in HARMLESS, "it passed the fence"
    lock.release()
    assert time.monotonic() - began < SOON
    if ("lock", kind) not in HARMLESS:
        after = os.lstat(directory / "lock")
        assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    victim.check()
    place.repair()
    assert sleeper("web").stop().action == "terminated"
