# SPDX-License-Identifier: MIT
"""A pytest plugin: skip what the emulator does otherwise than a processor, and count it by reason."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest


if TYPE_CHECKING:
    from collections.abc import Sequence

ARGV = "qemu itself stands first in the argv that others read, and in exe"
ITSELF = "a process reads another start time of itself than others read of it"
THREADS = "the memory of a cancelled thread is not given back"
SIGNALS = "qemu catches signals of its own, and hands on what is ignored in its way"
DESCRIPTORS = "qemu opens descriptors of its own while a program starts"
# Each was seen with qemu 7.2, and passes on the same machine without it.
ARTEFACTS: dict[str, Sequence[str]] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip them, in every variant."""
    for item in items:
        name = getattr(item, "originalname", item.name)
        for reason, names in ARTEFACTS.items():
            if name in names:
                item.add_marker(pytest.mark.skip(reason=f"qemu: {reason}"))
