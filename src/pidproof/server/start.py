# SPDX-License-Identifier: MIT
"""Starting a server so that no crash can orphan it: recorded first, then let go, then published.

The steps are those of docs/protocol.md: write-ahead, fork, name, open, ready, publish.
"""

from __future__ import annotations

import os
import socket
import time

from pidproof.errors import (
    Error,
    LockLost,
    NeverHealthy,
    PortInUse,
    ProcessGone,
    StartTimeout,
    StateError,
)
from pidproof.interrupts import held_back
from pidproof.process.identity import Liveness
from pidproof.server import listener, log
from pidproof.server import record as records
from pidproof.server.health import wait_ready
from pidproof.server.record import FAILED, RUNNING, STARTING, Record
from pidproof.server.spawn import Child, find_command
from pidproof.server.terminate import end_server


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pidproof.lock.spawn_lock import SpawnLock
    from pidproof.process.identity import ProcessIdentity
    from pidproof.server.health import Checkup
    from pidproof.server.paths import KeyDirectory
    from pidproof.server.spec import Spec

__all__ = ["prepare", "publish", "start"]

# A port that was free when we chose it can be taken before the server binds it.
PORT_ATTEMPTS = 3
# A server that we give up on gets this long after SIGTERM, at most.
REJECT_GRACE = 2.0
LISTEN_FD = 3
_OURS = ("PIDPROOF_KEY", "PIDPROOF_NONCE", "PIDPROOF_RECORD", "PIDPROOF_TOKEN", "PIDPROOF_PID",
         "PIDPROOF_IDLE_TIMEOUT", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
_INTERPRETERS = {"node", "nodejs", "bun", "python", "pypy", "ruby", "perl", "php", "sh", "bash"}


class _PortTaken(Exception):
    """The port that we chose went to another before our server had it."""

    def __init__(self, error: NeverHealthy) -> None:
        super().__init__(str(error))
        self.error = error


class Plan:
    """All that is decided before the fork."""

    def __init__(self, spec: Spec, port: int | None, bound: socket.socket | None) -> None:
        self.nonce = os.urandom(16).hex()
        self.token = os.urandom(32).hex()
        self.port = port
        self.bound = bound
        self.command = [self._fill(word) for word in spec.command]
        self.shown = [self._fill(word, token="{token}") for word in spec.command]
        self.added = {name: self._fill(value) for name, value in spec.env.items()}

    def _fill(self, text: str, token: str | None = None) -> str:
        text = text.replace("{token}", self.token if token is None else token)
        text = text.replace("{fd}", str(LISTEN_FD))
        return text if self.port is None else text.replace("{port}", str(self.port))

    def environment(self, spec: Spec, directory: KeyDirectory) -> dict[str, str]:
        """Return the whole environment of the server."""
        env = {name: value for name, value in os.environ.items() if name not in _OURS}
        env |= {
            "PIDPROOF_KEY": spec.key,
            "PIDPROOF_NONCE": self.nonce,
            "PIDPROOF_RECORD": f"{directory.path}/{records.NAME}",
            "PIDPROOF_TOKEN": self.token,
            "PIDPROOF_PID": "",  # the child knows it
        }
        if spec.idle_timeout is not None:
            env["PIDPROOF_IDLE_TIMEOUT"] = f"{spec.idle_timeout:g}"
        if self.bound is not None:
            env |= {"LISTEN_FDS": "1", "LISTEN_PID": ""}
        if self.port is not None:
            env[spec.port_env] = str(self.port)
        return env | self.added


def _url(spec: Spec, port: int | None) -> str | None:
    kind = spec.probe.kind if spec.probe else ""
    if kind == "unix":
        return f"unix:{spec.probe.to_json()['path']}" if spec.probe else None
    if port is None:
        return None
    return f"tcp://127.0.0.1:{port}" if kind == "tcp" else f"http://127.0.0.1:{port}/"


def prepare(
    spec: Spec,
    plan: Plan,
    directory: KeyDirectory,
    previous: Record | None,
    *,
    path: str,
    managed: str,
) -> Record:
    """Return the record `starting` of a plan, before there is a process."""
    return Record(
        {
            **_kept(previous),
            "key": spec.key,
            "nonce": plan.nonce,
            "generation": (previous.get("generation", 0) if previous else 0) + 1,
            "state": STARTING,
            "managed": managed,
            "command": plan.shown,
            "cwd": spec.cwd,
            "env": spec.env,
            "version": spec.version,
            "identity": None,
            "port": plan.port,
            "url": _url(spec, plan.port),
            "token": plan.token,
            "probe": spec.probe.to_json() if spec.probe else None,
            "probe_env": {spec.port_env: str(plan.port)} if plan.port is not None else {},
            "pattern": spec.pattern.to_json() if spec.pattern else None,
            "listener": None,
            "program": _program(spec, path),
            "log": f"{directory.path}/{log.LOG}",
            "log_offset": 0,
            "started": time.monotonic(),
            "started_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "options": {
                "command": list(spec.command),
                "port": spec.port,
                "port_env": spec.port_env,
                "startup_timeout": spec.startup_timeout,
                "grace": spec.grace,
                "probe_timeout": spec.probe_timeout,
                "failure_threshold": spec.failure_threshold,
                "idle_timeout": spec.idle_timeout,
            },
        }
    )


def _program(spec: Spec, path: str) -> list[str]:
    """Return the files without which the server makes no sense: executable, and its script."""
    words = spec.command
    name = os.path.basename(path).rstrip("0123456789.")
    script = os.path.join(spec.cwd, words[1]) if len(words) > 1 else ""
    if name in _INTERPRETERS and os.path.isfile(script):
        return [path, script]
    return [path]


def _kept(previous: Record | None) -> dict[str, Any]:
    """Return the fields of the last record that a later version wrote and we do not know."""
    if previous is None:
        return {}
    ours = {"exit_status", "reason", "replaced", "beside", "schema"}
    return {name: value for name, value in previous.data.items() if name not in ours}


def choose_port(spec: Spec, previous: Record | None) -> tuple[int | None, socket.socket | None]:
    """Return the port to use, and the socket to hand over if the server takes one.

    An automatic port is the last one again where it is free, so that addresses stay good.

    Raises:
        PortInUse: a fixed port is taken, with its owner.
    """
    if spec.port is None:
        return None, None
    if isinstance(spec.port, int):
        wanted = [spec.port]
    else:
        last = previous.port if previous else None
        wanted = [last, 0] if last else [0]
    for port in wanted:
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(("127.0.0.1", port))
            # Bound but not listening is not taken for the next one who asks; listening is.
            bound.listen(128)
        except OSError as error:
            bound.close()
            if port == wanted[-1]:
                raise _port_in_use(spec.key, port, str(error.strerror)) from error
            continue
        number = int(bound.getsockname()[1])
        if spec.hands_over_socket:
            return number, bound
        bound.close()
        return number, None
    raise AssertionError("unreachable: the last wanted port returns or raises")


def _port_in_use(key: str, port: int, why: str) -> PortInUse:
    owner = listener.owner_of(port)
    return PortInUse(
        f"port {port}, which {key!r} needs, cannot be bound ({why}); "
        f"{'it belongs to ' + owner if owner else 'its owner is not to be seen'}; "
        "nothing was started",
        remedy="end that process, or use --port auto",
        port=port,
        owner=owner,
    )


def start(
    lock: SpawnLock,
    directory: KeyDirectory,
    spec: Spec,
    previous: Record | None,
    *,
    deadline: float,
    say: Callable[[str], None],
    managed: str = "auto",
    extra: dict[str, Any] | None = None,
) -> Record:
    """Start the server, under the lock, with whoever the record named before proven gone.

    Returns the record as published.  Whatever else happens, the child is ended and reaped before
    the error is raised, interrupts included.

    Raises:
        CommandNotFound, CommandNotExecutable, NeverHealthy, StartTimeout, PortInUse, StateError,
        LockLost.
    """
    env_path = spec.env.get("PATH", os.environ.get("PATH", os.defpath))
    path = find_command(spec.command, env_path, spec.cwd)
    for attempt in range(1, PORT_ATTEMPTS + 1):
        try:
            return _attempt(
                lock, directory, spec, previous, path, deadline, say, managed, extra or {}
            )
        except _PortTaken as taken:
            if attempt == PORT_ATTEMPTS or spec.port != "auto":
                raise taken.error from None
            say(f"{taken.error.message}; trying another port")
            previous = records.read(directory, spec.key)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _attempt(
    lock: SpawnLock,
    directory: KeyDirectory,
    spec: Spec,
    previous: Record | None,
    path: str,
    deadline: float,
    say: Callable[[str], None],
    managed: str,
    extra: dict[str, Any],
) -> Record:
    port, bound = choose_port(spec, previous)
    output_fd = -1
    child = Child()
    record = None
    try:
        plan = Plan(spec, port, bound)
        header = f"start of {spec.key} by process {os.getpid()}: {' '.join(plan.shown)}"
        output_fd, offset = log.open_log(directory, header)
        record = prepare(spec, plan, directory, previous, path=path, managed=managed)
        record = record.with_(log_offset=offset, **extra)
        _write_ahead(lock, directory, record, previous)
        identity = child.fork(
            path,
            plan.command,
            plan.environment(spec, directory),
            spec.cwd,
            output_fd,
            bound.fileno() if bound else -1,
        )
        record = _name(lock, directory, record, identity)
        child.open_gate(spec.command, spec.cwd)
        say(f"started {spec.key} as process {identity.pid}")
        limit = min(deadline, time.monotonic() + spec.startup_timeout)
        if bound is not None:
            bound.close()
        checkup = _until_ready(directory, record, spec, limit, say)
        if checkup.is_ready:
            record = publish(lock, directory, record, checkup)
            child.hand_over()
            log.append_history(
                directory, "started", pid=identity.pid, port=port, version=spec.version,
                evidence=checkup.outcome.detail,
            )
            return record
        raise _not_ready(directory, record, checkup, child, spec)
    except BaseException as error:
        with held_back():
            _reject(lock, directory, child, record, spec, error)
        raise
    finally:
        if output_fd >= 0:
            os.close(output_fd)
        if bound is not None:
            bound.close()


def _write_ahead(
    lock: SpawnLock, directory: KeyDirectory, record: Record, previous: Record | None
) -> None:
    with lock.fenced():
        now = records.read(directory, record.key) if previous else None
        if previous is not None and not previous.is_same_start(now):
            raise LockLost(f"the record of {record.key!r} was replaced meanwhile")
        records.write(directory, record)


def _name(
    lock: SpawnLock, directory: KeyDirectory, record: Record, identity: ProcessIdentity
) -> Record:
    """Write the identity of the child at the gate into the record."""
    named = record.with_(identity=str(identity))
    with lock.fenced():
        if not record.is_same_start(records.read(directory, record.key)):
            raise LockLost(f"the record of {record.key!r} was replaced meanwhile")
        records.write(directory, named)
    return named


def publish(
    lock: SpawnLock, directory: KeyDirectory, record: Record, checkup: Checkup
) -> Record:
    """Write the record `running`, if the lock and the record are still what they were.

    Raises:
        LockLost: they are not; nothing was written.
    """
    running = record.with_(state=RUNNING, listener=checkup.listener)
    with lock.fenced():
        if not record.is_same_start(records.read(directory, record.key)):
            raise LockLost(f"the record of {record.key!r} was replaced meanwhile")
        records.write(directory, running)
    return running


def _until_ready(
    directory: KeyDirectory,
    record: Record,
    spec: Spec,
    limit: float,
    say: Callable[[str], None],
) -> Checkup:
    assert record.identity is not None
    from pidproof.server.health import exited

    try:
        handle = record.identity.open()
    except ProcessGone:
        return exited()
    with handle:
        checkup = wait_ready(
            directory, record, spec.probe, timeout=spec.probe_timeout, deadline=limit,
            handle=handle, say=say,
        )
        # Ready is only who still runs after its answer: the answer may have been its last.
        if checkup.is_ready and handle.liveness() is not Liveness.ALIVE:
            return exited()
        return checkup


def _not_ready(
    directory: KeyDirectory, record: Record, checkup: Checkup, child: Child, spec: Spec
) -> Exception:
    """Return the error for a server that did not become ready."""
    status = child.reap(0.0)
    owner = listener.owner_of(record.port) if record.port is not None and status is not None else None
    facts = {
        "pid": child.pid,
        "exit_status": status,
        "log": record.get("log"),
        "log_tail": log.tail(directory, 10, record.get("log_offset") or 0),
        "remedy": f"read its log: pidproof logs {record.key}",
    }
    if checkup.stranger or owner:
        who = checkup.outcome.detail if checkup.stranger else f"port {record.port} belongs to {owner}"
        return _PortTaken(
            PortInUse(
                f"{record.key!r} did not get its port: {who}; what was started was ended",
                **{**facts, "port": record.port, "owner": owner,
                   "remedy": "end that process, or use --port auto"},
            )
        )
    if status is not None:
        how = f"exited with status {status}" if status >= 0 else f"was ended by signal {-status}"
        return NeverHealthy(f"{record.key!r} {how} before it was ready", **facts)
    return StartTimeout(
        f"{record.key!r} was not ready within {spec.startup_timeout:g} s "
        f"({checkup.outcome.detail}); process {child.pid} was ended",
        **facts,
    )


def _reject(
    lock: SpawnLock,
    directory: KeyDirectory,
    child: Child,
    record: Record | None,
    spec: Spec,
    error: BaseException,
) -> None:
    """End and reap the child, and say in the record that nothing runs."""
    child.close_gate()
    if record is None:
        return
    try:
        if record.identity is not None and child.pid:
            end_server(lock, directory, record, grace=min(spec.grace, REJECT_GRACE))
        status = child.reap(5.0)
        with lock.fenced():
            if record.is_same_start(records.read(directory, record.key)):
                failed = record.with_(
                    state=FAILED, identity=None, exit_status=status, reason=_reason(error)
                )
                records.write(directory, failed)
        log.append_history(
            directory, "rejected", pid=child.pid or None, exit_status=status,
            evidence=_reason(error),
        )
    except LockLost:
        # Whoever has the lock now decides about what the record names; we collect it when it ends.
        if child.pid:
            child.hand_over()
    except (Error, StateError) as problem:
        if child.pid and child.reap(0.0) is None:
            child.hand_over()
        error.add_note(f"while cleaning up: {problem}")


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]
