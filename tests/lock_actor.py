# SPDX-License-Identifier: MIT
"""A process that takes and releases a spawn lock as its standard input says, line by line."""

from __future__ import annotations

import fcntl
import os
import sys
import threading
import time

from pidproof.errors import Error
from pidproof.lock.spawn_lock import SpawnLock


def main() -> None:
    """Answer each command with one line; an error is answered with the name of its type."""
    directory, hold, purpose = sys.argv[1:]
    lock = SpawnLock(directory, hold=float(hold), purpose=purpose)
    guard = -1
    print(os.getpid(), flush=True)
    for line in sys.stdin:
        command, *arguments = line.split()
        answer = "done"
        try:
            match command:
                case "acquire":
                    lock.acquire(timeout=float(arguments[0]))
                    answer = str(lock.found)
                case "acquire-at":
                    lock.acquire(timeout=float(arguments[0]))
                    answer = str(time.monotonic())
                case "release":
                    answer = str(lock.release())
                case "release-at":
                    lock.release()
                    answer = str(time.monotonic())
                case "fenced":
                    with lock.fenced():
                        answer = "mine"
                case "guard":
                    guard = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
                    fcntl.flock(guard, fcntl.LOCK_EX)
                case "leave":
                    os.close(guard)
                case "fork":
                    answer = fork(lock, arguments[0])
                case "exec":
                    print("execing", flush=True)
                    os.execv("/bin/cat", ["cat"])
                case "acquire-in-thread":
                    thread = threading.Thread(target=lock.acquire)
                    thread.start()
                    thread.join()
                    answer = str(lock.found)
        except (Error, RuntimeError) as error:
            answer = type(error).__name__
        print(answer, flush=True)


def fork(lock: SpawnLock, act: str) -> str:
    """Do something with the lock in a fork of this process and return what came of it."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if act == "release":
                answer = f"{lock.held} {lock.release()}"
            else:
                with lock.fenced():
                    answer = "mine"
        except (Error, RuntimeError) as error:
            answer = type(error).__name__
        os.write(into, answer.encode())
        os._exit(0)
    os.close(into)
    with os.fdopen(out) as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    return answer


if __name__ == "__main__":
    main()
