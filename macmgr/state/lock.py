"""One writer at a time. Holding the lock is an argument that mutating functions demand, so it cannot be forgotten."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from macmgr import paths
from macmgr.errors import Busy, NoPermission

_RETRY = 0.02


class WriterLock:
    """The right to change the kernel's tables; only `hold` makes one."""

    __slots__ = ()


@contextmanager
def hold(path: Path = paths.LOCK, *, wait: float = 5.0) -> Iterator[WriterLock]:
    """Hold the host's writer lock; Busy when another writer still has it after ``wait`` seconds.

    The file stays: removing it would let two writers hold two different files of one name.
    """
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except PermissionError:
        raise NoPermission(f"{path}: the writer lock cannot be taken; changing MAC tables needs root") from None
    except OSError as error:
        raise Busy(f"{path}: the writer lock cannot be opened: {error.strerror}") from None
    try:
        deadline = time.monotonic() + wait
        while not _try(descriptor):
            if time.monotonic() >= deadline:
                raise Busy(f"another macmgr is writing (it holds {path}); nothing was changed, try again")
            time.sleep(_RETRY)
        yield WriterLock()
    finally:
        os.close(descriptor)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True
