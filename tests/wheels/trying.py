# SPDX-License-Identifier: MIT
"""Install what was built, and run the tests on it, on every CPython that is here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from wheels.making import ROOT, Failure, run


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["MARKS", "interpreters", "requirements", "try_sdist", "try_wheel"]

SMOKE = "import os, pidproof; print(pidproof.identify(os.getpid()))"
MARKS = "not slow and not faults and not thorough and not darwin"
QUICK = ["-n", "4", "-m", MARKS]
FEW = ["tests/native/test_boundary.py", "tests/process/test_liveness.py"]
ASK = "import sys; print(sys.version_info[:2] >= (3, 11), sys.implementation.name, sys.version)"


def interpreters() -> dict[str, Path]:
    """Return every CPython >= 3.11 on PATH or of pyenv, one of each version, by version."""
    places = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    places += sorted((pyenv / "versions").glob("*/bin"))
    found: dict[str, Path] = {}
    for path in (one for place in places for one in sorted(place.glob("python3.*"))):
        if not re.fullmatch(r"python3\.\d+t?", path.name):
            continue
        asked = subprocess.run(
            [path, "-c", ASK], capture_output=True, text=True, check=False, timeout=60
        )
        recent, name, version, *_ = [*asked.stdout.split(), "", "", ""]
        if asked.returncode == 0 and recent == "True" and name == "cpython":
            found.setdefault(version, path)
    return dict(sorted(found.items(), key=lambda item: [*map(int, re.findall(r"\d+", item[0]))]))


def requirements(group: str) -> list[str]:
    """Return what a dependency group of ours asks for."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    flat: list[str] = []
    for item in groups[group]:
        flat += [item] if isinstance(item, str) else requirements(item["include-group"])
    return flat


def environment(python: Path, folder: Path, *packages: str | Path) -> Path:
    """Make a virtual environment with packages; returns its interpreter."""
    run(python, "-m", "venv", folder)
    made = folder / "bin" / "python"
    run(made, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages)
    return made


def clean() -> dict[str, str]:
    """Return an environment with nothing in it that a build could lean on."""
    kept = ("PATH", "HOME", "TMPDIR", "LANG")
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    return {**pip, **{name: os.environ[name] for name in kept if name in os.environ}}


def try_sdist(sdist: Path, work: Path) -> str:
    """Install the sdist in an empty environment, as pip does it, and identify a process."""
    folder = work / "sdist"
    run(sys.executable, "-m", "venv", folder, env=clean())
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "--no-binary", "pidproof", sdist, env=clean())
    said = run(python, "-I", "-c", SMOKE, cwd=work, env=clean()).strip()
    shutil.rmtree(folder)
    return said


def try_wheel(
    dist: Path, work: Path, arguments: Sequence[str], *, newest: bool = False
) -> Iterator[str]:
    """Run tests on each CPython, or the newest, with the wheel that pip takes from a folder.

    Raises:
        Failure: at the end, with the versions on which they failed.
    """
    found = interpreters()
    if not found:
        raise Failure("no CPython >= 3.11 is here")
    failed = []
    for version in list(found)[-1 if newest else 0 :]:
        began = time.monotonic()
        folder = work / f"python-{version}"
        python = environment(found[version], folder, "cffi>=2.0", *requirements("test"))
        # From the folder alone, and a wheel alone: what is tried is what was built.
        pip = ["-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-index"]
        run(python, *pip, "--only-binary", ":all:", "--find-links", dist, "pidproof")
        at = run(python, "-I", "-c", "import pidproof._pp as m; print(m.__file__)").strip()
        if not at.startswith(str(folder)):
            raise Failure(f"{at} is not what was installed")
        tests = arguments or (FEW if newest else ["tests"])
        command = [str(python), "-m", "pytest", "-q", *QUICK, *tests]
        done = subprocess.run(command, cwd=ROOT, check=False, stdin=subprocess.DEVNULL)
        if done.returncode:
            failed.append(version)
        word = "failed" if done.returncode else "passed"
        yield f"the tests {word} on CPython {version}, in {time.monotonic() - began:.0f} s"
        shutil.rmtree(folder)
    if failed:
        raise Failure(f"the tests failed on CPython {', '.join(failed)}")
