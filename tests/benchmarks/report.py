# SPDX-License-Identifier: MIT
"""Writes docs/benchmarks.md between its markers: figures, and what they were taken on."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib import metadata
from typing import TYPE_CHECKING

from benchmarks.board import HEADINGS, verdicts


if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.board import Board

BEGIN = "<!-- measured: written by `nox -s bench -- --write`, not by hand -->"
END = "<!-- end of what was measured -->"
PEERS = ("psutil", "filelock", "portalocker", "pytest-xprocess")


def about() -> dict[str, str]:
    """Return what the figures depend on."""
    return {
        "command": "nox -s bench -- --write",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "kernel": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "processors": str(len(os.sched_getaffinity(0))),
        "load before": f"{os.getloadavg()[2]:.1f} (average of 15 minutes)",
        "python": f"{platform.python_implementation()} {platform.python_version()}, "
        f"{' '.join(platform.libc_ver())}",
        "valgrind": _valgrind(),
        "peers": ", ".join(f"{name} {metadata.version(name)}" for name in PEERS),
    }


def _valgrind() -> str:
    try:
        return subprocess.check_output(["valgrind", "--version"], text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return "absent"


def _table(headings: tuple[str, ...], lines: list[tuple[str, ...]]) -> list[str]:
    rows = [headings, ("---",) * len(headings), *lines]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]


def text_of(board: Board) -> str:
    """Return all that was measured as Markdown."""
    lines = _table(("what", "which"), sorted(about().items()))
    lines += ["", f"{verdicts(board.rows)}; {len(board.absent)} peers absent.", ""]
    missed = [(row, words) for row in board.rows for words in row.missed()]
    lines += [f"- missed: {row.section}: {row.measure}: {words}" for row, words in missed]
    lines += [f"- absent: {name} ({why})" for name, why in board.absent.items()]
    for section in board.sections():
        lines += ["", f"## {section[0].upper()}{section[1:]}", ""]
        rows = [row for row in board.rows if row.section == section]
        if rows:
            lines += _table(HEADINGS, [line for row in rows for line in row.lines()])
        if section in board.notes:
            lines += ["", "```text", *board.notes[section], "```"]
    for name, plot in sorted(board.plots.items()):
        lines += ["", f"![{plot['title']}](plots/{name}.svg)"]
    return "\n".join(lines).strip("\n")


def write(board: Board, path: Path) -> None:
    """Put it in its place and leave the rest of the page as it is."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, ended, after = rest.partition(END)
    assert ended, f"{path} has lost its markers"
    path.write_text(f"{before}{BEGIN}\n\n{text_of(board)}\n\n{END}{after}")
