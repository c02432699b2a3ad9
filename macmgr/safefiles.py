"""Opens, reads and writes files safely: only regular ones of a bounded size, and macmgr's own whole or not at all.

Hooks and the daemon's loop read while libvirt waits. A FIFO in a file's place blocks until somebody writes to it, a
terminal or a tape acts when it is opened, and /dev/zero has no end. So macmgr reads every named file through here,
except what a person names as standard input.

The files that macmgr writes for its next process are root's own, and never followed through a link. They are in
directories below /run and /var/lib that only root can write. They are checked nevertheless: their content decides which
MAC addresses get entries. A directory is opened before anything in it is touched: a link, or another user's directory,
is refused.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

Stamp = tuple[int, int, int, int, int]
"""Distinguishes a file from the one read before: a replaced file is another inode, a written one has other times."""

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def open_regular(path: str | Path, *, follow: bool = True, dir_fd: int | None = None) -> tuple[int, os.stat_result]:
    """Returns a descriptor and its fstat(2). Raises OSError if the file is missing or not regular."""
    descriptor = os.open(path, _FLAGS if follow else _FLAGS | os.O_NOFOLLOW, dir_fd=dir_fd)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "it is a directory", str(path))
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return descriptor, status


def read_regular(path: str | Path, largest: int, *, follow: bool = True, dir_fd: int | None = None) -> bytes:
    """Returns the content. Raises OSError also if the file is larger than ``largest`` bytes."""
    descriptor, status = open_regular(path, follow=follow, dir_fd=dir_fd)
    try:
        if status.st_size > largest:
            raise _too_large(path, largest)
        chunks, left = [], largest + 1  # a file of /proc has size 0, and one under writing grows
        while left and (chunk := os.read(descriptor, min(left, max(status.st_size + 1, 65536)))):
            chunks.append(chunk)
            left -= len(chunk)
    finally:
        os.close(descriptor)
    if not left:
        raise _too_large(path, largest)
    return b"".join(chunks)


def _too_large(path: str | Path, largest: int) -> OSError:
    size = f"{largest >> 20} MiB" if largest >= 1 << 20 else f"{largest} bytes"
    return OSError(errno.EFBIG, f"it is larger than {size}", str(path))


def stamp_of(status: os.stat_result) -> Stamp:
    """Returns device, inode, size in bytes, and the times of the last content and inode change in nanoseconds."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def stamp_at(path: Path, *, follow_symlinks: bool = True) -> Stamp | None:
    """Returns the present stamp of ``path``; None if nothing is there, or stat(2) fails."""
    try:
        return stamp_of(path.stat(follow_symlinks=follow_symlinks))
    except OSError:
        return None


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
            with os.fdopen(os.open(path.name, _FLAGS | os.O_NOFOLLOW, dir_fd=directory), "rb") as file:
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
        _replace(directory, path.name, text.encode())


def edit_own(path: Path, old: bytes, new: bytes) -> bool:
    """Replaces a file that a person writes too, if it still holds ``old``. It keeps its mode and its owner.

    Returns False, and changes nothing, if somebody else has changed it meanwhile. One editor at a time gets in.
    """
    with own_directory(path.parent) as directory:
        fcntl.flock(directory, fcntl.LOCK_EX)
        descriptor, status = open_regular(path.name, follow=False, dir_fd=directory)
        os.close(descriptor)
        same_size = status.st_size == len(old)
        if not same_size or read_regular(path.name, len(old), follow=False, dir_fd=directory) != old:
            return False
        _replace(directory, path.name, new, status)
    return True


def _replace(directory: int, name: str, data: bytes, like: os.stat_result | None = None) -> None:
    temporary = temporary_name(name)
    with suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=directory)  # of a killed writer; there is one writer at a time
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=directory), "wb") as file:
        file.write(data)
        file.flush()
        if like is not None:
            os.fchown(file.fileno(), like.st_uid, like.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(like.st_mode))
        os.fsync(file.fileno())
    os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)


def temporary_name(name: str) -> str:
    """Returns the file's name while it is incomplete."""
    return f".{name}.new"
