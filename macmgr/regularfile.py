"""Files are read when they are files: regular ones, of a bounded size, opened without waiting for anybody.

Hooks, and the daemon's loop, read while libvirt waits. A FIFO in a file's place is waited for until somebody writes to
it, a terminal or a tape does something when it is opened, and /dev/zero has no end. So all that macmgr reads by a name
goes through here, but for what a person has named as standard input.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

Stamp = tuple[int, int, int, int, int]
"""Tells a file from the one that was read before: a replaced file is another inode, a written one has other times."""

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def open_regular(path: str | Path, *, follow: bool = True, dir_fd: int | None = None) -> tuple[int, os.stat_result]:
    """A descriptor of the file and what fstat(2) says of it; OSError for what is not there, or no regular file."""
    descriptor = os.open(path, _FLAGS if follow else _FLAGS | os.O_NOFOLLOW, dir_fd=dir_fd)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "it is a directory", str(path))
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return descriptor, status


def read_regular(path: str | Path, largest: int, *, follow: bool = True, dir_fd: int | None = None) -> bytes:
    """What is in the file; OSError for one that is larger than ``largest`` bytes too."""
    descriptor, status = open_regular(path, follow=follow, dir_fd=dir_fd)
    try:
        if status.st_size > largest:
            raise _too_large(path, largest)
        chunks, left = [], largest + 1  # a file of /proc has a size of 0, and one that is written to grows
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
    """Device and inode, size in bytes, and the times of the last change of content and of inode in nanoseconds."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def stamp_at(path: Path, *, follow_symlinks: bool = True) -> Stamp | None:
    """The stamp of what is at ``path`` now; None where nothing is there, or nothing can be told of it."""
    try:
        return stamp_of(path.stat(follow_symlinks=follow_symlinks))
    except OSError:
        return None
