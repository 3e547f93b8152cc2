# SPDX-License-Identifier: MIT
"""What processes have used, as the kernel counts it (imports little: a crowd forks with this)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def available_mib() -> float:
    """Return how much memory could be had without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 1024
    return 0.0


def memory_of(pid: int) -> tuple[float, float]:
    """Return resident and private memory of a process, in MiB (smaps_rollup of proc(5))."""
    found: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, size = line.split()[:2]
        found[name] = int(size)
    private = found["Private_Clean:"] + found["Private_Dirty:"]
    return found["Rss:"] / 1024, private / 1024


def processor_seconds(pids: list[int]) -> float:
    """Return what all threads of these processes have run so far, to the nanosecond."""
    total = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in os.listdir(f"/proc/{pid}/task"):
                total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    return total / 1e9
