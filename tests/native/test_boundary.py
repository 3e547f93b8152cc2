# SPDX-License-Identifier: MIT
"""The declarations, the compiled module and its typed description say the same."""

from __future__ import annotations

import ast
import errno
import os
import re
import runpy
from typing import TYPE_CHECKING

import pytest

from helpers import ROOT, TESTS, needs_linux
from pidproof import _native, _native_lock
from pidproof._pp import ffi, lib


if TYPE_CHECKING:
    from pathlib import Path

DECLARATIONS = (ROOT / "csrc" / "pp_decls.h").read_text()
STUB = (ROOT / "src" / "pidproof" / "_pp.pyi").read_text()
FUNCTION = re.compile(r"^(?:int|void)\s+(pp_\w+)\(([^;]*)\);", re.MULTILINE)
FUNCTIONS = [match[1] for match in FUNCTION.finditer(DECLARATIONS)]


def members_of_stub() -> dict[str, ast.stmt]:
    for statement in ast.parse(STUB).body:
        if isinstance(statement, ast.ClassDef) and statement.name == "_Lib":
            return {
                item.target.id if isinstance(item, ast.AnnAssign) else item.name: item  # type: ignore[union-attr, attr-defined]
                for item in statement.body
            }
    raise AssertionError("no class _Lib")


def test_the_stub_names_exactly_what_the_module_has() -> None:
    compiled = {name for name in dir(lib) if not name.startswith("__")}
    assert set(members_of_stub()) == compiled
    assert set(FUNCTIONS) == {name for name in compiled if name.startswith("pp_")}


def test_the_stub_takes_as_many_arguments_as_the_declaration() -> None:
    members = members_of_stub()
    for match in FUNCTION.finditer(DECLARATIONS):
        function = members[match[1]]
        assert isinstance(function, ast.FunctionDef)
        wanted = len(match[2].split(","))
        given = len(function.args.posonlyargs) + len(function.args.args) - 1  # self
        assert given == wanted, match[1]


def test_every_function_is_documented_where_it_is_declared() -> None:
    for name in FUNCTIONS:
        before = DECLARATIONS[: re.search(rf"^\w+\s+{name}\(", DECLARATIONS, re.M).start()]  # type: ignore[union-attr]
        assert before.endswith("*/\n"), f"{name} has no comment right above it"


def test_every_function_that_can_fail_lists_its_errors() -> None:
    for match in re.finditer(r"/\*((?:(?!\*/).)*)\*/\nint (pp_\w+)\(", DECLARATIONS, re.S):
        comment, name = match.groups()
        answers = name in {"pp_process_compare", "pp_process_open", "pp_process_poll"}
        answers = answers or comment.rstrip().endswith("1 or 0.")
        listed = re.search(r"-E[A-Z]+", comment) or re.search(r"^ \*   as pp_", comment, re.M)
        assert listed or answers, f"{name} names no errno"


COMMENT = re.compile(r"/\*((?:(?!\*/).)*)\*/\n(?:static inline )?int\s+(\w+)\(", re.S)
BODY = re.compile(r"^int\n(\w+)\([^;{]*\)\n\{\n(.*?)^\}", re.S | re.M)
COMMENTS = {
    name: comment
    for header in sorted((ROOT / "csrc").glob("*.h"))
    for comment, name in COMMENT.findall(header.read_text())
}
# A function of each system stands in a file of its own.
BODIES = {
    (name, source.name): body
    for source in sorted((ROOT / "csrc").glob("*.c"))
    for name, body in BODY.findall(source.read_text())
}


def listed(name: str) -> set[str]:
    """Return the errnos in the comment of a function, and in those that it refers to."""
    found = set(re.findall(r"-(E[A-Z0-9]+)", COMMENTS[name]))
    for line in re.findall(r"^ \*   as (.*)", COMMENTS[name], re.M):
        for other in re.findall(r"\w+_\w+", line):
            found |= listed(other)
    return found


@pytest.mark.parametrize(("name", "file"), sorted(BODIES))
def test_every_errno_that_a_function_returns_by_name_is_in_its_comment(
    name: str, file: str
) -> None:
    returned = set()
    for statement in re.findall(r"\breturn\b[^;]*;", BODIES[name, file]):
        returned |= set(re.findall(r"(?:return|[?:])\s*-(E[A-Z0-9]+)\b", statement))
    assert name in COMMENTS, f"{name} of {file} is declared in no header"
    assert returned <= listed(name)


def test_the_functions_that_are_checked_are_all_there() -> None:
    assert set(FUNCTIONS) - {name for name, _ in BODIES} <= set(
        re.findall(r"^void (pp_\w+)", DECLARATIONS, re.M)
    )


def test_every_errno_that_is_listed_exists() -> None:
    for name in set(re.findall(r"-(E[A-Z0-9]+)", DECLARATIONS)):
        assert hasattr(errno, name)


def test_every_function_is_in_the_leak_test() -> None:
    source = (TESTS / "native" / "test_leaks.py").read_text()
    for name in FUNCTIONS:
        assert f"lib.{name}(" in source, f"{name} is called in no leak test"


def test_a_machine_on_which_clone_is_another_call_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "s390x")
    with pytest.raises(SystemExit, match="x86-64 and aarch64 only, not on 's390x'"):
        runpy.run_path(str(ROOT / "csrc" / "build_ffi.py"))


@needs_linux("a module in ELF")
def test_nothing_is_exported_from_the_module_but_its_entry() -> None:
    """A symbol of ours could meet one of the same name in another library of the process."""
    path = re.sub(r".*from '(.*)'.*", r"\1", repr(__import__("pidproof._pp")._pp))
    names = dynamic_symbols(path)
    ours = (
        *(b"pp_", b"procfs_", b"lockfile_", b"open_own", b"event_", b"forking_", b"system_"),
        *(b"sleeper_", b"clock_now"),
    )
    assert not [name for name in names if name.startswith(ours)]
    assert b"PyInit__pp" in names


def dynamic_symbols(path: str) -> set[bytes]:
    """Return the defined dynamic symbols of a 64-bit little-endian ELF file."""
    import struct

    with open(path, "rb") as file:
        data = file.read()
    assert data[:6] == b"\x7fELF\x02\x01"
    offset = struct.unpack_from("<Q", data, 40)[0]
    size, count = struct.unpack_from("<HH", data, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, offset + size * n) for n in range(count)]
    found = set()
    for header in headers:
        if header[1] != 11:  # SHT_DYNSYM
            continue
        strings = headers[header[6]][4]
        for at in range(header[4], header[4] + header[5], 24):
            name, _, _, section = struct.unpack_from("<IBBH", data, at)
            if section:
                end = data.index(b"\0", strings + name)
                found.add(data[strings + name : end])
    return found


# ------------------------------------------------------- errors that only the native call shows


def test_results_are_left_alone_when_a_call_fails() -> None:
    host = _native._host_struct()
    identity = ffi.new("struct pp_identity *", {"pid": 77})
    assert lib.pp_process_identify(host, -1, identity) == -errno.EINVAL
    assert lib.pp_token_parse(b"x", 1, identity) == -errno.EINVAL
    assert identity.pid == 77
    size = ffi.new("size_t *", 77)
    assert lib.pp_process_read(host, _native._own_struct(), 99, ffi.new("char[9]"), 9, size) == (
        -errno.EINVAL
    )
    assert size[0] == 77


def test_a_buffer_that_is_too_small_is_named_as_that() -> None:
    host, me = _native._host_struct(), _native._own_struct()
    size = ffi.new("size_t *")
    tiny = ffi.new("char[1]")
    for what in (lib.PP_TEXT_ARGV, lib.PP_TEXT_EXE):
        assert lib.pp_process_read(host, me, what, tiny, 1, size) == -errno.ENOBUFS
    assert lib.pp_token_format(me, tiny, 1) == -errno.ENOBUFS
    enough = ffi.new("char[]", lib.PP_TOKEN_SIZE)
    assert lib.pp_token_format(me, enough, lib.PP_TOKEN_SIZE - 1) == -errno.ENOBUFS
    assert lib.pp_token_format(me, enough, lib.PP_TOKEN_SIZE) == 0


def test_the_longest_token_fits_its_size() -> None:
    big = 2**64 - 1
    identity = ffi.new("struct pp_identity *")
    identity.pid, identity.start_time = 2**31 - 1, big
    identity.pid_namespace = identity.unique_id = big
    identity.boot_id = b"01234567-89ab-cdef-0123-456789abcdef"
    buffer = ffi.new("char[]", lib.PP_TOKEN_SIZE)
    assert lib.pp_token_format(identity, buffer, lib.PP_TOKEN_SIZE) == 0
    token = ffi.string(buffer)
    again = ffi.new("struct pp_identity *")
    assert lib.pp_token_parse(token, len(token), again) == 0
    assert (again.pid, again.start_time, again.unique_id) == (2**31 - 1, big, big)


def test_a_later_token_version_is_told_from_garbage() -> None:
    identity = ffi.new("struct pp_identity *")
    for token, wanted in ((b"pidproof:2:x", errno.EPROTONOSUPPORT), (b"pidproof:x", errno.EINVAL)):
        assert lib.pp_token_parse(token, len(token), identity) == -wanted


def test_status_of_nobody_is_no_such_process() -> None:
    status = ffi.new("struct pp_status *")
    for pid in (-1, 0, 2**31 - 1):
        assert lib.pp_pid_status(_native._host_struct(), pid, status) == -errno.ESRCH


def test_lists_of_a_scan_must_end_in_nul() -> None:
    host, count = _native._host_struct(), ffi.new("size_t *")
    pids = ffi.new("int32_t[1]")
    for lists in ((b"x", 1, b"", 0), (b"", 0, b"x=y", 3)):
        result = lib.pp_process_scan(host, 0, *lists, pids, 1, count)
        assert result == -errno.EINVAL


@pytest.mark.parametrize(("hold", "purpose"), [(-1, b"test"), (0, b""), (0, b"x" * 33), (0, b"A")])
def test_a_lock_that_could_not_be_written_is_not_taken(
    tmp_path: Path, hold: int, purpose: bytes
) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    lock = ffi.new("struct pp_lock *", {"fd": -1})
    holder = ffi.new("struct pp_holder *")
    try:
        result = lib.pp_lock_try(
            _native._host_struct(),
            _native._own_struct(),
            directory,
            purpose,
            hold,
            0,
            lock,
            holder,
        )
        assert result == -errno.EINVAL
        assert lock.fd == -1
        assert os.listdir(tmp_path) == []
    finally:
        os.close(directory)


def test_a_waiter_that_runs_cannot_be_started_again(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    waiter = _native_lock.Waiter()
    try:
        waiter.start(directory)
        with pytest.raises(OSError, match="busy") as caught:
            waiter.start(directory)
        assert caught.value.errno == errno.EBUSY
    finally:
        waiter.stop(keep_turn=False)
        os.close(directory)


def test_calls_on_a_descriptor_that_is_none_fail_cleanly() -> None:
    for result in (
        lib.pp_guard_enter(-1, 0, ffi.new("struct pp_guard *", {"fd": -1})),
        lib.pp_lock_look(_native._host_struct(), -1, ffi.new("struct pp_holder *")),
    ):
        assert result == -errno.EBADF
    with pytest.raises(OSError, match="Bad file descriptor"):
        _native_lock.Waiter().start(-1)
