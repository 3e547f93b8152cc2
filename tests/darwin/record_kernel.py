# SPDX-License-Identifier: MIT
"""Record on a Mac what its kernel answers, for the stand-in of the tests to replay.

    python3 tests/darwin/record_kernel.py recording.json

Nothing but Python is needed.  Written down are: a child with an awkward argv, a hardened program
of the system, a fork that has not execed, running and as a zombie, this process's parent, pid 1.
Environments are those that are given here; what another process has in its own is cut out.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import subprocess
import sys
import time


CTL_KERN, KERN_PROC, KERN_PROC_PID, KERN_PROCARGS2 = 1, 14, 1, 49
FLAVOR_UNIQUE, WITH_ZOMBIES, UNIQUE_SIZE = 17, 1, 56
KINFO_SIZE, ARG_MAX, PATH_MAX = 648, 1 << 20, 4096
SZOMB = 5
ENVIRONMENT = {"RECORDED": "1", "EMPTY": "", "PATH": "/usr/bin:/bin"}

_libc = ctypes.CDLL(None, use_errno=True)


def sysctl(*name: int, size: int) -> tuple[bytes, int]:
    """Return the answer, and the errno that it failed with or 0."""
    numbers = (ctypes.c_int * len(name))(*name)
    buffer, length = ctypes.create_string_buffer(size), ctypes.c_size_t(size)
    ctypes.set_errno(0)
    if _libc.sysctl(numbers, len(name), buffer, ctypes.byref(length), None, 0) < 0:
        return b"", ctypes.get_errno()
    return buffer.raw[: length.value], 0


def sysctl_text(name: str) -> str:
    """Return a text by its name."""
    buffer, length = ctypes.create_string_buffer(256), ctypes.c_size_t(256)
    if _libc.sysctlbyname(name.encode(), buffer, ctypes.byref(length), None, 0) < 0:
        return ""
    return buffer.value.decode()


def unique(pid: int, arg: int) -> tuple[bytes, int]:
    """Return what flavor 17 says, and the errno that it failed with or 0."""
    buffer = ctypes.create_string_buffer(UNIQUE_SIZE)
    ctypes.set_errno(0)
    size = _libc.proc_pidinfo(pid, FLAVOR_UNIQUE, ctypes.c_uint64(arg), buffer, UNIQUE_SIZE)
    return (buffer.raw[:size], 0) if size > 0 else (b"", ctypes.get_errno())


def without_environment(area: bytes) -> bytes:
    """Return the answer up to the end of argv, as for a hardened program."""
    argc = int.from_bytes(area[:4], sys.byteorder)
    at = area.index(b"\0", 4) + 1
    at = 4 + (at - 4 + 7) // 8 * 8
    for _ in range(argc):
        at = area.index(b"\0", at) + 1
    return area[:at]


def record(name: str, pid: int, *, ours: bool) -> dict[str, object]:
    """Return every answer about one process."""
    kinfo, kinfo_errno = sysctl(CTL_KERN, KERN_PROC, KERN_PROC_PID, pid, size=KINFO_SIZE)
    whole, errno = unique(pid, WITH_ZOMBIES)
    alive, alive_errno = unique(pid, 0)
    area, area_errno = sysctl(CTL_KERN, KERN_PROCARGS2, pid, size=ARG_MAX)
    path = ctypes.create_string_buffer(PATH_MAX)
    if _libc.proc_pidpath(pid, path, PATH_MAX) <= 0:
        path.value = b""
    return {
        "name": name,
        "pid": pid,
        "kinfo_proc": kinfo.hex(),
        "kinfo_proc_errno": kinfo_errno,
        "unique": whole.hex(),
        "unique_errno": errno,
        "unique_without_zombies": alive.hex(),
        "unique_without_zombies_errno": alive_errno,
        "procargs2": (area if ours or not area else without_environment(area)).hex(),
        "procargs2_errno": area_errno,
        "path": os.fsdecode(path.value),
    }


def wait_for_zombie(pid: int) -> None:
    """Wait until the kernel shows it as one."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        kinfo, _ = sysctl(CTL_KERN, KERN_PROC, KERN_PROC_PID, pid, size=KINFO_SIZE)
        if kinfo and kinfo[36] == SZOMB:
            return
        time.sleep(0.001)


def record_all() -> list[dict[str, object]]:
    """Record the processes that are worth it."""
    found = []
    awkward = subprocess.Popen(
        ["", "-c", "import sys; sys.stdin.read()", "", "a b", "\udcff"],
        executable=sys.executable,
        stdin=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    system = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, env=ENVIRONMENT)
    forked = os.fork()
    if forked == 0:
        time.sleep(30)
        os._exit(0)
    time.sleep(0.5)  # until they have execed; there is no event of that
    try:
        found.append(record("awkward", awkward.pid, ours=True))
        found.append(record("system", system.pid, ours=True))
        found.append(record("forked", forked, ours=False))
        found.append(record("parent", os.getppid(), ours=False))
        found.append(record("launchd", 1, ours=False))
    finally:
        os.kill(forked, 9)
        wait_for_zombie(forked)
        found.append(record("zombie", forked, ours=False))
        os.waitpid(forked, 0)
        for child in (awkward, system):
            child.communicate()
    found.append(record("missing", forked, ours=False))
    return found


def main() -> None:
    """Write the recording."""
    if platform.system() != "Darwin":
        raise SystemExit("this records the answers of a Mac's kernel, so it runs on a Mac only")
    recording = {
        "schema": 1,
        "system": platform.mac_ver()[0],
        "release": platform.release(),
        "machine": platform.machine(),
        "boot_session": sysctl_text("kern.bootsessionuuid"),
        "uid": os.geteuid(),
        "has_audit_signal": hasattr(_libc, "proc_signal_with_audittoken"),
        "processes": record_all(),
    }
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(recording, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
