"""Daemons that hooks meet: one with the real socket, and ones that are no good.

As a program, ``python -m tests.hooks.daemons SOCKET`` is a process with the real socket, to be stopped or killed. With
``--silent`` it says "called" on its output when a call comes, and never answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from macmgr.config import HookSettings
from macmgr.model.hookcall import HookCall
from macmgr.watch.hooksocket import HookSocket, Waits
from tests.hooks.conftest import TIMEOUT

# Half of it is the daemon's: a daemon that is to answer has the time for it, however busy the machine is.
UNHURRIED = HookSettings(timeout=30.0)


@dataclass
class Daemon:
    """A good one: it keeps its calls, and answers ``well`` and ``message``."""

    well: bool = True
    message: str = ""
    calls: list[tuple[HookCall, bytes]] = field(default_factory=list)

    async def call(self, call: HookCall, data: bytes, _waits: Waits) -> tuple[bool, str]:
        self.calls.append((call, data))
        return self.well, self.message


@contextmanager
def daemon(path: Path, settings: HookSettings | None = None) -> Iterator[Daemon]:
    """A good daemon, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    made = Daemon()
    served = HookSocket(path, made.call, lambda: b"", settings or UNHURRIED)
    try:
        asyncio.run_coroutine_threadsafe(served.start(), loop).result(TIMEOUT)
        yield made
        asyncio.run_coroutine_threadsafe(served.close(), loop).result(TIMEOUT)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def process(path: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A good daemon, or a ``--silent`` one, in a process of its own."""
    words = [sys.executable, "-m", "tests.hooks.daemons", str(path), *options]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as made:
        assert made.stdout is not None
        assert made.stdout.readline() == "ready\n"
        try:
            yield made
        finally:
            made.kill()


@contextmanager
def bad_daemon(path: Path, behave: Callable[[socket.socket], object]) -> Iterator[None]:
    """Something that listens, and does ``behave`` with each client."""
    path.parent.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client, contextlib.suppress(OSError):
                    behave(client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
            thread.join()
            path.unlink()


def read_all(client: socket.socket) -> bytes:
    data = b""
    while chunk := client.recv(1 << 16):
        data += chunk
    return data


async def _never(_call: HookCall, _data: bytes, _waits: Waits) -> None:
    print("called", flush=True)
    await asyncio.Event().wait()


async def _main(path: Path, silent: bool) -> None:
    await HookSocket(path, _never if silent else Daemon().call, lambda: b"", UNHURRIED).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), "--silent" in sys.argv))
