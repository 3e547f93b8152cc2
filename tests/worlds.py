# SPDX-License-Identifier: MIT
"""Other worlds to run a program in: namespaces, filters, users; and all operations, tried there."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from helpers import DEADLINE, NOBODY, SANITIZED, TESTS, python


if TYPE_CHECKING:
    from collections.abc import Sequence

PIDFD_SEND_SIGNAL = 424

# Argument vectors to put before a command.
NEW_PID_NAMESPACE = ["unshare", "-m", "-p", "-f", "--kill-child", "--mount-proc"]
NEW_USER_NAMESPACE = ["unshare", "-U", "-r", *NEW_PID_NAMESPACE[1:]]
FOREIGN_PROC = ["unshare", "-p", "-f", "--kill-child"]
NEW_TIME_NAMESPACE = ["unshare", "-T", "--boottime", "100000", "--monotonic", "100000"]
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def after(script: str, *arguments: str) -> list[str]:
    """Return what runs a command in a mount namespace in which `script` was run before."""
    shifts = f"shift {len(arguments)}; " if arguments else ""
    return ["unshare", "-m", "sh", "-c", f'{script}; {shifts}exec "$@"', "sh", *arguments]


# In a container one can lie upon another.
NO_PROC = after("while umount -l /proc 2>/dev/null; do :; done")
EMPTY_PROC = after("mount -t tmpfs none /proc")
HIDEPID = [*after("mount -t proc -o hidepid=2 proc /proc"), *AS_NOBODY]


# What gives a program `deny` of tests/seccomp.py.
DENY = f"import sys\nsys.path.insert(0, {str(TESTS)!r})\nfrom seccomp import deny\n"


def denied(call: int, error: int) -> list[str]:
    """Return what runs a command under a seccomp filter that answers a system call with `error`."""
    run = f"import os\ndeny({call}, {error})\nos.execvp(sys.argv[1], sys.argv[1:])\n"
    return python(DENY + run)


def with_machine_id(tmp_path: Path) -> list[str]:
    """Return what runs a command as on another machine that has the same disk."""
    file = tmp_path / "machine-id"
    file.write_text("0123456789abcdef" * 2 + "\n")
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        if os.path.exists(path):
            return after('mount --bind "$1" "$2"', str(file), path)
    return ["unshare", "-u", "sh", "-c", 'hostname another; exec "$@"', "sh"]


# What a program does with the server `web`, which was started elsewhere, and with a lock that is
# held elsewhere: an answer or an error for each operation.
PROGRAM = """
    import json, os, sys
    from pidproof import ProcessIdentity, Server, SpawnLock, identify, list_all, sweep

    path, token = sys.argv[1:]
    server = Server("web", ["sleep", "1000"], timeout=5, grace=2, startup_timeout=5)
    theirs = ProcessIdentity.parse(token)
    answers = {}

    def signal():
        with theirs.open() as handle:
            handle.signal(0)
        return "sent"

    def facts(one):
        return f"{one.state}: {one.detail}"

    def swept(**options):
        done = [one for one in sweep(timeout=0.05, **options) if one.key == "web" or not one.key]
        return [f"{one.action}: {one.reason}" for one in done]

    for name, act in {
        "status": lambda: facts(server.status()),
        "list": lambda: [facts(one) for one in list_all()],
        "sweep_dry_run": lambda: swept(dry_run=True),
        "sweep": swept,
        "lock": lambda: SpawnLock(path, timeout=0.05).acquire(),
        "liveness": lambda: ": ".join(map(str, theirs.explain())),
        "signal": signal,
        "ensure": lambda: server.ensure().action,
        "start": lambda: server.start().action,
        "restart": lambda: server.restart().action,
        "stop": lambda: server.stop().action,
    }.items():
        try:
            answers[name] = str(act())
        except Exception as error:
            answers[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(answers))
"""


def answers_in(world: Sequence[str], lock_path: str, token: str) -> dict[str, str]:
    """Try every operation in a world; returns what came of each."""
    done = subprocess.run(
        [*world, *python(PROGRAM, lock_path, token)],
        capture_output=True,
        timeout=DEADLINE * (6 if SANITIZED else 2),
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr, done.stderr
    answers: dict[str, str] = json.loads(done.stdout)
    return answers
