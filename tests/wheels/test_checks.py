# SPDX-License-Identifier: MIT
"""Each check of a wheel refuses what it is there for; the wheels here are made up."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import struct
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from helpers import ROOT
from wheels.holding import MODULE, check_holding
from wheels.making import Failure, normal_archive
from wheels.targets import ABI, ALL, QUICK, RESOLVED, target_of


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Files = dict[str, bytes]

TAG = "manylinux_2_17_x86_64"
INFO = "pidproof-1.0.dist-info"


def record_of(files: Files) -> bytes:
    """Return RECORD for these files."""
    lines = [f"{INFO}/RECORD,,"]
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}")
    return "\n".join(lines).encode()


def good() -> Files:
    """Return what a wheel of this tree holds, but for RECORD."""
    package = ROOT / "src" / "pidproof"
    names = [path for path in package.rglob("*") if path.suffix in {".py", ".pyi", ".typed"}]
    files = {f"pidproof/{path.relative_to(package)}": path.read_bytes() for path in names}
    files["pidproof/py.typed"] = b""
    bill = {
        "bomFormat": "CycloneDX",
        "metadata": {"component": {"name": "pidproof", "version": "1.0"}},
        "components": [{"name": "cffi", "version": "2.0"}],
    }
    return {
        **files,
        MODULE: b"\x7fELF",
        f"{INFO}/METADATA": b"",
        f"{INFO}/WHEEL": f"Root-Is-Purelib: false\nTag: {ABI}-{TAG}\n".encode(),
        f"{INFO}/entry_points.txt": b"",
        f"{INFO}/top_level.txt": b"",
        f"{INFO}/licenses/LICENSE": b"",
        f"{INFO}/sboms/pidproof.cdx.json": json.dumps(bill).encode(),
    }


def write(folder: Path, files: Files) -> Path:
    """Write a wheel with these files and, if they have none, the RECORD that fits."""
    path = folder / f"pidproof-1.0-{ABI}-{TAG}.whl"
    record = f"{INFO}/RECORD"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**files, record: files.get(record) or record_of(files)}.items():
            archive.writestr(name, content)
    return path


def with_bill(files: Files, **changes: object) -> Files:
    name = f"{INFO}/sboms/pidproof.cdx.json"
    return {**files, name: json.dumps({**json.loads(files[name]), **changes}).encode()}


def noise(size: int) -> bytes:
    return b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(size // 32))


BROKEN: dict[str, tuple[Callable[[Files], Files], str]] = {
    "too large": (lambda files: {**files, MODULE: noise(160_000)}, "bytes, over"),
    "a test in it": (lambda files: {**files, "tests/test_x.py": b""}, "has {'tests/test_x.py'}"),
    "C in it": (lambda files: {**files, "csrc/pp.h": b""}, "has {'csrc/pp.h'}"),
    "no module": (lambda files: {k: v for k, v in files.items() if k != MODULE}, "lacks"),
    "no types": (lambda files: {k: v for k, v in files.items() if k[-5:] != "typed"}, "lacks"),
    "no licence": (lambda files: {k: v for k, v in files.items() if "LICENSE" not in k}, "lacks"),
    "no bill": (lambda files: {k: v for k, v in files.items() if "sboms" not in k}, "lacks"),
    "changed after RECORD": (
        lambda files: {**files, f"{INFO}/RECORD": record_of(files), MODULE: b"\x7fELG"},
        "RECORD differs",
    ),
    "another tag": (
        lambda files: {**files, f"{INFO}/WHEEL": b"Root-Is-Purelib: false\nTag: py3-none-any\n"},
        "WHEEL says",
    ),
    "pure": (
        lambda files: {
            **files,
            f"{INFO}/WHEEL": f"Root-Is-Purelib: true\nTag: {ABI}-{TAG}\n".encode(),
        },
        "WHEEL says",
    ),
    "a path in it": (lambda files: {**files, MODULE: b"\0/home/me/build/x.c\0"}, "where it was"),
    "a bill of another": (
        lambda files: with_bill(
            files, metadata={"component": {"name": "pidproof", "version": "2.0"}}
        ),
        "the bill is of",
    ),
    "a bill without cffi": (lambda files: with_bill(files, components=[]), "the bill names"),
    "a bill with a number": (lambda files: with_bill(files, serialNumber="urn:1"), "each time"),
}


def test_a_good_wheel_passes(tmp_path: Path) -> None:
    check_holding(write(tmp_path, good()))


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_one_is_refused(tmp_path: Path, how: str) -> None:
    change, says = BROKEN[how]
    with pytest.raises(Failure) as caught:
        check_holding(write(tmp_path, change(good())))
    assert says in str(caught.value)


def macho(*, cpu: int = 0x0100000C, minimum: int = 11 << 16, signed: bool = True) -> bytes:
    """Return a library for macOS that exports the module's entry and needs the system's library."""
    name = b"/usr/lib/libSystem.B.dylib\0".ljust(32, b"\0")
    commands = [
        struct.pack("<6I", 0x0C, 24 + len(name), 24, 0, 0, 0) + name,
        struct.pack("<6I", 0x32, 24, 1, minimum, 0, 0),
    ]
    if signed:
        commands.append(struct.pack("<4I", 0x1D, 16, 0, 0))
    strings = b"\0_PyInit__pp\0"
    symbols = struct.pack("<IBBHQ", 1, 0x0F, 1, 0, 64)
    size = sum(map(len, commands)) + 24
    place = 32 + size
    commands.append(struct.pack("<6I", 0x02, 24, place, 1, place + len(symbols), len(strings)))
    head = struct.pack("<8I", 0xFEEDFACF, cpu, 0, 6, len(commands), size, 0, 0)
    return head + b"".join(commands) + symbols + strings


MACHO = {
    "another processor": (macho(cpu=0x01000007), "processor is"),
    "a newer system": (macho(minimum=12 << 16), r"oldest macOS is \(12, 0\)"),
    "no signature": (macho(signed=False), "signature is"),
    "another library": (macho().replace(b"libSystem.B", b"libCrypto.B"), "libraries is"),
    "no entry": (macho().replace(b"PyInit", b"PyExit"), "shows"),
}


@pytest.mark.parametrize("how", MACHO)
def test_a_broken_library_for_macos_is_refused(tmp_path: Path, how: str) -> None:
    from wheels.module import check_module

    path, target = tmp_path / "module", ALL[4]
    path.write_bytes(macho())
    check_module(path, target)
    content, says = MACHO[how]
    path.write_bytes(content)
    with pytest.raises(Failure, match=says):
        check_module(path, target)


def test_an_archive_becomes_the_same_whoever_packed_it(tmp_path: Path) -> None:
    made = []
    for number, (owner, when, order) in enumerate([("me", 5, "ab"), ("you", 6, "ba")]):
        path = tmp_path / f"{number}.tar.gz"
        with gzip.open(path, "wb") as stream, tarfile.open(fileobj=stream, mode="w") as archive:
            for name in order:
                entry = tarfile.TarInfo(name)
                entry.uname, entry.mtime, entry.size, entry.mode = owner, when, 1, 0o640
                archive.addfile(entry, io.BytesIO(name.encode()))
        made.append(normal_archive(path, 7))
    assert made[0] == made[1]
    with tarfile.open(fileobj=io.BytesIO(made[0])) as archive:
        assert [(one.name, one.mtime, one.mode) for one in archive] == [
            ("a", 7, 0o644),
            ("b", 7, 0o644),
        ]


def test_every_platform_is_resolved_somewhere() -> None:
    assert set(RESOLVED.values()) == {one.tag for one in ALL}
    assert set(QUICK) < {one.tag for one in ALL}


def test_a_platform_is_known_by_any_of_its_tags() -> None:
    older = "manylinux2014_x86_64.manylinux_2_17_x86_64"
    assert target_of(f"pidproof-1.0-{ABI}-{older}.whl") == ALL[0]
    with pytest.raises(LookupError, match="none of our platforms"):
        target_of(f"pidproof-1.0-{ABI}-win_amd64.whl")
