# SPDX-License-Identifier: MIT
"""Arguments and environment: exactly as they were given, of exactly one process and program."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darwin.kernel import area, hidden_area
from pidproof.errors import IdentityUnknown, ProcessGone
from pidproof.process.identity import identify
from pidproof.process.pattern import ArgvPattern
from pidproof.process.scan import find


if TYPE_CHECKING:
    from collections.abc import Callable

    from darwin.kernel import Kernel, Process

pytestmark = pytest.mark.darwin

EIO, EINVAL = 5, 22
ARG_MAX = 1 << 20


def read(process: Process) -> tuple[tuple[bytes, ...], dict[bytes, bytes]]:
    identity = identify(process.pid)
    return identity.argv(), identity.environ()


@pytest.mark.parametrize("length", range(1, 20))
def test_the_padding_behind_the_path_is_skipped_exactly(kernel: Kernel, length: int) -> None:
    process = kernel.process()
    for argv in ([b""], [b"", b""], [b"a"], [b"", b"a"], [b"a", b""]):
        process.runs(argv, [b"A=1"], path=b"/" * length)
        assert read(process) == (tuple(argv), {b"A": b"1"})


@pytest.mark.parametrize("length", range(20))
def test_the_padding_behind_the_environment_is_no_variable(kernel: Kernel, length: int) -> None:
    process = kernel.process()
    process.runs([b"program"], [b"A=" + b"x" * length])
    assert read(process) == ((b"program",), {b"A": b"x" * length})


def test_no_arguments_at_all(kernel: Kernel) -> None:
    process = kernel.process()
    process.runs([], [b"A=1"])
    assert read(process) == ((), {b"A": b"1"})


def test_no_variables_at_all(kernel: Kernel) -> None:
    process = kernel.process()
    process.runs([b"program"], [])
    assert read(process) == ((b"program",), {})


def test_strings_of_the_kernel_are_no_variables(kernel: Kernel) -> None:
    process = kernel.process()
    process.runs([b"program"], [b"pfz=1", b"stack_guard=2", b"A=1", b"pfz=1"])
    found = identify(process.pid).environ()
    assert found[b"A"] == b"1"
    assert found[b"pfz"] == b"1"
    assert b"main_stack" not in found


def test_an_older_kernel_begins_its_strings_otherwise(kernel: Kernel) -> None:
    process = kernel.process()
    process.runs([b"program"], [b"A=1"], kernel=[b"stack_guard=1", b"main_stack=2"])
    assert read(process) == ((b"program",), {b"A": b"1"})


def test_a_hardened_program_shows_its_arguments_and_keeps_its_environment(kernel: Kernel) -> None:
    process = kernel.process()
    process.answers(hidden_area([b"program", b"", b"x"]))
    identity = identify(process.pid)
    assert identity.argv() == (b"program", b"", b"x")
    with pytest.raises(IdentityUnknown, match="Permission denied"):
        identity.environ()


def test_a_hardened_program_without_a_name_shows_one_variable_and_that_is_not_believed(
    kernel: Kernel,
) -> None:
    """The kernel miscounts then, and lets the first variable through."""
    process = kernel.process()
    for variable in (b"SECRET=1", b"pfz=1"):
        process.answers(hidden_area([b"", b"x"]) + variable + b"\0")
        identity = identify(process.pid)
        assert identity.argv() == (b"", b"x")
        with pytest.raises(IdentityUnknown):
            identity.environ()


@pytest.mark.parametrize("size", [ARG_MAX, ARG_MAX + 1, 2 * ARG_MAX - 100])
def test_what_fills_the_buffer_was_cut_and_is_not_believed(kernel: Kernel, size: int) -> None:
    """The kernel gives the tail then, which may look whole."""
    process = kernel.process()
    whole = area([b"program", b"x" * (size - 200)])
    process.answers(whole + bytes(size - len(whole)))
    with pytest.raises(IdentityUnknown, match="too long"):
        identify(process.pid).argv()


def test_what_does_not_fill_it_is_whole(kernel: Kernel) -> None:
    process = kernel.process()
    process.runs([b"program", b"x" * (ARG_MAX - 400)])
    assert [len(word) for word in identify(process.pid).argv()] == [7, ARG_MAX - 400]


@pytest.mark.parametrize(
    "answer",
    [
        b"\1\0\0\0",
        b"\1\0\0\0/bin/x",
        b"\1\0\0\0/bin/x\0",
        b"\1\0\0\0/bin/x\0\0",
        b"\1\0\0\0/bin\0x\0\0program\0",
        b"\2\0\0\0/bin/xx\0program\0",
        b"\1\0\0\0/bin/xx\0program",
        b"\xff\xff\xff\xff/bin/xx\0program\0",
        b"\xff\xff\xff\x7f/bin/xx\0program\0",
    ],
)
def test_what_does_not_parse_is_unknown(kernel: Kernel, answer: bytes) -> None:
    process = kernel.process()
    process.answers(answer)
    identity = identify(process.pid)
    with pytest.raises(IdentityUnknown):
        identity.argv()
    with pytest.raises(IdentityUnknown):
        identity.environ()


WORDS = st.lists(st.binary(max_size=30).filter(lambda word: b"\0" not in word), max_size=6)


@given(WORDS, WORDS, st.binary(min_size=1, max_size=40).filter(lambda path: b"\0" not in path))
def test_any_arguments_and_variables_come_back(
    argv: list[bytes], values: list[bytes], path: bytes
) -> None:
    import os

    if not os.environ.get("PIDPROOF_WORLD"):
        pytest.skip("needs the stand-in kernel")
    from darwin.kernel import Kernel

    kernel = Kernel()
    kernel.is_called_by(501)
    process = kernel.process()
    variables = [b"V%d=%s" % (n, value) for n, value in enumerate(values)]
    process.runs(argv, variables, path=path)
    found = read(process)
    kernel.reset()
    assert found == (tuple(argv), {b"V%d" % n: value for n, value in enumerate(values)})


# ---------------------------------------------------------------------------- whose words they are


def test_those_of_another_user_are_unknown(kernel: Kernel) -> None:
    process = kernel.process()
    process.effective_uid = process.real_uid = 502
    identity = identify(process.pid)
    kernel.before(lambda _call, _pid: None)
    for act in (identity.argv, identity.environ):
        with pytest.raises(IdentityUnknown, match="Permission denied"):
            act()
    assert kernel.calls.count("KERN_PROCARGS2") == 2, "it does not become ours by waiting"
    kernel.is_called_by(0)
    assert identity.argv() == (b"program",)


@pytest.mark.parametrize("act", ["dies", "is_exiting", "is_reaped", "is_replaced"])
def test_those_of_what_is_gone_are_not_read(kernel: Kernel, act: str) -> None:
    process = kernel.process()
    identity = identify(process.pid)
    getattr(process, act)()
    for read_it in (identity.argv, identity.environ, identity.exe):
        with pytest.raises(ProcessGone):
            read_it()


@pytest.mark.parametrize("number", range(9))
def test_a_pid_reused_inside_a_read_never_gives_the_words_of_the_other(
    kernel: Kernel, number: int
) -> None:
    process = kernel.process()
    process.runs([b"mine"], [b"WHO=mine"])
    identity = identify(process.pid)

    def reuse() -> None:
        process.is_replaced().runs([b"other"], [b"WHO=other"])

    for read_it, mine in ((identity.argv, (b"mine",)), (identity.environ, {b"WHO": b"mine"})):
        kernel.at(number, reuse)
        try:
            assert read_it() == mine
            assert number >= 7 or len(kernel.calls) == 7
        except ProcessGone:
            return


@pytest.mark.parametrize("number", range(9))
def test_an_exec_inside_a_read_gives_one_program_or_the_other(kernel: Kernel, number: int) -> None:
    """The kernel copies the strings of the one, whose version it has told; never half of each."""
    process = kernel.process()
    process.runs([b"first"], [b"WHO=first"])
    identity = identify(process.pid)
    kernel.at(number, lambda: process.execs([b"second"], [b"WHO=second"]))
    argv = identity.argv()
    # Strings are the answer with number 3; the version behind them is that with number 4.
    assert argv == ((b"second",) if number < 5 else (b"first",))
    if number == 4:
        assert kernel.calls.count("KERN_PROCARGS2") == 2, "read again, for the first is stale"


def test_a_program_that_execs_all_the_time_does_not_keep_us(kernel: Kernel) -> None:
    process = kernel.process()
    identity = identify(process.pid)
    kernel.every("KERN_PROCARGS2", lambda: process.execs([b"again"]))
    began = time.monotonic()
    with pytest.raises(IdentityUnknown, match="unavailable"):
        identity.argv()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("number", [EIO, EINVAL])
def test_strings_that_are_not_to_be_had_for_a_moment_are_waited_for(
    kernel: Kernel, number: int
) -> None:
    """As in the middle of an exec, or before the program was ever mapped."""
    process = kernel.process()
    process.area_errno = number
    identity = identify(process.pid)
    kernel.at(14, lambda: setattr(process, "area_errno", 0))
    assert identity.argv() == (b"program",)
    process.area_errno = number
    kernel.before(lambda _call, _pid: None)
    began = time.monotonic()
    with pytest.raises(IdentityUnknown):
        identity.argv()
    assert 0.015 < time.monotonic() - began < 2


def test_the_executable_is_told_or_was_unlinked(kernel: Kernel) -> None:
    process = kernel.process()
    identity = identify(process.pid)
    assert identity.exe() == "/bin/program"
    process.effective_uid = 502
    assert identity.exe() == "/bin/program", "of any user"


# ------------------------------------------------------------------------------------- secrets


def reads(kernel: Kernel, process: Process) -> list[Callable[[], object]]:
    identity = identify(process.pid)
    return [identity.argv, lambda: find(ArgvPattern("nothing")), lambda: find(environ={"A": "B"})]


def test_no_environment_is_left_behind_in_memory(kernel: Kernel) -> None:
    """Whoever asks for arguments gets all of it from the kernel."""
    process = kernel.process()
    process.runs([b"program"], [b"TOKEN=a-secret-of-this-test"])
    kernel.lib.xnu_set_secret(b"a-secret-of-this-test")
    for act in reads(kernel, process):
        act()
    # Cut, or written over by its process, it is wiped all the same.
    process.answers(area([b"x"], [b"TOKEN=a-secret-of-this-test"], argc=100))
    with pytest.raises(IdentityUnknown):
        identify(process.pid).argv()
    assert kernel.lib.xnu_secrets_freed() == 0


# ---------------------------------------------------------------------------------------- scan


def test_a_scan_finds_by_argument_and_by_variable(kernel: Kernel) -> None:
    one, other, hidden, zombie, foreign = (kernel.process() for _ in range(5))
    one.runs([b"server", b"word"], [b"NONCE=17"])
    other.runs([b"server", b"words"], [b"NONCE=170"])
    hidden.answers(hidden_area([b"server", b"word"]))
    for gone in (zombie, foreign):
        gone.runs([b"server", b"word"], [b"NONCE=17"])
    zombie.dies()
    foreign.effective_uid = 502
    from pidproof import _native

    def scan(arguments: list[bytes], variables: list[bytes]) -> set[int]:
        return set(_native.scan(arguments, variables, 501))

    assert scan([b"word"], []) == {one.pid, hidden.pid}
    assert scan([], [b"NONCE=17"]) == {one.pid}
    assert scan([b"server"], [b"NONCE=170"]) == {other.pid}
    assert scan([b"serve"], []) == set()
    assert scan([], []) == {one.pid, other.pid, hidden.pid, zombie.pid}


def test_a_list_of_pids_that_fills_the_buffer_is_asked_for_again(kernel: Kernel) -> None:
    from pidproof import _native

    pids = {kernel.process().pid for _ in range(1500)}
    assert set(_native.scan([], [], 501)) == pids
