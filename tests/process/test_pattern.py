# SPDX-License-Identifier: MIT
from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pidproof.errors import InvalidArgument
from pidproof.process.pattern import ArgvPattern


ANY = ArgvPattern.ANY
named = ArgvPattern.named
NODE = ArgvPattern(named("node"), "/opt/app/bundle.js", "start", ...)

# A small alphabet, so that matches are not rare.
words = st.sampled_from([b"a", b"b", b"/x/a", b""])
elements = st.one_of(words, st.just(ANY), st.just(...), st.sampled_from([named("a"), named("b")]))


@pytest.mark.parametrize(
    "argv",
    [
        [b"node", b"/opt/app/bundle.js", b"start"],
        [b"/usr/bin/node", b"/opt/app/bundle.js", b"start", b"--port", b"1"],
        [b"./node", b"/opt/app/bundle.js", b"start", b""],
    ],
)
def test_node_pattern_matches_whatever_node_and_options(argv: list[bytes]) -> None:
    assert NODE.matches(argv)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        [b"node"],
        [b"node", b"/opt/app/bundle.js"],
        [b"node /opt/app/bundle.js start"],
        [b"sh", b"-c", b"node /opt/app/bundle.js start"],
        [b"vim", b"/opt/app/bundle.js", b"start"],
        [b"nodejs", b"/opt/app/bundle.js", b"start"],
        [b"/usr/bin/node/", b"/opt/app/bundle.js", b"start"],
        [b"node", b"/opt/app/bundle.js.bak", b"start"],
        [b"node", b"--inspect", b"/opt/app/bundle.js", b"start"],
        [b"node", b"/opt/app/bundle.js", b"restart"],
        [b"node", b"/opt/app/bundle.js", b"sta", b"rt"],
        [b"NODE", b"/opt/app/bundle.js", b"start"],
    ],
)
def test_node_pattern_matches_nothing_that_merely_contains_it(argv: list[bytes]) -> None:
    assert not NODE.matches(argv)


def test_a_pattern_covers_the_whole_argv() -> None:
    assert ArgvPattern("a", "b").matches([b"a", b"b"])
    assert not ArgvPattern("a").matches([b"a", b"b"])
    assert not ArgvPattern("a", "b").matches([b"a"])
    assert not ArgvPattern("b").matches([b"a", b"b"])


def test_any_is_exactly_one_argument_and_an_ellipsis_is_any_number() -> None:
    assert ArgvPattern(ANY).matches([b""])
    assert not ArgvPattern(ANY).matches([])
    assert not ArgvPattern(ANY).matches([b"a", b"b"])
    assert ArgvPattern(...).matches([])
    assert ArgvPattern(..., "x", ...).matches([b"x"])
    assert ArgvPattern(..., "x", ..., "y").matches([b"x", b"x", b"q", b"y"])
    assert not ArgvPattern(..., "x", ..., "y").matches([b"y", b"x"])


def test_text_bytes_and_paths_are_the_same_argument(tmp_path: Path) -> None:
    argv = [os.fsencode(tmp_path)]
    assert ArgvPattern(tmp_path).matches(argv)
    assert ArgvPattern(str(tmp_path)).matches(argv)
    assert ArgvPattern(argv[0]).matches(argv)
    assert ArgvPattern(os.fsdecode(b"\xff")).matches([b"\xff"])


def test_no_character_of_an_argument_is_special() -> None:
    for text in ("*", ".*", "?", "[a]", "...", "^", "\\", "%s", "{}"):
        assert ArgvPattern(text).matches([text.encode()])
        assert not ArgvPattern(text).matches([b"a"])


def test_a_pattern_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        ArgvPattern()


@pytest.mark.parametrize("name", ["", "/", "a/", "/a", "a/b"])
def test_a_name_with_a_slash_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument):
        named(name)


@pytest.mark.parametrize("element", [1, None, object(), ["a"]])
def test_what_is_no_argument_is_refused(element: Any) -> None:
    with pytest.raises(TypeError):
        ArgvPattern(element)


def test_exact_arguments_are_those_that_every_match_holds() -> None:
    assert NODE.exact_arguments() == [b"/opt/app/bundle.js", b"start"]
    assert ArgvPattern(...).exact_arguments() == []


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        "is",
        [],
        [[]],
        [["is"]],
        [["is", 1]],
        [["is", "a", "b"]],
        [["any", "x"]],
        [["named", "a/b"]],
        [["regex", ".*"]],
        ["any"],
        [None],
    ],
)
def test_json_that_is_no_pattern_is_refused(data: object) -> None:
    with pytest.raises(InvalidArgument):
        ArgvPattern.from_json(data)


def test_patterns_show_what_they_are() -> None:
    assert repr(NODE) == (
        "ArgvPattern(ArgvPattern.named('node'), '/opt/app/bundle.js', 'start', ...)"
    )
    assert repr(ArgvPattern(ANY)) == "ArgvPattern(ArgvPattern.ANY)"
    assert NODE != "x"


def test_a_pattern_that_is_pickled_is_the_same() -> None:
    again = pickle.loads(pickle.dumps(NODE))
    assert again.matches([b"node", b"/opt/app/bundle.js", b"start"])
    assert again == NODE


def test_a_long_argv_and_many_ellipses_take_no_exponential_time() -> None:
    pattern = ArgvPattern(*(..., "a") * 30, "b")
    assert not pattern.matches([b"a"] * 3000)


@given(st.lists(elements, min_size=1, max_size=6), st.lists(words, max_size=6))
def test_pattern_matches_as_an_equal_regular_expression_does(
    pattern: list[Any], argv: list[bytes]
) -> None:
    def regex(element: object) -> bytes:
        if element is ...:
            return rb"(?:[^\0]*\0)*"
        if element is ANY:
            return rb"[^\0]*\0"
        if isinstance(element, bytes):
            return re.escape(element) + rb"\0"
        name: bytes = element.name  # type: ignore[attr-defined]
        return rb"(?:[^\0]*/)?" + re.escape(name) + rb"\0"

    expression = b"".join(map(regex, pattern))
    joined = b"".join(word + b"\0" for word in argv)
    expected = re.fullmatch(expression, joined) is not None
    assert ArgvPattern(*pattern).matches(argv) == expected


@given(st.lists(elements | st.binary(max_size=5), min_size=1, max_size=6))
def test_pattern_comes_back_from_json(pattern: list[Any]) -> None:
    first = ArgvPattern(*pattern)
    again = ArgvPattern.from_json(json.loads(json.dumps(first.to_json())))
    assert again == first
    assert hash(again) == hash(first)
    assert again.to_json() == first.to_json()


@given(st.lists(elements, min_size=1, max_size=6), st.lists(words, max_size=6))
def test_a_match_holds_all_exact_arguments(pattern: list[Any], argv: list[bytes]) -> None:
    """Else the scan would filter out processes that match."""
    compiled = ArgvPattern(*pattern)
    if compiled.matches(argv):
        assert set(compiled.exact_arguments()) <= set(argv)
