"""The points at which something fails: each message, send and receive of a netlink socket, each call for a file.

A run without a fault counts its points; a case then is one of them, and how it fails there: once, or from there on.
"""

from __future__ import annotations

import errno
import os
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from macmgr.kernel import wire

if TYPE_CHECKING:
    from tests.faults.wirekernel import Sent

ACKNOWLEDGED = -1  # the kernel says OK, and has done nothing
KILL, KILL_AFTER, POWER = "SIGKILL", "SIGKILL after it", "power cut"

# What the kernel answers to a request or a dump: its own checks, its drivers, its memory, a security module.
MESSAGE_ERRNOS = (
    *("EPERM", "EACCES", "ENODEV", "EINVAL", "ENOMEM", "EBUSY", "EOPNOTSUPP", "ENOENT", "EEXIST", "ENOBUFS"),
    *("EINTR", "EAGAIN", "ENOSPC", "EIO", "ERANGE", "EMSGSIZE", "EXFULL", "ENETDOWN", "E2BIG"),
)
# What send(2) and recv(2) fail with. Python itself goes on after EINTR, unless a signal handler raises.
SEND_ERRNOS = ("EPERM", "ENOBUFS", "ENOMEM", "EAGAIN", "EBADF", "ECONNREFUSED", "EINTR", "EMSGSIZE", "EIO")
RECV_ERRNOS = ("ENOBUFS", "ENOMEM", "EBADF", "ECONNREFUSED", "ENOTCONN", "EINTR", "EIO")
RECV_KINDS = (
    *("late", "lost", "one lost", "overflow", "interrupted", "stale answer", "empty"),
    *("short 1", "short 4", "short 16", "short 20", "short 36", "short half", "short -1", "short -4"),
)
_DISK = ("EIO", "ENOMEM")
FILE_ERRNOS = {
    "open": (*_DISK, "EMFILE", "ENFILE", "EACCES", "EPERM"),
    "create": (*_DISK, "EMFILE", "ENFILE", "EACCES", "EPERM", "ENOSPC", "EROFS", "EDQUOT"),
    "read": (*_DISK,),
    "write": (*_DISK, "ENOSPC", "EROFS", "EDQUOT", "EFBIG", "torn ENOSPC", "torn EIO"),
    "fsync": ("EIO", "ENOSPC", "EROFS", "EDQUOT"),
    "rename": ("EIO", "ENOSPC", "EROFS", "EPERM", "EACCES", "ENOMEM"),
    "unlink": ("EIO", "EROFS", "EPERM", "EACCES"),
    "mkdir": ("EIO", "ENOSPC", "EROFS", "EACCES", "EDQUOT"),
    "fchmod": ("EIO", "EROFS", "EPERM"),
    "list": (*_DISK, "EMFILE", "ENFILE", "EACCES"),
    "stat": (*_DISK, "EACCES"),
    "flock": ("ENOLCK", "EINTR", "EIO"),
}
_WRITES = ("create", "write", "fsync", "rename", "unlink", "mkdir", "fchmod")
LOST_BY_POWER = ("nothing that was not synced", "names without content", "names with half the content", "all of it")


class Killed(BaseException):
    """The process ends here: nothing of ours catches it, and what it does on the way out reaches nothing."""


class Fault(NamedTuple):
    """``where``: message, send, recv or file. ``at``: the number of the point. ``lasting``: from there on."""

    where: str
    at: int
    how: str
    lasting: bool = False

    @property
    def kind(self) -> str:
        """For the table."""
        if self.how.startswith("SIGKILL"):
            return "SIGKILL"
        if self.how.startswith(POWER):
            return POWER
        if self.where == "recv":
            return "answer: lost, late, cut short, interrupted"
        if self.where == "file":
            return "file: errno, torn write"
        return "message: errno, or done in vain" if self.where == "message" else "socket: errno"


@dataclass
class Points:
    """Counts the points of one run, and fails at one. ``log`` has each with its kind."""

    fault: Fault | None = None
    log: list[tuple[str, str]] = field(default_factory=list)
    dead: bool = False
    met: bool = False
    _counts: Counter[str] = field(default_factory=Counter)

    def reach(self, where: str, kind: str) -> str:
        """How the next point fails; empty where it does not."""
        if self.dead:
            raise Killed
        number = self._counts[where]
        self._counts[where] += 1
        self.log.append((where, kind))
        fault = self.fault
        if fault is None or fault.where != where:
            return ""
        if number != fault.at and not (fault.lasting and number > fault.at):
            return ""
        self.met = True
        if fault.how == KILL or fault.how.startswith(POWER):
            self.die()
        return fault.how

    def die(self) -> None:
        self.dead = True
        raise Killed

    def message(self, sent: Sent) -> int:
        """The errno of the next message; 0 where it is carried out."""
        how = self.reach("message", "dump" if sent.is_dump else "get" if sent.kind == wire.RTM_GETNEIGH else "change")
        if how == "in vain":
            return ACKNOWLEDGED
        return int(getattr(errno, how)) if how and not how.startswith("SIGKILL") else 0

    def send(self) -> None:
        self._how = self.reach("send", "send")
        if self._how and self._how != KILL_AFTER:
            raise failure(self._how)

    def sent(self) -> None:
        if self._how == KILL_AFTER:
            self.die()

    def recv(self, waiting: deque[bytes]) -> bytes:
        how = self.reach("recv", "recv")
        if how == "overflow" and waiting:  # the kernel reports it once
            waiting.clear()
            raise failure("ENOBUFS")
        if how == "one lost" and waiting:
            waiting.popleft()
            raise failure("ENOBUFS")
        if how == "lost":
            waiting.clear()
        if not waiting or how == "late":
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        if how in RECV_ERRNOS:
            raise failure(how)
        if how == "empty":
            return b""
        if how == "stale answer":
            return wire.HEADER.pack(20, wire.NLMSG_ERROR, 0, 0, 0) + (-errno.EEXIST).to_bytes(4, "little", signed=True)
        data = waiting.popleft()
        if how == "interrupted":
            return _interrupted(data)
        if how.startswith("short"):
            amount = how.removeprefix("short ")
            return data[: len(data) // 8 * 4 + 2 if amount == "half" else int(amount)]  # no message ends there
        return data


def failure(how: str) -> OSError:
    code = getattr(errno, how)
    return OSError(code, os.strerror(code))


def _interrupted(data: bytes) -> bytes:
    """Each message of the datagram marked with NLM_F_DUMP_INTR."""
    marked, position = bytearray(data), 0
    for _, flags, _, message in wire.messages(data):
        marked[position + 6 : position + 8] = (flags | wire.NLM_F_DUMP_INTR).to_bytes(2, "little")
        position += len(message) + -len(message) % 4
    return bytes(marked)


def cases(log: list[tuple[str, str]]) -> Iterator[Fault]:
    """All that can fail in a run with these points."""
    numbers: Counter[str] = Counter()
    for where, kind in log:
        at = numbers[where]
        numbers[where] += 1
        once: tuple[str, ...] = ()
        lasting: tuple[str, ...] = ()
        if where == "message":
            once = (*MESSAGE_ERRNOS, *(("in vain",) if kind == "change" else ()))
            lasting = ("EPERM", "ENOMEM", "EOPNOTSUPP", "EBUSY", "ENOBUFS", "ENODEV")
        elif where == "send":
            once, lasting = (*SEND_ERRNOS, KILL, KILL_AFTER), ("EBADF", "ENOBUFS", "EPERM")
        elif where == "recv":
            once, lasting = (
                (*RECV_ERRNOS, *RECV_KINDS),
                ("EBADF", "late", "lost", "overflow", "interrupted", "short 16"),
            )
        elif where == "file":
            errnos = FILE_ERRNOS[kind]
            once = (*errnos, KILL, *([f"{POWER}: {left}" for left in LOST_BY_POWER] if kind in _WRITES else ()))
            lasting = tuple(each for each in ("EIO", "ENOSPC", "EROFS", "EMFILE") if each in errnos)
        yield from (Fault(where, at, how) for how in once)
        yield from (Fault(where, at, how, lasting=True) for how in lasting)
