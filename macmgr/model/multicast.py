"""The groups of a bridge, its multicast database (MDB): who gets which multicast where the bridge snoops.

Plain records: the netlink edge fills them where somebody asks about multicast, and `macmgr.forwarding` reads them.
Sources: net/bridge/br_mdb.c, include/uapi/linux/if_bridge.h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, ip_address
from typing import NamedTuple


class Member(NamedTuple):
    """A port that gets a group in one VLAN, or the bridge for its host.

    ``group`` is an IP address; of what is not IP, a MAC. An entry for one ``source`` comes before that for all ("").
    ``include``: the port asked for single sources only. ``blocked``: it asked for all but this source.
    """

    group: str
    vid: int
    port: str
    source: str = ""
    include: bool = False
    blocked: bool = False


@dataclass(frozen=True)
class Mdb:
    """The members of one bridge's groups, and the ports with multicast routers behind them, which get each group."""

    members: tuple[Member, ...] = ()
    routers_ipv4: frozenset[str] = frozenset()
    routers_ipv6: frozenset[str] = frozenset()

    def of(self, group: str, vid: int) -> Mapping[str, list[Member]]:
        """The members of a group, by the source that they are for."""
        return self._by_group.get((group, vid), {})

    def sharing(self, mac: str, vid: int) -> list[str]:
        """The groups of IP with members in this VLAN whose frames go to this MAC."""
        return [group for group, of_vid in self._by_group if of_vid == vid and group != mac and mac_of(group) == mac]

    @cached_property
    def _by_group(self) -> Mapping[tuple[str, int], dict[str, list[Member]]]:
        found: dict[tuple[str, int], dict[str, list[Member]]] = {}
        for member in self.members:
            found.setdefault((member.group, member.vid), {}).setdefault(member.source, []).append(member)
        return found


def parse_group(text: str) -> str:
    """Reads the IP address of a group; returns "" for what is no IP address. ValueError for that of a station."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        return ""
    if not address.is_multicast:
        raise ValueError(f"{address} is the address of a station: a bridge forwards by its MAC")
    return str(address)


def mac_of(group: str) -> str:
    """Returns the MAC that a group's frames go to (RFC 1112, RFC 2464); that of a MAC is itself.

    32 groups of IPv4 share one, and 2^80 of IPv6.
    """
    try:
        address = ip_address(group)
    except ValueError:
        return group
    number = int(address)
    if isinstance(address, IPv4Address):
        return "01:00:5e:" + (number & 0x7FFFFF).to_bytes(3).hex(":")
    return "33:33:" + (number & 0xFFFFFFFF).to_bytes(4).hex(":")


def always_flooded(group: str) -> bool:
    """Snooping leaves the group alone: no router forwards 224.0.0.0/24, and nobody asks for ff02::1 (RFC 4541)."""
    address = ip_address(group)
    return str(address) == "ff02::1" or (isinstance(address, IPv4Address) and address.packed[:3] == b"\xe0\0\0")
