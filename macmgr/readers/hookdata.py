"""What libvirt writes to a hook's standard input: a domain, or ``<hookData>`` around a network and its port.

Source: libvirt hooks.html; src/util/virhook.c, src/network/bridge_driver.c (networkRunHook).
"""

from __future__ import annotations

from dataclasses import dataclass

from lxml import etree

from macmgr.errors import XmlError
from macmgr.readers.document import parse_document
from macmgr.readers.domain import Domain, read_domain
from macmgr.readers.network import Network, read_network


@dataclass(frozen=True, slots=True)
class HookInput:
    """The subject of a hook call; the daemon hook has neither."""

    domain: Domain | None = None
    network: Network | None = None


def read_hook_input(driver: str, data: bytes) -> HookInput:
    """The document that libvirt gave to the hook of ``driver``; XmlError where it is not what that driver writes."""
    where = f"{driver} hook input"
    if driver == "daemon":  # called with an empty standard input
        return HookInput()
    root = parse_document(data, where)
    if driver in ("qemu", "lxc"):
        return HookInput(domain=read_domain(root, where))
    return HookInput(network=read_network(_network_in(root, where), where))


def _network_in(root: etree._Element, where: str) -> etree._Element:
    network = root.find("network") if root.tag == "hookData" else None
    if network is None:
        raise XmlError(f"{where}: line {root.sourceline}: <hookData> with a <network> was expected")
    return network
