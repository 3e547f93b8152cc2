# SPDX-License-Identifier: MIT
"""Interrupts that come while another is being handled, or while none may be."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest

from helpers import signal_at_entry
from pidproof.interrupts import Relay


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupt(BaseException):
    """What the handlers raise."""


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """The signals that were handled, each by raising."""
    numbers: list[int] = []

    def handler(number: int, _frame: object) -> None:
        numbers.append(number)
        raise Interrupt(number)

    before = {number: signal.signal(number, handler) for number in NUMBERS}
    yield numbers
    for number, old in before.items():
        signal.signal(number, old)


def come_together(*numbers: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    for number in numbers:
        signal.raise_signal(number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def relayed(act: Callable[[Relay], None]) -> None:
    """Run something behind a relay, as a start does."""
    relay = Relay()
    try:
        relay.begin()
        act(relay)
    finally:
        try:
            relay.end()
        finally:
            relay.end()


def test_of_those_that_come_together_the_others_wait_until_the_first_is_dealt_with(
    handled: list[int],
) -> None:
    seen = []

    def act(_relay: Relay) -> None:
        try:
            come_together(*NUMBERS)
        except Interrupt:
            signal.pthread_sigmask(signal.SIG_BLOCK, [])  # which looks for others
            seen.append(list(handled))
            raise

    before = [signal.getsignal(number) for number in NUMBERS]
    with pytest.raises(Interrupt):
        relayed(act)
    assert [len(one) for one in seen] == [1]
    assert sorted(handled) == sorted(NUMBERS)
    assert [signal.getsignal(number) for number in NUMBERS] == before


@pytest.mark.parametrize("function", ["begin", "hold", "end", "_put_back", "_deliver"])
def test_one_at_the_entry_of_any_step_is_handled_and_the_handlers_are_those_of_before(
    handled: list[int], function: str
) -> None:
    before = [signal.getsignal(number) for number in NUMBERS]
    with pytest.raises(Interrupt), signal_at_entry(Relay, function, signal.SIGTERM):
        relayed(Relay.hold)
    assert handled == [signal.SIGTERM]
    assert [signal.getsignal(number) for number in NUMBERS] == before


def test_a_signal_whose_handler_raises_nothing_does_not_delay_the_next(handled: list[int]) -> None:
    def twice(number: int, _frame: object) -> None:
        handled.append(number)
        if handled == [number]:
            signal.raise_signal(signal.SIGTERM)

    def act(_relay: Relay) -> None:
        with pytest.raises(Interrupt):
            signal.raise_signal(signal.SIGHUP)
        assert handled == [signal.SIGHUP, signal.SIGTERM]

    signal.signal(signal.SIGHUP, twice)
    relayed(act)
    signal.raise_signal(signal.SIGHUP)
    assert handled == [signal.SIGHUP, signal.SIGTERM, signal.SIGHUP]


def test_a_handler_that_was_changed_meanwhile_stays(handled: list[int]) -> None:
    def act(_relay: Relay) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    relayed(act)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert handled == []


def test_all_that_is_held_back_comes_when_the_block_is_done(handled: list[int]) -> None:
    seen = []

    def act(relay: Relay) -> None:
        relay.hold()
        come_together(*NUMBERS)
        seen.append(list(handled))

    before = [signal.getsignal(number) for number in NUMBERS]
    with pytest.raises(Interrupt):
        relayed(act)
    assert seen == [[]]
    assert sorted(handled) == sorted(NUMBERS)
    assert [signal.getsignal(number) for number in NUMBERS] == before


def test_in_another_thread_nothing_is_changed(handled: list[int]) -> None:
    seen: list[object] = []

    def act(_relay: Relay) -> None:
        seen.extend(signal.getsignal(number) for number in NUMBERS)

    thread = threading.Thread(target=relayed, args=(act,))
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(number) for number in NUMBERS]
    assert handled == []
