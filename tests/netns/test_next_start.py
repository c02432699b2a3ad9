"""A network's start turns VLAN filtering on: an audit names beforehand who is cut off by that. Judged by frames."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.air import Air, Station
from tests.netns.conftest import Namespace, require
from tests.netns.house import House, house, mac_of

pytestmark = pytest.mark.full_kernel

STATIONS = [
    Station("lan", "up0-far", "02:00:00:00:00:99"),
    *(Station(f"g{number}", f"vnet{number}-far", mac_of(number)) for number in (1, 2)),
]
FITS, CUT = {("lan", "g1"), ("g1", "lan")}, {("lan", "g2"), ("g2", "lan")}
NETWORK = "<network><name>lan</name><forward mode='bridge'/><bridge name='br0' macTableManager='libvirt'/></network>"


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    """br0 does not filter; g2's port is in another VLAN than all others, which nothing heeds yet."""
    require("bridge VLAN filtering", ns.accepts("link add probe type bridge vlan_filtering 1"))
    ns.ip("link del probe")
    with house(ns, tmp_path) as made:
        made.config.write_text("[defaults]\nmode = 'observe'\n")
        ns.ip("link set br0 type bridge vlan_filtering 0")
        for number in (1, 2):
            ns.add_cable(f"vnet{number}")
        ns.bridge("vlan del dev vnet2 vid 1")
        ns.bridge("vlan add dev vnet2 vid 30 pvid untagged")
        yield made


def foreseen(host: House) -> list[tuple[str, str]]:
    """The findings about the next start, from a copy of libvirt's directories with the definition in it."""
    run_dir = host.root / "run" / "libvirt"
    definition = host.root / "etc" / "libvirt" / "qemu" / "networks" / "lan.xml"
    for directory in (run_dir / "qemu", definition.parent):
        directory.mkdir(parents=True, exist_ok=True)
    definition.write_text(NETWORK)
    for number in (1, 2):
        nic = f"<mac address='{mac_of(number)}'/><source bridge='br0'/><target dev='vnet{number}'/>"
        devices = f"<devices><interface type='bridge'>{nic}</interface></devices>"
        domain = f"<domain type='kvm'><name>g{number}</name><uuid>u-g{number}</uuid>{devices}</domain>"
        text = f"<domstatus state='running' pid='1'>{domain}</domstatus>"
        (run_dir / "qemu" / f"g{number}.xml").write_text(text)
    said = host.macmgr("audit", "--json", "--run-dir", str(run_dir))
    codes = ("filtering-at-next-start", "vlan-filtering-off")
    found = [each for each in json.loads(said.stdout)["findings"] if each["code"] in codes]
    return [(each["code"], each["message"]) for each in found]


def test_who_is_named_is_cut_off_by_the_start_and_nobody_else_is(host: House) -> None:
    air = Air(host.ns, STATIONS)
    try:
        air.until(FITS | CUT, Air.BEFORE)
        ((code, message),) = foreseen(host)
        assert code == "filtering-at-next-start"
        assert "vnet2 of g2" in message
        assert "of g1" not in message
        host.ns.ip("link set br0 type bridge vlan_filtering 1")  # as libvirt does, when the network starts
        air.until(FITS, Air.AFTER)
        assert not air.heard(Air.AFTER) & CUT
        assert foreseen(host) == []
    finally:
        air.close()


def test_a_start_that_is_said_to_cut_nobody_off_does_not(host: House) -> None:
    host.ns.bridge("vlan del dev vnet2 vid 30")
    host.ns.bridge("vlan add dev vnet2 vid 1 pvid untagged")
    ((code, message),) = foreseen(host)
    assert (code, message.rpartition(": ")[2]) == (
        "vlan-filtering-off",
        "as far as the host shows, that cuts nobody off",
    )
    host.ns.ip("link set br0 type bridge vlan_filtering 1")
    air = Air(host.ns, STATIONS)
    try:
        air.until(FITS | CUT, Air.AFTER)
    finally:
        air.close()
