"""Files that macmgr writes for its next process: whole or not at all, root's own, never through a link.

They are in directories below /run and /var/lib that only root can write. They are checked nevertheless: their content
decides which MAC addresses get entries.

A directory is opened before anything in it is touched: a link, or another user's directory, is refused.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def own_directory(path: Path, *, mode: int | None = None) -> Iterator[int]:
    """Opens the directory if it is ours. OSError if it is a link, or another user's.

    With ``mode``, the directory gets that mode.
    """
    opened = open_own_directory(path, mode=mode)
    try:
        yield opened
    finally:
        os.close(opened)


def open_own_directory(path: Path, *, mode: int | None = None) -> int:
    """As `own_directory`, for a caller that keeps it open."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError:
        why = "is a symbolic link, which is not followed" if path.is_symlink() else "is not a directory"
        raise NotADirectoryError(errno.ENOTDIR, f"{path} {why}") from None
    try:
        _check(opened, path, mode)
    except BaseException:
        os.close(opened)
        raise
    return opened


def _check(opened: int, path: Path, mode: int | None) -> None:
    status = os.fstat(opened)
    if status.st_uid not in (0, os.geteuid()):
        raise PermissionError(errno.EPERM, f"{path} belongs to user {status.st_uid}")
    if mode is not None and stat.S_IMODE(status.st_mode) != mode:
        os.fchmod(opened, mode)


class Broken(Exception):
    """The file exists, and macmgr did not write its content."""


class OtherVersion(Exception):
    """A whole document of another version of macmgr, which may come back: it is left where it is."""


def read_own(path: Path, largest: int) -> bytes | None:
    """Returns the file's content, None if there is no file. Broken for foreign content, OSError if it is unreadable."""
    try:
        with own_directory(path.parent) as directory:
            if stat.S_ISLNK(os.stat(path.name, dir_fd=directory, follow_symlinks=False).st_mode):
                raise Broken(f"{path}: is a symbolic link, which is not followed")
            # O_NONBLOCK: a FIFO of that name must not block a hook.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with os.fdopen(os.open(path.name, flags, dir_fd=directory), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise Broken(f"{path}: is not a regular file")
                if status.st_uid not in (0, os.geteuid()):
                    raise Broken(f"{path}: belongs to user {status.st_uid}")
                data = file.read(largest + 1)
    except FileNotFoundError:
        return None
    if len(data) > largest:
        raise Broken(f"{path}: is not what macmgr wrote")
    return data


def write_own(path: Path, text: str, *, mode: int = 0o700) -> None:
    """Replaces the file. A reader, or the next boot, finds the old or the new one, never a part.

    Its directory is made, or tightened, to have the ``mode``.
    """
    with suppress(FileExistsError):
        path.parent.mkdir(mode)
    with own_directory(path.parent, mode=mode) as directory:
        temporary = temporary_name(path.name)
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)  # of a killed writer; there is one writer at a time
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=directory), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)


def temporary_name(name: str) -> str:
    """Returns the file's name while it is incomplete."""
    return f".{name}.new"
