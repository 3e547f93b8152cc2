# SPDX-License-Identifier: MIT
"""The cases of a launcher's own fix for its leaked servers, each as a user meets it.

They are those of the change (number 385 of software-mansion/argent) that gave that launcher a
lock, a kill before a respawn and a version check.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers import NEEDS_SET_TID, wait_until
from outside import HAS_PROC, stat
from pid_reuse import bystander
from system.launching import needs, sickly_server, status_of


if TYPE_CHECKING:
    from helpers import Spawn
    from system.launching import Pidproof
    from system.observer import Observer, Seen

# Impatient, so that three failed probes do not take seven seconds.
HTTP = ["--http", "/", "--probe-timeout", "0.3"]
# What takes its time to come up, and never does.
NEVER_READY = [sys.executable, "-c", "import signal; signal.pause()"]
# A bundle that is the same whatever runs it.
NODE_BUNDLE = """\
require("http").createServer((request, response) => response.end("ok"))
  .listen(process.argv[2], "127.0.0.1")
"""


@pytest.fixture
def bundle(tmp_path: Path) -> tuple[list[str], Path]:
    """A server's command, and the file that makes it answer 500 as long as it exists."""
    return sickly_server(tmp_path)


def test_a_burst_of_launchers_collapses_to_one_server(
    bundle: tuple[list[str], Path], pidproof: Pidproof, observer: Observer
) -> None:
    command, _ = bundle
    with observer.watching():
        done = pidproof.at_once([["ensure", "tools", "--json", *HTTP, "--", *command]] * 10)
    assert {one.data["pid"] for one in done} == {observer.one().pid}
    actions = sorted(one.data["action"] for one in done)
    assert actions == ["reused"] * 9 + ["spawned"]


def test_an_unhealthy_server_that_is_still_alive_is_terminated_and_replaced(
    bundle: tuple[list[str], Path], pidproof: Pidproof, observer: Observer
) -> None:
    command, sick = bundle
    first = pidproof.ensure("tools", *HTTP, "--", *command)
    sick.touch()
    assert status_of(first["url"]) == 500
    # The new one is not sick: it clears the sign before it serves.
    cured = ["sh", "-c", 'rm -f "$0" && exec "$@"', str(sick), *command]
    with observer.watching():
        second = pidproof.ensure("tools", *HTTP, "--", *cured)
    assert second["action"] == "replaced"
    assert observer.one().pid == second["pid"] != first["pid"]
    assert status_of(second["url"]) == 200
    ended = [
        entry
        for entry in pidproof("history", "tools", "--json").data["entries"]
        if entry["event"] == "ended"
    ]
    assert [(entry["pid"], entry["how"]) for entry in ended] == [(first["pid"], "terminated")]
    assert "answered 500" in ended[0]["evidence"]


# ------------------------------------------------------------------------------ recycled pids


ACTS = [["ensure"], ["stop"], ["sweep"], ["restart"]]


def act_on(key: str, act: list[str], command: list[str], pidproof: Pidproof) -> None:
    """Do what could signal the recorded process."""
    match act:
        case ["ensure"]:
            pidproof.ensure(key, *HTTP, "--", *command)
        case ["sweep"]:
            assert pidproof("sweep").status == 0
        case [name]:
            assert pidproof(name, key).status == 0


def kill_and_collect(seen: Seen) -> None:
    """End a server and free its pid; it is our child, or launchd's, since its launcher has gone."""
    os.kill(seen.pid, signal.SIGKILL)
    if HAS_PROC:
        os.waitpid(seen.pid, 0)
    else:
        wait_until(lambda: stat(seen.pid) is None)


@pytest.mark.parametrize("act", ACTS, ids=" ".join)
def test_a_bystander_who_got_the_recorded_pid_is_never_signalled(
    act: list[str],
    bundle: tuple[list[str], Path],
    pidproof: Pidproof,
    observer: Observer,
    spawn: Spawn,
) -> None:
    """The record is edited: his pid, all else as it was."""
    command, _ = bundle
    first = pidproof.ensure("tools", *HTTP, "--", *command)
    seen = observer.one()
    kill_and_collect(seen)
    stranger = spawn.sleeper()
    record = json.loads(seen.record.read_bytes())
    words = record["identity"].split(":")
    words[2] = str(stranger.pid)
    seen.record.write_text(json.dumps({**record, "identity": ":".join(words)}))

    act_on("tools", act, command, pidproof)

    assert stranger.poll() is None, "a signal reached the bystander"
    assert first["pid"] not in {one.pid for one in observer.servers()}


@NEEDS_SET_TID
@pytest.mark.parametrize("act", ACTS, ids=" ".join)
def test_a_bystander_with_the_really_recycled_pid_is_never_signalled(
    act: list[str], bundle: tuple[list[str], Path], pidproof: Pidproof, observer: Observer
) -> None:
    command, _ = bundle
    first = pidproof.ensure("tools", *HTTP, "--", *command)
    kill_and_collect(observer.one())
    with bystander(first["pid"]):
        act_on("tools", act, command, pidproof)
        # "No process": the exit status of a process that is gone.
        assert pidproof("kill", first["identity"], "-s", "KILL").status == 1


# --------------------------------------------------------------------------- started by hand


def test_an_unhealthy_server_that_a_person_started_is_left_alive(
    bundle: tuple[list[str], Path], pidproof: Pidproof, observer: Observer
) -> None:
    command, sick = bundle
    assert pidproof("start", "tools", "--detach", *HTTP, "--", *command).status == 0
    seen = observer.one()
    sick.touch()
    done = pidproof("ensure", "tools", *HTTP, "--", *command)
    assert done.status == 77
    assert "started by hand" in done.words
    assert f"process {seen.pid}" in done.words
    assert "pidproof stop tools" in done.words
    assert observer.one() == seen


def test_a_healthy_server_that_a_person_started_is_used(
    bundle: tuple[list[str], Path], pidproof: Pidproof, observer: Observer
) -> None:
    command, _ = bundle
    assert pidproof("start", "tools", "--detach", *HTTP, "--", *command).status == 0
    seen = observer.one()
    running = pidproof.ensure("tools", *HTTP, "--", *command)
    assert (running["action"], running["pid"]) == ("reused", seen.pid)


def test_a_server_that_a_person_started_is_not_replaced_by_a_newer_version(
    bundle: tuple[list[str], Path], pidproof: Pidproof, observer: Observer
) -> None:
    command, _ = bundle
    start = ["start", "tools", "--detach", "--version", "1", *HTTP, "--", *command]
    assert pidproof(*start).status == 0
    seen = observer.one()
    assert pidproof("ensure", "tools", "--version", "2", *HTTP, "--", *command).status == 77
    assert observer.one() == seen


# ------------------------------------------------------------------------------------- starts


def test_a_server_that_is_not_ready_in_time_is_ended_and_reaped(
    pidproof: Pidproof, observer: Observer
) -> None:
    never = ["--http", "/", "--port", "auto", "--startup-timeout", "0.5", "--", *NEVER_READY]
    done = pidproof("ensure", "tools", *never)
    assert done.status == 69
    assert "not ready within 0.5 s" in done.words
    assert observer.family() == []
    assert pidproof("status", "tools", "--json").data["state"] == "failed"


def test_a_server_that_exits_at_once_is_reported_with_what_it_said(
    pidproof: Pidproof, observer: Observer
) -> None:
    dying = [sys.executable, "-c", "import sys; sys.exit('no such model')"]
    done = pidproof("ensure", "tools", "--http", "/", "--port", "auto", "--", *dying)
    assert done.status == 69
    assert "exited with status 1" in done.words
    assert "no such model" in done.words
    assert observer.family() == []


# ---------------------------------------------------------------------------- bundles, versions


def test_the_server_of_another_bundle_is_left_alone_and_still_tracked(
    tmp_path: Path, pidproof: Pidproof, observer: Observer
) -> None:
    one, sick = sickly_server(tmp_path, "one.py")
    two, _ = sickly_server(tmp_path, "two.py")
    first = pidproof.ensure("one", *HTTP, "--", *one)
    second = pidproof.ensure("two", *HTTP, "--", *two)
    sick.touch()
    pidproof.start("ensure", "one", *HTTP, "--startup-timeout", "1", "--", *one).finish()
    assert observer.one().pid == second["pid"]
    assert pidproof.ensure("two", *HTTP, "--", *two)["action"] == "reused"
    assert first["pid"] != second["pid"]


def another_path(program: str, tmp_path: Path) -> str:
    """Return the same interpreter at another path, as after a switch of its version manager."""
    found = shutil.which(program)
    assert found is not None
    other = tmp_path / "other" / Path(program).name
    other.parent.mkdir()
    other.symlink_to(found)
    return str(other)


def test_the_server_of_the_same_bundle_is_used_though_python_is_at_another_path(
    tmp_path: Path, bundle: tuple[list[str], Path], pidproof: Pidproof, observer: Observer
) -> None:
    command, _ = bundle
    first = pidproof.ensure("tools", "--version", "1", *HTTP, "--", *command)
    moved = [another_path(command[0], tmp_path), *command[1:]]
    again = pidproof.ensure("tools", "--version", "1", *HTTP, "--", *moved)
    assert (again["action"], again["pid"]) == ("reused", first["pid"])
    assert observer.one().pid == first["pid"]


@needs("node")
def test_the_server_of_the_same_bundle_is_used_though_node_is_at_another_path(
    tmp_path: Path, pidproof: Pidproof, observer: Observer
) -> None:
    script = tmp_path / "bundle.js"
    script.write_text(NODE_BUNDLE)
    first = pidproof.ensure("tools", "--version", "1", *HTTP, "--", "node", str(script), "{port}")
    moved = [another_path("node", tmp_path), str(script), "{port}"]
    again = pidproof.ensure("tools", "--version", "1", *HTTP, "--", *moved)
    assert (again["action"], again["pid"]) == ("reused", first["pid"])
    assert observer.one().pid == first["pid"]


def test_an_older_version_is_replaced_and_a_newer_one_is_kept(
    bundle: tuple[list[str], Path], pidproof: Pidproof, observer: Observer
) -> None:
    command, _ = bundle
    with observer.watching():
        old = pidproof.ensure("tools", "--version", "0.9.0", *HTTP, "--", *command)
        new = pidproof.ensure("tools", "--version", "0.10.0", *HTTP, "--", *command)
        late = pidproof.ensure("tools", "--version", "0.9.1", *HTTP, "--", *command)
    assert (new["action"], new["version"]) == ("replaced", "0.10.0")
    assert (late["action"], late["version"]) == ("reused", "0.10.0")
    assert old["pid"] != new["pid"] == late["pid"] == observer.one().pid


def test_a_burst_of_two_versions_ends_with_the_newer_one(
    bundle: tuple[list[str], Path], pidproof: Pidproof, observer: Observer
) -> None:
    command, _ = bundle
    commands = [
        ["ensure", "tools", "--json", "--version", version, *HTTP, "--", *command]
        for version in ["1.0", "2.0"] * 5
    ]
    with observer.watching():
        done = pidproof.at_once(commands)
    assert [one.status for one in done] == [0] * 10
    status = pidproof("status", "tools", "--json").data
    assert (status["version"], status["pid"]) == ("2.0", observer.one().pid)


def test_a_server_whose_bundle_vanished_is_swept_and_the_others_are_not(
    tmp_path: Path, pidproof: Pidproof, observer: Observer
) -> None:
    one, _ = sickly_server(tmp_path, "one.py")
    two, _ = sickly_server(tmp_path, "two.py")
    first = pidproof.ensure("one", *HTTP, "--", *one)
    second = pidproof.ensure("two", *HTTP, "--", *two)
    (tmp_path / "one.py").unlink()

    dry = pidproof("sweep", "--dry-run", "--json").data["swept"]
    assert len(observer.servers()) == 2
    done = pidproof("sweep", "--json").data["swept"]

    assert dry == done
    assert [(entry["action"], entry["pid"]) for entry in done] == [("ended", first["pid"])]
    assert "one.py, which it runs, was removed" in done[0]["reason"]
    assert observer.one().pid == second["pid"]
