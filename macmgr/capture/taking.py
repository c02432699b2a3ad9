"""Takes a capture: runs the readers of the verbs, and keeps what they were given.

What cannot be read is in the capture too, as the error that the verbs report, so that a replay ends as they end here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from macmgr.capture.archive import INDEX
from macmgr.capture.origin import Origin
from macmgr.capture.records import in_lines, to_json
from macmgr.capture.redaction import redacted
from macmgr.capture.renaming import Renaming, make_renaming, stations_in
from macmgr.capture.replaying import ERRORS, FORMAT, VERSION
from macmgr.errors import MacmgrError, XmlError, unexpected
from macmgr.model.findings import Finding
from macmgr.model.known import Memory
from macmgr.model.snapshot import Snapshot
from macmgr.planning.remembering import of_same_ports
from macmgr.readers.document import Reader
from macmgr.readers.domain import read_domain_status
from macmgr.readers.network import read_network, read_network_port
from macmgr.safefiles import Stamp
from macmgr.sources.statusfiles import DRIVERS, Files, StatusFiles, understood

_LONGEST = 90  # bytes of a path that any tar file can hold
_NOT_CARRIED = ": is left out of the capture: what it may hold besides cannot be told from what macmgr reads"


@dataclass(frozen=True, slots=True)
class Taken:
    """The files of a capture, what it lacks, in lines for people, and what the names were given."""

    files: Mapping[str, bytes]
    lacks: tuple[str, ...]
    domains: int
    snapshot: Snapshot
    renaming: Renaming


@dataclass(slots=True)
class _Recorder:
    """Passes libvirt's files on, and keeps what was read: an errno for what could not be."""

    inner: Files
    documents: dict[str, bytes | XmlError | int] = field(default_factory=dict)
    unlisted: dict[str, int] = field(default_factory=dict)
    listed: dict[str, list[str]] = field(default_factory=dict)

    def is_directory(self, path: Path) -> bool:
        return self.inner.is_directory(path)

    def definitions(self, run_dir: Path) -> Path:
        return self.inner.definitions(run_dir)

    def names(self, directory: Path) -> list[str]:
        try:
            self.listed[str(directory)] = self.inner.names(directory)
        except OSError as error:
            if not isinstance(error, FileNotFoundError | PermissionError):
                self.unlisted[str(directory)] = error.errno or 0
            raise
        return self.listed[str(directory)]

    def stamp(self, path: str) -> Stamp:
        return self.inner.stamp(path)

    def read(self, path: str) -> tuple[Stamp, bytes | XmlError]:
        try:
            stamp, document = self.inner.read(path)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self.documents[path] = error.errno or 0
            raise
        self.documents[path] = document
        return stamp, document

    def is_there(self, path: str) -> bool:
        there = self.inner.is_there(path)
        if there:
            self.documents[path] = 2  # ENOENT: a link that leads nowhere
        return there


def take(
    origin: Origin, versions: Mapping[str, str], settled: Callable[[Snapshot], Snapshot], *, anonymous: bool
) -> Taken:
    """Reads all that the verbs read. ``settled`` looks entries up that one reading of an FDB may miss."""
    recorder = _Recorder(origin.files)
    errors: dict[str, MacmgrError] = {}
    bugs: list[str] = []

    def met(name: str, read: Callable[[], Any], otherwise: Any = None) -> Any:
        try:
            return read()
        except MacmgrError as error:
            errors[name] = error
        except Exception as error:  # noqa: BLE001 - a bug is what a capture is for
            bugs.append(f"{name}: {unexpected(error)}")
            if name != "libvirt":  # its documents are there: a replay meets the bug as the verbs do here
                errors[name] = unexpected(error)
        return otherwise

    state = met("libvirt", StatusFiles(origin.run_dir, origin.has_process, recorder).read)
    config = met("config", origin.config)
    memory, problem = origin.memory()
    seen, hooks = origin.seen(), origin.hooks()
    snapshot = met("kernel", lambda: settled(_read_kernel(origin, memory)), Snapshot())
    devices = met("devices", lambda: _read_devices(origin))

    definitions = origin.files.definitions(origin.run_dir)
    documents = [_document(path, said, origin.run_dir, definitions) for path, said in recorder.documents.items()]
    known = to_json(memory), to_json(seen)
    kernel = to_json(snapshot), to_json(devices)
    renaming = Renaming({}, {})
    if anonymous:
        values = [("host", origin.name), *_names(recorder, origin.run_dir, definitions), *_values(documents)]
        values += [(kind, each) for kind, each in _remembered(memory)]
        values += [("uuid", each.uuid) for each in seen.records]
        sources = stations_in(member.source for mdb in snapshot.mdb.values() for member in mdb.members)
        hosts = {host for each in devices.devices.values() for hosts in each.behind.values() for host in hosts}
        renaming = make_renaming(values, [*known, *kernel, to_json(config)], sources | hosts)

    def said(name: str, value: Any) -> dict[str, Any]:
        error = errors.get(name)
        if error is None:
            return {name if name != "kernel" else "snapshot": renaming.in_json(value)}
        kind = next(each.__name__ for each in type(error).__mro__ if each.__name__ in ERRORS)
        return {"error": {"kind": kind, "text": renaming.in_sentence(str(error))}}

    files: dict[str, bytes] = {}
    libvirt = {
        "run_dir": str(origin.run_dir),
        "definitions": str(definitions),
        "documents": [each.written(renaming, files) for each in documents],
        "unlisted": {_unlisted(path, origin.run_dir, renaming): code for path, code in recorder.unlisted.items()},
        "ended": sorted(state.without_process.values()) if state is not None else [],
        **(said("libvirt", None) if "libvirt" in errors else {}),
    }
    lacks = (
        *(f"{name}: {error}" for name, error in errors.items()),
        *(each for each in bugs if each.startswith("libvirt")),
        *(f"words in {each.path} that macmgr does not know" for each in documents if each.differs),
    )
    index = {
        "format": FORMAT,
        "version": VERSION,
        "taken_at": origin.now().isoformat(),
        "host": renaming.renamed("host", origin.name),
        "anonymous": anonymous,
        "versions": dict(versions),
        "lacks": [renaming.in_sentence(each) for each in lacks],
    }
    written = {
        INDEX: index,
        "config.json": said("config", to_json(config)),
        "kernel.json": said("kernel", kernel[0]),
        "devices.json": said("devices", kernel[1]),
        "memory.json": {
            "memory": renaming.in_records(known[0]),
            "problem": renaming.in_sentence(problem),
            "seen": renaming.in_records(known[1]),
            "hooks": list(hooks),
        },
        "libvirt.json": libvirt,
    }
    as_text = {name: f"{in_lines(each)}\n".encode() for name, each in written.items()}
    return Taken({**as_text, **files}, lacks, len(state.domains) if state is not None else 0, snapshot, renaming)


def _read_kernel(origin: Origin, memory: Memory) -> Snapshot:
    with origin.kernel() as kernel:
        snapshot = kernel.read_groups(kernel.read_snapshot(whole=True))
        taken = of_same_ports(memory.taken, snapshot)
        return replace(snapshot, refreshed=kernel.refreshed([each.key for each in taken], snapshot))


def _read_devices(origin: Origin) -> Any:
    with origin.kernel() as kernel:
        return kernel.read_devices()


Below = tuple[str, ...]
"""The parts of a path below libvirt's run directory; of a definition, a mark and its name."""

_DEFINITIONS = "definitions"


@dataclass(frozen=True, slots=True)
class _Document:
    """A file of libvirt's, or the errno of reading it. ``mistake`` is the one that keeps it out of the capture."""

    directory: str
    below: Below
    data: bytes | int
    mistake: str = ""
    differs: bool = False

    @property
    def path(self) -> str:
        return f"{self.directory}/{'/'.join(self.below[-1:] if self.below[0] == _DEFINITIONS else self.below)}"

    def written(self, renaming: Renaming, files: dict[str, bytes]) -> dict[str, Any]:
        """Returns its line in the list, and puts its content into ``files``."""
        here = replace(self, below=tuple(_renamed(self.below, renaming)))
        said: dict[str, Any] = {"path": here.path}
        if isinstance(self.data, int):
            return said | {"errno": self.data}
        if self.mistake:
            return said | {"mistake": renaming.in_sentence(self.mistake)}
        place = "/".join(here.below if here.below[0] == _DEFINITIONS else ("libvirt", *here.below))
        if len(os.fsencode(place)) > _LONGEST:
            place = f"libvirt/{len(files):06d}.xml"
        files[place] = redacted(self.data, renaming.renamed)
        return said | {"file": place}


def _document(path: str, said: bytes | XmlError | int, run_dir: Path, definitions: Path) -> _Document:
    """Carries a document if macmgr reads the same from what is kept of it; else the mistake in it."""
    directory, below = _place(path, run_dir, definitions)
    if isinstance(said, XmlError):
        return _Document(directory, below, b"", str(said).removeprefix(path))
    if isinstance(said, int):
        return _Document(directory, below, said)
    reader = _reader_of(below)
    try:
        found = understood(reader, said, path, None, "")
    except Exception:  # noqa: BLE001 - a bug in the reader: the document is what shows it
        return _Document(directory, below, said, differs=True)
    try:
        carried = understood(reader, redacted(said), path, None, "")
    except ValueError:
        carried = None
    if found == carried:
        return _Document(directory, below, said)
    if isinstance(found, Finding):
        return _Document(directory, below, b"", found.message.removeprefix(path))
    if carried is None or isinstance(carried, Finding):
        return _Document(directory, below, b"", _NOT_CARRIED, differs=True)
    return _Document(directory, below, said, differs=True)


def _place(path: str, run_dir: Path, definitions: Path) -> tuple[str, Below]:
    directory, _, name = path.rpartition("/")
    if directory == str(definitions):
        return directory, (_DEFINITIONS, name)
    return str(run_dir), Path(path).relative_to(run_dir).parts


def _renamed(below: Below, renaming: Renaming) -> Iterator[str]:
    for part, kind in zip(below, _kinds(below), strict=True):
        stem, dot, suffix = part.rpartition(".") if part.endswith(".xml") else (part, "", "")
        yield f"{renaming.renamed(kind, stem)}{dot}{suffix}"


def _kinds(below: Below) -> tuple[str, ...]:
    """What each part of a path names: libvirt's own directories, or a domain, a network, a port's uuid."""
    if below[:1] and below[0] in DRIVERS:
        return ("", "domain")[: len(below)]
    return ("", "network", "", "uuid")[: len(below)]


def _reader_of(below: Below) -> Reader[Any]:
    """The reader that `StatusFiles` has for a path below the run directory."""
    if below[0] in DRIVERS:
        return read_domain_status
    return read_network_port if len(below) > 2 else read_network


def _names(recorder: _Recorder, run_dir: Path, definitions: Path) -> Iterator[tuple[str, str]]:
    """The names that libvirt's files have, whether or not they could be read."""
    for directory, names in recorder.listed.items():
        for name in names:
            _, below = _place(f"{directory}/{name}", run_dir, definitions)
            yield _kinds(below)[-1], name.removesuffix(".xml")


def _unlisted(path: str, run_dir: Path, renaming: Renaming) -> str:
    below = Path(path).relative_to(run_dir).parts if Path(path).is_relative_to(run_dir) else None
    return path if below is None else str(run_dir.joinpath(*_renamed(below, renaming)))


def _values(documents: list[_Document]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []

    def note(kind: str, value: str) -> str:
        found.append((kind, value))
        return value

    for each in documents:
        if isinstance(each.data, bytes) and not each.mistake:
            redacted(each.data, note)
    return found


def _remembered(memory: Memory) -> Iterator[tuple[str, str]]:
    for port in memory.ports:
        yield from (("domain", port.domain), ("uuid", port.uuid))
    for mac in memory.macs:
        yield "domain", mac.domain
