"""The files below one directory, on a disk that fails at a point, and forgets at a power cut what was not synced."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

from tests.faults.points import LOST_BY_POWER, Points, failure

Files = dict[str, bytes]
PLACES = ("etc", "runtime", "state")
_PATCHED = ("open", "fdopen", "close", "read", "fsync", "rename", "unlink", "mkdir", "fchmod", "listdir", "stat")


def files_below(root: Path) -> Files:
    """The content of each file that macmgr writes, by its path below ``root``."""
    found: Files = {}
    for place in PLACES:
        with suppress(FileNotFoundError), os.scandir(root / place) as there:
            found |= {f"{place}/{each.name}": Path(each.path).read_bytes() for each in there}
    return found


class FaultyDisk:
    """A with block in which calls for files below ``root`` are points. What is elsewhere is as ever."""

    def __init__(self, root: Path, points: Points) -> None:
        self._root, self._points = str(root), points
        self._real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in _PATCHED}
        self._flock = fcntl.flock
        self._opened: dict[int, str] = {}
        self._synced: dict[int, bytes] = {}  # by inode
        self._durable: dict[str, bytes] = {}

    def __enter__(self) -> FaultyDisk:
        for name, data in files_below(Path(self._root)).items():
            path = f"{self._root}/{name}"
            self._durable[path] = self._synced[os.stat(path).st_ino] = data  # noqa: PTH116
        for name in _PATCHED:
            setattr(os, name, getattr(self, f"_{name}"))
        fcntl.flock = self._locks
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, real in self._real.items():
            setattr(os, name, real)
        fcntl.flock = self._flock
        for descriptor in list(self._opened):
            if kind is not None:  # nobody has closed what a killed process had open
                with suppress(OSError):
                    os.close(descriptor)
        self._opened.clear()

    def after_power_cut(self, how: str) -> Files:
        """What is on the disk when the machine starts again, without what is in /run."""
        there = files_below(Path(self._root))
        if how.endswith(LOST_BY_POWER[0]):
            left = {path.removeprefix(f"{self._root}/"): data for path, data in self._durable.items()}
        elif how.endswith(LOST_BY_POWER[3]):
            left = there
        else:
            left = {}
            for name, data in there.items():
                synced = self._synced.get(os.stat(f"{self._root}/{name}").st_ino)  # noqa: PTH116
                half = data[: len(data) // 2] if how.endswith(LOST_BY_POWER[2]) else b""
                left[name] = synced if synced is not None else half
        return {name: data for name, data in left.items() if not name.startswith("runtime/")}

    def _place(self, path: Any, dir_fd: int | None = None) -> str | None:
        """The whole path of a file of ours."""
        if isinstance(path, int):
            return self._opened.get(path)
        name = os.fspath(path)
        name = os.fsdecode(name)
        if dir_fd is not None:
            return f"{self._opened[dir_fd]}/{name}" if dir_fd in self._opened else None
        return name if name.startswith(self._root) else None

    def _reach(self, kind: str, place: str | None) -> None:
        if place is None:
            return
        how = self._points.reach("file", kind)
        if how and not how.startswith("torn"):
            raise failure(how)

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        place = self._place(path, dir_fd)
        if place is not None:
            new = flags & os.O_CREAT and not os.path.lexists(place)
            self._reach("create" if new else "open", place)
        descriptor: int = self._real["open"](path, flags, mode, dir_fd=dir_fd)
        if place is not None:
            self._opened[descriptor] = place
        return descriptor

    def _close(self, descriptor: int) -> None:
        self._opened.pop(descriptor, None)
        self._real["close"](descriptor)

    def _fdopen(self, descriptor: int, mode: str = "r", *args: Any, **options: Any) -> Any:
        file = self._real["fdopen"](descriptor, mode, *args, **options)
        return _File(file, self) if descriptor in self._opened else file

    def _read(self, descriptor: int, length: int) -> bytes:
        self._reach("read", self._opened.get(descriptor))
        return cast("bytes", self._real["read"](descriptor, length))

    def _write(self, file: BinaryIO, data: bytes) -> int:
        how = self._points.reach("file", "write")
        if how.startswith("torn"):
            file.write(data[: len(data) // 2])
            raise failure(how.removeprefix("torn "))
        if how:
            raise failure(how)
        return file.write(data)

    def _fsync(self, descriptor: int) -> None:
        place = self._opened.get(descriptor)
        self._reach("fsync", place)
        self._real["fsync"](descriptor)
        if place is None:
            return
        if os.path.isdir(place):  # noqa: PTH112
            there = {f"{place}/{name}" for name in self._real["listdir"](place)}
            for path in [path for path in self._durable if os.path.dirname(path) == place and path not in there]:  # noqa: PTH120
                del self._durable[path]
            for path in there:
                if os.path.isfile(path):  # noqa: PTH113
                    self._durable[path] = self._synced.get(self._real["stat"](path).st_ino, b"")
        else:
            status = os.fstat(descriptor)
            self._synced[status.st_ino] = Path(place).read_bytes() if os.path.exists(place) else b""  # noqa: PTH110

    def _rename(self, old: Any, new: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
        self._reach("rename", self._place(new, dst_dir_fd))
        self._real["rename"](old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._reach("unlink", self._place(path, dir_fd))
        self._real["unlink"](path, dir_fd=dir_fd)

    def _mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        self._reach("mkdir", self._place(path, dir_fd))
        self._real["mkdir"](path, mode, dir_fd=dir_fd)

    def _fchmod(self, descriptor: int, mode: int) -> None:
        self._reach("fchmod", self._opened.get(descriptor))
        self._real["fchmod"](descriptor, mode)

    def _listdir(self, path: Any = ".") -> list[str]:
        self._reach("list", self._place(path))
        return cast("list[str]", self._real["listdir"](path))

    def _stat(self, path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
        if not isinstance(path, int):
            self._reach("stat", self._place(path, dir_fd))
        return cast("os.stat_result", self._real["stat"](path, dir_fd=dir_fd, follow_symlinks=follow_symlinks))

    def _locks(self, descriptor: Any, operation: int) -> None:
        self._reach("flock", self._opened.get(descriptor))
        self._flock(descriptor, operation)


class _File:
    """An opened file of ours."""

    def __init__(self, file: Any, disk: FaultyDisk) -> None:
        self._file, self._disk = file, disk

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._disk._opened.pop(self._file.fileno(), None)
        self._file.close()

    def fileno(self) -> int:
        return int(self._file.fileno())

    def write(self, data: bytes) -> int:
        return self._disk._write(self._file, data)

    def flush(self) -> None:
        self._file.flush()

    def read(self, size: int = -1) -> bytes:
        self._disk._reach("read", self._disk._opened.get(self._file.fileno()))
        return cast("bytes", self._file.read(size))
