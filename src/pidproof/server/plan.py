# SPDX-License-Identifier: MIT
"""What is decided before a fork: nonce, port, command, environment, and the record that says so."""

from __future__ import annotations

import os
import socket
import time

from pidproof import _native
from pidproof.errors import PortInUse
from pidproof.server import listener, log
from pidproof.server import record as records
from pidproof.server.record import STARTING, Record


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pidproof.server.directory import KeyDirectory
    from pidproof.server.spec import Spec

__all__ = ["LISTEN_FD", "Plan", "choose_port", "prepare"]

LISTEN_FD = 3
_OURS = (
    "PIDPROOF_KEY",
    "PIDPROOF_NONCE",
    "PIDPROOF_RECORD",
    "PIDPROOF_TOKEN",
    "PIDPROOF_MANAGED",
    "PIDPROOF_PID",
    "PIDPROOF_IDLE_TIMEOUT",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
)
_INTERPRETERS = {
    "node",
    "nodejs",
    "bun",
    "python",
    "pypy",
    "ruby",
    "perl",
    "php",
    "sh",
    "bash",
}


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

    def environment(self, spec: Spec, directory: KeyDirectory, managed: str) -> dict[str, str]:
        """Return the whole environment of the server."""
        env = {name: value for name, value in os.environ.items() if name not in _OURS}
        env |= {
            "PIDPROOF_KEY": spec.key,
            "PIDPROOF_NONCE": self.nonce,
            "PIDPROOF_RECORD": f"{directory.path}/{records.NAME}",
            "PIDPROOF_TOKEN": self.token,
            "PIDPROOF_MANAGED": managed,
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
    return f"tcp://127.0.0.1:{port}" if kind == "tcp" else f"http://127.0.0.1:{port}"


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
            "started": _native.boot_clock(),
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
