# SPDX-License-Identifier: MIT
"""The compiled module in a wheel: what it needs of the system, and what it shows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from darwin.macho import ALLOWED, ARM64, X86_64, Library
from wheels.making import Failure


if TYPE_CHECKING:
    from pathlib import Path

    from wheels.targets import Target

__all__ = ["check_module"]

ENTRY = "PyInit__pp"
GLIBC = {"libc.so.6", "libpthread.so.0", "libdl.so.2"}
LOADERS = {"ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
OF_PYTHON = re.compile("_?Py[A-Z]|_Py_")
# What zig's linker itself leaves in sight.
BY_LINKER = {"___dso_handle", "__mh_dylib_header", f"_{ENTRY}"}


def check_module(module: Path, target: Target) -> None:
    """Check the module of a platform."""
    (check_macho if target.is_macos else check_elf)(module, target)


def check_macho(module: Path, target: Target) -> None:
    """Check what Apple's tools would: processor, oldest system, libraries, symbols, signature."""
    library = Library(module)
    arm = target.machine == "arm64"
    facts = {
        "processor": (library.cpu, ARM64 if arm else X86_64),
        "oldest macOS": (library.minimum, (11, 0)),
        "libraries": (library.libraries, ["/usr/lib/libSystem.B.dylib"]),
        # That processor runs no unsigned code; the other one takes either.
        "signature": (library.signed or not arm, True),
    }
    for name, (found, wanted) in facts.items():
        if found != wanted:
            raise Failure(f"{target.tag}: {name} is {found}, not {wanted}")
    if set(library.exports) - BY_LINKER or f"_{ENTRY}" not in library.exports:
        raise Failure(f"{target.tag} shows {sorted(library.exports)}")
    names = {name.removeprefix("_").partition("$")[0] for name in library.undefined}
    if more := {name for name in names - ALLOWED if not OF_PYTHON.match(name)}:
        raise Failure(f"{target.tag} takes what macOS 11 may not have: {sorted(more)}")


def check_elf(module: Path, target: Target) -> None:
    """Check libraries and symbols; auditwheel checks the versions of those."""
    with module.open("rb") as stream:
        elf = ELFFile(stream)
        machine = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64"}.get(elf["e_machine"])
        needed = {
            str(tag.needed)  # type: ignore[attr-defined, unused-ignore]
            for section in elf.iter_sections()
            if isinstance(section, DynamicSection)
            for tag in section.iter_tags("DT_NEEDED")
        }
        symbols = [
            symbol
            for section in elf.iter_sections()
            if isinstance(section, SymbolTableSection) and section.name == ".dynsym"
            for symbol in section.iter_symbols()
        ]
        stack = [one["p_flags"] for one in elf.iter_segments() if one["p_type"] == "PT_GNU_STACK"]
    shown = {one.name for one in symbols if one.name and one["st_shndx"] != "SHN_UNDEF"}
    wanted = {f"libc.musl-{target.machine}.so.1"} if target.is_musl else GLIBC | LOADERS
    if machine != target.machine:
        raise Failure(f"{target.tag} is for {machine}")
    if not needed <= wanted or not needed:
        raise Failure(f"{target.tag} needs {sorted(needed)}")
    if shown - {"_init", "_fini"} != {ENTRY}:
        raise Failure(f"{target.tag} shows {sorted(shown)}")
    if any(flags & 1 for flags in stack):
        raise Failure(f"{target.tag} wants a stack that can be executed")
