# SPDX-License-Identifier: MIT
from __future__ import annotations

import errno
import os
import uuid
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from helpers import (
    NEEDS_NOBODY,
    NEEDS_ROOT,
    NOBODY,
    TRUE,
    in_threads,
    needs_linux,
    python,
    read_line,
    run,
    wait_until,
)
from pidproof import _native
from pidproof._pp import ffi, lib
from pidproof.errors import InvalidArgument
from pidproof.process.identity import identify
from pidproof.process.pattern import ArgvPattern
from pidproof.process.scan import find


if TYPE_CHECKING:
    from helpers import Spawn

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture
def word() -> str:
    """An argument that no other process of the machine has."""
    return f"word-{uuid.uuid4()}"


def pids(pattern: ArgvPattern | None = None, **options: Any) -> list[int]:
    return [identity.pid for identity in find(pattern, **options)]


def test_find_lists_those_with_the_arguments_by_ascending_pid(
    spawn: Spawn, kernel: str, word: str
) -> None:
    matching = sorted(spawn.sleeper(word, "x").pid for _ in range(3))
    spawn.sleeper(word + "x", "x")
    spawn.sleeper(f"{word} x")
    found = find(ArgvPattern(..., word, ...))
    assert [identity.pid for identity in found] == matching
    assert found == [identify(pid) for pid in matching]
    assert pids(ArgvPattern(..., word)) == []


def test_find_without_pattern_agrees_with_psutil(kernel: str) -> None:
    def by_psutil() -> set[int]:
        return {process.pid for process in psutil.process_iter() if is_mine(process)}

    # What starts or ends between the looks is in only some of them, or has a pid twice; a look that
    # is wrong by itself is wrong each time.
    for _ in range(20):
        before, found, after = by_psutil(), set(pids()), by_psutil()
        assert os.getpid() in found
        if before & after <= found <= before | after:
            return
    pytest.fail(f"find: {sorted(found)}; psutil before: {sorted(before)}, after: {sorted(after)}")


def is_mine(process: psutil.Process) -> bool:
    try:
        zombie = process.status() == psutil.STATUS_ZOMBIE
        return process.uids().effective == os.geteuid() and not zombie
    except psutil.NoSuchProcess:
        return False


def test_find_by_environment_compares_whole_variables(spawn: Spawn, word: str) -> None:
    child = spawn.sleeper(env={"PP_WORD": word, "PP_EMPTY": ""})
    spawn.sleeper(env={"PP_WORD": word + "x"})
    spawn.sleeper(env={"XPP_WORD": word})
    assert pids(environ={"PP_WORD": word}) == [child.pid]
    assert pids(environ={"PP_WORD": word, "PP_EMPTY": ""}) == [child.pid]
    assert pids(environ={"PP_WORD": word, "PP_EMPTY": "x"}) == []
    assert pids(ArgvPattern(...), environ={"PP_WORD": word}) == [child.pid]
    assert pids(ArgvPattern("nothing"), environ={"PP_WORD": word}) == []


def test_find_matches_arguments_and_variables_that_are_not_utf_8(spawn: Spawn, word: str) -> None:
    strange = os.fsdecode(word.encode() + b"\xff\n")
    child = spawn.sleeper(strange, env={"PP_WORD": strange})
    assert pids(ArgvPattern(..., strange)) == [child.pid]
    assert pids(environ={"PP_WORD": strange}) == [child.pid]


def test_find_sees_empty_arguments(spawn: Spawn, word: str) -> None:
    child = spawn.sleeper("", word, "")
    spawn.sleeper(word)
    assert pids(ArgvPattern(..., "", word, "")) == [child.pid]


def test_find_reads_arguments_of_any_length(spawn: Spawn, word: str) -> None:
    padding = ["x" * 100_000] * 10
    child = spawn.sleeper(*padding, word)
    assert pids(ArgvPattern(..., word)) == [child.pid]


def test_find_lists_no_zombies(spawn: Spawn, kernel: str, word: str) -> None:
    child = spawn.sleeper(word)
    assert pids(ArgvPattern(..., word)) == [child.pid]
    child.kill()
    wait_until(lambda: _native.status(child.pid)[0] == "Z")
    assert pids(ArgvPattern(..., word)) == []


def test_find_sees_a_fork_with_its_parents_arguments(spawn: Spawn, word: str) -> None:
    code = """
        import os, sys
        child = os.fork()
        if child:
            print(child, flush=True)
            sys.stdin.readline()
            os.kill(child, 9)
            os.wait()
        else:
            __import__("signal").pause()
    """
    parent = spawn(python(code, word))
    forked = int(read_line(parent))
    assert pids(ArgvPattern(..., word)) == sorted([parent.pid, forked])
    assert not _native.status(forked)[5], "has not execed"
    assert parent.stdin is not None
    parent.stdin.close()
    parent.wait()


@pytest.mark.parametrize("name", ["", "A=B", "A\0B"])
def test_an_impossible_variable_is_an_invalid_argument(name: str) -> None:
    with pytest.raises(InvalidArgument):
        find(environ={name: "x"})
    with pytest.raises(InvalidArgument):
        find(environ={"A": "x\0y"})


@NEEDS_ROOT
def test_find_lists_only_processes_of_this_user(spawn: Spawn, word: str) -> None:
    theirs = spawn(["/bin/sh", "-c", "echo; read line", word], user=NOBODY)
    read_line(theirs)
    mine = spawn.sleeper(word)
    assert pids(ArgvPattern(..., word)) == [mine.pid]


@NEEDS_ROOT
@needs_linux("processes that are not dumpable")
def test_root_finds_no_process_that_another_user_merely_protects(spawn: Spawn, word: str) -> None:
    """What is not dumpable has entries in /proc that belong to root, all but the first."""
    code = """
        import ctypes, os, sys
        os.setgid(65534)
        os.setuid(65534)
        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE; mostly setuid does that
        print(flush=True)
        sys.stdin.readline()
    """
    child = spawn(python(code, word))
    read_line(child)
    assert os.stat(f"/proc/{child.pid}/status").st_uid == 0
    assert identify(child.pid).uid == NOBODY
    assert pids(ArgvPattern(..., word)) == []
    assert _native.scan([word.encode()], [], NOBODY) == [child.pid]


@NEEDS_NOBODY
def test_find_as_another_user_lists_his_and_skips_what_he_may_not_read(
    spawn: Spawn, word: str
) -> None:
    spawn.sleeper(word, env={"PP_WORD": word})
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    code = """
        import os, sys
        from pidproof.process.pattern import ArgvPattern
        from pidproof.process.scan import find
        both = find(ArgvPattern(..., sys.argv[1])), find(environ={"PP_WORD": sys.argv[1]})
        print([[identity.pid == os.getpid() for identity in found] for found in both])
    """
    out = run([*drop, *python(code, word)], env={**os.environ, "PP_WORD": word})
    assert out.strip() == "[[True], [True]]"


def test_more_matches_than_the_first_buffer_holds(spawn: Spawn, word: str) -> None:
    """The native call says so, and the caller asks again with more room."""
    matching = sorted(spawn.sleeper(word).pid for _ in range(3))
    count = ffi.new("size_t *")
    few = ffi.new("int32_t[]", 2)
    packed = word.encode() + b"\0"
    result = lib.pp_process_scan(
        _native._host_struct(), os.geteuid(), packed, len(packed), b"", 0, few, 2, count
    )
    assert result == -errno.ENOBUFS
    assert _native.scan([word.encode()], [], os.geteuid()) == matching


def test_scan_of_every_user_holds_at_least_ours() -> None:
    everyone = set(_native.scan([], [], None))
    assert {1, os.getpid()} <= everyone


def test_find_while_processes_come_and_go(spawn: Spawn, word: str) -> None:
    steady = spawn.sleeper(word)
    churn = spawn(["/bin/sh", "-c", f"while :; do {TRUE}; done"], start_new_session=True)
    try:
        in_threads(3, lambda index: _find_often(word, steady.pid))
    finally:
        os.killpg(churn.pid, 9)


def _find_often(word: str, pid: int) -> None:
    for _ in range(20):
        assert pids(ArgvPattern(..., word)) == [pid]
        assert pid in _native.scan([], [], os.geteuid())
