# SPDX-License-Identifier: MIT
"""Fixtures of the tests of the C module."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from native.repeating import Repeat


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(
    params=[False, pytest.param(True, marks=[pytest.mark.thorough, pytest.mark.timeout(1200)])],
    ids=["quick", "thorough"],
)
def repeat(request: pytest.FixtureRequest) -> Repeat:
    """What calls something over and over."""
    return Repeat(thorough=request.param)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    """A descriptor of an empty directory."""
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)
