# SPDX-License-Identifier: MIT
"""Versions: who is replaced, who is kept, and two callers that cannot agree."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from pidproof import Refused, VersionMismatch
from pidproof.server.version import _numbers
from servers import is_alive, sleeper


if TYPE_CHECKING:
    from servers import State


def replaced(have: str | None, want: str | None, policy: str = "upgrade") -> bool:
    """Say whether the server of one version gives way to another; both end well."""
    first = sleeper(version=have).ensure()
    second = sleeper(version=want, on_mismatch=policy).ensure()
    assert (first.pid != second.pid) == (second.action == "replaced")
    assert is_alive(first.pid) == (first.pid == second.pid)
    assert second.version == (want if second.action == "replaced" else have)
    return second.action == "replaced"


@pytest.mark.parametrize(
    ("have", "want", "expected"),
    [
        ("1.2", "1.2", False),
        ("1.2", "1.3", True),
        ("1.9", "1.10", True),
        ("1.10", "1.9", False),
        ("2", "1.9.9", False),
        ("v1.2", "v1.3", True),
        ("1.2", "1.2.0", False),
        ("1.2-rc1", "1.2", True),
        ("abc", "abd", True),
        (None, "1.0", True),
        ("1.0", None, False),
    ],
)
def test_upgrade_replaces_an_older_or_incomparable_version(
    have: str | None, want: str | None, expected: bool
) -> None:
    assert replaced(have, want) is expected


@pytest.mark.parametrize(
    ("have", "want", "expected"),
    [("1.2", "1.2", False), ("1.2", "1.3", True), ("1.3", "1.2", True), (None, "1", True)],
)
def test_replace_replaces_whatever_differs(have: str | None, want: str, expected: bool) -> None:
    assert replaced(have, want, "replace") is expected


def test_reuse_replaces_nothing() -> None:
    assert not replaced("1.2", "1.3", "reuse")


def test_error_names_both_versions_and_leaves_the_server(state: State) -> None:
    running = sleeper(version="1.2").ensure()
    with pytest.raises(VersionMismatch, match=r"version 1\.2, not 1\.3; it was left") as caught:
        sleeper(version="1.3", on_mismatch="error").ensure()
    assert (caught.value.__dict__["running"], caught.value.__dict__["wanted"]) == ("1.2", "1.3")
    assert state.servers() == [running.pid]
    assert sleeper(version="1.2", on_mismatch="error").ensure().pid == running.pid


def test_two_callers_that_replace_each_other_are_stopped(state: State) -> None:
    sleeper(version="a").ensure()
    second = sleeper(version="b", on_mismatch="replace").ensure()
    assert second.action == "replaced"
    with pytest.raises(VersionMismatch, match="two callers want different versions"):
        sleeper(version="a", on_mismatch="replace").ensure()
    assert state.servers() == [second.pid]
    # A third version was not replaced just now.
    assert sleeper(version="c", on_mismatch="replace").ensure().action == "replaced"


def test_after_a_minute_it_may_be_replaced_back(state: State) -> None:
    sleeper(version="a").ensure()
    sleeper(version="b", on_mismatch="replace").ensure()
    state.edit("sleeper", replaced={"version": "a", "at": time.monotonic() - 61})
    assert sleeper(version="a", on_mismatch="replace").ensure().action == "replaced"


@pytest.mark.parametrize("policy", ["upgrade", "replace"])
def test_a_server_started_by_hand_is_never_replaced(state: State, policy: str) -> None:
    manual = sleeper(version="1.2").start()
    with pytest.raises(Refused, match="by hand"):
        sleeper(version="1.3", on_mismatch=policy).ensure()
    assert state.servers() == [manual.pid]


def test_numbers_compare_without_trailing_zeros() -> None:
    assert _numbers("v1.2.0.0") == (1, 2)
    assert _numbers("0") == ()
    assert _numbers("1.x") is None
    assert _numbers("") is None
    assert _numbers("1.²") is None
    assert _numbers("9" * 5000) is not None
