"""Watches libvirt's status directories by inotify for files renamed into place, written or deleted.

libvirt writes ``NAME.xml.new`` and renames it (virXMLSaveFile), so nearly every change is a rename. libvirt makes the
directories: they may come after us, go, and come again. A new directory is watched first and then reported as a reason
to look, so nothing that happened before the watch is missed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from errno import ENOENT, ENOSPC, ENOTDIR
from pathlib import Path

from inotify_simple import INotify, flags

from macmgr.errors import MacmgrError
from macmgr.sources.statusfiles import Directory, directories, label

EVERYTHING = "everything"
"""The reason to look after the kernel lost events."""

_FILES = flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE | flags.CLOSE_WRITE
_CHILDREN = flags.CREATE | flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE
_ITSELF = flags.DELETE_SELF | flags.MOVE_SELF
_NO_MORE = _ITSELF | flags.IGNORED | flags.UNMOUNT


class StatusDirectories:
    """Watches the directories that libvirt's state is in, there yet or not (`macmgr.sources.statusfiles`).

    Those of networks' definitions too: `virsh net-edit` changes what a network will be at its next start.

    A directory that cannot be watched is a reason to look, at the first `read` too; ``troubles`` lists these with the
    cause. Raises MacmgrError if none can be watched.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir.absolute()
        try:
            self._inotify = INotify(nonblocking=True)
        except OSError as error:
            raise MacmgrError(
                f"inotify: {error.strerror}; fs.inotify.max_user_instances limits how many there may be"
            ) from error
        self._watches: dict[int, Directory] = {}
        self.troubles: list[str] = []
        self._new_troubles: list[str] = []
        self._follow()

    def fileno(self) -> int:
        return int(self._inotify.fileno())

    def close(self) -> None:
        self._inotify.close()

    def read(self) -> list[str]:
        """Returns the reasons to look, in words, each once; empty if nothing happened."""
        reasons: dict[str, None] = {}
        moved = False
        for event in self._inotify.read(timeout=0):
            if event.mask & flags.Q_OVERFLOW:
                reasons[EVERYTHING] = None
                moved = True
                continue
            watch = self._watches.get(event.wd)
            if watch is None:
                continue  # its directory is no longer where it was
            if event.mask & _NO_MORE or event.mask & flags.ISDIR:
                moved = moved or watch.children or bool(event.mask & _NO_MORE)
            elif watch.files and event.name.endswith(".xml"):
                reasons[f"{watch.called} {label(self._run_dir, watch.path / event.name)}"] = None
        if moved:
            reasons |= dict.fromkeys(self._follow())
        reasons |= dict.fromkeys(self._new_troubles)
        self._new_troubles = []
        return list(reasons)

    def try_again(self) -> None:
        """Watches what could not be watched before. A look covers what happened there meanwhile."""
        if self.troubles:
            self._follow()

    def _follow(self) -> list[str]:
        """Watches what is there now and nothing else. Returns the directories that came and went."""
        reported, self.troubles = self.troubles, []
        before, added = self._watches, dict(self._added())
        below = {wd: watch for wd, watch in added.items() if watch.path not in self._run_dir.parents}
        self._watches = below or dict([*added.items()][-1:])
        came = [watch.path for wd, watch in self._watches.items() if wd not in before]
        here = {watch.path for watch in self._watches.values()}
        went = [watch.path for watch in before.values() if watch.path not in here]
        self._drop((before.keys() | added.keys()) - self._watches.keys())
        self._new_troubles += [trouble for trouble in self.troubles if trouble not in reported]
        return [
            f"directory {label(self._run_dir, path)} {what}"
            for paths, what in ((went, "is gone"), (came, "appeared"))
            for path in paths
            if path not in self._run_dir.parents
        ]

    def _added(self) -> Iterator[tuple[int, Directory]]:
        """Yields each existing directory with its watch; without the run directory, those on the way to it.

        A directory is watched before anything in it is looked for: the watch reports what comes after that.
        """
        run_dir = Directory(self._run_dir, files=False, children=True)
        if self._add(run_dir) is None:
            for path in reversed(self._run_dir.parents):
                if (wd := self._add(watch := run_dir._replace(path=path))) is None:
                    return
                yield wd, watch
        if (wd := self._add(run_dir)) is None:
            return
        yield wd, run_dir
        for watch in directories(self._run_dir):
            if (wd := self._add(watch)) is not None:
                yield wd, watch

    def _add(self, watch: Directory) -> int | None:
        """Returns the number of the watch, the old one for a watched directory; None if it cannot be watched."""
        mask = _ITSELF | flags.ONLYDIR | (_FILES if watch.files else 0) | (_CHILDREN if watch.children else 0)
        try:
            return int(self._inotify.add_watch(watch.path, mask))
        except OSError as error:
            if error.errno not in (ENOENT, ENOTDIR):
                limit = "; fs.inotify.max_user_watches limits how many there may be" * (error.errno == ENOSPC)
                self.troubles.append(f"{label(self._run_dir, watch.path)} cannot be watched: {error.strerror}{limit}")
            return None

    def _drop(self, wds: set[int]) -> None:
        for wd in wds:
            with suppress(OSError):  # it went with its directory
                self._inotify.rm_watch(wd)
