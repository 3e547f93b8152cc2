# SPDX-License-Identifier: MIT
"""Launchers as commands: ours, and that of argent."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from helpers import wait_until
from servers import is_alive
from system.launching import needs


NEEDS_NODE = needs("node", "npm")


def pidproof() -> str:
    """Return the path of our command."""
    found = shutil.which("pidproof", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert found is not None
    return found


class Argent:
    """The launcher of argent, with a home of its own."""

    def __init__(self, package: Path, home: Path) -> None:
        self._script = package / "dist/cli.js"
        self._home = home
        home.mkdir()
        self.env = {**os.environ, "HOME": str(home), "ARGENT_TELEMETRY": "0"}

    def command(self, *arguments: str) -> list[str]:
        """Return a command of its."""
        return ["node", str(self._script), *arguments]

    def run(self, *arguments: str) -> None:
        """Run one to its end."""
        command = self.command(*arguments)
        subprocess.run(command, env=self.env, check=True, capture_output=True, timeout=60)

    def servers(self) -> list[int]:
        """Return the pids of the tool-servers that were started from this home."""
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                environ = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
                argv = Path(f"/proc/{name}/cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            if f"HOME={self._home}".encode() in environ and b"tool-server.cjs" in argv:
                found.append(int(name))
        return found

    def end(self) -> None:
        """End all of them."""
        for pid in self.servers():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, self.servers())))
