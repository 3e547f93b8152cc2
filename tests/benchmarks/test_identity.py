# SPDX-License-Identifier: MIT
"""Which process is that: beside the same system calls in C, psutil and ps."""

from __future__ import annotations

import re
import shutil
import signal
import statistics
import time
from typing import TYPE_CHECKING

import psutil

from benchmarks.board import Beside, Target
from benchmarks.race import Bench, Race, in_process, whole_process
from helpers import read_line, write_line
from pidproof import ArgvPattern, _native, identify
from pidproof._pp import ffi, lib


if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.programs import Floor

SECTION = "identity"
CALLS = 300
ROUNDS = 41


def race(bench: Bench, measure: str) -> Race:
    """Return a race of this section."""
    return Race(bench, SECTION, measure, rounds=ROUNDS)


def test_is_this_recorded_process_still_it_native(bench: Bench, floor: Floor, sleeper: int) -> None:
    identity = identify(sleeper)
    struct, host = identity._native._struct, _native._host_struct()
    reason, compare = ffi.new("int32_t *"), lib.pp_process_compare
    turns = race(bench, "is it still that process: the native call")
    turns.beside("floor", "pidfd_open, fstat, poll, close", floor.batch("compare", CALLS))
    turns.beside("floor", "without the poll", floor.batch("pin", CALLS))
    ours = in_process(lambda: compare(host, struct, reason), CALLS)
    turns.run(ours, targets=[Target(1.3, "pidfd_open, fstat, poll")])


def test_is_this_recorded_process_still_it(
    bench: Bench,
    floor: Floor,
    sleeper: int,
) -> None:
    identity, started = identify(sleeper), psutil.Process(sleeper).create_time()
    turns = race(bench, "is it still that process: liveness()")
    turns.beside("floor", "the same calls", floor.batch("compare", CALLS))
    turns.beside("floor", "stat and cmdline read", floor.batch("stat_and_cmdline", CALLS))
    turns.beside(
        "peer",
        "psutil create_time()",
        in_process(lambda: psutil.Process(sleeper).create_time() == started, CALLS // 10),
    )
    if shutil.which("ps"):
        command = ["ps", "-o", "lstart=,args=", "-p", str(sleeper)]
        turns.beside("peer", "ps -o lstart=,args=", whole_process(command))
    else:
        bench.missing("ps", "not installed")
    turns.run(
        in_process(identity.liveness, CALLS),
        targets=[Target(8, "psutil", faster=True), Target(300, "ps -o", faster=True)],
    )


def test_is_this_held_process_still_it(bench: Bench, floor: Floor, sleeper: int) -> None:
    with identify(sleeper).open() as handle:
        turns = race(bench, "the same on a held handle")
        turns.beside("floor", "poll", floor.batch("poll_held", CALLS * 3))
        turns.run(in_process(handle.liveness, CALLS * 3), targets=[Target(2e-6)])


def test_identify(bench: Bench, floor: Floor, sleeper: int) -> None:
    def with_psutil() -> None:
        process = psutil.Process(sleeper)
        process.create_time()
        process.uids()

    turns = race(bench, "identify(pid)")
    turns.beside("floor", "pidfd_open, fstat, two reads, poll", floor.batch("identify", CALLS))
    turns.beside("peer", "psutil create_time() uids()", in_process(with_psutil, CALLS // 10))
    turns.run(in_process(lambda: identify(sleeper), CALLS))


def test_argv(bench: Bench, floor: Floor, sleeper: int) -> None:
    identity = identify(sleeper)
    turns = race(bench, "argv()")
    turns.beside("floor", "verify, read, verify", floor.batch("argv", CALLS))
    turns.beside(
        "peer", "psutil cmdline()", in_process(lambda: psutil.Process(sleeper).cmdline(), CALLS)
    )
    turns.run(in_process(identity.argv, CALLS))


def test_matches(bench: Bench) -> None:
    argv = (b"/usr/bin/node", b"/opt/app/bundle.js", b"start", b"--port", b"4000")
    pattern = ArgvPattern(ArgvPattern.named("node"), "/opt/app/bundle.js", "start", ...)
    joined = re.compile(rb"(?:^|/)node /opt/app/bundle\.js start(?: |$)")
    turns = race(bench, "ArgvPattern.matches()")
    turns.beside(
        "peer",
        "a regex over the joined line",
        in_process(lambda: joined.search(b" ".join(argv)), CALLS * 3),
    )
    turns.run(in_process(lambda: pattern.matches(argv), CALLS * 3))


def test_signal(bench: Bench, floor: Floor, sleeper: int) -> None:
    process = psutil.Process(sleeper)
    with identify(sleeper).open() as handle:
        turns = race(bench, "signal through a handle (SIGCONT)")
        turns.beside("floor", "pidfd_send_signal", floor.batch("signal", CALLS))
        turns.beside(
            "peer",
            "psutil send_signal()",
            in_process(lambda: process.send_signal(signal.SIGCONT), CALLS),
        )
        turns.run(in_process(lambda: handle.signal(signal.SIGCONT), CALLS))


def test_wait_for_the_end(bench: Bench, floor: Floor) -> None:
    def woken(wait: Callable[[int], Callable[[], object]]) -> float:
        process = bench.spawn([bench.program("leaver")])
        asleep = wait(process.pid)
        write_line(process, "")
        asleep()
        now = time.monotonic_ns()
        return (now - int(read_line(process))) / 1e9

    def with_handle(pid: int) -> Callable[[], object]:
        handle = identify(pid).open()

        def sleep() -> None:
            with handle:
                assert handle.wait(10)

        return sleep

    def with_psutil(pid: int) -> Callable[[], object]:
        process = psutil.Process(pid)
        return lambda: process.wait(10)

    rounds = 1 if bench.once else 25
    ours, theirs, theirs_in_c = [], [], []
    in_c = floor.batch("wake", 1)

    def turn() -> None:
        ours.append(woken(with_handle))
        theirs.append(woken(with_psutil))
        theirs_in_c.append(in_c())

    bench.benchmark.pedantic(turn, rounds=rounds)
    besides = [
        Beside("floor", "poll on a pidfd", statistics.median(theirs_in_c)),
        Beside("peer", "psutil wait()", statistics.median(theirs)),
    ]
    bench.board.add(
        SECTION, "exit of a process to return of wait()", statistics.median(ours), besides=besides
    )
