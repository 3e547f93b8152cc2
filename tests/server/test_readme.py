# SPDX-License-Identifier: MIT
"""What README.md shows runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers import python, run


if TYPE_CHECKING:
    from servers import State

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_there_are_examples() -> None:
    assert len(BLOCKS) == 2


@pytest.mark.parametrize("code", BLOCKS, ids=["server", "identity"])
def test_an_example_runs(state: State, code: str) -> None:
    printed = run(python(code))
    assert "http://127.0.0.1:" in printed or "Liveness.ALIVE" in printed
    assert not state.running()
