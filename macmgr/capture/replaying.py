"""Reads a capture back, as the origin that verbs read. It comes from a stranger: each part is checked."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from macmgr.capture.archive import INDEX, read_capture
from macmgr.capture.origin import AnyKernel, Origin
from macmgr.capture.recordedkernel import RecordedKernel, check_snapshot
from macmgr.capture.records import from_json
from macmgr.config import Config
from macmgr.errors import CaptureError, ConfigError, KernelError, MacmgrError, NoPermission, NotThere, XmlError
from macmgr.model.devices import DeviceFacts
from macmgr.model.known import Memory
from macmgr.model.snapshot import Snapshot
from macmgr.safefiles import Stamp
from macmgr.state.observedfile import Read

FORMAT, VERSION = "macmgr capture", 1
ERRORS = {each.__name__: each for each in (NotThere, NoPermission, KernelError, ConfigError, XmlError, MacmgrError)}
_NEVER: Stamp = (0, 0, 0, 0, 0)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RecordedFiles:
    """libvirt's files of a capture, by their paths on the host.

    A document that could not be carried is the mistake that macmgr found in it, one that could not be read its errno.
    ``unlisted`` are directories that could not be read. With ``error``, nothing could.
    """

    definitions_directory: Path
    documents: Mapping[str, bytes | XmlError | int]
    unlisted: Mapping[str, int]
    error: MacmgrError | None = None

    def is_directory(self, path: Path) -> bool:
        if self.error is not None:
            raise self.error
        return True

    def definitions(self, run_dir: Path) -> Path:
        return self.definitions_directory

    def names(self, directory: Path) -> list[str]:
        if code := self.unlisted.get(str(directory)):
            raise OSError(code, os.strerror(code))
        parted = (path.rpartition("/") for path in self.documents)
        return [name for parent, _, name in parted if parent == str(directory)]

    def stamp(self, path: str) -> Stamp:
        return _NEVER

    def read(self, path: str) -> tuple[Stamp, bytes | XmlError]:
        document = self.documents.get(path, errno.ENOENT)
        if isinstance(document, int):
            raise OSError(document, os.strerror(document))
        return _NEVER, document

    def is_there(self, path: str) -> bool:
        return path in self.documents


def origin_of_capture(source: Path) -> Origin:
    """Returns the host that was captured. CaptureError in one line for what is no capture, or a torn one."""
    reader = _Reader(read_capture(source), str(source))
    try:
        return reader.origin()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"without {error}" if isinstance(error, KeyError) else str(error)
        raise CaptureError(f"{source}: {reader.at}: is not what 'macmgr capture' writes: {what}") from None


class _Reader:
    """Reads the documents of a capture. ``at`` is the one at hand."""

    def __init__(self, files: Mapping[str, bytes], where: str) -> None:
        self._files, self._where = files, where
        self.at = INDEX

    def origin(self) -> Origin:
        index = self._document(INDEX)
        if index["format"] != FORMAT:
            raise ValueError("the format is another one")
        if from_json(int, index["version"]) != VERSION:
            raise CaptureError(
                f"{self._where}: is a capture of version {index['version']}, and this macmgr reads version {VERSION}; "
                f"macmgr {from_json(str, index['versions']['macmgr'])[:20]} has written it"
            )
        taken = datetime.fromisoformat(from_json(str, index["taken_at"]))
        host = from_json(str, index["host"])
        known = self._document("memory.json")
        memory, problem = from_json(Memory, known["memory"]), from_json(str, known["problem"])
        seen, hooks = from_json(Read, known["seen"]), from_json(tuple[str, ...], known["hooks"])
        libvirt = self._document("libvirt.json")
        run_dir, ended = Path(from_json(str, libvirt["run_dir"])), from_json(frozenset[int], libvirt["ended"])
        return Origin(
            name=host,
            now=lambda: taken,
            run_dir=run_dir,
            files=self._libvirt(libvirt),
            config=self._or_error(self._document("config.json"), lambda said: from_json(Config, said["config"])),
            kernel=self._kernel(),
            memory=lambda: (memory, problem),
            seen=lambda: seen,
            hooks=lambda: hooks,
            has_process=lambda pid: pid not in ended,
        )

    def _libvirt(self, said: dict[str, Any]) -> RecordedFiles:
        documents = {from_json(str, each["path"]): self._written(each) for each in said["documents"]}
        unlisted = {from_json(str, path): from_json(int, code) for path, code in said["unlisted"].items()}
        definitions = Path(from_json(str, said["definitions"]))
        return RecordedFiles(definitions, documents, unlisted, _error(said))

    def _written(self, said: dict[str, Any]) -> bytes | XmlError | int:
        if "errno" in said:
            return from_json(int, said["errno"])
        if "mistake" in said:
            return XmlError(f"{said['path']}{from_json(str, said['mistake'])}")
        return self._content(from_json(str, said["file"]))

    def _kernel(self) -> Callable[[], AnyKernel]:
        devices = self._or_error(self._document("devices.json"), lambda said: from_json(DeviceFacts, said["devices"]))

        def read(said: dict[str, Any]) -> RecordedKernel:
            snapshot = from_json(Snapshot, said["snapshot"])
            check_snapshot(snapshot)
            try:
                return RecordedKernel(snapshot, devices())
            except MacmgrError as error:
                return RecordedKernel(snapshot, error)

        return self._or_error(self._document("kernel.json"), read)

    def _or_error(self, said: dict[str, Any], read: Callable[[dict[str, Any]], _T]) -> Callable[[], _T]:
        """Returns what gives the record, or raises the error that was met when it was read on the host."""
        if (error := _error(said)) is not None:

            def fail() -> NoReturn:
                raise error

            return fail
        record = read(said)
        return lambda: record

    def _document(self, name: str) -> dict[str, Any]:
        self.at = name
        try:
            return from_json(dict, json.loads(self._content(name), parse_constant=_no_number))
        except RecursionError:
            raise ValueError("it is nested too deeply") from None

    def _content(self, name: str) -> bytes:
        if name not in self._files:
            raise CaptureError(f"{self._where}: is torn: {name[:60]!r} is not in it")
        return self._files[name]


def _error(said: dict[str, Any]) -> MacmgrError | None:
    if "error" not in said:
        return None
    return ERRORS[from_json(str, said["error"]["kind"])](from_json(str, said["error"]["text"]))


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")
