"""libvirt's API: changes a network's definition, and reads hosts without status files.

Only this module uses libvirt-python, which is optional and imported on use. No hook calls it: the hook would wait for
the daemon, and the daemon waits for the hook. It runs no event loop and no thread. libvirt's error message becomes one
line of ours, and never reaches stderr by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import urlsplit

from macmgr import virsh
from macmgr.errors import NotThere, XmlError, did_you_mean
from macmgr.model.findings import Finding
from macmgr.paths import LIBVIRT_URI
from macmgr.readers.document import Reader, read_with
from macmgr.readers.domain import STATES, Domain, read_domain
from macmgr.readers.network import Network, NetworkPort, read_network, read_network_port, unread_network
from macmgr.sources.statusfiles import LibvirtState, understood

T = TypeVar("T")

_CONTAINERS = "lxc:///system"
# The status files call virDomainPausedReason 2 "migration". The policy needs no other reason.
_PAUSED, _MIGRATION = 3, 2


@dataclass(frozen=True, slots=True)
class Hypervisor:
    uri: str
    connection: Any


@dataclass(frozen=True, slots=True)
class Definition:
    """The two forms of one network as XML text: the running one, and the one that holds from its next start.

    ``active`` is empty while the network is not active. ``persistent`` is empty if libvirt keeps no definition (a
    transient network), or if its driver cannot show both forms (the test driver).
    """

    name: str
    active: str
    persistent: str
    transient: bool


@contextmanager
def connect(uri: str, *, read_only: bool = False) -> Iterator[Hypervisor]:
    """Connects to libvirt for the length of a ``with`` block. NotThere, with libvirt's message, if that fails."""
    libvirt = load_libvirt()
    with _in_one_line("cannot connect", uri, "is libvirtd, or virtqemud, running?"):
        connection = libvirt.openReadOnly(uri) if read_only else libvirt.open(uri)
    try:
        yield Hypervisor(uri, connection)
    finally:
        # If the daemon went away meanwhile, an earlier call has already reported it where it mattered.
        with suppress(libvirt.libvirtError):
            connection.close()


def read_definition(hypervisor: Hypervisor, name: str) -> Definition:
    """Returns both forms of a network, each byte as libvirt returns it."""
    libvirt = load_libvirt()
    with _in_one_line("networks", hypervisor.uri):
        near = did_you_mean(name, (each.name() for each in hypervisor.connection.listAllNetworks()))
    with _in_one_line(f"network {name!r}", hypervisor.uri, f"{virsh.ALL_NETWORKS}{near}"):
        network = hypervisor.connection.networkLookupByName(name)
    with _in_one_line(f"network {name!r}", hypervisor.uri):
        active, persistent = bool(network.isActive()), bool(network.isPersistent())
        running = network.XMLDesc(0) if active else ""
        if not persistent:
            return Definition(name, running, "", transient=True)
        try:
            defined = network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_INVALID_ARG:
                raise
            # The test driver does not know the flag. An inactive network has only the one form.
            defined = "" if active else network.XMLDesc(0)
    return Definition(name, running, defined, transient=False)


def define_network(hypervisor: Hypervisor, name: str, text: str) -> None:
    """Runs net-define without --validate. The text is libvirt's own, and the caller reads it back and compares.

    The comparison is stricter than validation: validation knows libvirt's schema, but not the text before the change.
    """
    with _in_one_line(f"network {name!r}", hypervisor.uri):
        hypervisor.connection.networkDefineXML(text)


def read_host(uri: str) -> LibvirtState:
    """Reads the state of this host from libvirt's API, as `StatusFiles` reads it from files.

    NotThere for another host: its bridges cannot be seen from here.
    """
    if urlsplit(uri).hostname:
        raise NotThere(f"{uri} is another host, whose bridges cannot be seen from here; run macmgr there")
    with connect(uri, read_only=True) as hypervisor:
        return read_sources(hypervisor)


def read_guests(hypervisor: Hypervisor, *, containers: bool = True) -> tuple[Domain, ...]:
    """Returns the running domains that macmgr understands; for the system's libvirt the ``containers`` too."""
    return tuple(_read_guests(hypervisor, []) if containers else _read_domains(hypervisor, []))


def read_sources(hypervisor: Hypervisor) -> LibvirtState:
    findings: list[Finding] = []
    domains = _read_guests(hypervisor, findings)
    networks: list[Network] = []
    definitions: list[Network] = []
    ports: list[NetworkPort] = []
    with _in_one_line("cannot list its networks", hypervisor.uri):
        listed = sorted(hypervisor.connection.listAllNetworks(), key=_by_name)
        active = [each for each in listed if each.isActive()]
    for each in active:
        with _gone_meanwhile(f"network {each.name()!r}", hypervisor.uri):
            network = _read(each.XMLDesc(0), f"network {each.name()!r}", read_network, findings)
            networks += network or [unread_network(each.name(), findings[-1].message)]
            # As with the status files: a port's resolved settings matter only if its NIC may inherit trust.
            if any(found.trusts_somewhere for found in network):
                for port in each.listAllPorts():
                    ports += _read(port.XMLDesc(0), f"port {port.UUIDString()}", read_network_port, findings)
    for each in listed:
        definitions += _definition(each)
    by_uuid = {port.uuid: port for port in ports}
    return LibvirtState(tuple(domains), tuple(networks), tuple(findings), by_uuid, tuple(definitions))


def _read_guests(hypervisor: Hypervisor, findings: list[Finding]) -> list[Domain]:
    """Reads the domains of a connection. The system's containers have a connection of their own; it reads them too."""
    domains = _read_domains(hypervisor, findings)
    if hypervisor.uri == LIBVIRT_URI:
        # Without an LXC driver there are no containers.
        with suppress(NotThere), connect(_CONTAINERS, read_only=True) as containers:
            domains += _read_domains(containers, findings)
    return domains


def _read_domains(hypervisor: Hypervisor, findings: list[Finding]) -> list[Domain]:
    libvirt = load_libvirt()
    domains: list[Domain] = []
    with _in_one_line("cannot list its domains", hypervisor.uri):
        active = hypervisor.connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
    for each in sorted(active, key=_by_name):
        where = f"domain {each.name()!r}"
        with _gone_meanwhile(where, hypervisor.uri):
            text = each.XMLDesc(0)  # without VIR_DOMAIN_XML_SECURE: the text holds no passwords
            number, reason = each.state()
            state = STATES[number] if 0 <= number < len(STATES) else "unknown"
            if state == "shutoff":
                continue  # it ended after the listing, and the XML may be that of its definition
            for domain in _read(text, where, read_domain, findings, each.name()):
                migrating = (number, reason) == (_PAUSED, _MIGRATION)
                domains.append(replace(domain, state=state, reason="migration" if migrating else ""))
    return domains


def _read(
    text: str,
    where: str,
    reader: Reader[T],
    findings: list[Finding],
    domain: str | None = None,
) -> list[T]:
    """Returns one record, or none and a finding."""
    found = understood(reader, text.encode(), where, domain, virsh.DOCUMENTS)
    if isinstance(found, Finding):
        findings.append(found)
        return []
    return [found]


def _definition(network: Any) -> list[Network]:
    """Returns the persistent definition of a network; none, silently, if it is missing or not understood."""
    libvirt = load_libvirt()
    try:
        if not network.isPersistent():
            return []
        text = network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE)
        return [read_with(read_network, text.encode(), "definition")]
    except (libvirt.libvirtError, XmlError):
        return []


def _by_name(item: Any) -> str:
    """Sorts as the status files do: by file name."""
    return f"{item.name()}.xml"


@contextmanager
def _in_one_line(what: str, uri: str, hint: str = "") -> Iterator[None]:
    """Turns libvirt's error into one sentence of ours that quotes libvirt's message."""
    libvirt = load_libvirt()
    try:
        yield
    except libvirt.libvirtError as error:
        words = " ".join(str(error.get_error_message() or error).split())
        raise NotThere(f"libvirt at {uri}: {what}: {words}{hint and '; '}{hint}") from None


@contextmanager
def _gone_meanwhile(what: str, uri: str) -> Iterator[None]:
    """Ignores the end of a domain or network after it was listed."""
    libvirt = load_libvirt()
    gone = (
        libvirt.VIR_ERR_NO_DOMAIN,
        libvirt.VIR_ERR_NO_NETWORK,
        libvirt.VIR_ERR_NO_NETWORK_PORT,
        libvirt.VIR_ERR_OPERATION_INVALID,
    )
    with _in_one_line(what, uri):
        try:
            yield
        except libvirt.libvirtError as error:
            if error.get_error_code() not in gone:
                raise


def load_libvirt() -> Any:
    """Imports libvirt-python and silences its own printing to stderr."""
    try:
        import libvirt
    except ImportError as error:
        raise NotThere(
            f"libvirt-python is not there ({error}), and 'macmgr net' and --source libvirt need it: install Debian's "
            "python3-libvirt, or with pip macmgr[libvirt]"
        ) from None
    libvirt.registerErrorHandler(lambda *_: None, None)  # its own print of each error: the caller reports it once
    return libvirt
