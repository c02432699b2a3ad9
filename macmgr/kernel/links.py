"""Decodes interfaces, bridges, bridge ports and their VIDs from RTM_GETLINK dumps.

One AF_UNSPEC dump has names, masters, promiscuity, the bridge's VLAN filtering and each port's flags
(net/core/rtnetlink.c, rtnl_fill_ifinfo; net/bridge/br_netlink.c, br_port_fill_attrs); one AF_BRIDGE dump the VIDs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import repeat
from typing import NamedTuple

from macmgr.kernel.attributes import (
    BRIDGE_RELAY,
    IFF_UP,
    IFLA_ADDRESS,
    IFLA_BR_VLAN_DEFAULT_PVID,
    IFLA_BR_VLAN_FILTERING,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_INFO_SLAVE_DATA,
    IFLA_INFO_SLAVE_KIND,
    IFLA_LINK,
    IFLA_LINK_NETNSID,
    IFLA_LINKINFO,
    IFLA_PROMISCUITY,
    IFLA_VLAN_ID,
    PORT_RELAY,
    read_bridge_relay,
    read_number,
    read_port_flags,
    read_port_relay,
    read_port_vids,
    read_text,
    read_vlan_protocol,
)
from macmgr.kernel.wire import (
    AF_BRIDGE,
    ATTRIBUTE,
    HEADER,
    IFLA_AF_SPEC,
    IFLA_MASTER,
    LINK,
    RTM_NEWLINK,
    WireError,
    attributes,
)
from macmgr.model.flags import FLAGS, PortFlags
from macmgr.model.relay import BridgeRelay, PortRelay, VlanProtocol
from macmgr.model.snapshot import VXLAN
from macmgr.model.vids import PortVids

IFLA_MTU, IFLA_VLAN_PROTOCOL, IFLA_VXLAN_LEARNING = 4, 5, 7
IFLA_BRPORT_BACKUP_PORT = 34

_BODY = HEADER.size + LINK.size
_BRIDGE, _VLAN = "bridge", "vlan"
# Where the fields of `Link` are: types of attributes, from the outside in. What is inside the data of a kind comes
# after the kind's name, for numbers mean something else in each.
_WANTED = (
    (IFLA_IFNAME,),
    (IFLA_ADDRESS,),
    (IFLA_MASTER,),
    (IFLA_PROMISCUITY,),
    (IFLA_LINK_NETNSID,),
    (IFLA_LINK,),
    (IFLA_LINKINFO, IFLA_INFO_KIND),
    (IFLA_LINKINFO, IFLA_INFO_SLAVE_KIND),
    (IFLA_LINKINFO, IFLA_INFO_DATA, _BRIDGE, IFLA_BR_VLAN_FILTERING),
    (IFLA_LINKINFO, IFLA_INFO_DATA, _BRIDGE, IFLA_BR_VLAN_DEFAULT_PVID),
    (IFLA_LINKINFO, IFLA_INFO_DATA, VXLAN, IFLA_VXLAN_LEARNING),
    (IFLA_LINKINFO, IFLA_INFO_DATA, _VLAN, IFLA_VLAN_ID),
    (IFLA_LINKINFO, IFLA_INFO_DATA, _VLAN, IFLA_VLAN_PROTOCOL),
    (IFLA_LINKINFO, IFLA_INFO_SLAVE_DATA, _BRIDGE, IFLA_BRPORT_BACKUP_PORT),
    *((IFLA_LINKINFO, IFLA_INFO_SLAVE_DATA, _BRIDGE, flag.number) for flag in FLAGS),
    *((IFLA_LINKINFO, IFLA_INFO_DATA, _BRIDGE, number) for number in BRIDGE_RELAY),
    (IFLA_MTU,),
    *((IFLA_LINKINFO, IFLA_INFO_SLAVE_DATA, _BRIDGE, number) for number in PORT_RELAY),
)
_NOWHERE = slice(0, 0)
_ON, _OFF = b"\1", b"\0"
_SWITCH = {_ON: True, _OFF: False}
_MOST_LAYOUTS = 256  # a host has a handful
_layouts: dict[tuple[int, bytes], _Layout] = {}


class Link(NamedTuple):
    """One interface. ``flags`` is None when it is not a bridge port, and ``tunnel_learning`` when it is no vxlan.

    ``master``, ``lower`` and ``backup`` are ifindexes; ``lower`` is of what it is linked to: the device below it, a
    veth's other end. ``netnsid`` is the number of the other network namespace that this one is in. ``vid`` and
    ``vlan_protocol`` are a VLAN device's.
    """

    ifindex: int
    name: str
    mac: str
    master: int | None
    up: bool
    promiscuity: int
    kind: str
    vlan_filtering: bool
    default_pvid: int | None
    tunnel_learning: bool | None
    flags: PortFlags | None
    netnsid: int | None
    lower: int | None
    vid: int | None
    vlan_protocol: VlanProtocol
    backup: int | None
    bridge_relay: BridgeRelay
    port_relay: PortRelay

    @property
    def elsewhere(self) -> bool:
        return self.netnsid is not None


class _Layout(NamedTuple):
    """The places of `_WANTED` in a message, and the words that another must share to have it in the same places.

    ``fixed`` are the 32-bit words with an attribute's header or a kind, by their place. ``fields`` reads ifindex,
    device flags and the wanted values in the order of the message; ``columns`` says which of these each of `_WANTED`
    is.
    """

    fixed: dict[int, int]
    fields: struct.Struct
    columns: list[int | None]


def decode_links(groups: Mapping[bytes, Sequence[bytes]]) -> list[Link]:
    """The interfaces of an AF_UNSPEC dump, as `wire.group` sorted it; in no particular order.

    Each has some eighty attributes, and a host has a thousand taps that differ only in the values. So the places
    found in one message are used for all with the same headers, column by column. That takes a microsecond an
    interface; decoding each message by itself takes three.
    """
    alike: dict[tuple[int, bytes], list[bytes]] = {}
    for length, message in _link_messages(groups):
        # the name comes first, and names differ in length
        alike.setdefault((length, message[_BODY : _BODY + ATTRIBUTE.size]), []).append(message)
    links: list[Link] = []
    for (length, _), messages in alike.items():
        while messages:
            layout = _known_layout(messages[0], length)
            data, messages = _split(messages, layout.fixed)
            links += _links(data, layout)
    return links


def decode_vids(groups: Mapping[bytes, Sequence[bytes]]) -> dict[int, PortVids]:
    """The VIDs by ifindex, of an AF_BRIDGE dump. Nothing for a port without VIDs, or a kernel without them."""
    found = {}
    for length, message in _link_messages(groups):
        family, _, ifindex, _, _ = LINK.unpack_from(message, HEADER.size)
        top = {kind: (start, stop) for kind, start, stop in attributes(message, _BODY, length)}
        if family == AF_BRIDGE and IFLA_MASTER in top and IFLA_AF_SPEC in top:
            port_vids = read_port_vids(message, *top[IFLA_AF_SPEC])
            if port_vids is not None and port_vids.vids:
                found[ifindex] = port_vids
    return found


def _link_messages(groups: Mapping[bytes, Sequence[bytes]]) -> Iterator[tuple[int, bytes]]:
    """The length of each message, and the message, padded to a multiple of four."""
    for header, blocks in groups.items():
        length, kind, *_ = HEADER.unpack(header)
        if kind != RTM_NEWLINK:
            continue
        if length < _BODY:
            raise WireError(f"interface message of {length} bytes")
        stride = length + -length % 4
        for block in blocks:
            for position in range(0, len(block), stride):
                yield length, block[position : position + stride]


def _known_layout(message: bytes, length: int) -> _Layout:
    """The layout of the message: that of the last one of its length and first header, where it still fits.

    A daemon reads the same interfaces again and again. Finding the places takes a quarter of a small host's look.
    """
    key = length, message[_BODY : _BODY + ATTRIBUTE.size]
    layout, words = _layouts.get(key), memoryview(message).cast("I")
    if layout is None or any(words[place] != word for place, word in layout.fixed.items()):
        if len(_layouts) >= _MOST_LAYOUTS:
            _layouts.clear()
        layout = _layouts[key] = _layout(message, length)
    return layout


def _layout(message: bytes, length: int) -> _Layout:
    places: dict[tuple[int | str, ...], slice] = {}
    fixed: list[slice] = []

    def walk(path: tuple[int | str, ...], start: int, stop: int) -> None:
        for kind, first, last in attributes(message, start, stop):
            places[*path, kind] = slice(first, last)
            fixed.append(slice(first - 4, first))

    walk((), _BODY, length)
    if info := places.get((IFLA_LINKINFO,)):
        walk((IFLA_LINKINFO,), info.start, info.stop)
    # What is inside the data depends on the kind, so the kind belongs to the layout.
    for kind, data in ((IFLA_INFO_KIND, IFLA_INFO_DATA), (IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA)):
        place = places.get((IFLA_LINKINFO, kind), _NOWHERE)
        fixed.append(place)
        name = read_text(message[place])
        if name in (_BRIDGE, VXLAN, _VLAN) and (inside := places.get((IFLA_LINKINFO, data))):
            walk((IFLA_LINKINFO, data, name), inside.start, inside.stop)
    there = sorted((place.start, place.stop, path) for path, place in places.items() if path in _WANTED)
    reader, position = "=20xiI", 28
    for start, stop, _ in there:
        reader += f"{start - position}x{stop - start}s"
        position = stop
    order = {path: place for place, (_, _, path) in enumerate(there, start=2)}
    words = memoryview(message).cast("I")
    return _Layout(
        {word: words[word] for place in fixed for word in range(place.start // 4, (place.stop + 3) // 4)},
        struct.Struct(f"{reader}{len(message) - position}x"),
        [order.get(path) for path in _WANTED],
    )


def _split(messages: list[bytes], fixed: Mapping[int, int]) -> tuple[bytes, list[bytes]]:
    """The messages that have the ``fixed`` words in common with the first one, put together; and the others."""
    data = b"".join(messages)
    words, width = memoryview(data).cast("I"), len(messages[0]) // 4
    if all(words[place + width :: width] == words[place:-width:width] for place in fixed):
        return data, []
    same: list[bytes] = []
    others: list[bytes] = []
    for start, message in zip(range(0, len(words), width), messages, strict=True):
        like_first = all(words[start + place] == word for place, word in fixed.items())
        (same if like_first else others).append(message)
    return b"".join(same), others


def _links(data: bytes, layout: _Layout) -> list[Link]:
    columns = list(zip(*layout.fields.iter_unpack(data), strict=True))
    wanted = [repeat(b"") if place is None else columns[place] for place in layout.columns]
    name, mac, master, promiscuity, netnsid, lower, kind, port_kind, vlan_filtering, *rest = wanted
    default_pvid, tunnel_learning, vid, vlan_protocol, backup, *rest = rest
    flags, bridge_relay = rest[: len(FLAGS)], rest[len(FLAGS) : len(FLAGS) + len(BRIDGE_RELAY)]
    port_relay = rest[len(FLAGS) + len(BRIDGE_RELAY) :]
    rows = zip(
        columns[0],
        map(read_text, name),
        map(bytes.hex, mac, repeat(":")),
        (number or None for number in map(read_number, master)),
        (bool(flags & IFF_UP) for flags in columns[1]),
        map(read_number, promiscuity),
        map(_kind, kind),
        map(_ON.__eq__, vlan_filtering),
        (read_number(value) if value else None for value in default_pvid),
        map(_SWITCH.get, tunnel_learning),
        map(read_port_flags, port_kind, *flags),
        (read_number(value) if value else None for value in netnsid),
        (number or None for number in map(read_number, lower)),
        (read_number(value) if value else None for value in vid),
        map(read_vlan_protocol, vlan_protocol),
        (number or None for number in map(read_number, backup)),
        map(read_bridge_relay, columns[1], *bridge_relay),
        map(read_port_relay, columns[1], *port_relay),
        strict=False,  # the column of what is not there is endless
    )
    return list(map(Link._make, rows))


@cache
def _kind(value: bytes) -> str:
    return read_text(value)
