"""Interfaces, bridges, bridge ports and their VIDs out of RTM_GETLINK dumps.

One AF_UNSPEC dump tells names, masters, promiscuity, the bridge's VLAN filtering and each port's flags
(net/core/rtnetlink.c, rtnl_fill_ifinfo; net/bridge/br_netlink.c, br_port_fill_attrs); one AF_BRIDGE dump the VIDs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from macmgr.kernel.wire import (
    AF_BRIDGE,
    HEADER,
    IFLA_BRPORT_LEARNING,
    IFLA_BRPORT_LOCKED,
    IFLA_BRPORT_UNICAST_FLOOD,
    IFLA_MASTER,
    LINK,
    RTM_NEWLINK,
    WireError,
    attributes,
)
from macmgr.snapshot import PortFlags

IFF_UP = 1
IFLA_ADDRESS, IFLA_IFNAME, IFLA_LINKINFO, IFLA_AF_SPEC, IFLA_PROMISCUITY = 1, 3, 18, 26, 30
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
IFLA_BR_VLAN_FILTERING, IFLA_BRPORT_ISOLATED = 7, 33
IFLA_BRIDGE_FLAGS, IFLA_BRIDGE_VLAN_INFO, BRIDGE_FLAGS_SELF = 0, 2, 2
VLAN_PVID, VLAN_RANGE_BEGIN, VLAN_RANGE_END = 0x02, 0x08, 0x10

_BODY = HEADER.size + LINK.size
_U16, _U32 = struct.Struct("=H"), struct.Struct("=I")
_VLAN_INFO = struct.Struct("=HH")  # struct bridge_vlan_info: flags, VID


@dataclass(frozen=True, slots=True)
class Link:
    """One interface. ``flags`` is None when it is not a bridge port; ``master`` is an ifindex."""

    ifindex: int
    name: str
    mac: str
    master: int | None
    up: bool
    promiscuity: int
    kind: str
    vlan_filtering: bool
    flags: PortFlags | None
    isolated: bool


@dataclass(frozen=True, slots=True)
class PortVids:
    """The VIDs that a bridge port carries, ascending, and the one its untagged frames get."""

    vids: tuple[int, ...] = ()
    pvid: int | None = None


def decode_links(groups: Mapping[bytes, Sequence[bytes]]) -> list[Link]:
    """The interfaces of an AF_UNSPEC dump, as `wire.group` sorted it."""
    return [_link(message) for message in _link_messages(groups)]


def decode_vids(groups: Mapping[bytes, Sequence[bytes]]) -> dict[int, PortVids]:
    """The VIDs by ifindex, of an AF_BRIDGE dump. Nothing for a port without VIDs, or a kernel without them.

    A network card with a switch of its own answers too, flagged BRIDGE_FLAGS_SELF: that is not the bridge's word.
    """
    found = {}
    for message in _link_messages(groups):
        family, _, ifindex, _, _ = LINK.unpack_from(message, HEADER.size)
        top = {kind: (start, stop) for kind, start, stop in attributes(message, _BODY, len(message))}
        if family == AF_BRIDGE and IFLA_MASTER in top and IFLA_AF_SPEC in top:
            port_vids = _port_vids(message, *top[IFLA_AF_SPEC])
            if port_vids.vids:
                found[ifindex] = port_vids
    return found


def _link_messages(groups: Mapping[bytes, Sequence[bytes]]) -> Iterator[bytes]:
    for header, blocks in groups.items():
        length, kind, *_ = HEADER.unpack(header)
        if kind != RTM_NEWLINK:
            continue
        if length < _BODY:
            raise WireError(f"interface message of {length} bytes")
        stride = length + -length % 4
        for block in blocks:
            for position in range(0, len(block), stride):
                yield block[position : position + length]


def _link(message: bytes) -> Link:
    _, _, ifindex, device_flags, _ = LINK.unpack_from(message, HEADER.size)
    name, mac, kind, port_kind, master, promiscuity = "", "", "", "", None, 0
    vlan_filtering, flags, isolated = False, None, False
    for attribute, start, stop in attributes(message, _BODY, len(message)):
        if attribute == IFLA_IFNAME:
            name = _text(message[start:stop])
        elif attribute == IFLA_ADDRESS:
            mac = message[start:stop].hex(":")
        elif attribute == IFLA_MASTER:
            master = _number(message[start:stop])
        elif attribute == IFLA_PROMISCUITY:
            promiscuity = _number(message[start:stop])
        elif attribute == IFLA_LINKINFO:
            info = {nested: (first, last) for nested, first, last in attributes(message, start, stop)}
            kind = _text(message[slice(*info.get(IFLA_INFO_KIND, (0, 0)))])
            port_kind = _text(message[slice(*info.get(IFLA_INFO_SLAVE_KIND, (0, 0)))])
            if kind == "bridge" and IFLA_INFO_DATA in info:
                data = _first_bytes(message, *info[IFLA_INFO_DATA])
                vlan_filtering = bool(data.get(IFLA_BR_VLAN_FILTERING))
            if port_kind == "bridge" and IFLA_INFO_SLAVE_DATA in info:
                data = _first_bytes(message, *info[IFLA_INFO_SLAVE_DATA])
                isolated = bool(data.get(IFLA_BRPORT_ISOLATED))
                flags = _port_flags(
                    data.get(IFLA_BRPORT_LEARNING), data.get(IFLA_BRPORT_UNICAST_FLOOD), data.get(IFLA_BRPORT_LOCKED)
                )
    up = bool(device_flags & IFF_UP)
    return Link(ifindex, name, mac, master, up, promiscuity, kind, vlan_filtering, flags, isolated)


def _first_bytes(message: bytes, start: int, stop: int) -> dict[int, int]:
    """The attributes of one byte: all the flags are."""
    return {kind: message[first] for kind, first, last in attributes(message, start, stop) if last - first == 1}


@cache
def _port_flags(learning: int | None, unicast_flood: int | None, locked: int | None) -> PortFlags:
    """A flag that the kernel does not know is not there: learning and flood are then on, for they cannot be off."""
    return PortFlags(learning != 0, unicast_flood != 0, None if locked is None else bool(locked))


def _port_vids(message: bytes, start: int, stop: int) -> PortVids:
    vids: list[int] = []
    pvid = begin = None
    for kind, first, last in attributes(message, start, stop):
        if kind == IFLA_BRIDGE_FLAGS and last - first == 2 and _U16.unpack_from(message, first)[0] & BRIDGE_FLAGS_SELF:
            return PortVids()
        if kind != IFLA_BRIDGE_VLAN_INFO or last - first != _VLAN_INFO.size:
            continue
        flags, vid = _VLAN_INFO.unpack_from(message, first)
        if flags & VLAN_PVID:
            pvid = vid
        if flags & VLAN_RANGE_BEGIN:
            begin = vid
        elif flags & VLAN_RANGE_END and begin is not None:
            vids.extend(range(begin, vid + 1))
            begin = None
        else:
            vids.append(vid)
    return PortVids(tuple(sorted(set(vids))), pvid)


def _number(value: bytes) -> int:
    if len(value) != 4:
        raise WireError(f"number of {len(value)} bytes where the kernel has 4")
    return int(_U32.unpack(value)[0])


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "surrogateescape")
