# SPDX-License-Identifier: MIT
"""Wrong usage, help, pipes that break: what every command has in common."""

from __future__ import annotations

import os
import pty
import subprocess
from typing import TYPE_CHECKING

import pytest

from command import PIDPROOF
from pidproof import __version__
from servers import SLEEPER, sleeper


if TYPE_CHECKING:
    from command import Command
    from servers import State

COMMANDS = [
    *("ensure", "start", "status", "list", "stop", "restart", "logs", "history", "sweep"),
    *("id", "check", "kill", "wait"),
]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such-command"],
        ["ensure"],
        ["ensure", "k"],
        ["ensure", "k", "--"],
        ["ensure", "k", "sleep", "1"],
        ["start", "k"],
        ["status"],
        ["status", "k", "--", "sleep"],
        ["stop", "k", "--", "sleep"],
        ["ensure", "k", "--http", "/", "--tcp", "--", "x"],
        ["ensure", "k", "--port", "0", "--", "x"],
        ["ensure", "k", "--port", "http", "--", "x"],
        ["ensure", "k", "--timeout", "-1", "--", "x"],
        ["ensure", "k", "--timeout", "nan", "--", "x"],
        ["ensure", "k", "--timeout", "soon", "--", "x"],
        ["ensure", "k", "--env", "A", "--", "x"],
        ["ensure", "k", "--http-header", "A", "--", "x"],
        ["ensure", "k", "--on-mismatch", "maybe", "--", "x"],
        ["ensure", "k", "--port-env", "PIDPROOF_NONCE", "--", "x", "{port}"],
        ["ensure", "k", "--port-env", "PIDPROOF_PID", "--", "x", "{port}"],
        ["start", "k", "--port-env", "PIDPROOF_NONCE", "--", "x", "{port}"],
        ["kill"],
        ["check", "x", "y"],
    ],
)
def test_wrong_usage_is_2_and_said_on_stderr(
    state: State, pidproof: Command, arguments: list[str]
) -> None:
    done = pidproof(*arguments)
    assert (done.status, done.out) == (2, "")
    assert "pidproof" in done.words
    assert "Traceback" not in done.words
    assert not state.root.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a b"], "is not a key"),
        (["k", "--http", "x"], "is not an HTTP path"),
        (["k", "--http-status", "200"], "go with --http"),
        (["k", "--tcp"], "needs a port"),
        (["k", "--env", "PIDPROOF_KEY=x"], "set by pidproof itself"),
        (["k", "--log-line", "("], "is not a regular expression"),
        (["k", "--exec", "a 'b"], "quot"),
        (["k", "--unix", "x" * 200], "is not the path of a Unix socket"),
    ],
)
def test_a_wish_that_cannot_work_is_2_with_a_reason(
    state: State, pidproof: Command, arguments: list[str], says: str
) -> None:
    done = pidproof("ensure", *arguments, "--", *SLEEPER)
    assert (done.status, done.out) == (2, ""), done
    assert says in done.words
    error = pidproof("ensure", *arguments, "--json", "--", *SLEEPER).error
    assert error["kind"] == "InvalidArgument"
    assert not state.root.exists()


def test_a_missing_command_is_shown_how_to_give(pidproof: Command) -> None:
    done = pidproof("ensure", "web")
    assert "pidproof ensure web -- COMMAND" in done.words


def test_nothing_behind_the_dashes_is_an_option_of_ours(state: State, pidproof: Command) -> None:
    pidproof.ok("ensure", "k", "--", "sh", "-c", "exec sleep 1000", "--json", "--", "--help")
    assert state.record("k")["command"][-3:] == ["--json", "--", "--help"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(pidproof: Command, command: str) -> None:
    done = pidproof(command, "--help")
    assert (done.status, done.words) == (0, "")
    assert done.out.startswith(f"usage: pidproof {command}")
    assert "--json" in done.out
    assert command in pidproof("--help").out


def test_version(pidproof: Command) -> None:
    assert pidproof("--version").out == f"pidproof {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    ["list", "list --json", "status k", "history k", "status k --json", "restart x --json"],
)
def test_a_reader_that_is_gone_is_no_error(state: State, arguments: str) -> None:
    sleeper("k").ensure()
    command = " ".join([*PIDPROOF, *arguments.split()])
    # The reader is gone for certain before anything is written.
    script = f"(read _ < {state.root}/go; {command}; echo $? > {state.root}/status) | true"
    os.mkfifo(state.root / "go")
    process = subprocess.Popen(["sh", "-c", script], stderr=subprocess.PIPE)
    (state.root / "go").write_text("\n")
    _, words = process.communicate(timeout=20)
    assert words == b""
    status = (state.root / "status").read_text()
    assert status == ("3\n" if arguments.startswith("restart") else "0\n")
    (state.root / "go").unlink()
    (state.root / "status").unlink()


def on_a_terminal(*arguments: str, env: dict[str, str] | None = None) -> str:
    """Return what a command shows on a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*PIDPROOF, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, **(env or {})},
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            more = os.read(ours, 4096)
        except OSError:  # EIO: the last one has closed it
            break
        if not more:
            break
        shown += more
    os.close(ours)
    process.wait(20)
    return shown.decode()


def test_a_table_has_a_header_on_a_terminal_only(pidproof: Command) -> None:
    sleeper("k").ensure()
    assert on_a_terminal("list").split()[:5] == ["KEY", "STATE", "PID", "URL", "VERSION"]
    assert "KEY" not in pidproof.ok("list").out


def test_a_long_start_shows_a_line_on_a_terminal_and_wipes_it() -> None:
    script = "sleep 1.2; echo up; exec sleep 1000"
    shown = on_a_terminal("ensure", "k", "--log-line", "^up", "--", "sh", "-c", script)
    assert "waiting for k" in shown
    assert "\r\x1b[K" in shown
    last = shown.rpartition("\x1b[K")[2]
    assert last.startswith("pidproof:1:")
    quiet = ["ensure", "q", "-q", "--log-line", "^up", "--", "sh", "-c", script]
    assert "\x1b" not in on_a_terminal(*quiet)
