"""The traffic that guests lose with libvirt's own macTableManager='libvirt', each loss shown first and then mended.

The numbers are those of docs/libvirt-alone.rst. Losses by theft are in test_libvirt_alone.py; by a rewritten
flag and on <interface type='bridge'> in test_life_meddling.py and test_life_nics.py, which run with and without macmgr.
"""

from collections.abc import Iterator

import pytest

from tests.lab.conftest import MakeGuest
from tests.lab.macmgr_command import Macmgr
from tests.lab.topology import Guest, HostBridge, Lan, Libvirt, Network, Nic, run, until

BROADCAST = "ff:ff:ff:ff:ff:ff"
NOBODY = "52:54:00:aa:00:7f"
MAC, ADDRESS = "52:54:00:aa:00:01", "10.0.0.11"


def _learned_on_the_uplink(bridge: HostBridge, lan: Lan) -> None:
    """The guest, or somebody with its MAC, spoke from the LAN a moment ago."""
    lan.send(src=MAC, dst=BROADCAST)
    until(lambda: any(row["ifname"] == bridge.uplink for row in bridge.fdb(MAC)), "the uplink learns the MAC")


def test_1_an_arriving_guest_whose_mac_the_uplink_knows(
    network: Network, bridge: HostBridge, lan: Lan, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """libvirt adds with NLM_F_EXCL, gets EEXIST in the VID in use, and takes it for success."""
    _learned_on_the_uplink(bridge, lan)
    make_guest(1).start().wait_ready()
    assert lan.ping(ADDRESS) == 0
    assert "stolen-entry" in macmgr.codes()
    macmgr("apply")
    assert lan.ping(ADDRESS) == 3


def test_1_with_the_hooks(
    hooks: None, network: Network, bridge: HostBridge, lan: Lan, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """The same arrival is right at once."""
    _learned_on_the_uplink(bridge, lan)
    make_guest(1).start().wait_ready()
    assert lan.ping(ADDRESS) == 3
    macmgr("audit", "--strict")


def test_2_a_guest_that_left_and_comes_back(
    network: Network, bridge: HostBridge, lan: Lan, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """The entry that moved to the uplink outlives the tap, static, and waits for the guest's return."""
    guest = make_guest(1).start().wait_ready()
    lan.send(src=MAC, dst=BROADCAST)
    guest.destroy()
    assert {(row["ifname"], row["state"]) for row in bridge.fdb(MAC)} == {(bridge.uplink, "static")}
    guest.start().wait_ready()
    assert lan.ping(ADDRESS) == 0
    macmgr("apply")
    assert lan.ping(ADDRESS) == 3


def test_3_a_vid_that_the_port_got_later(
    network: Network, bridge: HostBridge, lan: Lan, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """A new VLAN on tap and uplink: no entry there, and no flood, so its frames never arrive."""
    guest = make_guest(1).start().wait_ready()
    run("bridge", "vlan", "add", "dev", guest.tap(), "vid", "10")
    run("bridge", "vlan", "add", "dev", bridge.uplink, "vid", "10")
    tagged = {"src": lan.mac, "dst": MAC, "ethertype": 0x8100, "payload": b"\x00\x0a\x88\xb5" + bytes(46)}
    guest.listen(promiscuous=True)  # virtio-net itself filters VLANs that the guest does not use
    lan.send(**tagged, count=3)  # type: ignore[arg-type]
    lan.send(src=lan.mac, dst=MAC, ethertype=0x88B6)  # untagged, and behind them: when it is there, they were lost
    until(lambda: guest.frames(ethertype=0x88B6) == 1, "the untagged frame arrives")
    assert guest.frames(src=lan.mac, ethertype=0x88B5) == 0
    assert "missing-entry" in macmgr.codes()
    macmgr("apply")
    macmgr("audit")
    lan.send(**tagged, count=3)  # type: ignore[arg-type]
    until(lambda: guest.frames(src=lan.mac, ethertype=0x88B5) == 3, "the tagged frames arrive")
    run("bridge", "vlan", "del", "dev", bridge.uplink, "vid", "10")


def _leaked(guest: Guest, lan: Lan) -> int:
    """How many of three frames that are nobody's come out at the guest's NIC, its port being no place for them."""
    guest.listen(promiscuous=True)
    lan.send(src=lan.mac, dst=NOBODY, count=3)
    lan.send(src=lan.mac, dst=BROADCAST, ethertype=0x88B6)  # behind them: when it is there, they were not sent here
    until(lambda: guest.frames(ethertype=0x88B6) == 1, "the broadcast arrives")
    return guest.frames(dst=NOBODY)


@pytest.fixture
def second_lan(libvirt: Libvirt, bridge: HostBridge) -> Iterator[Lan]:
    """Another managed network, on a bridge br1 with an uplink of its own, and the LAN host behind that."""
    second = HostBridge("br1", "up1", "lan1").create()
    network = Network.on_host_bridge(libvirt, "lan2", "br1").define().start()
    yield Lan(second.lan).up()
    network.undefine()
    second.delete()


def test_4_a_nic_that_is_moved_to_another_managed_network(
    network: Network, second_lan: Lan, bridge: HostBridge, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """update-device: the tap is on the new bridge, learns and floods there, and has no entry; the XML says libvirt."""
    guest = make_guest(1).start().wait_ready()
    tap = guest.tap()
    guest.update(Nic(MAC, network="lan2"))
    flags = bridge.flags(tap)
    assert flags["learning"]
    assert flags["flood"]
    assert _leaked(guest, second_lan) == 3
    assert {"missing-entry", "learning-on", "flood-on"} <= macmgr.codes()
    macmgr("apply")
    macmgr("audit")
    assert not bridge.flags(tap)["learning"]
    assert _leaked(guest, second_lan) == 0


def test_5_and_6_a_network_that_is_restarted_under_its_guest(
    network: Network, libvirt: Libvirt, bridge: HostBridge, lan: Lan, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """The flags are gone with the bridge port, and no restart of network or daemon brings them back."""
    guest = make_guest(1).start().wait_ready()
    tap = guest.tap()
    run("ip", "link", "set", tap, "nomaster")  # what a network with a bridge of its own does at net-destroy
    network.destroy()
    network.start()
    assert "wrong-bridge" in macmgr.codes()
    assert lan.ping(ADDRESS) == 0
    run("ip", "link", "set", tap, "master", bridge.name)
    libvirt.restart()
    assert {"missing-entry", "learning-on", "flood-on"} <= macmgr.codes()
    assert _leaked(guest, lan) == 3
    macmgr("apply")
    macmgr("audit")
    assert lan.ping(ADDRESS) == 3
    assert _leaked(guest, lan) == 0


def test_13_two_guests_with_one_mac(
    network: Network, bridge: HostBridge, lan: Lan, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """libvirt's second add is refused and nobody hears of it; macmgr says who has the MAC, and nothing flaps.

    No table can serve both: what is mended is that it is told, and who is cut off while it lasts.
    """
    first = make_guest(1).start().wait_ready()
    second = make_guest(2, [Nic(MAC, "10.0.0.12/24", network="lan")]).start()
    second.wait_ready()
    assert {row["ifname"] for row in bridge.fdb(MAC)} == {first.tap(MAC)}
    assert lan.ping("10.0.0.12") == 0
    assert lan.ping(ADDRESS) == 3
    findings = [finding for finding in macmgr.audit()["findings"] if finding["code"] == "duplicate-mac"]
    assert [(finding["domain"], finding["port"]) for finding in findings] == [(second.name, second.tap(MAC))]
    assert first.tap(MAC) in findings[0]["message"]
    macmgr("apply", expect=1)  # the error is left: one of them needs another address
    entries = bridge.fdb(MAC)
    macmgr("apply", expect=1)
    assert bridge.fdb(MAC) == entries
    assert {row["ifname"] for row in entries} == {first.tap(MAC)}
    assert lan.ping(ADDRESS) == 3
    first.destroy()
    macmgr("apply")
    macmgr("audit")
    lan.forget_neighbours()
    assert lan.ping("10.0.0.12") == 3
