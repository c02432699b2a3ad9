"""Reads the state of each VLAN on bridge ports, and on bridges themselves: an MSTP daemon blocks single VLANs.

One RTM_GETVLAN dump (Linux 5.6) has all ports, with neighbouring VIDs of equal state as ranges (br_vlan.c,
br_vlan_dump_dev). Numbers: include/uapi/linux/if_bridge.h.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from macmgr.kernel import wire
from macmgr.kernel.attributes import read_number, read_vids
from macmgr.model.relay import PortState

RTM_NEWVLAN, RTM_GETVLAN = 112, 114
_ENTRY, _ENTRY_INFO, _ENTRY_RANGE, _ENTRY_STATE = 1, 1, 2, 3  # BRIDGE_VLANDB_ENTRY…
_MESSAGE = struct.Struct("=B3xI")  # struct br_vlan_msg: family, ifindex
_BODY = wire.HEADER.size + _MESSAGE.size
_INFO = struct.Struct("=HH")  # struct bridge_vlan_info: flags, VID

VlanStates = Mapping[int, Mapping[int, PortState]]
"""By ifindex and VID. What is in no state but FORWARDING is left out."""


def vlan_state_dump() -> wire.Message:
    """All VLANs of all ports and bridges, with their options."""
    return (RTM_GETVLAN, wire.NLM_F_REQUEST | wire.NLM_F_DUMP, _MESSAGE.pack(wire.AF_BRIDGE, 0))


def decode_vlan_states(groups: Mapping[bytes, Sequence[bytes]]) -> VlanStates:
    """The states that are not FORWARDING, of a dump as `wire.group` sorted it."""
    found: dict[int, dict[int, PortState]] = {}
    for message in wire.grouped_messages(groups, (RTM_NEWVLAN,), _BODY):
        _, ifindex = _MESSAGE.unpack_from(message, wire.HEADER.size)
        for vids, state in _entries(message):
            found.setdefault(ifindex, {}).update(dict.fromkeys(vids, state))
    return found


def _entries(message: bytes) -> list[tuple[range, PortState]]:
    entries = []
    for kind, start, stop in wire.attributes(message, _BODY, len(message)):
        if kind != _ENTRY:
            continue
        inside = {each: message[first:last] for each, first, last in wire.attributes(message, start, stop)}
        state, info = read_number(inside.get(_ENTRY_STATE, b"")), inside.get(_ENTRY_INFO, b"")
        if _ENTRY_STATE not in inside or len(info) != _INFO.size or state == PortState.FORWARDING:
            continue
        vid = _INFO.unpack(info)[1]
        last = read_number(inside[_ENTRY_RANGE]) if _ENTRY_RANGE in inside else vid
        entries.append((read_vids(vid, last), PortState(min(state, PortState.BLOCKING))))
    return entries
