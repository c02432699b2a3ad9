"""Advice in words, where no command helps: what it says is written into the guest's metadata, and judged by frames.

Behind guest 1 is somebody with an address of its own: a nested guest, or a virtual router that moves between hosts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.netns.air import Air, Station
from tests.netns.conftest import Namespace, eventually
from tests.netns.house import House, house, mac_of

NESTED, VRRP, CARP_IPV6 = "52:54:00:cc:00:01", "00:00:5e:00:01:0a", "00:00:5e:00:02:0a"
LAN = Station("lan", "up0-far", "02:00:00:00:00:99")
GUESTS = [Station(f"g{number}", f"vnet{number}-far", mac_of(number)) for number in (1, 2)]
ALLOW = re.compile(r"allow ([0-9a-f:*]+) in the metadata of g1")
KERNEL = "leave the NIC to the kernel (manager='kernel')"


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    with house(ns, tmp_path) as made:
        for number in (1, 2):
            ns.add_cable(f"vnet{number}")
            define(made, number)
        yield made


def define(host: House, number: int, inside: str = "", **says: str) -> None:
    """The status file of a running guest, with this in its ``<macmgr:interface>``."""
    mac = mac_of(number)
    words = "".join(f" {name}='{value}'" for name, value in says.items())
    interface = f"<m:interface mac='{mac}'{words}>{inside}</m:interface>"
    metadata = f"<metadata><m:macTable xmlns:m='urn:macmgr:mactable:1'>{interface}</m:macTable></metadata>"
    nic = f"<mac address='{mac}'/><source bridge='br0'/><target dev='vnet{number}'/>"
    domain = f"<name>g{number}</name><uuid>u-g{number}</uuid>{metadata}"
    devices = f"<devices><interface type='bridge'>{nic}</interface></devices>"
    host.write(
        f"qemu/g{number}.xml",
        f"<domstatus state='running' pid='1'><domain type='kvm'>{domain}{devices}</domain></domstatus>",
    )


def fixes(host: House) -> list[str]:
    """What the audit says is to be done about guest 1."""
    found = json.loads(host.macmgr("audit", "--json").stdout)["findings"]
    return [each["fix"] for each in found if each["domain"] == "g1" and each["fix"]]


def allowed(host: House) -> set[str]:
    return {what for fix in fixes(host) for what in ALLOW.findall(fix)}


def pairs(stations: list[Station]) -> set[tuple[str, str]]:
    """All that a bridge lies between."""
    return {(one.name, two.name) for one in stations for two in stations if one.interface != two.interface}


def judge(host: House, stations: list[Station]) -> None:
    """All of them reach each other."""
    air = Air(host.ns, stations)
    try:
        air.until(pairs(stations), Air.AFTER)
    finally:
        air.close()


@pytest.mark.parametrize("mac", [NESTED, VRRP, CARP_IPV6])
def test_an_address_that_is_allowed_as_printed_stays_reached_when_the_port_is_closed(host: House, mac: str) -> None:
    """A prefix needs the daemon, which sees where its addresses are."""
    moves = mac != NESTED
    behind = Station("behind", "vnet1-far", mac)
    judge(host, [LAN, *GUESTS, behind])  # nobody has closed a port yet
    with host.daemon() if moves else nullcontext():
        if not moves:
            host.macmgr("apply")
        eventually(lambda: host.flags("vnet2") == (False, False), "the neighbour's port is closed")
        assert host.flags("vnet1") == (True, True)
        (what,) = allowed(host)
        assert what.endswith(":*") == moves
        define(host, 1, f"<m:allow mac='{what}'/>")
        if not moves:
            host.macmgr("apply")
        eventually(lambda: host.flags("vnet1") == (False, False), "it is closed now")
        judge(host, [LAN, *GUESTS, behind])
        assert host.audit() == set()
        if moves:  # another host becomes its master, and this one again
            judge(host, [LAN, *GUESTS, Station("behind", "up0-far", mac)])
            judge(host, [LAN, *GUESTS, behind])
            assert host.audit() == set()


def test_a_nic_that_is_left_to_the_kernel_as_printed_keeps_all_of_its_addresses(host: House) -> None:
    many = [Station(f"n{number}", "vnet1-far", f"52:54:00:cc:01:{number:02x}") for number in range(1, 13)]
    stations = [LAN, *GUESTS, *many]
    judge(host, stations)
    host.macmgr("apply")
    assert any(KERNEL.partition(" (")[0] in fix for fix in fixes(host))
    define(host, 1, manager="kernel")
    host.macmgr("apply")
    judge(host, stations)
    assert host.audit() == set()


def test_an_exact_allow_of_an_address_that_is_alive_on_the_lan_takes_nothing_and_says_so(host: House) -> None:
    router = Station("router", "up0-far", VRRP)
    judge(host, [*GUESTS, router])
    define(host, 1, f"<m:allow mac='{VRRP}'/>")
    host.macmgr("apply")
    judge(host, [*GUESTS, router])
    said = json.loads(host.macmgr("audit", "--json").stdout)["findings"]
    about = {each["code"]: each["fix"] for each in said if each["mac"] == VRRP or VRRP in each["message"]}
    assert about.keys() == {"address-in-use", "conflicting-settings"}
    assert all("00:00:5e:00:01:*" in fix for fix in about.values())
