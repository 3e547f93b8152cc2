# SPDX-License-Identifier: MIT
"""Another user: what he owns we do not use, and what we own he neither reads nor changes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from helpers import DEADLINE, NEEDS_NOBODY, NOBODY, python, read_line, run, write_line
from hostile.objects import trace
from pidproof import Error, Http, LockTimeout, PortInUse, Server, SpawnLock, sweep
from servers import QUICK, Small, is_alive, kill, sleeper


if TYPE_CHECKING:
    from helpers import Spawn
    from servers import State

pytestmark = NEEDS_NOBODY

AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
# Every act, by whoever runs it; one line of JSON with what came of each.
ALL_ACTS = """
    import json, sys, time
    from pidproof import Error, Server, SpawnLock, sweep
    from pidproof.cli import main
    from pidproof.process.scan import find
    from pidproof.server.status import list_all

    directory, *without = sys.argv[1:]
    server = Server("web", ["sleep", "1000"], timeout=2.0, grace=2.0)

    def lock():
        with SpawnLock(directory, timeout=0.1):
            pass

    told = {}
    for name, act in {
        "status": server.status, "list": list_all, "logs": server.logs, "sweep": sweep,
        "lock": lock, "stop": server.stop, "ensure": server.ensure, "start": server.start,
    }.items():
        if name in without:
            continue
        began = time.monotonic()
        try:
            told[name] = ["done", str(act())]
        except Error as error:
            path, remedy = getattr(error, "path", None), error.remedy
            told[name] = [type(error).__name__, str(error), str(path), remedy or ""]
        told[name].append(time.monotonic() - began)
    print(json.dumps(told))
"""


def reachable(state: State) -> None:
    """Let everybody come as far as the state directory itself."""
    for path in state.root.parents:
        if path.owner() == "root" and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o011)


def acts_of_nobody(directory: Path, *without: str) -> dict[str, list[Any]]:
    """Do all that can be done, as another user, with our state directory as his."""
    out = run([*AS_NOBODY, *python(ALL_ACTS, str(directory), *without)])
    told: dict[str, list[Any]] = json.loads(out)
    return told


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o777])
def test_a_state_of_ours_is_not_used_by_another(state: State, mode: int) -> None:
    running = sleeper("web").ensure()
    directory = state.directory("web")
    opened = [state.root, directory.parent, directory]
    for path in opened:
        path.chmod(mode)
    reachable(state)
    before = {path: trace(path) for path in [state.root, *state.root.rglob("*")]}

    # A lock by itself does not ask whose the directory is: who can write there may lock there.
    told = acts_of_nobody(directory, *(["lock"] if mode & 0o002 else []))

    for name, (kind, words, *rest) in told.items():
        assert kind in {"UnsafePath", "StateError"}, (name, words)
        path, remedy, took = rest
        assert path.startswith(str(state.root)), (name, words)
        assert path in words
        assert remedy
        assert took < 5
        assert running.token not in words
    assert {path: trace(path) for path in [state.root, *state.root.rglob("*")]} == before
    assert is_alive(running.pid)
    for path in opened:
        path.chmod(0o700)


def test_a_state_of_another_is_not_used_by_us(state: State, spawn: Spawn) -> None:
    """Not even by root, who could: its record names a process of our own, to be ended by us."""
    bystander = spawn.sleeper()
    running = sleeper("web").ensure()
    directory = state.directory("web")
    for path in [directory, *directory.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    before = {path: trace(path) for path in directory.rglob("*")}
    for act in (sleeper("web").ensure, sleeper("web").stop, sleeper("web").status):
        with pytest.raises(Error, match=f"belongs to uid {NOBODY}") as caught:
            act()
        assert caught.value.remedy
    assert {path: trace(path) for path in directory.rglob("*")} == before
    assert is_alive(running.pid)
    assert is_alive(bystander.pid)
    for path in [directory, *directory.rglob("*")]:
        os.chown(path, 0, 0)


@pytest.mark.parametrize("name", ["record.json", "server.log", "history.jsonl", "lock", "turn"])
def test_what_we_wrote_cannot_be_opened_by_another(state: State, name: str) -> None:
    """Even where the directories were opened to everybody."""
    sleeper("web").ensure()
    directory = state.directory("web")
    with SpawnLock(directory, timeout=0):
        with pytest.raises(LockTimeout):  # who waits makes the file that is the line
            SpawnLock(directory, timeout=0.02).acquire()
        for path in (state.root, directory.parent, directory):
            path.chmod(0o755)
        reachable(state)
        code = """
            import os, sys
            for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
                try:
                    os.open(sys.argv[1], flags)
                except PermissionError:
                    print("denied")
        """
        out = run([*AS_NOBODY, *python(code, str(directory / name))])
    assert out.split() == ["denied"] * 3


def test_a_claim_of_another_user_neither_stops_nor_moves_us(state: State, spawn: Spawn) -> None:
    """His process says that it is the server of a record that broke: it is not asked about, not
    ended, and keeps nobody from starting one."""
    state.write("web", b"{")
    env = {"PIDPROOF_RECORD": str(state.record_path("web")), "PIDPROOF_KEY": "web"}
    claim = ["sh", "-c", "export PIDPROOF_PID=$$ PIDPROOF_MANAGED=auto; echo; exec sleep 1000"]
    claimant = spawn([*AS_NOBODY, *claim], env=env, start_new_session=True)
    assert read_line(claimant) == ""
    assert sweep(dry_run=True)[0].reason.startswith(str(state.record_path("web")))
    sweep()
    state.write("web", b"{")
    running = sleeper("web").ensure()
    assert running.action == "spawned"
    sweep()
    assert claimant.poll() is None
    claimant.kill()
    claimant.wait(DEADLINE)


def test_the_token_is_not_sent_to_one_who_took_the_port_of_a_dead_server(
    state: State, spawn: Spawn, tmp_path: Path
) -> None:
    server = Small(tmp_path / "small").server(probe=Http("/", headers={"X-Token": "{token}"}))
    running = server.ensure()
    assert running.port is not None
    kill(running.pid)
    code = """
        import select, socket, sys
        listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
        print(flush=True)
        heard = b""
        while not select.select([sys.stdin], [], [], 0)[0]:
            if select.select([listening, sys.stdin], [], [])[0][0] is listening:
                connection, _ = listening.accept()
                connection.settimeout(1)
                heard += connection.recv(4096) + b"."
                connection.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
        print(heard, flush=True)
    """
    thief = spawn([*AS_NOBODY, *python(code, str(running.port))])
    assert read_line(thief) == ""
    assert server.status().state == "gone"
    again = server.ensure()
    assert (again.action, again.port == running.port) == ("spawned", False)
    fixed = Server("web", ["sleep", "1000"], probe=Http("/"), port=running.port, **QUICK)
    server.stop()
    with pytest.raises(PortInUse):
        fixed.ensure()
    write_line(thief, "enough")
    assert read_line(thief) == repr(b"")
