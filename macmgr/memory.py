"""The state file: what macmgr remembers, in /var/lib/macmgr, for the next process to find.

Hooks read it while libvirt waits, so it is one small JSON document; and nothing that is wrong with it may stop a
repair. It is written whole or not at all, under the writer lock, and a symbolic link, or a directory that belongs to
somebody else, is not followed. Why it holds what it holds: docs/adr/0004.
"""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from macmgr import paths
from macmgr.lock import WriterLock
from macmgr.owndirectory import own_directory
from macmgr.remembered import NOTHING, Memory
from macmgr.statedocument import document_of, parse_document

_LARGEST = 16 << 20  # a thousand ports are a third of a megabyte
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_ALL_THE_SAME = "ports are managed all the same, but 'macmgr release' will not know how they were"


@dataclass(slots=True)
class LastRead:
    """The file as it was last read, for a process that reads it again and again under the lock.

    It is written by renaming a new file into place, so another content is another inode.
    """

    stamp: tuple[int, ...] | None = None
    namespaces: dict[str, Memory] = field(default_factory=dict)


class StateFile:
    """The memory of one network namespace, for the one writer that holds the lock.

    ``problem`` is one line about the first thing that went wrong, empty while all is well.
    """

    def __init__(
        self,
        _lock: WriterLock,
        netns: str | None = None,
        path: Path | None = None,
        known: LastRead | None = None,
    ) -> None:
        self.problem = ""
        self._netns = netns or ""
        self._path = path or paths.STATE
        self._namespaces: dict[str, Memory] = {}
        self._writable = True
        self._known = known or LastRead()

    def read(self) -> Memory:
        """What is remembered; nothing where the file is broken, which is then moved aside."""
        stamp = _stamp(self._path)
        if stamp is not None and self._known.stamp == stamp:
            self._namespaces = self._known.namespaces
            return self._namespaces.get(self._netns, NOTHING)
        try:
            self._namespaces = _read(self._path)
            self._known.stamp, self._known.namespaces = stamp, self._namespaces
        except _Broken as error:
            self._tell(f"{error}; it is moved to {self._path.name}.broken, and {_ALL_THE_SAME}")
            self._move_aside()
        except OSError as error:
            # what is there may be good, and is not to be replaced by what little this process knows
            self._writable = False
            self._tell(f"{self._path}: cannot be read: {_words(error)}; {_ALL_THE_SAME}")
        return self._namespaces.get(self._netns, NOTHING)

    def keep(self, memory: Memory) -> None:
        """Write the memory down, if it is another than the one that is there."""
        if not self._writable or self._namespaces.get(self._netns, NOTHING) == memory:
            return
        self._namespaces = {**self._namespaces, self._netns: memory}
        try:
            _write(self._path, document_of(self._namespaces, _boot()))
        except OSError as error:
            self._tell(f"{self._path}: cannot be written: {_words(error)}; {_ALL_THE_SAME}")

    def _tell(self, problem: str) -> None:
        self.problem = self.problem or problem

    def _move_aside(self) -> None:
        with suppress(OSError), own_directory(self._path.parent) as directory:
            name = self._path.name
            os.rename(name, f"{name}.broken", src_dir_fd=directory, dst_dir_fd=directory)


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def read_memory(netns: str | None = None, path: Path | None = None) -> tuple[Memory, str]:
    """What is remembered, for those who only look, and one line where it cannot be read."""
    path = path or paths.STATE
    try:
        return _read(path).get(netns or "", NOTHING), ""
    except _Broken as error:
        return NOTHING, f"{error}; nothing is remembered"
    except OSError as error:
        return NOTHING, f"{path}: cannot be read: {_words(error)}; nothing is remembered"


def managed_ports(path: Path) -> list[str]:
    """The ports that were not given back, as ``PORT on BRIDGE``; none where no memory can be read."""
    try:
        namespaces = _read(path)
    except (_Broken, OSError):
        return []
    # elsewhere than in our own namespace nobody can tell from here whether the port still exists
    return [
        f"{each.port} on {each.bridge}"
        for name, memory in namespaces.items()
        for each in memory.ports
        if name or _ifindex(each.port) == each.ifindex
    ]


def _ifindex(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def remove(path: Path) -> Iterator[Path]:
    """Remove the file, what was moved aside, and the directory where nothing else is in it."""
    for name in (path.name, _temporary(path.name), f"{path.name}.broken"):
        with suppress(FileNotFoundError), own_directory(path.parent) as directory:
            os.unlink(name, dir_fd=directory)
            yield path.parent / name
    if path.parent.is_dir() and not path.parent.is_symlink() and not any(path.parent.iterdir()):
        path.parent.rmdir()
        yield path.parent


class _Broken(Exception):
    """The file is there and is not what macmgr writes."""


def _read(path: Path) -> dict[str, Memory]:
    """The memories of this boot by network namespace. _Broken for what is no memory, OSError where none can be had."""
    try:
        with own_directory(path.parent) as directory:
            if stat.S_ISLNK(os.stat(path.name, dir_fd=directory, follow_symlinks=False).st_mode):
                raise _Broken(f"{path}: is a symbolic link, which is not followed")
            # O_NONBLOCK: a FIFO of that name must not hold a hook
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with os.fdopen(os.open(path.name, flags, dir_fd=directory), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise _Broken(f"{path}: is not a regular file")
                data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        return {}
    try:
        return parse_document(json.loads(data), _boot()) if len(data) <= _LARGEST else _refuse("is too large")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _Broken(f"{path}: is not what macmgr wrote") from None


def _refuse(why: str) -> dict[str, Memory]:
    raise ValueError(why)


def _write(path: Path, document: dict[str, Any]) -> None:
    """Replace the file by a new one: a reader, or the next boot, finds the one or the other, and never a part."""
    with suppress(FileExistsError):
        path.parent.mkdir(0o700)
    with own_directory(path.parent, mode=0o700) as directory:
        temporary = _temporary(path.name)
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)  # of a writer that was killed; there is one writer at a time
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=directory), "w", encoding="utf-8") as file:
            file.write(json.dumps(document))
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)


def _temporary(name: str) -> str:
    return f".{name}.new"


def _words(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _boot() -> str:
    return _BOOT_ID.read_text(encoding="ascii").strip()
