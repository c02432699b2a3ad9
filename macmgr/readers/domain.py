"""A domain as libvirt writes it, in live XML, status files and hook input, reduced to its NICs.

One NIC has two forms. Status files keep it as it was configured, with an ``<actual>`` child that says what became
of it; live XML (``virsh dumpxml``, hooks) shows what became of it, so that a NIC of a managed host bridge reads
``type='bridge'`` with a ``network`` attribute in its source. Both read to the same record.
Sources: libvirt formatdomain.html, src/conf/domain_conf.c (virDomainActualNetDefFormat).
"""

from __future__ import annotations

from dataclasses import dataclass

from lxml import etree

from macmgr.errors import XmlError
from macmgr.mac import parse_mac
from macmgr.readers.document import attribute, text_of


@dataclass(frozen=True, slots=True)
class Nic:
    """One ``<interface>``. Empty strings stand for what the XML does not say.

    ``kind`` is what became of the NIC (the actual type), ``network`` the libvirt network it was asked from,
    ``tap`` the host end, ``manager`` the macTableManager attribute of its own source.
    """

    mac: str
    kind: str
    bridge: str = ""
    network: str = ""
    portgroup: str = ""
    tap: str = ""
    alias: str = ""
    manager: str = ""
    virtualport: str = ""


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain: its identity and its NICs. ``driver`` is the hypervisor's hook name, ``qemu`` or ``lxc``."""

    name: str
    uuid: str
    driver: str
    nics: tuple[Nic, ...]


@dataclass(frozen=True, slots=True)
class DomainStatus:
    """A domain with the state that libvirt keeps for it; ``running`` means that its CPUs run on this host."""

    domain: Domain
    state: str
    reason: str = ""

    @property
    def running(self) -> bool:
        return self.state == "running"


def read_domain(element: etree._Element, where: str) -> Domain:
    """The domain in ``element``; XmlError where it is none, or where a NIC's MAC is not one."""
    if element.tag != "domain":
        raise XmlError(f"{where}: line {element.sourceline}: <domain> was expected, this is <{_name(element)}>")
    name = text_of(element, "name")
    if not name:
        raise XmlError(f"{where}: line {element.sourceline}: the domain has no name")
    driver = "lxc" if element.get("type") == "lxc" else "qemu"
    nics = tuple(
        nic for each in element.iterfind("devices/interface") if (nic := _read_nic(each, f"{where}: domain {name!r}"))
    )
    return Domain(name, text_of(element, "uuid"), driver, nics)


def read_domain_status(element: etree._Element, where: str) -> DomainStatus:
    """A ``<domstatus>``, the root of the files in /run/libvirt/qemu and /run/libvirt/lxc."""
    domain = element.find("domain") if element.tag == "domstatus" else None
    if domain is None:
        raise XmlError(f"{where}: line {element.sourceline}: <domstatus> with a <domain> was expected")
    return DomainStatus(read_domain(domain, where), element.get("state") or "unknown", element.get("reason") or "")


def _read_nic(element: etree._Element, where: str) -> Nic | None:
    address = attribute(element, "mac", "address")
    if not address:  # inactive XML may leave it out; libvirt invents one when it defines the domain
        return None
    try:
        mac = parse_mac(address)
    except ValueError as error:
        raise XmlError(f"{where}: line {element.sourceline}: {error}") from None
    configured = element.get("type") or ""
    actual = element.find("actual")
    became = element if actual is None else actual
    kind = (became.get("type") or configured) if actual is not None else configured
    return Nic(
        mac=mac,
        kind=kind,
        bridge=attribute(became, "source", "bridge"),
        network=attribute(element, "source", "network"),
        portgroup=attribute(element, "source", "portgroup"),
        tap=attribute(element, "target", "dev"),
        alias=attribute(element, "alias", "name"),
        manager=attribute(became, "source", "macTableManager"),
        virtualport=attribute(became, "virtualport", "type") or attribute(element, "virtualport", "type"),
    )


def _name(element: etree._Element) -> str:
    return etree.QName(element).localname[:40]
