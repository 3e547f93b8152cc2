# SPDX-License-Identifier: MIT
"""The library as it is linked for macOS: what it needs, what it shows, and that its code runs."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from darwin import world
from darwin.macho import ALLOWED, ARM64, X86_64, Library, Machine


if TYPE_CHECKING:
    from pathlib import Path

    from darwin.macho import Import

pytest.importorskip("unicorn", reason="needs unicorn")
pytestmark = [
    pytest.mark.darwin,
    pytest.mark.skipif(world.zig_library() is None, reason="needs ziglang"),
]

MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}
ESRCH, ENOMEM = 3, 12
PID, UNIQUE, START = 4321, 2**40 + 7, (1_764_000_000, 654_321)
BOOT = b"0A1B2C3D-0000-4000-8000-ABCDEFABCDEF"


@pytest.fixture(scope="module", params=list(MACHINES))
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Library:
    folder: Path = tmp_path_factory.mktemp("macho")
    machine = f"{MACHINES[request.param]}-macos.11.0"
    objects = world.mach_objects(machine, "-O2", "-fvisibility=hidden")
    target = folder / "pp.dylib"
    world.zig("-target", machine, "-shared", *objects, "-o", target)
    return Library(target)


def test_it_is_for_macos_11_and_needs_the_system_library_alone(library: Library) -> None:
    assert library.cpu in {ARM64, X86_64}
    assert library.minimum == (11, 0)
    assert library.libraries == ["/usr/lib/libSystem.B.dylib"]


def test_code_for_arm64_is_signed(library: Library) -> None:
    """That processor runs no other."""
    assert library.signed or library.cpu != ARM64


def test_it_takes_nothing_that_macos_11_does_not_have(library: Library) -> None:
    names = {name.removeprefix("_").partition("$")[0] for name in library.undefined}
    assert names <= ALLOWED, names - ALLOWED


def test_nothing_of_ours_is_exported(library: Library) -> None:
    assert set(library.exports) <= {"___dso_handle", "__mh_dylib_header"}


# --------------------------------------------------------------------------------- its code runs


class Kernel:
    """The few calls that the leaf functions make; fields by offset, of our own reading."""

    def __init__(self) -> None:
        self.state, self.flags, self.unique = 2, 0x4004, UNIQUE
        self.area = b""
        self.errno = 0
        self.missing = False

    def imports(self) -> dict[str, Import]:
        def error(machine: Machine, *_: int) -> int:
            self.errno_at = getattr(self, "errno_at", 0) or machine.allocate(4)
            machine.write(self.errno_at, struct.pack("<i", self.errno))
            return self.errno_at

        def pidinfo(machine: Machine, *given: int) -> int:
            assert (*given[:3], given[4]) == (PID, 17, 1, 56)
            at = given[3]
            if self.missing:
                self.errno = ESRCH
                return 0
            machine.write(at, bytes(16) + struct.pack("<QQii", self.unique, 5, 77, 6) + bytes(16))
            return 56

        def sysctl(machine: Machine, name: int, length: int, at: int, size_at: int, *_: int) -> int:
            names = struct.unpack(f"<{length}i", machine.read(name, 4 * length))
            (size,) = struct.unpack("<Q", machine.read(size_at, 8))
            if names == (1, 14, 1, PID):
                info = bytearray(b"\xee" * 648)
                struct.pack_into("<qi", info, 0, *START)
                struct.pack_into("<iB3xi", info, 32, self.flags, self.state, PID)
                struct.pack_into("<I", info, 392, 502)
                struct.pack_into("<I", info, 420, 501)
                struct.pack_into("<ii", info, 560, 1, PID)
                answer = b"" if self.missing else bytes(info)
            else:
                assert names == (1, 49, PID)
                assert size == 1 << 20
                answer = self.area
            machine.write(at, answer)
            machine.write(size_at, struct.pack("<Q", len(answer)))
            return 0

        def boot(machine: Machine, name: int, at: int, size_at: int, *_: int) -> int:
            assert machine.string(name) == b"kern.bootsessionuuid"
            machine.write(at, BOOT + b"\0")
            machine.write(size_at, struct.pack("<Q", len(BOOT) + 1))
            return 0

        def memory(machine: Machine, to: int, byte: int, size: int, *_: int) -> int:
            machine.write(to, bytes([byte & 0xFF]) * size)
            return to

        def wipe(machine: Machine, *given: int) -> int:
            machine.write(given[0], bytes([given[2] & 0xFF]) * given[3])
            return 0

        def copy(machine: Machine, to: int, source: int, size: int, *_: int) -> int:
            machine.write(to, machine.read(source, size))
            return to

        def compare(machine: Machine, one: int, two: int, size: int, *_: int) -> int:
            first, second = machine.read(one, size), machine.read(two, size)
            return (first > second) - (first < second)

        def compare_text(machine: Machine, one: int, two: int, size: int, *_: int) -> int:
            first, second = machine.string(one)[:size], machine.string(two)[:size]
            return (first > second) - (first < second)

        def find(machine: Machine, at: int, byte: int, size: int, *_: int) -> int:
            place = machine.read(at, size).find(byte & 0xFF)
            return 0 if place < 0 else at + place

        return {
            "error": error,
            "proc_pidinfo": pidinfo,
            "sysctl": sysctl,
            "sysctlbyname": boot,
            "getpid": lambda *_: PID,
            "dlsym": lambda *_: 0,
            "memset": memory,
            "bzero": lambda machine, at, size, *_: memory(machine, at, 0, size),
            "memset_s": wipe,
            "memcpy": copy,
            "memcpy_chk": copy,
            "memcmp": compare,
            "strncmp": compare_text,
            "memchr": find,
            "strlen": lambda machine, at, *_: len(machine.string(at)),
            "strnlen": lambda machine, at, size, *_: min(len(machine.string(at)), size),
            "malloc": lambda machine, size, *_: machine.allocate(size),
            "free": lambda *_: 0,
            "clock_gettime_nsec_np": lambda *_: 10**9,
            "geteuid": lambda *_: 501,
        }


class World:
    """The library on its processor, with a host read and an identity taken."""

    def __init__(self, library: Library) -> None:
        self.kernel = Kernel()
        self.machine = Machine(library, self.kernel.imports())
        self.host = self.machine.allocate(96)
        self.identity = self.machine.allocate(96)
        self.reason = self.machine.allocate(4)
        assert self.machine.call("pp_host_read", 0, self.host) == 0

    def compare(self) -> tuple[int, int]:
        answer = self.machine.call("pp_process_compare", self.host, self.identity, self.reason)
        return answer, struct.unpack("<i", self.machine.read(self.reason, 4))[0]

    def identify(self) -> int:
        return self.machine.call("pp_process_identify", self.host, PID, self.identity)


ALIVE, GONE = 1, 2
SAME, NO_SUCH_PID, OTHER, EXITED = 0, 1, 2, 3


def test_the_host_is_read(library: Library) -> None:
    world = World(library)
    boot, features = struct.unpack("<37s3xI", world.machine.read(world.host, 44))
    assert boot == BOOT.lower() + b"\0"
    assert features == 16 | 64, "numbers and kqueues; dlsym found no audit tokens"


def test_a_process_is_identified_and_compared(library: Library) -> None:
    world = World(library)
    assert world.identify() == 0
    pid, uid, start, namespace, unique, boot = struct.unpack(
        "<iIQQQ37s", world.machine.read(world.identity, 69)
    )
    assert (pid, uid, namespace, unique) == (PID, 502, 0, UNIQUE)
    assert start == START[0] * 1_000_000 + START[1]
    assert boot == BOOT.lower() + b"\0"
    assert world.compare() == (ALIVE, SAME)
    world.kernel.unique += 1
    assert world.compare() == (GONE, OTHER)
    world.kernel.unique -= 1
    world.kernel.state = 5
    assert world.compare() == (GONE, EXITED)
    world.kernel.state, world.kernel.flags = 2, 0x4004 | 0x2000
    assert world.compare() == (GONE, EXITED)
    world.kernel.missing = True
    assert world.compare() == (GONE, NO_SUCH_PID)
    assert world.identify() == -ESRCH


def test_arguments_and_environment_are_read(library: Library) -> None:
    from darwin.kernel import area

    world = World(library)
    assert world.identify() == 0
    buffer, size_at = world.machine.allocate(4096), world.machine.allocate(8)
    for argv in ([b"a", b"", b"c d"], [b"", b"x"], []):
        world.kernel.area = area(argv, [b"A=1", b"B="])
        for what, wanted in ((0, argv), (1, [b"A=1", b"B="])):
            arguments = (world.host, world.identity, what, buffer, 4096, size_at)
            assert world.machine.call("pp_process_read", *arguments) == 0
            (size,) = struct.unpack("<Q", world.machine.read(size_at, 8))
            assert world.machine.read(buffer, size) == b"".join(word + b"\0" for word in wanted)


def test_a_token_goes_out_and_comes_back(library: Library) -> None:
    world = World(library)
    text = f"pidproof:1:{PID}:17:{BOOT.decode().lower()}:0:{UNIQUE}".encode()
    at = world.machine.allocate(len(text), text)
    assert world.machine.call("pp_token_parse", at, len(text), world.identity) == 0
    pid, _, start, _, unique = struct.unpack("<iIQQQ", world.machine.read(world.identity, 32))
    assert (pid, start, unique) == (PID, 17, UNIQUE)
    assert world.machine.call("pp_token_parse", at, len(text) - 40, world.identity) < 0
