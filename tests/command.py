# SPDX-License-Identifier: MIT
"""The command `pidproof`, run as users run it: a process with pipes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from helpers import DEADLINE


if TYPE_CHECKING:
    from helpers import Spawn

PIDPROOF = [sys.executable, "-m", "pidproof"]


class Done(NamedTuple):
    """A command that has ended."""

    status: int
    out: str
    words: str

    @property
    def json(self) -> dict[str, Any]:
        """What a command with --json printed: one object on one line, and no words beside it."""
        assert self.words == ""
        assert self.out.count("\n") == 1, self.out
        data: dict[str, Any] = json.loads(self.out)
        assert data["schema"] == 1
        return data

    @property
    def error(self) -> dict[str, Any]:
        """The error that a command with --json printed."""
        error: dict[str, Any] = self.json["error"]
        assert error["exit_status"] == self.status
        return error


class Command:
    """Runs it."""

    def __init__(self, spawn: Spawn) -> None:
        self._spawn = spawn

    def __call__(self, *arguments: str, **options: Any) -> Done:
        """Run it to its end, and to the end of its output."""
        process = self.start(*arguments, **options)
        out, words = process.communicate(timeout=DEADLINE)
        return Done(process.returncode, (out or b"").decode(), (words or b"").decode())

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """Run it and do not wait."""
        options = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, **options}
        return self._spawn([*PIDPROOF, *arguments], **options)

    def ok(self, *arguments: str, **options: Any) -> Done:
        """Run it; fails if it fails, or if it says a word."""
        done = self(*arguments, **options)
        assert (done.status, done.words) == (0, ""), done
        return done
