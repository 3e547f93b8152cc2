# SPDX-License-Identifier: MIT
"""Fixtures of the tests of the sources for macOS."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest


if TYPE_CHECKING:
    from collections.abc import Iterator

    from darwin.kernel import Kernel

HERE = Path(__file__).parent


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    """The stand-in kernel, asked by the user 501."""
    if not os.environ.get("PIDPROOF_WORLD"):
        pytest.skip("needs the sources for macOS on a stand-in kernel: nox -s darwin")
    from darwin.kernel import Kernel

    kernel = Kernel()
    kernel.is_called_by(501)
    yield kernel
    kernel.reset()
