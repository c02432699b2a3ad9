"""Decodes the link attributes that several readers need: the VIDs and the flags of a bridge port, and names.

`links` (the snapshot), `events` and `devices` (the doctor) use the same functions, so all three read the same.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from functools import cache

from macmgr.kernel.wire import attributes
from macmgr.model.flags import FLAGS, NEW_PORT, Flag, PortFlags, flags_of

IFF_UP = 1
IFLA_ADDRESS, IFLA_IFNAME, IFLA_LINK, IFLA_LINKINFO, IFLA_AF_SPEC = 1, 3, 5, 18, 26
IFLA_PROMISCUITY, IFLA_LINK_NETNSID = 30, 37
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
IFLA_VLAN_ID, IFLA_BR_VLAN_FILTERING, IFLA_BR_VLAN_DEFAULT_PVID = 1, 7, 39
VLAN_PVID, VLAN_UNTAGGED, VLAN_RANGE_BEGIN, VLAN_RANGE_END = 0x02, 0x04, 0x08, 0x10
_IFLA_BRIDGE_FLAGS, _IFLA_BRIDGE_VLAN_INFO, _BRIDGE_FLAGS_SELF = 0, 2, 2

_OFF = b"\0"
_U16 = struct.Struct("=H")
_VLAN_INFO = struct.Struct("=HH")  # struct bridge_vlan_info: flags, VID


@dataclass(frozen=True, slots=True)
class PortVids:
    """The VIDs that a bridge port carries, ascending, the one its untagged frames get, and those it sends untagged."""

    vids: tuple[int, ...] = ()
    pvid: int | None = None
    untagged: tuple[int, ...] = ()


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


def read_port_vids(message: bytes, start: int, stop: int) -> PortVids | None:
    """The VIDs in an IFLA_AF_SPEC, which lies between ``start`` and ``stop``; None where they are not the bridge's.

    A NIC with an embedded switch (ixgbe, bnxt) reports its own VIDs in a message of the same form, with the same
    ifindex and master, and marks it with BRIDGE_FLAGS_SELF (rtnetlink.c, ndo_dflt_bridge_getlink).
    """
    vids: list[int] = []
    untagged: list[int] = []
    pvid = begin = None
    for kind, first, last in attributes(message, start, stop):
        if (
            kind == _IFLA_BRIDGE_FLAGS
            and last - first == 2
            and _U16.unpack_from(message, first)[0] & _BRIDGE_FLAGS_SELF
        ):
            return None
        if kind != _IFLA_BRIDGE_VLAN_INFO or last - first != _VLAN_INFO.size:
            continue
        flags, vid = _VLAN_INFO.unpack_from(message, first)
        if flags & VLAN_PVID:
            pvid = vid
        if flags & VLAN_RANGE_BEGIN:
            begin = vid
            continue
        run = range(begin if flags & VLAN_RANGE_END and begin is not None else vid, vid + 1)
        begin = None
        vids.extend(run)
        if flags & VLAN_UNTAGGED:
            untagged.extend(run)
    return PortVids(tuple(sorted(set(vids))), pvid, tuple(sorted(set(untagged))))


@cache
def read_number(value: bytes) -> int:
    return int.from_bytes(value, sys.byteorder)


def read_text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "surrogateescape")
