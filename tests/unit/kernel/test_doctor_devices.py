"""Devices out of netlink messages: what no kernel of the tests can be made to send, and bytes that are cut short."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence

import pytest

from macmgr.kernel import sockets
from macmgr.kernel.devicedump import read_devices, set_vlan_filtering
from macmgr.kernel.netlink import Connection
from macmgr.kernel.wire import HEADER, LINK, RTM_GETLINK, RTM_NEWLINK, Message, WireError, attributes, group
from macmgr.model.devices import Device, Xdp

IFLA_ADDRESS, IFLA_IFNAME, IFLA_LINK, IFLA_LINKINFO, IFLA_LINK_NETNSID, IFLA_XDP = 1, 3, 5, 18, 37, 43
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def linkinfo(kind: str, data: bytes = b"") -> bytes:
    return attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, kind.encode() + b"\0") + attribute(IFLA_INFO_DATA, data))


def link(ifindex: int, name: str, *more: bytes) -> bytes:
    payload = LINK.pack(0, 1, ifindex, 1, 0) + attribute(IFLA_IFNAME, name.encode() + b"\0") + b"".join(more)
    return HEADER.pack(HEADER.size + len(payload), RTM_NEWLINK, 2, 1, 0) + payload


class Canned(Connection):
    """A connection that answers interface dumps with given messages, and everything else with nothing."""

    def __init__(self, *messages: bytes) -> None:
        self._messages = messages

    def dump(self, request: Message, operation: str, most: int | None = None) -> Mapping[bytes, Sequence[bytes]]:
        groups: dict[bytes, list[bytes]] = {}
        if request[0] == RTM_GETLINK and request[2][0] == socket.AF_UNSPEC:
            for message in self._messages:
                group(message, groups)
        return groups


@pytest.fixture(autouse=True)
def _no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("macmgr.kernel.devicedump.read_packet_sockets", lambda names, netns: [])


def devices(*messages: bytes) -> Mapping[str, Device]:
    return read_devices(Canned(*messages), None).devices


def test_xdp_programs_with_their_modes() -> None:
    several = attribute(IFLA_XDP, attribute(2, b"\4") + u32(5, 11) + u32(6, 12) + u32(7, 13))
    old = attribute(IFLA_XDP, attribute(2, b"\2") + u32(4, 9))  # before 4.20 the mode is not in a name of its own
    none = attribute(IFLA_XDP, attribute(2, b"\0"))
    found = devices(link(1, "a", several), link(2, "b", old), link(3, "c", none))
    assert found["a"].xdp == (Xdp("xdpdrv", 11), Xdp("xdpgeneric", 12), Xdp("xdpoffload", 13))
    assert found["b"].xdp == (Xdp("xdp", 9),)
    assert found["c"].xdp == ()


def test_an_8021q_device_and_its_lower_one() -> None:
    vlan = link(5, "eth0.7", u32(IFLA_LINK, 4), linkinfo("vlan", attribute(1, struct.pack("=H", 7))))
    found = devices(link(4, "eth0"), vlan)
    assert (found["eth0.7"].lower, found["eth0.7"].vid) == ("eth0", 7)


@pytest.mark.parametrize(("mode", "flags", "passthru"), [(8, 0, True), (8, 1, False), (4, 0, False)])
def test_macvlan_in_passthru_mode_unless_it_was_told_otherwise(mode: int, flags: int, passthru: bool) -> None:
    data = u32(1, mode) + attribute(2, struct.pack("=H", flags))
    found = devices(link(4, "eth0"), link(5, "mv0", u32(IFLA_LINK, 4), linkinfo("macvlan", data)))
    assert found["mv0"].passthru is passthru


def test_an_ifindex_of_another_namespace_names_no_device_here() -> None:
    elsewhere = link(5, "mv0", u32(IFLA_LINK, 4), u32(IFLA_LINK_NETNSID, 0), linkinfo("macvlan"))
    found = devices(link(4, "eth0"), elsewhere)
    assert found["mv0"].lower is None
    assert found["mv0"].lower_elsewhere


def test_a_veths_other_end_in_another_namespace_is_no_lower_device() -> None:
    peer = link(5, "veth0", u32(IFLA_LINK, 4), u32(IFLA_LINK_NETNSID, 0), linkinfo("veth"))
    assert not devices(peer)["veth0"].lower_elsewhere


def test_a_message_that_is_cut_short_is_told() -> None:
    """Inside the fixed part, and inside an attribute."""
    inside_header = HEADER.pack(20, RTM_NEWLINK, 2, 1, 0) + bytes(4)
    message = bytearray(link(4, "eth0"))
    struct.pack_into("=H", message, HEADER.size + LINK.size, 200)  # the name says that it is longer than the message
    for wrong in (inside_header, bytes(message)):
        with pytest.raises(WireError):
            devices(wrong)


def test_what_turns_vlan_filtering_on_says_nothing_else() -> None:
    kind, _, payload = set_vlan_filtering(7)
    assert kind == RTM_NEWLINK
    assert LINK.unpack_from(payload) == (0, 0, 7, 0, 0)
    ((info, start, stop),) = attributes(payload, LINK.size, len(payload))
    assert info == IFLA_LINKINFO
    (_, *name), (data, first, last) = attributes(payload, start, stop)
    assert payload[name[0] : name[1]] == b"bridge\0"
    assert data == IFLA_INFO_DATA
    assert [payload[a:b] for _, a, b in attributes(payload, first, last)] == [b"\1"]


def test_without_packet_diag_the_sockets_are_known_and_their_wishes_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> dict[int, tuple[int, ...]]:
        raise OSError(2, "No such file or directory")

    monkeypatch.setattr(sockets, "_memberships", refuse)
    monkeypatch.setattr(sockets, "_look_at_sockets", lambda: sockets._Seen({77: 4}, None))
    (found,) = sockets.read_packet_sockets({4: "eth0"}, None)
    assert (found.device, found.promiscuous, found.pid) == ("eth0", None, None)
    assert found.who == "a process that cannot be seen from here"
