# SPDX-License-Identifier: MIT
"""Exactly one healthy background server per key, and proof of which process that is.

Layout, each layer standing only on those below it:

    cli                                            parse, show, translate; no decisions
    server   ensure, sweep | start, terminate, probe | record, paths
    lock     the spawn lock and the wait for it
    process  identities, handles, argv patterns, the scan
    _native  with _native_lock and _native_gate the only importers of the C module
    errors

Every public name is here; each is loaded when it is first used.
"""

from __future__ import annotations


TYPE_CHECKING = False
if TYPE_CHECKING:
    from pidproof.errors import CommandNotExecutable as CommandNotExecutable
    from pidproof.errors import CommandNotFound as CommandNotFound
    from pidproof.errors import Error as Error
    from pidproof.errors import IdentityUnknown as IdentityUnknown
    from pidproof.errors import InvalidArgument as InvalidArgument
    from pidproof.errors import InvalidToken as InvalidToken
    from pidproof.errors import KeyNotFound as KeyNotFound
    from pidproof.errors import LockLost as LockLost
    from pidproof.errors import LockTimeout as LockTimeout
    from pidproof.errors import NeverHealthy as NeverHealthy
    from pidproof.errors import PortInUse as PortInUse
    from pidproof.errors import ProcessGone as ProcessGone
    from pidproof.errors import ProcessSurvived as ProcessSurvived
    from pidproof.errors import RecordError as RecordError
    from pidproof.errors import Refused as Refused
    from pidproof.errors import StartTimeout as StartTimeout
    from pidproof.errors import StateError as StateError
    from pidproof.errors import UnsafePath as UnsafePath
    from pidproof.errors import VersionMismatch as VersionMismatch
    from pidproof.errors import WaitTimeout as WaitTimeout
    from pidproof.lock.holder import Holder as Holder
    from pidproof.lock.spawn_lock import SpawnLock as SpawnLock
    from pidproof.process.handle import ProcessHandle as ProcessHandle
    from pidproof.process.identity import ProcessIdentity as ProcessIdentity
    from pidproof.process.identity import identify as identify
    from pidproof.process.liveness import Liveness as Liveness
    from pidproof.process.pattern import ArgvPattern as ArgvPattern
    from pidproof.process.scan import find as find
    from pidproof.server.probe import Target as Target
    from pidproof.server.probes import Exec as Exec
    from pidproof.server.probes import Http as Http
    from pidproof.server.probes import LogLine as LogLine
    from pidproof.server.probes import Tcp as Tcp
    from pidproof.server.probes import Unix as Unix
    from pidproof.server.results import Running as Running
    from pidproof.server.results import Status as Status
    from pidproof.server.results import Stopped as Stopped
    from pidproof.server.results import Swept as Swept
    from pidproof.server.server import Server as Server
    from pidproof.server.status import list_all as list_all
    from pidproof.server.sweep import sweep as sweep

__version__ = "0.1.0"

_HOMES = {
    "errors": (
        "CommandNotExecutable", "CommandNotFound", "Error", "IdentityUnknown", "InvalidArgument",
        "InvalidToken", "KeyNotFound", "LockLost", "LockTimeout", "NeverHealthy", "PortInUse",
        "ProcessGone", "ProcessSurvived", "RecordError", "Refused", "StartTimeout", "StateError",
        "UnsafePath", "VersionMismatch", "WaitTimeout",
    ),
    "lock.holder": ("Holder",),
    "lock.spawn_lock": ("SpawnLock",),
    "process.handle": ("ProcessHandle",),
    "process.identity": ("ProcessIdentity", "identify"),
    "process.liveness": ("Liveness",),
    "process.pattern": ("ArgvPattern",),
    "process.scan": ("find",),
    "server.probe": ("Target",),
    "server.probes": ("Exec", "Http", "LogLine", "Tcp", "Unix"),
    "server.results": ("Running", "Status", "Stopped", "Swept"),
    "server.server": ("Server",),
    "server.status": ("list_all",),
    "server.sweep": ("sweep",),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME_OF)]  # noqa: PLE0604 - the names are data above


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'pidproof' has no attribute {name!r}")
    import sys

    # Not by importlib: its import costs more than what it would import here.
    __import__(f"pidproof.{home}")
    value = getattr(sys.modules[f"pidproof.{home}"], name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
