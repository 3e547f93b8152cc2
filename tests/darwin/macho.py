# SPDX-License-Identifier: MIT
"""Read a Mach-O library, and run its functions on an emulated processor.

No dyld: no initialisers and no thread variables; each import is a function of the test.
"""

from __future__ import annotations

import importlib
import shlex
import struct
from typing import TYPE_CHECKING, Any, NamedTuple


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Import = Callable[..., int]

LC_SYMTAB, LC_LOAD_DYLIB, LC_SEGMENT_64, LC_CODE_SIGNATURE = 0x02, 0x0C, 0x19, 0x1D
LC_DYLD_INFO, LC_DYLD_INFO_ONLY = 0x22, 0x80000022
LC_VERSION_MIN_MACOSX, LC_BUILD_VERSION = 0x24, 0x32
ARM64, X86_64 = 0x0100000C, 0x01000007
# Every symbol that the system has to have: all of them are in macOS 11.
# proc_signal_with_audittoken, of macOS 14.2, must not be here.
ALLOWED = set(
    shlex.split("""
        __bzero __error __memcpy_chk __snprintf_chk __stack_chk_fail __stack_chk_guard _exit
        bzero chdir clock_gettime_nsec_np close dlsym dup2 dyld_stub_binder execve fcntl flock
        fork free fstat fstatat getentropy geteuid gethostuuid getpeereid getpid getppid getrlimit
        getsid getsockopt kevent kill kqueue malloc memchr memcmp memcpy memset memset_s
        nanosleep open openat pipe poll pread proc_listpids proc_pidfdinfo proc_pidinfo
        proc_pidpath pthread_attr_destroy pthread_attr_init pthread_attr_setstacksize
        pthread_create pthread_join pthread_sigmask realloc recv sched_yield send setsid
        setsockopt sigaction sigprocmask snprintf socketpair strlen strncmp strnlen sysctl
        sysctlbyname unlinkat waitid waitpid write
    """)
)
# Where things lie in the emulated memory.
BASE, HEAP, STUBS, STACK = 0x1_0000_0000, 0x6_0000_0000, 0x7_0000_0000, 0x7_F000_0000
HEAP_SIZE, STACK_SIZE, PAGE = 16 << 20, 8 << 20, 0x4000


class Segment(NamedTuple):
    """A piece of the file and where it goes."""

    name: str
    address: int
    size: int
    offset: int
    file_size: int


class Library:
    """What a thin 64-bit Mach-O file says of itself."""

    def __init__(self, path: Path) -> None:
        self.data = path.read_bytes()
        magic, self.cpu, _, self.kind, count, _, _, _ = struct.unpack_from("<8I", self.data)
        if magic != 0xFEEDFACF:
            raise ValueError(f"{path} is no 64-bit Mach-O file")
        self.segments: list[Segment] = []
        self.libraries: list[str] = []
        self.exports: dict[str, int] = {}
        self.symbols: dict[str, int] = {}
        self.undefined: set[str] = set()
        self.minimum = (0, 0)
        self.signed = False
        self._tables: tuple[int, ...] = (0,) * 10
        at = 32
        for _ in range(count):
            command, size = struct.unpack_from("<2I", self.data, at)
            self._read_command(command, at)
            at += size

    def _read_command(self, command: int, at: int) -> None:
        if command == LC_SEGMENT_64:
            name, address, size, offset, file_size = struct.unpack_from("<16s4Q", self.data, at + 8)
            text = name.rstrip(b"\0").decode()
            self.segments.append(Segment(text, address, size, offset, file_size))
        elif command == LC_LOAD_DYLIB:
            (offset,) = struct.unpack_from("<I", self.data, at + 8)
            self.libraries.append(self._string(at + offset))
        elif command == LC_SYMTAB:
            self._read_symbols(*struct.unpack_from("<3I", self.data, at + 8))
        elif command in {LC_DYLD_INFO, LC_DYLD_INFO_ONLY}:
            self._tables = struct.unpack_from("<10I", self.data, at + 8)
        elif command in {LC_BUILD_VERSION, LC_VERSION_MIN_MACOSX}:
            place = at + (12 if command == LC_BUILD_VERSION else 8)
            (version,) = struct.unpack_from("<I", self.data, place)
            self.minimum = (version >> 16, version >> 8 & 0xFF)
        elif command == LC_CODE_SIGNATURE:
            self.signed = True

    def _string(self, at: int) -> str:
        return self.data[at : self.data.index(b"\0", at)].decode()

    def _read_symbols(self, table: int, count: int, strings: int) -> None:
        for number in range(count):
            name_at, kind, _, _, value = struct.unpack_from(
                "<IBBHQ", self.data, table + 16 * number
            )
            if kind & 0xE0:
                continue  # for a debugger
            name = self._string(strings + name_at)
            if kind & 0x0E == 0x0E:
                self.symbols[name] = value
                if kind & 1 and not kind & 0x10:  # external, and not private to the library
                    self.exports[name] = value
            elif kind & 0x0E == 0:
                self.undefined.add(name)

    def bindings(self) -> Iterator[tuple[int, str]]:
        """Yield each place that holds the address of an import, and its name."""
        for offset, size, lazy in (
            (self._tables[2], self._tables[3], False),
            (self._tables[6], self._tables[7], True),
        ):
            yield from self._run_binding(Cursor(self.data[offset : offset + size]), lazy=lazy)

    def _run_binding(self, cursor: Cursor, *, lazy: bool) -> Iterator[tuple[int, str]]:
        place, name = 0, ""
        while cursor.more():
            operation, small = cursor.opcode()
            if operation == 0x00:
                if not lazy:
                    return
            elif operation in {0x20, 0x60}:
                cursor.unsigned()
            elif operation == 0x40:
                name = cursor.text()
            elif operation == 0x70:
                place = self.segments[small].address + cursor.unsigned()
            elif operation == 0x80:
                place = (place + cursor.unsigned()) % 2**64
            elif operation in {0x90, 0xA0, 0xB0}:
                yield place, name
                place += 8
                if operation == 0xA0:
                    place = (place + cursor.unsigned()) % 2**64
                elif operation == 0xB0:
                    place += small * 8
            elif operation == 0xC0:
                count, skip = cursor.unsigned(), cursor.unsigned()
                for _ in range(count):
                    yield place, name
                    place += 8 + skip

    def rebases(self) -> Iterator[int]:
        """Yield each place that holds an address of the library itself."""
        cursor = Cursor(self.data[self._tables[0] : self._tables[0] + self._tables[1]])
        place = 0
        while cursor.more():
            operation, small = cursor.opcode()
            count, skip = 0, 0
            if operation == 0x00:
                return
            if operation == 0x20:
                place = self.segments[small].address + cursor.unsigned()
            elif operation == 0x30:
                place += cursor.unsigned()
            elif operation == 0x40:
                place += small * 8
            elif operation == 0x50:
                count = small
            elif operation == 0x60:
                count = cursor.unsigned()
            elif operation == 0x70:
                count, skip = 1, cursor.unsigned()
            elif operation == 0x80:
                count, skip = cursor.unsigned(), cursor.unsigned()
            for _ in range(count):
                yield place
                place += 8 + skip


class Cursor:
    """A place in the small programs that tell dyld what to patch."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def more(self) -> bool:
        return self._at < len(self._data)

    def opcode(self) -> tuple[int, int]:
        byte = self._data[self._at]
        self._at += 1
        return byte & 0xF0, byte & 0x0F

    def unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    def text(self) -> str:
        end = self._data.index(b"\0", self._at)
        text = self._data[self._at : end].decode()
        self._at = end + 1
        return text


class Machine:
    """A processor with the library in its memory."""

    def __init__(self, library: Library, imports: dict[str, Import]) -> None:
        unicorn: Any = importlib.import_module("unicorn")
        arm: Any = importlib.import_module("unicorn.arm64_const")
        x86: Any = importlib.import_module("unicorn.x86_const")
        self.library = library
        self.is_arm = library.cpu == ARM64
        self.imports = imports
        self.called: list[str] = []
        self._link: int | None = None
        if self.is_arm:
            self.uc: Any = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
            self._registers = [getattr(arm, f"UC_ARM64_REG_X{n}") for n in range(8)]
            self._stack, self._link = arm.UC_ARM64_REG_SP, arm.UC_ARM64_REG_LR
            self._result, self._next = arm.UC_ARM64_REG_X0, arm.UC_ARM64_REG_PC
        else:
            self.uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
            names = ("RDI", "RSI", "RDX", "RCX", "R8", "R9")
            self._registers = [getattr(x86, f"UC_X86_REG_{name}") for name in names]
            self._stack = x86.UC_X86_REG_RSP
            self._result, self._next = x86.UC_X86_REG_RAX, x86.UC_X86_REG_RIP
        self._names: list[str] = []
        self._heap = HEAP
        for start, size in ((HEAP, HEAP_SIZE), (STUBS, PAGE), (STACK, STACK_SIZE)):
            self.uc.mem_map(start, size)
        self._load()
        self.uc.hook_add(unicorn.UC_HOOK_CODE, self._on_import, begin=STUBS, end=STUBS + PAGE - 1)

    def _load(self) -> None:
        end = max(segment.address + segment.size for segment in self.library.segments)
        self.uc.mem_map(BASE, (end + PAGE - 1) & -PAGE)
        for segment in self.library.segments:
            content = self.library.data[segment.offset : segment.offset + segment.file_size]
            self.uc.mem_write(BASE + segment.address, content)
        bound = set()
        for place, name in self.library.bindings():
            self.uc.mem_write(BASE + place, struct.pack("<Q", self._stub(name)))
            bound.add(place)
        for place in self.library.rebases():
            if place not in bound:  # what a lazy import points to before it is looked up
                (value,) = struct.unpack("<Q", self.uc.mem_read(BASE + place, 8))
                self.uc.mem_write(BASE + place, struct.pack("<Q", value + BASE))

    def _stub(self, name: str) -> int:
        if name not in self._names:
            self._names.append(name)
        return STUBS + 16 * (1 + self._names.index(name))

    def _on_import(self, _uc: object, address: int, _size: int, _data: object) -> None:
        number = (address - STUBS) // 16 - 1
        if number < 0:
            self.uc.emu_stop()  # the return address of the outermost call
            return
        name = self._names[number].partition("$")[0].lstrip("_")
        self.called.append(name)
        arguments = [self.uc.reg_read(register) for register in self._registers]
        result = self.imports[name](self, *arguments) % 2**64
        self.uc.reg_write(self._result, result)
        if self.is_arm:
            self.uc.reg_write(self._next, self.uc.reg_read(self._link))
            return
        top = self.uc.reg_read(self._stack)
        (back,) = struct.unpack("<Q", self.uc.mem_read(top, 8))
        self.uc.reg_write(self._stack, top + 8)
        self.uc.reg_write(self._next, back)

    def allocate(self, size: int, content: bytes = b"") -> int:
        """Return the address of a fresh block, zeros behind its content."""
        address = self._heap
        self._heap += (size + 31) & -16
        self.write(address, content.ljust(size, b"\0"))
        return address

    def write(self, address: int, content: bytes) -> None:
        self.uc.mem_write(address, content)

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.uc.mem_read(address, size))

    def string(self, address: int) -> bytes:
        """Return the string there, without its NUL."""
        found = b""
        while not found.endswith(b"\0"):
            found += self.read(address + len(found), 1)
        return found[:-1]

    def call(self, name: str, *arguments: int) -> int:
        """Run a function until it returns; its result as a signed 32-bit number."""
        top = STACK + STACK_SIZE - 0x1000
        for register, value in zip(self._registers, arguments, strict=False):
            self.uc.reg_write(register, value % 2**64)
        if self._link is None:
            top -= 8
            self.write(top, struct.pack("<Q", STUBS))
        else:
            self.uc.reg_write(self._link, STUBS)
        self.uc.reg_write(self._stack, top)
        self.uc.emu_start(BASE + self.library.symbols[f"_{name}"], STUBS, timeout=20_000_000)
        result = int(self.uc.reg_read(self._result)) % 2**32
        return result - 2**32 if result >> 31 else result
