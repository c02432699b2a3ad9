"""The files of a capture: a directory, or one tar file, written whole or not at all, and read as a stranger's.

Nothing is unpacked: what is read stays in memory. A link, a device, a path that leads out, and more than a capture can
have are refused, before they take time or room.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import stat
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from macmgr.errors import CaptureError, KernelError, NotThere
from macmgr.phrases import system_words
from macmgr.safefiles import open_regular, read_regular

INDEX = "capture.json"
# A host with a thousand guests has 2,000 files of some 5 KB, and as much again of its kernel.
_MOST_FILES, _MOST_BYTES = 20_000, 256 << 20
_BLOCK = tarfile.BLOCKSIZE
_EXTENSIONS = (tarfile.XHDTYPE, tarfile.XGLTYPE)  # of what GNU tar and others write
_RENAMES = re.compile(rb"(?:path|size|sparse)[^\n]*=")
_DEEPEST = 6  # directories: libvirt/network/NET/ports/UUID.xml, below one of its own

Files = Mapping[str, bytes]
"""Contents by path, with a slash between its parts."""


def check_target(target: Path) -> None:
    """KernelError if something is there, or nothing can be put there: reading a host takes time."""
    if os.path.lexists(target):
        raise KernelError(f"{target}: is there already, and a capture replaces nothing; name another place")
    if not target.parent.is_dir():
        raise KernelError(f"{target}: cannot be written: {target.parent} is no directory")


def write_capture(target: Path, files: Files) -> None:
    """Writes the files, for their owner alone. KernelError if that fails; then nothing is left."""
    check_target(target)
    try:
        if target.suffix == ".tar":
            _write_tar(target, files)
        else:
            _write_directory(target, files)
    except OSError as error:
        raise KernelError(f"{target}: cannot be written: {system_words(error)}; nothing is left of it") from None


def _write_tar(target: Path, files: Files) -> None:
    descriptor, made = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
                for name, data in files.items():
                    member = tarfile.TarInfo(f"capture/{name}")
                    member.size, member.mode, member.mtime = len(data), 0o600, int(time.time())
                    archive.addfile(member, io.BytesIO(data))
            file.flush()
            os.fsync(file.fileno())
        check_target(target)
        Path(made).rename(target)
    except BaseException:
        Path(made).unlink(missing_ok=True)
        raise


def _write_directory(target: Path, files: Files) -> None:
    made = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        for name, data in files.items():
            path = made / name
            for parent in reversed(Path(name).parents[:-1]):
                (made / parent).mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
        check_target(target)
        made.rename(target)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def read_capture(source: Path) -> Files:
    """Reads all files of a capture. NotThere if nothing is there, CaptureError in one line if it is none."""
    try:
        found = source.stat()
    except OSError as error:
        raise NotThere(f"{source}: {system_words(error)}; --replay takes what 'macmgr capture' wrote") from None
    try:
        files = dict(_directory(source) if stat.S_ISDIR(found.st_mode) else _tar(source))
    except (OSError, ValueError) as error:
        why = system_words(error) if isinstance(error, OSError) else str(error)
        raise CaptureError(f"{source}: is no capture that can be read: {why}") from None
    tops = ["", *dict.fromkeys(f"{top}/" for top, slash, _ in (name.partition("/") for name in files) if slash)]
    for top in tops:
        if f"{top}{INDEX}" in files:
            return {name.removeprefix(top): data for name, data in files.items() if name.startswith(top)}
    raise CaptureError(f"{source}: is no capture: it has no {INDEX}")


class _Limits:
    """Counts files and bytes, and refuses more than a capture can have."""

    def __init__(self) -> None:
        self._files = self._bytes = 0

    def add(self, name: str, size: int) -> None:
        self._files += 1
        self._bytes += size
        parts = name.split("/")
        if name.startswith("/") or not all(parts) or {".", ".."}.intersection(parts) or "\0" in name:
            raise ValueError(f"the path {name[:60]!r} leads out of it")
        if self._files > _MOST_FILES or self._bytes > _MOST_BYTES or len(parts) > _DEEPEST:
            raise ValueError(f"it has more than {_MOST_FILES} files, or {_MOST_BYTES >> 20} MiB, or is too deep")


def _directory(source: Path) -> Iterator[tuple[str, bytes]]:
    limits, waiting = _Limits(), [(source, "")]
    while waiting:
        directory, prefix = waiting.pop()
        with os.scandir(directory) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            name = f"{prefix}{entry.name}"
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                limits.add(name, 0)
                waiting.append((Path(entry.path), f"{name}/"))
                continue
            if not stat.S_ISREG(status.st_mode):
                raise ValueError(f"{name[:60]!r} is a link, or no file")
            limits.add(name, status.st_size)
            yield name, read_regular(entry.path, status.st_size, follow=False)


def _tar(source: Path) -> Iterator[tuple[str, bytes]]:
    """Reads a tar file's headers itself: Python's older tarfile takes for ever over some that are made for it."""
    descriptor, status = open_regular(source)
    with os.fdopen(descriptor, "rb") as file:
        if status.st_size > 2 * _MOST_BYTES:
            raise ValueError(f"it is larger than {2 * _MOST_BYTES >> 20} MiB")
        limits, seen = _Limits(), set()
        while (header := _whole(file, _BLOCK)).strip(b"\0"):
            name, size, kind = _header(header)
            data = _whole(file, size)
            _whole(file, -size % _BLOCK)
            if kind in _EXTENSIONS and not _RENAMES.search(data):
                continue  # times and owners
            if kind not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE):
                raise ValueError(f"{name[:60]!r} is a link, or no file")
            if kind == tarfile.DIRTYPE and name == ".":
                continue
            limits.add(name, size)
            if name in seen:
                raise ValueError(f"{name[:60]!r} is in it twice")
            seen.add(name)
            if kind != tarfile.DIRTYPE:
                yield name, data


def _header(block: bytes) -> tuple[str, int, bytes]:
    """Returns name, size and kind: POSIX's ustar, and what GNU tar writes like it."""
    size, checksum = (int(block[place].strip(b" \0") or b"0", 8) for place in (slice(124, 136), slice(148, 156)))
    if sum(block) - sum(block[148:156]) + 8 * ord(" ") != checksum:
        raise ValueError("it is no tar file")
    parts = [block[:100].partition(b"\0")[0]]
    if block[257:263] == b"ustar\0" and (prefix := block[345:500].partition(b"\0")[0]):
        parts.insert(0, prefix)
    if not 0 <= size <= _MOST_BYTES:
        raise ValueError("a file in it is too large")
    return os.fsdecode(b"/".join(parts)).removeprefix("./").rstrip("/") or ".", size, block[156:157]


def _whole(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise ValueError("it ends too early")
    return data
