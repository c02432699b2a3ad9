"""Interfaces, bridges, bridge ports and their VIDs out of RTM_GETLINK dumps.

One AF_UNSPEC dump tells names, masters, promiscuity, the bridge's VLAN filtering and each port's flags
(net/core/rtnetlink.c, rtnl_fill_ifinfo; net/bridge/br_netlink.c, br_port_fill_attrs); one AF_BRIDGE dump the VIDs.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from macmgr.kernel.wire import (
    AF_BRIDGE,
    ATTRIBUTE,
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
_U16 = struct.Struct("=H")
_VLAN_INFO = struct.Struct("=HH")  # struct bridge_vlan_info: flags, VID


# Where the fields of `Link` are: types of attributes, from the outside in.
_WANTED = (
    (IFLA_IFNAME,),
    (IFLA_ADDRESS,),
    (IFLA_MASTER,),
    (IFLA_PROMISCUITY,),
    (IFLA_LINKINFO, IFLA_INFO_KIND),
    (IFLA_LINKINFO, IFLA_INFO_SLAVE_KIND),
    (IFLA_LINKINFO, IFLA_INFO_DATA, IFLA_BR_VLAN_FILTERING),
    (IFLA_LINKINFO, IFLA_INFO_SLAVE_DATA, IFLA_BRPORT_LEARNING),
    (IFLA_LINKINFO, IFLA_INFO_SLAVE_DATA, IFLA_BRPORT_UNICAST_FLOOD),
    (IFLA_LINKINFO, IFLA_INFO_SLAVE_DATA, IFLA_BRPORT_LOCKED),
    (IFLA_LINKINFO, IFLA_INFO_SLAVE_DATA, IFLA_BRPORT_ISOLATED),
)
_NOWHERE = slice(0, 0)
_ON, _OFF = b"\1", b"\0"


class Link(NamedTuple):
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


class _Layout(NamedTuple):
    """Where one message has `_WANTED`, and what another must have in common with it to have it there too.

    ``mask`` covers the header of every attribute, as one big number; ``headers`` is what is under it.
    """

    mask: int
    headers: int
    places: list[slice]


@dataclass(frozen=True, slots=True)
class PortVids:
    """The VIDs that a bridge port carries, ascending, and the one its untagged frames get."""

    vids: tuple[int, ...] = ()
    pvid: int | None = None


def decode_links(groups: Mapping[bytes, Sequence[bytes]]) -> list[Link]:
    """The interfaces of an AF_UNSPEC dump, as `wire.group` sorted it.

    Each has some seventy attributes, and a host has a thousand taps that differ in nothing but the values. So the
    places found in one message are used again for the next, if that has the same attribute headers in them.
    """
    layouts: dict[tuple[int, bytes], _Layout] = {}
    links = []
    for message in _link_messages(groups):
        key = len(message), message[_BODY : _BODY + ATTRIBUTE.size]  # the name comes first; names differ in length
        layout = layouts.get(key)
        if layout is None or int.from_bytes(message, "little") & layout.mask != layout.headers:
            layout = layouts[key] = _layout(message)
        links.append(_link(message, layout))
    return links


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


def _layout(message: bytes) -> _Layout:
    places: dict[tuple[int, ...], slice] = {}
    fixed: list[slice] = []

    def walk(path: tuple[int, ...], start: int, stop: int) -> None:
        for kind, first, last in attributes(message, start, stop):
            places[*path, kind] = slice(first, last)
            fixed.append(slice(first - 4, first))

    def walk_into(*path: int) -> None:
        if path in places:
            walk(path, places[path].start, places[path].stop)

    walk((), _BODY, len(message))
    walk_into(IFLA_LINKINFO)
    # What is inside the data depends on the kind, so the kind belongs to the layout.
    for kind, data in ((IFLA_INFO_KIND, IFLA_INFO_DATA), (IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA)):
        place = places.get((IFLA_LINKINFO, kind), _NOWHERE)
        fixed.append(place)
        if _text(message[place]) == "bridge":
            walk_into(IFLA_LINKINFO, data)
    mask = bytearray(len(message))
    for place in fixed:
        mask[place] = b"\xff" * (place.stop - place.start)
    bits = int.from_bytes(mask, "little")
    return _Layout(bits, int.from_bytes(message, "little") & bits, [places.get(path, _NOWHERE) for path in _WANTED])


def _link(message: bytes, layout: _Layout) -> Link:
    _, _, ifindex, device_flags, _ = LINK.unpack_from(message, HEADER.size)
    name, mac, master, promiscuity, kind, port_kind, vlan_filtering, learning, unicast_flood, locked, isolated = [
        message[place] for place in layout.places
    ]
    return Link(
        ifindex=ifindex,
        name=_text(name),
        mac=mac.hex(":"),
        master=int.from_bytes(master, sys.byteorder) or None,
        up=bool(device_flags & IFF_UP),
        promiscuity=int.from_bytes(promiscuity, sys.byteorder),
        kind=_text(kind),
        vlan_filtering=vlan_filtering == _ON,
        flags=_port_flags(learning, unicast_flood, locked) if _text(port_kind) == "bridge" else None,
        isolated=isolated == _ON,
    )


@cache
def _port_flags(learning: bytes, unicast_flood: bytes, locked: bytes) -> PortFlags:
    """A flag that the kernel does not know is not there: learning and flood are then on, for they cannot be off."""
    return PortFlags(learning != _OFF, unicast_flood != _OFF, locked == _ON if locked else None)


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


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "surrogateescape")
