"""libvirt's status files below /run/libvirt: the running domains and networks, read without asking libvirt.

``qemu/NAME.xml`` and ``lxc/NAME.xml`` hold a ``<domstatus>``, ``network/NET.xml`` a ``<networkstatus>``. libvirt writes
each as ``NAME.xml.new`` and renames it, so a file is whole or absent. The format is private to libvirt, and the files
hold passwords: read defensively and repeat nothing of them. Source: virDomainObjSave, virNetworkObjSaveStatus.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from macmgr.errors import KernelError, NoPermission, NotThere, XmlError
from macmgr.model.findings import Code, Finding
from macmgr.readers.document import MAX_BYTES, Reader, read_with
from macmgr.readers.domain import Domain, read_domain_status
from macmgr.readers.network import Network, NetworkPort, read_network, read_network_port, unread_network
from macmgr.safefiles import Stamp, open_regular, stamp_of

T = TypeVar("T")


DRIVERS = ("qemu", "lxc")
NOT_READ = "there was no time for it"
UNREAD = ": cannot be read: "  # in each message about a file that was not read


@dataclass(frozen=True, slots=True)
class First:
    """The domain whose file is read before all others. Once it is ``late``, no more of the others are read."""

    driver: str = ""
    domain: str = ""
    late: Callable[[], bool] = lambda: False


ANY = First()


@dataclass(frozen=True, slots=True)
class LibvirtState:
    """libvirt's state on one host: the running domains, the active networks and their ports by uuid.

    ``definitions`` are the persistent definitions of all networks, which hold from their next start on. A
    document that macmgr does not understand becomes a finding, and reading goes on. Such a network keeps its name and
    problem: its NICs are known, and their policy is not. ``without_process`` are domains by name, each with the process
    that its status file names and that is not here.
    """

    domains: tuple[Domain, ...] = ()
    networks: tuple[Network, ...] = ()
    findings: tuple[Finding, ...] = ()
    ports: Mapping[str, NetworkPort] = field(default_factory=dict)
    definitions: tuple[Network, ...] = ()
    without_process: Mapping[str, int] = field(default_factory=dict)


class Directory(NamedTuple):
    """A directory that libvirt's state is in: a change of its ``files``, or of its ``children``, changes the state.

    ``called`` is what people call a file in it.
    """

    path: Path
    files: bool = True
    children: bool = False
    called: str = "status file"


def directories(run_dir: Path) -> Iterator[Directory]:
    """Yields the directories that `StatusFiles` reads, there yet or not; each before it looks what is below it."""
    yield from (Directory(run_dir / driver) for driver in DRIVERS)
    yield Directory(run_dir / "network", children=True)
    yield Directory(definitions_directory(run_dir), called="definition")
    with suppress(OSError), os.scandir(run_dir / "network") as entries:
        for network in [Path(entry.path) for entry in entries if entry.is_dir()]:
            yield Directory(network, files=False, children=True)
            yield Directory(network / "ports")


def label(run_dir: Path, path: Path) -> str:
    """Returns the path below the run directory, safe to print: a guest's name can be any text."""
    relative = path.relative_to(run_dir) if path.is_relative_to(run_dir) else path
    text = os.fsencode(path if relative == Path() else relative).decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


class Files(Protocol):
    """The files that libvirt has written: of this machine, or of a capture."""

    def is_directory(self, path: Path) -> bool: ...

    def definitions(self, run_dir: Path) -> Path: ...

    def names(self, directory: Path) -> list[str]: ...

    def stamp(self, path: str) -> Stamp: ...

    def read(self, path: str) -> tuple[Stamp, bytes | XmlError]:
        """Returns the document; of one that a capture does not hold, the mistake that macmgr has found in it."""

    def is_there(self, path: str) -> bool: ...


class Disk:
    """The files of this machine."""

    def is_directory(self, path: Path) -> bool:
        return path.is_dir()

    def definitions(self, run_dir: Path) -> Path:
        return definitions_directory(run_dir)

    def names(self, directory: Path) -> list[str]:
        return os.listdir(directory)

    def stamp(self, path: str) -> Stamp:
        return stamp_of(os.stat(path))  # noqa: PTH116 - a thousand times in 5 ms

    def read(self, path: str) -> tuple[Stamp, bytes | XmlError]:
        descriptor, status = open_regular(path)
        try:
            # Python clears a larger buffer each time
            return stamp_of(status), os.read(descriptor, min(status.st_size, MAX_BYTES) + 1)
        finally:
            os.close(descriptor)

    def is_there(self, path: str) -> bool:
        return os.path.lexists(path)


class StatusFiles:
    """libvirt's status files below ``run_dir``. A file is read again only after it has changed.

    libvirt renames a new file into place for each change (virXMLSaveFile), so a changed file is another inode. Size and
    times catch the rest. For one thread. A domain that has ended keeps its file until libvirt notices, so
    ``process_is_here`` is asked each time.
    """

    def __init__(
        self, run_dir: Path, process_is_here: Callable[[int], bool] | None = None, files: Files | None = None
    ) -> None:
        self._run_dir = run_dir
        self._process_is_here = process_is_here or _process_is_here
        self._files = files or Disk()
        self._known: dict[str, tuple[Stamp, object]] = {}
        self._seen: dict[str, tuple[Stamp, object]] = {}
        self._last = LibvirtState()

    def read(self, first: First = ANY, *, definitions: bool = True) -> LibvirtState:
        """Reads all domains and active networks. Returns the very same record as last time if nothing has changed.

        A domain with an unreadable file still runs here: a finding reports that its wishes are unknown.

        NotThere if the directory does not exist (no libvirt on this host), NoPermission if it may not be read.
        """
        self._seen = {}
        state = self._read_all(first, definitions=definitions)
        self._known = self._seen
        if state != self._last:
            self._last = state
        return self._last

    def _read_all(self, first: First, *, definitions: bool) -> LibvirtState:
        run_dir = self._run_dir
        try:
            there = self._files.is_directory(run_dir)
        except PermissionError:
            raise NoPermission(f"{run_dir}: may not be read; libvirt's status files need root") from None
        except OSError as error:
            raise KernelError(f"{run_dir}{UNREAD}{error.strerror}; nothing was changed") from None
        if not there:
            raise NotThere(
                f"{run_dir}: no such directory; libvirt has not run on this host, or its status files are elsewhere "
                "(--run-dir)"
            )
        findings: list[Finding] = []
        networks = list(self._read(run_dir / "network", read_network, findings, unread_network))
        # A port's file holds what libvirt resolved for its NIC. Only trust needs it; the network's file gives the rest.
        # So a host with a thousand ports does not read them for nothing.
        trusting = [network for network in networks if network.trusts_somewhere]
        ports = [
            port
            for network in trusting
            for port in self._read(run_dir / "network" / network.name / "ports", read_network_port, findings)
        ]
        of_domains: list[Finding] = []
        domains: list[Domain] = []
        for driver in sorted(DRIVERS, key=lambda driver: (driver != first.driver, driver != "qemu")):
            domains += self._read(run_dir / driver, read_domain_status, of_domains, first=first)
        uuids = {port.uuid: port for port in ports}
        defined = tuple(self._definitions()) if definitions else ()
        ended = {each.name: each.pid for each in domains if each.pid and not self._process_is_here(each.pid)}
        return LibvirtState(tuple(domains), tuple(networks), (*of_domains, *findings), uuids, defined, ended)

    def _definitions(self) -> Iterator[Network]:
        """Reads the persistent definitions of networks, active or not, which hold from their next start on.

        A network has none if it is transient or a session's daemon runs it. A definition that is not understood counts
        as none: libvirt would not start with it, and nothing that runs depends on it.
        """
        directory = self._files.definitions(self._run_dir)
        names: list[str] = []
        with suppress(OSError):
            names = sorted(name for name in self._files.names(directory) if name.endswith(".xml"))
        for name in names:
            with suppress(OSError, ValueError):
                found = self._get(f"{directory}/{name}", read_network)
                if isinstance(found, Network) and f"{found.name}.xml" == name:
                    yield found

    def _get(self, path: str, reader: Reader[T]) -> T | Finding:
        """Returns the file's record, read now or before. FileNotFoundError as open() raises it."""
        known = self._known.get(path)
        if known is not None and known[0] == self._files.stamp(path):
            self._seen[path] = known
        else:
            self._seen[path] = self._read_file(path, reader)
        return self._seen[path][1]  # type: ignore[return-value] # each path is read by one reader

    def _read_file(self, path: str, reader: Reader[T]) -> tuple[Stamp, T | Finding]:
        """Returns the file's stamp, and its record or the finding about it."""
        stamp, data = self._files.read(path)
        note = f"look at {path}; libvirt has written it, and writes it again with its next change"
        return stamp, understood(reader, data, path, _domain(path, reader), note)

    def _read(
        self,
        directory: Path,
        reader: Reader[T],
        findings: list[Finding],
        instead: Callable[[str, str], T] | None = None,
        first: First = ANY,
    ) -> Iterator[T]:
        """Reads the files of a directory. ``instead`` makes the stand-in for a file that is not understood."""
        before_all = f"{first.domain}.xml"
        try:
            names = sorted(self._files.names(directory), key=lambda name: (name != before_all, name))
        except FileNotFoundError:
            return
        except PermissionError:
            raise NoPermission(f"{directory}: may not be read; libvirt's status files need root") from None
        except OSError as error:
            findings.append(Finding(Code.UNREADABLE_XML, f"{directory}{UNREAD}{error.strerror}"))
            return
        for name in names:
            if not name.endswith(".xml"):
                continue
            path = f"{directory}/{name}"
            try:
                if name != before_all and path not in self._known and first.late():
                    found: T | Finding = _unreadable(path, NOT_READ, reader)
                else:
                    found = self._get(path, reader)
            except FileNotFoundError:
                if not self._files.is_there(path):
                    continue  # the domain ended, or the network was destroyed, after the listing
                found = _unreadable(path, "it is a link that leads nowhere", reader)
            except PermissionError:
                raise NoPermission(f"{path}: may not be read; libvirt's status files need root") from None
            except OSError as error:
                found = _unreadable(path, str(error.strerror), reader)
            if isinstance(found, Finding):
                findings.append(found)
                if instead is not None:
                    yield instead(name.removesuffix(".xml"), found.message)
            else:
                yield found


def _process_is_here(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")  # noqa: PTH110 - a thousand times in 3 ms


def definitions_directory(run_dir: Path) -> Path:
    """Returns /etc/libvirt/qemu/networks for /run/libvirt; for a copy of one, the same place in a copy of the other."""
    return run_dir.resolve().parent.parent / "etc/libvirt/qemu/networks"


def _unreadable(path: str, why: str, reader: Reader[T]) -> Finding:
    return Finding(Code.UNREADABLE_XML, f"{path}{UNREAD}{why}", domain=_domain(path, reader))


def _domain(path: str, reader: Reader[T]) -> str | None:
    return os.path.basename(path).removesuffix(".xml") if reader is read_domain_status else None  # noqa: PTH119


def understood(reader: Reader[T], data: bytes | XmlError, where: str, domain: str | None, note: str) -> T | Finding:
    """Returns the record of a document, or the finding about one that is not understood, with what to do about it."""
    try:
        if isinstance(data, XmlError):
            raise data
        return read_with(reader, data, where)
    except XmlError as error:
        text = f"{error}; until that is fixed, the ports of {domain} are left as they are" if domain else str(error)
        return Finding(Code.UNREADABLE_XML, text, domain=domain, note=note)
