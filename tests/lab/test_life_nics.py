"""Life events of a guest's NICs: plugged, unplugged, changed in place."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.lab.life import BRIDGE_NIC, NETWORK_NIC, Life, taps_of
from tests.lab.topology import HostBridge, Lan, Libvirt, Network, Nic, run

PLUGGED_NETWORK = Nic("52:54:00:aa:00:63", "10.0.2.63/24", network="lan")
PLUGGED_BRIDGE = Nic("52:54:00:aa:00:64", "10.0.2.64/24", bridge="br0")
VLAN = "10"


def test_plug_network(life: Life) -> None:
    """NIC of ``type='network'`` plugged into the running guest, unplugged."""
    _plug_and_unplug(life, PLUGGED_NETWORK)


def test_plug_bridge(life: Life) -> None:
    """NIC of ``type='bridge'`` plugged into the running guest, unplugged."""
    _plug_and_unplug(life, PLUGGED_BRIDGE)


def _plug_and_unplug(life: Life, nic: Nic) -> None:
    life.guest.attach(nic)
    life.runs("plugged", [nic])
    life.guest.detach(nic)
    life.is_gone("unplugged", [nic])


def test_plug_paused(life: Life) -> None:
    """NICs plugged into a suspended guest, ``virsh resume``, unplugged."""
    plugged = [PLUGGED_NETWORK, replace(PLUGGED_BRIDGE, address="10.0.3.64/24")]
    life.guest.suspend()
    for nic in plugged:
        life.guest.attach(nic)
    life.waits("plugged", plugged)
    life.guest.resume()
    for nic in plugged:
        life.guest.configure(nic)
    life.runs("resumed", plugged)
    for nic in plugged:
        life.guest.detach(nic)
    life.is_gone("unplugged", plugged)


@pytest.fixture(scope="module")
def other(bridge: HostBridge) -> Iterator[Lan]:
    """Another bridge br1 with an uplink of its own, and the LAN behind that."""
    second = HostBridge("br1", "up1", "lan1").create()
    lan = Lan(second.lan).up()
    run("ip", "-n", lan.namespace, "address", "add", "10.0.1.1/24", "dev", lan.device)
    yield lan
    second.delete()


@pytest.fixture(scope="module")
def other_network(other: Lan, libvirt: Libvirt) -> Iterator[Network]:
    """Another managed network, on br1."""
    network = Network.on_host_bridge(libvirt, "lan2", "br1").define().start()
    yield network
    network.undefine()


def test_update_network(other_network: Network, other: Lan, life: Life) -> None:
    """``virsh update-device``: to another managed network on another bridge, and back."""
    there = replace(NETWORK_NIC, network="lan2")
    life.guest.update(there)
    life.runs("on the other network", [there], other)
    life.guest.update(NETWORK_NIC)
    life.runs("back", [NETWORK_NIC])


def test_update_bridge(other: Lan, life: Life) -> None:
    """``virsh update-device``: from one plain bridge to another, and back."""
    there = replace(BRIDGE_NIC, bridge="br1")
    life.guest.update(there)
    life.runs("on the other bridge", [there], other)
    life.guest.update(BRIDGE_NIC)
    life.runs("back", [BRIDGE_NIC])


def test_update_kind(life: Life) -> None:
    """``virsh update-device``: from the network to a plain bridge, and back."""
    there = replace(NETWORK_NIC, network="", bridge="br0")
    life.guest.update(there)
    life.runs("on the plain bridge", [there])
    life.guest.update(NETWORK_NIC)
    life.runs("back", [NETWORK_NIC])


@pytest.fixture
def vlan_lan(lan: Lan, bridge: HostBridge) -> Iterator[Lan]:
    """The LAN host in another VLAN as well, with 10.0.5.1 there."""
    tagged = Lan(lan.namespace, f"{lan.device}.{VLAN}", "10.0.5.1/24")
    run("ip", "-n", lan.namespace, "link", "add", "link", lan.device, "name", tagged.device, "type", "vlan", "id", VLAN)
    tagged.up()
    run("bridge", "vlan", "add", "dev", bridge.uplink, "vid", VLAN)
    yield tagged
    run("bridge", "vlan", "del", "dev", bridge.uplink, "vid", VLAN)
    run("ip", "-n", lan.namespace, "link", "del", tagged.device)


def test_update_vlan(vlan_lan: Lan, life: Life) -> None:
    """Each port moved to another VLAN with ``bridge vlan`` (libvirt 9 has no ``<vlan>`` here), and back."""
    there = replace(NETWORK_NIC, address="10.0.5.61/24")
    _move_ports(life, "1", VLAN)
    life.guest.configure(there)
    life.runs("in the other VLAN", [there], vlan_lan)
    _move_ports(life, VLAN, "1")
    life.guest.configure(NETWORK_NIC)
    life.runs("back")


def _move_ports(life: Life, old: str, new: str) -> None:
    for tap in taps_of(life.guest).values():
        run("bridge", "vlan", "add", "dev", tap, "vid", new, "pvid", "untagged")
        run("bridge", "vlan", "del", "dev", tap, "vid", old)


def test_link_state(life: Life) -> None:
    """``virsh update-device``: link state down, up."""
    for state in ("down", "up"):
        for nic in (NETWORK_NIC, BRIDGE_NIC):
            life.guest.update(replace(nic, inside=f"<link state='{state}'/>"))
        _see_links(life, state)


def test_domif_setlink(life: Life) -> None:
    """``virsh domif-setlink`` down, up (libvirt takes a NIC off its network then: a plain bridge is left)."""
    for state in ("down", "up"):
        for nic in (NETWORK_NIC, BRIDGE_NIC):
            life.libvirt.virsh("domif-setlink", life.guest.name, nic.mac, state)
        _see_links(life, state)
    assert "network='lan'" not in life.libvirt.virsh("dumpxml", life.guest.name).stdout
    life.guest.update(NETWORK_NIC)


def _see_links(life: Life, state: str) -> None:
    if state == "up":
        life.runs(state)
    else:
        life.is_seen(state, lan=life.lan)
        assert not any(nic.reachable for nic in life.sights[-1].nics)


def test_tap_down(life: Life) -> None:
    """``ip link set vnetN down``, up."""
    for tap in taps_of(life.guest).values():
        run("ip", "link", "set", tap, "down")
    life.is_seen("down", lan=life.lan)
    for tap in taps_of(life.guest).values():
        run("ip", "link", "set", tap, "up")
    life.runs("up")
