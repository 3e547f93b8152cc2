# SPDX-License-Identifier: MIT
"""Whose port it is: the server's, its child's, a stranger's, or nobody's."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers import NEEDS_ROOT, NOBODY, TESTS, needs_linux, python, run, wait_until
from outside import HAS_PROC
from pidproof import Http, IdentityUnknown, PortInUse, Server, Tcp, _native, identify
from pidproof.server import listener
from servers import PYTHON, QUICK, free_port, kill, stranger


if TYPE_CHECKING:
    from servers import Small, State


def has_ipv6() -> bool:
    """Say whether this machine has an address of that kind."""
    try:
        with socket.socket(socket.AF_INET6) as trial:
            trial.bind(("::1", 0))
    except OSError:
        return False
    return True


NEEDS_IPV6 = pytest.mark.skipif(not has_ipv6(), reason="needs IPv6")
AF_NETLINK = 16  # of Linux
HOSTS = ["127.0.0.1", "0.0.0.0", pytest.param("::", marks=NEEDS_IPV6)]


@pytest.mark.parametrize("host", HOSTS)
def test_a_socket_of_the_server_is_its_own(state: State, small: Small, host: str) -> None:
    running = small.server("--host", host).ensure()
    assert running.port is not None
    proof = listener.prove(running.port, running.identity, state.record("web")["nonce"])
    assert proof.found == "ours"
    assert proof.listener is not None
    assert proof.listener["pid"] == running.pid
    assert listener.is_proven(proof.listener, running.port)
    assert state.record("web")["listener"] == proof.listener


def test_a_proof_ends_with_the_socket(state: State, small: Small) -> None:
    running = small.server().ensure()
    port = running.port
    assert port is not None
    proven = state.record("web")["listener"]
    assert not listener.is_proven({**proven, "inode": proven["inode"] + 1}, port)
    assert not listener.is_proven({**proven, "fd": 0}, port)
    assert not listener.is_proven({**proven, "pid": os.getpid()}, port)
    assert not listener.is_proven(None, port)
    kill(running.pid)
    assert not listener.is_proven(proven, port)


def number_of(server: socket.socket) -> int:
    """Return the number that the kernel has for a socket, which fstat tells on Linux alone."""
    if HAS_PROC:
        return os.fstat(server.fileno()).st_ino
    found = _native.find_listener(server.getsockname()[1], os.getsid(0))
    assert found is not None
    return found[4]


def test_a_socket_that_was_shut_down_and_kept_proves_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        proven = {
            "pid": os.getpid(),
            "fd": server.fileno(),
            "inode": number_of(server),
        }
        assert listener.is_proven(proven, port)
        server.shutdown(socket.SHUT_RDWR)
        assert not listener.is_proven(proven, port)
        with socket.create_server(("127.0.0.1", port)):
            assert not listener.is_proven(proven, port)


CHILD_LISTENS = """
import os, signal, socket, sys
if os.fork():
    while True:
        signal.pause()
if sys.argv[2:]:
    os.setsid()
s = socket.socket()
s.bind(("127.0.0.1", int(sys.argv[1])))
s.listen()
while True:
    c, _ = s.accept()
    c.close()
"""


@pytest.mark.parametrize("options", [[], ["in a session of its own"]])
def test_a_socket_of_what_the_server_has_started_is_the_servers(
    state: State, options: list[str]
) -> None:
    command = [*PYTHON, "-c", CHILD_LISTENS, "{port}", *options]
    running = Server("web", command, probe=Tcp(), **QUICK).ensure()
    proven = state.record("web")["listener"]
    assert proven["pid"] != running.pid
    kill(proven["pid"])


@pytest.mark.parametrize("host", HOSTS)
def test_a_socket_of_a_stranger_names_him(host: str) -> None:
    with stranger(host=host) as (port, pid):
        proof = listener.prove(port, identify(os.getpid()), "0" * 32)
        assert proof.found == "stranger"
        assert f"port {port} belongs to process {pid} (" in proof.detail
        owner = listener.owner_of(port)
        assert owner is not None
        assert owner.startswith(f"process {pid} (")


def test_nobody_is_nobody() -> None:
    port = free_port()
    proof = listener.prove(port, identify(os.getpid()), "0" * 32)
    assert (proof.found, proof.listener) == ("nobody", None)
    assert listener.owner_of(port) is None


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("127.0.0.2", marks=needs_linux("an address for each of 127.0.0.0/8")),
        pytest.param("::1", marks=NEEDS_IPV6),
    ],
)
def test_a_socket_on_another_address_is_nobodys(host: str) -> None:
    with stranger(host=host) as (port, _):
        assert listener.owner_of(port) is None


def test_a_bound_socket_that_does_not_listen_is_nobodys() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert listener.owner_of(bound.getsockname()[1]) is None


@NEEDS_IPV6
def test_an_ipv6_socket_of_ours_does_not_vouch_for_a_strangers_ipv4_one(
    state: State, tmp_path: Path
) -> None:
    """Both listen on one port; the probe would reach the stranger, who answers 200."""
    port = free_port()
    code = (
        "import signal, socket, sys\n"
        "s = socket.socket(socket.AF_INET6)\n"
        "s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)\n"
        "s.bind(('::', int(sys.argv[1])))\n"
        "s.listen()\n"
        "open(sys.argv[2], 'w').close()\n"
        "while True: signal.pause()\n"
    )
    ready = tmp_path / "ready"
    running = Server("six", [*PYTHON, "-c", code, str(port), str(ready)], **QUICK).ensure()
    wait_until(ready.exists)
    with stranger(port, serving=True) as (_, pid):
        proof = listener.prove(port, running.identity, state.record("six")["nonce"])
        assert proof.found == "stranger"
        assert f"process {pid} (" in proof.detail


def test_a_stranger_who_took_the_port_of_a_running_server_is_not_healthy(
    state: State, small: Small
) -> None:
    """The server has closed its socket, as one that reloads itself does."""
    code = (
        "import signal, socket, sys, time\n"
        "s = socket.socket()\n"
        "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
        "s.bind(('127.0.0.1', int(sys.argv[1])))\n"
        "s.listen()\n"
        "signal.signal(signal.SIGUSR1, lambda *_: s.close())\n"
        "while True:\n"
        "    time.sleep(0.05) if s.fileno() < 0 else signal.pause()\n"
    )
    server = Server(
        "web",
        [*PYTHON, "-c", code, "{port}"],
        probe=Tcp(),
        port=free_port(),
        **{**QUICK, "probe_timeout": 0.1},
    )
    running = server.ensure()
    assert running.port is not None
    os.kill(running.pid, signal.SIGUSR1)
    wait_until(lambda: listener.owner_of(running.port or 0) is None)
    with stranger(running.port, serving=True) as (port, pid):
        assert server.status().state == "unhealthy"
        assert f"process {pid} (" in server.status().detail
        with pytest.raises(PortInUse, match=f"process {pid} "):
            server.ensure()
        assert port == running.port
    assert not state.running()


def test_whose_port_cannot_be_told_is_unknown(
    state: State, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where /proc/net is not to be read: nothing is ended, nothing is started."""
    running = small.server().ensure()
    state.edit("web", listener=None)

    def denied(port: int, session: int) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pidproof._native.find_listener", denied)
    assert small.server().status().state == "unknown"
    with pytest.raises(IdentityUnknown, match=r"whose port .* cannot be told"):
        small.server().ensure()
    assert state.servers() == [running.pid]


def test_out_of_descriptors_a_strangers_port_is_unknown_and_not_ours() -> None:
    """Nobody could be looked into, which is not the same as a holder that hides."""
    code = """
        import os, resource, sys
        from pidproof import identify
        from pidproof.server import listener

        port, me = int(sys.argv[1]), identify(os.getpid())
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
        held = []
        try:
            while True:
                held.append(os.dup(0))
        except OSError:
            pass
        for _ in range(4):
            proof = listener.prove(port, me, "0" * 32)
            print(proof.found, proof.detail)
            os.close(held.pop())
    """
    with stranger() as (port, pid):
        said = run(python(code, str(port))).splitlines()
    few = f"unknown whose port {port} is cannot be told: "
    assert [line.startswith(few) for line in said] == [True, True, False, False]
    assert all(os.strerror(errno.EMFILE) in line for line in said[:2])
    assert all(f"stranger port {port} belongs to process {pid} (" in line for line in said[2:])


@NEEDS_ROOT
def test_a_socket_of_another_user_that_is_not_to_be_seen_is_a_strangers() -> None:
    with stranger() as (port, pid):
        os.seteuid(NOBODY)
        try:
            proof = listener.prove(port, identify(os.getpid()), "0" * 32)
        finally:
            os.seteuid(0)
    assert proof.found == "stranger"
    assert "uid 0" in proof.detail or f"process {pid}" in proof.detail


@NEEDS_IPV6
def test_http_over_a_dual_stack_socket_is_ready(small: Small) -> None:
    running = Server("web", small.command("--host", "::"), probe=Http("/"), **QUICK).ensure()
    assert running.action == "spawned"


@needs_linux("sock_diag(7)")
@pytest.mark.parametrize("denied", [errno.EPERM, errno.EPROTONOSUPPORT])
@pytest.mark.parametrize("host", HOSTS)
def test_without_netlink_the_listener_is_found_all_the_same(denied: int, host: str) -> None:
    """A sandbox that has no sock_diag(7) has /proc/net/tcp."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family, dualstack_ipv6=":" in host) as server:
        port = server.getsockname()[1]
        code = f"""
            import os, sys
            sys.path.insert(0, {str(TESTS)!r})
            import seccomp
            from pidproof import _native
            before = _native.find_listener({port}, 0)
            seccomp.deny(seccomp.SOCKET, {denied}, first={AF_NETLINK})
            after = _native.find_listener({port}, 0)
            pid, fd, inode = before[1], before[2], before[4]
            print(before == after, pid == os.getppid(),
                  _native.check_listener({port}, pid, fd, inode),
                  _native.find_listener({free_port()}, 0))
        """
        assert run(python(code)).split() == ["True", "True", "True", "None"]


@needs_linux("/proc/net/tcp")
def test_connections_are_not_looked_through_to_find_a_listener() -> None:
    """/proc/net/tcp prints each of them; sock_diag(7) is asked for those that listen."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"from pidproof import _native; print(_native.find_listener({port}, 0)[1])"
        if shutil.which("strace") is None:
            pytest.skip("needs strace")
        traced = run(["strace", "-e", "trace=openat", "-o", "/dev/stdout", *python(code)])
    assert str(os.getpid()) in traced.splitlines()
    assert "/net/tcp" not in traced
