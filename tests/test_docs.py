# SPDX-License-Identifier: MIT
"""What the documents point to is there: files, headings, sessions, options, modules."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest

from helpers import ROOT
from pidproof.cli.parser import parse


if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
SESSIONS = set(
    re.findall(r"^@nox\.session[^\n]*\ndef (\w+)", (ROOT / "noxfile.py").read_text(), re.M)
)


def prose(path: Path) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(path: Path) -> set[str]:
    """Return the anchors that its headings get where it is shown."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_every_link_leads_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), f"{path.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{path.name}: {link}"


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_every_session_that_is_named_exists(path: Path) -> None:
    for line in re.findall(r"nox (?:-R )?-s ([a-z0-9 -]+)", path.read_text(encoding="utf-8")):
        for word in line.partition(" --")[0].split():
            assert word.replace("-", "_") in SESSIONS, f"{path.name}: nox -s {line}"


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_every_file_that_is_named_exists(path: Path) -> None:
    found = re.findall(r"`((?:src|tests|csrc|docs|changelog\.d|\.github)/[\w./-]*\w)`", prose(path))
    for name in found:
        assert (ROOT / name).exists(), f"{path.name}: {name}"


def test_every_command_line_in_the_readme_is_understood() -> None:
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    commands = re.findall(r"(?:^|[ /])pidproof (.+)$", "\n".join(blocks), re.MULTILINE)
    assert len(commands) > 2
    for line in commands:
        parse(shlex.split(line, comments=True))  # or it ends this process
