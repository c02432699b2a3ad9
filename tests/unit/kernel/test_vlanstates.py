"""The states of VLANs, as the kernel writes them: ranges of VIDs, and only those that do not forward are kept."""

from __future__ import annotations

import struct

import pytest

from macmgr.kernel import wire
from macmgr.kernel.vlanstates import decode_vlan_states
from macmgr.model.relay import PortState


def vlan(vid: int, state: int | None, last: int = 0) -> bytes:
    inside = wire.attribute(1, struct.pack("=HH", 0, vid))
    inside += wire.attribute(2, struct.pack("=H", last)) if last else b""
    inside += wire.attribute(3, bytes((state,))) if state is not None else b""
    return wire.attribute(1 | wire.NLA_F_NESTED, inside)


def message(ifindex: int, *vlans: bytes) -> bytes:
    body = struct.pack("=B3xI", 7, ifindex) + b"".join(vlans)
    return wire.HEADER.pack(wire.HEADER.size + len(body), 112, 2, 1, 0) + body


def grouped(*messages: bytes) -> dict[bytes, list[bytes]]:
    groups: dict[bytes, list[bytes]] = {}
    wire.group(b"".join(messages), groups)
    return groups


def test_only_what_does_not_forward_is_kept() -> None:
    groups = grouped(message(4, vlan(1, 3), vlan(10, 4, 12), vlan(20, 2)), message(5, vlan(1, 3, 4094)))
    blocking = dict.fromkeys((10, 11, 12), PortState.BLOCKING)
    assert decode_vlan_states(groups) == {4: blocking | {20: PortState.LEARNING}}


def test_a_vlan_without_a_state_forwards() -> None:
    assert decode_vlan_states(grouped(message(4, vlan(1, None)))) == {}


def test_a_run_that_ends_at_no_vlan_is_not_counted_through() -> None:
    run = wire.attribute(1, struct.pack("=HH", 0, 10)) + wire.attribute(2, struct.pack("=I", 0xFFFFFFFF))
    endless = wire.attribute(1 | wire.NLA_F_NESTED, run + wire.attribute(3, b"\4"))
    with pytest.raises(wire.WireError, match="VLANs 10 to 4294967295, of which the last is no VLAN"):
        decode_vlan_states(grouped(message(4, endless)))
