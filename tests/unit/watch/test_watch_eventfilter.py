"""What is news and what is not, for every kind of event, on a small host in sync."""

from __future__ import annotations

from dataclasses import replace

import pytest

from macmgr.model.intent import GuestPort, Intent, Manager, Policy
from macmgr.model.kernelevents import LOST, EntryEvent, Event, LinkEvent, VlanEvent
from macmgr.model.relay import PortRelay, PortState
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, PortFlags, Snapshot
from macmgr.planning.draft import Plan
from macmgr.view import View
from macmgr.watch.eventfilter import LastView
from tests.notebook import remembers_gone

G1, G2, WAITING, UNMANAGED = (f"52:54:00:00:00:{number:02x}" for number in (1, 2, 3, 4))
DEPARTED, STRANGER, TAP = "52:54:00:00:00:dd", "02:00:00:00:00:01", "fe:00:00:00:00:01"
OPEN, CLOSED = PortFlags(), PortFlags(learning=False, unicast_flood=False)
BR0, BR1, ETH0, VNET1, VNET2, VNET3, PLAIN, OTHER, LOOSE, NEW = 1, 2, 10, 11, 12, 13, 14, 20, 30, 40


def guest(
    port: str, mac: str, manager: Manager = Manager.LIBVIRT, running: bool = True, bridge: str = "br0"
) -> GuestPort:
    return GuestPort(port, bridge, f"of-{port}", "uuid", (mac,), running=running, policy=Policy(manager=manager))


def port(name: str, ifindex: int, flags: PortFlags = OPEN, bridge: str = "br0") -> BridgePort:
    return BridgePort(name, ifindex, bridge, f"fe:00:00:00:01:{ifindex:02x}", flags, vids=(1,), pvid=1)


GUESTS = (
    guest("vnet1", G1),
    guest("vnet2", G2),
    guest("vnet3", WAITING, running=False),
    guest("plain", UNMANAGED, Manager.KERNEL),
    guest("loose", "52:54:00:00:00:05"),  # its tap is on no bridge
    guest("coming", "52:54:00:00:00:06"),  # its tap is not there
)
PORTS = (
    port("eth0", ETH0),
    port("vnet1", VNET1, CLOSED),
    port("vnet2", VNET2, CLOSED),
    port("vnet3", VNET3),
    port("plain", PLAIN),
    port("other", OTHER, bridge="br1"),
)
SNAPSHOT = Snapshot(
    {"br0": Bridge("br0", BR0, "fe:00:00:00:00:b0", True), "br1": Bridge("br1", BR1, "fe:00:00:00:00:b1")},
    {each.name: each for each in PORTS},
    {"br0": None, "br1": None, "loose": None, **{each.name: each.bridge for each in PORTS}},
    (
        *(Entry(mac, vid, name, sticky=True) for mac, name in ((G1, "vnet1"), (G2, "vnet2")) for vid in (0, 1)),
        Entry(STRANGER, 1, "eth0", EntryState.DYNAMIC),
        Entry(DEPARTED, 1, "eth0", EntryState.STATIC),
        Entry(TAP, 0, "vnet1", EntryState.LOCAL),
    ),
)
INTENT = Intent(GUESTS, {"br0": "a test says so"})
VIEW = LastView(View(INTENT, SNAPSHOT, Plan((), ()), known=remembers_gone({DEPARTED: "gone"}, "br0")))


def entry(mac: str, ifindex: int, vid: int = 1, bridge: int = BR0, **said: object) -> EntryEvent:
    event = EntryEvent(ifindex, bridge, mac, vid, gone=False, state=EntryState.STATIC, sticky=True, extern_learn=False)
    return event._replace(**said)  # type: ignore[arg-type]


def of_port(name: str = "vnet1", ifindex: int = VNET1, **said: object) -> LinkEvent:
    """A bridge's message about its port, by default as vnet1 was read."""
    event = LinkEvent(ifindex, name, False, BR0, "", True, CLOSED, None, (1,), bridge_message=True)
    return event._replace(**said)  # type: ignore[arg-type]


def interface(name: str, ifindex: int, master: int | None = None, **said: object) -> LinkEvent:
    """A message about an interface."""
    event = LinkEvent(ifindex, name, False, master, "tun", True, None, None, None, bridge_message=False)
    return event._replace(**said)  # type: ignore[arg-type]


def bridge(name: str = "br0", ifindex: int = BR0, filtering: bool = True) -> LinkEvent:
    return interface(name, ifindex, kind="bridge", vlan_filtering=filtering)


def vlan(first: int, last: int = 0, ifindex: int = VNET1, gone: bool = False, pvid: bool = False) -> VlanEvent:
    return VlanEvent(ifindex, first, last or first, gone, pvid)


def test_lost_events_are_news() -> None:
    assert VIEW.news_in(LOST) == "events of the kernel were lost"
    assert VIEW.news_among([LOST]) == ["events of the kernel were lost"]


NO_NEWS = {
    "a port's MTU": of_port(relay=PortRelay(mtu=9000)),
    "the state of a VLAN as it was read": vlan(1, pvid=True)._replace(state=PortState.FORWARDING),
    "a port of a bridge that nobody manages is blocked": of_port(
        "other", OTHER, flags=OPEN, master=BR1, relay=PortRelay(PortState.BLOCKING)
    ),
    "a guest's entry as it was read": entry(G1, VNET1),
    "its copy in VID 0": entry(G1, VNET1, vid=0),
    "an address learned on the uplink": entry("02:00:00:00:00:99", ETH0, state=EntryState.DYNAMIC, sticky=False),
    "one that ages out there": entry(STRANGER, ETH0, gone=True, state=EntryState.DYNAMIC),
    "somebody's static entry on the uplink": entry("02:00:00:00:00:99", ETH0),
    "a guest's address on another bridge": entry(G1, OTHER, bridge=BR1),
    "an entry that goes, of which nothing was read": entry(G1, ETH0, vid=7, gone=True),
    "a tap's own address": entry("fe:00:00:00:00:99", VNET1, state=EntryState.LOCAL),
    "an external control plane's entry on a managed port": entry(STRANGER, VNET1, extern_learn=True),
    "an address learned behind a waiting guest's open port": entry(STRANGER, VNET3, state=EntryState.DYNAMIC),
    "an address learned behind an unmanaged port": entry(UNMANAGED, PLAIN, state=EntryState.DYNAMIC),
    "a departed guest's address, learned": entry(DEPARTED, ETH0, vid=5, state=EntryState.DYNAMIC),
    "a departed guest's entry as it was read": entry(DEPARTED, ETH0, sticky=False),
    "a port as it was read": of_port(),
    "the same in a message about the interface": interface("vnet1", VNET1, BR0, flags=CLOSED),
    "a message that says no flags": of_port(flags=None, vids=None),
    "a port that goes down": of_port(up=False),
    "an uplink as it was read": of_port("eth0", ETH0, flags=OPEN),
    "a port of a bridge that is not managed": of_port("other", OTHER, master=BR1, flags=CLOSED),
    "a tap that joins such a bridge": interface("new", NEW, BR1),
    "an interface on no bridge": interface("new", NEW),
    "one that goes": interface("new", NEW, gone=True),
    "a port that left and was not read": of_port("new", NEW, gone=True, flags=None),
    "a port that left another bridge, before it came to this one": of_port(gone=True, master=BR1, flags=None),
    "a tap on no bridge as it was read": interface("loose", LOOSE),
    "a bridge as it was read": bridge(),
    "a bridge that is not managed": bridge("br1", BR1, filtering=True),
    "another new bridge": bridge("br7", NEW),
    "what a bridge says of itself": of_port("br0", BR0, master=None, flags=None, vids=None),
    "a VID that was read": vlan(1, pvid=True),
    "a VID that was read, tagged": vlan(1, pvid=True)._replace(untagged=False),
    "one that goes and was not read": vlan(30, gone=True),
    "a VID of a port on another bridge": vlan(30, ifindex=OTHER),
    "one of another bridge itself": vlan(30, ifindex=BR1),
    "one of an interface that is not known": vlan(30, ifindex=99),
    "an interface with a managed bridge's name that is no bridge": interface("br0", NEW, kind="dummy"),
}


@pytest.mark.parametrize("event", NO_NEWS.values(), ids=NO_NEWS.keys())
def test_no_news(event: EntryEvent | LinkEvent | VlanEvent) -> None:
    assert VIEW.news_in(event) == ""
    assert VIEW.news_among([event, event]) == []


NEWS = [
    (of_port(relay=PortRelay(PortState.BLOCKING)), "vnet1 is blocking"),
    (of_port(relay=PortRelay(carrier=False)), "vnet1 has no carrier"),
    (of_port("eth0", ETH0, flags=OPEN, relay=PortRelay(operational=False)), "eth0 is not operational"),
    (of_port(relay=PortRelay(broadcast_flood=False)), "broadcast flood of vnet1 is off"),
    (of_port(relay=PortRelay(proxy_arp=True)), "proxy_arp of vnet1 is on"),
    (bridge()._replace(up=False), "br0 is down"),
    (bridge()._replace(operational=False), "br0 has no carrier"),
    (vlan(1, pvid=True)._replace(state=PortState.BLOCKING), "the states of VLANs on vnet1 changed"),
    (vlan(1, pvid=True)._replace(untagged=True), "vnet1 sends frames of other VIDs untagged"),
    (entry(G1, VNET1, gone=True), f"the entry of {G1} in VID 1 on vnet1 is gone"),
    (entry(G1, VNET1, vid=0, gone=True), f"the entry of {G1} on vnet1 is gone"),
    # it was moved there before, and both are read at once
    (entry(G1, ETH0, gone=True), f"the entry of {G1} in VID 1 on eth0 is gone"),
    (entry(G1, ETH0, sticky=False), f"the entry of {G1} in VID 1 moved to eth0"),
    (entry(G1, 99), f"the entry of {G1} in VID 1 moved to interface 99"),
    (entry(G1, BR0, state=EntryState.LOCAL, sticky=False), f"the entry of {G1} in VID 1 moved to br0"),
    (entry(G1, VNET1, sticky=False), f"the entry of {G1} in VID 1 on vnet1 is static"),
    (entry(G1, VNET1, vid=9), f"the entry of {G1} in VID 9 appeared on vnet1 (static sticky)"),
    (
        entry(WAITING, ETH0, state=EntryState.DYNAMIC, sticky=False),
        f"the entry of {WAITING} in VID 1 appeared on eth0 (dynamic)",
    ),
    (
        entry(STRANGER, VNET1, vid=4, sticky=False),
        f"the entry of {STRANGER} in VID 4 appeared on vnet1 (static)",
    ),
    (
        entry("02:00:00:00:00:99", VNET1, state=EntryState.DYNAMIC, sticky=False),
        "the entry of 02:00:00:00:00:99 in VID 1 appeared on vnet1 (dynamic)",
    ),
    (entry(STRANGER, VNET3, vid=4), f"the entry of {STRANGER} in VID 4 appeared on vnet3 (static sticky)"),
    (entry(DEPARTED, ETH0, vid=5), f"the entry of {DEPARTED} in VID 5 appeared on eth0 (static sticky)"),
    (entry(DEPARTED, ETH0, gone=True, sticky=False), f"the entry of {DEPARTED} in VID 1 on eth0 is gone"),
    (
        entry(DEPARTED, ETH0, state=EntryState.DYNAMIC, sticky=False),
        f"the entry of {DEPARTED} in VID 1 on eth0 is dynamic",
    ),
    (of_port(flags=OPEN), "vnet1: learning is on, unicast flood is on"),
    (of_port(flags=replace(CLOSED, learning=True)), "vnet1: learning is on"),
    (of_port(flags=replace(CLOSED, locked=True)), "vnet1: locked is on"),
    (of_port("eth0", ETH0, flags=CLOSED), "eth0: learning is off, unicast flood is off"),
    (interface("vnet1", VNET1, BR0, flags=OPEN), "vnet1: learning is on, unicast flood is on"),
    (of_port(vids=(1, 2)), "the VIDs of vnet1 changed"),
    (of_port(vids=()), "the VIDs of vnet1 changed"),
    (of_port(gone=True, flags=None, vids=None), "vnet1 left br0"),
    (interface("vnet1", VNET1), "vnet1 left br0"),
    (interface("vnet1", VNET1, BR1), "vnet1 left br0"),
    (interface("eth0", ETH0), "eth0 left br0"),
    (interface("vnet1", VNET1, gone=True), "vnet1 is gone"),
    (interface("vnet1x", VNET1, BR0), "vnet1 is called vnet1x now"),
    (interface("vnet1", NEW), "vnet1 was made again"),
    (interface("coming", NEW), "coming appeared"),
    (interface("coming", NEW, BR0), "coming appeared"),
    (interface("loose", LOOSE, BR0), "loose joined br0"),
    (interface("loose", LOOSE, BR1), "loose joined br1"),
    (interface("loose", LOOSE, gone=True), "loose is gone"),
    (interface("new", NEW, BR0), "new joined br0"),
    (of_port("new", NEW, flags=OPEN), "new joined br0"),
    (bridge(filtering=False), "VLAN filtering of br0 is off"),
    (bridge(ifindex=NEW), "br0 was made again"),
    (bridge("br0x"), "br0 is called br0x now"),
    (interface("br0", BR0, kind="bridge", gone=True), "br0 is gone"),
]


@pytest.mark.parametrize(("event", "words"), NEWS, ids=[words for _, words in NEWS])
def test_news(event: EntryEvent | LinkEvent, words: str) -> None:
    assert VIEW.news_in(event) == words
    assert VIEW.news_among([event]) == [words]


def test_a_bridge_that_was_not_there() -> None:
    view = LastView(View(INTENT, Snapshot(), Plan((), ())))
    assert view.news_in(bridge()) == "br0 appeared"
    assert view.news_in(entry(G1, VNET1)) == ""


def test_a_wanted_tap_on_something_that_is_no_bridge() -> None:
    elsewhere = replace(SNAPSHOT, masters={**SNAPSHOT.masters, "loose": "ovs-system"})
    view = LastView(View(INTENT, elsewhere, Plan((), ())))
    assert view.news_in(interface("loose", LOOSE, 77)) == ""
    assert view.news_in(interface("loose", LOOSE)) == "loose left ovs-system"


def test_a_wanted_tap_on_the_wrong_bridge() -> None:
    wrong = port("vnet1", VNET1, bridge="br1")
    view = LastView(View(INTENT, replace(SNAPSHOT, ports={**SNAPSHOT.ports, "vnet1": wrong}), Plan((), ())))
    assert view.news_in(of_port(master=BR1, flags=OPEN)) == ""
    assert view.news_in(of_port()) == "vnet1 left br1"


# Several at once


def test_drift_and_its_repair_together_are_no_news() -> None:
    opened = replace(CLOSED, learning=True)
    assert VIEW.news_among([of_port(flags=opened), interface("vnet1", VNET1, BR0, flags=opened), of_port()]) == []
    assert VIEW.news_among([entry(G1, ETH0, sticky=False), entry(G1, VNET1)]) == []
    assert VIEW.news_among([entry(G1, VNET1, gone=True), entry(G1, VNET1)]) == []
    assert VIEW.news_among([bridge(filtering=False), bridge()]) == []
    left: list[Event] = [of_port(gone=True, flags=None, vids=None), interface("vnet1", VNET1)]
    assert VIEW.news_among([*left, interface("vnet1", VNET1, BR0, flags=OPEN), of_port(flags=OPEN), of_port()]) == []


def test_repair_and_drift_after_it_are_news() -> None:
    assert VIEW.news_among([entry(G1, VNET1), entry(G1, ETH0)]) == [f"the entry of {G1} in VID 1 moved to eth0"]
    assert VIEW.news_among([of_port(), of_port(flags=OPEN)]) == ["vnet1: learning is on, unicast flood is on"]


def test_what_a_later_message_does_not_say_is_taken_from_the_one_before() -> None:
    wider = of_port(vids=(1, 2))
    assert VIEW.news_among([wider, interface("vnet1", VNET1, BR0, flags=CLOSED)]) == ["the VIDs of vnet1 changed"]
    own = of_port("br0", BR0, master=None, flags=None, vids=None)
    assert VIEW.news_among([bridge(filtering=False), own]) == ["VLAN filtering of br0 is off"]


def test_a_port_that_left_and_is_not_back_is_told_once() -> None:
    left: list[Event] = [of_port(gone=True, flags=None, vids=None), interface("vnet1", VNET1)]
    assert VIEW.news_among([of_port(), *left]) == ["vnet1 left br0"]


def test_interfaces_come_first() -> None:
    events: list[Event] = [entry(G2, ETH0), of_port(flags=OPEN), entry(STRANGER, ETH0, state=EntryState.DYNAMIC)]
    assert VIEW.news_among(events) == [
        "vnet1: learning is on, unicast flood is on",
        f"the entry of {G2} in VID 1 moved to eth0",
    ]


VLAN_NEWS = {
    "one more": ([vlan(100)], "the VIDs of vnet1 changed"),
    "a range that holds one that was read": ([vlan(1, 4094)], "the VIDs of vnet1 changed"),
    "one less": ([vlan(1, gone=True)], "the VIDs of vnet1 changed"),
    "another default PVID": ([vlan(100, pvid=True), vlan(1, gone=True)], "the VIDs of vnet1 changed"),
    "an uplink's": ([vlan(100, ifindex=ETH0)], "the VIDs of eth0 changed"),
    "the bridge's own": ([vlan(100, ifindex=BR0)], "the VIDs of br0 itself changed"),
    "no untagged frames": ([vlan(1)], "untagged frames of vnet1 get another VID"),
    "gone and back, but untagged frames": ([vlan(1, gone=True), vlan(1)], "untagged frames of vnet1 get another VID"),
    "gone and back": ([vlan(1, gone=True), vlan(1, pvid=True)], ""),
    "there for a moment": ([vlan(100, 200), vlan(100, 150, gone=True), vlan(151, 200, gone=True)], ""),
}


@pytest.mark.parametrize(("events", "news"), VLAN_NEWS.values(), ids=VLAN_NEWS.keys())
def test_vids(events: list[VlanEvent], news: str) -> None:
    """What counts is what is there after all events."""
    assert VIEW.news_among(events) == ([news] if news else [])


def test_the_default_pvid_of_a_managed_bridge() -> None:
    """A kernel before 5.6 has no other word for what it does to the ports."""
    read = replace(SNAPSHOT, bridges={**SNAPSHOT.bridges, "br0": replace(SNAPSHOT.bridges["br0"], default_pvid=1)})
    view = LastView(View(INTENT, read, Plan((), ())))
    assert view.news_in(bridge()._replace(default_pvid=1)) == ""
    assert view.news_in(bridge()._replace(default_pvid=0)) == "the default PVID of br0 changed"
    assert view.news_in(bridge("br1", BR1)._replace(default_pvid=100)) == ""
    together = [bridge()._replace(default_pvid=100), interface("br0", BR0)]
    assert view.news_among(together) == ["the default PVID of br0 changed"]
