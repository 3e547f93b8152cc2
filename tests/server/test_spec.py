# SPDX-License-Identifier: MIT
"""Wishes: what can never work is refused before anything is touched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pidproof import ArgvPattern, Http, InvalidArgument, Server
from pidproof.server.directory import KeyDirectory
from pidproof.server.plan import Plan, prepare
from pidproof.server.spec import make_spec, spec_from_record


if TYPE_CHECKING:
    from servers import State

COMMAND = ["serve", "it"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"port": 0}, "port 0"),
        ({"port": 65536}, "port 65536"),
        ({"port": "http"}, "port 'http'"),
        ({"port": True}, "port True"),
        ({"port_env": ""}, "variable"),
        ({"port_env": "A=B"}, "variable"),
        ({"env": {"A=B": "x"}}, "variable"),
        ({"env": {"A": "x\0"}}, "variable"),
        ({"env": {"PIDPROOF_NONCE": "x"}}, "set by pidproof itself"),
        ({"timeout": -1}, "from 0 to 86400"),
        ({"timeout": float("nan")}, "from 0 to 86400"),
        ({"timeout": float("inf")}, "from 0 to 86400"),
        ({"startup_timeout": 86401}, "from 0 to 86400"),
        ({"grace": -0.1}, "from 0 to 86400"),
        ({"idle_timeout": -1}, "from 0 to 86400"),
        ({"failure_threshold": 0}, "at least 1"),
        ({"on_mismatch": "maybe"}, "must be one of upgrade, replace, reuse, error"),
        ({"on_unknown": "guess"}, "must be one of error, beside"),
        ({"probe": 5}, "neither a probe nor callable"),
        ({"probe": Http("/")}, "needs a port"),
    ],
)
def test_an_option_that_cannot_work_is_refused(
    state: State, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidArgument, match=says):
        Server("k", COMMAND, **options)
    assert not state.root.exists()


@pytest.mark.parametrize(
    ("command", "says"),
    [([], "is empty"), ([""], "is empty"), ("serve it", "sequence of words"), (["a\0"], "NUL")],
)
def test_a_command_that_is_none_is_refused(command: Any, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        Server("k", command)


@pytest.mark.parametrize("where", ["command", "env"])
@pytest.mark.parametrize("word", ["{port}", "--on={port}", "{fd}"])
def test_a_port_that_is_named_is_chosen(where: str, word: str) -> None:
    command = [*COMMAND, word] if where == "command" else COMMAND
    spec = make_spec("k", command, env={"A": word} if where == "env" else None)
    assert spec.port == "auto"
    assert spec.hands_over_socket == (word == "{fd}")
    assert make_spec("k", COMMAND).port is None


def test_paths_are_words_too() -> None:
    assert make_spec("k", [Path("/bin/x"), "y"]).command == ("/bin/x", "y")


def test_other_braces_are_left_alone() -> None:
    spec = make_spec("k", ["x", '{"a": {port}, "b": {}}', "{other}"])
    assert Plan(spec, 80, None).command[1:] == ['{"a": 80, "b": {}}', "{other}"]


def test_the_whole_wait_covers_a_start_and_an_end_by_default() -> None:
    spec = make_spec("k", COMMAND, startup_timeout=10, grace=5)
    assert spec.timeout >= 10 + 2 * 5


def test_a_wish_is_read_back_from_the_record() -> None:
    spec = make_spec(
        "k",
        ["/bin/x", "{port}", "{token}"],
        probe=Http("/h", status=201, headers={"A": "{token}"}),
        port_env="P",
        env={"B": "{port}"},
        cwd="/",
        version="9",
        startup_timeout=3,
        grace=4,
        probe_timeout=0.5,
        failure_threshold=5,
        idle_timeout=6,
        pattern=ArgvPattern("x", ...),
    )
    with KeyDirectory.open("k", create=True) or pytest.fail("none") as directory:
        record = prepare(spec, Plan(spec, 81, None), directory, None, path="/bin/x", managed="auto")
    again = spec_from_record(record.data)
    different = {
        name
        for name, value in spec.as_dict().items()
        if name not in {"probe", "timeout"} and getattr(again, name) != value
    }
    assert not different
    assert again.probe is not None
    assert spec.probe is not None
    assert again.probe.to_json() == spec.probe.to_json()
