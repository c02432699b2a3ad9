"""What each bridge port is, by what the kernel says of its device; one table of all kinds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from macmgr.model.roles import Role, may_be_a_guests, roles_of, unsure_cables, uplinks_of, why
from macmgr.model.snapshot import BridgePort, Snapshot

ETH = BridgePort("eth0", 2, "br0", "02:00:00:00:00:02")


def port(name: str, kind: str, *, bridge: str = "br0", **more: Any) -> BridgePort:
    return BridgePort(name, 9, bridge, "02:00:00:00:00:09", kind=kind, **more)


@pytest.mark.parametrize(
    ("found", "role"),
    [
        (port("eth1", ""), Role.UPLINK),
        (port("bond0", "bond"), Role.UPLINK),
        (port("eth0.7", "vlan"), Role.UPLINK),
        (port("up0", "macvlan"), Role.UPLINK),
        (port("up0", "macvlan", elsewhere=True), Role.UPLINK),
        (port("vx10", "vxlan"), Role.UPLINK),
        (port("vx10", "vxlan", tunnel_learning=True), Role.UPLINK),
        (port("vx10", "vxlan", tunnel_learning=False), Role.TUNNEL),
        (port("gre0", "gretap"), Role.UPLINK),
        (port("to-br1", "veth"), Role.UPLINK),
        (port("vethc1", "veth", elsewhere=True), Role.CONTAINER),
        (port("tap0", "tun"), Role.TAP),
        (port("virbr0-nic", "dummy"), Role.DUMMY),
    ],
)
def test_the_role_of_a_port_that_no_domain_asks_for(found: BridgePort, role: Role) -> None:
    assert roles_of([ETH, found], ()) == {"eth0": Role.UPLINK, found.name: role}
    assert roles_of([ETH, found], [found.name])[found.name] is Role.GUEST


def test_a_host_that_is_a_container_itself_has_its_only_way_out() -> None:
    """Its eth0 is a veth with its other end on the host outside. Two of them, or one beside a NIC, are containers'."""
    eth0, second = port("eth0", "veth", elsewhere=True), port("eth1", "veth", elsewhere=True)
    others = [port("tap0", "tun"), port("virbr0-nic", "dummy"), port("vnet0", "tun")]
    assert uplinks_of([eth0, *others], ["vnet0"]) == [eth0]
    assert uplinks_of([eth0, second, *others], ["vnet0"]) == []
    elsewhere = port("up1", "", bridge="br1")
    assert uplinks_of([eth0, elsewhere], ()) == [eth0, elsewhere]


@pytest.mark.parametrize(
    ("found", "role", "because", "a_guests"),
    [
        (port("to-br1", "veth", peer="br1-end"), Role.UPLINK, "its other end, br1-end, is on br1", False),
        (
            port("leg", "veth", peer="host0"),
            Role.UPLINK,
            "its other end, host0, is on no bridge: the host is behind it, or what it routes to",
            True,  # a container's cable is here until the container starts
        ),
        (port("vethc1", "veth", elsewhere=True), Role.CONTAINER, "its other end is in another network namespace", True),
        (
            port("vx10", "vxlan", tunnel_learning=False),
            Role.TUNNEL,
            "a vxlan that does not learn: a control plane decides which addresses are behind it",
            False,
        ),
        (port("tap0", "tun"), Role.TAP, "no domain here names it as its tap", True),
        (port("virbr0-nic", "dummy"), Role.DUMMY, "it leads nowhere", False),
        (port("eth1", ""), Role.UPLINK, "", False),
        (port("bond0", "bond"), Role.UPLINK, "", False),
        (port("up0", "macvlan"), Role.UPLINK, "", False),
    ],
)
def test_what_makes_it_so_and_if_a_domain_may_name_it(
    found: BridgePort, role: Role, because: str, a_guests: bool
) -> None:
    snapshot = Snapshot(ports={found.name: found}, masters={"br1-end": "br1", "host0": None, found.name: "br0"})
    assert roles_of([ETH, found], ())[found.name] is role
    assert why(found, role, snapshot) == because
    assert may_be_a_guests(found, snapshot) is a_guests


def test_a_host_that_is_a_container_itself_with_containers_of_its_own() -> None:
    """Only where nothing else leads out the kernel is asked what the other ends of cables are on."""
    cables = [port(name, "veth", elsewhere=True) for name in ("cable", "vethc1", "vethc2")]
    assert unsure_cables(cables, None) == unsure_cables(cables, {"br0"}) == {"cable", "vethc1", "vethc2"}
    assert not unsure_cables(cables, {"br9"}) | unsure_cables(cables[:1], None) | unsure_cables([ETH, *cables], None)
    outward = [replace(cables[0], outward=True), *cables[1:]]
    assert roles_of(outward, ()) == {"cable": Role.UPLINK, "vethc1": Role.CONTAINER, "vethc2": Role.CONTAINER}
    assert why(outward[0], Role.UPLINK, Snapshot()).endswith("another network namespace, on a bridge or out of sight")
    assert uplinks_of([ETH, *outward], ()) == [ETH]


def test_a_way_out_that_is_a_tunnel_leaves_a_container_its_cable() -> None:
    tunnel, cable = port("vx10", "vxlan", tunnel_learning=False), port("eth0", "veth", elsewhere=True)
    assert uplinks_of([tunnel, cable], ()) == [tunnel]
    assert (
        why(cable, Role.UPLINK, Snapshot())
        == "its other end is in another network namespace, and nothing else leads out"
    )
