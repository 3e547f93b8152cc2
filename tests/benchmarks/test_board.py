# SPDX-License-Identifier: MIT
"""The reporter itself: what it calls met, missed, absent and worse."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from benchmarks.board import Beside, Board, Target, percentile, ratio_text, show, table, verdicts
from benchmarks.compare import changes


pytestmark = pytest.mark.counts

FLOOR = Beside("floor", "the same calls", 2e-6)
PEER = Beside("peer", "psutil create_time()", 16e-6)


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (Target(1.5, "floor"), True),
        (Target(1.4, "floor"), False),
        (Target(5, "psutil", faster=True), True),
        (Target(6, "psutil", faster=True), False),
        (Target(3e-6), True),
        (Target(2.9e-6), False),
    ],
)
def test_a_target_is_met_up_to_its_limit_and_missed_beyond(target: Target, met: bool) -> None:
    board = Board()
    row = board.add("section", "act", 3e-6, besides=[FLOOR, PEER], targets=[target])
    assert (row.missed() == []) is met
    cells = [cell for line in row.lines() for cell in line]
    assert ("MISSED" in cells, "met" in cells) == (not met, met)
    assert verdicts(board.rows) == f"1 targets judged, {int(met)} met, {int(not met)} missed"


def test_a_target_beside_an_absent_peer_is_not_judged() -> None:
    row = Board().add("section", "act", 1.0, besides=[FLOOR], targets=[Target(8, "psutil")])
    assert (row.judged(), row.missed()) == (0, [])
    assert "MISSED" not in "".join(table([row]))


def test_a_target_beside_two_has_two_verdicts() -> None:
    board = Board()
    twice = [Beside("peer", f"psutil, {name} time", figure) for name, figure in TWICE.items()]
    board.add("section", "act", 1.0, besides=twice, targets=[Target(8, "psutil", faster=True)])
    assert verdicts(board.rows) == "2 targets judged, 1 met, 1 missed"


def test_figures_read_as_people_write_them() -> None:
    assert [show(n, "s") for n in (2.5, 0.0042, 3.14e-6, 5e-9)] == [
        "2.5 s",
        "4.2 ms",
        "3.14 us",
        "5 ns",
    ]
    assert show(1234567, "instructions") == "1,234,567 instructions"
    assert (ratio_text(3, 2), ratio_text(2, 16), ratio_text(0, 1)) == ("1.50 x", "1/8", "-")


def test_a_percentile_is_a_figure_that_was_seen() -> None:
    figures = range(1, 101)
    assert (percentile(figures, 0.5), percentile(figures, 0.99)) == (50.5, 100)
    assert percentile([7], 0.99) == 7


TWICE = {"first": 8.0, "second": 7.9}
THEN: dict[str, Any] = {
    "counter": "one",
    "counts": {"native lock": {"count": 1000, "beside": {"lock_all": 100}}},
}


@pytest.mark.parametrize(
    ("count", "counter", "worse"),
    [
        (1030, "one", False),
        (1031, "one", True),
        (900, "one", False),
        (1031, "another", False),
        (1151, "another", True),
    ],
)
def test_a_count_is_worse_once_it_has_grown_by_more_than_the_tolerance(
    count: int, counter: str, worse: bool
) -> None:
    now = copy.deepcopy(THEN)
    now["counter"] = counter
    now["counts"]["native lock"]["count"] = count
    assert [bad for _, bad in changes(THEN, now, 0.03)] == [worse]


def test_a_count_that_is_missing_or_new_is_named_and_not_worse() -> None:
    now = {"counter": "one", "counts": {"native scan": {"count": 1, "beside": {}}}}
    lines = changes(THEN, now, 0.03)
    assert [bad for _, bad in lines] == [False, False]
    assert "not counted this time" in lines[0][0]
    assert lines[1][0] == "native scan: new"
