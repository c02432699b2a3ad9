"""A libvirt network, reduced to its bridge and to who manages that bridge's MAC table.

Sources: libvirt formatnetwork.html (macTableManager since 1.2.11), src/conf/network_conf.c; the status file is
``<networkstatus>`` around the same ``<network>`` (src/network/bridge_driver.c).
"""

from __future__ import annotations

from dataclasses import dataclass

from lxml import etree

from macmgr.errors import XmlError
from macmgr.readers.document import attribute, text_of


@dataclass(frozen=True, slots=True)
class Network:
    """A network: its bridge, its forward mode (``isolated`` where it has none) and its macTableManager attribute."""

    name: str
    uuid: str
    bridge: str = ""
    forward: str = "isolated"
    manager: str = ""


def read_network(element: etree._Element, where: str) -> Network:
    """The network in ``element``, or in the ``<networkstatus>`` around it; XmlError where there is none."""
    network = element.find("network") if element.tag == "networkstatus" else element
    if network is None or network.tag != "network":
        raise XmlError(f"{where}: line {element.sourceline}: <network> or <networkstatus> was expected")
    name = text_of(network, "name")
    if not name:
        raise XmlError(f"{where}: line {network.sourceline}: the network has no name")
    manager = attribute(network, "bridge", "macTableManager")
    if manager not in ("", "kernel", "libvirt"):
        raise XmlError(
            f"{where}: network {name!r}: macTableManager is {manager[:40]!r}, libvirt allows 'kernel' and 'libvirt'"
        )
    forward = network.find("forward")
    mode = "isolated" if forward is None else (forward.get("mode") or "nat")
    return Network(name, text_of(network, "uuid"), attribute(network, "bridge", "name"), mode, manager)
