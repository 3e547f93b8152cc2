# SPDX-License-Identifier: MIT
"""Whatever text reaches a parser of ours: an answer or an error of ours, and what was written back
is read as it was."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pidproof import (
    ArgvPattern,
    Error,
    Exec,
    Http,
    InvalidArgument,
    LogLine,
    ProcessIdentity,
    Server,
    Tcp,
    Unix,
    identify,
)
from pidproof.cli import main
from pidproof.cli.parser import parse
from pidproof.server import http_get, log
from pidproof.server.directory import KeyDirectory
from pidproof.server.probe import Probe
from pidproof.server.probes import from_json
from pidproof.server.record import BrokenRecord, Record, _parse
from pidproof.server.spec import make_spec, spec_from_record
from pidproof.server.version import _numbers


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The same inputs every time, so that what fails in CI fails here.
SAME = settings(derandomize=True, max_examples=200)
FEW = settings(SAME, max_examples=60)
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


# --------------------------------------------------------------------------------------- identity


@SAME
@given(ANY_TEXT | st.from_regex(r"pidproof:[0-9]{1,3}:[0-9:a-f-]{0,90}", fullmatch=True))
@example("1:1" + "0" * 40)
@example("1:" + "9" * 5000)
@example("²:³")
def test_any_text_is_a_token_or_none(text: str) -> None:
    try:
        identity = ProcessIdentity.parse(text)
    except InvalidArgument as error:
        assert error.remedy  # noqa: PT017
        return
    assert ProcessIdentity.parse(str(identity)) == identity
    identity.explain()


def test_the_token_of_a_process_reads_back() -> None:
    identity = identify(os.getpid())
    assert str(ProcessIdentity.parse(f" {identity}\n")) == str(identity)


# ----------------------------------------------------------------------------------------- record


@SAME
@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
@example(b'{"schema": 1' + b"0" * 5000 + b"}")
@example(b"[" * 100_000)
def test_any_bytes_are_a_record_or_a_known_error(raw: bytes) -> None:
    with contextlib.suppress(BrokenRecord, Error):
        assert isinstance(_parse(raw, "web", "path"), Record)


# ---------------------------------------------------------------------------------------- pattern


ELEMENT = st.one_of(
    st.binary(max_size=20),
    st.just(ArgvPattern.ANY),
    st.just(...),
    st.binary(min_size=1, max_size=9).filter(lambda raw: b"/" not in raw).map(ArgvPattern.named),
)


@SAME
@given(st.lists(ELEMENT, min_size=1, max_size=6), st.lists(st.binary(max_size=20), max_size=6))
def test_a_pattern_reads_back_and_matches_as_before(elements: list[Any], argv: list[bytes]) -> None:
    pattern = ArgvPattern(*elements)
    again = ArgvPattern.from_json(json.loads(json.dumps(pattern.to_json())))
    assert again == pattern
    assert again.matches(argv) == pattern.matches(argv)
    if not [element for element in elements if not isinstance(element, bytes)]:
        assert pattern.matches(elements)


@SAME
@given(JSON | st.lists(st.lists(st.sampled_from(["is", "named", "any", "rest"]) | ANY_TEXT)))
@example([["is", "\ud800"]])
@example([["named", ""]])
def test_anything_is_a_pattern_or_refused(data: Any) -> None:
    try:
        pattern = ArgvPattern.from_json(data)
    except InvalidArgument:
        return
    assert pattern.to_json() == data
    pattern.matches([b"a"])


# ------------------------------------------------------------------------------------------ probe


KINDS = st.sampled_from(["http", "tcp", "unix", "exec", "log-line", "callable", "other"])
PROBE = st.fixed_dictionaries(
    {},
    optional={
        "kind": KINDS | JSON,
        "path": ANY_TEXT.map(lambda text: "/" + text) | JSON,
        "status": JSON,
        "headers": st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=2) | JSON,
        "command": st.lists(ANY_TEXT, max_size=3) | JSON,
        "regex": ANY_TEXT | JSON,
    },
)


@SAME
@given(PROBE)
@example({"kind": "unix", "path": "\ud800"})
@example({"kind": "unix", "path": "a\0"})
@example({"kind": "log-line", "regex": "x{99999999999999999999}"})
@example({"kind": "log-line", "regex": "(" * 5000})
@example({"kind": "http", "path": "/", "status": None, "headers": {"A": "\u20ac"}})
def test_any_object_is_a_probe_or_refused(data: dict[str, Any]) -> None:
    try:
        with warnings.catch_warnings(action="ignore"):  # what Python thinks of an expression
            probe = from_json(data)
    except InvalidArgument:
        return
    assert probe is not None
    again = from_json(json.loads(json.dumps(probe.to_json())))
    assert again is not None
    assert again.to_json() == probe.to_json()


@SAME
@given(
    st.sampled_from([Http, Unix, LogLine]) | st.just(lambda text: Exec([text])),
    ANY_TEXT | ANY_TEXT.map(lambda text: "/" + text),
)
def test_any_argument_makes_a_probe_or_is_refused(kind: Callable[[str], Probe], text: str) -> None:
    with contextlib.suppress(InvalidArgument), warnings.catch_warnings(action="ignore"):
        json.dumps(kind(text).to_json())


# ------------------------------------------------------------------------------------------- http


@SAME
@given(st.binary(max_size=60) | st.from_regex(rb"HTTP/1\.[01] .{0,5}", fullmatch=True))
@example(b"HTTP/1.1 \xb2\xb3\xb9")
def test_any_status_line_is_a_code_or_not_http(line: bytes) -> None:
    try:
        code = http_get._parse(line)
    except ValueError:
        return
    assert 0 <= code <= 999
    assert line.startswith(b"HTTP/1.")


@FEW
@given(st.lists(st.binary(max_size=3000), max_size=4))
def test_any_answer_of_a_server_is_told_in_time(chunks: list[bytes]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def send() -> None:
            with contextlib.suppress(OSError):
                for chunk in chunks:
                    theirs.sendall(chunk)
                theirs.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            line = http_get._read_line(ours, time.monotonic() + 10)
            assert len(line) <= http_get.LINE_LIMIT * 2
        except (ValueError, ConnectionError):
            pass
        finally:
            ours.close()
            thread.join()


# --------------------------------------------------------------------------- specification, version


@SAME
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "probe": PROBE | st.none(),
            "pattern": JSON,
            "env": st.none() | st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=2),
            "cwd": ANY_TEXT | st.none(),
            "version": ANY_TEXT | st.none(),
            "options": st.fixed_dictionaries(
                {},
                optional={
                    "command": st.lists(ANY_TEXT, max_size=2),
                    "port": st.integers() | st.sampled_from(["auto", None]) | ANY_TEXT,
                    "port_env": ANY_TEXT,
                    "startup_timeout": st.floats() | st.integers(),
                    "grace": st.floats(),
                    "failure_threshold": st.integers() | st.floats(),
                    "idle_timeout": st.none() | st.floats(),
                },
            ),
        },
    )
)
def test_any_record_is_a_specification_or_refused(data: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidArgument), warnings.catch_warnings(action="ignore"):
        spec = spec_from_record({"key": "web", "command": ["true"], **data})
        for text in (*spec.command, *spec.env, *spec.env.values(), spec.port_env):
            assert b"\0" not in os.fsencode(text)


@SAME
@given(ANY_TEXT | st.from_regex(r"v?[0-9]{1,30}(\.[0-9]{1,30}){0,4}", fullmatch=True))
@example("9" * 5000)
@example("²")
def test_any_version_is_numbers_or_a_name(text: str) -> None:
    numbers = _numbers(text)
    assert numbers is None or all(number >= 0 for number in numbers)


# -------------------------------------------------------------------------------- log and history


@FEW
@given(
    st.binary(max_size=2000) | st.lists(JSON).map(lambda v: "\n".join(map(json.dumps, v)).encode())
)
@example(b"[" * 200_000)
@example(b'{"at": ' + b"9" * 5000 + b"}")
@example(b'{"at": "\\ud800", "pid": {}}')
def test_any_bytes_are_a_log_and_a_history(raw: bytes) -> None:
    with KeyDirectory.open("web", create=True) or pytest.fail("none") as directory:
        for name in ("server.log", "history.jsonl"):
            path = Path(directory.path) / name
            path.write_bytes(raw)
            path.chmod(0o600)
        for lines in (-1, 0, 1, 10**30):
            assert len(log.tail(directory, lines)) <= max(lines, 0)
        assert all(isinstance(entry, dict) for entry in log.read_history(directory))
    for command in ("logs", "history"):
        for options in ((), ("--json",)):
            with streams():
                assert main([command, "web", *options]) == 0


# ----------------------------------------------------------------------------------- command line


WORDS = st.sampled_from(
    [
        *(
            "--json",
            "--",
            "-n",
            "-s",
            "--signal",
            "--timeout",
            "--port",
            "--env",
            "--unix",
            "--http",
        ),
        *(
            "--exec",
            "--log-line",
            "--http-header",
            "--cwd",
            "--version",
            "--grace",
            "--group",
            "-f",
        ),
        *(
            "nan",
            "inf",
            "-1",
            "9" * 5000,
            "\udcff",
            "",
            "1e999",
            "A=\udcff",
            "'",
            "x{9999999999999}",
        ),
    ]
)
COMMANDS = ["status", "list", "logs", "history", "id", "check", "kill", "wait", "stop", "sweep"]


@SAME
@given(st.sampled_from(COMMANDS), st.lists(WORDS | ANY_TEXT, max_size=4))
@example("kill", ["pidproof:1:1:1", "-s", "9" * 5000])
@example("logs", ["web", "-n", "9" * 4000])
@example("id", ["9" * 4000])
def test_any_words_are_a_command_or_wrong_usage(name: str, words: list[str]) -> None:
    """Nothing runs and nothing is recorded here, so nothing can be ended either."""
    assume("\0" not in "".join(words))
    assume(not {"-f", "--follow"} & {word[:5] for word in words})
    with streams() as err:
        try:
            code = main([name, *words])
        except SystemExit as stop:
            code = int(stop.code or 0)
    assert code in {0, 1, 2, 3, 4, 74, 77}
    assert b"Traceback" not in err.getvalue()


@SAME
@given(st.lists(WORDS | ANY_TEXT, max_size=5), st.lists(ANY_TEXT, min_size=1, max_size=2))
def test_any_options_describe_a_server_or_are_wrong_usage(
    words: list[str], command: list[str]
) -> None:
    from pidproof.cli.servers import _spec

    assume("--" not in words)
    with (
        streams(),
        warnings.catch_warnings(action="ignore"),
        contextlib.suppress(SystemExit, InvalidArgument),
    ):
        spec = _spec(parse(["ensure", "web", *words, "--", *command]))
        assert spec.command == tuple(command)


@contextlib.contextmanager
def streams() -> Iterator[io.BytesIO]:
    """Take what is printed, as a terminal would; yields what was said."""
    said = io.BytesIO()
    out, err = (
        io.TextIOWrapper(raw, errors="backslashreplace", write_through=True)
        for raw in (io.BytesIO(), said)
    )
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield said
    err.detach()  # or `said` would be closed with it


# --------------------------------------------------------------------------------------- the API


@SAME
@given(ANY_TEXT, st.lists(ANY_TEXT, max_size=3), st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=2))
def test_any_key_command_and_variables_make_a_server_or_are_refused(
    key: str, command: list[str], env: dict[str, str]
) -> None:
    for wanted in (key, "web"):
        with contextlib.suppress(InvalidArgument):
            Server(wanted, command, env=env, probe=Tcp(), port=1)
            spec = make_spec(wanted, command, env=env)
            assert [os.fsencode(word) for word in spec.command]
