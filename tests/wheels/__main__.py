# SPDX-License-Identifier: MIT
"""Build the sdist and the wheels, audit them, and try those that run here.

python -m wheels make DIST [--quick | --only WORD]  build all, twice; quick: one of each kind, once;
                                                    only: those with the word in their tag, once
python -m wheels audit DIST [--complete]            audit what is in a folder, whoever built it
python -m wheels try DIST [--quick] [PYTEST...]     run the tests on every CPython here, and on musl
python -m wheels arm64 DIST [PYTEST...]             run them on aarch64, emulated
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wheels import arm64, auditing, making, musl, trying
from wheels.making import Failure
from wheels.targets import ALL, QUICK, target_of


def main() -> int:
    """Do as the arguments say; 1 if anything fails."""
    parser = argparse.ArgumentParser(prog="wheels", description=__doc__.partition("\n")[0])
    acts = parser.add_subparsers(required=True, dest="act")
    for name, act in {"make": make, "audit": audit, "try": attempt, "arm64": emulate}.items():
        one = acts.add_parser(name)
        one.set_defaults(does=act)
        one.add_argument("dist", type=lambda text: Path(text).resolve())
        if name in {"make", "try"}:
            one.add_argument("--quick", action="store_true")
        if name == "make":
            one.add_argument("--only", metavar="WORD")
        if name == "audit":
            one.add_argument("--complete", action="store_true", help="each platform must be there")
        if name in {"try", "arm64"}:
            one.add_argument("pytest", nargs="*")
    options = parser.parse_args()
    os.umask(0o022)  # a wheel keeps the modes of its files
    try:
        options.does(options)
    except Failure as error:
        print(f"wheels: {error}", file=sys.stderr)
        return 1
    return 0


def make(options: argparse.Namespace) -> None:
    """Build into an empty folder, then again elsewhere, and compare the bytes."""
    shutil.rmtree(options.dist, ignore_errors=True)
    options.dist.mkdir(parents=True)
    targets = [one for one in ALL if one.tag in QUICK or not options.quick]
    if options.only:
        targets = [one for one in ALL if options.only in one.tag]
    if not targets:
        raise Failure(f"no platform has {options.only} in its tag")
    stamp = making.epoch()
    sdist = making.make_sdist(options.dist, stamp)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda one: making.make_wheel(sdist, one, options.dist, stamp), targets))
    say(f"built {len(targets)} wheels and the sdist")
    if options.quick or options.only:
        return
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder)
        other = making.make_sdist(again, stamp)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda one: making.make_wheel(other, one, again, stamp), targets))
        for path in sorted(options.dist.iterdir()):
            if path.read_bytes() != (again / path.name).read_bytes():
                raise Failure(f"a second build of {path.name} gave other bytes")
    say("built them again elsewhere: the same bytes")


def audit(options: argparse.Namespace) -> None:
    """Audit a folder and print what is in it."""
    wheels = sorted(options.dist.glob("*.whl"))
    sdists = list(options.dist.glob("*.tar.gz"))
    if not wheels or len(sdists) != 1:
        raise Failure(f"{options.dist} has {len(wheels)} wheels and {len(sdists)} sdists")
    missing = {one.tag for one in ALL} - {target_of(wheel.name).tag for wheel in wheels}
    if options.complete and missing:
        raise Failure(f"{options.dist} has no wheel for {sorted(missing)}")
    with tempfile.TemporaryDirectory() as work:
        done = auditing.audit(wheels, sdists[0], Path(work))
    for one in done:
        print(f"{one.name:58} {one.size:7}  {' '.join(one.checks)}")
    for path in (*sdists, *wheels):
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}")


def attempt(options: argparse.Namespace) -> None:
    """Run what can be run here: the sdist built anew, the wheel on each CPython, the C on musl."""
    with tempfile.TemporaryDirectory(prefix="wheels-") as folder:
        work = Path(folder)
        work.chmod(0o755)  # some tests import the package as another user
        (sdist,) = options.dist.glob("*.tar.gz")
        say(f"sdist in a clean environment: {trying.try_sdist(sdist, work)}")
        say(f"the C with musl, linked statically: {musl.try_musl(work)}")
        for line in trying.try_wheel(options.dist, work, options.pytest, newest=options.quick):
            say(line)


def emulate(options: argparse.Namespace) -> None:
    """Run the tests on the aarch64 wheel."""
    arm64.try_arm64(options.dist, arm64.CACHE, options.pytest)
    say("the tests passed on aarch64")


def say(text: str) -> None:
    """Print a line with the seconds since the start."""
    print(f"[{time.monotonic() - START:5.1f} s] {text}", flush=True)


START = time.monotonic()

if __name__ == "__main__":
    sys.exit(main())
