"""Life events of the host under a running guest: libvirtd, networks, bridges, ports."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.life import Life, taps_of
from tests.lab.topology import Lan, Libvirt, Network, Nic, run, until

# A bridge of libvirt's own; without forwarding rules and DNS, which the lab would only wait for.
OWN = """<network>
  <name>own</name>
  <forward mode='open'/>
  <bridge name='virbr7' macTableManager='libvirt' delay='0' stp='off'/>
  <dns enable='no'/>
  <ip address='10.0.7.1' netmask='255.255.255.0'/>
</network>
"""
DNSMASQ = Path("/usr/sbin/dnsmasq")
OWN_NIC = Nic("52:54:00:aa:00:67", "10.0.7.67/24", network="own")


def test_libvirtd_restart(life: Life) -> None:
    """libvirtd stopped; flags and entries change meanwhile; libvirtd started."""
    life.libvirt.stop()
    _meddle(life)
    life.runs("while it is stopped")
    life.libvirt.start()
    life.runs("started")


def test_libvirtd_killed(life: Life) -> None:
    """``kill -9`` of libvirtd, started again; a NIC is plugged."""
    life.libvirt.kill9()
    life.runs("while it is dead")
    life.libvirt.start()
    life.runs("started")
    plugged = Nic("52:54:00:aa:00:65", "10.0.2.65/24", network="lan")
    life.guest.attach(plugged)
    life.runs("a NIC plugged", [plugged])
    life.guest.detach(plugged)


def _meddle(life: Life) -> None:
    for mac, tap in taps_of(life.guest).items():
        life.bridge.forget(mac)
        life.bridge.set_flags(tap, learning="on", flood="on")


def test_network_restart(network: Network, life: Life) -> None:
    """``virsh net-destroy`` and ``net-start`` of a network on the host's bridge."""
    network.destroy()
    life.runs("destroyed")
    network.start()
    life.runs("started")


@pytest.fixture(scope="module")
def own_network(libvirt: Libvirt) -> Iterator[Network]:
    """A network with a bridge of its own, where the host itself is the guest's neighbour."""
    if not DNSMASQ.exists():  # not needed, but libvirtd 9.0 dies at its start when it is missed by an active network
        DNSMASQ.write_text("#!/bin/sh\necho Dnsmasq version 2.89\n")
        DNSMASQ.chmod(0o755)
    network = Network(libvirt, "own", OWN).define().start()
    yield network
    network.undefine()


@pytest.fixture(scope="module")
def host_itself() -> Iterator[Lan]:
    """The host as a place to ping from."""
    run("ip", "netns", "attach", "host", "1")
    yield Lan("host", "virbr7", "10.0.7.1/24")
    run("ip", "netns", "del", "host")


def test_own_network_restart(own_network: Network, host_itself: Lan, life: Life) -> None:
    """``virsh net-destroy`` and ``net-start`` of a network with a bridge of its own, restart of libvirtd."""
    life.guest.attach(OWN_NIC)
    life.runs("plugged", [OWN_NIC], host_itself)
    own_network.destroy()
    life.is_seen("destroyed: the bridge is gone", [OWN_NIC])
    own_network.start()
    life.is_seen("started: the NIC is on no bridge", [OWN_NIC])
    life.libvirt.restart()  # it plugs the tap again, from 11 on a moment after it serves; nothing else does
    tap = taps_of(life.guest)[OWN_NIC.mac]
    until(lambda: "master" in run("ip", "link", "show", "dev", tap).stdout, "libvirtd plugs the NIC again")
    life.runs("libvirtd restarted", [OWN_NIC], host_itself)
    life.guest.detach(OWN_NIC)


def test_bridge_made_again(life: Life) -> None:
    """The bridge deleted and made again, its ports put back."""
    taps = taps_of(life.guest)
    run("ip", "link", "del", life.bridge.name)
    life.bridge.build()
    for tap in taps.values():
        run("ip", "link", "set", tap, "master", life.bridge.name)
    life.runs("made again")


def test_port_taken_off(life: Life) -> None:
    """``ip link set vnetN nomaster``, and back."""
    taps = taps_of(life.guest)
    for tap in taps.values():
        run("ip", "link", "set", tap, "nomaster")
    life.is_seen("on no bridge")
    if life.watch:
        assert "wrong-bridge" in life.macmgr.codes()
    for tap in taps.values():
        run("ip", "link", "set", tap, "master", life.bridge.name)
    life.runs("put back")
