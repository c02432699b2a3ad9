"""The state file: what macmgr remembers, in /var/lib/macmgr, for the next process to find.

Hooks read it while libvirt waits, so it is one small JSON document; and nothing that is wrong with it may stop a
repair. It is written whole or not at all, under the writer lock, and a symbolic link, or a directory that belongs to
somebody else, is not followed. Why it holds what it holds: docs/adr/0004.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from macmgr import paths
from macmgr.filestamp import Stamp, stamp_at
from macmgr.planning.remembered import NOTHING, Memory
from macmgr.state.lock import WriterLock
from macmgr.state.owndirectory import own_directory
from macmgr.state.ownfiles import Broken, read_own, temporary_name, write_own
from macmgr.state.statedocument import document_of, parse_document

_LARGEST = 16 << 20  # a thousand ports are a third of a megabyte
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_ALL_THE_SAME = "ports are managed all the same, but 'macmgr release' will not know how they were"


@dataclass(slots=True)
class LastRead:
    """The file as it was last read, for a process that reads it again and again under the lock.

    It is written by renaming a new file into place, so another content is another inode.
    """

    stamp: Stamp | None = None
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
        try:
            self._namespaces = _read_again(self._path, self._known)
        except Broken as error:
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
            write_own(self._path, json.dumps(document_of(self._namespaces, _boot())))
        except OSError as error:
            self._tell(f"{self._path}: cannot be written: {_words(error)}; {_ALL_THE_SAME}")

    def _tell(self, problem: str) -> None:
        self.problem = self.problem or problem

    def _move_aside(self) -> None:
        with suppress(OSError), own_directory(self._path.parent) as directory:
            name = self._path.name
            os.rename(name, f"{name}.broken", src_dir_fd=directory, dst_dir_fd=directory)


def read_memory(
    netns: str | None = None, path: Path | None = None, known: LastRead | None = None
) -> tuple[Memory, str]:
    """What is remembered, for those who only look, and one line where it cannot be read."""
    path, known = path or paths.STATE, known or LastRead()
    try:
        return _read_again(path, known).get(netns or "", NOTHING), ""
    except Broken as error:
        return NOTHING, f"{error}; nothing is remembered"
    except OSError as error:
        return NOTHING, f"{path}: cannot be read: {_words(error)}; nothing is remembered"


def managed_ports(path: Path) -> list[str]:
    """The ports that were not given back, as ``PORT on BRIDGE``; none where no memory can be read."""
    try:
        namespaces = _read(path)
    except (Broken, OSError):
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
    for name in (path.name, temporary_name(path.name), f"{path.name}.broken"):
        with suppress(FileNotFoundError), own_directory(path.parent) as directory:
            os.unlink(name, dir_fd=directory)
            yield path.parent / name
    if path.parent.is_dir() and not path.parent.is_symlink() and not any(path.parent.iterdir()):
        path.parent.rmdir()
        yield path.parent


def _read_again(path: Path, known: LastRead) -> dict[str, Memory]:
    stamp = stamp_at(path, follow_symlinks=False)
    if stamp is None or known.stamp != stamp:
        known.namespaces = _read(path)
        known.stamp = stamp
    return known.namespaces


def _read(path: Path) -> dict[str, Memory]:
    """The memories of this boot by network namespace. Broken for what is no memory, OSError where none can be had."""
    data = read_own(path, _LARGEST)
    if data is None:
        return {}
    try:
        return parse_document(json.loads(data), _boot())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Broken(f"{path}: is not what macmgr wrote") from None


def _words(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _boot() -> str:
    return _BOOT_ID.read_text(encoding="ascii").strip()
