# SPDX-License-Identifier: MIT
"""The corpus of every fuzz target, run again under the sanitizers: this takes gcc alone."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from fuzz.targets import CORPUS, CSRC, FUZZ, SANITIZE, TARGETS, command
from helpers import DEADLINE, needs_linux


if TYPE_CHECKING:
    from pathlib import Path

# The runtime that tests may be started under is not meant for compilers and programs of their own.
pytestmark = needs_linux("the headers of its kernel")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


@pytest.fixture(scope="module", autouse=True)
def _sanitizers(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where gcc is not there, or lacks the libraries of its sanitizers."""
    directory = tmp_path_factory.mktemp("trial")
    source, program = directory / "main.c", directory / "main"
    source.write_text("int main(void) { return 0; }\n")
    try:
        for step in (["gcc", SANITIZE, str(source), "-o", str(program)], [str(program)]):
            subprocess.run(step, env=ENVIRONMENT, check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("needs gcc with its sanitizers")


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_of_the_corpus_breaks_its_parser(tmp_path: Path, target: str) -> None:
    program = tmp_path / target
    build = command("gcc", target, program, "-Wno-unused-function", str(FUZZ / "replay.c"))
    done = subprocess.run(build, env=ENVIRONMENT, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    inputs = sorted(map(str, (CORPUS / target).iterdir()))
    assert inputs
    done = subprocess.run(
        [program, *inputs],
        env=ENVIRONMENT,
        capture_output=True,
        check=False,
        text=True,
        timeout=DEADLINE,
    )
    assert (done.returncode, done.stdout) == (0, f"{len(inputs)}\n"), done.stderr


PARSERS = re.compile(r"\b(parse_u64|memr?chr|memmem|sscanf|strto\w+)\(")
# The numbers of our own descriptors, as /proc/self/fd lists them.
NO_TEXT = {"forking_linux.c"}


def test_every_file_that_parses_has_a_target() -> None:
    """A new parser of text is to be fuzzed like the others."""
    parsing = {path.name for path in CSRC.glob("*.c") if PARSERS.search(path.read_text())}
    targets = "".join((FUZZ / f"{target}.c").read_text() for target in TARGETS)
    assert parsing - NO_TEXT == set(re.findall(r'#include "(\w+\.c)"', targets))
