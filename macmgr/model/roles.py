"""The role of each port of a bridge: a guest's, a way out, a container's, or unknown to macmgr. Pure.

The kernel's device kind decides the role of a port that is no guest's. A veth's other end decides the rest. In another
network namespace (IFLA_LINK_NETNSID) a container has it; here it leads to another bridge, or to the host.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum

from macmgr.model.snapshot import BridgePort


class Role(StrEnum):
    """The purpose of a bridge port; a word for scripts."""

    GUEST = "guest"
    UPLINK = "uplink"  # it leads to a network: a NIC, a bond, a VLAN device, a vxlan, a cable to another bridge
    CONTAINER = "container"
    TAP = "tap"  # unknown to macmgr: another program's QEMU, or a guest whose XML is not understood
    DUMMY = "dummy"  # it leads nowhere: virbr0-nic, LXD's NAME-mtu


_BY_KIND = {"tun": Role.TAP, "dummy": Role.DUMMY}


def roles_of(ports: Iterable[BridgePort], guests: Collection[str]) -> Mapping[str, Role]:
    """Returns the role of each port by its name. ``guests`` are the ports of domains' NICs.

    On a host that is a container itself, the uplink's other end is elsewhere too. So if a bridge has one such veth and
    no other way out, that veth is its uplink.
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
    found = list(ports)
    roles = roles_of(found, guests)
    return [port for port in found if roles[port.name] is Role.UPLINK]
