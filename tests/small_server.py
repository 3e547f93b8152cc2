# SPDX-License-Identifier: MIT
"""A server that starts fast and behaves as it is told: by its arguments, and by files beside it.

    small_server.py DIRECTORY [--port N | --fd N | --unix PATH] [--host ADDRESS] [--ignore-term]
                    [--child | --own-session-child] [--exit N] [--never-listen] [--undumpable]

It writes DIRECTORY/report.json before it listens, and DIRECTORY/term for a SIGTERM ignored.
DIRECTORY/answer, where there is one, says how requests are answered: a status, or garbage,
endless, drip, slow (a second and a half), close, hang.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time


# Isolated, Python does not look beside the program.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


def option(name: str, default: str = "") -> str:
    """Return the word behind an option."""
    words = sys.argv[2:]
    return words[words.index(name) + 1] if name in words else default


def report(directory: str) -> None:
    """Tell what this process was started with."""
    from outside import open_fds, signal_masks

    ignored, blocked = signal_masks()
    facts = {
        "pid": os.getpid(),
        "session": os.getsid(0),
        "group": os.getpgrp(),
        "cwd": os.getcwd(),
        "argv": sys.argv,
        "env": dict(os.environ),
        "fds": open_fds(),
        "ignored": ignored,
        "blocked": blocked,
        "started": time.monotonic(),
    }
    with open(f"{directory}/report.new", "w", encoding="utf-8") as file:
        json.dump(facts, file)
    os.rename(f"{directory}/report.new", f"{directory}/report.json")


def have_child(directory: str) -> None:
    """Start a child that ignores the end of its parent."""
    if os.fork():
        return
    if "--own-session-child" in sys.argv:
        os.setsid()
    with open(f"{directory}/child.new", "w", encoding="ascii") as file:
        file.write(str(os.getpid()))
    os.rename(f"{directory}/child.new", f"{directory}/child")
    signal.pause()


def listening_socket() -> socket.socket | None:
    """Return the socket to serve on."""
    if "--fd" in sys.argv:
        return socket.socket(fileno=int(option("--fd")))
    if "--unix" in sys.argv:
        unix = socket.socket(socket.AF_UNIX)
        unix.bind(option("--unix"))
        unix.listen()
        return unix
    if "--port" not in sys.argv:
        return None
    host = option("--host", "127.0.0.1")
    server = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((host, int(option("--port"))))
    server.listen()
    return server


def become_undumpable() -> None:
    """From now on only the privileged may look into this process, as with ssh-agent."""
    import ctypes

    # PR_SET_DUMPABLE
    assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0


def answer(directory: str, connection: socket.socket) -> None:
    """Answer one request."""
    request = connection.recv(65536)
    with open(f"{directory}/request", "wb") as file:
        file.write(request)
    try:
        with open(f"{directory}/answer", encoding="ascii") as file:
            how = file.read()
    except FileNotFoundError:
        how = "200"
    if how == "garbage":
        connection.sendall(b"220 mail.example ESMTP\r\n")
    elif how == "endless":
        connection.sendall(b"x" * 10000)
    elif how == "close":
        return
    elif how == "hang":
        select.select([connection], [], [], 30)
    elif how == "slow":
        if not select.select([connection], [], [], 1.5)[0]:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    elif how == "drip":
        for byte in b"HTTP/1.1 200 OK, but too late to be of any use to anybody\r\n":
            connection.send(bytes([byte]))
            if select.select([connection], [], [], 0.02)[0]:
                return
    else:
        connection.sendall(f"HTTP/1.1 {how} Whatever\r\nContent-Length: 0\r\n\r\n".encode())


def main() -> None:
    """Serve until a signal ends it."""
    directory = sys.argv[1]
    if "--ignore-term" in sys.argv:
        signal.signal(signal.SIGTERM, lambda *_: open(f"{directory}/term", "w").close())
    if "--child" in sys.argv or "--own-session-child" in sys.argv:
        have_child(directory)
        while not os.path.exists(f"{directory}/child"):
            time.sleep(0.001)
    report(directory)
    if "--undumpable" in sys.argv:
        become_undumpable()
    print("small server says hello", flush=True)
    if "--exit" in sys.argv:
        sys.exit(int(option("--exit")))
    server = None if "--never-listen" in sys.argv else listening_socket()
    if server is None:
        while True:
            signal.pause()
    while True:
        connection, _ = server.accept()
        try:
            answer(directory, connection)
        except OSError:
            pass  # whoever asked did not wait
        finally:
            connection.close()


if __name__ == "__main__":
    main()
