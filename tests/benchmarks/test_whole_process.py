# SPDX-License-Identifier: MIT
"""Launchers from exec to exit, beside interpreters that do nothing."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks.board import Target
from benchmarks.launchers import NEEDS_NODE, Argent, pidproof
from benchmarks.race import Bench, Race, whole_process


if TYPE_CHECKING:
    from pathlib import Path

    from servers import State

SECTION = "whole process"
ROUNDS = 25
BARE = [sys.executable, "-c", "pass"]
ISOLATED = [sys.executable, "-I", "-S", "-c", "pass"]
LAUNCHER = """\
import sys

from pidproof import Http, Server

print(Server("web", sys.argv[1:], probe=Http("/")).ensure().url)
"""


def race(bench: Bench, measure: str, rounds: int = ROUNDS) -> Race:
    """Return a race beside an interpreter that does nothing."""
    turns = Race(bench, SECTION, measure, rounds=rounds)
    turns.beside("bare", "python -c pass", whole_process(BARE))
    return turns


@pytest.fixture
def serving(bench: Bench, state: State) -> list[str]:
    """The command of a server that answers HTTP, and runs under the key `web`."""
    command = [bench.program("answer"), "{port}"]
    subprocess.run(
        [pidproof(), "ensure", "web", "--http", "/", "--", *command],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return command


@pytest.mark.parametrize("face", ["pidproof", "python -m pidproof", "a script"])
@pytest.mark.parametrize("what", ["time", "processor time"])
def test_ensure_healthy(
    what: str, face: str, bench: Bench, serving: list[str], tmp_path: Path
) -> None:
    script = tmp_path / "launcher.py"
    script.write_text(LAUNCHER)
    options = ["ensure", "web", "--http", "/", "--"]
    command = {
        "pidproof": [pidproof(), *options],
        "python -m pidproof": [sys.executable, "-m", "pidproof", *options],
        "a script": [sys.executable, str(script)],
    }[face]
    cpu = what == "processor time"
    turns = Race(bench, SECTION, f"ensure, healthy, by {face}: {what}", rounds=ROUNDS)
    turns.beside("bare", "python -c pass", whole_process(BARE, cpu=cpu))
    turns.beside("bare", "python -I -S -c pass", whole_process(ISOLATED, cpu=cpu))
    target = [Target(2.2, "python -c")] if face == "pidproof" and not cpu else []
    turns.run(whole_process([*command, *serving], cpu=cpu), targets=target)


@pytest.mark.parametrize("code", ["import pidproof", "from pidproof import Server", "identify"])
def test_import(code: str, bench: Bench) -> None:
    if code == "identify":
        code = "from pidproof import identify"
    turns = race(bench, f"{code}, over bare Python")
    for module in ("psutil", "filelock", "portalocker"):
        if importlib.util.find_spec(module) is None:
            bench.missing(module, "not installed")
        else:
            command = [sys.executable, "-c", f"import {module}"]
            turns.beside("peer", f"import {module}", whole_process(command))
    turns.run(
        whole_process([sys.executable, "-c", code]),
        targets=[Target(5e-3)],
        less="python -c pass",
    )


@pytest.mark.full
@NEEDS_NODE
def test_ensure_healthy_beside_argent(bench: Bench, serving: list[str], argent: Argent) -> None:
    argent.run("tools")
    turns = race(bench, "ensure, healthy, beside argent", rounds=7)
    turns.beside("bare", "node -e 0", whole_process(["node", "-e", "0"]))
    theirs = whole_process(argent.command("tools"), argent.env)
    turns.beside("peer", "argent tools, healthy", theirs)
    turns.run(whole_process([pidproof(), "ensure", "web", "--http", "/", "--", *serving]))


def test_where_the_time_of_an_ensure_goes(bench: Bench, serving: list[str]) -> None:
    """What is imported costs most: the least that each family of modules took in several runs."""
    command = [sys.executable, "-X", "importtime", "-m", "pidproof"]
    least: dict[str, int] = {}
    modules: dict[str, int] = {}

    def look() -> None:
        done = subprocess.run(
            [*command, "ensure", "web", "--http", "/", "--", *serving],
            check=True,
            capture_output=True,
            text=True,
        )
        times: dict[str, list[int]] = {}
        for line in done.stderr.splitlines():
            if match := re.match(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", line):
                name = match[2]
                family = ".".join(name.split(".")[: 2 if name.startswith("pidproof.") else 1])
                times.setdefault(family, []).append(int(match[1]))
        for family, each in times.items():
            least[family] = min(sum(each), least.get(family, sum(each)))
            modules[family] = len(each)

    bench.benchmark.pedantic(look, rounds=7)
    bench.board.note(
        SECTION, "python -X importtime -m pidproof ensure, healthy: self time, least of 7"
    )
    bench.board.note(SECTION, f"{sum(least.values()) / 1000:6.2f} ms  all {sum(modules.values())}")
    for family, time in sorted(least.items(), key=lambda item: -item[1])[:16]:
        count = f" ({modules[family]} modules)" if modules[family] > 1 else ""
        bench.board.note(SECTION, f"{time / 1000:6.2f} ms  {family}{count}")
