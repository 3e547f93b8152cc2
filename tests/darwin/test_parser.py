# SPDX-License-Identifier: MIT
"""The parser of KERN_PROCARGS2 under the sanitizers, on answers that no kernel would give."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from helpers import ROOT


pytestmark = pytest.mark.darwin

HERE = Path(__file__).parent
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O2"]
ROUNDS = 2_000_000


def build(target: Path, source: Path) -> Path:
    """Compile the fuzzer with the parser in `source`."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc with its sanitizers")
    # The parser is included by its name: one that is broken is found before ours.
    folders = [f"-iquote{folder}" for folder in (source.parent, ROOT / "csrc")]
    command = ["gcc", "-std=gnu11", "-Wall", "-Werror", *SANITIZE, *folders]
    command += [str(HERE / "fuzz_procargs.c"), "-o", str(target)]
    subprocess.run(command, check=True, capture_output=True)
    return target


def run(program: Path, rounds: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, str(rounds)], capture_output=True, text=True, timeout=50, check=False
    )


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target: Path = tmp_path_factory.mktemp("fuzz") / "fuzz"
    return build(target, ROOT / "csrc" / "procargs.c")


def test_millions_of_mutated_answers_are_parsed_or_refused(fuzzer: Path) -> None:
    done = run(fuzzer, ROUNDS)
    assert done.returncode == 0, done.stderr[-2000:]
    rounds, parsed = map(int, done.stdout.split())
    assert rounds == ROUNDS
    assert 0.1 < parsed / rounds < 0.9, "of both kinds there are many"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("text < end ? memchr(text, '\\0', (size_t) (end - text)) : NULL", "memchr(text, 0, 999)"),
        ("(size_t) (next - text) > length && ", ""),
        ("padding(base, text) > (size_t) (end - text)", "0"),
        ("size < sizeof(argc)", "0"),
        ("(size_t) argc > size", "0"),
        ("i < argc", "i < argc - 1"),
    ],
)
def test_the_fuzzer_finds_what_is_broken(tmp_path: Path, old: str, new: str) -> None:
    text = (ROOT / "csrc" / "procargs.c").read_text()
    assert old in text
    broken = tmp_path / "procargs.c"
    broken.write_text(text.replace(old, new))
    assert run(build(tmp_path / "fuzz", broken), ROUNDS // 10).returncode != 0
