"""What each port of a bridge is: a guest's, a way out, a container's, or nobody's that macmgr knows. Pure.

What is not a guest's is told by the kernel's word for the device. A veth's other end says the rest: where it is in
another network namespace (IFLA_LINK_NETNSID), a container has it; where it is here, it leads to another bridge, or to
the host.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum

from macmgr.model.snapshot import BridgePort


class Role(StrEnum):
    """What a bridge port is for; a word for scripts."""

    GUEST = "guest"
    UPLINK = "uplink"  # it leads to a network: a NIC, a bond, a VLAN device, a vxlan, a cable to another bridge
    CONTAINER = "container"
    TAP = "tap"  # of nobody that macmgr knows: somebody else's QEMU, or a guest whose XML is not understood
    DUMMY = "dummy"  # it leads nowhere: virbr0-nic, LXD's NAME-mtu


_BY_KIND = {"tun": Role.TAP, "dummy": Role.DUMMY}


def roles_of(ports: Iterable[BridgePort], guests: Collection[str]) -> Mapping[str, Role]:
    """The role of each port by its name; ``guests`` are the ports that domains' NICs have.

    A host that is a container itself has an uplink whose other end is elsewhere too. So a bridge with no other way out
    than one such veth is taken to have that one.
    """
    roles: dict[str, Role] = {}
    elsewhere: dict[str, list[str]] = {}
    with_uplink: set[str] = set()
    for port in ports:
        if port.name in guests:
            role = Role.GUEST
        elif port.kind == "veth" and port.elsewhere:
            role = Role.CONTAINER
            elsewhere.setdefault(port.bridge, []).append(port.name)
        else:
            role = _BY_KIND.get(port.kind, Role.UPLINK)
            if role is Role.UPLINK:
                with_uplink.add(port.bridge)
        roles[port.name] = role
    roles |= {names[0]: Role.UPLINK for at, names in elsewhere.items() if len(names) == 1 and at not in with_uplink}
    return roles


def uplinks_of(ports: Iterable[BridgePort], guests: Collection[str]) -> list[BridgePort]:
    """The ways out among ``ports``."""
    found = list(ports)
    roles = roles_of(found, guests)
    return [port for port in found if roles[port.name] is Role.UPLINK]
