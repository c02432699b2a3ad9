"""NICs of type='ethernet' with managed='no': somebody else makes the tap, and it outlives the guest."""

from collections.abc import Iterator

import pytest

from tests.lab.conftest import MakeGuest
from tests.lab.macmgr_command import Macmgr
from tests.lab.topology import HostBridge, Lan, Network, Nic, run, until

NIC = Nic("52:54:00:aa:00:71", "10.0.0.71/24", tap="tap9")


@pytest.fixture
def tap(network: Network, bridge: HostBridge) -> Iterator[str]:
    """A tap on br0, which filters VLANs."""
    run("ip", "tuntap", "add", NIC.tap, "mode", "tap")
    run("ip", "link", "set", NIC.tap, "master", bridge.name, "up")
    yield NIC.tap
    run("ip", "link", "del", NIC.tap)


def static_vids(bridge: HostBridge) -> dict[int, list[str]]:
    return {row.get("vlan", 0): row["flags"] for row in bridge.fdb(NIC.mac) if row.get("state") == "static"}


def is_open(bridge: HostBridge, tap: str) -> tuple[bool, bool]:
    flags = bridge.flags(tap)
    return flags["learning"], flags["flood"]


def test_the_hooks_manage_it_and_give_it_back(
    hooks: None, tap: str, make_guest: MakeGuest, bridge: HostBridge, lan: Lan, macmgr: Macmgr
) -> None:
    guest = make_guest(71, [NIC]).start().wait_ready()
    until(lambda: lan.ping("10.0.0.71", 1) == 1, "the guest answers")
    macmgr("audit", "--strict")
    assert static_vids(bridge) == {0: ["sticky"], 1: ["sticky"]}
    assert is_open(bridge, tap) == (False, False)
    assert bridge.promiscuity() == 0
    guest.destroy()
    assert static_vids(bridge) == {}
    assert is_open(bridge, tap) == (True, True)
    assert macmgr.codes() == set()


def test_its_entries_are_in_the_vlan_that_somebody_put_the_tap_in(
    hooks: None, tap: str, make_guest: MakeGuest, bridge: HostBridge, macmgr: Macmgr
) -> None:
    """And it is looked for anew: it comes onto the bridge, and into its VLAN, while the guest runs."""
    run("ip", "link", "set", tap, "nomaster")
    make_guest(71, [NIC]).start().wait_ready()
    (nic,) = (each for each in macmgr.audit()["portless"] if each["type"] == "ethernet")
    assert nic["why"] == "its tap tap9 is on no bridge"
    run("ip", "link", "set", tap, "master", bridge.name)
    run("bridge", "vlan", "del", "dev", tap, "vid", "1")
    run("bridge", "vlan", "add", "dev", tap, "vid", "42", "pvid", "untagged")
    macmgr("apply")
    assert static_vids(bridge) == {0: ["sticky"], 42: ["sticky"]}
    assert is_open(bridge, tap) == (False, False)
    assert macmgr.codes() == set()
