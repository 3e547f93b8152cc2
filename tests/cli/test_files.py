# SPDX-License-Identifier: MIT
"""logs, history, sweep."""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING

from helpers import read_line, wait_until
from servers import is_alive, kill, sleeper


if TYPE_CHECKING:
    from command import Command
    from servers import State


def test_logs_prints_the_last_lines(state: State, pidproof: Command) -> None:
    sleeper("k").ensure()
    log = state.directory("k") / "server.log"
    log.write_text("".join(f"line {number}\n" for number in range(200)))
    done = pidproof.ok("logs", "k")
    assert done.out.splitlines() == [f"line {number}" for number in range(100, 200)]
    assert pidproof.ok("logs", "k", "-n", "2").out == "line 198\nline 199\n"
    data = pidproof.ok("logs", "k", "-n", "1", "--json").json
    assert (data["key"], data["lines"]) == ("k", ["line 199"])


def test_logs_of_what_was_never_started_is_3(pidproof: Command) -> None:
    for name in ("logs", "history"):
        done = pidproof(name, "k", "--json")
        assert (done.status, done.error["kind"]) == (3, "KeyNotFound")


def test_logs_follows_as_the_log_grows(state: State, pidproof: Command) -> None:
    sleeper("k").ensure()
    log = state.directory("k") / "server.log"
    log.write_text("first\n")
    process = pidproof.start("logs", "k", "-f")
    assert read_line(process) == "first"
    with log.open("a") as file:
        file.write("second\n")
    assert read_line(process) == "second"
    # As `| head` does: whoever reads goes away, and it ends without a word.
    assert process.stdout is not None
    process.stdout.close()
    with log.open("a") as file:
        file.write("third\n")
    assert process.wait(20) == -signal.SIGPIPE
    assert process.stderr is not None
    assert process.stderr.read() == b""


def test_history_tells_what_was_done_by_whom(state: State, pidproof: Command) -> None:
    running = sleeper("k").ensure()
    pidproof("stop", "k")
    lines = [line.split(maxsplit=4) for line in pidproof.ok("history", "k").out.splitlines()]
    assert [(line[1], line[2]) for line in lines] == [
        ("started", str(running.pid)),
        ("stopped", str(running.pid)),
    ]
    assert lines[1][4] == "asked to"
    entries = pidproof.ok("history", "k", "--json").json["entries"]
    assert [entry["event"] for entry in entries] == ["started", "stopped"]


def test_a_torn_line_of_the_history_is_left_out(state: State, pidproof: Command) -> None:
    sleeper("k").ensure()
    with (state.directory("k") / "history.jsonl").open("a") as file:
        file.write('{"event": "sto\n[]\n')
    assert len(pidproof.ok("history", "k", "--json").json["entries"]) == 1


def test_sweep_with_nothing_says_so_on_stderr(pidproof: Command) -> None:
    assert pidproof("sweep") == (0, "", "nothing to sweep\n")
    assert pidproof("sweep", "--json").json["swept"] == []


def test_sweep_says_what_it_would_do_and_then_does_it(state: State, pidproof: Command) -> None:
    gone = sleeper("a").ensure()
    untracked = sleeper("b").ensure()
    kill(gone.pid)
    shutil.rmtree(state.directory("b"))
    dry = pidproof.ok("sweep", "--dry-run").out.splitlines()
    assert [line.split()[:4] for line in dry] == [
        ["would", "drop", "a", str(gone.pid)],
        ["would", "end", "b", str(untracked.pid)],
    ]
    assert is_alive(untracked.pid)
    data = pidproof.ok("sweep", "--json").json
    assert not data["dry_run"]
    assert [(one["action"], one["key"]) for one in data["swept"]] == [
        ("dropped", "a"),
        ("ended", "b"),
    ]
    wait_until(lambda: not is_alive(untracked.pid))
