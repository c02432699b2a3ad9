"""Which process holds a lock, as the kernel says: the one that keeps others waiting is what a person wants to know."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """A process, its program by the kernel's name for it, and whether it is stopped (Ctrl-Z, SIGSTOP, a debugger)."""

    pid: int
    program: str
    stopped: bool

    @property
    def in_words(self) -> str:
        """Who it is, and what to do where it goes on by no word of ours."""
        words = f"process {self.pid}" + (f", {self.program}" if self.program else "")
        return f"{words}, which is stopped: 'kill -CONT {self.pid}' lets it go on" if self.stopped else words


def holder_of(descriptor: int) -> Process | None:
    """The process that took a flock(2) on the open file; None where it cannot be told, as from another PID namespace.

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
        words = line.split()  # 1: FLOCK ADVISORY WRITE 812 00:17:5 0 EOF; who waits has an arrow before it
        if len(words) >= 6 and words[1] == "FLOCK" and words[5] == place and words[4].isdecimal() and int(words[4]):
            return process(int(words[4]))
    return None


def process(pid: int) -> Process:
    """What /proc says of a process; it may be gone."""
    try:
        # 812 (a name with ") " in it) T …
        head, _, rest = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
    except OSError:
        return Process(pid, "", False)
    return Process(pid, head.partition("(")[2], rest.split()[:1] in (["T"], ["t"]))
