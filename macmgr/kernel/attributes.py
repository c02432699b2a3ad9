"""Decodes the link attributes that several readers need: the VIDs and the flags of a bridge port, and names.

`links` (the snapshot), `events` and `devices` (the doctor) use the same functions, so all three read the same.
"""

from __future__ import annotations

import struct
import sys
from functools import cache, lru_cache

from macmgr.kernel.wire import (
    IFLA_BRIDGE_VLAN_INFO,
    VLAN_INFO,
    VLAN_PVID,
    VLAN_RANGE_BEGIN,
    VLAN_RANGE_END,
    VLAN_UNTAGGED,
    WireError,
    attributes,
)
from macmgr.model.flags import FLAGS, NEW_PORT, Flag, PortFlags, flags_of
from macmgr.model.relay import BridgeRelay, PortRelay, PortState, RouterMode, VlanProtocol
from macmgr.model.vids import PortVids

IFF_UP, IFF_RUNNING, IFF_ALLMULTI, IFF_LOWER_UP = 0x1, 0x40, 0x200, 0x10000
IFLA_ADDRESS, IFLA_IFNAME, IFLA_LINK, IFLA_LINKINFO = 1, 3, 5, 18
IFLA_PROMISCUITY, IFLA_LINK_NETNSID = 30, 37
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
IFLA_VLAN_ID, IFLA_BR_VLAN_FILTERING, IFLA_BR_VLAN_DEFAULT_PVID = 1, 7, 39
# The attributes of `read_bridge_relay`, IFLA_BR_…, and behind IFLA_MTU those of `read_port_relay`, IFLA_BRPORT_…
# (include/uapi/linux/if_link.h), in the order of the parameters.
BRIDGE_RELAY = (8, 5, 4, 9, 23, 25, 47, 46, 48, 49, 22, 43, 44)
PORT_RELAY = (1, 4, 10, 27, 30, 31, 40, 25, 28)
# struct br_boolopt_multi, and the bits of its first word (include/uapi/linux/if_bridge.h)
_NO_LINK_LOCAL_LEARNING, _SNOOPING_BY_VLAN, _MST, _LOCAL_IN_VID_0 = 1, 2, 4, 16
_ETH_P_8021AD = b"\x88\xa8"
_IPV4_TIMER, _IPV6_ADDRESS, _IPV6_TIMER = 3, 5, 7  # BRIDGE_QUERIER_…, include/uapi/linux/if_bridge.h
_IFLA_BRIDGE_FLAGS, _BRIDGE_FLAGS_SELF = 0, 2

_MAX_VID = 4095  # VLAN_N_VID in include/linux/if_vlan.h is one more
_OFF = b"\0"
_U16 = struct.Struct("=H")


@cache
def read_port_flags(kind: bytes, *values: bytes) -> PortFlags | None:
    """The flags of a bridge port, from the value of each of `FLAGS`; empty where the message has none.

    A flag that a port always has may still be missing on an old kernel: it is then as on a new port.
    """
    if read_text(kind) != "bridge":
        return None
    return flags_of({flag.field: _switch(flag, value) for flag, value in zip(FLAGS, values, strict=True)})


def _switch(flag: Flag, value: bytes) -> bool | None:
    if value:
        return value != _OFF
    return None if flag.since else NEW_PORT.value(flag)


@lru_cache(maxsize=1024)
def read_port_relay(
    interface: int,
    mtu: bytes,
    state: bytes,
    hairpin: bytes,
    proxy_arp: bytes,
    multicast_flood: bytes,
    broadcast_flood: bytes,
    group_forward: bytes,
    mab: bytes,
    router: bytes,
    to_unicast: bytes,
) -> PortRelay:
    """The facts of a bridge port that decide about frames. ``interface`` is the flags of the device itself.

    A kernel that lacks an attribute acts as it does with the default.
    """
    return PortRelay(
        state=PortState(min(read_number(state), PortState.BLOCKING)) if state else PortState.FORWARDING,
        carrier=bool(interface & IFF_LOWER_UP),
        operational=bool(interface & IFF_RUNNING),
        broadcast_flood=broadcast_flood != _OFF,
        multicast_flood=multicast_flood != _OFF,
        hairpin=bool(read_number(hairpin)),
        mab=bool(read_number(mab)),
        proxy_arp=bool(read_number(proxy_arp)),
        group_forward=read_number(group_forward),
        mtu=read_number(mtu),
        router=_router(router),
        to_unicast=bool(read_number(to_unicast)),
    )


@lru_cache(maxsize=1024)
def read_bridge_relay(
    interface: int,
    protocol: bytes,
    stp: bytes,
    ageing_time: bytes,
    group_forward: bytes,
    snooping: bytes,
    own_querier: bytes,
    queriers: bytes,
    switches: bytes,
    learned: bytes,
    most_learned: bytes,
    router: bytes,
    igmp_version: bytes,
    mld_version: bytes,
) -> BridgeRelay:
    """The facts of a bridge that decide about frames. ``interface`` is the flags of the device itself."""
    on, known = read_number(switches[:4]), read_number(switches[4:])
    querier, querier_ipv6 = _queriers(bool(read_number(own_querier)), queriers, bool(known & _SNOOPING_BY_VLAN))
    if read_number(own_querier) and querier_ipv6 is False and not interface & IFF_UP:
        querier_ipv6 = None  # it counts as one until it has tried to send a query
    return BridgeRelay(
        protocol=read_vlan_protocol(protocol),
        stp=bool(read_number(stp)),
        operational=bool(interface & IFF_RUNNING),
        ages=ageing_time == b"" or read_number(ageing_time) > 0,
        group_forward=read_number(group_forward),
        link_local_learning=not on & _NO_LINK_LOCAL_LEARNING,
        snooping=bool(read_number(snooping)),
        querier=querier,
        querier_ipv6=querier_ipv6,
        snooping_by_vlan=bool(on & _SNOOPING_BY_VLAN),
        sources_ipv4=read_number(igmp_version) == 3,
        sources_ipv6=read_number(mld_version) == 2,
        router=_router(router),
        all_multicast=bool(interface & IFF_ALLMULTI),
        mst=bool(on & _MST),
        room=max(0, read_number(most_learned) - read_number(learned)) if read_number(most_learned) else None,
        local_in_vid_0=bool(on & _LOCAL_IN_VID_0),
    )


def _queriers(own: bool, named: bytes, names: bool) -> tuple[bool | None, bool | None]:
    """There is a querier for IPv4, and one for IPv6: the bridge itself, or one that it has heard.

    Kernels name them since 5.15 (br_multicast_dump_querier_state), which was the first with snooping by VLAN. The
    bridge itself needs an address for IPv6. Without one it sends no query, and names none.
    """
    if not names:
        return own or None, None
    found = {kind: named[start:stop] for kind, start, stop in attributes(named, 0, len(named))}
    return own or _IPV4_TIMER in found, _IPV6_TIMER in found or (own and any(found.get(_IPV6_ADDRESS, b"")))


def _router(value: bytes) -> RouterMode:
    return RouterMode(min(read_number(value), RouterMode.FOR_NOW)) if value else RouterMode.HEARD


def read_vlan_protocol(value: bytes) -> VlanProtocol:
    """The kind of tags, from a number in network byte order."""
    return VlanProtocol.DOT1AD if value == _ETH_P_8021AD else VlanProtocol.DOT1Q


def read_port_vids(message: bytes, start: int, stop: int) -> PortVids | None:
    """The VIDs in an IFLA_AF_SPEC, which lies between ``start`` and ``stop``; None where they are not the bridge's.

    A NIC with an embedded switch (ixgbe, bnxt) reports its own VIDs in a message of the same form, with the same
    ifindex and master, and marks it with BRIDGE_FLAGS_SELF (rtnetlink.c, ndo_dflt_bridge_getlink).
    """
    vids: set[int] = set()
    untagged: set[int] = set()
    pvid = begin = None
    for kind, first, last in attributes(message, start, stop):
        if (
            kind == _IFLA_BRIDGE_FLAGS
            and last - first == 2
            and _U16.unpack_from(message, first)[0] & _BRIDGE_FLAGS_SELF
        ):
            return None
        if kind != IFLA_BRIDGE_VLAN_INFO or last - first != VLAN_INFO.size:
            continue
        flags, vid = VLAN_INFO.unpack_from(message, first)
        if flags & VLAN_PVID:
            pvid = vid
        if flags & VLAN_RANGE_BEGIN:
            begin = vid
            continue
        run = read_vids(begin if flags & VLAN_RANGE_END and begin is not None else vid, vid)
        begin = None
        vids.update(run)
        if flags & VLAN_UNTAGGED:
            untagged.update(run)
    return PortVids(tuple(sorted(vids)), pvid, tuple(sorted(untagged)))


def read_vids(first: int, last: int) -> range:
    """A run of VIDs. WireError if the last is no VID: a run without an end would take all of the memory."""
    if last > _MAX_VID:
        raise WireError(f"VLANs {first} to {last}, of which the last is no VLAN")
    return range(first, last + 1)


@cache
def read_number(value: bytes) -> int:
    return int.from_bytes(value, sys.byteorder)


def read_text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "surrogateescape")
