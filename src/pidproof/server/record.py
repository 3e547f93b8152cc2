# SPDX-License-Identifier: MIT
"""The record of a key: which server is it, how was it started, how is it probed."""

from __future__ import annotations

from pidproof.errors import Error, InvalidArgument, RecordError
from pidproof.process.identity import ProcessIdentity
from pidproof.process.liveness import Liveness
from pidproof.server.decode import decode


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pidproof.process.pattern import ArgvPattern
    from pidproof.server.directory import KeyDirectory

__all__ = ["NAME", "SCHEMA", "BrokenRecord", "Record", "read", "write"]

NAME = "record.json"
SCHEMA = 1
LIMIT = 64 * 1024
DEPTH_LIMIT = 16

STARTING = "starting"
RUNNING = "running"
FAILED = "failed"
ENDING = "ending"
STOPPED = "stopped"


class BrokenRecord(Error):
    """The record does not parse: torn by a power cut, or edited.  Never leaves this package."""


class Record:
    """A record as plain data.  Fields that this version does not know are kept.

    state: starting (recorded before it could run), running, ending (it was signalled, or is about
        to be), failed (ended before it was ready), or stopped (to be started again at once).
    managed: auto, or manual for one that `ensure` must never end.
    nonce: of this start; its process carries it as PIDPROOF_NONCE.
    started: `_native.boot_clock()` of the start, meaningful within the boot of the identity.
    """

    __slots__ = ("data", "identity")

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        token = data.get("identity")
        self.identity = ProcessIdentity.parse(token) if token else None

    def with_(self, **changes: object) -> Record:
        """Return a copy with some fields changed."""
        return Record({**self.data, **changes})

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field that may be absent."""
        return self.data.get(name, default)

    @property
    def key(self) -> str:
        return str(self.data["key"])

    @property
    def nonce(self) -> str:
        return str(self.data["nonce"])

    @property
    def state(self) -> str:
        return str(self.data["state"])

    @property
    def managed(self) -> str:
        return str(self.data["managed"])

    @property
    def command(self) -> list[str]:
        return list(self.data["command"])

    @property
    def version(self) -> str | None:
        return self.data.get("version")

    @property
    def port(self) -> int | None:
        return self.data.get("port")

    @property
    def url(self) -> str | None:
        return self.data.get("url")

    def pattern(self) -> ArgvPattern | None:
        """Return the argv that the server must have to be ended, if it was given one."""
        data = self.data.get("pattern")
        if not data:
            return None
        from pidproof.process.pattern import ArgvPattern

        return ArgvPattern.from_json(data)

    def option(self, name: str) -> Any:
        """Return an option of the start, None if it has none of that name."""
        return (self.data.get("options") or {}).get(name)

    def beside(self) -> list[str]:
        """Return the tokens of the servers it was started beside that are not proven gone."""
        tokens = self.data.get("beside") or []
        gone = Liveness.GONE
        return [text for text in tokens if ProcessIdentity.parse(text).liveness() is not gone]

    def is_same_start(self, other: Record | None) -> bool:
        """Say whether both tell of one start."""
        return other is not None and self.nonce == other.nonce


_TYPES: dict[str, tuple[type, ...]] = {
    "key": (str,),
    "nonce": (str,),
    "state": (str,),
    "managed": (str,),
    "command": (list,),
    "identity": (str, type(None)),
    "version": (str, type(None)),
    "port": (int, type(None)),
    "url": (str, type(None)),
    "probe": (dict, type(None)),
    "env": (dict, type(None)),
    "cwd": (str, type(None)),
    "log_offset": (int, type(None)),
    "started": (int, float, type(None)),
    "generation": (int,),
    "token": (str,),
    "listener": (dict, type(None)),
    "probe_env": (dict, type(None)),
    "pattern": (list, type(None)),
    "program": (list, type(None)),
    "beside": (list, type(None)),
    "replaced": (dict, type(None)),
    "options": (dict, type(None)),
    "log": (str, type(None)),
    "started_at": (str, type(None)),
}
_REQUIRED = ("key", "nonce", "state", "managed", "command")


_HEX = frozenset("0123456789abcdef")
# What is counted with; a number that we wrote is far below.
_NUMBERS = {
    "port": 2**16,
    "log_offset": 2**62,
    "generation": 2**62,
    "started": 2**53,
}
_TIMES = ("startup_timeout", "grace", "probe_timeout", "failure_threshold", "idle_timeout")


def _is_number(value: object, limit: int) -> bool:
    """Say whether it is none, or a number that can be counted with (NaN is not)."""
    if value is None:
        return True
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < limit


def _is_deep(data: dict[str, Any]) -> bool:
    """Say whether it is nested more than what could be written again."""
    level: list[Any] = [data]
    for _ in range(DEPTH_LIMIT):
        level = [
            inner
            for item in level
            if isinstance(item, (dict, list))
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return True


def _unsound(data: dict[str, Any]) -> str | None:
    """Return the name of a field whose content cannot be used, of those whose type is right."""
    options = data.get("options") or {}
    words = options.get("command") or []
    if (
        not isinstance(words, list)
        or not all(isinstance(word, str) for word in words)
        or not isinstance(options.get("port_env", ""), str)
        or not all(_is_number(options.get(name), 2**53) for name in _TIMES)
    ):
        return "options"
    if len(data["nonce"]) != 32 or not _HEX.issuperset(data["nonce"]):
        return "nonce"
    for name, limit in _NUMBERS.items():
        if not _is_number(data.get(name), limit):
            return name
    for name in ("command", "program", "beside"):
        if not all(isinstance(word, str) for word in data.get(name) or ()):
            return name
    for name in ("env", "probe_env"):
        if not all(isinstance(value, str) for value in (data.get(name) or {}).values()):
            return name
    if data.get("port") == 0:
        return "port"
    listener = data.get("listener")
    if listener and not all(
        type(listener.get(name)) is int and 0 <= listener[name] < limit
        for name, limit in (("pid", 2**31), ("fd", 2**31), ("inode", 2**64))
    ):
        return "listener"
    return None if _is_number((data.get("replaced") or {}).get("at"), 2**53) else "replaced"


def _parse(raw: bytes, key: str, path: str) -> Record:
    try:
        data = decode(raw)
    except (ValueError, RecursionError) as error:
        raise BrokenRecord(f"{path} does not parse: {error}") from error
    if not isinstance(data, dict) or _is_deep(data):
        raise BrokenRecord(f"{path} holds no object of ours")
    schema = data.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise RecordError(
            f"{path} was written by a later version (schema {schema}, this one reads {SCHEMA}); "
            "it was not touched",
            remedy="use that version of pidproof, or another PIDPROOF_STATE_DIR",
            path=path,
        )
    if schema != SCHEMA:
        raise BrokenRecord(f"{path} has no schema")
    for name, types in _TYPES.items():
        if name in _REQUIRED and name not in data:
            raise BrokenRecord(f"{path} has no {name}")
        if name in data and (not isinstance(data[name], types) or data[name] is True):
            raise BrokenRecord(f"{path}: {name} is {data[name]!r}")
    if (unsound := _unsound(data)) is not None:
        raise BrokenRecord(f"{path}: {unsound} is {data[unsound]!r}")
    if data["key"] != key:
        raise RecordError(
            f"{path} belongs to the key {data['key']!r}, not to {key!r}; it was not touched",
            remedy="move that directory away, or use another key",
            path=path,
        )
    try:
        record = Record(data)
        record.pattern()
        for token in data.get("beside") or ():
            ProcessIdentity.parse(token)
    except InvalidArgument as error:
        raise BrokenRecord(f"{path}: {error}") from error
    return record


# What was read last, and what it was found to be: who asks for one server over and over has it
# checked once.  Nobody changes a record in place.
_last: tuple[bytes, str, str, Record] | None = None


def read(directory: KeyDirectory, key: str | None) -> Record | None:
    """Return the record of a key, None if there is none.

    key None: of whatever key it tells.

    Raises:
        BrokenRecord: it does not parse.
        RecordError: it is of a later version or of another key.
        StateError: it cannot be read.
    """
    global _last  # noqa: PLW0603
    raw = directory.read(NAME, LIMIT)
    if raw is None:
        return None
    path = f"{directory.path}/{NAME}"
    if (last := _last) is not None and last[:3] == (raw, key, path):
        return last[3]
    if len(raw) > LIMIT:
        raise BrokenRecord(f"{path} is longer than {LIMIT} bytes")
    if key is None:
        try:
            key = decode(raw)["key"]
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise BrokenRecord(f"{path} does not parse: {error}") from error
    record = _parse(raw, key, path)
    _last = (raw, key, path, record)
    return record


def write(directory: KeyDirectory, record: Record, *, reserve: int = 0) -> None:
    """Put the record in place, whole or not at all.  Call it inside the guard.

    reserve: bytes that must be left for what is added to it later.

    No fsync: after a power cut the boot id makes any record void.

    Raises:
        InvalidArgument: it would be longer than what is read back.
        StateError: it cannot be written.
    """
    import json

    data = {"schema": SCHEMA, **record.data}
    raw = json.dumps(data, indent=1).encode() + b"\n"
    if (unsound := _unsound(data)) is not None:
        raise AssertionError(f"a record that could not be read back: {unsound}")
    if len(raw) + reserve > LIMIT:
        raise InvalidArgument(
            f"the record of {record.key!r} would have {len(raw)} bytes, and {LIMIT} are read; "
            "it was not written",
            remedy="give the server its arguments and variables in a file",
        )
    directory.replace(NAME, raw)
