# SPDX-License-Identifier: MIT
"""What a caller wants of a key: the command, how it is probed, and what to do when."""

from __future__ import annotations

import os

from pidproof.errors import InvalidArgument, typed
from pidproof.frozen import Frozen
from pidproof.server.paths import check_key


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from pidproof.process.pattern import ArgvPattern
    from pidproof.server.probe import Probe, Target

__all__ = ["ON_MISMATCH", "Spec", "make_spec"]

ON_MISMATCH = ("upgrade", "replace", "reuse", "error")
ON_UNKNOWN = ("error", "beside")


class Spec(Frozen):
    """A checked specification.  Times are seconds."""

    __slots__ = (
        "command",
        "cwd",
        "env",
        "failure_threshold",
        "grace",
        "idle_timeout",
        "key",
        "on_mismatch",
        "on_unknown",
        "pattern",
        "port",
        "port_env",
        "probe",
        "probe_timeout",
        "startup_timeout",
        "timeout",
        "version",
    )
    key: str
    command: tuple[str, ...]
    probe: Probe | None
    port: int | str | None
    port_env: str
    env: dict[str, str]
    cwd: str
    version: str | None
    on_mismatch: str
    on_unknown: str
    timeout: float
    startup_timeout: float
    grace: float
    probe_timeout: float
    failure_threshold: int
    idle_timeout: float | None
    pattern: ArgvPattern | None

    @property
    def hands_over_socket(self) -> bool:
        """Whether the server gets its listening socket from us ({fd} in its command)."""
        return any("{fd}" in word for word in (*self.command, *self.env.values()))


@typed
def make_spec(
    key: str,
    command: Sequence[str | os.PathLike[str]],
    *,
    probe: Probe | Callable[[Target], object] | None = None,
    port: int | str | None = None,
    port_env: str = "PORT",
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    version: str | None = None,
    on_mismatch: str = "upgrade",
    on_unknown: str = "error",
    timeout: float | None = None,
    startup_timeout: float = 60.0,
    grace: float = 6.0,
    probe_timeout: float = 1.0,
    failure_threshold: int = 3,
    idle_timeout: float | None = None,
    pattern: ArgvPattern | None = None,
) -> Spec:
    """Check a specification and fill in what it leaves open.

    Raises:
        InvalidArgument: it could never work.
    """
    words = _check_command(command)
    values = _check_env(env or {})
    texts = (*words, *values.values())
    if port is None and any("{port}" in text or "{fd}" in text for text in texts):
        port = "auto"
    asked = _as_probe(probe)
    if asked is not None and asked.needs_port and port is None:
        raise InvalidArgument(
            f"the {asked.kind} probe needs a port",
            remedy="put {port} into the command, or give --port N",
        )
    _check_port(port, port_env)
    _check_choice("on_mismatch", on_mismatch, ON_MISMATCH)
    _check_choice("on_unknown", on_unknown, ON_UNKNOWN)
    for name, value in {
        "timeout": timeout,
        "startup_timeout": startup_timeout,
        "grace": grace,
        "probe_timeout": probe_timeout,
        "idle_timeout": idle_timeout,
    }.items():
        # A day bounds them all: a wait without an end is a bug of the caller.
        if value is not None and not 0 <= value <= 86400:
            raise InvalidArgument(f"{name} is {value!r}; it must be from 0 to 86400 seconds")
    if failure_threshold < 1:
        raise InvalidArgument(f"failure_threshold is {failure_threshold}; it must be at least 1")
    return Spec(
        key=check_key(key),
        command=words,
        probe=asked,
        port=port,
        port_env=port_env,
        env=values,
        cwd=os.path.abspath(cwd or os.getcwd()),
        version=version,
        on_mismatch=on_mismatch,
        on_unknown=on_unknown,
        timeout=startup_timeout + 2 * grace + 30.0 if timeout is None else timeout,
        startup_timeout=startup_timeout,
        grace=grace,
        probe_timeout=probe_timeout,
        failure_threshold=failure_threshold,
        idle_timeout=idle_timeout,
        pattern=pattern,
    )


def spec_from_record(data: Mapping[str, Any], **changes: Any) -> Spec:
    """Return the specification that a record was started from.

    Raises:
        InvalidArgument: a field is not what this version writes.
    """
    from pidproof.process.pattern import ArgvPattern
    from pidproof.server.probes import from_json

    options = dict(data.get("options") or {})
    known = {
        name: options[name]
        for name in ("startup_timeout", "grace", "probe_timeout", "failure_threshold")
        if isinstance(options.get(name), (int, float))
    }
    pattern = data.get("pattern")
    fields: dict[str, Any] = {
        "probe": from_json(data.get("probe")),
        "port": options.get("port"),
        "port_env": options.get("port_env") or "PORT",
        "env": data.get("env"),
        "cwd": data.get("cwd"),
        "version": data.get("version"),
        "idle_timeout": options.get("idle_timeout"),
        "pattern": ArgvPattern.from_json(pattern) if pattern else None,
        **known,
    }
    words = options.get("command") or data["command"]
    return make_spec(data["key"], words, **{**fields, **changes})


def _check_command(command: Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    if isinstance(command, (str, bytes)):
        raise InvalidArgument(
            f"the command is {command!r}; it must be a sequence of words",
            remedy='pass a list such as ["python3", "-m", "http.server"]',
        )
    words = tuple(os.fspath(word) for word in command)
    if not words or not words[0]:
        raise InvalidArgument(
            "the command is empty",
            remedy="put it behind --, as in: pidproof ensure KEY -- COMMAND [ARGUMENT ...]",
        )
    if not all(_can_be_passed(word) for word in words):
        raise InvalidArgument("the command holds a NUL character, or one that is no text")
    return words


def _can_be_passed(text: str) -> bool:
    """Say whether the kernel can be given it: no NUL, and no surrogate but those of os.fsdecode."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeError:
        return False


def _check_env(env: Mapping[str, str]) -> dict[str, str]:
    for name, value in env.items():
        if not name or "=" in name or not _can_be_passed(name):
            raise InvalidArgument(f"{name!r} is not the name of an environment variable")
        if not _can_be_passed(value):
            raise InvalidArgument(
                f"the variable {name} holds a NUL character, or one that is no text"
            )
        if name.startswith("PIDPROOF_"):
            raise InvalidArgument(f"{name} is set by pidproof itself")
    return dict(env)


def _as_probe(probe: Probe | Callable[[Target], object] | None) -> Probe | None:
    from pidproof.server.probe import Probe
    from pidproof.server.probes import Call

    if probe is None or isinstance(probe, Probe):
        return probe
    if callable(probe):
        return Call(probe)
    raise InvalidArgument(f"{probe!r} is neither a probe nor callable")


def _check_port(port: int | str | None, port_env: str) -> None:
    ok = port is None or port == "auto" or (isinstance(port, int) and 0 < port < 65536)
    if not ok or isinstance(port, bool):
        raise InvalidArgument(f"port {port!r} is neither auto nor a number from 1 to 65535")
    ok = bool(port_env) and "=" not in port_env and _can_be_passed(port_env)
    if not ok or port_env.startswith("PIDPROOF_"):
        raise InvalidArgument(f"{port_env!r} is not the name of an environment variable")


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InvalidArgument(f"{name} is {value!r}; it must be one of {', '.join(choices)}")
