# SPDX-License-Identifier: MIT
"""Write down the files of this version, for every later version to be tested with.

python tests/upgrade/write.py      into tests/upgrade/<version>, once, before its release
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pidproof
from pidproof import Error, Http, Server, SpawnLock
from pidproof.server.directory import KeyDirectory


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
# Of every Debian, so that no file tells of the machine it was written on.
SERVE = ["/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", "{port}"]
STUBBORN = ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]


def main() -> None:
    """Make servers in every state that a record can show, and copy what is there then."""
    to = HERE / pidproof.__version__
    to.mkdir()
    root = Path(tempfile.mkdtemp(prefix="pidproof-", dir="/run"))
    os.environ.clear()
    os.environ.update({"PATH": "/usr/bin:/bin", "PIDPROOF_STATE_DIR": str(root)})
    os.chdir("/")
    try:
        write(to)
    finally:
        shutil.rmtree(root)


def write(to: Path) -> None:
    """Write the files into a folder."""
    web = Server("web", SERVE, probe=Http("/"), version="1.0", env={"COLOUR": "blue"})
    web.ensure()
    keep("web", to / "running.json")
    with SpawnLock(folder_of("web"), purpose="start"):
        shutil.copyfile(folder_of("web") / "lock", to / "lock")
    web.stop()
    shutil.copyfile(folder_of("web") / "history.jsonl", to / "history.jsonl")

    hand = Server("web", SERVE, probe=Http("/"))
    hand.start()
    keep("web", to / "manual.json")
    hand.stop()

    broken = Server("broken", ["/bin/false", "{port}"], probe=Http("/"))
    with contextlib.suppress(Error):
        broken.ensure()
    keep("broken", to / "failed.json")

    never = Server("slow", ["/bin/sleep", "1000"], probe=Http("/"), startup_timeout=2, port=18080)
    with in_thread(lambda: attempt(never.ensure)):
        catch("slow", "starting", to / "starting.json")

    stubborn = Server("stubborn", STUBBORN, grace=2)
    stubborn.ensure()
    with in_thread(lambda: attempt(stubborn.stop)):
        catch("stubborn", "ending", to / "ending.json")


def folder_of(key: str) -> Path:
    """Return the directory of a key."""
    with KeyDirectory.open(key) as directory:  # type: ignore[union-attr]
        return Path(directory.path)


def keep(key: str, to: Path) -> None:
    """Copy the record of a key."""
    shutil.copyfile(folder_of(key) / "record.json", to)


def catch(key: str, state: str, to: Path) -> None:
    """Copy it once it shows a state and names a process."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with contextlib.suppress(OSError, TypeError):  # nothing is there yet
            text = (folder_of(key) / "record.json").read_text()
            if f'"state": "{state}"' in text and '"identity": "pidproof:' in text:
                to.write_text(text)
                return
        time.sleep(0.001)
    raise TimeoutError(f"{key} never was {state}")


def attempt(act: Callable[[], object]) -> None:
    """Do something that may fail."""
    with contextlib.suppress(Error):
        act()


@contextlib.contextmanager
def in_thread(act: Callable[[], object]) -> Iterator[None]:
    """Do something meanwhile."""
    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        thread.join()


if __name__ == "__main__":
    main()
