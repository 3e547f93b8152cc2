# SPDX-License-Identifier: MIT
"""Run the C on another C library: no CPython here is linked with musl, so without one."""

from __future__ import annotations

import platform
import shutil
import sys
from typing import TYPE_CHECKING

from wheels.making import ROOT, run


if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["link_static", "try_musl"]

HERE = ROOT / "tests" / "wheels"
# How long the threads of race.c begin and end waits.
SECONDS = "2"


def link_static(driver: Path, machine: str, to: Path) -> Path:
    """Link a program with all of the C, statically, with musl."""
    csrc = ROOT / "csrc"
    of_macos = {*csrc.glob("*_darwin.c"), csrc / "procargs.c"}
    sources = sorted({*csrc.glob("*.c")} - of_macos)
    flags = ["-std=gnu11", "-O2", "-g0", "-fno-sanitize=undefined", "-static", f"-I{csrc}"]
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", f"{machine}-linux-musl"]
    run(*compiler, *flags, driver, *sources, "-o", to)
    return to


def try_musl(work: Path, machine: str = "", under: Sequence[str | Path] = ()) -> str:
    """Run core.c, and race.c of the native tests, whose cancelled threads each C library has
    in a way of its own.

    under: what to put before the command, if the machine is another than this one.
    """
    said = []
    for driver, more in (HERE / "core.c", []), (ROOT / "tests/native/race.c", [SECONDS]):
        folder = work / f"{driver.stem}.d"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        program = link_static(driver, machine or platform.machine(), work / driver.stem)
        said.append(run(*under, program, folder, *more).strip())
    return "; ".join(said)
