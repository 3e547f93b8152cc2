# SPDX-License-Identifier: MIT
"""The sources for macOS under its own headers: every warning an error, every layout asserted."""

from __future__ import annotations

import re
import shlex
import sys
from typing import TYPE_CHECKING

import pytest

from darwin import world


if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.darwin,
    pytest.mark.skipif(world.zig_library() is None, reason="needs ziglang"),
]

TARGETS = ["aarch64-macos.11.0", "x86_64-macos.11.0"]
WARNINGS = shlex.split("""
    -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Wstrict-prototypes
    -Wmissing-prototypes -Wformat=2 -Wvla -Wpointer-arith -Wundef
    -Wunguarded-availability -Werror
""")


def compile(source: Path, target: str, folder: Path) -> None:
    flags = ["-target", target, "-std=gnu11", "-O2", "-fvisibility=hidden", *WARNINGS]
    world.zig(*flags, "-I", world.CSRC, "-c", source, "-o", folder / f"{source.stem}.o")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", world.sources(), ids=lambda path: path.name)
def test_it_compiles_without_a_warning(source: Path, target: str, tmp_path: Path) -> None:
    compile(source, target, tmp_path)


ASSERTION = re.compile(r"_Static_assert\((?:[^;]*?), \"", re.S)
ASSERTED = [
    (path, number)
    for path in world.sources()
    for number, text in enumerate(ASSERTION.findall(path.read_text()))
    if re.search(r"== \d+, \"$", text)
]


@pytest.mark.parametrize(
    ("source", "number"), ASSERTED, ids=[f"{path.stem}-{number}" for path, number in ASSERTED]
)
def test_a_layout_that_is_asserted_wrong_does_not_compile(
    source: Path, number: int, tmp_path: Path
) -> None:
    text = source.read_text()
    match = list(ASSERTION.finditer(text))[number]
    wrong = re.sub(r"== (\d+)", lambda found: f"== {int(found[1]) + 4}", match[0])
    changed = tmp_path / source.name
    changed.write_text(text[: match.start()] + wrong + text[match.end() :])
    with pytest.raises(RuntimeError, match="static assertion failed"):
        compile(changed, TARGETS[number % 2], tmp_path)


def test_a_call_that_came_later_is_seen(tmp_path: Path) -> None:
    """-Wunguarded-availability does see what is annotated."""
    late = tmp_path / "late.c"
    late.write_text(
        "#include <libproc.h>\nint f(void);\nint f(void)\n{\n"
        "    return proc_pidpath_audittoken(0, 0, 0);\n}\n"
    )
    compile(late, "aarch64-macos.11.0", tmp_path)
    with pytest.raises(RuntimeError, match=r"only available on macOS 11\.0"):
        compile(late, "x86_64-macos.10.15", tmp_path)


def test_no_function_has_a_branch_for_a_system_inside() -> None:
    for path in [*world.CSRC.glob("*.c"), *world.CSRC.glob("*.h")]:
        assert not re.search(r"^#\s*if.*(__APPLE__|__linux__|__MACH__)", path.read_text(), re.M)
    assert sys.platform == "linux" or world.sources()
