# SPDX-License-Identifier: MIT
"""The platforms that get a wheel, and who must and who must not be given which."""

from __future__ import annotations

from typing import NamedTuple


__all__ = ["ABI", "ALL", "LIMIT", "QUICK", "REFUSED", "RESOLVED", "Target", "target_of"]

# One wheel serves this CPython and every later one.
ABI = "cp311-abi3"
# Bytes of a whole wheel.
LIMIT = 150_000


class Target(NamedTuple):
    """One platform: its tag, what zig calls it, and what setuptools calls it."""

    tag: str
    zig: str
    host: str

    @property
    def is_macos(self) -> bool:
        return self.host.startswith("macosx")

    @property
    def is_musl(self) -> bool:
        return "musl" in self.zig

    @property
    def machine(self) -> str:
        return self.host.rpartition("-")[2]


ALL = (
    Target("manylinux_2_17_x86_64", "x86_64-linux-gnu.2.17", "linux-x86_64"),
    Target("manylinux_2_17_aarch64", "aarch64-linux-gnu.2.17", "linux-aarch64"),
    Target("musllinux_1_2_x86_64", "x86_64-linux-musl", "linux-x86_64"),
    Target("musllinux_1_2_aarch64", "aarch64-linux-musl", "linux-aarch64"),
    Target("macosx_11_0_arm64", "aarch64-macos.11.0", "macosx-11.0-arm64"),
    Target("macosx_11_0_x86_64", "x86_64-macos.11.0", "macosx-11.0-x86_64"),
)
# One of each kind of check.
QUICK = ("manylinux_2_17_x86_64", "musllinux_1_2_x86_64", "macosx_11_0_arm64")

# What an installer on such a machine says that it takes, best first, and what it has to take.
RESOLVED = {
    ("manylinux_2_36_x86_64", "manylinux_2_28_x86_64", "manylinux_2_17_x86_64"): ALL[0].tag,
    ("manylinux_2_17_x86_64",): ALL[0].tag,
    ("manylinux_2_39_aarch64", "manylinux_2_17_aarch64"): ALL[1].tag,
    ("musllinux_1_2_x86_64", "musllinux_1_1_x86_64"): ALL[2].tag,
    ("musllinux_1_2_aarch64",): ALL[3].tag,
    ("macosx_11_0_arm64",): ALL[4].tag,
    ("macosx_15_0_arm64",): ALL[4].tag,
    ("macosx_11_0_x86_64",): ALL[5].tag,
    ("macosx_14_0_x86_64",): ALL[5].tag,
}
# Machines for which there is none: too old, or of another kind.
REFUSED = (
    "manylinux_2_12_x86_64",
    "musllinux_1_1_x86_64",
    "macosx_10_15_x86_64",
    "manylinux_2_17_armv7l",
    "win_amd64",
)


def target_of(name: str) -> Target:
    """Return the platform of a wheel by its file name, which may carry older names of the tag too.

    Raises:
        LookupError: there is none.
    """
    tags = name.removesuffix(".whl").partition(f"{ABI}-")[2].split(".")
    for one in ALL:
        if one.tag in tags:
            return one
    raise LookupError(f"{name} is of none of our platforms")
