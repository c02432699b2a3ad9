"""The diagnosis, from records alone: each cause by itself and together, and what remains unexplained."""

from __future__ import annotations

from dataclasses import replace

import pytest

from macmgr.doctor.diagnose import diagnose
from macmgr.doctor.promiscuity import Reason
from macmgr.model.devices import Device, Features, PacketSocket
from macmgr.model.findings import Code, Severity
from macmgr.model.intent import Intent, Manager
from macmgr.model.roles import Role
from macmgr.model.snapshot import Bridge, Entry, EntryState, PortFlags
from tests.doctorworld import CAPTURE, CLOSED, OPEN, WEB, World, device, guest, tap, uplink


@pytest.fixture
def world() -> World:
    return World()


def test_an_uplink_at_rest_has_no_cause(world: World) -> None:
    assert world.causes() == []
    assert not world.port().promiscuous
    assert world.diagnose().steps == ()
    assert "Nothing" in world.diagnose().gain[0]


def test_vlan_filtering_off(world: World) -> None:
    world.bridge = replace(world.bridge, vlan_filtering=False)
    world.ports[0] = uplink(promiscuity=1)
    assert world.causes() == [(Reason.VLAN_FILTERING_OFF, "br0")]
    assert world.causes("vnet0") == [(Reason.VLAN_FILTERING_OFF, "br0")]


def test_a_tap_is_promiscuous_because_it_cannot_filter_and_names_no_other_port(world: World) -> None:
    world.ports = [uplink(promiscuity=1), tap(), tap("vnet1", OPEN)]
    assert world.causes("vnet0") == [(Reason.NO_UNICAST_FILTER, "vnet0")]


def test_a_kernel_without_vlan_filtering_is_another_cause(world: World) -> None:
    world.bridge = replace(world.bridge, vlan_filtering=False)
    world.features = Features(vlan_filtering=False)
    world.ports[0] = uplink(promiscuity=1)
    assert world.causes() == [(Reason.NO_VLAN_FILTERING, "br0")]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (PortFlags(True, True), "learns and floods"),
        (PortFlags(True, False), "learns"),
        (PortFlags(False, True), "floods"),
    ],
)
def test_an_auto_port_is_named_with_what_makes_it_one(world: World, flags: PortFlags, words: str) -> None:
    world.ports = [uplink(promiscuity=1), tap(), tap("vnet1", flags)]
    world.guests.append(guest("vnet1", Manager.KERNEL))
    assert world.causes() == [(Reason.AUTO_PORT, "vnet1")]
    reason = "manager kernel; nothing asks for it: the kernel manages by default"
    assert world.text() == f"vnet1 of guest-vnet1 ({reason}) {words}"


def test_a_port_that_is_down_counts(world: World) -> None:
    world.ports = [uplink(promiscuity=1), tap("vnet1", PortFlags(), up=False)]
    world.guests = [guest("vnet1")]
    assert world.causes() == [(Reason.AUTO_PORT, "vnet1")]
    assert world.text().endswith("(it is down, but still counts)")


def test_a_port_that_nobody_asks_for_is_named_with_its_kind(world: World) -> None:
    world.ports = [uplink(promiscuity=1), tap("vnet7", PortFlags())]
    world.guests = []
    assert world.port("vnet7").member.role is Role.TAP
    assert world.text() == "vnet7, a foreign tap (tun), learns and floods"


def test_the_uplink_itself_may_be_auto_and_no_other(world: World) -> None:
    """At most one auto port, and only the port itself: a closed uplink beside one auto port is promiscuous."""
    world.ports[0] = uplink(flags=CLOSED)
    assert world.port().rule == ()
    world.ports = [uplink(promiscuity=1, flags=CLOSED), tap("vnet0", PortFlags())]
    assert world.causes() == [(Reason.AUTO_PORT, "vnet0")]


def test_a_second_uplink(world: World) -> None:
    world.ports = [uplink(promiscuity=1), uplink("up1", 1, ifindex=4), tap()]
    assert world.causes("up0") == [(Reason.SECOND_UPLINK, "up1")]
    assert world.causes("up1") == [(Reason.SECOND_UPLINK, "up0")]


def test_a_veth_is_an_uplink_unless_a_container_has_its_other_end(world: World) -> None:
    veth = uplink("veth0", 1, kind="veth", ifindex=4)
    world.ports = [uplink(promiscuity=1), veth, tap()]
    assert world.causes() == [(Reason.SECOND_UPLINK, "veth0")]
    world.ports = [uplink(promiscuity=1), replace(veth, elsewhere=True), tap()]
    assert world.causes() == [(Reason.AUTO_PORT, "veth0")]
    assert world.text() == "veth0, a container's (veth), learns and floods"


def test_the_bridge_itself_promiscuous_and_by_whom(world: World) -> None:
    world.bridge = replace(world.bridge, promiscuity=1)
    world.ports[0] = uplink(promiscuity=1)
    world.sockets = [replace(CAPTURE, device="br0", promiscuous=("br0",))]
    assert world.causes() == [(Reason.BRIDGE, "br0")]
    assert [(cause.reason, cause.subject) for cause in world.diagnose().causes] == [
        (Reason.PACKET_SOCKET, "tcpdump (pid 123)")
    ]


def test_a_macvtap_on_the_bridge_makes_it_promiscuous(world: World) -> None:
    """The bridge must receive for a second address and has no filter (__dev_set_rx_mode)."""
    world.bridge = replace(world.bridge, promiscuity=1)
    mac = "52:54:00:00:00:77"
    world.devices = {
        "br0": Device("br0", 2, world.bridge.mac, "bridge", promiscuity=1, addresses=frozenset({mac})),
        "macvtap0": Device("macvtap0", 30, mac, "macvtap", lower="br0"),
    }
    cause = world.diagnose().causes[0]
    assert cause.reason is Reason.OWN_ADDRESSES
    assert "macvtap0" in cause.text


def test_the_administrators_flag(world: World) -> None:
    world.ports[0] = uplink(promiscuity=1)
    world.devices["up0"] = device(world.ports[0], "e1000e", administrator=True)
    assert world.causes() == [(Reason.ADMINISTRATOR, "up0")]


def test_a_packet_socket_is_named_with_its_process(world: World) -> None:
    world.ports[0] = uplink(promiscuity=1)
    world.sockets = [CAPTURE, PacketSocket(78, "up0", ()), PacketSocket(79, "", ("vnet0",))]
    assert world.causes() == [(Reason.PACKET_SOCKET, "tcpdump (pid 123)")]


def test_a_socket_whose_wish_the_kernel_does_not_tell_is_a_suspect_only_where_something_is_unexplained(
    world: World,
) -> None:
    ours = PacketSocket(79, "up0", None, "macmgr", 80)  # the daemon's ask for nothing
    world.sockets = [replace(CAPTURE, promiscuous=None), PacketSocket(78, "vnet0", None), ours]
    assert world.causes() == []
    world.ports[0] = uplink(promiscuity=1)
    suspect, *rest = world.port().causes
    assert (suspect.reason, suspect.subject, suspect.certain) == (Reason.PACKET_SOCKET, "tcpdump (pid 123)", False)
    assert rest == []


def test_a_promiscuous_vlan_on_the_uplink_is_named_with_its_own_reason(world: World) -> None:
    world.ports[0] = uplink(promiscuity=1)
    upper = Device("up0.5", 40, kind="vlan", lower="up0", promiscuity=1, administrator=True, vid=5)
    world.devices["up0.5"] = upper
    assert world.causes() == [(Reason.UPPER_DEVICE, "up0.5")]
    assert "an administrator set up0.5 promiscuous" in world.text()
    assert any("up0.5 (vlan) is stacked on up0" in note for note in world.port().notes)


def test_a_device_that_cannot_filter(world: World) -> None:
    world.ports[0] = uplink(promiscuity=1, kind="veth")
    assert world.causes() == [(Reason.NO_UNICAST_FILTER, "up0")]
    finding = world.diagnose().findings[0]
    assert finding.code is Code.UPLINK_NO_UNICAST_FILTER
    assert finding.severity is Severity.INFO


@pytest.mark.parametrize(
    ("driver", "kind", "filters"),
    [("e1000e", "", True), ("virtio_net", "", True), ("r8169", "", False), ("exotic", "", None), ("", "", None)]
    + [("", kind, True) for kind in ("bond", "team", "vlan", "macvlan")]
    + [("", kind, False) for kind in ("veth", "tun", "dummy", "vxlan")]
    + [("", "wireguard", None)],
)
def test_what_is_known_of_unicast_filters(world: World, driver: str, kind: str, filters: bool | None) -> None:
    world.ports[0] = uplink(promiscuity=2, kind=kind)
    world.devices["up0"] = device(world.ports[0], driver)
    assert world.port().filter.filters is filters


def test_a_nic_of_which_nothing_is_known_is_a_suspect_and_said_to_be_one(world: World) -> None:
    world.ports[0] = uplink(promiscuity=1)
    world.devices["up0"] = device(world.ports[0], "exotic")
    (cause,) = world.port().causes
    assert (cause.reason, cause.certain) == (Reason.NO_UNICAST_FILTER, False)
    assert "perhaps" in cause.text
    assert "exotic" in cause.text


def test_a_nic_that_came_to_rest_with_addresses_in_its_list_is_proved_to_filter(world: World) -> None:
    world.devices["up0"] = device(world.ports[0], "exotic", addresses=frozenset({WEB}))
    assert world.port().filter.filters is True


def test_what_no_cause_explains_is_said_to_be_unexplained(world: World) -> None:
    world.ports[0] = uplink(promiscuity=3)
    world.sockets = [CAPTURE]
    *_, unseen = world.port().causes
    assert (unseen.reason, unseen.certain) == (Reason.UNSEEN, False)
    assert unseen.text.startswith("2 more users")


def test_all_causes_together_are_told_once_each(world: World) -> None:
    world.bridge = replace(world.bridge, vlan_filtering=False, promiscuity=1)
    world.ports = [uplink(promiscuity=3), tap("vnet0", PortFlags())]
    world.sockets = [CAPTURE]
    world.devices["up0"] = device(world.ports[0], "e1000e", administrator=True)
    assert [reason for reason, _ in world.causes()] == [
        Reason.VLAN_FILTERING_OFF,
        Reason.BRIDGE,
        Reason.AUTO_PORT,
        Reason.ADMINISTRATOR,
        Reason.PACKET_SOCKET,
    ]


def test_the_devices_below_a_bond_are_diagnosed(world: World) -> None:
    bond = uplink("bond0", 1, kind="bond")
    world.ports = [bond, tap()]
    world.sockets = [replace(CAPTURE, promiscuous=("eth1",))]
    world.devices = {
        "bond0": device(bond),
        "eth0": Device("eth0", 20, driver="igb", master="bond0", promiscuity=1),
        "eth1": Device("eth1", 21, driver="igb", master="bond0", promiscuity=2),
    }
    eth0, eth1 = world.port("bond0").below
    assert [cause.subject for cause in eth0.causes] == ["bond0"]
    assert [cause.subject for cause in eth1.causes] == ["tcpdump (pid 123)", "bond0"]


def test_the_vlan_below_which_another_namespace_lies_is_said_to_be_out_of_sight(world: World) -> None:
    world.devices["up0"] = device(world.ports[0], lower_elsewhere=True)
    assert "in another network namespace" in " ".join(world.port().notes)


def test_our_macs_missing_in_the_nics_list(world: World) -> None:
    world.devices["up0"] = device(world.ports[0], "e1000e", addresses=frozenset())
    nic_list = world.port().nic_list
    assert nic_list is not None
    assert nic_list.missing == ((WEB, "guest-vnet0"),)
    assert world.diagnose().steps[0].commands[0] == "ip link set dev br0 promisc on"


def test_the_nics_list_means_nothing_while_the_uplink_is_promiscuous(world: World) -> None:
    world.ports[0] = uplink(promiscuity=1)
    world.devices["up0"] = device(world.ports[0], "e1000e", addresses=frozenset(), administrator=True)
    nic_list = world.port().nic_list
    assert nic_list is not None
    assert (nic_list.missing, nic_list.present) == ((), None)


@pytest.mark.parametrize(
    ("driver", "count", "words"),
    [
        ("e1000", 10, "at least 14 fit"),
        ("e1000", 45, "14 fit"),
        ("e1000e", 10, "4 to 14 fit"),
        ("virtio_net", 64, "at least 64 fit"),
        ("virtio_net", 85, "receives everything"),
        ("mlx5_core", 85, "it is unknown how many fit"),
    ],
)
def test_the_risk_that_the_filter_overflows(world: World, driver: str, count: int, words: str) -> None:
    world.entries = [Entry(f"52:54:00:00:01:{n:02x}", vid, "vnet0") for n in range(count) for vid in (0, 1)]
    world.entries += [
        Entry(world.ports[0].mac, 0, "up0", EntryState.LOCAL),  # the NIC's own address takes no place
        Entry("52:54:00:00:02:01", 1, "up0", EntryState.DYNAMIC),  # only static and local entries are synced
    ]
    world.devices["up0"] = device(world.ports[0], driver, addresses=frozenset({WEB}))
    nic_list = world.port().nic_list
    assert nic_list is not None
    assert nic_list.needed == count
    assert words in nic_list.text


def test_an_isolated_uplink(world: World) -> None:
    world.ports = [uplink(flags=replace(OPEN, isolated=True)), tap(flags=replace(CLOSED, isolated=True))]
    assert world.port().notes == (
        "up0 is isolated, and isolated ports do not reach each other: vnet0 cannot reach it.",
    )
    assert world.diagnose().steps[-1].commands == ("bridge link set dev up0 isolated off",)


def test_a_named_bridge_need_not_be_managed(world: World) -> None:
    world.managed, world.guests = {}, [guest(manager=Manager.KERNEL)]
    world.ports = [uplink(promiscuity=1), tap("vnet0", PortFlags())]
    assert world.diagnose().managed is None
    assert world.causes() == [(Reason.AUTO_PORT, "vnet0")]


def test_without_a_name_every_managed_bridge_is_diagnosed(world: World) -> None:
    other = Bridge("br1", 50, "02:00:00:00:00:50")
    snapshot = replace(world.snapshot, bridges={"br0": world.bridge, "br1": other})
    intent = Intent((), {"br1": "configuration", "gone": "configuration"})
    assert [each.bridge.name for each in diagnose(intent, snapshot, world.facts, []).bridges] == ["br1"]


def test_the_kernels_abilities_are_what_was_seen_and_nothing_more(world: World) -> None:
    def abilities() -> dict[str, bool | None]:
        return {each.name: each.has for each in diagnose(Intent(), world.snapshot, world.facts, []).abilities}

    assert set(abilities().values()) == {True}
    world.features, world.entries = Features(vlan_filtering=True, ring_state=False, locked=False), []
    assert abilities() == {
        "VLAN filtering": True,
        "sticky entries": None,  # nothing is older than 5.8 by this, and nothing was put
        "NIC lists for late ports": None,  # 5.14 lies between what can be seen
        "locked ports": False,
        "limit of learned entries": None,
    }


def test_a_bridge_with_the_address_of_a_guests_port_loses_it(world: World) -> None:
    assert "has the address of" not in " ".join(world.diagnose().notes)
    world.bridge = replace(world.bridge, mac=world.ports[1].mac)
    assert (
        "br0 has the address of vnet0, a guest's port: the host loses that address when vnet0 goes. "
        "'ip link set dev br0 address MAC' gives it one that stays." in world.diagnose().notes
    )


def test_a_bridge_with_the_address_of_its_uplink_keeps_it(world: World) -> None:
    world.bridge = replace(world.bridge, mac=world.ports[0].mac)
    assert "has the address of" not in " ".join(world.diagnose().notes)


@pytest.mark.parametrize(
    ("relay", "said"),
    [
        ({"querier": False, "querier_ipv6": False}, "br0 hears no querier"),
        ({"snooping": False, "querier": True}, "br0 does not snoop"),
        ({"querier": True}, None),
        ({"querier": None}, None),  # nobody can say
    ],
)
def test_a_port_without_multicast_flood_needs_a_querier(
    relay: dict[str, bool | None], said: str | None, world: World
) -> None:
    world.bridge = replace(world.bridge, relay=replace(world.bridge.relay, **relay))  # type: ignore[arg-type]
    assert "multicast" not in " ".join(world.diagnose().notes)
    world.ports[1] = replace(world.ports[1], relay=replace(world.ports[1].relay, multicast_flood=False))
    found = [note for note in world.diagnose().notes if note.startswith("vnet0 gets no multicast")]
    assert len(found) == (said is not None)
    assert said is None or said in found[0]
