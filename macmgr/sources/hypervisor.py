"""libvirt's API, for what files cannot do: change a network's definition, and be asked on hosts without status files.

The only user of libvirt-python, which is optional and imported where it is used. Never called by a hook: a hook that
calls libvirt waits for the daemon that waits for the hook. No event loop and no thread; libvirt's own words end up in
one line of ours, and never on stderr by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from macmgr.errors import NotThere, XmlError, did_you_mean
from macmgr.model.findings import Code, Finding
from macmgr.paths import LIBVIRT_URI
from macmgr.readers.document import Reader, read_with
from macmgr.readers.domain import STATES, DomainStatus, read_domain
from macmgr.readers.network import Network, NetworkPort, read_network, read_network_port
from macmgr.sources.libvirtstate import LibvirtState, metadata_findings, unread_network

T = TypeVar("T")

_CONTAINERS = "lxc:///system"
# The word of the status files for virDomainPausedReason 2; of all reasons only this one means something to the policy.
_PAUSED, _MIGRATION = 3, 2


@dataclass(frozen=True, slots=True)
class Hypervisor:
    """An open connection, and how it was asked for."""

    uri: str
    connection: Any


@dataclass(frozen=True, slots=True)
class Definition:
    """The two forms of one network as XML text: what runs now, and what holds from its next start on.

    ``active`` is empty while it is not active; ``persistent`` is empty where libvirt keeps no definition (a transient
    network), or where its driver cannot show it beside the active form (the test driver).
    """

    name: str
    active: str
    persistent: str
    transient: bool


@contextmanager
def connect(uri: str, *, read_only: bool = False) -> Iterator[Hypervisor]:
    """A connection for the length of a ``with`` block; NotThere, with libvirt's words, where there is none."""
    libvirt = load_libvirt()
    with _in_one_line("cannot connect", uri, "is libvirtd, or virtqemud, running?"):
        connection = libvirt.openReadOnly(uri) if read_only else libvirt.open(uri)
    try:
        yield Hypervisor(uri, connection)
    finally:
        # a daemon that went away meanwhile has said so already, where it mattered
        with suppress(libvirt.libvirtError):
            connection.close()


def read_definition(hypervisor: Hypervisor, name: str) -> Definition:
    """Both forms of a network, each byte as libvirt returns it."""
    libvirt = load_libvirt()
    with _in_one_line("networks", hypervisor.uri):
        near = did_you_mean(name, (each.name() for each in hypervisor.connection.listAllNetworks()))
    with _in_one_line(f"network {name!r}", hypervisor.uri, f"see 'virsh net-list --all'{near}"):
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
            # the test driver does not know the flag, and an inactive network has only the one form
            defined = "" if active else network.XMLDesc(0)
    return Definition(name, running, defined, transient=False)


def define_network(hypervisor: Hypervisor, name: str, text: str) -> None:
    """net-define, without --validate: the text is libvirt's own, and who defines reads back and compares.

    The comparison is stricter than validation, which knows libvirt's schema but not what was there before.
    """
    with _in_one_line(f"network {name!r}", hypervisor.uri):
        hypervisor.connection.networkDefineXML(text)


def read_host(uri: str) -> LibvirtState:
    """What libvirt says of this host, as `StatusFiles` reads it from its files.

    NotThere for another host, whose bridges cannot be seen from here.
    """
    if urlsplit(uri).hostname:
        raise NotThere(f"{uri} is another host, whose bridges cannot be seen from here; run macmgr there")
    with connect(uri, read_only=True) as hypervisor:
        return read_sources(hypervisor)


def read_guests(hypervisor: Hypervisor, *, containers: bool = True) -> tuple[DomainStatus, ...]:
    """The domains that run there, as far as they are understood; of the system's libvirt its ``containers`` too."""
    return tuple(_read_guests(hypervisor, []) if containers else _read_domains(hypervisor, []))


def read_sources(hypervisor: Hypervisor) -> LibvirtState:
    """The domains that run, the active networks and their ports."""
    libvirt = load_libvirt()
    findings: list[Finding] = []
    domains = _read_guests(hypervisor, findings)
    networks: list[Network] = []
    definitions: list[Network] = []
    ports: list[NetworkPort] = []
    with _in_one_line("cannot list its networks", hypervisor.uri):
        active = hypervisor.connection.listAllNetworks(libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE)
    for each in sorted(active, key=_by_name):
        with _gone_meanwhile(f"network {each.name()!r}", hypervisor.uri):
            network = _read(each.XMLDesc(0), f"network {each.name()!r}", read_network, findings)
            networks += network or [unread_network(each.name(), findings[-1].message)]
            definitions += _definition(each)
            # as with the status files: what a port resolved is only of interest where a NIC may inherit trust
            if any(found.trusts_somewhere for found in network):
                for port in each.listAllPorts():
                    ports += _read(port.XMLDesc(0), f"port {port.UUIDString()}", read_network_port, findings)
    findings += metadata_findings(networks, tuple(findings))
    by_uuid = {port.uuid: port for port in ports}
    return LibvirtState(tuple(domains), tuple(networks), tuple(findings), by_uuid, tuple(definitions))


def _read_guests(hypervisor: Hypervisor, findings: list[Finding]) -> list[DomainStatus]:
    """The domains of a connection; those of the system's containers too, for which libvirt has a connection apart."""
    domains = _read_domains(hypervisor, findings)
    if hypervisor.uri == LIBVIRT_URI:
        # an LXC driver that is not there has no containers
        with suppress(NotThere), connect(_CONTAINERS, read_only=True) as containers:
            domains += _read_domains(containers, findings)
    return domains


def _read_domains(hypervisor: Hypervisor, findings: list[Finding]) -> list[DomainStatus]:
    libvirt = load_libvirt()
    domains: list[DomainStatus] = []
    with _in_one_line("cannot list its domains", hypervisor.uri):
        active = hypervisor.connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
    for each in sorted(active, key=_by_name):
        where = f"domain {each.name()!r}"
        with _gone_meanwhile(where, hypervisor.uri):
            text = each.XMLDesc(0)  # without VIR_DOMAIN_XML_SECURE: passwords never get here
            number, reason = each.state()
            state = STATES[number] if 0 <= number < len(STATES) else "unknown"
            if state == "shutoff":
                continue  # it ended since it was listed, and the XML may be that of its definition
            for domain in _read(text, where, read_domain, findings, each.name()):
                migrating = (number, reason) == (_PAUSED, _MIGRATION)
                domains.append(DomainStatus(domain, state, "migration" if migrating else ""))
    return domains


def _read(
    text: str,
    where: str,
    reader: Reader[T],
    findings: list[Finding],
    domain: str | None = None,
) -> list[T]:
    """What a reader makes of a document: one record, or none and a finding."""
    try:
        return [read_with(reader, text.encode(), where)]
    except XmlError as error:
        note = "look at it with virsh dumpxml, net-dumpxml or net-port-dumpxml"
        text = f"{error}; until that is mended, the ports of {domain} are left as they are" if domain else str(error)
        findings.append(Finding(Code.UNREADABLE_XML, text, domain=domain, note=note))
        return []


def _definition(network: Any) -> list[Network]:
    """The persistent definition of an active network, silently none where it has none or it is not understood."""
    libvirt = load_libvirt()
    try:
        if not network.isPersistent():
            return []
        text = network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE)
        return [read_with(read_network, text.encode(), "definition")]
    except (libvirt.libvirtError, XmlError):
        return []


def _by_name(item: Any) -> str:
    """The order in which the status files are read: that of their names."""
    return f"{item.name()}.xml"


@contextmanager
def _in_one_line(what: str, uri: str, hint: str = "") -> Iterator[None]:
    """What libvirt refused, in its own words, as one sentence of ours."""
    libvirt = load_libvirt()
    try:
        yield
    except libvirt.libvirtError as error:
        words = " ".join(str(error.get_error_message() or error).split())
        raise NotThere(f"libvirt at {uri}: {what}: {words}{hint and '; '}{hint}") from None


@contextmanager
def _gone_meanwhile(what: str, uri: str) -> Iterator[None]:
    """A domain or network that ended since it was listed is not an error."""
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
    """libvirt-python, which says nothing on stderr by itself any more."""
    try:
        import libvirt
    except ImportError as error:
        raise NotThere(
            f"libvirt-python is not there ({error}), and 'macmgr net' and --source libvirt need it: install Debian's "
            "python3-libvirt, or with pip macmgr[libvirt]"
        ) from None
    libvirt.registerErrorHandler(_say_nothing, None)
    return libvirt


def _say_nothing(_context: object, _error: object) -> None:
    """libvirt would print each error by itself; what is wrong is told once, by who called."""
