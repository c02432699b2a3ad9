"""The state file in /var/lib/macmgr: the memory for macmgr's next process.

Hooks read it while libvirt waits, so it is one small JSON document. No fault in it may stop a repair. It is written
whole or not at all, under the writer lock. A symbolic link, or a directory of another user, is not followed. Reasons
for its contents: docs/adr/0004.

A mark in /run shows that a memory was written in this boot. Without it, a lost memory would look like one that never
existed, and macmgr's own work would pass for the state before it (docs/adr/0004).
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from macmgr import paths
from macmgr.errors import MacmgrError
from macmgr.model.known import NOTHING, Memory
from macmgr.phrases import system_words
from macmgr.safefiles import Broken, OtherVersion, Stamp, own_directory, read_own, stamp_of, temporary_name, write_own
from macmgr.state.lock import WriterLock
from macmgr.state.statedocument import VERSION, document_of, is_newer, is_of_boot, parse_document

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_SMALL = 256
_WHOLE, _LOST = "whole", "lost"


def mark_of(path: Path) -> Path:
    return paths.REMEMBERED if path == paths.STATE else path.parent.with_name(f"{path.parent.name}.remembered")


def is_lost(mark: Path, *, there: bool) -> bool:
    """The memory (``there`` or not) lacks something that was to be remembered in this boot."""
    try:
        booted, _, how = (read_own(mark, _SMALL) or b"").decode("ascii").partition(" ")
        return booted == boot() and (how != _WHOLE or not there)
    except (Broken, OSError, ValueError):
        return False


def leave_mark(mark: Path, *, lost: bool) -> None:
    """Marks that a memory was written, or that it was ``lost``. If this fails, the fact is not known later."""
    with suppress(Broken, OSError):
        text = f"{boot()} {_LOST if lost else _WHOLE}"
        if read_own(mark, _SMALL) != text.encode():
            write_own(mark, text, mode=0o755)


def boot() -> str:
    return _BOOT_ID.read_text(encoding="ascii").strip()


_LARGEST = 16 << 20  # a thousand ports are a third of a megabyte
_DEFAULT = "ports are still managed, but 'macmgr release' gives the default back where nothing is remembered"


@dataclass(frozen=True, slots=True)
class _Memories:
    """The memories of all network namespaces. ``lost``: this boot had more, in a file that no longer exists.

    ``document`` is what they were read from: a newer macmgr may have written more than these.
    """

    namespaces: Mapping[str, Memory] = field(default_factory=dict)
    lost: bool = False
    document: Mapping[str, Any] = field(default_factory=dict)

    def of(self, netns: str) -> Memory:
        return replace(self.namespaces.get(netns, NOTHING), lost=self.lost)

    def with_one(self, netns: str, memory: Memory) -> _Memories:
        namespaces = {**self.namespaces, netns: replace(memory, lost=False)}
        return _Memories(namespaces, self.lost or memory.lost, self.document)


@dataclass(slots=True)
class LastRead:
    """The file as last read, for a process that reads it repeatedly under the lock."""

    stamp: Stamp | None = None
    memories: _Memories = field(default_factory=_Memories)


class StateFile:
    """The memory of one network namespace, for the one writer that holds the lock.

    ``problem`` is one line about the first failure, empty while all is well.
    """

    def __init__(
        self,
        _lock: WriterLock,
        netns: str | None = None,
        path: Path | None = None,
        known: LastRead | None = None,
        *,
        watched: bool = False,
    ) -> None:
        self.problem = ""
        self._netns = netns or ""
        self._path = path or paths.STATE
        self._mark = mark_of(self._path)
        self._memories = _Memories()
        self._writable, self._missing = True, False
        self._known = known or LastRead()
        self._watched = watched

    @contextmanager
    def told(self) -> Iterator[None]:
        """A run that fails after its memory was not written says both: nothing else reports it later."""
        try:
            yield
        except MacmgrError as error:
            if self.problem:
                error.args = (f"{error}; {self.problem}",)
            raise

    def read(self) -> Memory:
        """Returns the memory. A broken file is moved aside; then the memory is empty, and marked as lost.

        A file that may be good is not replaced by the little that this process knows: one that cannot be read now, or
        the whole document of another version.
        """
        try:
            self._memories = _read_again(self._path, self._known, self._mark)
            self._missing = self._memories.lost and self._known.stamp is None
            if self._missing:
                self._report(f"{self._path}: is missing, though it was written since the host was started; {_DEFAULT}")
        except Broken as error:
            self._memories = _Memories(lost=True)
            self._report(f"{error}; it is moved to {self._path.name}.broken, and {_DEFAULT}")
            self._move_aside()
            leave_mark(self._mark, lost=True)
        except OtherVersion as error:
            self._memories, self._writable = _Memories(lost=True), False
            self._report(f"{error} and is left as it is: nothing is written down; {_DEFAULT}")
        except OSError as error:
            self._memories, self._writable = _Memories(lost=True), False
            self._report(f"{self._path}: cannot be read: {system_words(error)}; {_DEFAULT}")
        memory = self._memories.of(self._netns)
        return replace(memory, watched=True) if self._watched else memory

    def keep(self, memory: Memory) -> None:
        """Writes the memory down if it has changed.

        If that fails, a mark elsewhere warns the next process that something is missing.
        """
        if self._memories.of(self._netns) == memory and not self._missing:
            return
        if not self._writable and not memory.ports and not memory.released:
            return  # no port is to be remembered, so nothing is lost
        self._missing = False
        memories = self._memories.with_one(self._netns, memory)
        why: OSError | None = None
        if self._writable:
            try:
                document = document_of(memories.namespaces, boot(), lost=memories.lost, before=memories.document)
                write_own(self._path, json.dumps(document))
                self._memories = memories
            except OSError as error:
                why = error
                self._report(f"{self._path}: cannot be written: {system_words(error)}; {_DEFAULT}")
        leave_mark(self._mark, lost=memories.lost or why is not None)

    def _report(self, problem: str) -> None:
        self.problem = self.problem or problem

    def _move_aside(self) -> None:
        with suppress(OSError), own_directory(self._path.parent) as directory:
            name = self._path.name
            os.rename(name, f"{name}.broken", src_dir_fd=directory, dst_dir_fd=directory)


def read_memory(
    netns: str | None = None, path: Path | None = None, known: LastRead | None = None
) -> tuple[Memory, str]:
    """Returns the memory for a caller that only looks, and one line if it cannot be read."""
    path, known = path or paths.STATE, known or LastRead()
    unknown = Memory(lost=True)
    try:
        return _read_again(path, known, mark_of(path)).of(netns or ""), ""
    except (Broken, OtherVersion) as error:
        return unknown, f"{error}; nothing is remembered"
    except OSError as error:
        return unknown, f"{path}: cannot be read: {system_words(error)}; nothing is remembered"


def managed_ports(path: Path) -> list[str]:
    """Returns the ports not yet released, as ``PORT on BRIDGE``; none if no memory can be read."""
    try:
        namespaces = _read(path).namespaces
    except (Broken, OtherVersion, OSError):
        return []
    # In another network namespace nobody can see from here whether the port still exists.
    return [
        f"{each.port} on {each.bridge}"
        for name, memory in namespaces.items()
        for each in memory.ports
        if name or _ifindex(each.port) == each.ifindex
    ]


def is_another_macmgrs(path: Path) -> bool:
    """The memory is the whole document of another version, which may come back for it."""
    try:
        _read(path)
    except OtherVersion:
        return True
    except (Broken, OSError):
        pass
    return False


def _ifindex(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def remove(path: Path) -> Iterator[Path]:
    """Removes the file, the broken file that was moved aside, and the directory if it is empty."""
    for name in (path.name, temporary_name(path.name), f"{path.name}.broken"):
        with suppress(FileNotFoundError), own_directory(path.parent) as directory:
            os.unlink(name, dir_fd=directory)
            yield path.parent / name
    mark = mark_of(path)
    with suppress(FileNotFoundError), own_directory(mark.parent) as directory:
        os.unlink(mark.name, dir_fd=directory)
    if path.parent.is_dir() and not path.parent.is_symlink() and not any(path.parent.iterdir()):
        path.parent.rmdir()
        yield path.parent


def _read_again(path: Path, known: LastRead, mark: Path) -> _Memories:
    stamp = _stamp(path)
    if stamp is None or known.stamp != stamp:
        known.memories = _read(path)
        known.stamp = stamp
    return (
        replace(known.memories, lost=True)
        if not known.memories.lost and is_lost(mark, there=stamp is not None)
        else known.memories
    )


def _stamp(path: Path) -> Stamp | None:
    """Returns None only where no file is: one that cannot be looked at for a moment is not missing (OSError)."""
    try:
        return stamp_of(path.stat(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _read(path: Path) -> _Memories:
    """Reads the memories of this boot by network namespace.

    Broken for a file that is no memory, OtherVersion for another macmgr's, OSError if it cannot be read.
    """
    data = read_own(path, _LARGEST)
    if data is None:
        return _Memories()
    try:
        document = json.loads(data)
        if not is_of_boot(document, boot()):
            return _Memories()  # another version's too: nobody can use it again
        if is_newer(document["version"], VERSION):
            raise OtherVersion(f"{path}: is another macmgr's (version {document['version']})")
        return _Memories(*parse_document(document, boot()), document)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Broken(f"{path}: is not what macmgr wrote") from None
