"""Serves ``GET /metrics`` on loopback for a Prometheus agent on this host: HTTP/1.1 and nothing more.

Everybody on the host can connect. Anything but a short, quick GET of that one path gets an error, and only a few
requests are read at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

LOOPBACK = "127.0.0.1"  # never another address: the metrics name guests, and there is no authentication
_MOST = 8  # requests at a time
_LONGEST = 8192  # bytes of a request's head
_TIMEOUT = 5.0  # seconds for one request and its answer
_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class MetricsPort:
    """The open port. ``text`` returns the metrics for a request."""

    def __init__(self, text: Callable[[], str], timeout: float = _TIMEOUT) -> None:
        self._text = text
        self._timeout = timeout
        self._open: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def listen(self, port: int) -> int:
        """Starts to answer. Returns the port, which the kernel chooses for 0. Raises OSError if it is taken."""
        self._server = await asyncio.start_server(self._accept, LOOPBACK, port, limit=_LONGEST)
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)
            await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer, busy=len(self._open) >= _MOST))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, busy: bool) -> None:
        try:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(self._timeout * 2):
                    answer = _answer(503) if busy else await self._answer(reader)
                    writer.write(answer)
                    await writer.drain()
                    writer.close()
                    await writer.wait_closed()
        finally:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            async with asyncio.timeout(self._timeout):
                head = await reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            return _answer(408)
        except asyncio.LimitOverrunError:
            return _answer(431)
        except asyncio.IncompleteReadError:
            return _answer(400)
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _answer(400)
        if words[1].split(b"?", 1)[0] != b"/metrics":
            return _answer(404)
        if words[0] != b"GET":
            return _answer(405, headers="Allow: GET\r\n")
        return _answer(200, self._text().encode("utf-8", "backslashreplace"), f"Content-Type: {_TYPE}\r\n")


def _answer(code: int, body: bytes = b"", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {code} {_REASONS[code]}\r\n{headers}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
