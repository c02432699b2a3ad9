"""A port that has lost its VLANs is put right by apply, hook and daemon where policy says so; proven with frames."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.air import Air, Station
from tests.netns.conftest import Namespace, eventually, require
from tests.netns.house import MANAGED, House, house, mac_of

pytestmark = pytest.mark.full_kernel

REPAIR = MANAGED + "vlans = 'repair'\n"
STATIONS = [
    Station("lan", "up0-far", "02:00:00:00:00:99"),
    Station("lan42", "up0-far", "02:00:00:00:00:42", vid=42),
    *(Station(f"g{number}", f"vnet{number}-far", mac_of(number)) for number in (1, 2)),
]
REACHED = {("lan", "g2"), ("g2", "lan"), ("lan42", "g1"), ("g1", "lan42")}
APART = {(one, other) for one in ("g1", "lan42") for other in ("g2", "lan")}
APART |= {(other, one) for one, other in APART}


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    """g1 is in VLAN 42, as its XML says, and g2 in VLAN 1."""
    require("bridge VLAN filtering", ns.accepts("link add probe type bridge vlan_filtering 1"))
    ns.ip("link del probe")
    with house(ns, tmp_path) as made:
        made.config.write_text(REPAIR)
        ns.ip("link set br0 type bridge vlan_filtering 1")
        ns.bridge("vlan add dev up0 vid 42")
        for number, xml in ((1, "<vlan><tag id='42'/></vlan>"), (2, "")):
            port = f"vnet{number}"
            ns.add_cable(port)
            nic = f"<mac address='{mac_of(number)}'/><source bridge='br0'/><target dev='{port}'/>{xml}"
            devices = f"<devices><interface type='bridge'>{nic}</interface></devices>"
            domain = f"<domain type='kvm'><name>g{number}</name><uuid>u-g{number}</uuid>{devices}</domain>"
            (tmp_path / f"g{number}.xml").write_text(domain)
            made.write(f"qemu/g{number}.xml", f"<domstatus state='running' pid='1'>{domain}</domstatus>")
        ns.bridge("vlan del dev vnet1 vid 1")
        ns.bridge("vlan add dev vnet1 vid 42 pvid untagged")
        yield made


@pytest.fixture
def air(host: House) -> Iterator[Air]:
    made = Air(host.ns, STATIONS)
    yield made
    made.close()


def off_and_on(host: House) -> None:
    """Another program takes the tap off its bridge and puts it back: it is in the default VLAN."""
    host.ns.ip("link set vnet1 nomaster")
    host.ns.ip("link set vnet1 master br0")


def vids(host: House) -> dict[int, list[str]]:
    rows = next(each["vlans"] for each in host.ns.bridge_json("vlan show") if each["ifname"] == "vnet1")
    return {row["vlan"]: row.get("flags", []) for row in rows}


RIGHT = {42: ["PVID", "Egress Untagged"]}


def entries(host: House) -> set[tuple[str, int]]:
    return {
        (each["ifname"], each.get("vlan", 0))
        for each in host.ns.fdb()
        if each["mac"] == mac_of(1) and each["state"] == "static"
    }


def judged(host: House, air: Air) -> None:
    air.until(REACHED, Air.AFTER)
    assert not air.heard(Air.AFTER) & APART
    assert (vids(host), entries(host)) == (RIGHT, {("vnet1", 0), ("vnet1", 42)})


def test_apply_repairs_and_release_puts_back(host: House, air: Air) -> None:
    host.macmgr("apply")
    air.until(REACHED, Air.BEFORE)
    off_and_on(host)
    done = host.macmgr("apply")
    assert done.returncode == 0, done.stdout
    assert b"bridge vlan del dev vnet1 vid 1" in done.stdout
    judged(host, air)
    assert host.audit() == set()
    assert host.macmgr("release").returncode == 0
    assert vids(host) == RIGHT, "as libvirt left it"


def test_release_puts_back_what_was_wrong_before(host: House) -> None:
    off_and_on(host)
    host.ns.bridge("vlan add dev vnet1 vid 7")
    host.macmgr("apply")
    assert vids(host) == RIGHT
    left = host.macmgr("release")
    assert (left.returncode, vids(host)) == (1, RIGHT), "not without consent: nobody would reach the guest there"
    released = host.macmgr("release", "--cut")
    assert released.returncode == 0, released.stdout
    assert vids(host) == {1: ["PVID", "Egress Untagged"], 7: []}
    assert not entries(host)


def test_nobody_in_another_vlan_hears_it_while_it_is_repaired(host: House, air: Air) -> None:
    """It is in no VLAN, or gets its own frames tagged: no step of the repair brings it into another."""
    host.macmgr("apply")
    for spoil in ("vlan del dev vnet1 vid 42", "vlan add dev vnet1 vid 42 pvid"):
        host.ns.bridge(spoil)
        with air.sending(Air.WHILE):
            assert host.macmgr("apply").returncode == 0
        assert not air.heard(Air.WHILE) & APART
        judged(host, air)


def test_the_daemon_repairs_it(host: House, air: Air) -> None:
    with host.daemon():
        eventually(lambda: host.managed(1) and host.managed(2), lambda: host.log)
        for _ in range(3):
            off_and_on(host)
            eventually(lambda: vids(host) == RIGHT and host.managed(1), lambda: (vids(host), host.log))
        for spoil in ("vid 7", "vid 42 pvid", "vid 42 untagged"):
            host.ns.bridge(f"vlan add dev vnet1 {spoil}")
            eventually(lambda: vids(host) == RIGHT, lambda: (vids(host), host.log))
        judged(host, air)
    assert "set the VLANs of vnet1 of g1: the XML says other VLANs" in host.log


def test_a_hook_repairs_it(host: House, air: Air) -> None:
    off_and_on(host)
    domain = (host.root / "g1.xml").read_bytes()
    done = host.macmgr("hook", "qemu", "g1", "started", "begin", "-", stdin=domain)
    assert (done.returncode, done.stderr) == (0, b"")
    host.macmgr("apply")
    judged(host, air)


def test_the_daemon_does_not_fight_with_an_administrator(host: House) -> None:
    """Who sets other VIDs each time has them for a while, and the guest's entries follow."""
    host.config.write_text(REPAIR + "[daemon]\nrepairs_per_minute = 3\n")
    with host.daemon():
        eventually(lambda: host.managed(1), lambda: host.log)

        def set_again() -> bool:
            host.ns.bridge("vlan del dev vnet1 vid 42")
            host.ns.bridge("vlan add dev vnet1 vid 7 pvid untagged")
            time.sleep(0.1)
            return "another program undoes this change" in host.log and 7 in vids(host)

        eventually(set_again, lambda: host.log)
        assert "set the VLANs of vnet1" in host.log
        eventually(lambda: ("vnet1", 7) in entries(host), lambda: (entries(host), host.log))


def test_without_the_policy_it_is_told_and_the_command_repairs_it(host: House, air: Air) -> None:
    host.config.write_text(MANAGED)
    host.macmgr("apply")
    off_and_on(host)
    host.macmgr("apply")
    assert vids(host) == {1: ["PVID", "Egress Untagged"]}
    assert host.audit() == {"wrong-vlan"}
    assert host.macmgr("apply", "--vlans", "--domain", "g1").returncode == 0
    judged(host, air)
