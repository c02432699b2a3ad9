"""Says what takes more than a second, in one line of a terminal's standard error that is gone when it is done."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TextIO, TypeVar

from macmgr.execution import Kernel, Refusal
from macmgr.model.changes import Request
from macmgr.model.snapshot import Entry, Key, Snapshot
from macmgr.phrases import counted

READING, JUDGING = "reading what libvirt says", "asking who is reached"
_AFTER, _EVERY = 1.0, 0.2  # seconds
_CLEAR = "\r\x1b[K"
_SIGNS = "|/-\\"
_T = TypeVar("_T")


class Progress:
    """A line about the work within a ``with`` block. Nothing is written where nobody sees it as a line."""

    def __init__(self, text: str, stream: TextIO | None = None, after: float = _AFTER) -> None:
        self._text, self._after = text, after
        self._stream = stream or sys.stderr
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._show, name="macmgr-progress", daemon=True)

    def say(self, text: str) -> None:
        self._text = text

    def telling(self, text: str, work: Callable[[], _T]) -> Callable[[], _T]:
        """Returns the work, which says what it is when it begins."""

        def told() -> _T:
            self.say(text)
            return work()

        return told

    def __enter__(self) -> Progress:
        moves = os.environ.get("TERM", "") not in ("", "dumb")
        if moves and self._stream is not None and self._stream.isatty():  # the caller may have closed it
            self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._done.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _show(self) -> None:
        if self._done.wait(self._after):
            return
        turns = 0
        while not self._done.is_set():
            width = shutil.get_terminal_size().columns
            self._write(f"{_CLEAR}{f'{_SIGNS[turns % len(_SIGNS)]} {self._text}'[: width - 1]}")
            turns += 1
            self._done.wait(_EVERY)
        self._write(_CLEAR)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # the terminal is gone, and the work goes on
            self._done.set()


@dataclass(frozen=True, slots=True)
class ToldKernel:
    """The kernel, of which a line says what it is asked for."""

    kernel: Kernel
    progress: Progress

    def read_snapshot(
        self,
        bridges: Collection[str] | None = None,
        ports: Collection[str] = (),
        *,
        whole: bool = False,
        if_open: Collection[str] | None = None,
    ) -> Snapshot:
        self.progress.say("reading bridges, ports and MAC tables")
        found = self.kernel.read_snapshot(bridges, ports, whole=whole, if_open=if_open)
        self.progress.say("comparing")
        return found

    def look_up(self, keys: Iterable[Key], snapshot: Snapshot) -> dict[Key, Entry | None]:
        keys = list(keys)
        self.progress.say(f"looking up {len(keys)} entries")
        return self.kernel.look_up(keys, snapshot)

    def refreshed(self, keys: Iterable[Key], snapshot: Snapshot) -> dict[Key, tuple[float, float]]:
        return self.kernel.refreshed(keys, snapshot)

    def send(self, requests: Sequence[Request], snapshot: Snapshot) -> Sequence[Refusal | None]:
        self.progress.say(f"sending {counted(len(requests), 'request')} to the kernel")
        return self.kernel.send(requests, snapshot)
