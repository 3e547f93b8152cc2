# SPDX-License-Identifier: MIT
"""However many launchers begin at once, a key has one server and all get that one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from system.launching import python_server, status_of


if TYPE_CHECKING:
    from pathlib import Path

    from system.launching import Pidproof
    from system.observer import Observer


def collapse(callers: int, tmp_path: Path, pidproof: Pidproof, observer: Observer) -> None:
    """Start cold launchers at once and check that they end with one server."""
    ensure = ["ensure", "web", *python_server(tmp_path / "empty")]
    with observer.watching() as watch:
        done = pidproof.at_once([ensure] * callers)
    assert [one.status for one in done] == [0] * callers, [one for one in done if one.status]
    assert len({one.url for one in done}) == 1
    assert not any(one.words for one in done)
    assert status_of(done[0].url) == 200
    server = observer.one()
    assert pidproof("status", "web", "--json").data["pid"] == server.pid
    slowest = max(one.seconds for one in done)
    print(f"{callers} callers: the last one done after {slowest:.2f} s, {watch.looks} looks")


def test_twelve_cold_launchers_get_one_server(
    tmp_path: Path, pidproof: Pidproof, observer: Observer
) -> None:
    collapse(12, tmp_path, pidproof, observer)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("burst", [1, 2, 3])
def test_fifty_cold_launchers_get_one_server(
    burst: int, tmp_path: Path, pidproof: Pidproof, observer: Observer
) -> None:
    collapse(50, tmp_path, pidproof, observer)


def test_a_burst_after_a_crash_gets_one_new_server(
    tmp_path: Path, pidproof: Pidproof, observer: Observer
) -> None:
    ensure = ["ensure", "web", "--json", *python_server(tmp_path / "empty")]
    first = pidproof(*ensure).data
    assert pidproof("kill", first["identity"], "-s", "KILL").status == 0
    with observer.watching():
        done = pidproof.at_once([ensure] * 8)
    assert [one.status for one in done] == [0] * 8
    assert {one.data["pid"] for one in done} == {observer.one().pid}
    assert observer.one().pid != first["pid"]
    assert sorted(one.data["action"] for one in done) == ["reused"] * 7 + ["spawned"]


def each_key_its_own(keys: int, tmp_path: Path, pidproof: Pidproof, observer: Observer) -> None:
    """Start one launcher for each of many keys at once, and check that they get a server each."""
    server = python_server(tmp_path / "empty")
    with observer.watching():
        done = pidproof.at_once([["ensure", f"web-{index}", *server] for index in range(keys)])
    assert [one.status for one in done] == [0] * keys, [one for one in done if one.status]
    assert len({one.url for one in done}) == keys
    servers = observer.servers()
    assert len(servers) == len({seen.record for seen in servers}) == keys


def test_five_keys_at_once_get_five_servers(
    tmp_path: Path, pidproof: Pidproof, observer: Observer
) -> None:
    each_key_its_own(5, tmp_path, pidproof, observer)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_twenty_keys_at_once_get_twenty_servers(
    tmp_path: Path, pidproof: Pidproof, observer: Observer
) -> None:
    each_key_its_own(20, tmp_path, pidproof, observer)
