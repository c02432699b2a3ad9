"""Notifies the service manager with sd_notify(3), and feeds its watchdog.

It sends datagrams to the socket in $NOTIFY_SOCKET, and none if that is not set. It never waits and never fails: a
guest's network does not depend on the program that started the daemon.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress

from macmgr.oneline import one_line


class Systemd:
    """The service manager that started this process, if one did."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # '@' stands for the zero byte of an abstract address; systemd knows vsock too, for whole machines
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def ready(self, status: str = "") -> None:
        """Reports that the first round, or a reload, is done."""
        self._send("READY=1", *_status(status))

    def reloading(self) -> None:
        """Reports a reload after SIGHUP; `ready` ends it. Type=notify-reload wants its start time."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str = "") -> None:
        self._send("STOPPING=1", *_status(status))

    def status(self, text: str) -> None:
        """Sets the line that `systemctl status` shows."""
        self._send(*_status(text))

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def _send(self, *assignments: str) -> None:
        if self._address.startswith(("/", "\0")) and assignments:
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as notify:
                notify.sendto("\n".join(assignments).encode("utf-8", "backslashreplace"), self._address)


def watchdog_seconds(environment: Mapping[str, str] = os.environ) -> float | None:
    """Returns the seconds without a sign of life after which the service manager kills us; None if it does not."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None  # meant for a process that started us
    wanted = environment.get("WATCHDOG_USEC", "")
    return int(wanted) / 1e6 if wanted.isascii() and wanted.isdigit() and int(wanted) else None


def _status(text: str) -> list[str]:
    return [f"STATUS={one_line(text)}"] if text else []
