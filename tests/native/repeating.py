# SPDX-License-Identifier: MIT
"""The same act over and over: descriptors, threads, children and memory must not grow."""

from __future__ import annotations

import ctypes
import gc
from typing import TYPE_CHECKING

from helpers import SANITIZED, Leftovers
from outside import resident


if TYPE_CHECKING:
    from collections.abc import Callable

# The process may take more once; of what malloc gave, a leak of 8 bytes a round is seen.
RESIDENT_GROWTH, MALLOC_GROWTH = 2 << 20, 12 << 10


class _Mallinfo2(ctypes.Structure):
    """`struct mallinfo2` of <malloc.h>, glibc 2.33 and later."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


_mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)
if _mallinfo2 is not None:
    _mallinfo2.restype = _Mallinfo2


def allocated() -> int:
    """Return the bytes that malloc has given and not got back; 0 where that is not to be told."""
    if _mallinfo2 is None or SANITIZED:
        return 0
    info = _mallinfo2()
    return int(info.uordblks) + int(info.hblkhd)


class Repeat:
    """Calls an act often, or ten thousand times."""

    def __init__(self, *, thorough: bool) -> None:
        self._is_thorough = thorough

    def __call__(
        self, act: Callable[[], object], *, quick: int = 2000, thorough: int = 10_000
    ) -> None:
        """Fail if descriptors, threads, children or memory grow."""
        rounds = thorough if self._is_thorough else quick
        if SANITIZED:  # memory is not counted there, and the rest shows in a few rounds
            rounds = max(rounds // 10, 3)
        for _ in range(rounds // 10):
            act()
        gc.collect()
        before, memory, given = Leftovers(), resident(), allocated()
        for _ in range(rounds):
            act()
        gc.collect()
        more, taken = allocated() - given, resident() - memory
        before.check()
        print(f"{rounds} rounds: malloc {more:+} bytes, resident {taken:+}")
        assert more < MALLOC_GROWTH, f"{more} bytes of malloc in {rounds} rounds"
        assert SANITIZED or taken < RESIDENT_GROWTH, f"{taken} bytes in {rounds} rounds"
