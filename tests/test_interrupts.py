# SPDX-License-Identifier: MIT
"""Interrupts that come while another is being handled, or while none may be."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from pidproof.interrupts import held_back, one_at_most


if TYPE_CHECKING:
    from collections.abc import Iterator

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


def test_of_two_that_come_together_the_second_waits_until_the_first_is_dealt_with(
    handled: list[int],
) -> None:
    steps = []

    def be_interrupted() -> None:
        try:
            come_together(signal.SIGTERM, signal.SIGHUP)
        except Interrupt:
            with held_back():
                steps.append(list(handled))
            steps.append(list(handled))
            raise

    with pytest.raises(Interrupt), one_at_most():
        be_interrupted()
    assert [len(one) for one in steps] == [1, 1]
    assert sorted(handled) == [signal.SIGHUP, signal.SIGTERM]


def test_a_signal_whose_handler_raises_nothing_does_not_delay_the_next(handled: list[int]) -> None:
    signal.signal(signal.SIGHUP, lambda number, _frame: handled.append(number))
    with one_at_most():
        signal.raise_signal(signal.SIGHUP)
        with pytest.raises(Interrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
        assert handled == [signal.SIGHUP, signal.SIGTERM]
    assert handled == [signal.SIGHUP, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("block", [held_back, one_at_most])
def test_afterwards_the_handlers_are_those_of_before(handled: list[int], block: object) -> None:
    before = [signal.getsignal(number) for number in NUMBERS]
    with block():  # type: ignore[operator]
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in NUMBERS] == before
    with pytest.raises(Interrupt):
        signal.raise_signal(signal.SIGTERM)
    assert handled == [signal.SIGTERM]


def test_what_is_held_back_comes_when_the_block_is_done(handled: list[int]) -> None:
    seen = []

    def be_interrupted() -> None:
        signal.raise_signal(signal.SIGINT)
        seen.append(list(handled))

    with pytest.raises(Interrupt), held_back():
        be_interrupted()
    assert seen == [[]]
    assert handled == [signal.SIGINT]
