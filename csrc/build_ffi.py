# SPDX-License-Identifier: MIT
"""Describe the extension module `pidproof._pp` to cffi; runs at build time only."""

from __future__ import annotations

import pathlib
import platform
import sys

from cffi import FFI


HERE = pathlib.Path(__file__).resolve().parent
PORTABLE = ["token.c", "guard.c", "lockfile.c", "lock.c", "lock_wait.c", "gate.c"]
OF_SYSTEM = {
    "linux": [
        "host_linux.c",
        "procfs_linux.c",
        "identity_linux.c",
        "signal_linux.c",
        "read_linux.c",
        "scan_linux.c",
        "sockets_linux.c",
        "listener_linux.c",
        "event_linux.c",
        "forking_linux.c",
    ],
}
MACHINES = {"x86_64", "aarch64", "arm64"}

if sys.platform not in OF_SYSTEM:
    raise SystemExit(f"pidproof runs on Linux only; this system is {sys.platform!r}.")
if platform.machine() not in MACHINES:
    raise SystemExit(f"pidproof runs on x86-64 and aarch64 only, not on {platform.machine()!r}.")

# setuptools wants paths relative to setup.py.
sources = [f"csrc/{name}" for name in PORTABLE + OF_SYSTEM[sys.platform]]
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
    libraries=["pthread", "dl"],
)
