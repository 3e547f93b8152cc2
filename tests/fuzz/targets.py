# SPDX-License-Identifier: MIT
"""The fuzz targets, and how each is compiled."""

from __future__ import annotations

from pathlib import Path


FUZZ = Path(__file__).resolve().parent
CSRC = FUZZ.parent.parent / "csrc"
CORPUS = FUZZ / "corpus"
# Each target includes the C file that it is about; these are the others that this one calls.
TARGETS: dict[str, list[str]] = {
    "identity_token": [],
    "lock_line": ["token.c"],
    "proc_stat": [],
    "proc_status": [],
    "scan_entries": ["procfs_linux.c"],
    "net_tcp": ["procfs_linux.c"],
    "sock_diag": [],
    "host_facts": ["procfs_linux.c"],
    "macos_arguments": [],
}
SANITIZE = "-fsanitize=address,undefined"


def command(compiler: str, target: str, output: Path, *flags: str) -> list[str]:
    """Return the command that compiles a target, with the sanitizers and what else is said."""
    return [
        compiler,
        *("-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", f"-I{CSRC}"),
        *(SANITIZE, "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", *flags),
        str(FUZZ / f"{target}.c"),
        *(str(CSRC / name) for name in TARGETS[target]),
        *("-o", str(output)),
    ]
