# SPDX-License-Identifier: MIT
"""The released tool-server of argent, kept by the command that docs/examples/argent.md gives."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers import ROOT
from system.launching import needs, status_of
from system.rounds import Rounds


if TYPE_CHECKING:
    from system.launching import Pidproof
    from system.observer import Observer

VERSION = "0.25.2"
OPTIONS = [
    *("--http", "/tools", "--http-header", "Authorization: Bearer {token}"),
    *("--port", "auto", "--port-env", "ARGENT_PORT", "--env", "ARGENT_AUTH_TOKEN={token}"),
    *("--env", "ARGENT_HOST=127.0.0.1", "--env", "ARGENT_IDLE_TIMEOUT_MINUTES=0"),
    *("--env", "ARGENT_TELEMETRY=0"),
]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400), needs("node", "npm")]


@pytest.fixture(scope="module")
def package(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where npm has installed it, once for all runs that share a cache."""
    assert pytestconfig.cache is not None
    prefix = pytestconfig.cache.mkdir(f"argent-{VERSION}")
    found = prefix / "node_modules/@swmansion/argent"
    if (found / "dist/tool-server.cjs").exists():
        return found
    # Without the install scripts of its dependencies: one of them fetches from elsewhere.
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund"]
    install = ["npm", "install", *quiet, "--prefix", str(prefix), f"@swmansion/argent@{VERSION}"]
    home = tmp_path_factory.mktemp("home")
    try:
        done = subprocess.run(
            install,
            env={**os.environ, "HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not install argent within 300 s")
    if done.returncode != 0:
        shutil.rmtree(prefix / "node_modules", ignore_errors=True)
        pytest.skip(f"npm could not install argent: {done.stderr.strip()[-200:]}")
    return found


@pytest.fixture
def server(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Its options and command; what it writes to its home goes nowhere else."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return [*OPTIONS, "--", "node", str(package / "dist/tool-server.cjs"), "start"]


def version(number: str, server: list[str]) -> list[str]:
    """Return the same as a version of this number."""
    return ["--version", number, *server]


def token_of(observer: Observer) -> str:
    """Return the secret of the server that runs, from the record beside its log."""
    record = json.loads(observer.one().record.read_bytes())
    return str(record["token"])


def test_twenty_cold_launchers_get_one_tool_server_and_its_clients_reach_it(
    package: Path, server: list[str], pidproof: Pidproof, observer: Observer
) -> None:
    ensure = ["ensure", "argent", *version(VERSION, server)]
    with observer.watching():
        done = pidproof.at_once([ensure] * 20)
    assert [one.status for one in done] == [0] * 20
    assert len({one.url for one in done}) == 1
    print(f"20 callers: the last one done after {max(one.seconds for one in done):.2f} s")

    url, token = done[0].url, token_of(observer)
    assert status_of(url, "/tools") == 401
    assert status_of(url, "/tools", {"Authorization": f"Bearer {token}"}) == 200
    environment = {
        **os.environ,
        "ARGENT_TOOLS_URL": url,
        "ARGENT_AUTH_TOKEN": token,
        "ARGENT_TELEMETRY": "0",
    }
    tools = subprocess.run(
        ["node", str(package / "dist/cli.js"), "tools"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "screenshot" in tools.stdout
    assert len(observer.servers()) == 1


def test_a_killed_tool_server_is_followed_by_one_at_the_same_address(
    server: list[str], pidproof: Pidproof, observer: Observer
) -> None:
    first = pidproof.ensure("argent", *version(VERSION, server))
    os.kill(first["pid"], signal.SIGKILL)
    with observer.watching():
        second = pidproof.ensure("argent", *version(VERSION, server))
    assert (second["action"], second["url"]) == ("spawned", first["url"])
    assert observer.one().pid == second["pid"] != first["pid"]
    print(f"after a kill: {second['elapsed_ms']:.0f} ms")


def test_a_wedged_tool_server_is_replaced(
    server: list[str], pidproof: Pidproof, observer: Observer
) -> None:
    first = pidproof.ensure("argent", *version(VERSION, server))
    os.kill(first["pid"], signal.SIGSTOP)
    assert pidproof("status", "argent").status == 150
    with observer.watching():
        second = pidproof.ensure("argent", *version(VERSION, server))
    assert second["action"] == "replaced"
    assert observer.one().pid == second["pid"] != first["pid"]
    print(f"after a wedge: {second['elapsed_ms']:.0f} ms")


def test_an_older_tool_server_is_replaced_and_a_newer_one_is_kept(
    server: list[str], pidproof: Pidproof, observer: Observer
) -> None:
    with observer.watching():
        old = pidproof.ensure("argent", *version("0.25.2", server))
        new = pidproof.ensure("argent", *version("0.26.0", server))
        late = pidproof.ensure("argent", *version("0.25.2", server))
    assert (new["action"], new["version"]) == ("replaced", "0.26.0")
    assert (late["action"], late["version"], late["pid"]) == ("reused", "0.26.0", new["pid"])
    assert observer.one().pid == new["pid"] != old["pid"]
    print(f"another version: {new['elapsed_ms']:.0f} ms")


def test_launchers_killed_while_they_start_it_leave_no_second_tool_server(
    server: list[str], pidproof: Pidproof, observer: Observer
) -> None:
    """12 rounds; argent's own launcher left a second one in 20 of 25."""
    seed = random.SystemRandom().randrange(10**6)
    # A GET without its token is refused: it serves.
    Rounds(pidproof, observer, version(VERSION, server), answer=401).run(12, seed)


def test_the_command_in_the_example_is_the_one_that_is_tested(server: list[str]) -> None:
    text = (ROOT / "docs/examples/argent.md").read_text()
    command = re.sub(r"\s*\\\n\s*", " ", text)
    for option, value in zip(OPTIONS[::2], OPTIONS[1::2], strict=True):
        assert f"{option} {value}" in command or f"{option} '{value}'" in command
