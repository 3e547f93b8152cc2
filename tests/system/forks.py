# SPDX-License-Identifier: MIT
"""A holder of a spawn lock that has children while threads of it use locks too.

    forks.py DIRECTORY METHOD       os.fork, or fork, spawn, forkserver of multiprocessing

Prints what each of its children thinks of the lock, then takes `release` on its standard input.
The children live on until somebody kills them.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

from helpers import wait_until
from pidproof import Error, LockTimeout
from pidproof.lock.spawn_lock import SpawnLock


CHILDREN = 20
# For as many interpreters to start on a machine that does other things.
PATIENCE = 90.0
# What a child must think: one that tries, one that keeps what it has inherited, descriptor and
# all, and one that has inherited nothing.
TRIED = {"held": False, "fenced": "RuntimeError", "release": False, "acquire": "LockTimeout"}
KEPT = {"held": False, "acquire": "LockTimeout"}
NOT_THERE = {"acquire": "LockTimeout"}

inherited: SpawnLock | None = None


def believe(directory: str, index: int) -> None:
    """In a child: say what it thinks of the lock, then stay."""
    belief: dict[str, Any] = {"pid": os.getpid()}
    if inherited is not None:
        belief["held"] = inherited.held
    if inherited is not None and index % 2 == 0:
        try:
            with inherited.fenced():
                belief["fenced"] = "mine"
        except RuntimeError as error:
            belief["fenced"] = type(error).__name__
        belief["release"] = inherited.release()
    try:
        SpawnLock(directory, timeout=0.05).acquire()
        belief["acquire"] = "mine"
    except Error as error:
        belief["acquire"] = type(error).__name__
    fd = os.open(f"{directory}.beliefs", os.O_WRONLY | os.O_APPEND)
    os.write(fd, json.dumps(belief).encode() + b"\n")
    while True:
        signal.pause()


def have_child(method: str, directory: str, index: int) -> None:
    """Start a child that outlives us."""
    if method == "os.fork":
        if os.fork() == 0:
            believe(directory, index)
    else:
        context: Any = multiprocessing.get_context(method)
        context.Process(target=believe, args=(directory, index)).start()


def use_locks(directory: str, over: threading.Event) -> None:
    """In a thread: go in and out of the guard of another lock, and stand in line for ours."""
    Path(f"{directory}.beside").mkdir(exist_ok=True)
    while not over.is_set():
        with SpawnLock(f"{directory}.beside", timeout=10) as lock, lock.fenced():
            pass
        try:
            SpawnLock(directory, timeout=0.1).acquire()
        except LockTimeout:
            continue
        os._exit(5)  # it is ours all the time


def main() -> None:
    """Hold the lock, have children, obey."""
    global inherited  # by fork it reaches the children, by spawn it does not
    directory, method = sys.argv[1:]
    beliefs = Path(f"{directory}.beliefs")
    beliefs.touch()
    with SpawnLock(directory, timeout=5, hold=600) as inherited:
        over = threading.Event()
        threads = [threading.Thread(target=use_locks, args=(directory, over)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for index in range(CHILDREN):
            have_child(method, directory, index)
        wait_until(lambda: beliefs.read_text().count("\n") == CHILDREN, PATIENCE)
        try:
            ForkingPickler.dumps(inherited)
            can_be_sent = True
        except TypeError:
            can_be_sent = False
        with inherited.fenced():  # whatever they did, it is still ours
            found = [json.loads(line) for line in beliefs.read_text().splitlines()]
        print(json.dumps({"beliefs": found, "can be sent": can_be_sent}), flush=True)
        sys.stdin.readline()
        over.set()
        for thread in threads:
            thread.join()
    print("released", flush=True)
    sys.stdin.readline()
    os._exit(0)  # multiprocessing would wait for the children


if __name__ == "__main__":
    main()
