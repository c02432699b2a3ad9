"""Encodes and decodes rtnetlink: macmgr's requests, and the frames and attributes of the kernel's answers.

No socket and no names: interfaces are ifindexes here. Layouts and numbers: include/uapi/linux/{netlink,rtnetlink,
neighbour,if_link,if_bridge}.h; what each request may hold: net/core/rtnetlink.c (valid_fdb_dump_strict, rtnl_fdb_get)
and net/bridge/br_netlink.c. Everything is in the byte order of the host.
"""

from __future__ import annotations

import struct
from binascii import unhexlify
from collections.abc import Collection, Iterator, Mapping, Sequence

from macmgr.errors import KernelError
from macmgr.model.changes import AddVids, DeleteEntry, DeleteVids, FlushEntries, SetFlags
from macmgr.model.snapshot import Entry, EntryState

NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 2, 3, 4
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR = 0x1, 0x4, 0x10
NLM_F_REPLACE, NLM_F_DUMP, NLM_F_CREATE = 0x100, 0x300, 0x400
NLM_F_BULK = 0x200  # of a deletion
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
NLMSGERR_ATTR_MSG = 1
NLA_F_NESTED, NLA_TYPE_MASK = 0x8000, 0x3FFF

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
AF_UNSPEC, AF_BRIDGE = 0, 7

IFLA_MASTER, IFLA_PROTINFO, IFLA_AF_SPEC, IFLA_EXT_MASK = 10, 12, 26, 29
IFLA_BRIDGE_VLAN_INFO = 2
VLAN_PVID, VLAN_UNTAGGED, VLAN_RANGE_BEGIN, VLAN_RANGE_END = 0x02, 0x04, 0x08, 0x10
VLAN_INFO = struct.Struct("=HH")  # struct bridge_vlan_info: flags, VID
RTEXT_FILTER_BRVLAN_COMPRESSED, RTEXT_FILTER_SKIP_STATS = 4, 8

NDA_DST, NDA_LLADDR, NDA_CACHEINFO, NDA_VLAN, NDA_MASTER, NDA_NH_ID = 1, 2, 3, 5, 9, 13
NDA_NDM_STATE_MASK, NDA_NDM_FLAGS_MASK = 16, 17
NTF_MASTER, NTF_EXT_LEARNED, NTF_STICKY = 0x04, 0x10, 0x40
NUD_REACHABLE, NUD_NOARP, NUD_PERMANENT = 0x02, 0x40, 0x80

HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, kind, flags, sequence, port id
LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, device type, ifindex, flags, change
NEIGHBOUR = struct.Struct("=B3xiHBB")  # struct ndmsg: family, ifindex, state, flags, route type
ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type

_FDB_KEY = struct.Struct("=B3xiHBBHH6s2x")  # ndmsg, NDA_LLADDR
_FDB_KEY_VID = struct.Struct("=B3xiHBBHH6s2xHHH2x")  # ndmsg, NDA_LLADDR, NDA_VLAN
_LENGTH = struct.Struct("=I")
_U16 = struct.Struct("=H")
_ERROR = struct.Struct("=i")

# A static entry reads back as NUD_NOARP whether or not NUD_REACHABLE is sent with it (br_fdb.c, fdb_add_entry and
# fdb_to_nud); bridge(8) sends both, so both are sent here and the two cannot differ on any kernel.
_STATIC = NUD_NOARP | NUD_REACHABLE
_PUT = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE


class WireError(KernelError):
    """Bytes that are not what the kernel's headers promise: cut short, or with lengths that lead outside."""


Message = tuple[int, int, bytes]
"""A request as kind, flags and payload; its sequence number is the connection's affair."""


def link_dump() -> Message:
    """All interfaces, with master, flags, kind and promiscuity but without counters."""
    payload = LINK.pack(AF_UNSPEC, 0, 0, 0, 0) + _u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
    return (RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, payload)


def link_get(ifindex: int) -> Message:
    """One interface, as `link_dump` has it."""
    payload = LINK.pack(AF_UNSPEC, 0, ifindex, 0, 0) + _u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
    return (RTM_GETLINK, NLM_F_REQUEST, payload)


def vlan_dump() -> Message:
    """The VIDs of every bridge port, neighbouring VIDs as ranges (br_fill_ifvlaninfo_compressed)."""
    filters = RTEXT_FILTER_BRVLAN_COMPRESSED | RTEXT_FILTER_SKIP_STATS
    payload = LINK.pack(AF_BRIDGE, 0, 0, 0, 0) + _u32(IFLA_EXT_MASK, filters)
    return (RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, payload)


def fdb_dump(port: int = 0, bridge: int = 0) -> Message:
    """The FDB of all bridges, of one bridge, or the entries that lead to one port. Both are ifindexes.

    The kernel filters on a strict-check socket only (rtnl_fdb_dump, since 4.20); else the answer is about all bridges.
    """
    payload = NEIGHBOUR.pack(AF_BRIDGE, port, 0, 0, 0) + (_u32(NDA_MASTER, bridge) if bridge else b"")
    return (RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, payload)


def fdb_get(bridge: int, mac: str, vid: int) -> Message:
    """One (MAC, VID) of one bridge's FDB (rtnl_fdb_get, since 5.0)."""
    key = _key(0, 0, 0, mac, vid or None)
    return (RTM_GETNEIGH, NLM_F_REQUEST, key + _u32(NDA_MASTER, bridge))


def put_entry(request: Entry, ifindex: int) -> Message:
    """Put an FDB entry, moving it when it is on another port.

    ValueError for a local entry: it would lead a guest's frames to the host, so no caller can want it.
    """
    if request.state is EntryState.LOCAL:
        raise ValueError(f"{request.mac} on {request.port}: macmgr never puts a local (permanent) entry")
    state = _STATIC if request.state is EntryState.STATIC else NUD_REACHABLE
    flags = NTF_MASTER
    if request.sticky:
        flags |= NTF_STICKY
    if request.extern_learn:
        flags |= NTF_EXT_LEARNED
    return (RTM_NEWNEIGH, _PUT, _key(ifindex, state, flags, request.mac, request.vid or None))


def delete_entry(request: DeleteEntry, ifindex: int) -> Message:
    """Delete an FDB entry if it is on this port."""
    return (RTM_DELNEIGH, NLM_F_REQUEST, _key(ifindex, 0, NTF_MASTER, request.mac, request.vid))


def flush_entries(request: FlushEntries, ifindex: int) -> Message:
    """Delete a port's static entries in one VID (br_fdb_delete_bulk); not local ones, and not those of a control plane.

    A kernel before 5.19 does not know the flag, misses the address, and refuses (EINVAL): nothing is deleted.
    """
    if not 0 < request.vid < 4095:
        raise ValueError(f"no flush without a VID: {request.vid} is none")
    payload = NEIGHBOUR.pack(AF_BRIDGE, ifindex, NUD_NOARP, NTF_MASTER, 0)
    payload += attribute(NDA_VLAN, _U16.pack(request.vid))
    payload += attribute(NDA_NDM_STATE_MASK, _U16.pack(NUD_NOARP | NUD_PERMANENT))
    payload += attribute(NDA_NDM_FLAGS_MASK, bytes((NTF_EXT_LEARNED,)))
    return (RTM_DELNEIGH, NLM_F_REQUEST | NLM_F_BULK, payload)


def set_port(request: SetFlags, ifindex: int) -> Message:
    """Set flags of a bridge port (br_setlink). Only the flags that ``request`` names are in the message."""
    flags = b"".join(attribute(flag.number, bytes((value,))) for flag, value in request.named())
    payload = LINK.pack(AF_BRIDGE, 0, ifindex, 0, 0) + attribute(IFLA_PROTINFO | NLA_F_NESTED, flags)
    return (RTM_SETLINK, NLM_F_REQUEST, payload)


def delete_vids(request: DeleteVids, ifindex: int) -> Message:
    """Take a run of VIDs off a bridge port (br_dellink)."""
    return (RTM_DELLINK, NLM_F_REQUEST, _vids(ifindex, request.first, request.last, 0))


def add_vids(request: AddVids, ifindex: int) -> Message:
    """Put a run of VIDs on a bridge port, or change how it carries them (br_setlink)."""
    if request.pvid and request.first != request.last:
        raise ValueError(f"a port has one PVID: not each of {request.first} to {request.last}")
    flags = VLAN_PVID * request.pvid | VLAN_UNTAGGED * request.untagged
    return (RTM_SETLINK, NLM_F_REQUEST, _vids(ifindex, request.first, request.last, flags))


def _vids(ifindex: int, first: int, last: int, flags: int) -> bytes:
    if not 0 < first <= last < 4095:
        raise ValueError(f"no VIDs of a bridge port: {first} to {last}")
    ends = [(first, flags | VLAN_RANGE_BEGIN), (last, flags | VLAN_RANGE_END)] if last > first else [(first, flags)]
    info = b"".join(attribute(IFLA_BRIDGE_VLAN_INFO, VLAN_INFO.pack(how, vid)) for vid, how in ends)
    return LINK.pack(AF_BRIDGE, 0, ifindex, 0, 0) + attribute(IFLA_AF_SPEC | NLA_F_NESTED, info)


def frame(message: Message, sequence: int, acknowledge: bool = False) -> bytes:
    kind, flags, payload = message
    if acknowledge:
        flags |= NLM_F_ACK
    return HEADER.pack(HEADER.size + len(payload), kind, flags, sequence, 0) + payload


def batch(requests: Sequence[Message], sequence: int) -> bytes:
    """The requests as they go into the socket together, numbered from ``sequence``; the last one is acknowledged."""
    pack, size = HEADER.pack, HEADER.size
    frames = [
        pack(size + len(payload), kind, flags, number, 0) + payload
        for number, (kind, flags, payload) in enumerate(requests[:-1], start=sequence)
    ]
    frames.append(frame(requests[-1], sequence + len(requests) - 1, acknowledge=True))
    return b"".join(frames)


def _key(ifindex: int, state: int, flags: int, mac: str, vid: int | None) -> bytes:
    address = unhexlify(mac.replace(":", ""))
    if len(address) != 6:
        raise ValueError(f"{mac!r} is not a MAC address")
    if vid is None:
        return _FDB_KEY.pack(AF_BRIDGE, ifindex, state, flags, 0, 10, NDA_LLADDR, address)
    if not 0 < vid < 4095:
        raise ValueError(f"no request can name VID {vid}: without a VID it is meant for VID 0 and all of the port's")
    return _FDB_KEY_VID.pack(AF_BRIDGE, ifindex, state, flags, 0, 10, NDA_LLADDR, address, 6, NDA_VLAN, vid)


def _u32(kind: int, value: int) -> bytes:
    return attribute(kind, _LENGTH.pack(value))


def attribute(kind: int, value: bytes) -> bytes:
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Each message of one datagram, as kind, flags, sequence and the whole message."""
    position, end = 0, len(data)
    while position < end:
        length, kind, flags, sequence = message_header(data, position)
        yield kind, flags, sequence, data[position : position + length]
        position += length + -length % 4


def message_header(data: bytes, position: int = 0) -> tuple[int, int, int, int]:
    """Length, kind, flags and sequence of the message at ``position``, which lies in ``data`` completely."""
    if len(data) - position < HEADER.size:
        raise WireError(f"netlink data ends inside the header of a message, at byte {position} of {len(data)}")
    length, kind, flags, sequence, _ = HEADER.unpack_from(data, position)
    if not HEADER.size <= length <= len(data) - position:
        raise WireError(f"netlink message of {length} bytes at byte {position} of {len(data)}")
    return length, kind, flags, sequence


def group(data: bytes, groups: dict[bytes, list[bytes]]) -> None:
    """Sort the messages of one datagram of a dump by their 16-byte header, into ``groups``.

    Within a dump a header varies only with the length of its message, so equal headers mean equal lengths: what
    belongs together can be decoded in bulk. Each item is one or more messages, each padded to a multiple of four.
    """
    end = len(data)
    data += bytes(-end % 4)
    position, attempts = 0, 4
    unpack_length = _LENGTH.unpack_from
    while position < end:
        header = data[position : position + 16]
        length = unpack_length(header)[0] if len(header) == 16 else 0
        if length < 16 or position + length > end:
            message_header(data[:end], position)  # raises, with the words
        stride = length + -length % 4
        stop = position + stride
        if attempts and data[stop : stop + 16] == header:
            complete = (end - position - length) // stride + 1  # the last one may lack its padding
            count = _run(data, position, header, stride, complete)
            stop = position + count * stride
            attempts -= count < 8
        groups.setdefault(header, []).append(data[position:stop])  # no copy where the run is all of the datagram
        position = stop


def grouped_messages(groups: Mapping[bytes, Sequence[bytes]], kinds: Collection[int], body: int) -> Iterator[bytes]:
    """Yields each message of these kinds from a dump that `group` sorted, without its padding.

    Raises WireError for one that ends before ``body``, the end of its fixed part, header included.
    """
    for header, blocks in groups.items():
        length, kind, *_ = HEADER.unpack(header)
        if kind not in kinds:
            continue
        if length < body:
            raise WireError(f"netlink message of {length} bytes where {body} are due")
        stride = length + -length % 4
        for block in blocks:
            for position in range(0, len(block), stride):
                yield block[position : position + length]


def _run(data: bytes, position: int, header: bytes, stride: int, count: int) -> int:
    """How many of ``count`` messages begin with the same header: byte column by byte column, so without a loop."""
    for offset, byte in enumerate(header, start=position):
        column, alike = data[offset : position + count * stride : stride], bytes((byte,))
        if column != alike * count:  # asked first: lstrip() takes four times as long, and nearly always all are alike
            count = len(column) - len(column.lstrip(alike))
    return count


def attributes(data: bytes, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Each attribute between ``position`` and ``end``, as type (without flags), start and stop of its value."""
    unpack = ATTRIBUTE.unpack_from
    while end - position >= 4:
        length, kind = unpack(data, position)
        if not 4 <= length <= end - position:
            raise WireError(
                f"netlink attribute {kind & NLA_TYPE_MASK} of {length} bytes where {end - position} are left"
            )
        yield kind & NLA_TYPE_MASK, position + 4, position + length
        position += length + -length % 4


def parse_error(message: bytes) -> tuple[int, str]:
    """Errno (0: an acknowledgement) and the kernel's own words of an NLMSG_ERROR or NLMSG_DONE message.

    The words are an attribute behind the copy of the request, or behind its header alone when NLM_F_CAPPED is
    set (net/netlink/af_netlink.c, netlink_ack); those of a dump are behind the result (netlink_dump_done).
    """
    length, kind, flags, _ = message_header(message)
    if length < 20:
        raise WireError(f"netlink answer of {length} bytes holds no result")
    code = -_ERROR.unpack_from(message, 16)[0]
    if not flags & NLM_F_ACK_TLVS:
        return code, ""
    start = 20
    if kind == NLMSG_ERROR:
        original = HEADER.unpack_from(message, 20)[0] if length >= 36 else 0
        start += 16 if flags & NLM_F_CAPPED else max(16, original + -original % 4)
    for attribute, first, last in attributes(message, start, length):
        if attribute == NLMSGERR_ATTR_MSG:
            return code, message[first:last].rstrip(b"\0").decode("ascii", "replace")
    return code, ""
