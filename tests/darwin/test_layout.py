# SPDX-License-Identifier: MIT
"""The sources for macOS under its own headers: every warning an error, every layout asserted."""

from __future__ import annotations

import re
import shlex
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


FLAGS = ["-O2", "-fvisibility=hidden", *WARNINGS]


def compile(source: Path, target: str, folder: Path) -> None:
    """Compile a source into a folder."""
    flags = ["-target", target, "-std=gnu11", *FLAGS, "-I", str(world.CSRC)]
    world.zig(*flags, "-c", source, "-o", folder / f"{source.stem}.o")


@pytest.mark.parametrize("target", TARGETS)
def test_it_compiles_without_a_warning(target: str) -> None:
    assert len(world.mach_objects(target, *FLAGS)) == len(world.sources())


ASSERTION = re.compile(r"_Static_assert\((?:[^;]*?)== (\d+),")
ASSERTED = [path for path in world.sources() if ASSERTION.search(path.read_text())]


@pytest.mark.parametrize("source", ASSERTED, ids=lambda path: path.stem)
def test_every_layout_that_is_asserted_wrong_is_an_error(source: Path, tmp_path: Path) -> None:
    text = source.read_text()
    wrong = ASSERTION.sub(lambda m: m[0].replace(f"== {m[1]},", f"== {int(m[1]) + 4},"), text)
    changed = tmp_path / source.name
    changed.write_text(wrong)
    with pytest.raises(RuntimeError) as caught:
        compile(changed, TARGETS[0], tmp_path)
    count = len(ASSERTION.findall(text))
    assert count > 3
    assert str(caught.value).count("error: static assertion failed") == count


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
