# SPDX-License-Identifier: MIT
"""What an enemy may put in the place of a file of ours, and the victim he hopes to hit with it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from helpers import NOBODY


if TYPE_CHECKING:
    from collections.abc import Callable

DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7)}


class Trace(NamedTuple):
    """All of a file that an attack would change."""

    kind: int
    mode: int
    owner: int
    changed: int
    content: object


def trace(path: Path) -> Trace:
    """Look at a file without following it."""
    info = path.lstat()
    content: object = None
    if stat.S_ISREG(info.st_mode):
        content = path.read_bytes()
    elif stat.S_ISDIR(info.st_mode):
        content = sorted(os.listdir(path))
    return Trace(
        stat.S_IFMT(info.st_mode),
        stat.S_IMODE(info.st_mode),
        info.st_uid,
        info.st_mtime_ns,
        content,
    )


class Victim:
    """A file, a directory with a file, and a place where there is nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.house = root / "house"
        self.house.mkdir(parents=True, mode=0o700)
        self.file = root / "precious"
        self.nowhere = root / "nowhere"
        for path in (self.file, self.house / "inside"):
            path.write_text('{"precious": 1}\n')
            path.chmod(0o640)
            os.utime(path, (1, 1))
        for path in (self.house, root):
            os.utime(path, (1, 1))
        self.before = self.traces()

    def traces(self) -> dict[str, Trace]:
        """Return what all of it looks like."""
        return {str(path): trace(path) for path in [self.root, *self.root.rglob("*")]}

    def check(self) -> None:
        """Fail if anything was created, written, cut, chmodded or touched."""
        assert self.traces() == self.before


# ----------------------------------------------------------------------------------------- kinds


def link_to(target: Callable[[Victim], object]) -> Callable[[Path, Victim], None]:
    """A symbolic link to something of the victim's."""
    return lambda path, victim: path.symlink_to(str(target(victim)))


def device(name: str) -> Callable[[Path, Victim], None]:
    """A device node as there is one in /dev."""

    def put(path: Path, _: Victim) -> None:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(*DEVICES[name]))

    return put


def put_link_to_itself(path: Path, _: Victim) -> None:
    path.symlink_to(path)


def put_link_of_another(path: Path, victim: Victim) -> None:
    path.symlink_to(victim.file)
    os.lchown(path, NOBODY, NOBODY)


def put_hard_link(path: Path, victim: Victim) -> None:
    path.hardlink_to(victim.file)


def put_fifo(path: Path, _: Victim) -> None:
    os.mkfifo(path, 0o600)


def put_socket(path: Path, _: Victim) -> None:
    """A socket that listens no more; bound by a short name, for sun_path holds 107 bytes."""
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"{short}/s")
        Path(f"{short}/s").rename(path)


def put_directory(path: Path, _: Victim) -> None:
    path.mkdir(mode=0o700)


def put_full_directory(path: Path, _: Victim) -> None:
    path.mkdir(mode=0o700)
    (path / "inside").touch(mode=0o600)


# Nothing of these is a file of ours.
NOT_OURS: dict[str, Callable[[Path, Victim], None]] = {
    "link to a file": link_to(lambda victim: victim.file),
    "link to nothing": link_to(lambda victim: victim.nowhere),
    "link to a directory": link_to(lambda victim: victim.house),
    "link to /dev/full": link_to(lambda _: "/dev/full"),
    "link to /dev/zero": link_to(lambda _: "/dev/zero"),
    "link to itself": put_link_to_itself,
    "link of another user": put_link_of_another,
    "hard link": put_hard_link,
    "FIFO": put_fifo,
    "socket": put_socket,
    "directory": put_directory,
    "full directory": put_full_directory,
    "device null": device("null"),
    "device zero": device("zero"),
    "device full": device("full"),
}


def change(path: Path, *, mode: int | None = None, owner: int | None = None) -> None:
    """Let the file be another's, or open to others, with the content that it has."""
    if not path.exists():
        path.touch(mode=0o600)
    if mode is not None:
        path.chmod(mode)
    if owner is not None:
        os.chown(path, owner, owner)


# What of ours became like this could have been written by another.
SPOILT: dict[str, Callable[[Path], None]] = {
    "of another user": lambda path: change(path, owner=NOBODY),
    "writable by all": lambda path: change(path, mode=0o666 | (path.is_dir() * 0o111)),
    "writable by the group": lambda path: change(path, mode=0o620 | (path.is_dir() * 0o110)),
}
KINDS = [*NOT_OURS, *SPOILT]


def can_make(kind: str, victim: Victim) -> bool:
    """Say whether this user can make one of the kind here."""
    if "another user" in kind:
        return os.geteuid() == 0
    if not kind.startswith("device"):
        return True
    trial = victim.root.with_name("trial")
    try:
        NOT_OURS[kind](trial, victim)
        os.close(os.open(trial, os.O_RDONLY))
    except OSError:
        return False
    finally:
        trial.unlink(missing_ok=True)
    return True


class Place:
    """One path of ours; what stood there is put back at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._aside = path.with_name(f"{path.name}.aside")
        self._info = path.lstat() if os.path.lexists(path) else None

    def spoil(self, kind: str, victim: Victim) -> None:
        """Put something hostile there."""
        if kind in SPOILT:
            SPOILT[kind](self.path)
            return
        if self._info is not None:
            self.path.rename(self._aside)
        NOT_OURS[kind](self.path, victim)

    def repair(self) -> None:
        """Do what a person does who was told of it: move it away, or make it ours again."""
        if os.path.lexists(self._aside):
            with contextlib.suppress(FileNotFoundError):
                remove(self.path)
            self._aside.rename(self.path)
        elif self._info is None:
            with contextlib.suppress(FileNotFoundError):
                remove(self.path)
        elif os.path.lexists(self.path):
            os.chown(self.path, self._info.st_uid, self._info.st_gid)
            self.path.chmod(stat.S_IMODE(self._info.st_mode))


def remove(path: Path) -> None:
    """Remove whatever it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
