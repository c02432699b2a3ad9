"""Live migration between two libvirt hosts, pinged from the LAN: libvirt alone, and with macmgr's hooks."""

from collections.abc import Iterator

import pytest

from tests.lab.hosts import Host, Segment, Traveller
from tests.lab.macmgr_command import PATIENCE, PROGRAM
from tests.lab.topology import Lan, Nic

MAC, ADDRESS = "52:54:00:aa:00:51", "10.0.0.51"
PINGS = 8
NETWORK = "<network><name>lan</name><forward mode='bridge'/><bridge name='br0' macTableManager='libvirt'/></network>"


@pytest.fixture
def segment() -> Iterator[Lan]:
    """The wire, and the LAN host on it."""
    wire = Segment()
    yield wire.create()
    wire.delete()


@pytest.fixture
def hosts(segment: Lan) -> Iterator[tuple[Host, Host]]:
    """Two hosts with the same network on their own br0; libvirtd not started yet."""
    pair = Host("h1", 1).create(), Host("h2", 2).create()
    yield pair
    for host in pair:
        host.delete()


def _there_and_back(hosts: tuple[Host, Host], lan: Lan) -> list[int]:
    """Pings answered before, after h1 -> h2, and after h2 -> h1."""
    first, second = hosts
    for host in hosts:
        host.start()
        host.define_network(NETWORK)
    guest = Traveller(first, "t1", [Nic(MAC, f"{ADDRESS}/24", network="lan")]).define().start().wait_ready()
    answered = [lan.ping(ADDRESS, PINGS)]
    guest.ping("10.0.0.99", 1)  # a broadcast, as every guest sends them: the other host's uplink learns the MAC
    guest.hang_up()
    first.migrate(guest.name, second)
    answered.append(lan.ping(ADDRESS, PINGS))
    second.migrate(guest.name, first)
    answered.append(lan.ping(ADDRESS, PINGS))
    return answered


def test_libvirt_alone_loses_the_guest(hosts: tuple[Host, Host], segment: Lan) -> None:
    """The destination's uplink had learned the MAC, libvirt's add is refused, and nobody hears of it."""
    assert _there_and_back(hosts, segment) == [PINGS, 0, 0]


def test_with_the_hooks_the_guest_stays(hosts: tuple[Host, Host], segment: Lan) -> None:
    """No daemon: the incoming guest's port stays open until somebody applies, and open is slow, not an outage."""
    for host in hosts:
        host.run(str(PROGRAM), "install")
        host.run("sh", "-c", f"echo '{PATIENCE}' >/etc/macmgr/macmgr.toml")
    assert _there_and_back(hosts, segment) == [PINGS, PINGS, PINGS]
    home, away = hosts
    home.run(str(PROGRAM), "apply")
    home.run(str(PROGRAM), "audit")
    assert "static" not in away.fdb(MAC)
    assert segment.ping(ADDRESS, PINGS) == PINGS
