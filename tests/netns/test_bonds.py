"""Two NICs of one guest on one bridge, bonded inside it, with the daemon: frames for the bond arrive where it sends."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.conftest import Namespace, eventually, require
from tests.netns.house import MANAGED, House, house, mac_of

LAN = "02:00:00:00:00:99"
OWN = "<m:macTable xmlns:m='urn:macmgr:mactable:1' allow='own'{}/>"
"""The metadata of a guest that bonds its NICs."""


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    with house(ns, tmp_path) as made:
        made.config.write_text(MANAGED)
        yield made


def bond(host: House, metadata: str = OWN.format(""), *, name: str = "g1", first: int = 1) -> tuple[str, str]:
    """A guest with two NICs; cables stand for its taps, so that frames come from behind them. Its addresses."""
    macs = mac_of(first), mac_of(first + 1)
    nics = ""
    for number, mac in enumerate(macs, first):
        host.ns.add_cable(f"vnet{number}")
        source = f"<source bridge='br0'/><target dev='vnet{number}'/><alias name='net{number}'/>"
        nics += f"<interface type='bridge'><mac address='{mac}'/>{source}</interface>"
    inner = f"<name>{name}</name><uuid>u-{name}</uuid><metadata>{metadata}</metadata><devices>{nics}</devices>"
    host.write(
        f"qemu/{name}.xml", f"<domstatus state='running' pid='1'><domain type='kvm'>{inner}</domain></domstatus>"
    )
    return macs


def hears(host: House, mac: str, *ports: str) -> set[str]:
    """The ports behind which one frame from the LAN for an address arrives."""
    with contextlib.ExitStack() as opened:
        listening = {port: opened.enter_context(host.ns.packet_socket(f"{port}-far")) for port in ports}
        host.ns.send_frame("up0-far", LAN, mac)
        host.ns.send_frame("up0-far", LAN)  # comes after it, everywhere
        return {port for port, each in listening.items() if _arrived(each, mac)}


def _arrived(listener: socket.socket, mac: str) -> bool:
    """The frame for the address comes before the broadcast that was sent after it."""
    listener.settimeout(30)
    got = False
    while True:
        frame = listener.recv(64)
        if frame[6:12] == bytes.fromhex(LAN.replace(":", "")):
            if frame[:6] == b"\xff" * 6:
                return got
            got |= frame[:6] == bytes.fromhex(mac.replace(":", ""))


FILTERING = pytest.param(True, marks=pytest.mark.full_kernel, id="VLAN filtering")


@pytest.mark.parametrize("filtering", [pytest.param(False, id="no filtering"), FILTERING])
@pytest.mark.parametrize("lock", ["", " lock='yes'"], ids=["no lock", "locked"])
def test_frames_arrive_where_the_bond_sends_after_each_failover(host: House, lock: str, filtering: bool) -> None:
    if filtering:
        require("bridge VLAN filtering", host.ns.accepts("link set br0 type bridge vlan_filtering 1"))
    first, second = bond(host, OWN.format(lock))
    with host.daemon():
        eventually(lambda: host.ns.port_of(first) == "vnet1", "the entry is put")
        eventually(lambda: host.flags("vnet1") == host.flags("vnet2") == (False, False), "both are closed")
        for port in ("vnet2", "vnet1", "vnet2"):
            host.ns.send_frame(f"{port}-far", first)
            eventually(lambda port=port: host.ns.port_of(first) == port, f"the entry is on {port}")  # type: ignore[misc]
            assert hears(host, first, "vnet1", "vnet2") == {port}
            assert hears(host, second, "vnet1", "vnet2") == {"vnet2"}
            host.ns.send_frame("up0-far", first)  # a frame of the LAN takes nothing
            assert hears(host, first, "vnet1", "vnet2") == {port}
        assert host.audit() == set()
        assert host.macmgr("plan").returncode == 0
    assert host.macmgr("apply").returncode == 0
    assert host.ns.port_of(first) == "vnet2"


def test_a_restarted_daemon_goes_on(host: House) -> None:
    first, _ = bond(host)
    with host.daemon():
        eventually(lambda: host.ns.port_of(first) == "vnet1", "the entry is put")
        host.ns.send_frame("vnet2-far", first)
        eventually(lambda: host.ns.port_of(first) == "vnet2", "the entry has followed")
    with host.daemon():
        assert host.ns.port_of(first) == "vnet2"
        host.ns.send_frame("vnet1-far", first)
        eventually(lambda: host.ns.port_of(first) == "vnet1", "the entry has followed back")


def test_a_neighbour_that_sends_with_the_address_gets_nothing(host: House) -> None:
    first, _ = bond(host)
    bond(host, name="g3", first=3)
    with host.daemon():
        eventually(lambda: host.ns.port_of(first) == "vnet1", "the entry is put")
        host.ns.send_frame("vnet2-far", first)
        eventually(lambda: host.ns.port_of(first) == "vnet2", "the entry has followed")
        host.ns.send_frame("vnet3-far", first)
        host.ns.send_frame("vnet1-far", mac_of(2))
        eventually(lambda: host.ns.port_of(mac_of(2)) == "vnet1", "what is sent later has been seen")
        assert hears(host, first, "vnet1", "vnet2", "vnet3", "vnet4") == {"vnet2"}


def test_a_bond_that_nobody_has_named_stays_reached_through_the_first_apply(host: House) -> None:
    first, second = bond(host, "")
    host.ns.send_frame("vnet2-far", first)
    eventually(lambda: host.ns.port_of(first) == "vnet2", "the bridge has learned it")
    assert hears(host, first, "vnet1", "vnet2") == {"vnet2"}
    host.macmgr("apply")
    assert hears(host, first, "vnet1", "vnet2") == {"vnet2"}
    assert "vnet2" in hears(host, second, "vnet1", "vnet2")
    assert b"allow='own'" in host.macmgr("audit").stdout


def test_nodes_of_a_cluster_that_are_left_to_the_kernel_all_get_its_frames(host: House) -> None:
    """Network Load Balancing in unicast mode: nobody sends from the address, and each node must get each frame."""
    left = "<m:macTable xmlns:m='urn:macmgr:mactable:1' manager='kernel'/>"
    bond(host, left)
    bond(host, "", name="g3", first=3)
    host.macmgr("apply")
    assert hears(host, "02:bf:0a:00:00:0a", "vnet1", "vnet2", "vnet3", "vnet4") == {"vnet1", "vnet2"}
