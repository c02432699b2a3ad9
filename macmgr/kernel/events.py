"""The kernel's events, from the netlink multicast groups of interfaces, neighbours and the VIDs of bridge ports.

A bridge reports a port's flags and VIDs in a message of its own (AF_BRIDGE, br_netlink.c, br_info_notify); masters,
kinds and VLAN filtering come with the message about the interface (AF_UNSPEC, rtnetlink.c, rtmsg_ifinfo). A write that
changes nothing is reported like one that does. A bridge reports what its default PVID does to its ports only in the
group of VIDs (br_vlan.c, br_vlan_notify; Linux 5.6). An older kernel reports just the bridge's own interface.
"""

from __future__ import annotations

import errno
import struct
import sys
from collections.abc import Collection, Iterator
from contextlib import suppress
from functools import lru_cache

from macmgr.kernel.attributes import (
    IFF_RUNNING,
    IFF_UP,
    IFLA_BR_VLAN_DEFAULT_PVID,
    IFLA_BR_VLAN_FILTERING,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_INFO_SLAVE_DATA,
    IFLA_INFO_SLAVE_KIND,
    IFLA_LINKINFO,
    PORT_RELAY,
    read_number,
    read_port_flags,
    read_port_relay,
    read_port_vids,
    read_text,
)
from macmgr.kernel.bpf import detach
from macmgr.kernel.entryfilter import leave_out
from macmgr.kernel.fdbdump import entry_state
from macmgr.kernel.links import IFLA_MTU
from macmgr.kernel.netlink import open_socket, raise_for
from macmgr.kernel.wire import (
    AF_BRIDGE,
    AF_UNSPEC,
    ATTRIBUTE,
    HEADER,
    IFLA_AF_SPEC,
    IFLA_MASTER,
    IFLA_PROTINFO,
    LINK,
    NDA_LLADDR,
    NDA_MASTER,
    NDA_VLAN,
    NEIGHBOUR,
    NTF_EXT_LEARNED,
    NTF_STICKY,
    RTM_DELNEIGH,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    VLAN_INFO,
    VLAN_PVID,
    VLAN_UNTAGGED,
    WireError,
    attributes,
    messages,
)
from macmgr.model.flags import FLAGS, PortFlags
from macmgr.model.kernelevents import LOST, EntryEvent, Event, LinkEvent, Strangers, VlanEvent
from macmgr.model.relay import PortRelay, PortState

RTM_DELLINK = 17
RTM_NEWVLAN, RTM_DELVLAN = 112, 113  # include/uapi/linux/rtnetlink.h
_GROUPS = 1 << 0 | 1 << 2  # RTNLGRP_LINK is group 1, RTNLGRP_NEIGH group 3
_VLAN_GROUP = 33  # RTNLGRP_BRVLAN: a mask has no place for it
_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP = 270, 1
_AT_ONCE = 500  # datagrams a call: some milliseconds, so that who calls can do other things between two
_RECEIVE_SIZE = 64 * 1024
_MOST_THAT_WAIT = 65536  # datagrams: more than 8 MiB can hold, for each is charged with some 700 bytes
_ENTRY_BODY = HEADER.size + NEIGHBOUR.size
_LINK_BODY = HEADER.size + LINK.size
_VLAN = struct.Struct("=BBHI")  # struct br_vlan_msg: family, reserved, reserved, ifindex
_BRIDGE_VLANDB_ENTRY, _BRIDGE_VLANDB_ENTRY_INFO, _BRIDGE_VLANDB_ENTRY_RANGE = 1, 1, 2  # if_bridge.h
_BRIDGE_VLANDB_ENTRY_STATE = 3
_VLAN_BODY = HEADER.size + _VLAN.size
_ENTRY = struct.Struct("=IH10xB11xI8xII")  # length, kind, family, NDA_LLADDR and NDA_MASTER as headers, its value
_LLADDR, _MASTER = (
    int.from_bytes(ATTRIBUTE.pack(*each), sys.byteorder) for each in ((10, NDA_LLADDR), (8, NDA_MASTER))
)
_U16 = struct.Struct("=H")
_U32 = struct.Struct("=I")

_Places = dict[int, tuple[int, int]]
"""Start and stop of the values of attributes, by their type."""


class EventSocket:
    """Receives all changes from now on in the network namespace ``netns``, or in that of the calling thread."""

    def __init__(self, netns: str | None = None) -> None:
        self._socket = open_socket(netns, _GROUPS)
        with suppress(OSError):  # EINVAL: a kernel before 5.6
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _VLAN_GROUP)
        self._socket.setblocking(False)
        self._view = memoryview(bytearray(_RECEIVE_SIZE))  # kept: to make one takes longer than to read a datagram
        self._heeded: Collection[int] | None = None

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def heed(self, bridges: Collection[int]) -> None:
        """From now on leave out the FDB entries of all bridges but these: frames on others must not cost time."""
        self._heeded = bridges

    def leave_out(self, strangers: Strangers) -> None:
        """From now on the kernel keeps their entries to itself. What it queued before is there still."""
        try:
            leave_out(self._socket, strangers)
        except OSError:  # the old filter may leave out who is a guest by now: better hear of all of them
            detach(self._socket)

    def read(self) -> list[Event]:
        """The events that are there, from a bounded number of datagrams; empty when there are none.

        `LOST`: all must be read anew. After an overflow the kernel drops everything until the queue is empty, and
        reports that once (af_netlink.c, netlink_overrun). So the queue is emptied first: a snapshot read after `LOST`
        misses nothing.
        """
        events: list[Event] = []
        try:
            for _ in range(_AT_ONCE):
                length = self._socket.recv_into(self._view)
                if self._heeded is not None and is_strange(self._view[:length], self._heeded):
                    continue
                try:
                    events += decode_events(bytes(self._view[:length]))
                except WireError:
                    events.append(LOST)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise_for(error.errno or 0, "", "hearing of changes")
            self._empty()
            return [LOST]
        return events

    def _empty(self) -> None:
        for _ in range(_MOST_THAT_WAIT):
            try:
                self._socket.recv_into(self._view)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise_for(error.errno or 0, "", "hearing of changes")


def is_strange(data: bytes | memoryview, heeded: Collection[int]) -> bool:
    """The datagram holds one FDB entry of a bridge that is not heeded.

    Looks only where the kernel puts NDA_LLADDR and NDA_MASTER (br_fdb.c, fdb_fill_info). Any other layout is decoded.
    """
    if len(data) < _ENTRY.size:
        return False
    length, kind, family, first, second, bridge = _ENTRY.unpack_from(data)
    entry = kind in (RTM_NEWNEIGH, RTM_DELNEIGH) and family == AF_BRIDGE and length == len(data)
    return entry and (first, second) == (_LLADDR, _MASTER) and bridge not in heeded


def decode_events(data: bytes) -> list[Event]:
    """The events of one datagram; messages about other things are left out. WireError for what is malformed."""
    if len(data) >= _RECEIVE_SIZE:
        raise WireError(f"a netlink datagram of {len(data)} bytes or more: its end is lost")
    events: list[Event] = []
    for kind, _, _, message in messages(data):
        if kind in (RTM_NEWVLAN, RTM_DELVLAN):
            events += _vlan_events(message, kind == RTM_DELVLAN)
            continue
        event: Event | None = None
        if kind in (RTM_NEWNEIGH, RTM_DELNEIGH):
            event = _entry_event(message, kind == RTM_DELNEIGH)
        elif kind in (RTM_NEWLINK, RTM_DELLINK):
            event = _link_event(message, kind == RTM_DELLINK)
        if event is not None:
            events.append(event)
    return events


def _entry_event(message: bytes, gone: bool) -> EntryEvent | None:
    """None for what is in no bridge's FDB: an IP neighbour, or a device's own list (it has no NDA_MASTER)."""
    if len(message) < _ENTRY_BODY:
        raise WireError(f"neighbour message of {len(message)} bytes")
    if message[HEADER.size] != AF_BRIDGE:
        return None
    _, ifindex, state, flags, _ = NEIGHBOUR.unpack_from(message, HEADER.size)
    mac, bridge, vid = b"", 0, 0
    for kind, start, stop in attributes(message, _ENTRY_BODY, len(message)):
        if kind == NDA_LLADDR:
            mac = message[start:stop]
        elif kind == NDA_MASTER:
            bridge = _number(message[start:stop], _U32)
        elif kind == NDA_VLAN:
            vid = _number(message[start:stop], _U16)
    if not bridge or len(mac) != 6:
        return None
    sticky, extern_learn = bool(flags & NTF_STICKY), bool(flags & NTF_EXT_LEARNED)
    return EntryEvent(ifindex, bridge, mac.hex(":"), vid, gone, _entry_state(state), sticky, extern_learn)


_entry_state = lru_cache(maxsize=None)(entry_state)


def _link_event(message: bytes, gone: bool) -> LinkEvent | None:
    """None for another family's message about an interface, and for that of a NIC's embedded switch."""
    if len(message) < _LINK_BODY:
        raise WireError(f"interface message of {len(message)} bytes")
    family, _, ifindex, device_flags, _ = LINK.unpack_from(message, HEADER.size)
    if family not in (AF_BRIDGE, AF_UNSPEC):
        return None
    found = _attributes(message, _LINK_BODY, len(message))
    master = _number(_bytes(message, found, IFLA_MASTER), _U32) if IFLA_MASTER in found else None
    name = read_text(_bytes(message, found, IFLA_IFNAME))
    up, operational = bool(device_flags & IFF_UP), bool(device_flags & IFF_RUNNING)
    if family == AF_BRIDGE:
        event = LinkEvent(ifindex, name, gone, master, "", up, None, None, None, True, operational=operational)
        return _port_event(message, found, event, device_flags)
    if master == ifindex:
        master = None
    kind, flags, vlan_filtering, default_pvid, relay = "", None, None, None, None
    if IFLA_LINKINFO in found:
        info = _attributes(message, *found[IFLA_LINKINFO])
        kind = read_text(_bytes(message, info, IFLA_INFO_KIND))
        if kind == "bridge" and IFLA_INFO_DATA in info:
            data = _attributes(message, *info[IFLA_INFO_DATA])
            if IFLA_BR_VLAN_FILTERING in data:
                vlan_filtering = any(_bytes(message, data, IFLA_BR_VLAN_FILTERING))
            if IFLA_BR_VLAN_DEFAULT_PVID in data:
                default_pvid = _number(_bytes(message, data, IFLA_BR_VLAN_DEFAULT_PVID), _U16)
        if read_text(_bytes(message, info, IFLA_INFO_SLAVE_KIND)) == "bridge" and IFLA_INFO_SLAVE_DATA in info:
            flags, relay = _port(message, info[IFLA_INFO_SLAVE_DATA], found, device_flags)
    data_of_bridge = kind, up, flags, vlan_filtering, None, False, default_pvid, relay, operational
    return LinkEvent(ifindex, name, gone, master, *data_of_bridge)


def _vlan_events(message: bytes, gone: bool) -> Iterator[VlanEvent]:
    """A range of VIDs comes in one entry; a message may hold several, and entries of other kinds."""
    if len(message) < _VLAN_BODY:
        raise WireError(f"VLAN message of {len(message)} bytes")
    *_, ifindex = _VLAN.unpack_from(message, HEADER.size)
    for kind, start, stop in attributes(message, _VLAN_BODY, len(message)):
        if kind != _BRIDGE_VLANDB_ENTRY:
            continue
        entry = _attributes(message, start, stop)
        info = _bytes(message, entry, _BRIDGE_VLANDB_ENTRY_INFO)
        if len(info) != VLAN_INFO.size:
            raise WireError(f"VLAN of {len(info)} bytes")
        flags, first = VLAN_INFO.unpack(info)
        last = first
        if _BRIDGE_VLANDB_ENTRY_RANGE in entry:
            last = _number(_bytes(message, entry, _BRIDGE_VLANDB_ENTRY_RANGE), _U16)
        said = _bytes(message, entry, _BRIDGE_VLANDB_ENTRY_STATE)
        state = PortState(min(read_number(said), PortState.BLOCKING)) if said else None
        yield VlanEvent(ifindex, first, last, gone, bool(flags & VLAN_PVID), state, bool(flags & VLAN_UNTAGGED))


def _port_event(message: bytes, found: _Places, event: LinkEvent, device_flags: int) -> LinkEvent | None:
    """A port without VIDs has no IFLA_AF_SPEC, for the notification always asks for them (br_info_notify).

    A bridge that speaks of itself names itself as its master (br_fill_ifinfo), and has VIDs and no flags.
    """
    port_vids = read_port_vids(message, *found.get(IFLA_AF_SPEC, (0, 0)))
    if port_vids is None:
        return None
    vids = port_vids.vids
    if event.master == event.ifindex:
        return event._replace(master=None, vids=None if event.gone else vids)
    if IFLA_PROTINFO not in found or event.master is None or event.gone:
        return event
    flags, relay = _port(message, found[IFLA_PROTINFO], found, device_flags)
    return event._replace(flags=flags, vids=vids, relay=relay)


def _port(
    message: bytes, place: tuple[int, int], found: _Places, device_flags: int
) -> tuple[PortFlags | None, PortRelay]:
    """The port's flags, and what else of it decides about frames; the latter without what other interfaces say."""
    port, mtu = _attributes(message, *place), _bytes(message, found, IFLA_MTU)
    flags = read_port_flags(b"bridge", *(_bytes(message, port, flag.number) for flag in FLAGS))
    return flags, read_port_relay(device_flags, mtu, *(_bytes(message, port, number) for number in PORT_RELAY))


def _attributes(message: bytes, start: int, stop: int) -> _Places:
    return {kind: (first, last) for kind, first, last in attributes(message, start, stop)}


def _bytes(message: bytes, found: _Places, kind: int) -> bytes:
    start, stop = found.get(kind, (0, 0))
    return message[start:stop]


@lru_cache(maxsize=4096)
def _number(value: bytes, form: struct.Struct) -> int:
    if len(value) != form.size:
        raise WireError(f"netlink attribute of {len(value)} bytes where {form.size} were expected")
    number: int = form.unpack(value)[0]
    return number
