"""Reads only regular files of a bounded size, and opens them without waiting.

Hooks and the daemon's loop read while libvirt waits. A FIFO in a file's place blocks until somebody writes to it, a
terminal or a tape acts when it is opened, and /dev/zero has no end. So macmgr reads every named file through here,
except what a person names as standard input.
"""

from __future__ import annotations

import errno
import os
import stat
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
