# SPDX-License-Identifier: MIT
"""Whose socket a port is, among descriptors that the test makes up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from darwin.kernel import ESTABLISHED, IPV4, IPV6, SO_REUSEPORT
from pidproof import _native


if TYPE_CHECKING:
    from darwin.kernel import Kernel, Process

pytestmark = pytest.mark.darwin

PORT = 8080
ANY = bytes(16)
LOOPBACK = bytes(12) + b"\x7f\0\0\1"
MAPPED = bytes(10) + b"\xff\xff\x7f\0\0\1"
ELSEWHERE = bytes(12) + b"\x0a\0\0\1"


def found(process: Process | None, *, session: int) -> tuple[bool, int] | None:
    answer = _native.find_listener(PORT, session)
    return None if answer is None else (answer[0], answer[1])


def test_nobody_listens(kernel: Kernel) -> None:
    process = kernel.process()
    assert _native.find_listener(PORT, process.session) is None
    kernel.socket(process, 4, PORT, id=1, state=ESTABLISHED)
    kernel.socket(process, 5, PORT + 1, id=2)
    kernel.socket(process, 6, PORT, id=3, address=ELSEWHERE)
    kernel.socket(process, 7, PORT, id=4, address=ANY, flags=IPV6)  # IPV6_V6ONLY
    assert _native.find_listener(PORT, process.session) is None


@pytest.mark.parametrize(
    ("address", "flags"),
    [(LOOPBACK, IPV4), (ANY, IPV4), (ANY, IPV4 | IPV6), (MAPPED, IPV4 | IPV6), (MAPPED, IPV6)],
    ids=["loopback", "any", "dual", "mapped", "mapped-only"],
)
def test_the_listener_is_found_with_descriptor_owner_and_number(
    kernel: Kernel, address: bytes, flags: int
) -> None:
    process, other = kernel.process(), kernel.process()
    kernel.socket(process, 9, PORT, id=2**40 + 1, address=address, flags=flags)
    ours = _native.find_listener(PORT, process.session)
    assert ours == (True, process.pid, 9, 501, 2**40 + 1)
    assert _native.find_listener(PORT, other.session) == (False, process.pid, 9, 501, 2**40 + 1)
    assert _native.check_listener(PORT, process.pid, 9, 2**40 + 1)


def test_a_worker_in_the_session_holds_it_for_the_server(kernel: Kernel) -> None:
    stranger, leader, worker = (kernel.process() for _ in range(3))
    worker.session = leader.pid
    for process in (stranger, worker):
        kernel.socket(process, 3, PORT, id=5)
    assert found(worker, session=leader.pid) == (True, worker.pid)


def test_the_closest_address_gets_the_connection(kernel: Kernel) -> None:
    """Another may bind 127.0.0.1 below a server that has bound every address."""
    server, thief = kernel.process(), kernel.process()
    kernel.socket(server, 3, PORT, id=5, address=ANY, flags=IPV4 | IPV6)
    assert found(server, session=server.pid) == (True, server.pid)
    assert _native.check_listener(PORT, server.pid, 3, 5)
    kernel.socket(thief, 3, PORT, id=6, address=ANY, flags=IPV4)
    assert found(server, session=server.pid) == (False, thief.pid)
    assert not _native.check_listener(PORT, server.pid, 3, 5)
    kernel.socket(thief, 4, PORT, id=7)
    assert _native.find_listener(PORT, server.pid) == (False, thief.pid, 4, 501, 7)


def test_a_port_that_is_shared_is_proven_anew_each_time(kernel: Kernel) -> None:
    server, other = kernel.process(), kernel.process()
    kernel.socket(server, 3, PORT, id=5, options=SO_REUSEPORT)
    assert _native.check_listener(PORT, server.pid, 3, 5)
    kernel.socket(other, 3, PORT, id=6, options=SO_REUSEPORT)
    assert not _native.check_listener(PORT, server.pid, 3, 5)


def test_a_socket_that_others_hold_too_is_one_socket(kernel: Kernel) -> None:
    server, worker = kernel.process(), kernel.process()
    for process in (server, worker):
        kernel.socket(process, 3, PORT, id=5, address=ANY)
    assert _native.check_listener(PORT, server.pid, 3, 5)


def test_a_check_is_of_that_process_descriptor_and_socket(kernel: Kernel) -> None:
    process, other = kernel.process(), kernel.process()
    kernel.socket(process, 3, PORT, id=5)
    kernel.socket(process, 4, PORT, id=6, state=ESTABLISHED)
    assert _native.check_listener(PORT, process.pid, 3, 5)
    for port, pid, fd, number in [
        (PORT + 1, process.pid, 3, 5),
        (PORT, other.pid, 3, 5),
        (PORT, process.pid, 4, 6),
        (PORT, process.pid, 5, 5),
        (PORT, process.pid, 3, 6),
        (PORT, process.pid, 3, 0),
        (PORT, 0, 3, 5),
        (PORT, process.pid, -1, 5),
    ]:
        assert not _native.check_listener(port, pid, fd, number)
    process.is_reaped()
    assert not _native.check_listener(PORT, process.pid, 3, 5)


def test_sockets_of_other_users_are_seen_by_root_alone(kernel: Kernel) -> None:
    process = kernel.process()
    process.effective_uid = process.real_uid = 502
    kernel.socket(process, 3, PORT, id=5)
    assert _native.find_listener(PORT, process.pid) is None
    assert not _native.check_listener(PORT, process.pid, 3, 5)
    kernel.is_called_by(0)
    assert found(process, session=process.pid) == (True, process.pid)


def test_a_process_with_more_descriptors_than_the_first_list_holds(kernel: Kernel) -> None:
    process = kernel.process()
    for fd in range(400):
        kernel.socket(process, fd, PORT + 1 + fd, id=fd + 1)
    kernel.socket(process, 999, PORT, id=99)
    assert found(process, session=process.pid) == (True, process.pid)
