# SPDX-License-Identifier: MIT
"""A copy of the package to break, its C module compiled in seconds, and tests run against it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree

from helpers import ROOT
from servers import kill, process_table
from wheels.trying import MARKS


if TYPE_CHECKING:
    from collections.abc import Iterable

    from breakages.deliberate import Breakage

TIMEOUT = 300
# The cases of a test with many rounds show no more of a breakage than the others.
QUICK = ["-m", MARKS]
# What a wrong edit raises, as opposed to a wrong act.
MISTAKES = (
    "NameError",
    "SyntaxError",
    "IndentationError",
    "ImportError",
    "ModuleNotFoundError",
    "AttributeError",
    "TypeError",
    "UnboundLocalError",
    "Failed: Timeout",  # a loaded machine does that too
)


class Outcome(NamedTuple):
    """How one case of a test ended: passed, failed, error or skipped; and what it said."""

    test: str
    how: str
    words: str


class Workshop:
    """One copy, whole again after each breakage."""

    def __init__(self, place: Path) -> None:
        self._place = place
        package = str(place / "src")
        self.env = {**os.environ, "PYTHONPATH": package, "PYTHONDONTWRITEBYTECODE": "1"}
        self._runs = 0
        for folder in ("src", "csrc"):
            shutil.copytree(
                ROOT / folder, place / folder, ignore=shutil.ignore_patterns("*.so", "__pycache__")
            )
        emit = "import build_ffi; build_ffi.ffibuilder.emit_c_code('../_pp.c')"
        self._run([sys.executable, "-c", emit], place / "csrc")
        self._sources = ["_pp.c"]
        self._sources += sorted(
            f"csrc/{path.name}"
            for path in (place / "csrc").glob("*.c")
            if not path.stem.endswith("_darwin")
        )
        for source in self._sources:
            self._compile(source)
        self._link()

    def _run(self, command: list[str], where: Path) -> None:
        done = subprocess.run(
            command, cwd=where, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _gcc(self, *arguments: str) -> None:
        flags = ["-O0", "-fPIC", "-std=gnu11", "-fvisibility=hidden"]
        self._run(["gcc", *flags, *arguments], self._place)

    def _compile(self, source: str) -> None:
        include = [f"-I{sysconfig.get_path('include')}", "-Icsrc"]
        self._gcc(*include, "-c", source, "-o", f"{Path(source).stem}.o")

    def _link(self) -> None:
        objects = [f"{Path(source).stem}.o" for source in self._sources]
        self._gcc("-shared", *objects, "-lpthread", "-ldl", "-o", "src/pidproof/_pp.abi3.so")

    def _build(self, file: str) -> None:
        if file.startswith("csrc/"):
            for source in [file] if file.endswith(".c") else self._sources:
                self._compile(source)
            self._link()

    def outcomes_with(self, breakage: Breakage) -> list[Outcome]:
        """Break the copy, run the tests that must notice, and mend it."""
        path = self._place / breakage.file
        whole = path.read_text()
        path.write_text(whole.replace(breakage.old, breakage.new))
        try:
            self._build(breakage.file)
            return self.outcomes(breakage.tests)
        finally:
            path.write_text(whole)
            self._build(breakage.file)

    def outcomes(self, tests: Iterable[str]) -> list[Outcome]:
        """Run tests of this tree against the copy as it is."""
        self._runs += 1
        where, report = self._place / f"run{self._runs}", self._place / f"run{self._runs}.xml"
        pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "timeout=40"]
        command = [*pytest, *QUICK, f"--basetemp={where}", f"--junitxml={report}", *tests]
        try:
            done = subprocess.run(
                [sys.executable, *command],
                cwd=ROOT,
                env=self.env,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                check=False,
            )
        finally:
            for line in process_table(where):  # what a broken package has left running
                kill(line.pid)
        assert done.returncode in {0, 1}, done.stdout + done.stderr
        return [_outcome(case) for case in ElementTree.parse(report).iter("testcase")]


def _outcome(case: ElementTree.Element) -> Outcome:
    module = case.attrib["classname"].replace(".", "/")
    test = f"{module}.py::{case.attrib['name']}"
    for element, how in (("failure", "failed"), ("error", "error"), ("skipped", "skipped")):
        found = case.find(element)
        if found is not None:
            return Outcome(test, how, found.attrib.get("message", "") + (found.text or ""))
    return Outcome(test, "passed", "")
