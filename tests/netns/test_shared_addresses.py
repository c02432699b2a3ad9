"""Two guests on one bridge that are both allowed one address, on a real kernel: a VRRP pair on one host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.netns.conftest import Namespace, require
from tests.netns.house import MANAGED, House, house

VIRTUAL = "00:00:5e:00:01:0a"


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    with house(ns, tmp_path) as made:
        made.config.write_text(f"{MANAGED}allow = ['{VIRTUAL}']\n")
        yield made


def warnings(host: House) -> list[dict[str, Any]]:
    """The warnings of an audit that found no error: its exit code is 0."""
    said = host.macmgr("audit", "--json")
    assert said.returncode == 0, said.stdout
    return [each for each in json.loads(said.stdout)["findings"] if each["severity"] == "warning"]


def test_both_are_managed_and_one_has_the_address(host: House) -> None:
    host.guest(1)
    host.guest(2)
    assert host.macmgr("apply").returncode == 0
    assert host.managed(1)
    assert host.managed(2)
    assert host.ns.port_of(VIRTUAL) == "vnet1"
    (warning,) = [each for each in warnings(host) if "are both allowed" in each["message"]]
    assert (warning["code"], warning["port"], warning["mac"]) == ("conflicting-settings", "vnet2", VIRTUAL)
    before = sorted(host.ns.fdb(), key=repr)
    assert host.macmgr("plan").returncode == 0
    assert host.macmgr("apply").returncode == 0
    assert sorted(host.ns.fdb(), key=repr) == before


def test_who_starts_later_does_not_take_it(host: House) -> None:
    """Though libvirt has put that one's own entry, and its name comes first."""
    host.guest(2)
    assert host.macmgr("apply").returncode == 0
    mac = host.guest(1)
    host.ns.bridge(f"fdb add {mac} dev vnet1 master static")
    assert host.macmgr("apply").returncode == 0
    assert host.ns.port_of(VIRTUAL) == "vnet2"
    assert host.managed(1)
    assert host.managed(2)


@pytest.mark.full_kernel
def test_who_shares_one_vlan_of_two_has_it_in_the_other(host: House) -> None:
    require("bridge VLAN filtering", host.ns.accepts("link set br0 type bridge vlan_filtering 1"))
    host.guest(1)
    host.guest(2)
    host.ns.bridge("vlan add dev vnet1 vid 10")
    host.ns.bridge("vlan add dev vnet2 vid 10 pvid untagged")
    host.ns.bridge("vlan del dev vnet2 vid 1")
    host.ns.bridge(f"fdb replace {VIRTUAL} dev vnet2 vlan 10 master static")
    assert host.macmgr("apply").returncode == 0
    leads = {each.get("vlan", 0): each["ifname"] for each in host.ns.fdb() if each["mac"] == VIRTUAL}
    assert leads == {0: "vnet2", 1: "vnet1", 10: "vnet2"}
    assert host.managed(1)
    assert host.managed(2)
    (warning,) = [each for each in warnings(host) if "are both allowed" in each["message"]]
    assert (warning["port"], warning["vid"]) == ("vnet1", 10)


def test_a_guests_own_address_is_nobody_elses_to_have(host: House) -> None:
    mac = host.guest(2)
    host.config.write_text(f"{MANAGED}allow = ['{mac}', '02:b0:00:00:00:{sum(b'br0') & 0xFF:02x}']\n")
    host.guest(1)
    host.ns.bridge(f"fdb add {mac} dev vnet1 master static")
    host.macmgr("apply")
    assert host.ns.port_of(mac) == "vnet2"
    assert host.managed(1)
    assert host.managed(2)
    assert host.audit() == {"mac-collision"}
