"""What may stand where a file should be: each kind is made at a path, and what has to stay open is given back."""

from __future__ import annotations

import os
import pty
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def _fifo(path: Path) -> tuple[int, ...]:
    os.mkfifo(path)
    return ()


def _silent_writer(path: Path) -> tuple[int, ...]:
    """A FIFO that somebody holds open and never writes to."""
    os.mkfifo(path)
    return (os.open(path, os.O_RDWR),)


def _socket(path: Path) -> tuple[int, ...]:
    with socket.socket(socket.AF_UNIX) as left:
        place = os.open(path.parent, os.O_PATH)  # the path itself may be longer than an address may be
        left.bind(f"/proc/self/fd/{place}/{path.name}")
        os.close(place)
    return ()


def _terminal(path: Path) -> tuple[int, ...]:
    ours, theirs = pty.openpty()
    path.symlink_to(os.ttyname(theirs))
    return ours, theirs


def _link(target: str) -> Callable[[Path], tuple[int, ...]]:
    def make(path: Path) -> tuple[int, ...]:
        path.symlink_to(target)
        return ()

    return make


def _sparse(path: Path) -> tuple[int, ...]:
    """A terabyte of nothing."""
    with path.open("wb") as file:
        file.truncate(1 << 40)
    return ()


def _directory(path: Path) -> tuple[int, ...]:
    path.mkdir()
    return ()


STRANGE: dict[str, Callable[[Path], tuple[int, ...]]] = {
    "FIFO": _fifo,
    "FIFO with a silent writer": _silent_writer,
    "socket": _socket,
    "terminal": _terminal,
    "directory": _directory,
    "endless device": _link("/dev/zero"),
    "dangling link": _link("nothing"),
    "link to itself": lambda path: _link(path.name)(path),
    "huge file": _sparse,
}


@contextmanager
def strange(kind: str, path: Path) -> Iterator[None]:
    """Have ``kind`` stand at ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    held = STRANGE[kind](path)
    try:
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
