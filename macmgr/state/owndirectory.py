"""A directory of macmgr's own, opened before anything in it is touched: a link, or somebody else's, is refused."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def own_directory(path: Path, *, mode: int | None = None) -> Iterator[int]:
    """The opened directory, if it is ours; OSError where it is a link, or somebody else's.

    With ``mode`` it is made that way, if it is not.
    """
    opened = open_own_directory(path, mode=mode)
    try:
        yield opened
    finally:
        os.close(opened)


def open_own_directory(path: Path, *, mode: int | None = None) -> int:
    """As `own_directory`, for who keeps it open."""
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
