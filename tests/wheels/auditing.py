# SPDX-License-Identifier: MIT
"""Audit wheels: our own checks, then auditwheel, abi3audit, twine and pip's choice."""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wheels.holding import MODULE, check_holding
from wheels.making import Failure, run
from wheels.module import check_module
from wheels.targets import REFUSED, RESOLVED, target_of


if TYPE_CHECKING:
    from collections.abc import Sequence

    from wheels.targets import Target

__all__ = ["Audited", "audit", "check_choice"]

PYTHONS = ("3.11", "3.13", "3.14")


class Audited(NamedTuple):
    """A wheel that passed."""

    name: str
    size: int
    checks: tuple[str, ...]


def audit(wheels: Sequence[Path], sdist: Path, work: Path) -> list[Audited]:
    """Check every wheel, the sdist, and what pip makes of them together.

    Raises:
        Failure: with the first that does not pass.
    """
    run(sys.executable, "-m", "twine", "check", "--strict", sdist, *wheels)
    done = [audit_wheel(wheel, work) for wheel in wheels]
    run(sys.executable, "-m", "abi3audit", "--strict", *wheels)
    check_choice(wheels, work)
    return done


def audit_wheel(wheel: Path, work: Path) -> Audited:
    """Check one wheel by itself."""
    target = target_of(wheel.name)
    check_holding(wheel)
    with zipfile.ZipFile(wheel) as archive:
        module = Path(archive.extract(MODULE, work / target.tag))
    check_module(module, target)
    shutil.rmtree(work / target.tag)
    checks = ["holding", "macho" if target.is_macos else "elf"]
    if not target.is_macos:
        check_policy(wheel, target)
        checks.append("auditwheel")
    return Audited(wheel.name, wheel.stat().st_size, (*checks, "abi3audit", "twine", "pip"))


def check_policy(wheel: Path, target: Target) -> None:
    """Check that auditwheel finds it fit for the tag that it has."""
    said = " ".join(run(sys.executable, "-m", "auditwheel", "show", wheel).split())
    if f'following platform tag: "{target.tag}"' not in said:
        raise Failure(f"auditwheel finds {wheel.name} not fit for its tag: {said}")


def check_choice(wheels: Sequence[Path], work: Path) -> None:
    """Check that pip, on each machine, takes the wheel that is meant, and none where none is."""
    tags = {target_of(wheel.name).tag: wheel for wheel in wheels}
    for number, (platforms, tag) in enumerate(RESOLVED.items()):
        python = PYTHONS[number % len(PYTHONS)]
        if tag in tags and (got := choice(tags[tag].parent, platforms, python, work)) != tag:
            raise Failure(f"pip for {platforms[0]}, {python} took {got}, not {tag}")
    for platform in REFUSED:
        if got := choice(wheels[0].parent, [platform], "3.13", work):
            raise Failure(f"pip for {platform} took {got}")
    if got := choice(wheels[0].parent, list(tags), "3.10", work):
        raise Failure(f"pip for Python 3.10 took {got}")


def choice(folder: Path, platforms: Sequence[str], python: str, work: Path) -> str | None:
    """Return the tag of the wheel that pip takes from a folder, None if it finds none."""
    to = work / "chosen"
    shutil.rmtree(to, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "download", "-q", "--isolated", "--no-index", "--no-deps"]
    machine = ["--python-version", python, "--implementation", "cp"]
    # An interpreter takes the stable ABI of every earlier one; so does pip, asked for abi3.
    for word in (f"cp{python.replace('.', '')}", "abi3"):
        machine += ["--abi", word]
    for platform in platforms:
        machine += ["--platform", platform]
    where = ["--find-links", str(folder), "--only-binary", ":all:", "--dest", str(to)]
    try:
        run(*pip, *machine, *where, "pidproof")
    except Failure as error:
        if "No matching distribution" not in str(error):
            raise
        return None
    (got,) = to.iterdir()
    return target_of(got.name).tag
