"""Reads a hook's standard input: a domain, or ``<hookData>`` around a network and its port.

Since libvirt 5.5 the network hook is called ``port-created`` and ``port-deleted``, with a ``<networkport>``. Before, it
was ``plugged`` and ``unplugged``, with the NIC's ``<interface>``. That element is ignored: a look reads the NICs.
Source: libvirt hooks.html; src/util/virhook.c, src/network/bridge_driver.c (networkRunHook).
"""

from __future__ import annotations

from dataclasses import dataclass

from macmgr.errors import XmlError
from macmgr.readers.document import parse_written_by_libvirt, place
from macmgr.readers.domain import Domain, read_domain
from macmgr.readers.network import Network, NetworkPort, read_network, read_network_port


@dataclass(frozen=True, slots=True)
class HookInput:
    """The subject of a hook call: a domain, or a network and perhaps one of its ports; the daemon hook has neither."""

    domain: Domain | None = None
    network: Network | None = None
    port: NetworkPort | None = None


def read_hook_input(driver: str, data: bytes) -> HookInput:
    """Reads the document that libvirt gave to the hook of ``driver``. XmlError for a document of another kind."""
    where = f"{driver} hook input"
    if driver == "daemon":  # its standard input is empty
        return HookInput()
    root, metadata = parse_written_by_libvirt(data, where)
    if driver in ("qemu", "lxc"):
        return HookInput(domain=read_domain(root, where, metadata))
    network = root.find("network") if root.tag == "hookData" else None
    if network is None:
        raise XmlError(f"{place(root, where)}: <hookData> with a <network> was expected")
    port = root.find("networkport")
    return HookInput(
        network=read_network(network, where, metadata),
        port=None if port is None else read_network_port(port, where),
    )
