"""One writer at a time. Mutating functions demand the held lock as an argument, so it cannot be forgotten."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from macmgr import paths
from macmgr.errors import Busy, NoPermission
from macmgr.safefiles import own_directory

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """A process, the kernel's name for its program, and its stop state (Ctrl-Z, SIGSTOP, a debugger)."""

    pid: int
    program: str
    stopped: bool

    @property
    def in_words(self) -> str:
        """Names the process; if it is stopped, also the command that lets it go on."""
        words = f"process {self.pid}" + (f", {self.program}" if self.program else "")
        return f"{words}, which is stopped: 'kill -CONT {self.pid}' lets it go on" if self.stopped else words


def holder_of(descriptor: int) -> Process | None:
    """Returns the process that took a flock(2) on the open file; None if unknown, as from another PID namespace.

    /proc/locks names it by device and inode (fs/locks.c, lock_get_status). It may have ended meanwhile, and left the
    lock to a child.
    """
    try:
        status = os.fstat(descriptor)
        lines = (PROC / "locks").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in lines:
        words = line.split()  # 1: FLOCK ADVISORY WRITE 812 00:17:5 0 EOF; a waiting process has an arrow before it
        if len(words) >= 6 and words[1] == "FLOCK" and words[5] == place and words[4].isdecimal() and int(words[4]):
            return process(int(words[4]))
    return None


def process(pid: int) -> Process:
    """Reads a process from /proc; it may be gone."""
    try:
        # 812 (a name with ") " in it) T …
        head, _, rest = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
    except OSError:
        return Process(pid, "", False)
    return Process(pid, head.partition("(")[2], rest.split()[:1] in (["T"], ["t"]))


_RETRY = 0.02


class WriterLock:
    """The right to change the kernel's tables; only `hold` makes one."""

    __slots__ = ()


@contextmanager
def hold(path: Path = paths.LOCK, *, wait: float = 5.0) -> Iterator[WriterLock]:
    """Holds the host's writer lock. Busy if another writer still has it after ``wait`` seconds.

    The file stays: removing it would let two writers hold two different files of one name.
    """
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with own_directory(path.parent) as directory:
            descriptor = open_lock(path.name, directory)
    except OSError as error:
        if error.errno == errno.EACCES:
            raise NoPermission(f"{path}: the writer lock cannot be taken; changing MAC tables needs root") from None
        raise Busy(f"{path}: the writer lock cannot be opened: {error.strerror}") from None
    try:
        deadline = time.monotonic() + wait
        while not _taken(descriptor, path):
            if time.monotonic() >= deadline:
                raise _busy(path, descriptor)
            time.sleep(_RETRY)
        yield WriterLock()
    finally:
        os.close(descriptor)


def _taken(descriptor: int, path: Path) -> bool:
    try:
        return try_lock(descriptor)
    except OSError as error:  # ENOLCK, or a disk that fails
        raise Busy(f"{path}: the writer lock cannot be taken: {error.strerror}; nothing was changed") from None


def open_lock(name: str, directory: int) -> int:
    """Opens the lock file ``name`` in the opened directory, or makes it. OSError if it is not ours alone.

    A process that can open a file, even for reading, can lock it for ever. So it belongs to root alone.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o600, dir_fd=directory)
    try:
        _make_ours_alone(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _make_ours_alone(descriptor: int) -> None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file; remove it")
    if status.st_uid not in (0, os.geteuid()):
        raise OSError(errno.EPERM, f"it belongs to user {status.st_uid}, who can hold it for ever; remove it")
    if stat.S_IMODE(status.st_mode) != 0o600:
        os.fchmod(descriptor, 0o600)


def _busy(path: Path, descriptor: int) -> Busy:
    who = holder_of(descriptor)
    if who is None:
        return Busy(f"another macmgr is writing (it holds {path}); nothing was changed, try again")
    text = f"another macmgr is writing ({path} is held by {who.in_words}); nothing was changed, try again"
    return Busy(text, who.pid, who.program)


def try_lock(descriptor: int) -> bool:
    """Takes the lock of an opened file. False if another process has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True
