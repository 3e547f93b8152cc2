# SPDX-License-Identifier: MIT
"""A pytest plugin: skip what fails for the emulator's own reasons, and count it by reason."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest


if TYPE_CHECKING:
    from collections.abc import Sequence

# Parts of the names of tests, by what qemu-user does otherwise than a processor.
ARTEFACTS: dict[str, Sequence[str]] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip them; a name that no test has any more is an error."""
    seen: Counter[str] = Counter()
    for item in items:
        for reason, names in ARTEFACTS.items():
            for name in names:
                if name in item.nodeid:
                    seen[name] += 1
                    item.add_marker(pytest.mark.skip(reason=f"qemu: {reason}"))
