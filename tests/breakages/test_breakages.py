# SPDX-License-Identifier: MIT
"""Each promise is broken once, and the tests that guard it must say so."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from breakages.deliberate import BREAKAGES
from breakages.workshop import MISTAKES, Workshop
from helpers import ROOT, needs_linux, python, run


if TYPE_CHECKING:
    from breakages.deliberate import Breakage
    from breakages.workshop import Outcome

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(400),
    needs_linux("the C that is broken"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc"),
]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A copy of the package, compiled."""
    return Workshop(tmp_path_factory.mktemp("breakages"))


@pytest.fixture(scope="module")
def unbroken(workshop: Workshop) -> list[Outcome]:
    """What all those tests say as long as nothing is broken."""
    return workshop.outcomes(dict.fromkeys(test for one in BREAKAGES for test in one.tests))


def of(outcomes: list[Outcome], test: str) -> list[Outcome]:
    """Return the outcomes of one test: of all its cases, unless it names one."""
    return [one for one in outcomes if one.test == test or one.test.startswith(f"{test}[")]


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda one: one.name.replace(" ", "-"))
def test_a_breakage_is_noticed(
    workshop: Workshop, unbroken: list[Outcome], breakage: Breakage
) -> None:
    text = (ROOT / breakage.file).read_text()
    assert text.count(breakage.old) == 1, f"{breakage.file} is not what the list expects"
    runnable = []
    for test in breakage.tests:
        before = of(unbroken, test)
        assert before, f"there is no test {test}"
        assert {one.how for one in before} <= {"passed", "skipped"}, before
        if any(one.how == "passed" for one in before):
            runnable.append(test)
    if not runnable:
        pytest.skip("the tests that would notice are skipped here")

    broken = workshop.outcomes_with(breakage)
    for test in runnable:
        failed = [one for one in of(broken, test) if one.how == "failed"]
        assert failed, f"{test} did not notice that {breakage.name}: {of(broken, test)}"
        for one in failed:
            assert not one.words.startswith(MISTAKES), f"the breakage is none: {one.words}"


def test_the_tests_run_against_the_copy(workshop: Workshop) -> None:
    found = run(python("import pidproof._pp; print(pidproof._pp.__file__)"), env=workshop.env)
    assert found.startswith(workshop.env["PYTHONPATH"])
