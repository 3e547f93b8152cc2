# SPDX-License-Identifier: MIT
"""The changelog and its fragments, in the form that a release puts together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

import pidproof
from helpers import ROOT


if TYPE_CHECKING:
    from pathlib import Path

KINDS = {"added", "changed", "fixed", "removed"}
FOLDER = ROOT / "changelog.d"
FRAGMENTS = sorted(path for path in FOLDER.glob("*") if path.name != "README.md")


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: path.name)
def test_a_fragment_is_a_sentence_of_a_known_kind(path: Path) -> None:
    name, text = path.name, path.read_text()
    found = re.fullmatch(r"[a-z0-9-]+\.([a-z]+)\.md", name)
    assert found, f"{name} is not called <word>.<kind>.md"
    assert found[1] in KINDS
    assert text[:1].isupper() or text[:1] == "`"
    assert text.endswith(".\n")
    assert "\n\n" not in text
    assert len(text) < 400


def test_the_changelog_tells_of_this_version_or_will() -> None:
    """What is not released yet stands in fragments; a release puts them into the changelog."""
    text = (ROOT / "CHANGELOG.md").read_text()
    assert "<!-- towncrier release notes start -->" in text
    released = re.findall(r"^## \[(.+?)\] - \d{4}-\d\d-\d\d$", text, re.MULTILINE)
    assert len(set(released)) == len(re.findall("^## ", text, re.MULTILINE))
    assert pidproof.__version__ in released or FRAGMENTS


def test_the_version_stands_in_one_place_only() -> None:
    for name in ("setup.py", "pyproject.toml", "csrc/build_ffi.py"):
        assert pidproof.__version__ not in (ROOT / name).read_text(), name
