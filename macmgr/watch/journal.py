"""Writes the daemon's lines to journald with their fields, else to standard error.

journald takes datagrams of ``FIELD=value`` lines. A value with a newline takes the form with its length, so no guest's
name can end a field and begin another (systemd, docs/JOURNAL_NATIVE_PROTOCOL.md). The log must never hold up a repair:
nothing here waits, and nothing here raises. A line that journald does not take at once is dropped and counted.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from macmgr.oneline import one_line
from macmgr.watch.messages import Line, Priority

SOCKET = Path("/run/systemd/journal/socket")
# A datagram may be as large as the sender's buffer (net.core.wmem_default, 208 KiB). Values cut at this size need no
# memfd.
_LARGEST = 8192
# For a pipe, poll(2) promises room for one write of PIPE_BUF bytes only.
_LONGEST = select.PIPE_BUF - 1


class Journal:
    """The log of this process.

    ``stream`` is $JOURNAL_STREAM: the device and inode of journald's socket, as systemd connected it to standard error.
    Lines go to journald only if ``stderr`` really is that socket; in a terminal they belong in the terminal. Lines less
    urgent than ``least`` are left out. ``lost`` counts the dropped lines.
    """

    def __init__(
        self,
        path: Path = SOCKET,
        stderr: int = 2,
        stream: str | None = None,
        least: Priority = Priority.INFO,
    ) -> None:
        self.lost = 0
        self._path = str(path)
        self._stderr = stderr
        self._least = least
        stream = os.environ.get("JOURNAL_STREAM", "") if stream is None else stream
        self._journald = _is_stream(stderr, stream)

    def write(self, lines: Iterable[Line]) -> None:
        for line in lines:
            if line.priority <= self._least:
                self._log(line)

    def _log(self, line: Line) -> None:
        if self._journald:
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as journald:
                    journald.sendto(datagram(line), self._path)
            except OSError as error:
                # EAGAIN: journald is behind, so its stream is full too; else it cannot be reached this way
                if error.errno in (errno.EAGAIN, errno.ENOBUFS):
                    self.lost += 1
                else:
                    self._write(f"<{line.priority.value}>{one_line(line.message)}")
        else:
            now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
            self._write(f"{now} {_mark(line.priority)}{one_line(line.message)}")

    def _write(self, text: str) -> None:
        data = _bytes(text, _LONGEST) + b"\n"
        written = 0
        with suppress(OSError, ValueError):
            waiting = select.poll()
            waiting.register(self._stderr, select.POLLOUT)
            if any(events & select.POLLOUT for _, events in waiting.poll(0)):
                written = os.write(self._stderr, data)
        self.lost += written != len(data)


def datagram(line: Line) -> bytes:
    """Encodes the line in journald's native protocol."""
    fields = {
        "MESSAGE": one_line(line.message),
        "PRIORITY": str(line.priority.value),
        "SYSLOG_IDENTIFIER": "macmgr",
        "MESSAGE_ID": line.message_id,
        "MACMGR_DOMAIN": line.domain,
        "MACMGR_PORT": line.port,
        "MACMGR_BRIDGE": line.bridge,
        "MACMGR_MAC": line.mac,
        "MACMGR_CODE": line.code,
    }
    return b"".join(_field(name, value) for name, value in fields.items() if value)


def _field(name: str, value: str) -> bytes:
    data = _bytes(value, _LARGEST)
    if b"\n" in data:
        return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
    return name.encode() + b"=" + data + b"\n"


def _bytes(text: str, most: int) -> bytes:
    """Encodes ``text`` in UTF-8, cut between two letters: journald shows no value that is not UTF-8."""
    return text.encode("utf-8", "backslashreplace")[:most].decode("utf-8", "ignore").encode()


def _mark(priority: Priority) -> str:
    return f"{priority.name.lower()}: " if priority <= Priority.WARNING else ""


def _is_stream(descriptor: int, stream: str) -> bool:
    """The descriptor is the one that systemd connected to journald; a redirected standard error is not."""
    device, _, inode = stream.partition(":")
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))
