# SPDX-License-Identifier: MIT
"""Fuzz the C parsers with libFuzzer: `python -m fuzz.run [TARGET ...] [--seconds N] [--keep DIR]`.

Starts from the corpus.  What is found new goes to DIR, if one is given; an input that crashes a
target is left there, or where this was started, and named.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from fuzz.targets import CORPUS, TARGETS, command


def fuzz(target: str, *, seconds: int, directory: Path, crashes: Path) -> bool:
    """Fuzz one target and print what came of it; False: it crashed."""
    program, found = directory / target, directory / f"{target}.corpus"
    subprocess.run(command("clang", target, program, "-fsanitize=fuzzer"), check=True)
    found.mkdir(exist_ok=True)
    options = [
        *(f"-max_total_time={seconds}", "-max_len=512", "-timeout=5", "-rss_limit_mb=1024"),
        *("-print_final_stats=1", f"-artifact_prefix={crashes}/{target}-"),
    ]
    done = subprocess.run(
        [program, *options, found, CORPUS / target],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds + 120,
        check=False,
    )
    runs = re.findall(r"number_of_executed_units: (\d+)", done.stderr)
    edges = re.findall(r" cov: (\d+) ", done.stderr)
    print(f"{target:<15} {(runs or ['?'])[-1]:>10} runs {(edges or ['?'])[-1]:>5} edges", end=" ")
    print("no crash" if done.returncode == 0 else f"CRASH\n{done.stderr[-4000:]}", flush=True)
    return done.returncode == 0


def main() -> int:
    """Return 1 if any target crashed."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.run")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=1, help="for each; default: 1")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep what is found there")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(unknown)}")
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(options.keep or temporary)
        directory.mkdir(exist_ok=True)
        crashes = options.keep or Path.cwd()
        good = [
            fuzz(target, seconds=options.seconds, directory=directory, crashes=crashes)
            for target in options.targets or TARGETS
        ]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
