"""A NIC with an embedded switch answers for itself, in the form of a bridge port: no reader takes it for the bridge.

The messages are laid out as the kernel writes them: br_netlink.c, br_fill_ifinfo for the bridge's answer; rtnetlink.c,
ndo_dflt_bridge_getlink for the NIC's, which follows it in the dump with the same ifindex and master.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import pytest

from macmgr.doctor.vlancheck import who_would_be_cut
from macmgr.kernel.devicedump import read_devices
from macmgr.kernel.events import decode_events
from macmgr.kernel.links import decode_vids
from macmgr.kernel.netlink import Connection
from macmgr.kernel.wire import HEADER, LINK, RTM_GETLINK, RTM_NEWLINK, Message, WireError, group
from macmgr.model.intent import Intent
from macmgr.model.kernelevents import LinkEvent
from macmgr.model.snapshot import Bridge, BridgePort, Snapshot
from macmgr.model.vids import PortVids

BR0, ETH0 = 2, 3
MASTER, SELF = 1, 2  # BRIDGE_FLAGS_MASTER, BRIDGE_FLAGS_SELF
VEB = 0  # BRIDGE_MODE_VEB
PVID_UNTAGGED = 0x06


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def u16(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=H", value))


def vlan(vid: int, flags: int = 0) -> bytes:
    return attribute(2, struct.pack("=HH", flags, vid))


def newlink(family: int, ifindex: int, *attributes: bytes) -> bytes:
    payload = LINK.pack(family, 1, ifindex, 0x1003, 0) + b"".join(attributes)
    return HEADER.pack(HEADER.size + len(payload), RTM_NEWLINK, 2, 1, 0) + payload


def answer(name: str, ifindex: int, *spec: bytes) -> bytes:
    """What both have: name, MTU, state, master and address, then IFLA_PROTINFO and IFLA_AF_SPEC."""
    head = attribute(3, name.encode() + b"\0") + u32(4, 1500) + attribute(16, b"\6") + u32(10, BR0)
    address = attribute(1, bytes.fromhex("020000000003"))
    flags = attribute(12 | 0x8000, attribute(8, b"\1") + attribute(9, b"\1"))
    return newlink(socket.AF_BRIDGE, ifindex, head, address, flags, attribute(26, b"".join(spec)))


BRIDGE_ITSELF = answer("br0", BR0, vlan(1, PVID_UNTAGGED))
OF_THE_BRIDGE = answer("eth0", ETH0, vlan(1, PVID_UNTAGGED), vlan(5))
OF_THE_NIC = answer("eth0", ETH0, u16(0, SELF), u16(1, VEB))
OF_A_NIC_WITH_VIDS = answer("eth0", ETH0, u16(0, SELF), u16(1, VEB), vlan(7))
MARKED_AS_THE_BRIDGES = answer("eth0", ETH0, u16(0, MASTER), vlan(1, PVID_UNTAGGED), vlan(5))
NIC = pytest.mark.parametrize("nic", [OF_THE_NIC, OF_A_NIC_WITH_VIDS], ids=["no VIDs", "VIDs of its own"])


class Canned(Connection):
    """A kernel with br0 and its port eth0, a NIC with an embedded switch."""

    def __init__(self, *vids: bytes) -> None:
        bridge = attribute(18, attribute(1, b"bridge\0") + attribute(2, u16(39, 1)))
        self._links = (
            newlink(socket.AF_UNSPEC, BR0, attribute(3, b"br0\0"), bridge),
            newlink(socket.AF_UNSPEC, ETH0, attribute(3, b"eth0\0"), u32(10, BR0)),
        )
        self._vids = vids

    def dump(self, request: Message, operation: str, most: int | None = None) -> Mapping[bytes, Sequence[bytes]]:
        if request[0] != RTM_GETLINK:
            return {}
        return grouped(self._links if request[2][0] == socket.AF_UNSPEC else self._vids)


def grouped(messages: Sequence[bytes]) -> dict[bytes, list[bytes]]:
    groups: dict[bytes, list[bytes]] = {}
    for message in messages:
        group(message, groups)
    return groups


@pytest.fixture(autouse=True)
def _no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("macmgr.kernel.devicedump.read_packet_sockets", lambda names, netns: [])
    monkeypatch.setattr("macmgr.kernel.devicedump.read_drivers", lambda names, netns: {})


@NIC
def test_the_snapshot_has_the_vids_of_the_bridge(nic: bytes) -> None:
    wanted = {ETH0: PortVids((1, 5), 1, (1,))}
    assert decode_vids(grouped([OF_THE_BRIDGE, nic])) == wanted
    assert decode_vids(grouped([nic, OF_THE_BRIDGE])) == wanted


@NIC
def test_an_event_of_the_nic_is_left_out(nic: bytes) -> None:
    (event,) = decode_events(OF_THE_BRIDGE + nic)
    assert isinstance(event, LinkEvent)
    assert event.vids == (1, 5)


def test_what_the_bridge_marks_as_its_own_counts_everywhere() -> None:
    (event,) = decode_events(MARKED_AS_THE_BRIDGES)
    assert isinstance(event, LinkEvent)
    assert event.vids == (1, 5)
    assert decode_vids(grouped([MARKED_AS_THE_BRIDGES])) == {ETH0: PortVids((1, 5), 1, (1,))}


@NIC
def test_vlan_filtering_can_be_turned_on_above_such_a_nic(nic: bytes) -> None:
    """It was refused for ever: the doctor saw no PVID on eth0, and the command it named changed nothing."""
    facts = read_devices(Canned(BRIDGE_ITSELF, OF_THE_BRIDGE, nic), None)
    vids = decode_vids(grouped([OF_THE_BRIDGE, nic]))[ETH0]
    port = BridgePort("eth0", ETH0, "br0", "02:00:00:00:00:03", **asdict(vids))
    bridge = Bridge("br0", BR0, "02:00:00:00:00:03", pvid=1)
    snapshot = Snapshot({"br0": bridge}, {"eth0": port}, {"br0": None, "eth0": "br0"})
    assert who_would_be_cut("br0", Intent((), {"br0": "configured"}), snapshot, facts) == []


def test_a_run_of_vids_that_ends_at_no_vlan_is_not_counted_through() -> None:
    """Sixty kilobytes of such runs would be four hundred million VIDs."""
    groups: dict[bytes, list[bytes]] = {}
    group(answer("eth0", ETH0, vlan(1, 0x08), vlan(65535, 0x10)), groups)
    with pytest.raises(WireError, match="VLANs 1 to 65535, of which the last is no VLAN"):
        decode_vids(groups)
