"""The daemon's socket: hooks hand their work over, and `macmgr status` asks. Protocol: docs/adr/0006.

libvirt waits for a hook, so any failure here ends the connection, and the hook then does its work itself. The socket is
root's alone from its first instant. A lock file next to it, root's alone too, is locked as long as the socket is
served. It distinguishes a second daemon from a socket that a killed one left: the kernel drops a lock with its process.
Everybody can open the directory, and so lock it: that decides nothing.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import stat
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from macmgr.config import HookSettings
from macmgr.errors import Busy, NoPermission, NotThere
from macmgr.model.hookcall import MAX_INPUT, HookCall
from macmgr.phrases import system_words
from macmgr.safefiles import open_own_directory
from macmgr.state.lock import open_lock, try_lock

TIMEOUT_FILE, LOCK_FILE = "hook.timeout", "watch.lock"
# A request's first word, which is its version too: what another version asks has another word, and gets no answer.
_HOOK, _STATUS = b"hook", b"status"
# Each client may hold a document of the largest size. More wait in the kernel's queue until their own time is up.
_CLIENTS = 32
_QUEUE = 1024
_WORDS = 6  # `hook`, the driver and libvirt's four; the kernel limits the length of an argument
_MAX_REQUEST = MAX_INPUT + 1 + _WORDS * 131072
_CHUNK = 1 << 18
_PAUSE = 0.1  # while the process has no descriptor left for another client

Waits = Callable[[], bool]
Call = Callable[[HookCall, bytes, Waits], Awaitable[tuple[bool, str] | None]]


class HookSocket:
    """Serves ``path`` from `start` to `close`.

    ``call`` does a hook call's work in a bounded time and returns (ok, message); None: the hook must do the work.
    `close` cancels it. ``call`` may ask, from any thread, if the hook still waits. ``status`` returns the status
    document.
    """

    def __init__(self, path: Path, call: Call, status: Callable[[], bytes], settings: HookSettings) -> None:
        self._path = path
        self._call = call
        self._status = status
        self._settings = settings
        self._directory = self._lock = -1
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._free = asyncio.Semaphore(_CLIENTS)

    async def start(self) -> None:
        """Starts to serve. Raises Busy if a living daemon serves."""
        try:
            with suppress(FileExistsError):
                self._path.parent.mkdir(0o755)
            self._directory = open_own_directory(self._path.parent, mode=0o755)
            self._lock = _locked(self._path, self._directory)
            self._listener = _listen(self._path.name, self._directory)
            with suppress(OSError):  # a full disk: hooks use the default, or the former value
                self._announce()
        except PermissionError as error:
            self._abandon()
            raise NoPermission(f"{self._path}: {system_words(error)}; the daemon needs root") from None
        except OSError as error:
            self._abandon()
            raise NotThere(f"{self._path}: the hooks' socket cannot be made: {system_words(error)}") from None
        except Busy:
            self._abandon()
            raise
        self._accepting = asyncio.create_task(self._accept(self._listener), name="hook socket")

    def configure(self, settings: HookSettings) -> None:
        self._settings = settings
        with suppress(OSError):  # a full disk: hooks use the former value
            self._announce()

    async def close(self) -> None:
        """Stops serving. A hook that still waits gets no answer and does its work itself."""
        if self._listener is None:
            return
        for name in (self._path.name, TIMEOUT_FILE):
            with suppress(OSError):
                os.unlink(name, dir_fd=self._directory)
        tasks = [task for task in (self._accepting, *self._serving) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._abandon()

    def _abandon(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for descriptor in (self._directory, self._lock):
            if descriptor != -1:
                os.close(descriptor)  # this drops the lock
        self._directory = self._lock = -1

    def _announce(self) -> None:
        """Writes libvirt's longest wait to a file: a hook that asks a daemon has no time to read the configuration."""
        temporary = f".{TIMEOUT_FILE}.new"
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=self._directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o644, dir_fd=self._directory), "w", encoding="ascii") as file:
            file.write(f"{self._settings.timeout:g}\n")
        os.rename(temporary, TIMEOUT_FILE, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._free.acquire()
            try:
                client, _ = await loop.sock_accept(listener)
            except OSError:
                self._free.release()
                await asyncio.sleep(_PAUSE)
                continue
            task = asyncio.create_task(self._serve(client), name="hook client")
            self._serving.add(task)
            task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        self._serving.discard(task)
        self._free.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            task.get_loop().call_exception_handler({"message": "a hook's call failed", "exception": error})

    async def _serve(self, client: socket.socket) -> None:
        with client:
            if not _allowed(client):
                return
            try:
                async with asyncio.timeout(self._settings.timeout):
                    request = await _read(client)
            except (ConnectionError, TimeoutError):  # the client went away, or does not come to an end
                return
            answer = await self._answer(request, lambda: _waits(client))
            with suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(self._settings.timeout):
                    await asyncio.get_running_loop().sock_sendall(client, answer)

    async def _answer(self, request: bytes, waits: Waits) -> bytes:
        """Returns the answer; empty if the hook should do its work itself and report the fault."""
        if request == _STATUS + b"\0":
            return self._status()
        words = request.split(b"\0", _WORDS)
        if len(words) != _WORDS + 1 or words[0] != _HOOK or len(request) > _MAX_REQUEST:
            return b""
        call = HookCall(*map(os.fsdecode, words[1:_WORDS]))
        if not call.relevant:
            return b"ok\n"
        done = await self._call(call, words[_WORDS], waits)
        if done is None:
            return b""
        well, message = done
        word = "ok" if well else "refuse" if self._settings.refuse and call.refusable else "failed"
        return f"{word} {call.line(message)}".encode() + b"\n" if message else f"{word}\n".encode()


async def _read(client: socket.socket) -> bytes:
    """Reads until the client has finished, or has sent more than the largest request."""
    loop = asyncio.get_running_loop()
    chunks, size = [], 0
    while size <= _MAX_REQUEST and (chunk := await loop.sock_recv(client, _CHUNK)):
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks)


def _waits(client: socket.socket) -> bool:
    """The other end is open: it shuts down its writing side, but closes only when it gives up (unix_poll)."""
    if client.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(client, 0)  # poll reports a hang-up unasked
    return not poll.poll(0)


def _allowed(client: socket.socket) -> bool:
    """Root, or the user of this daemon, is at the other end."""
    credentials = struct.Struct("=iii")  # struct ucred: pid, uid, gid
    said = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    return credentials.unpack(said)[1] in (0, os.geteuid())


def _locked(path: Path, directory: int) -> int:
    """Opens and locks the lock file. Raises Busy if another daemon runs."""
    lock = open_lock(LOCK_FILE, directory)
    if not try_lock(lock) or _is_served(path.name, directory):
        os.close(lock)
        raise Busy(f"another 'macmgr watch' runs (it serves {path}); a second one is not needed")
    with suppress(OSError):  # anybody may hold it; it keeps out a daemon older than the lock file
        try_lock(directory)
    return lock


def _is_served(name: str, directory: int) -> bool:
    """Somebody listens on the socket: a daemon older than the lock file does, and had locked the directory."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as client:
        try:
            client.connect(f"/proc/self/fd/{directory}/{name}")
        except BlockingIOError:  # its queue is full
            return True
        except OSError:
            return False
    return True


def _listen(name: str, directory: int) -> socket.socket:
    """Returns a listening socket, 0600 from its first instant; it replaces one that a dead daemon left there."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise OSError(errno.EEXIST, f"something that is no socket is there; move {name} away")
        os.unlink(name, dir_fd=directory)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        # Linux gives the file the mode of its socket, less the umask (unix_bind in net/unix/af_unix.c)
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(f"/proc/self/fd/{directory}/{name}")  # in the checked directory, wherever its name leads
        listener.listen(_QUEUE)
    except BaseException:
        listener.close()
        raise
    return listener
