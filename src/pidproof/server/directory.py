# SPDX-License-Identifier: MIT
"""The directory of one key, opened once: what is in it is read and written without following."""

from __future__ import annotations

import errno
import os
import stat

from pidproof.errors import StateError, UnsafePath
from pidproof.server.paths import (
    check_key,
    check_owner,
    digest,
    host_name,
    open_directory,
    raise_state_error,
    state_root,
)


__all__ = ["KeyDirectory"]

# Of the characters of a key those that a file name can have everywhere.
_SLUG_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


class KeyDirectory:
    """The open directory of one key.  Names in it are opened relative to it, never followed."""

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.fd = fd

    @classmethod
    def open(cls, key: str, *, create: bool = False) -> KeyDirectory | None:
        """Open the directory of a key; None if there is none and none is to be created.

        Raises:
            InvalidArgument: malformed key.
            StateError, UnsafePath: it cannot be used, with the reason.
        """
        check_key(key)
        slug = "".join(c if c in _SLUG_CHARACTERS else "-" for c in key).lstrip(".-")[:40]
        return cls.named(f"{slug or 'key'}-{digest(key)}", create=create)

    @classmethod
    def named(cls, name: str, *, create: bool = False) -> KeyDirectory | None:
        """Open a directory by its name; else as `open`."""
        if name in {".", ".."}:  # of a record that a process says it belongs to
            return None
        host = host_name()
        path = f"{state_root()}/{host}/{name}"
        try:
            fd = open_directory(host, name, create=create)
        except FileNotFoundError as error:
            if create:  # removed as fast as it was made, or on a filesystem where nothing can be
                raise_state_error(error, path, "created")
            return None
        return cls(path, fd)

    def close(self) -> None:
        """Close it; may be called again."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> KeyDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def open_file(self, name: str, flags: int) -> int:
        """Open a regular file of ours in it; FileNotFoundError passes through."""
        path = f"{self.path}/{name}"
        try:
            fd = os.open(
                name,
                flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY,
                0o600,
                dir_fd=self.fd,
            )
        except FileNotFoundError:
            raise
        except OSError as error:
            raise_state_error(error, path, "opened")
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode) or info.st_nlink > 1:
                raise UnsafePath(
                    f"{path} is not a plain file with one name; it was not used",
                    remedy=f"look at it with `ls -l {path}` and move it away",
                    path=path,
                )
            check_owner(info, path)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def read(self, name: str, limit: int) -> bytes | None:
        """Return at most `limit` + 1 bytes of a file, None if there is none."""
        try:
            fd = self.open_file(name, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            return os.read(fd, limit + 1)
        except OSError as error:
            raise_state_error(error, f"{self.path}/{name}", "read")
        finally:
            os.close(fd)

    def replace(self, name: str, content: bytes) -> None:
        """Put a file in place, whole or not at all.  Call it inside the guard: one writer."""
        temporary = f"{name}.new"
        try:
            # Inside the guard a leftover is a dead writer's.
            try:
                os.unlink(temporary, dir_fd=self.fd)
            except FileNotFoundError:
                pass
            fd = self.open_file(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                if os.write(fd, content) != len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(fd)
            os.rename(temporary, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except StateError:
            raise
        except OSError as error:
            try:
                self._discard(temporary)
            except OSError as stays:
                raise_state_error(stays, f"{self.path}/{temporary}", "removed")
            raise_state_error(error, f"{self.path}/{name}", "written")

    def _discard(self, name: str) -> None:
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            pass

    def remove(self, name: str) -> None:
        """Unlink a file; nothing to do if there is none."""
        try:
            self._discard(name)
        except OSError as error:
            raise_state_error(error, f"{self.path}/{name}", "removed")
