# SPDX-License-Identifier: MIT
"""Make the sdist, and from it the wheel of any platform, with zig for a compiler."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from wheels.targets import ABI


if TYPE_CHECKING:
    from collections.abc import Mapping

    from wheels.targets import Target

__all__ = ["ROOT", "Failure", "epoch", "make_sdist", "make_wheel", "run"]

ROOT = Path(__file__).resolve().parent.parent.parent
# Whatever the caller's shell sets must not get into what others install.
OF_A_COMPILER = ("CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "LDSHARED", "ARCHFLAGS")


class Failure(Exception):
    """A step or a check that failed, with what it said."""


def run(*command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a tool to its end; its output if it succeeds, else an error with it."""
    words = list(map(str, command))
    done = subprocess.run(
        words,
        cwd=cwd,
        env=env,
        text=True,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise Failure(f"{' '.join(words)} left {done.returncode}\n{done.stdout}")
    return done.stdout


def epoch() -> str:
    """Return the time that all files get: SOURCE_DATE_EPOCH, or that of the last commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return given or run("git", "log", "-1", "--format=%ct", cwd=ROOT).strip()


def environment(time: str) -> dict[str, str]:
    """Return the environment of a build."""
    kept = {name: value for name, value in os.environ.items() if name not in OF_A_COMPILER}
    return {**kept, "SOURCE_DATE_EPOCH": time, "PYTHONHASHSEED": "0", "TZ": "UTC"}


def make_sdist(to: Path, time: str) -> Path:
    """Make the sdist of what git has, and give all in it the same owner and time."""
    work = to / "sdist-work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    # Of the tree as it is, without what git does not know.
    names = run("git", "ls-files", "-z", "--cached", cwd=ROOT).split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (work / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, work / "tree" / name)
    build = [sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir"]
    run(*build, work, work / "tree", env=environment(time))
    (made,) = work.glob("*.tar.gz")
    final = to / made.name
    final.write_bytes(normal_archive(made, int(time)))
    shutil.rmtree(work)
    return final


def normal_archive(path: Path, time: int) -> bytes:
    """Return a tar.gz with the same files, sorted, of nobody in particular, of one time."""
    packed = io.BytesIO()
    with (
        tarfile.open(path) as old,
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=time) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for entry in sorted(old.getmembers(), key=lambda one: one.name):
            plain = tarfile.TarInfo(entry.name)
            plain.type, plain.size, plain.mtime = entry.type, entry.size, time
            plain.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
            new.addfile(plain, old.extractfile(entry) if entry.isfile() else None)
    return packed.getvalue()


def make_wheel(sdist: Path, target: Target, to: Path, time: str) -> Path:
    """Make the wheel of a platform from the sdist."""
    work = to / f"work-{target.tag}"
    shutil.rmtree(work, ignore_errors=True)
    with tarfile.open(sdist) as archive:
        archive.extractall(work, filter="data")
    (tree,) = work.iterdir()
    compiler = f"{sys.executable} -m ziglang cc -target {target.zig}"
    linker = f"{compiler} -shared {'-undefined dynamic_lookup' if target.is_macos else ''}"
    env = {
        **environment(time),
        "_PYTHON_HOST_PLATFORM": target.host,
        "CC": compiler,
        "LDSHARED": linker.strip(),
        # Without -fno-sanitize zig adds a runtime of its own.
        "CFLAGS": f"-O2 -g0 -fno-sanitize=undefined -ffile-prefix-map={tree}=.",
        "LDFLAGS": "-Wl,-s",
    }
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir"]
    run(*build, work, f"-C--build-option=--plat-name={target.tag}", tree, env=env)
    (made,) = work.glob("*.whl")
    if not made.name.endswith(f"-{ABI}-{target.tag}.whl"):
        raise Failure(f"{made.name} came out, not one of {ABI}-{target.tag}")
    if target.is_musl:
        made = name_musl(made, target, env)
    final = to / made.name
    made.replace(final)
    shutil.rmtree(work)
    return final


def name_musl(wheel: Path, target: Target, env: Mapping[str, str]) -> Path:
    """Name the C library as systems with musl do; zig calls it libc.so, which may be glibc's."""
    tools = [sys.executable, "-m", "wheel"]
    run(*tools, "unpack", "--dest", wheel.parent / "unpacked", wheel)
    (tree,) = (wheel.parent / "unpacked").iterdir()
    name = f"libc.musl-{target.machine}.so.1"
    run("patchelf", "--replace-needed", "libc.so", name, tree / "pidproof" / "_pp.abi3.so")
    wheel.unlink()
    run(*tools, "pack", "--dest-dir", wheel.parent, tree, env=env)
    return wheel
