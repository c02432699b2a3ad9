"""Daemons that hooks meet: one with the real socket, and ones that are no good.

As a program, ``python -m tests.hooks.daemons SOCKET`` is a process with the real socket, to be stopped or killed.
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
    served = HookSocket(path, made.call, lambda: b"", settings or HookSettings())
    try:
        asyncio.run_coroutine_threadsafe(served.start(), loop).result(10)
        yield made
        asyncio.run_coroutine_threadsafe(served.close(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A good daemon, in a process of its own."""
    words = [sys.executable, "-m", "tests.hooks.daemons", str(path)]
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


async def _main(path: Path) -> None:
    await HookSocket(path, Daemon().call, lambda: b"", HookSettings()).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
