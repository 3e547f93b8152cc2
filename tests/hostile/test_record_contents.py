# SPDX-License-Identifier: MIT
"""A record of which any byte or value is wrong, with a live server and a bystander beside it."""

from __future__ import annotations

import itertools
import json
import os
import resource
import time
from typing import TYPE_CHECKING, Any

import pytest

from hostile.mutations import FLIPS, VALUES, duplicated, flipped, wholly_wrong, with_value
from pidproof import Error, Server, Status, sweep
from pidproof.server.record import DEPTH_LIMIT
from pidproof.server.status import list_all, status
from pidproof.server.stop import stop
from servers import Small, is_alive, kill, sleeper, token_of


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers import Spawn
    from servers import State

GIBIBYTE = 1 << 30


class Scene:
    """A server, a bystander, and the record, which is spoilt and put back again and again."""

    def __init__(self, state: State, spawn: Spawn, server: Server) -> None:
        self.state = state
        self.bystander = spawn.sleeper()
        self.server = server
        self.pid = 0
        self.raw = b""
        self.points = 0
        self.restart()

    def restart(self) -> None:
        """Let the server run with a whole record."""
        for line in self.state.running():
            kill(line.pid)
        self.state.write("web", b"")
        self.pid = self.server.ensure().pid
        self.raw = self.state.record_path("web").read_bytes()

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.raw)
        return data

    def look(self, content: bytes, *, around: bool = False) -> str:
        """Ask what a record with this content says; nothing may come of it."""
        self.points += 1
        path = self.state.record_path("web")
        path.write_bytes(content)
        try:
            found = status("web", timeout=0.2)
            assert isinstance(found, Status)
            found.as_dict()
            said = str(found.state)
        except Error as error:
            said = type(error).__name__ if error.remedy else f"{error!r} without a remedy"
        assert " " not in said
        if around:
            list_all(timeout=0.2)
            sweep(dry_run=True)
        assert path.read_bytes() == content
        return said

    def act(self, content: bytes, act: Callable[[], object]) -> str:
        """Do something with such a record.  Of all processes it may end the very server alone."""
        self.points += 1
        self.state.record_path("web").write_bytes(content)
        try:
            act()
            said = "done"
        except Error as error:
            said = type(error).__name__
        assert is_alive(self.bystander.pid), content
        servers = set(self.state.servers())
        if self.pid not in servers or servers != {self.pid}:
            self.restart()
        else:
            self.state.write("web", self.raw)
        return said

    def finish(self) -> None:
        """With the whole record all is as before."""
        self.state.write("web", self.raw)
        assert self.server.ensure().pid == self.pid
        assert self.server.stop().pid == self.pid
        assert not self.state.running()
        assert is_alive(self.bystander.pid)


OPTIONS: dict[str, Any] = {"idle_timeout": 3.0, "env": {"A": "b"}, "version": "1.2"}


@pytest.fixture
def scene(state: State, spawn: Spawn, tmp_path: Path) -> Scene:
    """One with a port and a probe, to be looked at."""
    return Scene(state, spawn, Small(tmp_path / "small").server(**OPTIONS))


@pytest.fixture
def plain(state: State, spawn: Spawn) -> Scene:
    """One that starts at once, for it is ended and started again and again."""
    return Scene(state, spawn, sleeper("web", **OPTIONS))


# --------------------------------------------------------------------------------------- looking


@pytest.mark.parametrize("flip", [pytest.param(flip, marks=pytest.mark.faults) for flip in FLIPS])
def test_a_record_with_any_byte_changed_is_told_of(scene: Scene, flip: str) -> None:
    for at, content in flipped(scene.raw, flip):
        scene.look(content, around=at % 64 == 0)
    assert scene.points > 1000
    scene.finish()


def test_a_record_with_some_bytes_changed_is_told_of(scene: Scene) -> None:
    """A part of the above, each byte in one of the ways."""
    ways = list(FLIPS.values())
    for at in range(0, len(scene.raw), 3):
        content = bytearray(scene.raw)
        content[at] = ways[at % len(ways)](content[at])
        scene.look(bytes(content), around=at % 96 == 0)
    scene.finish()


def test_a_record_cut_anywhere_is_unknown(scene: Scene) -> None:
    for length in range(len(scene.raw) - 1):
        assert scene.look(scene.raw[:length], around=length % 128 == 0) == "unknown"
    scene.finish()


def test_a_record_that_is_wholly_wrong_is_told_of(scene: Scene) -> None:
    for content in wholly_wrong(scene.raw).values():
        scene.look(content, around=True)
    scene.finish()


def fields_of(record: dict[str, Any]) -> list[tuple[str, ...]]:
    """List the fields of a record, and those of the objects in it."""
    found: list[tuple[str, ...]] = []
    for name, value in record.items():
        found.append((name,))
        if isinstance(value, dict):
            found += [(name, inner) for inner in value]
    return [*found, ("beside",), ("replaced",), ("pattern",), ("unheard of",)]


def test_a_record_nested_deeper_than_any_of_ours_is_none(scene: Scene) -> None:
    """What is read is written again, and that takes more of the stack."""
    for depth, said in ((DEPTH_LIMIT - 2, "healthy"), (DEPTH_LIMIT, "unknown"), (500, "unknown")):
        value = "[" * depth + "]" * depth
        assert scene.look(with_value(scene.data, ("unheard of",), value)) == said
    scene.finish()


def test_what_a_dead_writer_left_half_done_is_no_part_of_the_next_record(scene: Scene) -> None:
    left = scene.state.record_path("web").with_name("record.json.new")
    left.write_bytes(b"x" * 60_000)
    left.chmod(0o600)
    assert scene.server.stop().action == "terminated"
    assert scene.server.ensure().action == "spawned"
    assert scene.look(scene.state.record_path("web").read_bytes()) == "healthy"
    scene.restart()
    scene.finish()


@pytest.mark.parametrize("nonce", ["", "\ud800", "ab" * 15, "AB" * 16, "ab" * 17, "é" * 32])
def test_a_nonce_that_is_none_of_ours_makes_no_record(scene: Scene, nonce: str) -> None:
    """An empty one would be that of every process whose variable of that name is empty."""
    assert scene.look(json.dumps({**scene.data, "nonce": nonce}).encode()) == "unknown"
    scene.finish()


STATES = ["running", "starting", "ending", "failed", "stopped", "unheard of"]


@pytest.mark.parametrize(
    "state_name",
    [pytest.param(name, marks=() if name == "starting" else pytest.mark.faults) for name in STATES],
)
def test_a_record_with_any_value_in_any_field_is_told_of(scene: Scene, state_name: str) -> None:
    record = {**scene.data, "state": state_name}
    for field in fields_of(record):
        for number, value in enumerate(VALUES.values()):
            scene.look(with_value(record, field, value), around=number % 8 == 0)
        scene.look(duplicated(record, field[0], '"x"'))
    scene.finish()


def test_a_record_of_a_gibibyte_costs_neither_time_nor_memory(scene: Scene) -> None:
    path = scene.state.record_path("web")
    os.truncate(path, GIBIBYTE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    assert status("web").state == "unknown"
    assert [found.state for found in list_all()] == ["unknown"]
    for act in (scene.server.stop, scene.server.ensure):
        with pytest.raises(Error, match="longer than"):
            act()
    assert time.monotonic() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB
    assert path.stat().st_size == GIBIBYTE
    scene.finish()


@pytest.mark.parametrize("name", ["server.log", "history.jsonl"])
def test_a_log_or_history_of_a_gibibyte_neither(scene: Scene, name: str) -> None:
    from pidproof.server.directory import KeyDirectory
    from pidproof.server.log import read_history

    directory = KeyDirectory.open("web")
    assert directory is not None
    os.truncate(f"{directory.path}/{name}", GIBIBYTE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    with directory:
        scene.server.logs()
        read_history(directory)
    assert time.monotonic() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB
    scene.finish()


# ---------------------------------------------------------------------------------------- acting


# Each of these acts starts and ends processes.  In `faults` a part of them, and not a part that
# VALUES is a multiple of.
STEPS = [
    pytest.param(8, marks=pytest.mark.faults),
    pytest.param(1, marks=pytest.mark.thorough),
]


def acts_of(plain: Scene) -> dict[str, Callable[[], object]]:
    return {
        "stop": lambda: stop("web", grace=2.0, timeout=1.0),
        "ensure": plain.server.ensure,
        "sweep": sweep,
    }


@pytest.mark.timeout(600)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("act", ["stop", "ensure", "sweep"])
@pytest.mark.parametrize("flip", ["lowest bit"])
def test_no_changed_byte_ends_anything_but_the_very_server(
    plain: Scene, flip: str, act: str, step: int
) -> None:
    for _, content in list(flipped(plain.raw, flip))[::step]:
        plain.act(content, acts_of(plain)[act])
    plain.finish()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("act", ["stop", "ensure", "sweep"])
@pytest.mark.parametrize("state_name", ["running", "starting"])
def test_no_value_in_any_field_ends_anything_but_the_very_server(
    plain: Scene, state_name: str, act: str, step: int
) -> None:
    cases = list(itertools.product(fields_of(plain.data), VALUES.values()))
    for field, value in cases[::step]:
        content = with_value({**plain.data, "state": state_name}, field, value)
        plain.act(content, acts_of(plain)[act])
    plain.finish()


# ------------------------------------------------------------------------------------- bystander


def test_a_pid_that_became_a_bystanders_ends_nobody(plain: Scene, kernel: str) -> None:
    """Whatever else of the identity stays that of the server, or is left open."""
    pid = plain.bystander.pid
    names = ("pid", "start", "boot", "pidns", "unique")
    server = dict(zip(names, plain.data["identity"].split(":")[2:], strict=True))

    def of_server(**changes: int) -> str:
        return ":".join(("pidproof", "1", *map(str, {**server, "pid": pid, **changes}.values())))

    forged = [
        of_server(),
        of_server(unique=0),
        of_server(unique=0, start=0),
        token_of(pid, unique=server["unique"], start=server["start"]),
        token_of(pid, boot="0" * 8 + "-0000-0000-0000-" + "0" * 12),
        token_of(pid, pidns=1),
    ]
    for token in forged:
        for state_name in ("running", "starting"):
            record = {**plain.data, "identity": token, "state": state_name}
            record["listener"] = {"pid": pid, "fd": 0, "inode": 1}
            for act in acts_of(plain).values():
                plain.act(json.dumps(record).encode(), act)
    plain.finish()


@pytest.mark.parametrize("who", [1, os.getpid(), os.getppid()], ids=["first", "we", "parent"])
def test_neither_the_first_process_nor_we_nor_our_parent_can_be_the_server(
    plain: Scene, who: int
) -> None:
    record = {**plain.data, "identity": token_of(who)}
    for state_name in ("running", "starting"):
        content = json.dumps({**record, "state": state_name}).encode()
        plain.act(content, acts_of(plain)["stop"])
    plain.finish()
