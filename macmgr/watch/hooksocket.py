"""Where hooks hand their work over: /run/macmgr/hook.sock, 0600, for root alone (docs/adr/0006 has the protocol).

libvirt waits for the hook, and the hook for us: whatever a client does or does not do, nobody else waits for it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from macmgr.errors import Busy, NoPermission, NotThere
from macmgr.hookcall import MAX_INPUT, HookCall
from macmgr.oneline import one_line

# As long as a client may take to say what it wants. libvirt writes a hook's input at once.
_PATIENCE = 5.0
# Further clients wait in the kernel's queue; 200 guests that start at once are 8 at a time.
_MOST_CLIENTS, _BACKLOG = 64, 128
_WORDS = 5  # driver, object, operation, sub-operation, extra
_CREDENTIALS = struct.Struct("=3i")  # struct ucred: pid, uid, gid

Call = Callable[[HookCall, bytes], Awaitable[tuple[bool, str]]]


class HookSocket:
    """The server; ``call`` does a hook's work and answers whether it was done and what to say, ``status`` tells how it
    stands. Busy where another daemon listens already.
    """

    def __init__(self, path: Path, call: Call, status: Callable[[], bytes]) -> None:
        self._path, self._call, self._status = path, call, status
        self._places = asyncio.Semaphore(_MOST_CLIENTS)
        self._server: asyncio.AbstractServer | None = None
        self._inode = (0, 0)

    async def start(self) -> None:
        """Listen."""
        listening = _listen(self._path)
        self._inode = _inode(self._path)
        self._server = await asyncio.start_unix_server(self._serve, sock=listening, backlog=_BACKLOG)

    async def close(self) -> None:
        """Stop listening, and remove the socket, if it is still ours."""
        if self._server is not None:
            self._server.close()
            with suppress(OSError):
                if _inode(self._path) == self._inode:
                    self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self._places:
                if _is_root(writer.get_extra_info("socket")):
                    async with asyncio.timeout(_PATIENCE):
                        data = await _read(reader)
                    writer.write(await self._answer(data))
                    async with asyncio.timeout(_PATIENCE):
                        await writer.drain()
        except (OSError, TimeoutError):
            pass  # it went away, or is not worth waiting for; no answer makes a hook do its work itself
        finally:
            writer.close()

    async def _answer(self, data: bytes) -> bytes:
        verb, _, rest = data.partition(b"\0")
        if verb == b"status":
            return self._status()
        *words, xml = rest.split(b"\0", _WORDS)
        if verb != b"hook" or len(words) != _WORDS or len(xml) > MAX_INPUT:
            return b"failed the input is too large, or no hook's\n"
        call = HookCall(*(os.fsdecode(word) for word in words))
        done, text = await self._call(call, xml)
        return f"{'ok' if done else 'failed'} {one_line(text)}".rstrip().encode("utf-8", "backslashreplace") + b"\n"


async def _read(reader: asyncio.StreamReader) -> bytes:
    """All that the client has to say, or one byte more than it may."""
    chunks, size = [], 0
    while size <= MAX_INPUT + 4096 and (chunk := await reader.read(1 << 18)):
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks)


def _is_root(client: socket.socket) -> bool:
    """Whether the other side is root, or who we are (SO_PEERCRED): the file's mode says so too."""
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(credentials)[1] in (0, os.geteuid())


def _listen(path: Path) -> socket.socket:
    """A listening socket that nobody else could ever have connected to; one that a dead daemon left is replaced."""
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        status = path.parent.stat(follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
            raise NotThere(f"{path.parent}: has to be a directory that only root may write to")
        _make_room(path)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        before = os.umask(0o177)  # the socket is 0600 from its first moment on; nothing else runs in here yet
        try:
            listening.bind(str(path))
        finally:
            os.umask(before)
    except PermissionError:
        raise NoPermission(f"{path}: cannot be made; macmgr watch needs root") from None
    except OSError as error:
        raise NotThere(f"{path}: cannot be made: {error.strerror or error}") from None
    return listening


def _make_room(path: Path) -> None:
    if not os.path.lexists(path):
        return
    if not stat.S_ISSOCK(path.stat(follow_symlinks=False).st_mode):
        raise NotThere(f"{path}: exists, and is no socket; remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except TimeoutError:
            pass  # it does not answer, and it is there
    raise Busy(f"{path}: another macmgr watch is running; 'macmgr status' asks it how it stands")


def _inode(path: Path) -> tuple[int, int]:
    status = path.stat(follow_symlinks=False)
    return status.st_dev, status.st_ino
