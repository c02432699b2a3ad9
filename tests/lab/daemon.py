"""`macmgr watch` in the lab: a `with` block in which the daemon runs, on this host or on one of the two.

It is started as systemd starts it, Type=notify: the block begins when the daemon says READY=1, and ends with SIGTERM.
"""

import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab.macmgr_command import PROGRAM
from tests.lab.wait import until


class Watch:
    """The daemon, with what it said: `prefix` is the command that brings it to another host."""

    def __init__(self, prefix: Sequence[str] = ()) -> None:
        # Below /tmp: the hosts of the two-host lab each have a /run of their own.
        self._directory = Path(tempfile.mkdtemp(prefix="watch-", dir="/tmp"))
        self._prefix = tuple(prefix)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it and wait until it is ready."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as notified:
            address = self._directory / "notify"
            address.unlink(missing_ok=True)
            notified.bind(str(address))
            words = [*self._prefix, "env", f"NOTIFY_SOCKET={address}", str(PROGRAM), "watch"]
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            until(lambda: self._ready(notified), "macmgr watch says READY=1", 60)
        return self

    def stop(self) -> None:
        """End it as systemd does; it must end by itself, and well."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            code = self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"macmgr watch does not end on SIGTERM\n{self.said()}") from None
        finally:
            self._process = None
        if code:
            raise AssertionError(f"macmgr watch ended with {code}\n{self.said()}")

    @property
    def running(self) -> bool:
        """True while the process lives."""
        return self._process is not None and self._process.poll() is None

    def said(self, limit: int = 6000) -> str:
        """The end of its log: for error messages."""
        return self._log.read_text(errors="replace")[-limit:]

    @property
    def _log(self) -> Path:
        return self._directory / "log"

    def _ready(self, notified: socket.socket) -> bool:
        if not self.running:
            raise AssertionError(f"macmgr watch does not start\n{self.said()}")
        try:
            return b"READY=1" in notified.recv(4096)
        except BlockingIOError:
            return False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
