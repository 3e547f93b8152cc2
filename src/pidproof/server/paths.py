# SPDX-License-Identifier: MIT
"""Where the state lives, and reading and writing there without following anything hostile.

<root>/<host>/<slug>-<hash>/    lock, turn, record.json, server.log, history.jsonl
"""

from __future__ import annotations

import errno
import os
import stat

from pidproof import _native
from pidproof.errors import InvalidArgument, StateError, UnsafePath


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = [
    "check_key",
    "check_owner",
    "digest",
    "host_directory",
    "host_name",
    "list_names",
    "open_directory",
    "raise_state_error",
    "state_root",
]

KEY_LIMIT = 128
_KEY_CHARACTERS = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+@:/="
)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def check_key(key: str) -> str:
    """Return the key if it can be one.

    Raises:
        InvalidArgument: it is not 1 to 128 letters, digits and . _ - + @ : / =, or starts with
            a dash.
    """
    ok = type(key) is str and 0 < len(key) <= KEY_LIMIT
    if not ok or key[0] == "-" or not _KEY_CHARACTERS.issuperset(key):
        raise InvalidArgument(
            f"{key!r} is not a key",
            remedy=f"a key is 1 to {KEY_LIMIT} letters, digits and . _ - + @ : / = "
            "and does not start with a dash",
        )
    return key


def state_root() -> str:
    """Return the state directory: $PIDPROOF_STATE_DIR, else below $XDG_STATE_HOME or the home.

    Raises:
        StateError: it would be a relative path.
    """
    chosen = os.environ.get("PIDPROOF_STATE_DIR")
    if not chosen:
        home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser(f"~/{_native.state_home()}")
        chosen = f"{home}/pidproof"
    if not chosen.startswith("/"):
        # Two callers in two directories would mean two states, and so two servers.
        raise StateError(
            f"the state directory {chosen!r} is not an absolute path",
            remedy="set PIDPROOF_STATE_DIR to an absolute path",
            path=chosen,
        )
    # A trailing slash would make the kernel follow a symbolic link in the last place.
    return chosen.rstrip("/") or "/"


_digests: dict[str, str] = {}
_DIGESTS_KEPT = 1000


def digest(text: str) -> str:
    """FNV-1a, 64 bits: short names without hashlib on the fast path.  Guards nothing: the key
    inside the record is compared."""
    known = _digests.get(text)
    if known is not None:
        return known
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    if len(_digests) >= _DIGESTS_KEPT:
        _digests.clear()
    return _digests.setdefault(text, f"{value:016x}")


def host_name() -> str:
    """A name for this machine, so that a home shared between machines keeps them apart."""
    try:
        machine = _native.machine_id()
    except OSError as error:
        # Under another name there would be another state, and so a second server.
        raise StateError(
            f"the id of this machine cannot be read just now: {os.strerror(error.errno or 0)}; "
            "nothing was done",
            remedy="see what it is short of (ulimit -n, dmesg), then run this again",
            path=None,
            errno=error.errno,
        ) from error
    if machine:
        # machine-id(5) asks that it never be shown as it is.
        return digest("pidproof " + machine)
    return digest("pidproof host " + os.uname().nodename)


def host_directory() -> str:
    """Return the path of this machine's part of the state."""
    return f"{state_root()}/{host_name()}"


def raise_state_error(error: OSError, path: str, doing: str) -> NoReturn:
    """Raise what the system said of a path of ours as a typed error with a remedy."""
    look = f"look at it with `ls -ld {path}`"
    if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO}:
        raise UnsafePath(
            f"{path} is not what belongs there (a symbolic link, or the wrong kind of file); "
            f"it was not followed",
            remedy=f"{look} and move it away",
            path=path,
            errno=error.errno,
        ) from error
    kind = UnsafePath if isinstance(error, PermissionError) else StateError
    remedy = {
        errno.ENOSPC: "free some space on that filesystem",
        errno.EDQUOT: "free some of your disk quota",
        errno.EROFS: "set PIDPROOF_STATE_DIR to a place that can be written",
        errno.EACCES: "set PIDPROOF_STATE_DIR to a directory of your own",
    }.get(error.errno or 0, look)
    raise kind(
        f"{path} cannot be {doing}: {error.strerror}",
        remedy=remedy,
        path=path,
        errno=error.errno,
    ) from error


def check_owner(info: os.stat_result, path: str) -> None:
    if info.st_uid != os.geteuid():
        raise UnsafePath(
            f"{path} belongs to uid {info.st_uid}, not to uid {os.geteuid()}; it was not used",
            remedy="set PIDPROOF_STATE_DIR to a directory of your own",
            path=path,
        )
    if info.st_mode & 0o022:
        raise UnsafePath(
            f"{path} can be written by others (mode {stat.S_IMODE(info.st_mode):04o}); "
            "it was not used",
            remedy=f"chmod go-w {path}",
            path=path,
        )


def _open_step(name: str, parent: int | None, path: str, *, create: bool) -> int:
    """Open one directory that only we can write; raises FileNotFoundError unless create."""
    try:
        try:
            fd = os.open(name, _DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            if not create:
                raise
            try:
                os.mkdir(name, 0o700, dir_fd=parent)
            except FileExistsError:
                pass
            fd = os.open(name, _DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise_state_error(error, path, "used as the state directory")
    try:
        check_owner(os.fstat(fd), path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_directory(*names: str, create: bool = False) -> int:
    """Open the state directory, or one below it, following no symbolic link on the way.

    Raises:
        FileNotFoundError: there is none, and none is to be created.
        StateError, UnsafePath: it cannot be used, with the reason.
    """
    path = state_root()
    if create and not os.path.lexists(path):
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        except OSError as error:
            raise_state_error(error, os.path.dirname(path), "created")
    fd = _open_step(path, None, path, create=create)
    for name in names:
        path = f"{path}/{name}"
        parent = fd
        try:
            fd = _open_step(name, parent, path, create=create)
        finally:
            os.close(parent)
    return fd


def list_names() -> list[str]:
    """Return the names of what should be the directories of keys of this machine, sorted."""
    try:
        fd = open_directory(host_name())
    except FileNotFoundError:
        return []
    try:
        return sorted(os.listdir(fd))
    finally:
        os.close(fd)
