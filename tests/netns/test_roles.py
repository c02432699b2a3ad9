"""All kinds of ports on one real bridge: each verb calls each of them the same, and no advice cuts one off."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from macmgr.kernel import Kernel
from macmgr.model.roles import Role, roles_of
from tests.netns.conftest import Namespace, require
from tests.netns.house import House, house

ROLES = {
    "up0": "uplink",  # its other end, up0-far, is on no bridge
    "to-br1": "uplink",  # its other end is on br1
    "mv-up": "uplink",
    "vx-learns": "uplink",
    "vx-plane": "tunnel",
    "vethc1": "container",
    "vethc2": "container",
    "stray": "tap",
    "leads-nowhere": "dummy",
    "vnet1": "guest",
}
WORDS = {"stray": "foreign tap", "vnet1": "g1"}


@dataclass
class Host:
    """A host, and the roles of the ports on br0 that its kernel can make."""

    house: House
    roles: dict[str, str]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.house, name)


@pytest.fixture
def host(ns: Namespace, twin: Namespace, tmp_path: Path) -> Iterator[Host]:
    with house(ns, tmp_path) as made:
        ns.add_bridge("br1")
        ns.ip("link add to-br1 type veth peer name br1-end", "link set br1-end master br1 up")
        ns.ip("link add lan0 type veth peer name lan1", "link set lan0 up", "link set lan1 up")
        ns.ip("link add mv-up link lan0 type macvlan mode passthru")
        for number in (1, 2):
            ns.ip(f"link add vethc{number} type veth peer name eth{number} netns {twin.name}")
        there = dict(ROLES)
        for name, kind in {
            "leads-nowhere": "dummy",  # not every kernel has these
            "vx-learns": "vxlan id 7 dstport 4789 local 192.0.2.1 learning",
            "vx-plane": "vxlan id 8 dstport 4789 local 192.0.2.1 nolearning",
        }.items():
            if not ns.accepts(f"link add {name} type {kind}"):
                del there[name]
        ns.ip(*(f"link set {name} master br0 up" for name in there if name not in ("up0", "stray", "vnet1")))
        ns.add_tap("stray")
        ns.ip("link add mv0 link br0 address 02:00:00:00:00:f0 type macvlan mode bridge")
        made.guest(1)
        yield Host(made, there)


def document(host: Host, *words: str) -> dict[str, Any]:
    said = host.macmgr(*words, "--json")
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def roles(ports: list[dict[str, Any]]) -> dict[str, str]:
    return {each["port"]: each["role"] for each in ports}


def test_each_verb_calls_each_port_the_same(host: Host) -> None:
    for verb in ("audit", "show", "doctor"):
        (br0,) = (each for each in document(host, verb)["bridges"] if each["name"] == "br0")
        assert roles(br0["ports"]) == host.roles, verb
        assert [(each["device"], each["role"]) for each in br0["stacked"]] == [("mv0", "stacked")]
        page = host.macmgr(verb).stdout.decode()
        for port, role in host.roles.items():
            assert re.search(rf"{port} +{WORDS.get(port, role)}", page), page
    for name, role in {**host.roles, "mv0": "stacked"}.items():
        assert [each["role"] for each in document(host, "explain", name)["explanations"]] == [role]
    (way,) = document(host, "trace", "--from", "br0", "--to", "ff:ff:ff:ff:ff:ff")["traces"]
    assert {each["port"]: each["role"] for each in way["ports"] if each["port"] != "br0"} == host.roles


def test_explain_says_what_makes_it_so(host: Host) -> None:
    because = {
        "up0": "its other end, up0-far, is on no bridge",
        "to-br1": "its other end, br1-end, is on br1",
        "vx-plane": "a vxlan that does not learn",
        "vethc1": "its other end is in another network namespace",
        "stray": "no domain here names it as its tap",
        "leads-nowhere": "it leads nowhere",
    }
    for name, words in because.items():
        if name not in host.roles:
            continue
        assert words in host.macmgr("explain", name).stdout.decode()


def test_the_doctor_cuts_nothing_off(host: Host) -> None:
    """Only the dummy, and the guest's own port, are closed by a command."""
    (br0,) = document(host, "doctor", "br0")["bridges"]
    commands = [command for step in br0["steps"] for command in step["commands"]]
    named = {name for name in host.roles for command in commands if name in command.split()}
    assert named <= {"leads-nowhere", "vnet1"}
    assert not [command for command in commands if "nomaster" in command or "del" in command]


def test_without_any_other_way_out_one_cable_elsewhere_is_the_uplink(host: Host) -> None:
    for name in host.roles.keys() & {"up0", "to-br1", "mv-up", "vx-learns", "vx-plane", "vethc2"}:
        host.ns.ip(f"link set {name} nomaster")
    (br0,) = (each for each in document(host, "audit")["bridges"] if each["name"] == "br0")
    assert roles(br0["ports"])["vethc1"] == "uplink"
    assert "and nothing else leads out" in host.macmgr("explain", "vethc1").stdout.decode()


@pytest.mark.full_kernel
def test_a_device_of_the_hosts_in_a_vlan(host: Host) -> None:
    """It is cut off while the bridge itself does not carry its VLAN."""
    require("VLAN filtering", host.ns.accepts("link set br0 type bridge vlan_filtering 1"))
    host.ns.ip("link add link br0 name br0.20 type vlan id 20", "link set br0.20 up")
    (br0,) = (each for each in document(host, "show")["bridges"] if each["name"] == "br0")
    assert {each["device"]: each["vids"] for each in br0["stacked"]} == {"mv0": [1], "br0.20": [20]}
    assert "the frame is in VLAN 20, and the host is not" in host.macmgr("explain", "br0.20").stdout.decode()
    host.ns.bridge("vlan add dev br0 vid 20 self")
    host.ns.bridge("vlan add dev up0 vid 20")
    assert "up0 (uplink) gets it" in host.macmgr("explain", "br0.20").stdout.decode()
    assert "up0" in host.macmgr("trace", "--from", "br0.20", "--to", "ff:ff:ff:ff:ff:ff").stdout.decode()


def test_a_host_that_is_a_container_itself_with_containers_of_its_own(ns: Namespace, twin: Namespace) -> None:
    """Its cable to the network ends on a bridge outside; the other ends of its containers' do not."""
    ns.add_bridge()
    twin.add_bridge("br-outside")
    for port, far in (("eth0", "to-host"), ("vethc1", "c1"), ("vethc2", "c2")):
        ns.ip(f"link add {port} type veth peer name {far} netns {twin.name}", f"link set {port} master br0 up")
    with Kernel(ns.name) as kernel:
        assert {*roles_of(kernel.read_snapshot().ports.values(), ()).values()} == {Role.CONTAINER}
        twin.ip("link set to-host master br-outside")
        snapshot = kernel.read_snapshot()
        assert roles_of(snapshot.ports.values(), ()) == {
            "eth0": Role.UPLINK, "vethc1": Role.CONTAINER, "vethc2": Role.CONTAINER
        }  # fmt: skip
        # of a bridge whose FDB nobody asks for, and beside a way out, nobody needs to know
        assert not any(port.outward for port in kernel.read_snapshot(()).ports.values())
        ns.add_cable("up0")
        assert not any(port.outward for port in kernel.read_snapshot().ports.values())
