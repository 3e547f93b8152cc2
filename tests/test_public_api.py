# SPDX-License-Identifier: MIT
"""What other programs rely on: the names, their pickles, their types."""

from __future__ import annotations

import ast
import builtins
import importlib.resources
import inspect
import os
import pickle
from pathlib import Path

import pytest

import pidproof
from helpers import python, run
from pidproof import (
    ArgvPattern,
    Error,
    Running,
    Status,
    Stopped,
    Swept,
    errors,
    identify,
)
from pidproof.cli.codes import status_of


NAMES = [
    "ArgvPattern",
    "CommandNotExecutable",
    "CommandNotFound",
    "Error",
    "Exec",
    "Holder",
    "Http",
    "IdentityUnknown",
    "InvalidArgument",
    "InvalidToken",
    "KeyNotFound",
    "Liveness",
    "LockLost",
    "LockTimeout",
    "LogLine",
    "NeverHealthy",
    "PortInUse",
    "ProcessGone",
    "ProcessHandle",
    "ProcessIdentity",
    "ProcessSurvived",
    "RecordError",
    "Refused",
    "Running",
    "Server",
    "SpawnLock",
    "StartTimeout",
    "StateError",
    "Status",
    "Stopped",
    "Swept",
    "Target",
    "Tcp",
    "Unix",
    "UnsafePath",
    "VersionMismatch",
    "WaitTimeout",
    "find",
    "identify",
    "list_all",
    "sweep",
]
BUILTINS = {
    "InvalidArgument": ValueError,
    "InvalidToken": ValueError,
    "ProcessGone": ProcessLookupError,
    "IdentityUnknown": PermissionError,
    "Refused": PermissionError,
    "ProcessSurvived": TimeoutError,
    "WaitTimeout": TimeoutError,
    "LockTimeout": TimeoutError,
    "LockLost": RuntimeError,
    "StateError": OSError,
    "UnsafePath": PermissionError,
    "RecordError": OSError,
    "KeyNotFound": LookupError,
    "NeverHealthy": RuntimeError,
    "StartTimeout": TimeoutError,
    "PortInUse": OSError,
    "CommandNotFound": FileNotFoundError,
    "CommandNotExecutable": PermissionError,
    "VersionMismatch": RuntimeError,
}
STATUSES = {
    "InvalidArgument": 2,
    "InvalidToken": 2,
    "ProcessGone": 1,
    "IdentityUnknown": 77,
    "Refused": 77,
    "ProcessSurvived": 77,
    "WaitTimeout": 75,
    "LockTimeout": 75,
    "LockLost": 75,
    "StateError": 74,
    "UnsafePath": 77,
    "RecordError": 78,
    "KeyNotFound": 3,
    "NeverHealthy": 69,
    "StartTimeout": 69,
    "PortInUse": 69,
    "CommandNotFound": 127,
    "CommandNotExecutable": 126,
    "VersionMismatch": 78,
    "Error": 70,
}
ERRORS = [getattr(pidproof, name) for name in [*BUILTINS, "Error"]]


def test_the_public_names_are_these() -> None:
    assert pidproof.__all__ == ["__version__", *NAMES]
    assert dir(pidproof) == sorted(pidproof.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(pidproof, name)
    assert value.__name__ == name
    assert inspect.getdoc(value), name


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = pidproof.nonsense


def test_a_star_import_gives_them_all() -> None:
    out = run(python("from pidproof import *; print(sorted(n for n in dir() if n[0] != '_'))"))
    assert ast.literal_eval(out) == sorted(NAMES)


def test_what_type_checkers_see_is_what_is_there() -> None:
    tree = ast.parse(Path(pidproof.__file__).read_text())
    seen = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            for alias in node.names:
                if alias.asname is not None:
                    assert alias.asname == alias.name
                    seen[alias.name] = node.module
    assert sorted(seen) == NAMES
    for name, module in seen.items():
        assert module == f"pidproof.{pidproof._HOME_OF[name]}"


def test_the_types_are_shipped() -> None:
    assert importlib.resources.files("pidproof").joinpath("py.typed").is_file()


# ----------------------------------------------------------------------------------------- errors


def test_these_are_all_the_errors() -> None:
    found = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, Error)
    ]
    assert {kind.__name__ for kind in found} == {*BUILTINS, "Error"}


@pytest.mark.parametrize(("name", "builtin"), BUILTINS.items())
def test_every_error_is_the_builtin_that_a_caller_expects(
    name: str, builtin: type[Exception]
) -> None:
    kind = getattr(pidproof, name)
    assert issubclass(kind, Error)
    assert issubclass(kind, builtin)
    assert getattr(builtins, builtin.__name__) is builtin


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_survives_a_pickle(kind: type[Error]) -> None:
    facts = {"pid": 7, "path": "/p", "log_tail": ["a"], "errno": 28}
    error = kind("it was so; nothing was done", remedy="do this", **facts)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error) == "it was so; nothing was done"
    assert again.remedy == "do this"
    for name, fact in facts.items():
        assert getattr(again, name) == fact


@pytest.mark.parametrize(("name", "status"), STATUSES.items())
def test_every_error_has_its_exit_status(name: str, status: int) -> None:
    assert status_of(getattr(pidproof, name)("x")) == status


# ---------------------------------------------------------------------------------------- results


def results() -> list[object]:
    """Return one of each result."""
    mine = identify(os.getpid())
    return [
        Running(
            key="k",
            pid=1,
            identity=mine,
            url=None,
            port=None,
            state="running",
            action="reused",
            version=None,
            log=None,
            token="secret",
            elapsed_ms=1.5,
        ),
        Status(
            key="k",
            state="healthy",
            detail="d",
            pid=1,
            identity=mine,
            url=None,
            port=None,
            managed="auto",
            version=None,
            command=("a",),
            log=None,
            started_at=None,
        ),
        Stopped(key="k", action="gone", pid=None),
        Swept(action="left", key=None, pid=1, reason="r"),
        mine,
        ArgvPattern(ArgvPattern.named("node"), "x", ArgvPattern.ANY, ...),
    ]


@pytest.mark.parametrize("result", results(), ids=lambda result: type(result).__name__)
def test_every_result_survives_a_pickle(result: object) -> None:
    again = pickle.loads(pickle.dumps(result))
    assert again == result
    assert hash(again) == hash(result)
    assert repr(again) == repr(result)


@pytest.mark.parametrize("result", results()[:4], ids=lambda result: type(result).__name__)
def test_results_are_frozen(result: Running) -> None:
    with pytest.raises(AttributeError, match="is frozen"):
        result.key = "other"
    with pytest.raises(AttributeError, match="is frozen"):
        del result.key
    with pytest.raises(TypeError, match="has no field 'nonsense'"):
        type(result)(**result.as_dict(), nonsense=1)
    with pytest.raises(TypeError, match="needs the field"):
        type(result)()
    assert result != object()


def test_no_secret_is_in_a_repr() -> None:
    assert "secret" not in repr(results()[0])
