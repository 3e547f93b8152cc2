# SPDX-License-Identifier: MIT
"""Describe the extension module `pidproof._pp` to cffi; runs at build time only."""

from __future__ import annotations

import pathlib
import platform
import sysconfig

from cffi import FFI


HERE = pathlib.Path(__file__).resolve().parent
PORTABLE = [
    "token.c",
    "guard.c",
    "lockfile.c",
    "lock.c",
    "lock_wait.c",
    "forking.c",
    "gate.c",
    "judging.c",
]
OF_SYSTEM = {
    "linux": [
        "system_linux.c",
        "host_linux.c",
        "procfs_linux.c",
        "identity_linux.c",
        "signal_linux.c",
        "read_linux.c",
        "scan_linux.c",
        "sockets_linux.c",
        "listener_linux.c",
        "event_linux.c",
        "sleeper_linux.c",
        "forking_linux.c",
    ],
    "macosx": [
        "system_darwin.c",
        "host_darwin.c",
        "facts_darwin.c",
        "identity_darwin.c",
        "signal_darwin.c",
        "procargs.c",
        "arguments_darwin.c",
        "read_darwin.c",
        "scan_darwin.c",
        "listener_darwin.c",
        "event_darwin.c",
        "sleeper_darwin.c",
        "forking_darwin.c",
    ],
}
MACHINES = {"x86_64", "aarch64", "arm64", "universal2"}
LIBRARIES = {"linux": ["pthread", "dl"], "macosx": []}

# Of the system that is built for: a cross build sets _PYTHON_HOST_PLATFORM, which this obeys.
target = sysconfig.get_platform()
system = target.partition("-")[0]
machine = platform.machine() if system == "linux" else target.rpartition("-")[2]

if system not in OF_SYSTEM:
    raise SystemExit(f"pidproof runs on Linux and macOS only; this system is {system!r}.")
if machine not in MACHINES:
    raise SystemExit(f"pidproof runs on x86-64 and aarch64 only, not on {machine!r}.")

# setuptools wants paths relative to setup.py.
sources = [f"csrc/{name}" for name in PORTABLE + OF_SYSTEM[system]]
declarations = (HERE / "pp_decls.h").read_text(encoding="utf-8")

ffibuilder = FFI()
ffibuilder.cdef(declarations)
ffibuilder.set_source(
    "pidproof._pp",
    '#include "pp.h"\n',
    sources=sources,
    include_dirs=["csrc"],
    depends=[f"csrc/{path.name}" for path in sorted(HERE.glob("*.h"))],
    extra_compile_args=["-std=gnu11", "-fvisibility=hidden"],
    libraries=LIBRARIES[system],
)
