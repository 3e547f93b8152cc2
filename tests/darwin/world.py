# SPDX-License-Identifier: MIT
"""Build the sources for macOS into a module for Linux, over a stand-in for its kernel.

    python tests/darwin/world.py COMMAND...     run a command in which `pidproof` is that build

The sources are compiled unchanged, with the headers of macOS that come with zig, and every call of
theirs is renamed to one of tests/darwin/xnu.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import os
import re
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from cffi import FFI


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CSRC = ROOT / "csrc"
BUILD = HERE / ".build"
# The same in both libraries: no number and no struct of the system in them.
SHARED = re.compile(r"mem(chr|cmp|cpy|move|set)|str\w+|__\w+_chk")
DECLARATION = re.compile(r"^(int|void)\s+(pp_\w+)\(([^;]*)\);", re.MULTILINE)


def sources() -> list[Path]:
    """Return the C files that go into the module for macOS."""
    return sorted(path for path in CSRC.glob("*.c") if not path.stem.endswith("_linux"))


def zig_library() -> Path | None:
    """Return the folder of zig's headers, None if it is not installed."""
    found = importlib.util.find_spec("ziglang")
    return Path(found.origin).parent / "lib" if found and found.origin else None


def zig(*arguments: str | Path) -> None:
    """Run zig's C compiler."""
    run(sys.executable, "-m", "ziglang", "cc", *arguments)


def run(*command: str | Path) -> str:
    """Run a tool to its end; its output if it succeeds, else an error with it."""
    words = list(map(str, command))
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def digest(paths: Iterable[Path], *more: str) -> str:
    """Return a name for what these files hold."""
    whole = hashlib.sha256(repr(more).encode())
    for path in sorted(paths):
        whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()[:16]


def target_flags(machine: str = "x86_64") -> list[str | Path]:
    """Return the flags that make ELF of a source for macOS.

    A target with a libc of its own would bring its headers; Darwin's int64_t is long long.
    """
    library = zig_library()
    assert library is not None
    return [
        *("-target", f"{machine}-freestanding-none", "-std=gnu11", "-fPIC", "-O1", "-g"),
        *("-nostdinc", "-isystem", library / "libc" / "include" / "any-darwin-any"),
        *("-isystem", library / "include"),
        *("-U__INT64_TYPE__", "-D__INT64_TYPE__=long long int"),
        *("-U__UINT64_TYPE__", "-D__UINT64_TYPE__=long long unsigned int"),
        *("-D__APPLE__=1", "-D__MACH__=1", "-D__APPLE_CC__=6000", "-D__DYNAMIC__"),
        "-D__ENVIRONMENT_MAC_OS_X_VERSION_MIN_REQUIRED__=110000",
    ]


def make(path: Path, *command: str | Path) -> Path:
    """Make a file by a command whose last argument it is, unless it is there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        run(*command, temporary)
        temporary.replace(path)
    return path


# ------------------------------------------------------------------------------------- objects


def elf_object(source: Path, text: str) -> Path:
    """Compile one source for macOS, perhaps with another text than its file's."""
    headers = digest(CSRC.glob("*.h"))
    name = hashlib.sha256((headers + source.name + text).encode()).hexdigest()[:16]
    path = BUILD / "elf" / f"{source.stem}-{name}.o"
    if path.exists():
        return path
    changed = BUILD / "text" / name / source.name
    changed.parent.mkdir(parents=True, exist_ok=True)
    changed.write_text(text)
    compiler = [sys.executable, "-m", "ziglang", "cc", *target_flags(), "-I", CSRC]
    return make(path, *compiler, "-c", changed, "-o")


def mach_objects(target: str, *flags: str) -> list[Path]:
    """Compile all of them for macOS; an error or a warning that is one is raised."""
    headers = digest(CSRC.glob("*.h"), target, *flags)
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-std=gnu11", *flags]

    def compiled(source: Path) -> Path:
        path = BUILD / "mach" / f"{source.stem}-{digest([source], headers)}.o"
        return make(path, *compiler, "-I", CSRC, "-c", source, "-o")

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(compiled, sources()))


def darwin_object(changes: Mapping[str, str]) -> Path:
    """Link all of them, and rename what they call to xnu_*, what they define to darwin_*."""
    with ThreadPoolExecutor(2) as pool:
        texts = [(path, changes.get(path.name, path.read_text())) for path in sources()]
        objects = list(pool.map(lambda item: elf_object(*item), texts))
    name = digest([], *map(str, objects))
    joined = make(BUILD / "elf" / f"joined-{name}.o", "ld", "-r", *objects, "-o")
    names = []
    for line in run("nm", joined).splitlines():
        kind, symbol = line.split()[-2:]
        if kind == "U" and not SHARED.fullmatch(symbol):
            # Some carry the underscore of their name on macOS, and a version behind a dollar.
            plain = symbol if symbol in {"_exit", "__error"} else symbol.removeprefix("_")
            names.append(f"{symbol} xnu_{plain.partition('$')[0]}")
        elif kind == "T" and symbol.startswith("pp_"):
            names.append(f"{symbol} darwin_{symbol}")
    renames = BUILD / "elf" / f"renames-{name}.txt"
    renames.write_text("".join(f"{line}\n" for line in names))
    return make(BUILD / "elf" / f"darwin-{name}.o", "objcopy", f"--redefine-syms={renames}", joined)


def glue() -> str:
    """Return C that turns the numbers of macOS into those of Linux at the boundary."""
    lines = ["#define _GNU_SOURCE", '#include "pp.h"', '#include "xnu.h"']
    for kind, name, parameters in DECLARATION.findall((CSRC / "pp_decls.h").read_text()):
        plain = " ".join(parameters.split())
        given = [re.findall(r"\w+", part)[-1] for part in plain.split(",") if part != "void"]
        passed = ", ".join(
            "darwin_signal(signal_number)" if item == "signal_number" else item for item in given
        )
        lines.append(f"HIDDEN {kind} darwin_{name}({plain});")
        if kind == "void":
            lines.append(f"void {name}({plain}) {{ darwin_{name}({passed}); }}")
            continue
        after = ""
        if "ret_reason" in given:
            after = "if (ret_reason) *ret_reason = linux_result(*ret_reason);"
        elif "ret_error" in given:
            after = "if (r == 0) *ret_error = linux_errno(*ret_error);"
        elif {"holder", "ret_holder"} & set(given):
            holder = next(item for item in given if item.endswith("holder"))
            after = f"if (r >= 0) {holder}->reason = linux_result({holder}->reason);"
        lines.append(
            f"int {name}({plain}) {{ int r = darwin_{name}({passed}); {after} "
            "return linux_result(r); }"
        )
    return "\n".join(lines) + "\n"


def host_objects() -> list[Path]:
    """Compile what is of Linux: the stand-in kernel, the glue, and cffi's part of the module."""
    folder = BUILD / "host"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "glue.c").write_text(glue())
    ffi = FFI()
    ffi.cdef((CSRC / "pp_decls.h").read_text())
    ffi.set_source("pidproof._pp", '#include "pp.h"\n', py_limited_api=True)
    with contextlib.redirect_stdout(io.StringIO()):  # it says what it does
        ffi.emit_c_code(str(folder / "_pp.c"))
    files = [folder / "_pp.c", folder / "glue.c", *sorted((HERE / "xnu").glob("*.c"))]
    headers = digest([*CSRC.glob("*.h"), *(HERE / "xnu").glob("*.h")])
    compiler = ["gcc", "-std=gnu11", "-O1", "-g", "-fPIC", "-Wall", "-Werror", "-pthread"]
    compiler += [f"-I{folder}" for folder in (CSRC, HERE / "xnu", sysconfig.get_path("include"))]

    def compiled(path: Path) -> Path:
        name = digest([path], headers, sys.version)
        return make(folder / f"{path.stem}-{name}.o", *compiler, "-c", path, "-o")

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(compiled, files))


def build(changes: Mapping[str, str] | None = None) -> Path:
    """Return a folder to be put on PYTHONPATH; `changes` replaces the text of some sources."""
    objects = [darwin_object(changes or {}), *host_objects()]
    site = BUILD / "site" / digest([], *map(str, objects), sys.version)
    make(site / "pidproof" / "_pp.abi3.so", "gcc", "-shared", "-pthread", *objects, "-o")
    for path in (ROOT / "src" / "pidproof").iterdir():
        link = site / "pidproof" / path.name
        if not path.name.startswith("_pp.") and path.name != "__pycache__" and not link.exists():
            link.symlink_to(path)
    return site


def environment(site: Path) -> dict[str, str]:
    """Return the environment of a process in which `pidproof` is the module built there."""
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(site), *([inherited] if inherited else [])])
    return {**os.environ, "PYTHONPATH": path, "PIDPROOF_WORLD": str(site)}


if __name__ == "__main__":
    os.execvpe(sys.argv[1], sys.argv[1:], environment(build()))
