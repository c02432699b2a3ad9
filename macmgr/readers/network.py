"""Reads a libvirt network and its ports: the bridge, the manager of its MAC table, and the settings NICs inherit.

Sources: libvirt formatnetwork.html (macTableManager since 1.2.11), formatnetworkport.html, src/conf/network_conf.c,
src/conf/virnetworkportdef.c. The status file is ``<networkstatus>`` around the same ``<network>``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lxml import etree

from macmgr.errors import XmlError
from macmgr.model.intent import Manager, Settings, Vlan
from macmgr.options import MAC_TABLE_MANAGER, wrong_word
from macmgr.readers.document import MAX_PORTGROUPS, Metadata, attribute, check_names, name_of, place, text_of
from macmgr.readers.domain import read_isolated, read_trust, read_vlan
from macmgr.readers.metadata import read_metadata, read_network_table

# Forward modes without a bridge: libvirt refuses macTableManager='libvirt' with them (virNetworkDefParseXML).
NO_TABLE = ("private", "vepa", "passthrough", "hostdev")


@dataclass(frozen=True, slots=True)
class Inherited:
    """The settings that a silent NIC takes from its network or portgroup; None if they are silent too."""

    vlan: Vlan | None = None
    isolated: bool | None = None
    trust: bool | None = None
    virtualport: str = ""


@dataclass(frozen=True, slots=True)
class Network:
    """A network: its bridge, its forward mode (``isolated`` if it has none) and its macTableManager attribute.

    ``default_portgroup`` is for the NICs that name none. ``metadata`` maps a portgroup to our settings for it.
    ``problem`` is the first mistake in the metadata or the whole document: then the wishes for its NICs are unknown.
    """

    name: str
    uuid: str
    bridge: str = ""
    forward: str = "isolated"
    manager: str = ""
    inherited: Inherited = field(default_factory=Inherited)
    portgroups: Mapping[str, Inherited] = field(default_factory=dict)
    default_portgroup: str = ""
    metadata: Mapping[str, Settings] = field(default_factory=dict)
    problem: str = ""

    @property
    def trusts_somewhere(self) -> bool:
        """Some NIC of this network may inherit trustGuestRxFilters='yes'."""
        return any(each.trust for each in (self.inherited, *self.portgroups.values()))


@dataclass(frozen=True, slots=True)
class NetworkPort:
    """A port of a network: its NIC's MAC and the settings libvirt resolved for it. ``bridge`` is empty without one."""

    uuid: str
    mac: str
    bridge: str = ""
    manager: str = ""
    vlan: Vlan | None = None
    isolated: bool | None = None
    trust: bool | None = None


def read_network(element: etree._Element, where: str, metadata: Metadata | None = None) -> Network:
    """Reads the network in ``element``, or in the ``<networkstatus>`` around it. XmlError if there is none."""
    network = element.find("network") if element.tag == "networkstatus" else element
    if network is None or network.tag != "network":
        raise XmlError(f"{place(element, where)}: <network> or <networkstatus> was expected")
    name = name_of(network)
    if not name:
        raise XmlError(f"{place(network, where)}: the network has no name")
    groups = [(group.get("name") or "", group) for group in network.iterfind("portgroup")]
    uuid, bridge = text_of(network, "uuid"), attribute(network, "bridge", "name")
    check_names(network, where, name, uuid, bridge, *(group_name for group_name, _ in groups))
    if len(groups) > MAX_PORTGROUPS:
        raise XmlError(f"{place(groups[MAX_PORTGROUPS][1], where)}: more than {MAX_PORTGROUPS} portgroups")
    forward = network.find("forward")
    policy, problem = read_metadata(network, where, metadata, read_network_table)
    return Network(
        name=name,
        uuid=uuid,
        bridge=bridge,
        forward="isolated" if forward is None else (forward.get("mode") or "nat"),
        manager=_manager(network, where),
        inherited=_inherited(network, where),
        portgroups={group_name: _inherited(group, where) for group_name, group in groups},
        default_portgroup=next((group_name for group_name, group in groups if group.get("default") == "yes"), ""),
        metadata=policy,
        problem=problem,
    )


def unread_network(name: str, problem: str) -> Network:
    return Network(name, "", problem=problem)


def read_network_port(element: etree._Element, where: str, _metadata: Metadata | None = None) -> NetworkPort:
    """Reads a ``<networkport>`` from /run/libvirt/network/NET/ports or from a hook. XmlError for another element."""
    if element.tag != "networkport":
        raise XmlError(f"{place(element, where)}: <networkport> was expected")
    filters = element.find("rxfilters")
    return NetworkPort(
        uuid=text_of(element, "uuid"),
        mac=attribute(element, "mac", "address").lower(),
        bridge=attribute(element, "plug", "bridge"),
        manager=attribute(element, "plug", "macTableManager"),
        vlan=read_vlan(element, where),
        isolated=read_isolated(element),
        trust=None if filters is None else filters.get("trustGuest") == "yes",
    )


def _inherited(element: etree._Element, where: str) -> Inherited:
    return Inherited(
        read_vlan(element, where),
        read_isolated(element),
        read_trust(element),
        attribute(element, "virtualport", "type"),
    )


def _manager(network: etree._Element, where: str) -> str:
    bridge = network.find("bridge")
    manager = "" if bridge is None else bridge.get("macTableManager") or ""
    if bridge is not None and manager not in ("", *Manager):
        raise XmlError(f"{place(bridge, where)}: {wrong_word(MAC_TABLE_MANAGER, manager, Manager, xml=True)}")
    return manager
