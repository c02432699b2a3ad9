"""Addresses that belong to the host, on a real bridge: no guest that names one takes a frame from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from macmgr.kernel import Kernel
from macmgr.model.snapshot import Stacked
from tests.netns.conftest import Namespace, eventually, require
from tests.netns.house import MANAGED, House, house, mac_of

GATEWAY = "00:00:5e:00:01:01"


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    with house(ns, tmp_path) as made:
        made.config.write_text(f"{MANAGED}[hook]\ntimeout = 25\n")  # a busy machine is no reason to give up
        yield made


def claim(host: House, mac: str, *, allowed: bool) -> None:
    """A guest whose XML names the address, as what it is allowed or as its own."""
    host.ns.add_tap("vnet1")
    own = mac_of(1) if allowed else mac
    inner = f"<m:interface mac='{own}'><m:allow mac='{mac}'/></m:interface>" if allowed else ""
    metadata = f"<metadata><m:macTable xmlns:m='urn:macmgr:mactable:1'>{inner}</m:macTable></metadata>"
    nic = f"<interface type='bridge'><mac address='{own}'/><source bridge='br0'/><target dev='vnet1'/></interface>"
    text = f"<domain type='kvm'><name>g1</name><uuid>u1</uuid>{metadata}<devices>{nic}</devices></domain>"
    host.write("qemu/g1.xml", f"<domstatus state='running' pid='1'>{text}</domstatus>")


def about(host: House, mac: str) -> set[str]:
    """The codes of what the audit tells of an address. Nobody holds the taps here, so they have no carrier."""
    said = json.loads(host.macmgr("audit", "--json").stdout)
    return {each["code"] for each in said["findings"] if each["mac"] == mac} - {"port-down"}


def entries(host: House, mac: str) -> list[str]:
    return sorted(f"{each['ifname']} {each['state']}" for each in host.ns.fdb() if each["mac"] == mac)


@pytest.mark.parametrize("allowed", [True, False], ids=["allowed", "its own"])
@pytest.mark.parametrize("where", ["br0 self", "up0 master"])
def test_a_local_entry_that_somebody_has_added_stays(host: House, where: str, allowed: bool) -> None:
    host.ns.bridge(f"fdb add {GATEWAY} dev {where} permanent")
    claim(host, GATEWAY, allowed=allowed)
    before = entries(host, GATEWAY)
    host.macmgr("apply")
    assert entries(host, GATEWAY) == before != []
    assert about(host, GATEWAY) == {"mac-collision"}


@pytest.mark.parametrize("allowed", [True, False], ids=["allowed", "its own"])
def test_the_address_of_a_macvlan_on_the_bridge_is_the_hosts(host: House, allowed: bool) -> None:
    host.ns.ip(f"link add br0-v0 link br0 address {GATEWAY} type macvlan mode private")
    claim(host, GATEWAY, allowed=allowed)
    host.macmgr("apply")
    assert entries(host, GATEWAY) == []
    assert about(host, GATEWAY) == {"mac-collision"}


@pytest.mark.full_kernel
def test_what_is_stacked_is_read_with_its_vid(ns: Namespace) -> None:
    """And what is stacked on that, in the same VID; a VLAN device with the bridge's own address is the bridge."""
    ns.add_bridge("br0")
    ns.add_cable("up0")
    require("VLAN devices", ns.accepts("link add link br0 name br0.10 address 02:b0:00:00:00:10 type vlan id 10"))
    ns.ip("link add link br0 name br0.11 type vlan id 11")
    ns.ip(f"link add vrrp10 link br0.10 address {GATEWAY} type macvlan mode private")
    ns.ip("link add link up0 name up0.10 address 02:b0:00:00:00:11 type vlan id 10")
    with Kernel(ns.name) as kernel:
        assert set(kernel.read_snapshot().stacked) == {
            Stacked("br0", "br0.10", "02:b0:00:00:00:10", (10,), "vlan"),
            Stacked("br0", "br0.11", kernel.read_snapshot().bridges["br0"].mac, (11,), "vlan"),
            Stacked("br0", "vrrp10", GATEWAY, (10,), "macvlan"),
        }
        assert {mac for _, mac, _ in kernel.read_snapshot().stacked_addresses()} == {"02:b0:00:00:00:10", GATEWAY}


def test_a_hook_for_a_domain_that_never_ran_deletes_nothing(host: House) -> None:
    """libvirt calls `stopped` for a start that failed as well, and the XML may name the LAN's router."""
    router = "02:00:00:00:00:fe"
    host.ns.bridge(f"fdb replace {router} dev up0 master static")
    host.guest(1)
    assert host.macmgr("apply").returncode == 0
    nic = f"<interface type='bridge'><mac address='{router}'/><source bridge='br0'/><target dev='vnet9'/></interface>"
    evil = f"<domain type='kvm'><name>evil</name><uuid>u</uuid><devices>{nic}</devices></domain>"
    for operation in ("stopped", "release"):
        host.macmgr("hook", "qemu", "evil", operation, "end", "-", stdin=evil.encode())
        assert {*entries(host, router)} == {"up0 static"}


def test_what_a_guest_that_ran_here_left_on_the_uplink_goes(host: House) -> None:
    mac = host.guest(1)
    assert host.macmgr("apply").returncode == 0
    domain = host.status_file("g1", "vnet1", mac)
    host.ns.bridge(f"fdb replace {mac} dev up0 master static")
    host.ns.ip("link del vnet1")
    host.remove("qemu/g1.xml")
    host.macmgr("hook", "qemu", "g1", "stopped", "end", "-", stdin=domain.encode())
    assert entries(host, mac) == []


def test_two_domains_that_name_one_tap_change_nothing(host: House) -> None:
    host.guest(1)
    assert host.macmgr("apply").returncode == 0
    before = host.ns.fdb(), host.flags("vnet1")
    host.status_file("evil", "vnet1", mac_of(66))
    for _ in range(2):
        assert host.macmgr("apply").returncode == 1, "an error is left, and it needs a person"
        assert (host.ns.fdb(), host.flags("vnet1")) == before
    assert host.audit() == {"shared-tap"}


def test_the_lans_router_keeps_its_entry_when_a_guest_is_allowed_its_address(host: House) -> None:
    router = "02:00:00:00:00:fe"
    host.ns.send_frame("up0-far", router)
    eventually(lambda: host.ns.port_of(router) == "up0", "the router is learned")
    claim(host, router, allowed=True)
    for _ in range(2):
        host.macmgr("apply")
        assert host.ns.port_of(router) == "up0"
        assert about(host, router) == {"address-in-use"}
    host.macmgr("apply", "--cut")
    assert host.ns.port_of(router) == "vnet1"


@pytest.mark.parametrize("how", ["static", "static sticky"])
def test_an_administrators_entry_stays_when_a_guest_is_allowed_its_address(host: House, how: str) -> None:
    router = "02:00:00:00:00:fe"
    host.ns.bridge(f"fdb replace {router} dev up0 master {how}")
    before = entries(host, router)
    claim(host, router, allowed=True)
    for _ in range(2):
        host.macmgr("apply")
        assert entries(host, router) == before
        assert about(host, router) == {"address-in-use"}
    assert host.flags("vnet1") == (False, False)


def test_a_port_behind_which_addresses_are_in_use_is_closed_only_by_consent(host: House) -> None:
    host.ns.add_cable("vnet1")  # a cable stands for a tap, so that frames come from behind it
    host.status_file("g1", "vnet1", mac_of(1))
    host.ns.send_frame("vnet1-far", GATEWAY)
    eventually(lambda: host.ns.port_of(GATEWAY) == "vnet1", "the virtual router is learned")
    said = host.macmgr("apply")
    assert (said.returncode, host.flags("vnet1"), host.ns.port_of(GATEWAY)) == (0, (True, True), "vnet1")
    assert GATEWAY.encode() in said.stdout
    assert about(host, GATEWAY) == {"learned-on-managed-port"}
    assert host.macmgr("apply", "--cut").returncode == 0
    assert (host.flags("vnet1"), host.ns.port_of(GATEWAY)) == ((False, False), None)


def test_a_router_that_a_guest_has_the_address_of_is_told_of(host: House) -> None:
    """The entry is put, for an arriving guest looks the same; that the router goes on sending is seen by the kernel."""
    router = "02:00:00:00:00:fe"
    host.ns.send_frame("up0-far", router)
    claim(host, router, allowed=False)
    assert host.macmgr("apply").returncode == 0
    assert entries(host, router) == ["vnet1 static"]
    assert about(host, router) == set()
    for _ in range(3):
        host.ns.send_frame("up0-far", router)
    assert about(host, router) == {"address-in-use"}
    host.ns.send_frame("vnet1", mac_of(2))  # what others send says nothing of it
    host.macmgr("release")
    assert about(host, router) - {"address-in-use"} != set()
