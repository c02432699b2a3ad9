"""A kernel in memory behind the bytes of an rtnetlink socket, so that all of `macmgr.kernel` runs on it.

It answers dumps, look-ups and changes of a `FakeKernel`. Its proof is the way there and back: what `macmgr.kernel`
reads from it is the snapshot that it was made of (`is_true_to`). ``points`` decides what fails.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, cast

from macmgr.kernel import wire
from macmgr.kernel.attributes import (
    IFF_ALLMULTI,
    IFF_LOWER_UP,
    IFF_RUNNING,
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
)
from macmgr.kernel.edge import Kernel
from macmgr.kernel.links import IFLA_BRPORT_BACKUP_PORT, IFLA_MTU, IFLA_VXLAN_LEARNING
from macmgr.kernel.vlanstates import RTM_GETVLAN
from macmgr.model.changes import AddVids, DeleteEntry, DeleteVids, FlushEntries, Request
from macmgr.model.flags import FLAGS
from macmgr.model.snapshot import VXLAN, Bridge, BridgePort, Entry, EntryState, Key, Snapshot
from tests.fake_kernel import FakeKernel, set_port
from tests.faults.points import ACKNOWLEDGED, Points

RTM_GETMDB = 86
_AGE = 1000  # hundredths of a second, of every entry
_STATES = {
    EntryState.LOCAL: wire.NUD_PERMANENT,
    EntryState.STATIC: wire.NUD_NOARP,
    EntryState.DYNAMIC: wire.NUD_REACHABLE,
}
_BY_STATE = {wire.NUD_NOARP | wire.NUD_REACHABLE: EntryState.STATIC, wire.NUD_REACHABLE: EntryState.DYNAMIC}
_CACHE_INFO = struct.Struct("=IIII")
_ALL_SWITCHES = 0x1F


class Sent(NamedTuple):
    """A message as macmgr has sent it."""

    kind: int
    flags: int
    sequence: int
    data: bytes

    @property
    def is_dump(self) -> bool:
        return self.flags & wire.NLM_F_DUMP == wire.NLM_F_DUMP and self.kind in (
            wire.RTM_GETLINK,
            wire.RTM_GETNEIGH,
            RTM_GETVLAN,
            RTM_GETMDB,
        )


def is_true_to(fake: FakeKernel) -> bool:
    """What macmgr reads from the bytes is the snapshot; of other interfaces there may be more."""
    start, wired = fake.read_snapshot(), WireKernel(fake, Points())
    with wired.opened() as kernel:
        read = kernel.read_snapshot()
    there = frozenset(start.entries) == frozenset(read.entries)
    known = {name: read.masters.get(name) for name in start.masters} == dict(start.masters)
    return (
        there and known and (read.bridges, read.ports) == (start.bridges, start.ports) and start.stacked == read.stacked
    )


class WireKernel:
    """One network namespace. ``batch`` is the number of requests that macmgr sends at a time."""

    def __init__(self, fake: FakeKernel, points: Points, batch: int = 500) -> None:
        self.fake, self.points, self.batch = fake, points, batch
        others = [name for name in fake.masters if name not in fake.bridges and name not in fake.ports]
        others += [each.name for each in fake.stacked if each.name not in fake.masters]
        self._others = {name: 5000 + number for number, name in enumerate(dict.fromkeys(others))}

    def open(self, namespace: str | None = None, groups: int = 0) -> socket.socket:
        """As `macmgr.kernel.netlink.open_socket`."""
        return cast("socket.socket", WireSocket(self))

    def opened(self) -> Kernel:
        """A kernel edge with this one behind it, for a test that patches nothing."""
        from macmgr.kernel import netlink

        before, netlink.open_socket = netlink.open_socket, self.open
        try:
            return Kernel()
        finally:
            netlink.open_socket = before

    def answer(self, sent: Sent) -> Iterator[bytes]:
        """The datagrams that answer one message; carries it out."""
        failure = self.points.message(sent)
        if failure and failure != ACKNOWLEDGED:
            yield _error(sent, failure)
            return
        if sent.is_dump:
            yield from self._dump(sent)
            return
        code, reply = (0, b"") if failure else self._act(sent)
        if reply:
            yield reply
        if code or sent.flags & wire.NLM_F_ACK:
            yield _error(sent, code)

    def _dump(self, sent: Sent) -> Iterator[bytes]:
        family = sent.data[16]
        if sent.kind == wire.RTM_GETLINK:
            found = self._vids() if family == wire.AF_BRIDGE else self._links()
            kind = wire.RTM_NEWLINK
        elif sent.kind == wire.RTM_GETNEIGH:
            found, kind = self._entries(sent), wire.RTM_NEWNEIGH
        else:
            found, kind = iter(()), 0
        messages = [_message(kind, 2, sent.sequence, payload) for payload in found]
        done = _message(wire.NLMSG_DONE, 2, sent.sequence, struct.pack("=i", 0))
        half = (len(messages) + 1) // 2  # a dump comes in several datagrams, with the end in the last one or alone
        yield from filter(None, (b"".join(messages[:half]), b"".join(messages[half:]), done))

    # Interfaces

    def _index(self, name: str | None) -> int:
        if name in self.fake.bridges:
            return self.fake.bridges[name].ifindex
        if name in self.fake.ports:
            return self.fake.ports[name].ifindex
        return self._others.get(name or "", 0)

    def _links(self) -> Iterator[bytes]:
        for bridge in self.fake.bridges.values():
            yield self._bridge(bridge)
        for port in self.fake.ports.values():
            yield self._port(port)
        stacked = {each.name: each for each in self.fake.stacked}
        for name, ifindex in self._others.items():
            attributes = {IFLA_IFNAME: name.encode() + b"\0", IFLA_ADDRESS: bytes(6)}
            if master := self._index(self.fake.masters.get(name)):
                attributes[wire.IFLA_MASTER] = _u32(master)
            if each := stacked.get(name):
                attributes |= {IFLA_ADDRESS: _mac(each.mac), IFLA_LINK: _u32(self._index(each.bridge))}
                data = _nested({IFLA_VLAN_ID: struct.pack("=H", each.vids[0])}) if each.kind == "vlan" else b""
                attributes[IFLA_LINKINFO] = _nested({IFLA_INFO_KIND: each.kind.encode() + b"\0", IFLA_INFO_DATA: data})
            yield wire.LINK.pack(wire.AF_UNSPEC, 1, ifindex, IFF_UP, 0) + _nested(attributes)

    def _bridge(self, bridge: Bridge) -> bytes:
        relay = bridge.relay
        on = (not relay.link_local_learning) | relay.snooping_by_vlan << 1 | relay.mst << 2 | relay.local_in_vid_0 << 4
        data = {
            IFLA_BR_VLAN_FILTERING: bytes([bridge.vlan_filtering]),
            8: b"\x88\xa8" if relay.protocol.name == "DOT1AD" else b"\x81\x00",
            5: _u32(relay.stp),
            4: _u32(30000 if relay.ages else 0),
            9: struct.pack("=H", relay.group_forward),
            23: bytes([relay.snooping]),
            25: bytes([bool(relay.querier)]),
            46: struct.pack("=II", on, _ALL_SWITCHES),
            22: bytes([relay.router]),
            43: bytes([3 if relay.sources_ipv4 else 2]),
            44: bytes([2 if relay.sources_ipv6 else 1]),
        }
        if bridge.default_pvid is not None:
            data[IFLA_BR_VLAN_DEFAULT_PVID] = struct.pack("=H", bridge.default_pvid)
        flags = IFF_UP * bridge.up | IFF_RUNNING * relay.operational | IFF_ALLMULTI * relay.all_multicast
        attributes = {
            IFLA_IFNAME: bridge.name.encode() + b"\0",
            IFLA_ADDRESS: _mac(bridge.mac),
            IFLA_PROMISCUITY: _u32(bridge.promiscuity),
            IFLA_LINKINFO: _nested({IFLA_INFO_KIND: b"bridge\0", IFLA_INFO_DATA: _nested(data)}),
        }
        return wire.LINK.pack(wire.AF_UNSPEC, 1, bridge.ifindex, flags, 0) + _nested(attributes)

    def _port(self, port: BridgePort) -> bytes:
        relay = port.relay
        slave = {
            1: bytes([relay.state]),
            4: bytes([relay.hairpin]),
            10: bytes([relay.proxy_arp]),
            27: bytes([relay.multicast_flood]),
            30: bytes([relay.broadcast_flood]),
            31: struct.pack("=H", relay.group_forward),
            40: bytes([relay.mab]),
            25: bytes([relay.router]),
            28: bytes([relay.to_unicast]),
        }
        slave |= {flag.number: bytes([value]) for flag in FLAGS if (value := port.flags.value(flag)) is not None}
        if relay.backup:
            slave[IFLA_BRPORT_BACKUP_PORT] = _u32(self._index(relay.backup))
        info = {IFLA_INFO_SLAVE_KIND: b"bridge\0", IFLA_INFO_SLAVE_DATA: _nested(slave)}
        if port.kind:
            learning = {IFLA_VXLAN_LEARNING: bytes([port.tunnel_learning])} if port.tunnel_learning is not None else {}
            data = {IFLA_INFO_DATA: _nested(learning)} if port.kind == VXLAN else {}
            info = {IFLA_INFO_KIND: port.kind.encode() + b"\0"} | data | info
        attributes = {
            IFLA_IFNAME: port.name.encode() + b"\0",
            IFLA_ADDRESS: _mac(port.mac),
            wire.IFLA_MASTER: _u32(self._index(port.bridge)),
            IFLA_PROMISCUITY: _u32(port.promiscuity),
            IFLA_MTU: _u32(relay.mtu),
            IFLA_LINKINFO: _nested(info),
        }
        if port.elsewhere:
            attributes |= {IFLA_LINK_NETNSID: _u32(0), IFLA_LINK: _u32(7)}
        elif port.peer:
            attributes |= {IFLA_LINK: _u32(self._index(port.peer))}
        flags = IFF_UP * port.up | IFF_RUNNING * relay.operational | IFF_LOWER_UP * relay.carrier
        return wire.LINK.pack(wire.AF_UNSPEC, 1, port.ifindex, flags, 0) + _nested(attributes)

    def _vids(self) -> Iterator[bytes]:
        interfaces: list[Bridge | BridgePort] = [*self.fake.bridges.values(), *self.fake.ports.values()]
        for each in interfaces:
            master = each.bridge if isinstance(each, BridgePort) else each.name
            info = b"".join(
                wire.attribute(
                    wire.IFLA_BRIDGE_VLAN_INFO,
                    wire.VLAN_INFO.pack(
                        wire.VLAN_PVID * (vid == each.pvid) | wire.VLAN_UNTAGGED * (vid in each.untagged), vid
                    ),
                )
                for vid in each.vids
            )
            attributes = wire.attribute(wire.IFLA_MASTER, _u32(self._index(master)))
            attributes += wire.attribute(wire.IFLA_AF_SPEC, info)
            yield wire.LINK.pack(wire.AF_BRIDGE, 1, each.ifindex, 0, 0) + attributes

    # The FDB

    def _entries(self, sent: Sent) -> Iterator[bytes]:
        _, ifindex, *_ = wire.NEIGHBOUR.unpack_from(sent.data, 16)
        asked = _attributes(sent.data, 28)
        bridge = _number(asked.get(wire.NDA_MASTER, b""))
        for key, entry in self.fdb().items():
            if bridge in (0, self._index(key[0])) and ifindex in (0, self._index(entry.port)):
                yield self._entry(key, entry)

    def fdb(self) -> Mapping[Key, Entry]:
        return {key: entry for key, entry in self.fake.fdb.items() if key not in self.fake.skipped_by_dumps}

    def _entry(self, key: Key, entry: Entry) -> bytes:
        flags = wire.NTF_EXT_LEARNED * entry.extern_learn | wire.NTF_STICKY * entry.sticky
        payload = wire.NEIGHBOUR.pack(wire.AF_BRIDGE, self._index(entry.port), _STATES[entry.state], flags, 0)
        payload += wire.attribute(wire.NDA_LLADDR, _mac(entry.mac))
        payload += wire.attribute(wire.NDA_MASTER, _u32(self._index(key[0])))
        payload += wire.attribute(wire.NDA_CACHEINFO, _CACHE_INFO.pack(0, _AGE, _AGE, 0))
        return payload + (wire.attribute(wire.NDA_VLAN, struct.pack("=H", entry.vid)) if entry.vid else b"")

    # Requests

    def _act(self, sent: Sent) -> tuple[int, bytes]:
        """The errno of a request, and what it is answered with besides."""
        if sent.kind == wire.RTM_GETNEIGH:
            asked = _attributes(sent.data, 28)
            vid, master = _number(asked.get(wire.NDA_VLAN, b"")), _number(asked[wire.NDA_MASTER])
            names = [name for name, bridge in self.fake.bridges.items() if bridge.ifindex == master]
            if not names:
                return errno.ENODEV, b""
            key = names[0], asked[wire.NDA_LLADDR].hex(":"), vid
            entry = self.fake.fdb.get(key)
            if entry is None:
                return errno.ENOENT, b""
            return 0, _message(wire.RTM_NEWNEIGH, 0, sent.sequence, self._entry(key, entry))
        if sent.kind == wire.RTM_GETLINK:  # the far end of a cable: out of sight
            return errno.EPERM, b""
        form = wire.LINK if sent.kind in (wire.RTM_SETLINK, wire.RTM_DELLINK) else wire.NEIGHBOUR
        ifindex = form.unpack_from(sent.data, 16)[2 if form is wire.LINK else 1]
        names = [name for name, port in self.fake.ports.items() if port.ifindex == ifindex]
        if not names:
            return (errno.ENODEV if ifindex else errno.EINVAL), b""
        requests = self._requests(sent, names[0])
        ports = cast("Snapshot", _Ports(self.fake.ports))
        for request in requests:
            refusal = self.fake._carry_out(request, ports)
            if refusal is not None:
                return refusal.errno, b""
        return 0, b""

    def _requests(self, sent: Sent, port: str) -> Iterable[Request]:
        if sent.kind in (wire.RTM_SETLINK, wire.RTM_DELLINK):
            found = _attributes(sent.data, 32)
            if wire.IFLA_PROTINFO in found:
                values = _attributes(found[wire.IFLA_PROTINFO], 0)
                return [set_port(port, **{f.field: values[f.number] != b"\0" for f in FLAGS if f.number in values})]
            ends = [
                wire.VLAN_INFO.unpack(value) for value in _every(found[wire.IFLA_AF_SPEC], wire.IFLA_BRIDGE_VLAN_INFO)
            ]
            (flags, first), (_, last) = ends[0], ends[-1]
            if sent.kind == wire.RTM_DELLINK:
                return [DeleteVids(port, first, last)]
            return [AddVids(port, first, last, bool(flags & wire.VLAN_PVID), bool(flags & wire.VLAN_UNTAGGED))]
        _, _, state, flags, _ = wire.NEIGHBOUR.unpack_from(sent.data, 16)
        found = _attributes(sent.data, 28)
        vid = _number(found.get(wire.NDA_VLAN, b""))
        if sent.flags & wire.NLM_F_BULK and sent.kind == wire.RTM_DELNEIGH:
            return [FlushEntries(port, vid)]
        mac = found[wire.NDA_LLADDR].hex(":")
        if sent.kind == wire.RTM_DELNEIGH:
            return [DeleteEntry(port, mac, vid or None)]
        sticky, extern = bool(flags & wire.NTF_STICKY), bool(flags & wire.NTF_EXT_LEARNED)
        return [Entry(mac, vid, port, _BY_STATE[state], sticky, extern)]


class _Ports(NamedTuple):
    """The part of a snapshot that a request is held against."""

    ports: Mapping[str, BridgePort]


class WireSocket:
    """The methods of a netlink socket that macmgr calls."""

    def __init__(self, kernel: WireKernel) -> None:
        self._kernel, self._points = kernel, kernel.points
        self._waiting: deque[bytes] = deque()
        self._closed = False

    def setsockopt(self, *_: Any) -> None:
        pass

    def getsockopt(self, *_: Any) -> int:
        return self._kernel.batch * 2048

    def close(self) -> None:
        self._closed = True

    def send(self, data: bytes) -> int:
        self._alive()
        self._points.send()
        for kind, flags, sequence, message in wire.messages(data):
            self._waiting += self._kernel.answer(Sent(kind, flags, sequence, message))
        self._points.sent()
        return len(data)

    def recv(self, size: int, flags: int = 0) -> bytes:
        self._alive()
        if flags & socket.MSG_DONTWAIT and not self._waiting:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return self._points.recv(self._waiting)

    def _alive(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "Bad file descriptor")


def _message(kind: int, flags: int, sequence: int, payload: bytes) -> bytes:
    message = wire.HEADER.pack(wire.HEADER.size + len(payload), kind, flags, sequence, 0) + payload
    return message + bytes(-len(message) % 4)


def _error(sent: Sent, code: int) -> bytes:
    kind = wire.NLMSG_DONE if sent.is_dump and code != errno.EBUSY else wire.NLMSG_ERROR
    payload = struct.pack("=i", -code) + (b"" if kind == wire.NLMSG_DONE else sent.data[:16])
    return _message(kind, wire.NLM_F_CAPPED if kind == wire.NLMSG_ERROR else 2, sent.sequence, payload)


def _nested(attributes: Mapping[int, bytes]) -> bytes:
    return b"".join(wire.attribute(kind, value) for kind, value in attributes.items())


def _attributes(data: bytes, position: int) -> dict[int, bytes]:
    return {kind: data[start:stop] for kind, start, stop in wire.attributes(data, position, len(data))}


def _every(data: bytes, wanted: int) -> list[bytes]:
    return [data[start:stop] for kind, start, stop in wire.attributes(data, 0, len(data)) if kind == wanted]


def _number(value: bytes) -> int:
    return int.from_bytes(value, "little")


def _u32(value: int) -> bytes:
    return struct.pack("=I", value)


def _mac(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def copy_of(fake: FakeKernel) -> FakeKernel:
    """The same kernel, to be changed by itself."""
    twin = FakeKernel(Snapshot())
    for name, value in vars(fake).items():
        vars(twin)[name] = value.copy() if isinstance(value, dict | set | list) else value
    return twin


def state_of(fake: FakeKernel) -> tuple[object, ...]:
    """What decides about frames, to be compared and kept in a set."""
    ports = tuple(
        sorted(
            (name, port.bridge, port.flags, port.vids, port.pvid, port.untagged) for name, port in fake.ports.items()
        )
    )
    return ports, frozenset(fake.fdb.items())


def snapshot_of(fake: FakeKernel) -> Snapshot:
    return replace(fake.read_snapshot(), listed=None)
