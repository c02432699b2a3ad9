"""Watches libvirt's status directories without inotify: looks at each file once a second, and compares.

inotify_simple is in no Debian release, so a host may lack it. The hooks still report a guest's start and end at once.
What libvirt writes without a hook (`virsh resume`, `net-update`) is noticed up to a second later.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from macmgr.safefiles import Stamp, stamp_of
from macmgr.sources.statusfiles import Directory, directories, label

INTERVAL = 1.0  # seconds; a look at a thousand files takes four milliseconds


class PolledDirectories:
    """The directories that libvirt's state is in, there yet or not, used as `StatusDirectories` is."""

    troubles: tuple[str, ...] = ()

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir.absolute()
        self._last = self._look()

    def read(self) -> list[str]:
        """Returns the reasons to look, in words, each once; empty if nothing has changed since the last call."""
        before, self._last = self._last, self._look()
        return [
            _reason(watch, label(self._run_dir, path), gone=path not in self._last)
            for path, (watch, _) in (before | self._last).items()
            if before.get(path) != self._last.get(path)
        ]

    def try_again(self) -> None: ...

    def close(self) -> None: ...

    def _look(self) -> dict[Path, tuple[Directory | None, Stamp | None]]:
        """Returns each directory, and each file with the stamp that tells its versions apart."""
        found: dict[Path, tuple[Directory | None, Stamp | None]] = {}
        for watch in directories(self._run_dir):
            if watch.path.is_dir():
                found[watch.path] = None, None
                found |= {path: (watch, stamp) for path, stamp in _files(watch)} if watch.files else {}
        return found


def _files(watch: Directory) -> Iterator[tuple[Path, Stamp]]:
    with suppress(OSError), os.scandir(watch.path) as entries:
        for entry in entries:
            if entry.name.endswith(".xml"):
                with suppress(OSError):  # renamed or deleted since
                    yield Path(entry.path), stamp_of(entry.stat())


def _reason(watch: Directory | None, name: str, *, gone: bool) -> str:
    return f"{watch.called} {name}" if watch else f"directory {name} {'is gone' if gone else 'appeared'}"
