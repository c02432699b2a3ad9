"""Random groups of a bridge that snoops multicast: entries of its MDB, queries and reports that it hears.

The packets are those of RFC 2236, 3376, 2710 and 3810: a bridge believes a report only with its checksums.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from random import Random

from macmgr.kernel import wire
from macmgr.kernel.wire import NLA_F_NESTED, Message, attribute
from macmgr.model.multicast import mac_of

# Some share a MAC; nobody asks for 224.0.0.251 and ff02::1
IP_GROUPS = ("225.2.3.4", "226.130.3.4", "224.0.0.251", "239.0.0.251", "ff05::77", "ff15::77", "ff02::1", "ff02::fb")
OTHER_GROUPS = ("01:00:0c:cc:cc:cc", "01:00:5e:02:03:04", "01:80:c2:00:00:10")  # the second: of a frame that is not IP
SOURCES = {4: ("10.0.0.1", "10.0.0.2"), 6: ("fe80::1", "fe80::2")}
QUERIER = {4: "10.0.0.3", 6: "fe80::3"}
_QUERY_TIME = {4: 0.1, 6: 0.001}  # seconds: the shortest that a query can say; so long the bridge floods still
_MODE_IS_INCLUDE, _MODE_IS_EXCLUDE = 1, 2
_PERMANENT = 1


@dataclass(frozen=True)
class InMdb:
    """An entry of the MDB, put by hand. On the bridge itself it is the host's."""

    group: str
    vid: int
    port: str
    source: str
    permanent: bool


@dataclass(frozen=True)
class Report:
    """A station behind a port asks for a group: from the ``sources`` only, or from all but them."""

    port: str
    station: str
    group: str
    exclude: bool
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Query:
    """A multicast router behind a port asks who wants what."""

    port: str
    version: int


Heard = Query | Report


def entries(
    choose: Random, groups: Sequence[str], names: Sequence[str], bridge: str, vids: Sequence[int]
) -> tuple[InMdb, ...]:
    return tuple(_entry(choose, groups, names, bridge, vids) for _ in range(choose.randint(0, 6)))


def _entry(choose: Random, groups: Sequence[str], names: Sequence[str], bridge: str, vids: Sequence[int]) -> InMdb:
    group = choose.choice((*groups, *groups, *groups, choose.choice(OTHER_GROUPS)))
    port = choose.choice((*names, *names, bridge))
    source = choose.choice(("", "", *_sources(group)))
    return InMdb(group, choose.choice(vids), port, source, port != bridge and choose.choice((False, True)))


def heard(
    choose: Random, groups: Sequence[str], names: Sequence[str], stations: Sequence[str], *, queried: bool
) -> tuple[Heard, ...]:
    """Reports, and queries if they are wanted: behind one, a bridge has to be waited for."""
    found: list[Heard] = []
    for _ in range(choose.randint(0, 8)):
        group = choose.choice(groups)
        sources = tuple(source for source in _sources(group) if choose.choice((False, True)))
        exclude = choose.choice((False, True))
        found.append(Report(choose.choice(names), choose.choice(stations), group, exclude, sources))
    if queried:
        found += [Query(choose.choice(names), version) for version in (4, 6)]
    return tuple(found)


def _sources(group: str) -> tuple[str, ...]:
    return () if mac_of(group) == group else SOURCES[ip_address(group).version]


def entry_request(put: InMdb, ifindex: int, bridge: int) -> Message:
    """RTM_NEWMDB."""
    if mac_of(put.group) == put.group:
        address, protocol = bytes.fromhex(put.group.replace(":", "")), 0
    else:
        ip = ip_address(put.group)
        address, protocol = ip.packed, 0x0800 if ip.version == 4 else 0x86DD
    entry = struct.pack("=IBBH16s", ifindex, _PERMANENT * put.permanent, 0, put.vid, address)
    body = attribute(1, entry + struct.pack("!Hxx", protocol))
    if put.source:
        body += attribute(2 | NLA_F_NESTED, attribute(1, ip_address(put.source).packed))
    return (84, 0x1 | 0x400, struct.pack("=B3xI", wire.AF_BRIDGE, bridge) + body)


def frame_of(said: Heard) -> bytes:
    """A query or report as a frame without a tag."""
    if isinstance(said, Query):
        version, source, station = said.version, QUERIER[said.version], "02:00:00:00:00:03"
        to = "224.0.0.1" if version == 4 else "ff02::1"
    else:
        version, station = ip_address(said.group).version, said.station
        source, to = ("10.0.0.9", "224.0.0.22") if version == 4 else ("fe80::9", "ff02::16")
    packet = _ipv4(source, to, _igmp(said)) if version == 4 else _ipv6(source, to, _mld(said))
    kind = b"\x08\x00" if version == 4 else b"\x86\xdd"
    return bytes.fromhex((mac_of(to) + station).replace(":", "")) + kind + packet


def _igmp(said: Heard) -> bytes:
    if isinstance(said, Query):
        return _summed(struct.pack("!BBH4x", 0x11, int(_QUERY_TIME[4] * 10), 0), 2, b"")
    kind = _MODE_IS_EXCLUDE if said.exclude else _MODE_IS_INCLUDE
    record = struct.pack("!BBH4s", kind, 0, len(said.sources), IPv4Address(said.group).packed)
    record += b"".join(IPv4Address(each).packed for each in said.sources)
    return _summed(struct.pack("!BxHHH", 0x22, 0, 0, 1) + record, 2, b"")


def _mld(said: Heard) -> bytes:
    if isinstance(said, Query):
        return struct.pack("!BBHHH16x", 130, 0, 0, int(_QUERY_TIME[6] * 1000), 0)
    kind = _MODE_IS_EXCLUDE if said.exclude else _MODE_IS_INCLUDE
    record = struct.pack("!BBH16s", kind, 0, len(said.sources), IPv6Address(said.group).packed)
    record += b"".join(IPv6Address(each).packed for each in said.sources)
    return struct.pack("!BxHHH", 143, 0, 0, 1) + record


def _ipv4(source: str, to: str, payload: bytes) -> bytes:
    """With the router alert option, as each message of IGMP has it."""
    head = struct.pack("!BBHHHBBH", 0x46, 0xC0, 24 + len(payload), 0, 0, 1, 2, 0)
    head += IPv4Address(source).packed + IPv4Address(to).packed + b"\x94\4\0\0"
    return _summed(head, 10, b"") + payload


def _ipv6(source: str, to: str, payload: bytes) -> bytes:
    addresses = IPv6Address(source).packed + IPv6Address(to).packed
    summed = _summed(payload, 2, addresses + struct.pack("!II", len(payload), 58))
    hop_by_hop = b"\x3a\0\5\2\0\0\1\0"
    return struct.pack("!IHBB", 0x60000000, 8 + len(summed), 0, 1) + addresses + hop_by_hop + summed


def _summed(data: bytes, place: int, pseudo_header: bytes) -> bytes:
    """The data with the checksum of the Internet in its place."""
    return data[:place] + struct.pack("!H", checksum(pseudo_header + data)) + data[place + 2 :]


def checksum(data: bytes) -> int:
    words = data + bytes(len(data) % 2)
    total = sum(int.from_bytes(words[place : place + 2]) for place in range(0, len(words), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total
