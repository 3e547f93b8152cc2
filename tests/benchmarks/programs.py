# SPDX-License-Identifier: MIT
"""The C programs beside the benchmarks, compiled, and what this machine has room for."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.account import available_mib
from helpers import DEADLINE, ROOT, read_line, write_line


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from helpers import Spawn

HERE = Path(__file__).resolve().parent


def compile_all(directory: Path) -> Path:
    """Compile every C program of this folder; skips where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    ours = [c for c in sorted((ROOT / "csrc").glob("*.c")) if not c.stem.endswith("_darwin")]
    for source in sorted(HERE.glob("*.c")):
        into = directory / source.stem
        command: list[str | Path] = [compiler, "-std=gnu11", "-O2", "-g", "-o", into, source]
        if source.stem == "native":
            command += ["-fvisibility=hidden", f"-I{ROOT / 'csrc'}", *ours, "-lpthread", "-ldl"]
        subprocess.run(command, check=True)
    return directory


class Floor:
    """floor.c, running: each act is paid for in C, in a process of its own."""

    def __init__(
        self, spawn: Spawn, program: Path, *, pid: int, directory: Path, record: Path, port: int = 0
    ) -> None:
        self._process = spawn([program, str(pid), directory, record, str(port)])

    def batch(self, act: str, calls: int) -> Callable[[], float]:
        """Return what does an act `calls` times and returns the seconds of one."""

        def run() -> float:
            write_line(self._process, f"{act} {calls}")
            return int(read_line(self._process, 6 * DEADLINE)) / calls / 1e9

        return run


@contextlib.contextmanager
def crowd(spawn: Spawn, program: str, count: int) -> Iterator[list[str]]:
    """Have this many processes asleep; yields the argv of the one in their middle."""
    process = spawn([program, str(count), "-" * 16])
    try:
        assert int(read_line(process, 6 * DEADLINE)) == count, "not all could be forked"
        yield [program, str(count), f"member-{count // 2:09}"]
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(6 * DEADLINE)


def need_room(processes: int, mib_each: float) -> None:
    """Skip unless this many more processes, of that size, fit beside all that runs."""
    limits = {"pid_max": int(Path("/proc/sys/kernel/pid_max").read_text()) - 300}
    per_user = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if per_user != resource.RLIM_INFINITY:
        limits["RLIMIT_NPROC"] = per_user
    limits["threads-max"] = int(Path("/proc/sys/kernel/threads-max").read_text())
    with contextlib.suppress(OSError, ValueError):
        group = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip().lstrip("/")
        limits["pids.max"] = int((Path("/sys/fs/cgroup") / group / "pids.max").read_text())
    there = sum(name.isdigit() for name in os.listdir("/proc"))
    for name, limit in limits.items():
        if there + processes > limit:
            pytest.skip(f"{processes} processes beside {there}: {name} is {limit}")
    if (room := available_mib()) < processes * mib_each * 1.5:
        pytest.skip(f"{processes} processes of {mib_each:g} MiB: {room:.0f} MiB are left")
