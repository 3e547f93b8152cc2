# SPDX-License-Identifier: MIT
"""Two parsers, one grammar: what the quick one reads, argparse reads the same."""

from __future__ import annotations

import contextlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pidproof.cli.explain import parse_any
from pidproof.cli.grammar import COMMANDS
from pidproof.cli.parser import parse, parse_plain


FLAGS = sorted(
    {flag for c in COMMANDS.values() for o in c.options for flag in o.flags if "-" in flag}
)
VALUES = ["web", "/", "1", "0", "2.5", "-1", "-", "", "A=b", "a: b", "auto", "8080", "nan", "x y",
          "reuse", "error", "beside", "--http=/", "--tim", "-n5", "-qv"]  # fmt: skip
WORDS = st.lists(st.sampled_from(VALUES) | st.sampled_from(FLAGS), max_size=8)


def by_argparse(words: list[str]) -> dict[str, object] | str:
    """Return the options, or what argparse says against them."""
    command = ["true"] if COMMANDS[words[0]].takes_command else []
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return vars(parse_any(words, command))
    except SystemExit:
        return said.getvalue()


@given(st.sampled_from(sorted(COMMANDS)), WORDS)
def test_what_the_quick_parser_reads_argparse_reads_the_same(name: str, words: list[str]) -> None:
    quick = parse_plain([name, *words])
    if quick is not None:
        assert vars(quick) == by_argparse([name, *words])


@pytest.mark.parametrize(
    "line",
    [
        "ensure web",
        "ensure web --http /health --http-header A:b --http-header C:d --env A=b --env C=d -q",
        "ensure --tcp --port 80 --timeout 3 web --on-mismatch reuse --json",
        "start web --detach",
        "status web --json",
        "list",
        "stop web --grace 0",
        "logs web -n 5 -f",
        "kill pidproof:1:2 -s INT --group",
        "wait pidproof:1:2 --timeout 1.5",
    ],
)
def test_the_plain_form_needs_no_argparse(line: str) -> None:
    quick = parse_plain(line.split())
    assert quick is not None
    assert vars(quick) == by_argparse(line.split())


@pytest.mark.parametrize(
    "line",
    [
        "",
        "-h",
        "--version",
        "no-such-command",
        "ensure",
        "ensure web --http",
        "ensure web --http -1",
        "ensure web --http=/",
        "ensure web --htt /",
        "ensure web --http / --tcp",
        "ensure web --port 0",
        "ensure web --on-mismatch maybe",
        "ensure web other",
        "ensure web -qv",
        "list web",
    ],
)
def test_every_other_form_is_left_to_argparse(line: str) -> None:
    assert parse_plain(line.split()) is None


def test_what_stands_behind_the_mark_is_never_an_option() -> None:
    options = parse(["ensure", "web", "--", "server", "--json", "--", "-q"])
    assert (options.command, options.json, options.quiet) == (
        ["server", "--json", "--", "-q"], False, False
    )  # fmt: skip


def test_defaults_of_one_command_line_are_not_those_of_the_next() -> None:
    first = parse(["ensure", "web", "--env", "A=b", "--", "true"])
    assert first.env == [("A", "b")]
    assert parse(["ensure", "web", "--", "true"]).env == []
