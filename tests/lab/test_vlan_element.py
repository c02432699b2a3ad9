"""``<vlan>`` of a NIC on a Linux bridge, which libvirt sets from 11.0 on: access, trunks, and a change of VLAN."""

import json
import struct
from collections.abc import Iterator
from dataclasses import replace

import libvirt
import pytest

from tests.lab.conftest import MakeGuest
from tests.lab.daemon import Watch
from tests.lab.macmgr_command import Macmgr
from tests.lab.topology import Guest, HostBridge, Lan, Network, Nic, run, until

pytestmark = pytest.mark.skipif(
    libvirt.getVersion() < 11_000_000, reason="libvirt sets <vlan> on a Linux bridge from 11.0 on: tox -e lab-debian13"
)
BROADCAST = "ff:ff:ff:ff:ff:ff"
PVID, UNTAGGED = "PVID", "Egress Untagged"


def nic(number: int, inside: str, **place: str) -> Nic:
    address = f"10.0.{number}.61/24" if number <= 20 else ""
    return Nic(f"52:54:00:aa:05:{number}", address, inside=f"<vlan {inside}</vlan>", **place)


ACCESS = nic(10, "><tag id='10'/>", network="lan")
# The element, and what libvirt makes of it: the VIDs of the port, each with its flags.
NICS: dict[Nic, dict[int, list[str]]] = {
    ACCESS: {10: [PVID, UNTAGGED]},
    nic(20, "trunk='yes'><tag id='10'/><tag id='20' nativeMode='untagged'/><tag id='30'/>", bridge="br0"): {
        10: [],
        20: [PVID, UNTAGGED],
        30: [],
    },
    nic(30, "trunk='yes'><tag id='20' nativeMode='tagged'/><tag id='30'/>", network="lan"): {20: [PVID], 30: []},
    nic(40, "trunk='yes'><tag id='10'/><tag id='30'/>", bridge="br0"): {10: [], 30: []},
}


@pytest.fixture
def hosts(bridge: HostBridge, lan: Lan) -> Iterator[dict[int, Lan]]:
    """A LAN host in VLAN 10 and one in VLAN 20, each in a namespace of its own; the uplink carries 10, 20 and 30."""
    for vid in ("10", "20", "30"):
        run("bridge", "vlan", "add", "dev", bridge.uplink, "vid", vid)
    made = {}
    for number in (10, 20):
        name = f"vlan{number}"
        run("ip", "netns", "add", name)
        run("ip", "-n", lan.namespace, "link", "add", name, "link", lan.device, "type", "vlan", "id", str(number))
        run("ip", "-n", lan.namespace, "link", "set", name, "netns", name)
        made[number] = Lan(name, name, f"10.0.{number}.1/24").up()
    run("ip", "-n", made[20].namespace, "address", "add", "10.0.10.2/24", "dev", "vlan20")
    yield made
    for host in made.values():
        run("ip", "netns", "del", host.namespace)
    for vid in ("10", "20", "30"):
        run("bridge", "vlan", "del", "dev", bridge.uplink, "vid", vid)


def vids(tap: str) -> dict[int, list[str]]:
    rows = json.loads(run("bridge", "-j", "vlan", "show", "dev", tap).stdout)
    return {row["vlan"]: row.get("flags", []) for port in rows for row in port["vlans"]}


def pinned(bridge: HostBridge, tap: str, mac: str) -> set[int]:
    """The VIDs of the MAC's sticky entries on its port; no other one may be there, and the port must be closed."""
    flags = bridge.flags(tap)
    rows = [row for row in bridge.fdb(mac) if row.get("state") == "static"]
    if flags["learning"] or flags["flood"] or any((row["ifname"], row["flags"]) != (tap, ["sticky"]) for row in rows):
        return set()
    return {row.get("vlan", 0) for row in rows}


def test_each_form_of_the_element_holds(
    hooks: None,
    network: Network,
    bridge: HostBridge,
    lan: Lan,
    hosts: dict[int, Lan],
    make_guest: MakeGuest,
    macmgr: Macmgr,
) -> None:
    guest: Guest = make_guest(5, list(NICS)).start().wait_ready()
    taps = guest.taps()

    def hold() -> None:
        for each, wanted in NICS.items():
            assert vids(taps[each.mac]) == wanted
            assert pinned(bridge, taps[each.mac], each.mac) == {0, *wanted}
        macmgr("audit", "--strict")
        for vid, host in hosts.items():
            assert host.ping(f"10.0.{vid}.61") == 3

    hold()
    for each, wanted in NICS.items():
        for vid in wanted:
            lan.send(each.mac, BROADCAST, 0x8100, struct.pack("!HH", vid, 0x88B5), count=3)
    hold()

    moved = replace(ACCESS, inside="<vlan><tag id='20'/></vlan>")
    with Watch():
        guest.update(moved)
        tap = taps[ACCESS.mac]
        until(lambda: pinned(bridge, tap, ACCESS.mac) == {0, 20}, "the daemon has followed into the other VLAN", 60)
        assert vids(tap) == {20: [PVID, UNTAGGED]}
        assert hosts[20].ping("10.0.10.61") == 3
        macmgr("audit", "--strict")
