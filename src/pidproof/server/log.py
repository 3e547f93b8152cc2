# SPDX-License-Identifier: MIT
"""A server's log and a key's history: two files that only ever grow at their end."""

from __future__ import annotations

import json
import os
import time

from pidproof.server import paths


TYPE_CHECKING = False
if TYPE_CHECKING:
    from pidproof.server.directory import KeyDirectory

__all__ = ["LOG", "append_history", "open_log", "read_history", "tail"]

LOG = "server.log"
HISTORY = "history.jsonl"
LOG_LIMIT = 10 << 20
LOG_COPIES = 3
HISTORY_LIMIT = 1 << 20


def _rotate(directory: KeyDirectory, name: str, limit: int, copies: int) -> None:
    """Rename a file that has outgrown its limit to name.1, and so on.  Inside the spawn lock."""
    try:
        if os.stat(name, dir_fd=directory.fd, follow_symlinks=False).st_size < limit:
            return
    except FileNotFoundError:
        return
    except OSError as error:
        paths.raise_state_error(error, f"{directory.path}/{name}", "looked at")
    names = [name, *(f"{name}.{number}" for number in range(1, copies + 1))]
    for older, newer in zip(reversed(names), list(reversed(names))[1:], strict=False):
        try:
            os.rename(newer, older, src_dir_fd=directory.fd, dst_dir_fd=directory.fd)
        except FileNotFoundError:
            continue
        except OSError as error:
            paths.raise_state_error(error, f"{directory.path}/{older}", "replaced")


def open_log(directory: KeyDirectory, header: str) -> tuple[int, int]:
    """Open the log for a new server, rotated if it is long; return descriptor and offset.

    Raises:
        StateError: it cannot be opened or written (full disk, foreign file).
    """
    _rotate(directory, LOG, LOG_LIMIT, LOG_COPIES)
    path = f"{directory.path}/{LOG}"
    fd = directory.open_file(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.set_blocking(fd, True)
        line = f"--- {time.strftime('%Y-%m-%dT%H:%M:%S%z')} {header}\n".encode(
            errors="backslashreplace"
        )
        if os.write(fd, line) != len(line):
            raise OSError(28, os.strerror(28))
        return fd, os.fstat(fd).st_size
    except OSError as error:
        os.close(fd)
        paths.raise_state_error(error, path, "written")


def read_log(directory: KeyDirectory, offset: int, limit: int) -> bytes:
    """Return up to `limit` bytes of the log from an offset on; empty if there is none."""
    try:
        fd = directory.open_file(LOG, os.O_RDONLY)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(fd, limit, offset)
    finally:
        os.close(fd)


def tail(directory: KeyDirectory, lines: int, offset: int = 0) -> list[str]:
    """Return the last lines of the log, from an offset on, within its last 64 KiB."""
    try:
        fd = directory.open_file(LOG, os.O_RDONLY)
    except FileNotFoundError:
        return []
    try:
        size = os.fstat(fd).st_size
        begin = max(offset, size - 65536)
        text = os.pread(fd, max(0, size - begin), begin).decode(errors="replace")
    finally:
        os.close(fd)
    return text.splitlines()[-lines:] if lines > 0 else []


def append_history(directory: KeyDirectory, event: str, **facts: object) -> None:
    """Add a line to the history: what was done, by whom, on what evidence.

    Raises:
        StateError: it cannot be written.
    """
    _rotate(directory, HISTORY, HISTORY_LIMIT, 1)
    entry = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "event": event,
        "by": os.getpid(),
        **{name: value for name, value in facts.items() if value is not None},
    }
    line = json.dumps(entry).encode() + b"\n"
    fd = directory.open_file(HISTORY, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(fd, line)
    except OSError as error:
        paths.raise_state_error(error, f"{directory.path}/{HISTORY}", "written")
    finally:
        os.close(fd)


def read_history(directory: KeyDirectory) -> list[dict[str, object]]:
    """Return the entries of the history, oldest first; a torn line is left out."""
    raw = directory.read(HISTORY, 2 * HISTORY_LIMIT) or b""
    entries = []
    for line in raw.splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            entries.append(entry)
    return entries
