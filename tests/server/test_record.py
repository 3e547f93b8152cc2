# SPDX-License-Identifier: MIT
"""The record: what is not one is none, what is another's is never touched."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import NEEDS_FEWER_RIGHTS, python, run, without_capabilities
from pidproof import Error, InvalidArgument, LockLost, RecordError, Server, Status, sweep
from pidproof.server import record as records
from pidproof.server.directory import KeyDirectory
from pidproof.server.record import BrokenRecord, Record
from pidproof.server.status import list_all, status
from servers import QUICK, SLEEPER, is_alive, kill, sleeper, token_of


if TYPE_CHECKING:
    from servers import Small, State

BROKEN = {
    "empty": b"",
    "a line end": b"\n",
    "text": b"hello",
    "not an object": b"[1, 2]",
    "null": b"null",
    "no schema": b'{"key": "sleeper"}',
    "schema of another type": b'{"schema": "1", "key": "sleeper"}',
    "zeros": b"\0" * 600,
    "not UTF-8": b'{"schema": 1, "key": "\xff\xfe"}',
    "deep": b"[" * 50_000,
    "a long number": b'{"schema": ' + b"9" * 5000 + b"}",
    "oversized": b'{"schema": 1, "filler": "' + b"x" * 70_000 + b'"}',
}


def good() -> dict[str, Any]:
    """Return a record as it is written for a process that is gone."""
    return {
        "schema": 1,
        "key": "sleeper",
        "nonce": "ab" * 16,
        "generation": 3,
        "state": "running",
        "managed": "auto",
        "command": ["sleep", "1000"],
        "cwd": "/",
        "env": {},
        "version": "1.0",
        "identity": "pidproof:1:4194303:12345:00000000-0000-0000-0000-000000000000:1:99",
        "port": 4000,
        "url": "http://127.0.0.1:4000",
        "token": "cd" * 32,
        "probe": {"kind": "http", "path": "/", "status": None, "headers": {}},
        "probe_env": {"PORT": "4000"},
        "pattern": None,
        "listener": {"pid": 4194303, "fd": 3, "inode": 7},
        "program": ["/bin/sleep"],
        "log": "/tmp/log",
        "log_offset": 0,
        "started": 12.5,
        "started_at": "2024-01-01T00:00:00+0000",
        "options": {"command": ["sleep", "1000"], "port": "auto", "port_env": "PORT"},
    }


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_record_is_none_if_nobody_runs_under_it(state: State, raw: bytes) -> None:
    state.write("sleeper", raw)
    assert status("sleeper").state == "unknown"
    running = sleeper().ensure()
    assert running.action == "spawned"
    assert state.servers() == [running.pid]


def test_a_broken_record_with_a_living_server_is_an_error_that_names_it(state: State) -> None:
    running = sleeper().ensure()
    whole = state.record_path("sleeper").read_bytes()
    state.write("sleeper", whole[:100])
    with pytest.raises(RecordError, match=rf"process {running.pid} was started under it") as caught:
        sleeper().ensure()
    assert f"pidproof kill {running.identity}" in str(caught.value.remedy)
    with pytest.raises(RecordError):
        sleeper().stop()
    assert state.servers() == [running.pid]
    assert state.record_path("sleeper").read_bytes() == whole[:100]
    state.write("sleeper", whole)


def test_after_the_death_of_that_server_it_is_none(state: State) -> None:
    running = sleeper().ensure()
    state.write("sleeper", state.record_path("sleeper").read_bytes()[:-30])
    kill(running.pid)
    assert sleeper().ensure().action == "spawned"


def test_a_record_of_a_later_version_is_never_touched(state: State) -> None:
    raw = json.dumps({"schema": 2, "key": "sleeper", "what": "ever"}).encode()
    state.write("sleeper", raw)
    for act in (sleeper().ensure, sleeper().stop, sleeper().start, sleeper().status):
        with pytest.raises(RecordError, match=r"later version .* was not touched"):
            act()
        assert state.record_path("sleeper").read_bytes() == raw
    assert [(found.state, "later version" in found.detail) for found in list_all()] == [
        ("unknown", True)
    ]
    assert [(done.action, "later version" in done.reason) for done in sweep()] == [("left", True)]
    assert state.record_path("sleeper").read_bytes() == raw
    assert not state.running()


def test_a_record_of_another_key_is_never_touched(state: State) -> None:
    raw = json.dumps({**good(), "key": "other"}).encode()
    state.write("sleeper", raw)
    for act in (sleeper().ensure, sleeper().stop, sleeper().start, sleeper().status):
        with pytest.raises(RecordError, match="belongs to the key 'other'"):
            act()
        assert state.record_path("sleeper").read_bytes() == raw
    assert not state.running()


def test_fields_of_a_later_version_are_kept(state: State) -> None:
    running = sleeper().ensure()
    state.edit("sleeper", colour="blue", nested={"a": [1, None]})
    kill(running.pid)
    sleeper().ensure()
    record = state.record("sleeper")
    assert record["colour"] == "blue"
    assert record["nested"] == {"a": [1, None]}


def test_what_is_written_is_what_is_read(state: State) -> None:
    with KeyDirectory.open("k", create=True) or pytest.fail("no directory") as directory:
        assert records.read(directory, "k") is None
        record = Record({**good(), "key": "k", "schema": 1})
        records.write(directory, record)
        again = records.read(directory, "k")
        assert again is not None
        assert again.data == record.data
        assert again.is_same_start(record)
        assert not again.is_same_start(None)
    mode = state.record_path("k").stat().st_mode
    assert mode & 0o777 == 0o600


def test_a_record_torn_at_any_byte_is_broken_or_whole(state: State) -> None:
    raw = json.dumps(good(), indent=1).encode()
    for end in range(len(raw) - 1):
        with pytest.raises(BrokenRecord):
            records._parse(raw[:end], "sleeper", "path")
    assert records._parse(raw, "sleeper", "path").nonce == "ab" * 16


def parse(raw: bytes) -> Record | None:
    """Parse; the only errors that may come are the two that the callers know."""
    try:
        return records._parse(raw, "sleeper", "path")
    except (BrokenRecord, RecordError):
        return None


@given(st.binary(max_size=300))
def test_any_bytes_are_a_record_or_a_known_error(raw: bytes) -> None:
    parse(raw)


@given(st.integers(0, len(json.dumps(good())) - 1), st.integers(0, 255))
def test_a_record_with_a_flipped_byte_is_a_record_or_a_known_error(at: int, byte: int) -> None:
    raw = bytearray(json.dumps(good()).encode())
    raw[at] = byte
    parse(bytes(raw))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["running", "starting", "failed", "stopped", "manual", "auto", "sleeper"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(good())), JSON, min_size=1, max_size=3))
def test_any_value_of_any_field_is_a_record_or_a_known_error(changes: dict[str, Any]) -> None:
    parse(json.dumps({**good(), **changes}).encode())


UNUSABLE: list[tuple[str, Any]] = [
    ("listener", "x"),
    ("listener", {"pid": "x", "fd": 3, "inode": 7}),
    ("listener", {"pid": 2**31, "fd": 3, "inode": 7}),
    ("options", 5),
    ("options", {"command": [5]}),
    ("options", {"port_env": 5}),
    ("options", {"idle_timeout": "x"}),
    ("program", [5]),
    ("generation", "x"),
    ("port", 0),
    ("port", 2**40),
    ("env", {"A": 5}),
    ("probe_env", {"A": None}),
    ("token", None),
    ("beside", [5]),
    ("replaced", {"version": "1", "at": "x"}),
    ("log_offset", -1),
    ("identity", "pidproof:1:nonsense"),
    ("command", ["a", 1]),
    ("state", None),
]


@pytest.mark.parametrize(("name", "value"), UNUSABLE)
def test_a_record_with_an_unusable_field_is_broken(state: State, name: str, value: object) -> None:
    state.write("sleeper", json.dumps({**good(), name: value}).encode())
    assert status("sleeper").state == "unknown"
    with pytest.raises(RecordError, match=r"start it anew|cannot be told"):
        Server.recorded("sleeper")
    assert [(done.action, done.key) for done in sweep()] == [("dropped", None)]
    assert status("sleeper").state == "absent"


def test_a_record_that_breaks_during_a_start_is_a_lock_lost(state: State) -> None:
    def spoil(_: object) -> bool:
        state.write("web", b"{")
        return True

    with pytest.raises(LockLost):
        Server("web", SLEEPER, probe=spoil, timeout=0.0, startup_timeout=5.0).ensure()
    assert not state.running(), "what no record names must not run"


def test_any_value_of_any_field_is_told_and_swept_without_a_crash(state: State) -> None:
    """Of a living process that did not ask for it, so nothing may happen to that either."""
    alive = {**good(), "identity": token_of(os.getpid())}

    @given(st.dictionaries(st.sampled_from(sorted(good())), JSON, min_size=1, max_size=2))
    def check(changes: dict[str, Any]) -> None:
        state.write("sleeper", json.dumps({**alive, **changes}).encode())
        try:
            assert isinstance(status("sleeper", timeout=0.01), Status)
        except Error:
            pass
        list(list_all(timeout=0.01))
        sweep(dry_run=True)

    check()
    state.record_path("sleeper").unlink()


@NEEDS_FEWER_RIGHTS
def test_the_record_of_a_server_that_nobody_may_look_into_reads_back(
    state: State, small: Small
) -> None:
    """It is used, listed and stopped like any other: who holds its socket is not to be seen."""
    code = """
        import sys
        from pidproof import Http, Server
        from pidproof.server.status import list_all

        server = Server("web", sys.argv[2:], probe=Http("/"), startup_timeout=15.0, grace=2.0)
        if sys.argv[1] == "stop":
            print(server.stop().action)
        else:
            print(server.ensure().action, server.ensure().action)
            print(*[(found.key, found.state) for found in list_all()])
        """
    blind = without_capabilities("sys_ptrace", "perfmon", "sys_admin")
    command = small.command("--undumpable")
    out = run([*blind, *python(code, "ensure", *command)])
    assert out.splitlines() == ["spawned reused", "('web', 'healthy')"]
    directory = KeyDirectory.open("web")
    assert directory is not None
    with directory:
        record = records.read(directory, "web")
    assert record is not None
    assert record.identity is not None
    assert record.identity.pid == small.report()["pid"]
    assert record.get("listener") is None
    assert run([*blind, *python(code, "ensure", *command)]).startswith("reused reused\n")
    assert run([*blind, *python(code, "stop", *command)]) == "terminated\n"
    assert not is_alive(record.identity.pid)


def test_a_record_that_would_outgrow_its_limit_is_refused_before_anything_starts(
    state: State,
) -> None:
    """It fits as long as nobody is named in it, and would not once the server is."""

    def filled(key: str, size: int) -> Server:
        return Server(key, SLEEPER, env={"FILLER": "x" * size}, **QUICK)

    filled("a", 0).ensure()
    whole = state.record_path("a").stat().st_size
    with pytest.raises(InvalidArgument, match="it was not written"):
        filled("b", records.LIMIT - whole + 40).ensure()
    assert not state.record_path("b").exists()
    assert [line.key for line in state.running()] == ["a"]
    assert filled("b", records.LIMIT - whole - 4096).ensure().action == "spawned"
