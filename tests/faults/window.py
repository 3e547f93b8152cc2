# SPDX-License-Identifier: MIT
"""Measure the window between proving a process and signalling it by number.

    PYTHONPATH=tests python tests/faults/window.py [SIGNALS]

Prints microseconds for a process before Linux 5.3, and for a process group from 5.3 to 6.8: from
the beginning of the last look at it to the entry of kill(2).
"""

from __future__ import annotations

import array
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile

from pid_reuse import born, end
from pidproof import identify


def send(signals: int, *, group: bool) -> None:
    """What runs with window.c preloaded."""
    pid = born()
    os.setpgid(pid, pid)
    try:
        with identify(pid).open() as handle:
            for _ in range(signals):
                handle.signal(signal.SIGCONT, group=group)
    finally:
        end(pid)


def measure(library: str, without: str, signals: int, *, group: bool) -> list[float]:
    """Return the windows of that many signals, in microseconds, in ascending order."""
    done = subprocess.run(
        [sys.executable, __file__, str(signals), "group" if group else "process"],
        env={**os.environ, "LD_PRELOAD": library, "PIDPROOF_WITHOUT": without},
        stderr=subprocess.PIPE,
        check=True,
    )
    # The kill that ends the process is no signal of ours.
    return sorted(value / 1000 for value in array.array("q", done.stderr)[:-1])


def main() -> None:
    signals = int((sys.argv[1:] or ["10000"])[0])
    if len(sys.argv) > 2:
        send(signals, group=sys.argv[2] == "group")
        return
    with tempfile.TemporaryDirectory() as place:
        library = f"{place}/window.so"
        source = pathlib.Path(__file__).with_name("window.c")
        compiler = ["cc", "-O2", "-shared", "-fPIC", "-o", library, str(source), "-ldl"]
        subprocess.run(compiler, check=True)
        for name, without, group in (
            ("process, before 5.3", "pidfd", False),
            ("group, before 5.3", "pidfd", True),
            ("group, 5.3 to 6.8", "pidfs", True),
        ):
            found = measure(library, without, signals, group=group)
            assert len(found) == signals, f"{len(found)} windows of {signals}"
            print(
                f"{name}: median {statistics.median(found):.2f} us, "
                f"99 % {found[len(found) * 99 // 100]:.2f} us, longest {found[-1]:.0f} us"
            )


if __name__ == "__main__":
    main()
