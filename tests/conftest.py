# SPDX-License-Identifier: MIT
"""Fixtures for all tests."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from helpers import KERNELS, Leftovers, Spawn
from pidproof import _native


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# No files of its own in the tree, and no failure because a machine is slow.
settings.register_profile("pidproof", database=None, deadline=None)
settings.load_profile("pidproof")


def pytest_configure() -> None:
    """Take signals as a program at a terminal does: a background job is started with some ignored,
    and would hand that on to all that the tests start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    # Its words get lost in other ways without a buffer, and users have one.
    os.environ.pop("PYTHONUNBUFFERED", None)


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fail the test if it leaves a descriptor, a thread or a child process behind."""
    _native.features()
    before = Leftovers()
    yield
    before.check()


@pytest.fixture
def spawn(nothing_left: None) -> Iterator[Spawn]:
    """Start processes that do not outlive the test."""
    spawn = Spawn()
    try:
        yield spawn
    finally:
        spawn.end()


@pytest.fixture
def without() -> Iterator[Callable[[str], None]]:
    """Do without features of the kernel, here and in every process started from now on."""
    # A patch of its own: to undo the test's would end its state directory before its servers.
    with pytest.MonkeyPatch.context() as patch:

        def choose(features: str) -> None:
            patch.setenv("PIDPROOF_WITHOUT", features)
            _native._forget_host()

        yield choose
    _native._forget_host()


@pytest.fixture(params=list(KERNELS))
def kernel(request: pytest.FixtureRequest, without: Callable[[str], None]) -> str:
    """Run the test as on the newest kernel, on one without pidfs and on one without pidfds."""
    name: str = request.param
    without(KERNELS[name])
    return name
