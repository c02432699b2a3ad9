"""Reads the groups of bridges (MDB), with the ports that lead to multicast routers.

One RTM_GETMDB dump has all bridges: the kernel refuses to filter it. A bridge with many groups has several messages
(br_mdb.c, br_mdb_dump); by default it keeps 4096 groups. Numbers: include/uapi/linux/if_bridge.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address

from macmgr.kernel import wire
from macmgr.kernel.attributes import read_number
from macmgr.model.multicast import Mdb, Member

RTM_NEWMDB, RTM_GETMDB = 84, 86  # the kernel's answer has the number of the request
MOST_LISTED = 2_000  # messages, each of up to 32 KiB
_MDB, _ROUTER = 1, 2  # MDBA_…; inside them MDBA_MDB_ENTRY, MDBA_MDB_ENTRY_INFO, and MDBA_ROUTER_PORT are 1
_MODE, _SOURCE = 3, 4  # MDBA_MDB_EATTR_…
_IPV4_TIMER, _IPV6_TIMER = 3, 4  # MDBA_ROUTER_PATTR_INET_TIMER and …INET6_TIMER
_INCLUDE, _BLOCKED = 1, 0x08  # MCAST_INCLUDE, MDB_FLAGS_BLOCKED
_MESSAGE = struct.Struct("=B3xI")  # struct br_port_msg: family, ifindex
_BODY = wire.HEADER.size + _MESSAGE.size
_ENTRY = struct.Struct("=IBBH16s2s2x")  # struct br_mdb_entry: ifindex, state, flags, VID, address, EtherType
_IPV4, _IPV6 = b"\x08\x00", b"\x86\xdd"


def mdb_dump() -> wire.Message:
    return (RTM_GETMDB, wire.NLM_F_REQUEST | wire.NLM_F_DUMP, _MESSAGE.pack(wire.AF_BRIDGE, 0))


def decode_mdbs(groups: Mapping[bytes, Sequence[bytes]], names: Mapping[int, str]) -> Mapping[str, Mdb]:
    """The groups by bridge, of a dump as `wire.group` sorted it. What has no name in ``names`` is left out."""
    members: dict[str, list[Member]] = {}
    routers: dict[str, tuple[set[str], set[str]]] = {}
    for message in wire.grouped_messages(groups, (RTM_NEWMDB, RTM_GETMDB), _BODY):
        bridge = names.get(_MESSAGE.unpack_from(message, wire.HEADER.size)[1])
        if bridge is None:
            continue
        found, (ipv4, ipv6) = members.setdefault(bridge, []), routers.setdefault(bridge, (set(), set()))
        for kind, start, stop in wire.attributes(message, _BODY, len(message)):
            if kind == _MDB:
                found += _members(message, start, stop, names)
            elif kind == _ROUTER:
                for _, first, last in wire.attributes(message, start, stop):
                    _add_router(message[first:last], names, ipv4, ipv6)
    return {bridge: Mdb(tuple(found), *map(frozenset, routers[bridge])) for bridge, found in members.items()}


def _members(message: bytes, start: int, stop: int, names: Mapping[int, str]) -> Iterator[Member]:
    for _, first, last in wire.attributes(message, start, stop):
        for _, begin, end in wire.attributes(message, first, last):
            if end - begin < _ENTRY.size:
                raise wire.WireError(f"MDB entry of {end - begin} bytes")
            ifindex, _, flags, vid, address, protocol = _ENTRY.unpack_from(message, begin)
            said = {kind: message[low:high] for kind, low, high in wire.attributes(message, begin + _ENTRY.size, end)}
            if (port := names.get(ifindex)) is not None:
                group, source = _address(protocol, address), said.get(_SOURCE, b"")
                include = read_number(said.get(_MODE, b"")) == _INCLUDE
                yield Member(
                    group, vid, port, _address(protocol, source) if source else "", include, bool(flags & _BLOCKED)
                )


def _address(protocol: bytes, value: bytes) -> str:
    if protocol == _IPV4:
        return str(IPv4Address(value[:4]))
    return str(IPv6Address(value[:16])) if protocol == _IPV6 else value[:6].hex(":")


def _add_router(said: bytes, names: Mapping[int, str], ipv4: set[str], ipv6: set[str]) -> None:
    """An ifindex, and then attributes. A kernel before 5.13 keeps no lists for IPv4 and IPv6, but one."""
    kinds = {kind for kind, _, _ in wire.attributes(said, 4, len(said))}
    name = names.get(read_number(said[:4]))
    for timer, ports in ((_IPV4_TIMER, ipv4), (_IPV6_TIMER, ipv6)):
        if name is not None and (timer in kinds or not kinds & {_IPV4_TIMER, _IPV6_TIMER}):
            ports.add(name)
