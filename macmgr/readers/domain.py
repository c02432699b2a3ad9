"""Reads a domain, reduced to its NICs, from live XML, status files and hook input.

One NIC has two forms. Status files keep its configured form, with an ``<actual>`` child for the result. Live XML
(``virsh dumpxml``, hooks) shows the result, so a NIC of a managed host bridge reads ``type='bridge'`` with a
``network`` attribute in its source. Both forms become the same record. Sources: libvirt formatdomain.html,
src/conf/domain_conf.c (virDomainActualNetDefFormat).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lxml import etree

from macmgr.errors import XmlError
from macmgr.model.intent import Settings, Vlan
from macmgr.model.mac import parse_mac
from macmgr.readers.document import (
    MAX_NICS,
    MAX_TAGS,
    ROOTS,
    Metadata,
    attribute,
    check_names,
    name_of,
    parts_of,
    place,
    said,
    text_of,
)
from macmgr.readers.metadata import read_domain_table, read_metadata

MAX_VID = 4094
_DIGITS = 20


def read_vlan(element: etree._Element, where: str) -> Vlan | None:
    """Reads the ``<vlan>`` child. One tag is access; several, or ``trunk='yes'``, a trunk. XmlError for a wrong VID."""
    vlan = element.find("vlan")
    if vlan is None:
        return None
    vids: list[int] = []
    native, tagged = None, False
    for number, tag in enumerate(vlan.iterfind("tag")):
        if number == MAX_TAGS:
            raise XmlError(f"{place(tag, where)}: more than {MAX_TAGS} VLAN tags; as many VIDs there are")
        text = tag.get("id") or ""
        # VID 0 is libvirt's way to write a priority tag. libvirt allows 0 and 4095; a bridge port has neither.
        # The length comes first: Python refuses to convert a number of thousands of digits.
        if not text.isascii() or not text.isdigit() or len(text) > _DIGITS or int(text) > MAX_VID + 1:
            shown = text[:20] if text.isascii() and text.isdigit() else "this"
            raise XmlError(f"{place(tag, where)}: {shown} is not a VLAN tag; allowed: 0 to {MAX_VID + 1}")
        vids.append(int(text))
        if tag.get("nativeMode"):
            native, tagged = int(text), tag.get("nativeMode") == "tagged"
    if not vids:
        return None
    trunk = vlan.get("trunk") == "yes" or len(vids) > 1 or native is not None
    return Vlan(tuple(vids), native, trunk, tagged)


def read_isolated(element: etree._Element) -> bool | None:
    return _yes(attribute(element, "port", "isolated"))


def read_trust(element: etree._Element) -> bool | None:
    return _yes(element.get("trustGuestRxFilters") or "")


def _yes(text: str) -> bool | None:
    return {"yes": True, "no": False}.get(text)


# libvirt's words for a domain's state (virDomainState in src/conf/domain_conf.c)
STATES = ("nostate", "running", "blocked", "paused", "shutdown", "shutoff", "crashed", "pmsuspended")


@dataclass(frozen=True, slots=True)
class Nic:
    """One ``<interface>``. An empty string: the XML does not say. None: it is silent on that setting.

    ``kind`` is the actual type, ``configured`` the type that was asked for. ``network`` is the libvirt network that was
    asked for, ``port_id`` the port there. ``tap`` is the host end, ``manager`` the macTableManager attribute of its own
    source, ``lower`` the device below a macvtap.
    """

    mac: str
    kind: str
    configured: str = ""
    current_mac: str = ""
    bridge: str = ""
    network: str = ""
    port_id: str = ""
    portgroup: str = ""
    lower: str = ""
    tap: str = ""
    alias: str = ""
    manager: str = ""
    virtualport: str = ""
    filter: str = ""
    teaming: str = ""
    vlan: Vlan | None = None
    isolated: bool | None = None
    trust: bool | None = None
    link_down: bool = False


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain: its identity and its NICs. ``driver`` is the hypervisor's hook name, ``qemu`` or ``lxc``.

    ``metadata`` maps the MAC of a NIC to our settings for it, and an empty one to those for all. ``problem`` is the
    first mistake there, with file and line. Then nothing of the metadata is believed, and nothing else may decide in
    its place. ``state`` is libvirt's word, empty where the XML has none, and ``reason`` why it is so. ``pid`` is its
    process on the host of its status file; 0 if that names none.
    """

    name: str
    uuid: str
    driver: str
    nics: tuple[Nic, ...]
    metadata: Mapping[str, Settings] = field(default_factory=dict)
    problem: str = ""
    state: str = ""
    reason: str = ""
    pid: int = 0

    @property
    def running(self) -> bool:
        """Its CPUs run on this host."""
        return self.state == "running"


def read_domain(element: etree._Element, where: str, metadata: Metadata | None = None) -> Domain:
    """Reads the domain in ``element``. XmlError if it is no domain, or a NIC in it is invalid.

    ``metadata`` was set aside from the document. A mistake in it goes to ``problem``, and the NICs stay known.

    A NIC without a MAC is left out: inactive XML may have one, and libvirt invents the address at define time.
    """
    if element.tag != "domain":
        raise XmlError(f"{place(element, where)}: <domain> was expected, this is {_name(element)}")
    name = name_of(element)
    if not name:
        raise XmlError(f"{place(element, where)}: the domain has no name")
    uuid = text_of(element, "uuid")
    check_names(element, where, name, uuid)
    driver = "lxc" if element.get("type") == "lxc" else "qemu"
    interfaces = element.findall("devices/interface")
    if len(interfaces) > MAX_NICS:
        raise XmlError(f"{place(interfaces[MAX_NICS], where)}: the domain has more than {MAX_NICS} interfaces")
    nics = tuple(read_nic(each, where) for each in interfaces if attribute(each, "mac", "address"))
    policy, problem = read_metadata(element, where, metadata, read_domain_table)
    return Domain(name, uuid, driver, nics, policy, problem)


def read_domain_status(element: etree._Element, where: str, metadata: Metadata | None = None) -> Domain:
    """Reads a ``<domstatus>``, the root of the files in /run/libvirt/qemu and /run/libvirt/lxc."""
    domain = element.find("domain") if element.tag == "domstatus" else None
    if domain is None:
        raise XmlError(f"{place(element, where)}: <domstatus> with a <domain> was expected")
    state = element.get("state") or ""
    known = state if state in STATES else "unknown"
    pid = element.get("pid") or ""
    return replace(
        read_domain(domain, where, metadata),
        state=known,
        reason=element.get("reason") or "",
        pid=int(pid) if pid.isascii() and pid.isdigit() and len(pid) <= _DIGITS else 0,
    )


def read_nic(element: etree._Element, where: str) -> Nic:
    """Reads one ``<interface>``. XmlError for an invalid MAC or VLAN tag."""
    parts = parts_of(element)
    configured = element.get("type") or ""
    actual = parts.get("actual")
    became = element if actual is None else actual
    final = parts if actual is None else parts_of(actual)
    current = said(parts, "mac", "currentAddress")
    vlan = read_vlan(became, where)
    teaming = said(parts, "teaming", "type")
    isolated, trust = read_isolated(became), read_trust(became)
    nic = Nic(
        mac=_mac(said(parts, "mac", "address"), element, where),
        kind=became.get("type") or configured,
        configured=configured,
        current_mac=_mac(current, element, where) if current else "",
        bridge=said(final, "source", "bridge"),
        network=said(parts, "source", "network"),
        port_id=said(parts, "source", "portid"),
        portgroup=said(parts, "source", "portgroup"),
        lower=said(final, "source", "dev"),
        tap=said(parts, "target", "dev"),
        alias=said(parts, "alias", "name"),
        manager=said(final, "source", "macTableManager"),
        virtualport=said(final, "virtualport", "type") or said(parts, "virtualport", "type"),
        filter=said(parts, "filterref", "filter"),
        teaming=teaming if teaming in ("persistent", "transient") else "",
        vlan=vlan if vlan is not None else read_vlan(element, where),
        isolated=isolated if isolated is not None else read_isolated(element),
        trust=trust if trust is not None else read_trust(element),
        link_down=said(parts, "link", "state") == "down",
    )
    names = nic.kind, nic.configured, nic.bridge, nic.network, nic.port_id, nic.portgroup, nic.lower, nic.tap, nic.alias
    check_names(element, where, *names, nic.manager, nic.virtualport, nic.filter)
    return nic


def _mac(text: str, element: etree._Element, where: str) -> str:
    try:
        return parse_mac(text)
    except ValueError as error:
        raise XmlError(f"{place(element, where)}: {error}") from None


def _name(element: etree._Element) -> str:
    name = etree.QName(element).localname
    return f"<{name}>" if name in ROOTS else "another element"
