# SPDX-License-Identifier: MIT
"""Servers that people run: started once, found again, ended with all that they started."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers import NEEDS_NOBODY, NOBODY, needs_linux, run, wait_until
from system.launching import NODE_SERVER, PIDPROOF, needs, python_server, status_of


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from system.launching import Pidproof
    from system.observer import Observer

NGINX = """\
worker_processes 2;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{ listen 127.0.0.1:{port}; location / {{ return 200 "nginx\\n"; }} }}
}}
"""
# nginx reads its port from its configuration only, so a shell writes that first.
START_NGINX = """\
sed "s/PORT/$PORT/" "$1/template" >"$1/nginx.conf" &&
exec nginx -p "$1" -c "$1/nginx.conf" -e "$1/error.log" -g 'daemon off;'
"""


def redis(directory: Path) -> list[str]:
    """Return the command of a redis-server that keeps nothing."""
    quiet = ["--save", "", "--appendonly", "no", "--dir", str(directory)]
    return ["redis-server", "--port", "{port}", "--bind", "127.0.0.1", *quiet]


def nginx(directory: Path) -> list[str]:
    """Return the command of an nginx whose every file is below a directory."""
    (directory / "template").write_text(NGINX.format(directory=directory, port="PORT"))
    return ["sh", "-c", START_NGINX, "sh", str(directory)]


def command_of(name: str, directory: Path) -> list[str]:
    """Return options and command of a server."""
    match name:
        case "python":
            return python_server(directory / "empty")
        case "node":
            return ["--http", "/", "--port", "auto", "--", *NODE_SERVER]
        case "redis by port":
            return ["--tcp", "--", *redis(directory)]
        case "redis by ping":
            return ["--exec", "redis-cli -p {port} ping", "--", *redis(directory)]
        case _:
            return ["--http", "/", "--port", "auto", "--", *nginx(directory)]


SERVERS = [
    pytest.param("python"),
    pytest.param("node", marks=needs("node")),
    pytest.param("redis by port", marks=needs("redis-server")),
    pytest.param("redis by ping", marks=needs("redis-server", "redis-cli")),
    pytest.param("nginx", marks=needs("nginx")),
]


@pytest.fixture(autouse=True)
def _with_sbin(monkeypatch: pytest.MonkeyPatch) -> None:
    # Debian keeps nginx there.
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin")


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Options and command of each server in turn."""
    return command_of(request.param, tmp_path)


def accepts(port: int) -> bool:
    """Say whether somebody listens on a port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_it_is_started_once_and_found_again(
    server: list[str], pidproof: Pidproof, observer: Observer
) -> None:
    first = pidproof.ensure("it", *server)
    again = pidproof.ensure("it", *server)
    assert (first["action"], again["action"]) == ("spawned", "reused")
    assert (first["pid"], first["url"]) == (again["pid"], again["url"])
    assert accepts(first["port"])
    status = pidproof("status", "it", "--json")
    assert (status.status, status.data["state"]) == (0, "healthy")
    # Its own child or its own workers; nobody else has stayed.
    assert {line.session for line in observer.family()} == {first["pid"]}


def test_stop_ends_it_with_all_that_it_started(
    server: list[str], pidproof: Pidproof, observer: Observer
) -> None:
    running = pidproof.ensure("it", *server)
    done = pidproof("stop", "it", "--json")
    assert (done.status, done.data["action"]) == (0, "terminated")
    assert observer.family() == []
    assert not accepts(running["port"])


def test_a_killed_one_is_followed_by_a_new_one_at_the_same_address(
    server: list[str], pidproof: Pidproof, observer: Observer
) -> None:
    first = pidproof.ensure("it", *server)
    os.kill(first["pid"], signal.SIGKILL)
    second = pidproof.ensure("it", *server)
    assert second["action"] == "spawned"
    assert second["url"] == first["url"]
    assert {line.session for line in observer.family()} == {second["pid"]}


# A tcp probe is answered by the kernel, whatever has become of the server.
@pytest.mark.parametrize(
    "server", [one for one in SERVERS if one.values != ("redis by port",)], indirect=True
)
def test_a_stopped_one_is_ended_and_replaced(
    server: list[str], pidproof: Pidproof, observer: Observer
) -> None:
    """SIGSTOP: alive, its port still accepts, and it answers nothing."""
    first = pidproof.ensure("it", *server)
    for line in observer.family():
        os.kill(line.pid, signal.SIGSTOP)
    second = pidproof.ensure("it", "--probe-timeout", "0.2", "--grace", "2", *server)
    assert second["action"] == "replaced"
    assert second["pid"] != first["pid"]
    assert {line.session for line in observer.family()} == {second["pid"]}


@needs("nginx")
def test_the_port_of_nginx_is_proven_although_its_workers_serve_it(
    tmp_path: Path, pidproof: Pidproof, observer: Observer
) -> None:
    running = pidproof.ensure("web", *command_of("nginx", tmp_path))
    workers = [line for line in observer.family() if line.parent == running["pid"]]
    assert len(workers) == 2
    assert status_of(running["url"]) == 200
    # A worker dies and is replaced: the same server.
    os.kill(workers[0].pid, signal.SIGKILL)
    wait_until(lambda: len(observer.family()) == 3 and workers[0] not in observer.family())
    assert pidproof.ensure("web", *command_of("nginx", tmp_path))["pid"] == running["pid"]


# --------------------------------------------------------------------------------- PostgreSQL


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory that a user without rights can reach and write."""
    directory = Path(run(["mktemp", "-d", "/tmp/pidproof-XXXXXX"]).strip())
    if os.geteuid() == 0:
        os.chown(directory, NOBODY, NOBODY)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def without_rights() -> Sequence[str]:
    """Return what turns root into nobody, for programs that refuse to run as root."""
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return drop if os.geteuid() == 0 else []


@needs_linux("to be the reaper of orphans")
@needs("initdb", "postgres", "pg_isready")
@pytest.mark.skipif(
    os.geteuid() == 0 and NEEDS_NOBODY.args[0], reason="PostgreSQL does not run as root"
)
def test_postgres_is_kept_and_stopped_with_all_its_processes(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, pidproof: Pidproof, observer: Observer
) -> None:
    drop = without_rights()
    data = elsewhere / "data"
    run([*drop, "initdb", "-D", str(data), "-A", "trust", "-N", "-U", "tester"])
    state = elsewhere / "state"
    environment = {**os.environ, "PIDPROOF_STATE_DIR": str(state), "HOME": str(elsewhere)}
    here = ["-h", "127.0.0.1", "-k", str(elsewhere), "-c", "fsync=off"]
    server = ["postgres", "-D", str(data), "-p", "{port}", *here]
    ensure = [*drop, *PIDPROOF, "ensure", "db", "--exec", "pg_isready -q -h 127.0.0.1 -p {port}"]

    urls = [run([*ensure, "--", *server], env=environment, cwd="/") for _ in range(2)]

    assert urls[0] == urls[1]
    processes = observer.family()
    assert len(processes) > 2
    run([*drop, *PIDPROOF, "stop", "db"], env=environment, cwd="/")
    assert observer.family() == []
