# SPDX-License-Identifier: MIT
"""The three answers: each itself and no other, wherever it has been."""

from __future__ import annotations

import copy
import pickle

import pytest

from pidproof import Liveness


ANSWERS = [Liveness.ALIVE, Liveness.GONE, Liveness.UNKNOWN]


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_an_answer_stays_itself_through_pickle_copy_and_value(answer: Liveness) -> None:
    assert pickle.loads(pickle.dumps(answer)) is answer
    assert copy.deepcopy(answer) is answer
    assert Liveness(answer.value) is answer
    assert repr(answer) == f"<Liveness.{answer.name}: {answer.value!r}>"
    assert {answer: 1}[answer] == 1


def test_the_answers_differ() -> None:
    assert len(set(ANSWERS)) == len({answer.value for answer in ANSWERS}) == 3


def test_no_answer_passes_for_yes_or_no() -> None:
    """`if identity.liveness()` would be true of the dead."""
    for answer in ANSWERS:
        with pytest.raises(TypeError, match="neither true nor false"):
            bool(answer)


def test_there_is_no_fourth_and_none_can_be_changed() -> None:
    with pytest.raises(ValueError, match="'dead' is not a Liveness"):
        Liveness("dead")
    with pytest.raises(AttributeError, match="cannot be changed"):
        Liveness.GONE.value = "alive"
