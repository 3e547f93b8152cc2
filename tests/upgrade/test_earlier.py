# SPDX-License-Identifier: MIT
"""Files that earlier versions wrote are read by this one; write.py has written them down."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import pidproof
from pidproof import LockTimeout, Server, SpawnLock, list_all, sweep
from pidproof.server import record as records
from servers import QUICK


if TYPE_CHECKING:
    from servers import Small, State

HERE = Path(__file__).parent
VERSIONS = sorted(path.name for path in HERE.iterdir() if (path / "lock").exists())
RECORDS = [path for version in VERSIONS for path in sorted((HERE / version).glob("*.json"))]
STATES = {"ending", "failed", "manual", "running", "starting"}
# What names one process, and so has to be of one that runs here.
OF_A_PROCESS = ("identity", "nonce", "port", "url", "token", "listener", "probe_env", "command")


def data_of(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text())
    return data


def every_record() -> pytest.MarkDecorator:
    names = [f"{path.parent.name}-{path.stem}" for path in RECORDS]
    return pytest.mark.parametrize("path", RECORDS, ids=names)


def test_this_version_has_written_down_its_files() -> None:
    assert pidproof.__version__ in VERSIONS, "python tests/upgrade/write.py, and commit"
    for version in VERSIONS:
        assert {path.stem for path in (HERE / version).glob("*.json")} >= STATES
    assert max(data_of(path)["schema"] for path in RECORDS) == records.SCHEMA


@every_record()
def test_a_record_of_a_server_that_is_gone_is_read_by_every_act(state: State, path: Path) -> None:
    data = data_of(path)
    key = data["key"]
    server = Server(key, ["sleep", "1000"], **QUICK)
    state.write(key, path.read_bytes())
    expected = "failed" if data["state"] == "failed" else "gone"
    assert server.status().state == expected
    assert [one.state for one in list_all()] == [expected]
    assert state.record_path(key).read_bytes() == path.read_bytes(), "looking changes nothing"
    assert all(one.action != "left" for one in sweep(dry_run=True))
    running = server.ensure()
    assert running.action == "spawned"
    assert state.servers() == [running.pid]
    assert state.record(key)["generation"] == data["generation"] + 1
    assert server.stop().action == "terminated"


@every_record()
def test_it_can_be_stopped_and_swept(state: State, path: Path) -> None:
    data = data_of(path)
    key, expected = data["key"], "absent" if data["state"] == "failed" else "gone"
    state.write(key, path.read_bytes())
    assert Server(key, ["sleep", "1000"]).stop().action == expected
    state.write(key, path.read_bytes())
    sweep()
    assert not state.running()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_that_an_earlier_version_recorded_is_reused_and_stopped(
    state: State, small: Small, version: str
) -> None:
    """Its record, of a process of today: all else is as that version wrote it."""
    server = small.server(version="1.0")
    running = server.ensure()
    now = state.record("web")
    then = data_of(HERE / version / "running.json")
    mixed = {**then, **{name: now[name] for name in OF_A_PROCESS if name in then}}
    assert set(mixed) == set(then)
    state.write("web", json.dumps(mixed).encode())
    assert server.status().state == "healthy"
    again = server.ensure()
    assert (again.action, again.pid) == ("reused", running.pid)
    assert server.stop().action == "terminated"
    assert not state.running()


@pytest.mark.parametrize("version", VERSIONS)
def test_one_that_was_started_by_hand_then_is_not_ended_now(
    state: State, small: Small, version: str
) -> None:
    running = small.server(version="1.0").ensure()
    now = state.record("web")
    then = data_of(HERE / version / "manual.json")
    mixed = {**then, **{name: now[name] for name in OF_A_PROCESS if name in then}}
    state.write("web", json.dumps({**mixed, "version": "1.0"}).encode())
    with pytest.raises(pidproof.Refused, match="was started by hand"):
        small.server(version="2.0", on_mismatch="replace").ensure()
    assert state.servers() == [running.pid]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_history_goes_on(state: State, version: str) -> None:
    state.write("web", (HERE / version / "running.json").read_bytes())
    path = state.directory("web") / "history.jsonl"
    path.write_bytes((HERE / version / "history.jsonl").read_bytes())
    path.chmod(0o600)
    before = state.history("web")
    assert before
    server = Server("web", ["sleep", "1000"], **QUICK)
    server.ensure()
    assert state.history("web") == [*before, "started"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_lock_of_a_holder_that_is_gone_is_taken_over(tmp_path: Path, version: str) -> None:
    path = tmp_path / "lock"
    path.write_bytes((HERE / version / "lock").read_bytes())
    with SpawnLock(tmp_path, timeout=0) as lock:
        assert lock.found == "dead"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_lock_that_is_held_is_read_and_respected(tmp_path: Path, version: str) -> None:
    """The line of that version, of a holder of today."""
    path = tmp_path / "lock"
    words = (HERE / version / "lock").read_text().split()
    with SpawnLock(tmp_path, timeout=0, purpose="start"):
        now = path.read_text().split()
        assert len(words) == len(now)
        path.write_text(" ".join([*words[:2], *now[2:6], words[6]]) + "\n")
        with path.open() as held:
            assert held.read().startswith("pidproof-lock 1 ")
            with pytest.raises(LockTimeout, match="to start") as caught:
                SpawnLock(tmp_path, timeout=0).acquire()
        assert caught.value.__dict__["holder"].purpose == "start"


def test_the_flock_alone_holds_a_lock_of_any_version(tmp_path: Path) -> None:
    """The rule that every later version keeps, for this one cannot read its line."""
    path = tmp_path / "lock"
    for version in (2, 99):
        line = f"pidproof-lock {version} what later versions write\n".encode()
        path.write_bytes(line)
        with path.open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(LockTimeout, match="does not tell"):
                SpawnLock(tmp_path, timeout=0.05).acquire()
            assert path.read_bytes() == line
