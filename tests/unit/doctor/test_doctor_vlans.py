"""Who would be cut off by VLAN filtering: nobody is overlooked that can be seen, and nobody is invented."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest

from macmgr.doctor.vlancheck import who_is_cut, who_would_be_cut
from macmgr.model.devices import Device, DeviceFacts, Features
from macmgr.model.intent import Intent, NicFacts, Vlan
from macmgr.model.relay import PortState
from macmgr.model.snapshot import Bridge, Entry, EntryState, PortFlags, Snapshot
from macmgr.model.vids import PortVids
from macmgr.state.lock import WriterLock
from macmgr.vlanfiltering import Answer, turn_on
from tests.doctorworld import MODERN, OPEN, WEB, World, guest, tap, uplink

OTHER = "52:54:00:00:00:02"
PLAIN = PortVids((1,), 1, (1,))
TRUNK = PortVids((1, 5, 6), 1, (1,))


class Filtering(World):
    """A bridge that would filter without cutting anybody; tests spoil it."""

    def __init__(self) -> None:
        super().__init__()
        self.bridge = replace(self.bridge, vlan_filtering=False)
        self.ports = [uplink(promiscuity=1), tap()]
        self.vlans = {"br0": PLAIN, "up0": PLAIN, "vnet0": PLAIN}

    def cut(self) -> list[str]:
        return who_would_be_cut("br0", Intent(tuple(self.guests), self.managed), self.snapshot, self.facts)

    def tagging(self, *vids: int, native: int | None = None, trunk: bool = False) -> None:
        self.guests = [guest(facts=NicFacts(vlan=Vlan(vids, native, trunk)))]


@pytest.fixture
def world() -> Filtering:
    return Filtering()


def test_nobody_is_cut(world: Filtering) -> None:
    assert world.cut() == []


@pytest.mark.parametrize("bridge", ["br0", "br1"])
def test_a_guest_that_only_frames_show(world: Filtering, bridge: str) -> None:
    """No rule knows it: the uplink is blocked in the VLAN that filtering would read. It may be on br0 by mistake."""
    world.guests = [guest(bridge=bridge)]
    up0, *others = world.ports
    world.ports = [replace(up0, relay=replace(up0.relay, vlan_states={1: PortState.BLOCKING})), *others]
    world.bridge = replace(world.bridge, relay=replace(world.bridge.relay, mst=True))
    assert world.cut() == ["vnet0 of guest-vnet0 would not be reached any more from the uplink up0."]


@pytest.mark.parametrize("state", [EntryState.STATIC, EntryState.DYNAMIC])
def test_an_address_that_the_guest_is_allowed_or_uses(world: Filtering, state: EntryState) -> None:
    """In the VLAN that filtering would read, its entry leads elsewhere."""
    world.ports = [uplink(promiscuity=1), tap(flags=OPEN)]
    world.entries += [Entry(OTHER, 0, "vnet0", state), Entry(OTHER, 1, "up0", state)]
    if state is EntryState.STATIC:
        world.guests = [guest(macs=(WEB, OTHER))]
    assert world.cut() == [
        f"vnet0 of guest-vnet0 would not be reached at {OTHER} any more from the host, the uplink up0."
    ]


def test_guests_that_lose_each_other(world: Filtering) -> None:
    """One is blocked in its VLAN (MSTP): each of them loses the other, and only one the rest."""
    blocked = tap("vnet1")
    world.ports = [*world.ports, replace(blocked, relay=replace(blocked.relay, vlan_states={1: PortState.BLOCKING}))]
    world.vlans["vnet1"] = PLAIN
    world.guests = [guest(), guest("vnet1", mac=OTHER)]
    world.entries += [Entry(OTHER, vid, "vnet1", sticky=True) for vid in (0, 1)]
    world.bridge = replace(world.bridge, relay=replace(world.bridge.relay, mst=True))
    assert world.cut() == [
        "vnet0 of guest-vnet0 would not be reached any more from vnet1.",
        "vnet1 of guest-vnet1 would not be reached any more from the host, the uplink up0, vnet0.",
    ]


def test_where_it_is_on_nobody_is_asked(world: Filtering) -> None:
    world.bridge = replace(world.bridge, vlan_filtering=True)
    world.vlans = {}
    assert world.cut() == []


def test_a_kernel_without_it(world: Filtering) -> None:
    world.features = Features(vlan_filtering=False)
    assert world.cut() == ["This kernel has no VLAN filtering (CONFIG_BRIDGE_VLAN_FILTERING): it cannot be turned on."]


def test_a_guest_in_a_vlan_that_its_port_does_not_carry(world: Filtering) -> None:
    world.tagging(5)
    port, way = world.cut()
    assert port.startswith("vnet0 of guest-vnet0 has <vlan> VID 5 in its XML, but the port does not carry VID 5")
    assert "'bridge vlan add dev vnet0 vid 5 pvid untagged'" in port
    assert "would not reach the uplink up0, which does not carry VID 5" in way


def test_a_trunk(world: Filtering) -> None:
    world.tagging(5, 6, trunk=True)
    world.vlans["vnet0"] = TRUNK
    way, _ = world.cut()
    assert "does not carry VID 5, 6" in way
    world.vlans["up0"] = TRUNK
    (entries,) = world.cut()
    assert f"is closed, and the entry for {WEB} is not in VID 5, 6" in entries
    world.entries += [Entry(WEB, vid, "vnet0", sticky=True) for vid in (5, 6)]
    assert world.cut() == []


def test_a_trunk_with_another_native_vlan(world: Filtering) -> None:
    world.tagging(5, 6, native=5, trunk=True)
    world.vlans |= {"vnet0": TRUNK, "up0": TRUNK}
    sentence, entries = world.cut()
    assert "has PVID 1, but its XML says native VLAN 5" in sentence
    assert "is not in VID 5, 6" in entries


def test_an_access_port_in_the_wrong_vlan(world: Filtering) -> None:
    world.tagging(5)
    world.vlans |= {"vnet0": TRUNK, "up0": TRUNK}
    assert world.cut()[0] == "vnet0 of guest-vnet0 belongs to VID 5 by its XML, but the port's PVID is 1."
    world.entries = [Entry(WEB, vid, "vnet0", sticky=True) for vid in (0, 5)]
    world.vlans["vnet0"] = PortVids((5,), 5, ())
    assert world.cut() == ["vnet0 of guest-vnet0 does not tag frames, but the port sends VID 5 tagged."]
    world.vlans["vnet0"] = PortVids((5,), 5, (5,))
    assert world.cut() == []


@pytest.mark.parametrize("name", ["vnet0", "up0"])
def test_a_port_without_a_pvid(world: Filtering, name: str) -> None:
    world.vlans[name] = PortVids()
    assert f"{name}" in world.cut()[0]
    assert "has no PVID" in world.cut()[0]


def test_a_port_that_tags_its_own_vlan(world: Filtering) -> None:
    world.vlans["vnet0"] = PortVids((1,), 1, ())
    assert "sends VID 1 tagged" in world.cut()[0]


def test_ports_with_another_pvid_than_the_uplink(world: Filtering) -> None:
    other = PortVids((7,), 7, (7,))
    world.vlans |= {"br0": other, "vnet0": other}
    world.entries = [Entry(WEB, vid, "vnet0", sticky=True) for vid in (0, 7)]
    assert world.cut() == [
        "br0 itself has PVID 7 and up0 has PVID 1: the host's own frames would not pass.",
        "vnet0 of guest-vnet0 has PVID 7 and up0 has PVID 1: their frames would not meet again.",
    ]


def test_an_8021q_device_on_the_bridge(world: Filtering) -> None:
    world.devices["br0.5"] = Device("br0.5", 60, kind="vlan", lower="br0", vid=5)
    own, way = world.cut()
    assert own.startswith("br0.5 (VLAN 5 on br0) would be cut off, because br0 itself does not carry VID 5")
    assert "'bridge vlan add dev br0 vid 5 self'" in own
    assert "would not reach the uplink up0" in way
    world.vlans |= {"br0": TRUNK, "up0": TRUNK}
    assert world.cut() == []
    world.vlans["br0"] = replace(TRUNK, untagged=(1, 5))
    assert world.cut() == ["br0.5 (VLAN 5 on br0) would be cut off, because br0 itself takes VID 5 untagged."]


def test_once_filtering_is_on_what_it_has_cut_is_told_first(world: Filtering) -> None:
    """Also of a bridge below: br0's uplink is a VLAN device on another bridge, which does not carry its VID."""
    world.bridge = replace(world.bridge, vlan_filtering=True)
    world.devices["br0.5"] = Device("br0.5", 60, kind="vlan", lower="br0", vid=5)
    own, way = (step.text for step in world.diagnose().steps[:2])
    assert own.startswith("br0.5 (VLAN 5 on br0) is cut off, because br0 itself does not carry VID 5")
    assert "does not reach the uplink up0" in way
    world.ports = [uplink("br1.7", kind="vlan"), tap()]
    world.devices = {"br1.7": Device("br1.7", 61, kind="vlan", lower="br1", vid=7, master="br0")}
    below = Bridge("br1", 70, "02:00:00:00:00:70", vlan_filtering=True)
    snapshot = replace(world.snapshot, bridges={"br0": world.bridge, "br1": below})
    told = who_is_cut("br0", Intent(tuple(world.guests), world.managed), snapshot, world.facts)
    assert told[0].startswith("br1.7 (VLAN 7 on br1) is cut off, because br1 itself does not carry VID 7")
    flat = replace(snapshot, bridges={"br0": world.bridge, "br1": replace(below, vlan_filtering=False)})
    assert who_is_cut("br0", Intent(tuple(world.guests), world.managed), flat, world.facts) == []


def test_a_port_without_a_pvid_is_given_the_one_of_its_xml(world: Filtering) -> None:
    world.tagging(5, 6, native=6, trunk=True)
    world.vlans |= {"up0": TRUNK, "vnet0": PortVids((5, 6))}
    assert "'bridge vlan add dev vnet0 vid 6 pvid untagged' gives it one" in world.cut()[0]


def test_an_8021q_device_on_the_uplink_is_not_cut(world: Filtering) -> None:
    """It takes its frames before the bridge sees them, filtering or not (vlan_do_receive comes before the bridge)."""
    world.devices["up0.5"] = Device("up0.5", 61, kind="vlan", lower="up0", vid=5)
    assert world.cut() == []


def test_a_closed_port_whose_entry_is_in_vid_0_alone(world: Filtering) -> None:
    world.entries = [Entry(WEB, 0, "vnet0", sticky=True)]
    (sentence,) = world.cut()
    assert f"the entry for {WEB} is not in VID 1" in sentence
    world.ports = [uplink(promiscuity=1), tap(flags=PortFlags())]
    assert world.cut() == []


@pytest.mark.parametrize("sticky", [False, True])
def test_its_entry_is_pinned_in_the_other_vid_as_it_is(world: Filtering, sticky: bool) -> None:
    """Where a control plane puts addresses it is a plain one: to EVPN a sticky address never moves."""
    world.ports[1] = replace(world.ports[1], flags=PortFlags(learning=False, unicast_flood=False))
    world.entries = [Entry(WEB, 0, "vnet0", sticky=sticky)]
    (said,) = world.cut()
    assert f"vlan 1 master static{' sticky' if sticky else ''}' puts it there" in said


class Kernel:
    """Says what the world says, and may fail to do what it acknowledges."""

    def __init__(self, world: Filtering, obeys: bool = True) -> None:
        self.world, self.obeys, self.asked = world, obeys, 0

    def read_snapshot(
        self,
        bridges: Collection[str] | None = None,
        ports: Collection[str] = (),
        *,
        whole: bool = False,
        if_open: Collection[str] | None = None,
    ) -> Snapshot:
        return self.world.snapshot

    def read_devices(self) -> DeviceFacts:
        return self.world.facts

    def turn_vlan_filtering_on(self, bridge: Bridge) -> None:
        self.asked += 1
        self.world.bridge = replace(bridge, vlan_filtering=self.obeys)


def turned_on(world: Filtering, kernel: Kernel, name: str = "br0") -> Answer:
    return turn_on(WriterLock(), name, lambda: Intent(tuple(world.guests), world.managed), kernel)


def test_it_is_turned_on_once_and_read_back(world: Filtering) -> None:
    kernel = Kernel(world)
    assert turned_on(world, kernel) == Answer(turned_on=True)
    assert world.bridge.vlan_filtering
    assert turned_on(world, kernel) == Answer(turned_on=False)
    assert kernel.asked == 1


def test_nothing_is_asked_of_the_kernel_while_somebody_would_be_cut(world: Filtering) -> None:
    world.tagging(5)
    kernel = Kernel(world)
    assert len(turned_on(world, kernel).cut) == 2
    assert kernel.asked == 0


def test_an_acknowledgement_that_came_to_nothing_is_an_error(world: Filtering) -> None:
    with pytest.raises(Exception, match="acknowledged it, but it is off"):
        turned_on(world, Kernel(world, obeys=False))


def test_a_bridge_that_is_not_there(world: Filtering) -> None:
    assert world.features == MODERN
    with pytest.raises(Exception, match="does not exist here"):
        turned_on(world, Kernel(world), "br9")
