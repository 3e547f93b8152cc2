# SPDX-License-Identifier: MIT
"""The fence: an act on a record only while the lock is ours and the record is still that one."""

from __future__ import annotations

import contextlib

from pidproof.errors import LockLost
from pidproof.frozen import Frozen
from pidproof.server import record as records


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pidproof.lock.spawn_lock import SpawnLock
    from pidproof.server.directory import KeyDirectory
    from pidproof.server.record import Record
    from pidproof.server.spec import Spec

__all__ = ["Job", "fenced"]


class Job(Frozen):
    """What a call works with while it holds the lock of a key.

    deadline: of the whole call, on time.monotonic().  say: is told what takes long.
    """

    __slots__ = ("deadline", "directory", "lock", "say", "spec")
    lock: SpawnLock
    directory: KeyDirectory
    spec: Spec
    deadline: float
    say: Callable[[str], None]


@contextlib.contextmanager
def fenced(lock: SpawnLock, directory: KeyDirectory, record: Record | None) -> Iterator[None]:
    """Hold the guard with the lock proven ours and the record proven to be of that start.

    record None: whatever the record is, or that there is none.

    Raises:
        LockLost: either is no longer so; the act must not be done.
    """
    with lock.fenced():
        if record is not None and not record.is_same_start(_read(directory, record.key)):
            raise LockLost(
                f"the record of {record.key!r} was replaced by another process meanwhile; "
                "nothing more was done",
                remedy="run the command again",
            )
        yield


def _read(directory: KeyDirectory, key: str) -> Record | None:
    try:
        return records.read(directory, key)
    except records.BrokenRecord:
        return None
