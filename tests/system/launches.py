# SPDX-License-Identifier: MIT
"""What a launcher under stress does: one act on one key, from Python or by the command."""

from __future__ import annotations

import json
import os
import time
import traceback
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from pidproof import Error, Http, Server, list_all, sweep
from pidproof.lock.spawn_lock import SpawnLock
from system.launching import PIDPROOF


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

# A key for each kind of server that tests/system/witness.c can be.
TRAITS = {
    "plain": [],
    "flaky": [],
    "slow": ["--slow"],
    "stubborn": ["--stubborn"],
    "parent": ["--child"],
}
LIMITS = {"timeout": 20.0, "startup_timeout": 5.0, "grace": 0.3, "probe_timeout": 0.2}
# How often each act is drawn, from Python and by the command.
WEIGHTS = {
    "ensure": 40,
    "replace": 25,
    "stop": 8,
    "status": 8,
    "restart": 4,
    "sweep": 3,
    "list": 2,
}
BY_COMMAND = 0.05
HASTY = 0.25


class Act(NamedTuple):
    """What one launcher is to do."""

    kind: str
    key: str
    by_command: bool
    version: str
    hold: float | None
    """Seconds after which it may be deposed, though it works on: what else takes half a minute."""


class Ended(NamedTuple):
    """How an act has ended.  `trace` is not empty for what must never be."""

    kind: str
    outcome: str
    seconds: float
    trace: str = ""


class Stage(NamedTuple):
    """Where it all happens."""

    directory: str
    program: str

    def marks(self, key: str) -> str:
        """Return the path of the marks that the servers of a key make."""
        return f"{self.directory}/{key}"

    def command(self, key: str) -> list[str]:
        """Return the command of the server of a key."""
        return [self.program, self.marks(key), "{port}", *TRAITS[key]]

    def ensure(self, key: str, *options: str) -> list[str]:
        """Return the words of a command `ensure`."""
        limits = [f"--{name.replace('_', '-')}={value}" for name, value in LIMITS.items()]
        return ["ensure", key, "--json", "--http", "/", *limits, *options, "--", *self.command(key)]


def draw(chance: Random) -> Act:
    """Draw an act."""
    kind = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    return Act(
        kind,
        chance.choice(list(TRAITS)),
        chance.random() < BY_COMMAND,
        str(chance.randrange(10**6)),
        10 ** chance.uniform(-2.5, 0) if chance.random() < HASTY else None,
    )


def perform(act: Act, stage: Stage) -> Ended:
    """Do it in this process."""
    began = time.monotonic()
    trace = ""
    if act.hold is not None:
        shorten_hold(act.hold)
    said: list[str] = []
    try:
        outcome = _do(act, stage, said.append)
    except Error as error:
        outcome = type(error).__name__
    except BaseException:  # noqa: BLE001, RUF100 - this is what is looked for
        outcome, trace = "untyped", traceback.format_exc()[-2000:]
    if any("took over the lock" in words for words in said):
        outcome += " once deposed"
    return Ended(act.kind, outcome, time.monotonic() - began, trace)


def _do(act: Act, stage: Stage, say: Callable[[str], None]) -> str:
    limits: dict[str, Any] = {**LIMITS, "on_event": say}
    if act.kind == "replace":
        limits |= {"version": act.version, "on_mismatch": "replace"}
    server = Server(act.key, stage.command(act.key), probe=Http("/"), **limits)
    match act.kind:
        case "ensure" | "replace":
            return server.ensure().action
        case "stop":
            return server.stop(timeout=limits["timeout"]).action
        case "restart":
            return Server.recorded(act.key).restart().action
        case "status":
            return server.status(timeout=0.5).state
        case "sweep":
            return "/".join(sorted({swept.action for swept in sweep(timeout=1.0)})) or "nothing"
    return "/".join(sorted({status.state for status in list_all(timeout=0.1)})) or "nothing"


def shorten_hold(hold: float) -> None:
    """Let every lock of this process write a deadline that its work will exceed."""
    init = SpawnLock.__init__

    def hasty(lock: SpawnLock, *args: Any, **options: Any) -> None:
        init(lock, *args, **{**options, "hold": hold})

    SpawnLock.__init__ = hasty  # type: ignore[method-assign,assignment]


def become_command(act: Act, stage: Stage, output: str) -> NoReturn:
    """Become the command that does it, with both its streams in a file."""
    words = {
        "ensure": stage.ensure(act.key),
        "replace": stage.ensure(act.key, "--version", act.version, "--on-mismatch=replace"),
        "stop": ["stop", act.key, "--json", "--grace=0.3", "--timeout=20"],
        "restart": ["restart", act.key, "--json"],
        "status": ["status", act.key, "--json", "--timeout=0.5"],
        "sweep": ["sweep", "--json"],
        "list": ["list", "--json", "--timeout=0.1"],
    }[act.kind]
    fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.execv(PIDPROOF[0], [*PIDPROOF, *words])


def judge_command(act: Act, output: str, status: int, seconds: float) -> Ended:
    """Return how a command has ended; it must be one JSON object, or a typed error in one."""
    kind = f"command {act.kind}"
    try:
        data = json.loads(output)
        error = data.get("error")
        if error is None:
            outcome = data.get("action") or data.get("state") or "done"
            is_right = status == 0 or act.kind == "status"
        else:
            outcome = error["kind"]
            is_right = status == error["exit_status"] != 70  # not one of our errors
    except (ValueError, LookupError, AttributeError):
        outcome, is_right = "untyped", False
    trace = "" if is_right else f"{act}: status {status}: {output[-2000:]}"
    return Ended(kind, outcome, seconds, trace)


def read_results(path: str) -> Iterator[Ended]:
    """Read the lines that launchers have written."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield Ended(*json.loads(line))
