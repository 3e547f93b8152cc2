# SPDX-License-Identifier: MIT
"""The main job: return the one healthy server of a key, started if need be.

Here without the lock: a record that names a process proven alive, of a fitting version, and
healthy.  All else is `locked`, and only then loaded.
"""

from __future__ import annotations

import time

from pidproof.errors import typed
from pidproof.process.liveness import Liveness
from pidproof.server import record as records
from pidproof.server.checkup import check_running
from pidproof.server.children import reap_finished
from pidproof.server.directory import KeyDirectory
from pidproof.server.record import RUNNING, BrokenRecord
from pidproof.server.results import Running
from pidproof.server.version import mismatch_of


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from pidproof.server.record import Record
    from pidproof.server.spec import Spec

__all__ = ["ensure", "running"]


def _nothing() -> None:
    pass


@typed
def ensure(
    spec: Spec, say: Callable[[str], None], *, before_lock: Callable[[], None] = _nothing
) -> Running:
    """Return the healthy server of the key; `say` is told what takes long.

    before_lock: called before anything is held that an end of this process would leave behind.

    Raises:
        Error: as `Server.ensure` lists; each says what was found and what was not done.
    """
    began = time.monotonic()
    deadline = began + spec.timeout
    reap_finished()
    directory = KeyDirectory.open(spec.key, create=True)
    assert directory is not None
    with directory:
        while True:
            try:
                record = records.read(directory, spec.key)
            except BrokenRecord:
                record = None  # it is looked at under the lock
            left = deadline - time.monotonic()
            if record is not None and _is_reusable(directory, record, spec, left):
                return running(record, "reused", began)
            before_lock()
            from pidproof.server.locked import ensure_locked

            found = ensure_locked(spec, directory, record, deadline=deadline, say=say)
            if found is not None:
                return running(*found, began)


def _is_reusable(directory: KeyDirectory, record: Record, spec: Spec, left: float) -> bool:
    if record.state != RUNNING or record.identity is None:
        return False
    if record.identity.liveness() is not Liveness.ALIVE or mismatch_of(record, spec) == "replace":
        return False
    timeout = max(0.001, min(spec.probe_timeout, left))
    return check_running(directory, record, spec.probe, timeout).is_ready


def running(
    record: Record, action: Literal["reused", "spawned", "adopted", "replaced"], began: float
) -> Running:
    """Return what the caller gets of a record; `began`: `time.monotonic()` of the call."""
    assert record.identity is not None
    return Running(
        key=record.key,
        pid=record.identity.pid,
        identity=record.identity,
        url=record.url,
        port=record.port,
        state=record.state,
        action=action,
        version=record.version,
        log=record.get("log"),
        token=record.get("token", ""),
        elapsed_ms=round((time.monotonic() - began) * 1000, 3),
    )
