"""The role of each port of a bridge, and of what is stacked on one, decided here and nowhere else. Pure.

The kernel's device kind (IFLA_INFO_KIND) decides the role of a port that is no guest's. A veth is a cable, and its
other end decides. If that is in another network namespace (IFLA_LINK_NETNSID), a container has it. If it is here, the
port is an uplink, whatever has the other end: another bridge, or the host, which may route to a network from there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum

from macmgr.model.snapshot import BridgePort, Snapshot


class Role(StrEnum):
    """The purpose of a bridge port; a word for scripts."""

    GUEST = "guest"
    UPLINK = "uplink"  # it leads to a network: a NIC, a bond, a VLAN device, a vxlan that learns, a cable
    TUNNEL = "tunnel"  # a vxlan that does not learn: a control plane (EVPN) decides the addresses behind it
    CONTAINER = "container"
    TAP = "tap"  # unknown to macmgr: another program's QEMU, or a guest whose XML is not understood
    DUMMY = "dummy"  # it leads nowhere: virbr0-nic, LXD's NAME-mtu
    STACKED = "stacked"  # no port: the host's, on the bridge itself, as br0.10, a macvlan, a VRRP VMAC

    @property
    def leads_out(self) -> bool:
        """Hosts of a network are behind it."""
        return self in (Role.UPLINK, Role.TUNNEL)

    @property
    def words(self) -> str:
        """The same for people, in a table."""
        return "foreign tap" if self is Role.TAP else str(self)

    @property
    def phrase(self) -> str:
        """The same for people, in a sentence."""
        if self in (Role.GUEST, Role.CONTAINER):
            return f"a {self}'s"
        return f"{'an' if self is Role.UPLINK else 'a'} {self.words}"


CABLE = "veth"
_BY_KIND = {"tun": Role.TAP, "dummy": Role.DUMMY}


def roles_of(ports: Iterable[BridgePort], guests: Collection[str]) -> Mapping[str, Role]:
    """Returns the role of each port by its name. ``guests`` are the ports of domains' NICs.

    On a host that is a container itself, the uplink's other end is elsewhere too. So if a bridge has one such veth and
    no other way out, that veth is its uplink; of several, those are that are on a bridge over there.
    """
    found = list(ports)
    roles = {port.name: Role.GUEST if port.name in guests else _role_of_others(port) for port in found}
    for cables in _only_ways_out(found, roles):
        roles |= {port.name: Role.UPLINK for port in cables if port.outward or len(cables) == 1}
    return roles


def unsure_cables(ports: Iterable[BridgePort], bridges: Collection[str] | None) -> frozenset[str]:
    """Returns the cables on these ``bridges`` (None: on all) that may be a container's or an uplink."""
    found = [port for port in ports if bridges is None or port.bridge in bridges]
    if not any(port.elsewhere for port in found):
        return frozenset()
    several = (cables for cables in _only_ways_out(found, roles_of(found, ())) if len(cables) > 1)
    return frozenset(port.name for cables in several for port in cables)


def _only_ways_out(ports: Iterable[BridgePort], roles: Mapping[str, Role]) -> Iterable[list[BridgePort]]:
    """The cables to other network namespaces of each bridge that has no other way out."""
    elsewhere: dict[str, list[BridgePort]] = {}
    with_uplink: set[str] = set()
    for port in ports:
        if roles[port.name] is Role.CONTAINER:
            elsewhere.setdefault(port.bridge, []).append(port)
        elif roles[port.name].leads_out:
            with_uplink.add(port.bridge)
    return [cables for bridge, cables in elsewhere.items() if bridge not in with_uplink]


def _role_of_others(port: BridgePort) -> Role:
    if port.kind == CABLE and port.elsewhere:
        return Role.CONTAINER
    if port.has_control_plane:
        return Role.TUNNEL
    return _BY_KIND.get(port.kind, Role.UPLINK)


def uplinks_of(ports: Iterable[BridgePort], guests: Collection[str]) -> list[BridgePort]:
    """Returns the ports that lead to a network."""
    found = list(ports)
    roles = roles_of(found, guests)
    return [port for port in found if roles[port.name].leads_out]


def may_be_a_guests(port: BridgePort, snapshot: Snapshot, *, cable: bool = True) -> bool:
    """A guest has a tap, or a ``cable`` that ends in its container, or on no bridge while that starts."""
    return port.kind == "tun" or (cable and port.kind == CABLE and not snapshot.masters.get(port.peer))


def why(port: BridgePort, role: Role, snapshot: Snapshot) -> str:
    """Returns what the kernel says that makes a port what it is; empty where its kind alone does."""
    if role is Role.TUNNEL:
        return "a vxlan that does not learn: a control plane decides which addresses are behind it"
    if role is Role.TAP:
        return "no domain here names it as its tap"
    if role is Role.DUMMY:
        return "it leads nowhere"
    if port.kind != CABLE or role is Role.GUEST:
        return ""
    if port.elsewhere:
        alone = ", and nothing else leads out" if role is Role.UPLINK else ""
        how = ", on a bridge or out of sight" if port.outward else alone
        return f"its other end is in another network namespace{how}"
    if master := snapshot.masters.get(port.peer):
        return f"its other end, {port.peer}, is on {master}"
    return (
        f"its other end, {port.peer}, is on no bridge: the host is behind it, or what it routes to" if port.peer else ""
    )
