# SPDX-License-Identifier: MIT
"""Run the tests on the aarch64 wheel: a Debian for arm64, unpacked, on an emulated processor."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from wheels import musl
from wheels.emulation import run_emulated
from wheels.making import ROOT, Failure, run
from wheels.trying import QUICK, requirements


__all__ = ["try_arm64"]

# What starts servers needs minutes for each there, and is run on real processors by the workflow.
FOLDERS = ["tests/native", "tests/process", "tests/lock"]
SUITE, PYTHON = "bookworm", "3.11"
PACKAGES = "python3,procps,util-linux"
SITE = "usr/local/lib/python3.11/dist-packages"
TREE = ("tests", "csrc", "docs", "src", "pyproject.toml", "README.md", "CONTRIBUTING.md")
PLATFORMS = ("manylinux_2_17_aarch64", "manylinux2014_aarch64", "manylinux_2_28_aarch64")
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PYTHONPATH": "/w/tests",
}


def try_arm64(dist: Path, cache: Path, arguments: list[str]) -> None:
    """Install the wheel in the root and run the tests there; those of `emulated.py` are skipped."""
    cache.mkdir(parents=True, exist_ok=True)
    emulator, root = find_emulator(cache), make_root(cache)
    tree = root / "w"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir()
    for name in TREE:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile)(ROOT / name, tree / name)
    # Not the sources: what is tried is what was installed.
    needed = ["cffi>=2.0", *requirements("test")]
    marker = root / "installed"
    if not marker.exists() or marker.read_text() != repr(needed):
        shutil.rmtree(root / SITE, ignore_errors=True)
        install(root / SITE, *needed)
        marker.write_text(repr(needed))
    install(root / SITE, "--no-index", "--no-deps", "-f", dist, "pidproof")
    print(musl.try_musl(cache / "static", "aarch64", [emulator]), flush=True)
    plugin = ["-p", "wheels.emulated", "-p", "no:cacheprovider", "-o", "timeout=300"]
    tests = arguments or [*QUICK, *FOLDERS]
    command = ["python3", "-m", "pytest", "-q", *plugin, *tests]
    if status := run_emulated(root, emulator, command, ENVIRONMENT):
        raise Failure(f"the tests on aarch64 left {status}")


def find_emulator(cache: Path) -> Path:
    """Return a static qemu for aarch64: an installed one, else that of Debian's package."""
    if found := shutil.which("qemu-aarch64-static"):
        return Path(found)
    program = cache / "qemu-aarch64-static"
    if not program.exists():
        run("apt-get", "-qq", "download", "qemu-user-static", cwd=cache)
        (package,) = cache.glob("qemu-user-static_*.deb")
        run("dpkg", "-x", package, cache / "unpacked")
        (cache / "unpacked" / "usr" / "bin" / program.name).replace(program)
        shutil.rmtree(cache / "unpacked")  # those for all other processors
        package.unlink()
    return program


def make_root(cache: Path) -> Path:
    """Return the root, unpacked and not configured: that would run half an hour of scripts."""
    root = cache / "root"
    if root.exists():
        return root
    if not shutil.which("debootstrap"):
        raise Failure("debootstrap is missing: apt-get install debootstrap")
    half = cache / "root.half"
    shutil.rmtree(half, ignore_errors=True)
    how = ["--foreign", "--arch=arm64", "--variant=minbase", f"--include={PACKAGES}"]
    run("debootstrap", *how, SUITE, half)
    for package in sorted(half.glob("var/cache/apt/archives/*.deb")):
        run("dpkg", "-x", package, half)
        package.unlink()
    # Scripts of the packages would have made these.
    (half / "usr/bin/awk").symlink_to("mawk")
    (half / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/\n")
    (half / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    half.replace(root)
    return root


def install(site: Path, *what: str | Path) -> None:
    """Install wheels for aarch64 into a folder, as pip does it on this machine."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    machine = ["--python-version", PYTHON, "--implementation", "cp", "--only-binary", ":all:"]
    for platform in PLATFORMS:
        machine += ["--platform", platform]
    run(*pip, *machine, "--upgrade", "--target", site, *what)


CACHE = Path(os.environ.get("PIDPROOF_ARM64", ROOT / ".nox" / "arm64"))
