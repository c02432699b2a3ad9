"""A port that has lost what libvirt gave it when it was plugged: macmgr puts it right, proven with frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.air import Air, Station
from tests.netns.conftest import Namespace, eventually
from tests.netns.house import House, house, mac_of

STATIONS = [
    Station("lan", "up0-far", "02:00:00:00:00:99"),
    *(Station(f"g{number}", f"vnet{number}-far", mac_of(number)) for number in (1, 2)),
]
NEIGHBOURS = {("g1", "g2"), ("g2", "g1")}
ALLOWED = {(one.name, other.name) for one in STATIONS for other in STATIONS if one is not other} - NEIGHBOURS


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    """Two guests that their XML isolates from each other, as libvirt plugged them."""
    with house(ns, tmp_path) as made:
        for number in (1, 2):
            port = f"vnet{number}"
            ns.add_cable(port)
            ns.bridge(f"link set dev {port} isolated on")
            source = f"<source bridge='br0'/><target dev='{port}'/><port isolated='yes'/>"
            nic = f"<interface type='bridge'><mac address='{mac_of(number)}'/>{source}</interface>"
            domain = (
                f"<domain type='kvm'><name>g{number}</name><uuid>u-g{number}</uuid><devices>{nic}</devices></domain>"
            )
            made.write(f"qemu/g{number}.xml", f"<domstatus state='running' pid='1'>{domain}</domstatus>")
        yield made


@pytest.fixture
def air(host: House) -> Iterator[Air]:
    made = Air(host.ns, STATIONS)
    yield made
    made.close()


def off_and_on(host: House) -> None:
    """Another program takes a tap off its bridge and puts it back."""
    host.ns.ip("link set vnet1 nomaster")
    host.ns.ip("link set vnet1 master br0")


def isolated(host: House) -> dict[str, bool]:
    ports = host.ns.bridge_json("-d link")
    return {each["ifname"]: each["isolated"] for each in ports if each["ifname"].startswith("vnet")}


def test_apply_isolates_a_port_again_before_its_guest_is_heard(host: House, air: Air) -> None:
    assert host.macmgr("apply").returncode == 0
    air.until(ALLOWED, Air.BEFORE)
    assert not air.heard(Air.BEFORE) & NEIGHBOURS
    off_and_on(host)
    assert "not-isolated" in host.audit()
    done = host.macmgr("apply")
    assert done.returncode == 0
    first = next(line for line in done.stdout.splitlines() if line.startswith(b"done"))
    assert b"bridge link set dev vnet1 isolated on" in first
    assert host.audit() == set()
    air.until(ALLOWED, Air.AFTER)
    assert not air.heard(Air.AFTER) & NEIGHBOURS
    assert host.macmgr("release").returncode == 0
    assert isolated(host) == {"vnet1": True, "vnet2": True}, "as libvirt left them"


def test_release_ends_an_isolation_that_was_not_there(host: House) -> None:
    host.ns.bridge("link set dev vnet1 isolated off")
    host.macmgr("apply")
    assert isolated(host) == {"vnet1": True, "vnet2": True}
    left = host.macmgr("release")
    assert (left.returncode, b"would be heard by vnet1" in left.stdout) == (1, True)
    assert isolated(host) == {"vnet1": True, "vnet2": True}, "not without consent"
    assert host.macmgr("release", "--cut").returncode == 0
    assert isolated(host) == {"vnet1": False, "vnet2": True}


def test_the_daemon_isolates_a_port_again(host: House, air: Air) -> None:
    with host.daemon():
        eventually(lambda: host.managed(1) and host.managed(2), lambda: host.log)
        off_and_on(host)
        eventually(lambda: isolated(host)["vnet1"] and host.managed(1), lambda: host.log)
        air.until(ALLOWED, Air.AFTER)
        assert not air.heard(Air.AFTER) & NEIGHBOURS
    assert "isolated vnet1 of g1 (isolated on): the XML says that the port is isolated" in host.log


def test_an_uplink_that_is_isolated_keeps_the_guest_reached(host: House, air: Air) -> None:
    host.ns.bridge("link set dev up0 isolated on")
    host.ns.bridge("link set dev vnet1 isolated off")
    host.macmgr("apply")
    assert isolated(host)["vnet1"] is False
    air.until({("lan", "g1"), ("g1", "lan")}, Air.AFTER)
