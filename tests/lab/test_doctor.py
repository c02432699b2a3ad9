"""`macmgr doctor` on a host with real guests: who keeps the uplink promiscuous is named, and the advice is enough."""

import contextlib
import json
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.conftest import MakeGuest
from tests.lab.macmgr_command import Macmgr
from tests.lab.topology import HostBridge, Lan, Network, Nic, run

SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC, ETH_P_ALL = 263, 1, 1, 3
OTHER = Nic("52:54:00:aa:00:31", "10.0.0.41/24", bridge="br0")


@pytest.fixture(scope="module", autouse=True)
def packet_diag() -> None:
    """What the kernel loads by itself when it is asked, where it knows its modules: what each packet socket wants."""
    run("modprobe", "-d", "/run/lab/modules", "af_packet_diag")


def examined(macmgr: Macmgr) -> dict[str, Any]:
    (found,) = json.loads(macmgr("doctor", "br0", "--json").stdout)["bridges"]
    return dict(found)


def uplink(found: dict[str, Any]) -> dict[str, Any]:
    (port,) = [port for port in found["ports"] if port["role"] == "uplink"]
    return dict(port)


def causes(macmgr: Macmgr) -> list[tuple[str, str]]:
    return [(cause["cause"], cause["subject"]) for cause in uplink(examined(macmgr))["causes"]]


@contextlib.contextmanager
def capture(interface: str) -> Iterator[None]:
    """What `tcpdump -i` does, by this very process."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as opened:
        opened.bind((interface, 0))
        wish = struct.pack("iHH8s", socket.if_nametoindex(interface), PACKET_MR_PROMISC, 0, b"")
        opened.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, wish)
        yield


def test_an_uplink_at_rest(
    hooks: None, network: Network, bridge: HostBridge, lan: Lan, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """A managed guest: nothing to do; the uplink is proved to filter, at rest with the MAC in its list."""
    make_guest(1).start().wait_ready()
    found = examined(macmgr)
    assert (uplink(found)["promiscuous"], uplink(found)["unicast_filter"], found["steps"]) == (False, True, [])
    assert lan.ping("10.0.0.11") == 3


def test_a_capture_is_named_and_ended_by_the_advice(
    hooks: None, network: Network, bridge: HostBridge, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    make_guest(1).start().wait_ready()
    with capture(bridge.uplink):
        (cause,) = uplink(examined(macmgr))["causes"]
        assert (cause["cause"], cause["pid"], cause["certain"]) == ("packet-socket", os.getpid(), True)
        (step,) = examined(macmgr)["steps"]
        assert step["commands"] == [f"kill {os.getpid()}"]
        assert step["gain"] == "up0 leaves promiscuous mode"
    assert causes(macmgr) == []
    with capture(bridge.name):
        assert causes(macmgr) == [("bridge-promiscuous", "br0")]
        assert [cause["pid"] for cause in examined(macmgr)["causes"]] == [os.getpid()]


def test_an_unmanaged_tap_is_named_and_its_advice_gives_the_promised(
    hooks: None, network: Network, bridge: HostBridge, lan: Lan, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """A tap that nobody asks for: the uplink must be promiscuous until what doctor says is done."""
    make_guest(1).start().wait_ready()
    run("ip", "tuntap", "add", "stray0", "mode", "tap")
    try:
        run("ip", "link", "set", "stray0", "master", bridge.name)
        assert causes(macmgr) == [("auto-port", "stray0")]
        page = macmgr("doctor", "br0").stdout.decode()
        assert "stray0, a foreign tap (tun), learns and floods" in page
        (step,) = examined(macmgr)["steps"]
        assert step["gain"].endswith("up0 leaves promiscuous mode")
        assert bridge.promiscuity() == 1
        assert step["commands"] == []  # who is behind it would be cut off
        run("bridge", "link", "set", "dev", "stray0", "learning", "off", "flood", "off")
        assert bridge.promiscuity() == 0
        assert causes(macmgr) == []
        assert lan.ping("10.0.0.11") == 3
    finally:
        run("ip", "link", "delete", "stray0")


def test_a_guest_that_the_kernel_manages_is_named_with_the_reason(
    hooks: None, network: Network, bridge: HostBridge, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """Its NIC is on a plain bridge and nothing in the configuration asks for it; the advice is that line."""
    macmgr.configure("")
    guest = make_guest(2, [OTHER]).start()
    assert causes(macmgr) == [("auto-port", guest.tap())]
    (step,) = examined(macmgr)["steps"]
    assert step["gain"] == "it gets no more copies of foreign frames; up0 leaves promiscuous mode"
    macmgr.configure("\n".join(step["lines"]))
    for command in step["commands"]:
        macmgr(*command.split()[1:])
    assert bridge.promiscuity() == 0
    assert examined(macmgr)["steps"] == []


def test_vlan_filtering_is_turned_on_by_apply_only_if_nobody_is_cut_off(
    hooks: None, network: Network, bridge: HostBridge, lan: Lan, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """An 8021q device on br0 makes it refuse with its name; nothing changes. Once its VID is there, it is done."""
    make_guest(1).start().wait_ready()
    run("ip", "link", "set", bridge.name, "type", "bridge", "vlan_filtering", "0")
    run("ip", "link", "add", "br0.5", "link", bridge.name, "type", "vlan", "id", "5")
    try:
        assert bridge.promiscuity() == 1
        macmgr("apply")
        assert not vlan_filtering(bridge)  # never a side effect
        refused = macmgr("apply", "--vlan-filtering", "br0", expect=1).stdout.decode()
        assert "br0.5 (VLAN 5 on br0) would be cut off" in refused
        assert not vlan_filtering(bridge)
        run("bridge", "vlan", "add", "dev", bridge.name, "vid", "5", "self")
        run("bridge", "vlan", "add", "dev", bridge.uplink, "vid", "5")
        macmgr("apply", "--vlan-filtering", "br0")
        assert vlan_filtering(bridge)
        assert bridge.promiscuity() == 0
        assert lan.ping("10.0.0.11") == 3
        macmgr("audit", "--strict")
    finally:
        run("ip", "link", "delete", "br0.5")
        run("bridge", "vlan", "del", "dev", bridge.name, "vid", "5", "self", check=False)
        run("bridge", "vlan", "del", "dev", bridge.uplink, "vid", "5", check=False)
        run("ip", "link", "set", bridge.name, "type", "bridge", "vlan_filtering", "1")


def test_looking_changes_nothing(network: Network, bridge: HostBridge, make_guest: MakeGuest, macmgr: Macmgr) -> None:
    """A netlink monitor beside doctor sees no event, though there is much to say."""
    make_guest(2, [OTHER]).start().wait_ready()
    with bridge.untouched():
        macmgr("doctor")
        macmgr("doctor", "br0", "--json")


def vlan_filtering(bridge: HostBridge) -> bool:
    return bool(bridge.port(bridge.name)["linkinfo"]["info_data"]["vlan_filtering"])
