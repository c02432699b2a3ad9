"""What tells a file from the one that was read before. Another content is another stamp: a file that is replaced by a
rename is another inode, and one that is written in place has other times."""

from __future__ import annotations

import os
from pathlib import Path

Stamp = tuple[int, int, int, int, int]


def stamp_of(status: os.stat_result) -> Stamp:
    """Device and inode, size in bytes, and the times of the last change of content and of inode in nanoseconds."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def stamp_at(path: Path, *, follow_symlinks: bool = True) -> Stamp | None:
    """The stamp of what is at ``path`` now; None where nothing is there, or nothing can be told of it."""
    try:
        return stamp_of(path.stat(follow_symlinks=follow_symlinks))
    except OSError:
        return None
