"""What each bridge port is, by what the kernel says of its device; one table of all kinds."""

from __future__ import annotations

import pytest

from macmgr.model.roles import Role, roles_of, uplinks_of
from macmgr.model.snapshot import BridgePort

ETH = BridgePort("eth0", 2, "br0", "02:00:00:00:00:02")


def port(name: str, kind: str, *, elsewhere: bool = False, bridge: str = "br0") -> BridgePort:
    return BridgePort(name, 9, bridge, "02:00:00:00:00:09", kind=kind, elsewhere=elsewhere)


@pytest.mark.parametrize(
    ("found", "role"),
    [
        (port("eth1", ""), Role.UPLINK),
        (port("bond0", "bond"), Role.UPLINK),
        (port("eth0.7", "vlan"), Role.UPLINK),
        (port("up0", "macvlan"), Role.UPLINK),
        (port("up0", "macvlan", elsewhere=True), Role.UPLINK),
        (port("vx10", "vxlan"), Role.UPLINK),
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
