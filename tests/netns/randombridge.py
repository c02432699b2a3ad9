"""Random bridges and random frames, and the netlink messages that make such a bridge from the ports of the yard.

A seed makes a bridge. hypothesis does not: it prefers the first of each choice, and two thirds of all frames then went
to one address. It also took twice as long as the kernel.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from random import Random

from macmgr.forwarding import BROADCAST, Frame
from macmgr.kernel import wire
from macmgr.kernel.wire import LINK, NLA_F_NESTED, Message, attribute
from macmgr.model.changes import DeleteEntry, FlushEntries, Request, SetFlags
from macmgr.model.flags import PortFlags
from macmgr.model.multicast import mac_of
from macmgr.model.relay import PortState, RouterMode, Tag, VlanProtocol
from macmgr.model.snapshot import Entry, EntryState
from tests.netns import randomgroups
from tests.netns.frameyard import (
    BRIDGE,
    CABLES,
    DORMANT,
    DOWN,
    ETHERTYPES,
    LACE,
    SHORT,
    SHORT_MTU,
    TAPS,
    UNPLUGGED,
    Yard,
)

IFINDEX = 1000  # of each bridge
BRIDGE_MAC = "02:b0:00:00:00:01"
VIDS = (1, 7, LACE)
STATIONS = tuple(f"52:54:00:00:00:{number:02x}" for number in range(5))
# The host's own, and those of two ports: local entries, but for what a plan puts in their place
OWN = (BRIDGE_MAC, "02:c0:00:00:00:00", "02:c0:00:00:01:00")
GROUPS = (*randomgroups.IP_GROUPS, "01:00:0c:cc:cc:cc", "01:80:c2:00:00:10")
LINK_LOCAL = tuple(f"01:80:c2:00:00:0{digit}" for digit in "01238be")
_INVALID = ("00:00:00:00:00:00", "01:00:5e:02:03:04")
_NO_LINK_LOCAL_LEARNING, _SNOOPING_BY_VLAN, _MST = 1, 2, 4
_STICKY, _EXT_LEARNED, _SELF, _MASTER = 0x40, 0x10, 0x02, 0x04
_IFF_UP, _IFF_PROMISC, _IFF_ALLMULTI = 0x1, 0x100, 0x200
_CREATE, _CHANGE = 0x1 | 0x400 | 0x200, 0x1
_VLAN_PVID, _VLAN_UNTAGGED, _ONLY_OPTIONS = 2, 4, 0x40
_STATES = {EntryState.STATIC: 0x40, EntryState.LOCAL: 0x80, EntryState.DYNAMIC: 0x02}
# IFLA_BRPORT_…, by the words of bridge(8)
PORT_FLAGS = {
    "hairpin": 4,
    "learning": 8,
    "flood": 9,
    "proxy_arp": 10,
    "mcast_flood": 27,
    "mcast_to_unicast": 28,
    "bcast_flood": 30,
    "isolated": 33,
    "locked": 39,
    "mab": 40,
}
_USUAL_FLAGS = {name: name in ("learning", "flood", "mcast_flood", "bcast_flood") for name in PORT_FLAGS}


@dataclass(frozen=True)
class Vlan:
    """A VLAN of a port, or of the bridge itself."""

    vid: int
    flags: int
    state: PortState


@dataclass(frozen=True)
class Port:
    name: str
    flags: dict[str, bool]
    state: PortState
    group_forward: int
    vlans: tuple[Vlan, ...]
    backup: str = ""
    router: RouterMode = RouterMode.HEARD


@dataclass(frozen=True)
class Put:
    """An FDB entry; with ``extern_learn``, one of a control plane."""

    mac: str
    vid: int
    port: str
    state: EntryState
    sticky: bool
    extern_learn: bool


@dataclass(frozen=True)
class Made:
    """A bridge, and the frames that go through it.

    ``forced``: ports of a bridge that is down are made to forward. ``loop``: with STP, each cable leads to the root.
    ``sources``: its groups have entries for single sources (IGMPv3, MLDv2).
    """

    vlan_filtering: bool
    protocol: VlanProtocol
    stp: bool
    ages: bool
    up: bool
    promiscuous: bool
    snooping: bool
    querier: bool
    snooping_by_vlan: bool
    sources: bool
    router: RouterMode
    all_multicast: bool
    mst: bool
    link_local_learning: bool
    group_forward: int
    most_learned: int
    forced: bool
    loop: bool
    vlans: tuple[Vlan, ...]
    ports: tuple[Port, ...]
    entries: tuple[Put, ...]
    in_mdb: tuple[randomgroups.InMdb, ...]
    heard: tuple[randomgroups.Heard, ...]
    frames: tuple[tuple[str, Frame], ...]
    changes: tuple[Request, ...]


_RARELY = (False,) * 7 + (True,)
_FORWARDING = (PortState.FORWARDING,)
_PORT_STATES = (*_FORWARDING * 17, PortState.LISTENING, PortState.LEARNING, PortState.DISABLED)
_VLAN_STATES = (*_FORWARDING * 7, PortState.LEARNING, PortState.BLOCKING, PortState.DISABLED)
_MASKS = (0, 0, 0, 1 << 14, 1 << 3 | 1 << 8, 1 << 14 | 1 << 11)
_ROUTERS = (*(RouterMode.HEARD,) * 5, RouterMode.NEVER, RouterMode.ALWAYS, RouterMode.FOR_NOW)
_GOOD = (*CABLES, *TAPS)
_ODD = (*("",) * 15, *PORT_FLAGS, "isolated", "isolated")
_VLANS = (
    None,
    None,
    *(
        (flags, state)
        for flags in (0, _VLAN_UNTAGGED, _VLAN_PVID, _VLAN_PVID | _VLAN_UNTAGGED)
        for state in _VLAN_STATES
    ),
)
_TAGS = tuple(
    Tag(vid, protocol)
    for protocol in (VlanProtocol.DOT1Q, VlanProtocol.DOT1Q, VlanProtocol.DOT1AD)
    for vid in (*VIDS, *VIDS, 0, 99)
)
_DESTINATIONS = (*STATIONS * 9, *OWN, *OWN, *(BROADCAST,) * 4, *GROUPS, *LINK_LOCAL, LINK_LOCAL[0])
_SOURCES = (*STATIONS * 9, *OWN, *_INVALID)
_LENGTHS = (80, 80, 80, SHORT_MTU + 4, SHORT_MTU + 5, SHORT_MTU + 8)


def make(choose: Random, vlan_filtering: bool, frames: int = 20) -> Made:
    """A bridge, and frames for it. ``vlan_filtering`` says that this kernel can."""
    pick = choose.choice
    filtering, ages = vlan_filtering and pick((True, True, False)), not pick(_RARELY)
    names = choose.sample((*_GOOD, *_GOOD, *_GOOD, DOWN, UNPLUGGED, DORMANT), choose.randint(3, 9))
    names = sorted({*names}, key=names.index)
    about_groups = pick((False, False, True))
    groups = choose.sample(randomgroups.IP_GROUPS, 2) if about_groups else randomgroups.IP_GROUPS
    return Made(
        vlan_filtering=filtering,
        protocol=pick((VlanProtocol.DOT1Q, VlanProtocol.DOT1Q, VlanProtocol.DOT1AD)),
        stp=pick((False, False, False, True)),
        ages=ages,
        up=not pick(_RARELY + _RARELY[1:]),
        promiscuous=pick(_RARELY),
        snooping=about_groups or pick((False, True)),
        querier=pick((False, True, about_groups)),
        snooping_by_vlan=filtering and pick(_RARELY),
        sources=pick((False, True)),
        router=pick((RouterMode.HEARD, RouterMode.HEARD, RouterMode.HEARD, RouterMode.NEVER, RouterMode.ALWAYS)),
        all_multicast=pick(_RARELY),
        mst=filtering and pick((False, False, False, False, True)),
        link_local_learning=not pick(_RARELY),
        group_forward=pick(_MASKS),
        most_learned=pick((0, 0, 0, 2)),
        forced=pick(_RARELY),
        loop=pick((False, True)),
        vlans=_vlans(choose) if filtering else (),
        ports=tuple(_port(choose, name, names, filtering) for name in names),
        entries=tuple(_put(choose, names, filtering) for _ in range(choose.randint(0, 8))),
        in_mdb=randomgroups.entries(choose, groups, names, BRIDGE, (0, *VIDS) if filtering else (0,)),
        heard=randomgroups.heard(choose, groups, names, STATIONS, queried=about_groups and pick((False, True))),
        frames=tuple(_frame(choose, names, groups if about_groups else ()) for _ in range(frames)),
        changes=tuple(_change(choose, names, filtering, ages) for _ in range(6)),
    )


def smaller(made: Made) -> Iterator[Made]:
    """The same with something left out, to find what a difference is about."""
    for place in range(len(made.frames)):
        yield replace(made, frames=made.frames[:place] + made.frames[place + 1 :])
    for place in range(len(made.changes)):
        yield replace(made, changes=made.changes[:place] + made.changes[place + 1 :])
    for place in range(len(made.entries)):
        yield replace(made, entries=made.entries[:place] + made.entries[place + 1 :])
    for place in range(len(made.in_mdb)):
        yield replace(made, in_mdb=made.in_mdb[:place] + made.in_mdb[place + 1 :])
    for place in range(len(made.heard)):
        yield replace(made, heard=made.heard[:place] + made.heard[place + 1 :])
    for port in made.ports:
        plain = replace(port, flags=_USUAL_FLAGS, state=PortState.FORWARDING, group_forward=0, backup="")
        if plain != port:
            yield replace(made, ports=tuple(plain if each is port else each for each in made.ports))


def _vlans(choose: Random) -> tuple[Vlan, ...]:
    picked = [(vid, choose.choice(_VLANS)) for vid in VIDS]
    return tuple(Vlan(vid, *each) for vid, each in picked if each is not None)


def _port(choose: Random, name: str, names: Sequence[str], filtering: bool) -> Port:
    odd = {choose.choice(_ODD) for _ in range(3)}
    if "mab" in odd:  # the kernel refuses it alone
        odd = odd - {"learning"} | {"locked"}
    flags = {flag: usual != (flag in odd) for flag, usual in _USUAL_FLAGS.items()}
    state, mask = choose.choice(_PORT_STATES), choose.choice(_MASKS)
    backup = choose.choice(("", *names)) if name in (DOWN, UNPLUGGED) else ""
    vlans = _vlans(choose) if filtering else ()
    return Port(name, flags, state, mask, vlans, backup, choose.choice(_ROUTERS))


def _put(choose: Random, names: Sequence[str], filtering: bool) -> Put:
    return Put(
        choose.choice(STATIONS * 3 + OWN),
        choose.choice((0, *VIDS) if filtering else (0,)),
        choose.choice((*names, *names, *names, *names, BRIDGE)),
        choose.choice((EntryState.STATIC, EntryState.STATIC, EntryState.DYNAMIC, EntryState.LOCAL)),
        choose.choice((False, True)),
        choose.choice(_RARELY),
    )


def _change(choose: Random, names: Sequence[str], filtering: bool, ages: bool) -> Request:
    """What macmgr may ask of a kernel. The flags before it are those of a new port.

    Where nothing ages, dynamic entries vanish when the kernel comes by to look.
    """
    port, mac, kind = choose.choice(names), choose.choice(STATIONS + OWN), choose.choice("ppppddfs")
    vid = choose.choice((0, *VIDS)) if filtering else 0
    if kind == "p":
        state = choose.choice((EntryState.STATIC, EntryState.STATIC, EntryState.DYNAMIC))
        state = state if ages else EntryState.STATIC
        return Entry(mac, vid, port, state, choose.choice((False, True)), ages and choose.choice(_RARELY))
    if kind == "d":
        return DeleteEntry(port, mac, vid or None)
    if kind == "f":
        return FlushEntries(port, choose.choice(VIDS))
    return SetFlags(port, PortFlags(), PortFlags(learning=False, unicast_flood=choose.choice((False, True))))


def _frame(choose: Random, names: Sequence[str], groups: Sequence[str]) -> tuple[str, Frame]:
    """A long frame does not fit through the far end of a short cable, nor out of a host whose bridge has such ports."""
    ingress = choose.choice((*names, *names, *names, *names, BRIDGE))
    tags = tuple(choose.choice(_TAGS) for _ in range(choose.choice((0, 0, 0, 1, 1, 1, 2))))
    length = 80 if ingress in (SHORT, BRIDGE) else choose.choice(_LENGTHS)
    source, destination = choose.choice(_SOURCES), choose.choice(_DESTINATIONS)
    if groups and choose.random() < 0.6:
        source, destination = choose.choice(STATIONS), choose.choice(groups)
    if destination not in randomgroups.IP_GROUPS:
        return ingress, Frame(source, destination, tags, length)
    ip_source = choose.choice(randomgroups.SOURCES[ip_address(destination).version])
    return ingress, Frame(source, mac_of(destination), tags, length, destination, ip_source)


def requests(made: Made, yard: Yard) -> list[Message]:
    """What makes the bridge, in order. Some of it the kernel may refuse; the bridge is then as it is read."""
    return list(_requests(made, yard))


def deletion() -> Message:
    return (wire.RTM_NEWLINK + 1, 0x1, LINK.pack(0, 0, IFINDEX, 0, 0))


def _requests(made: Made, yard: Yard) -> Iterator[Message]:
    switches = _NO_LINK_LOCAL_LEARNING * (not made.link_local_learning) | _MST * made.mst
    switches |= _SNOOPING_BY_VLAN * made.snooping_by_vlan
    options = {
        1: struct.pack("=I", 0),  # no forwarding delay
        8: struct.pack("!H", ETHERTYPES[made.protocol]),
        9: struct.pack("=H", made.group_forward),
        23: bytes((made.snooping,)),
        34: struct.pack("=Q", 0),  # how long it floods after it has become the querier
        22: bytes((made.router,)),
        43: bytes((3 if made.sources else 2,)),
        44: bytes((2 if made.sources else 1,)),
        39: struct.pack("=H", 0),
        46: struct.pack("=II", switches, switches),
    }
    if not made.vlan_filtering:
        options = {number: value for number, value in options.items() if number not in (8, 39)}
    yield _bridge(options | ({7: b"\1"} if made.vlan_filtering else {}), _IFF_UP * made.up, new=True)
    for port in made.ports:
        yield (wire.RTM_NEWLINK, _CHANGE, LINK.pack(0, 0, yard.ifindexes[port.name], 0, 0) + _u32(10, IFINDEX))
        flags = b"".join(attribute(number, bytes((port.flags[name],))) for name, number in PORT_FLAGS.items())
        yield _port_attributes(yard.ifindexes[port.name], flags)
        yield _port_attributes(yard.ifindexes[port.name], attribute(31, struct.pack("=H", port.group_forward)))
        yield _port_attributes(yard.ifindexes[port.name], attribute(25, bytes((port.router,))))
    for port in made.ports:
        if port.backup not in ("", port.name):
            ifindex = yard.ifindexes[port.name]
            yield _port_attributes(ifindex, _u32(34, yard.ifindexes[port.backup]))
    if made.vlan_filtering:
        for ifindex, vlans in ((IFINDEX, made.vlans), *((yard.ifindexes[p.name], p.vlans) for p in made.ports)):
            yield from _vlan_requests(ifindex, vlans, made.mst)
    for put in made.in_mdb:
        yield randomgroups.entry_request(put, IFINDEX if put.port == BRIDGE else yard.ifindexes[put.port], IFINDEX)
    for entry in made.entries:
        yield _entry(entry, IFINDEX if entry.port == BRIDGE else yard.ifindexes[entry.port], made.ages)
    for port in made.ports:
        if made.forced or port.state is not PortState.FORWARDING:
            yield _port_attributes(yard.ifindexes[port.name], attribute(1, bytes((port.state,))))
    late = {49: struct.pack("=I", made.most_learned)} if made.most_learned else {}
    late |= {} if made.ages else {4: struct.pack("=I", 0)}
    late |= {5: struct.pack("=I", 1)} if made.stp else {}
    late |= {25: b"\1"} if made.querier else {}
    yield from (_bridge({number: value}) for number, value in late.items())
    for flag in (_IFF_PROMISC * made.promiscuous, _IFF_ALLMULTI * made.all_multicast):
        yield (wire.RTM_NEWLINK, _CHANGE, LINK.pack(0, 0, IFINDEX, flag, flag))


def _bridge(options: dict[int, bytes], flags: int = 0, new: bool = False) -> Message:
    data = b"".join(attribute(number, value) for number, value in options.items())
    info = attribute(18 | NLA_F_NESTED, attribute(1, b"bridge\0") + attribute(2 | NLA_F_NESTED, data))
    if not new:
        return (wire.RTM_NEWLINK, _CHANGE, LINK.pack(0, 0, IFINDEX, 0, 0) + info)
    body = LINK.pack(0, 0, IFINDEX, flags, flags) + attribute(3, BRIDGE.encode() + b"\0")
    return (wire.RTM_NEWLINK, _CREATE, body + attribute(1, bytes.fromhex(BRIDGE_MAC.replace(":", ""))) + info)


def _port_attributes(ifindex: int, attributes: bytes) -> Message:
    body = LINK.pack(wire.AF_BRIDGE, 0, ifindex, 0, 0) + attribute(wire.IFLA_PROTINFO | NLA_F_NESTED, attributes)
    return (wire.RTM_SETLINK, _CHANGE, body)


def _vlan_requests(ifindex: int, vlans: tuple[Vlan, ...], mst: bool) -> Iterator[Message]:
    for vlan in vlans:
        info = attribute(0, struct.pack("=H", 2)) if ifindex == IFINDEX else b""
        info += attribute(2, struct.pack("=HH", vlan.flags, vlan.vid))
        body = LINK.pack(wire.AF_BRIDGE, 0, ifindex, 0, 0) + attribute(26 | NLA_F_NESTED, info)
        yield (wire.RTM_SETLINK, _CHANGE, body)
        if mst and ifindex == IFINDEX:  # an instance of the spanning tree for each VLAN
            yield _vlan_message(ifindex, 2, attribute(1, struct.pack("=H", vlan.vid)) + _u16(18, vlan.vid))
        elif mst:
            entry = attribute(1, struct.pack("=H", vlan.vid)) + attribute(2, bytes((vlan.state,)))
            inside = attribute(6 | NLA_F_NESTED, attribute(1 | NLA_F_NESTED, entry))
            yield (wire.RTM_SETLINK, _CHANGE, body[: LINK.size] + attribute(26 | NLA_F_NESTED, inside))
        elif vlan.state is not PortState.FORWARDING:
            info = attribute(1, struct.pack("=HH", _ONLY_OPTIONS, vlan.vid)) + attribute(3, bytes((vlan.state,)))
            yield _vlan_message(ifindex, 1, info)


def _vlan_message(ifindex: int, kind: int, inside: bytes) -> Message:
    return (112, _CHANGE, struct.pack("=B3xI", wire.AF_BRIDGE, ifindex) + attribute(kind | NLA_F_NESTED, inside))


def _entry(put: Put, ifindex: int, ages: bool) -> Message:
    state = put.state if ages or put.state is not EntryState.DYNAMIC else EntryState.STATIC
    if put.port == BRIDGE:
        state = EntryState.LOCAL
    flags = _SELF if put.port == BRIDGE else _MASTER
    if state is not EntryState.LOCAL:
        flags |= _STICKY * put.sticky | _EXT_LEARNED * (put.extern_learn and ages)
    body = wire.NEIGHBOUR.pack(wire.AF_BRIDGE, ifindex, _STATES[state], flags, 0)
    body += attribute(wire.NDA_LLADDR, bytes.fromhex(put.mac.replace(":", "")))
    body += _u16(wire.NDA_VLAN, put.vid) if put.vid else b""
    return (wire.RTM_NEWNEIGH, 0x1 | 0x400 | 0x100, body)


def _u16(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=H", value))


def _u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))
