"""An alarm is told at once and then rarely, names the port, and is never about what we, or libvirt, do ourselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from macmgr.model.changes import SetEntries
from macmgr.model.intent import GuestMac, GuestPort, Intent, Manager, NicFacts, Policy
from macmgr.model.kernelevents import LOST, EntryEvent
from macmgr.model.known import Sighting
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, PortFlags
from macmgr.planning.draft import Plan
from macmgr.view import View
from macmgr.watch.addresses import MacChange
from macmgr.watch.alarms import EVERY, GRACE, Alarms, Kind
from macmgr.watch.messages import GUEST_MAC_CHANGED, THEFT
from macmgr.watch.words import alarm as in_words
from tests.fake_kernel import make_snapshot

MAC, NEIGHBOUR, NEW = "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03"
BRIDGE, UPLINK, TAP, OTHER_TAP = 1, 3, 10, 11
KEY = "br0", MAC, 1
POLICY = Policy(Manager.LIBVIRT, guest_mac=GuestMac.FOLLOW)
GUEST = GuestPort("vnet0", "br0", "web1", "u1", (MAC,), policy=POLICY, facts=NicFacts(configured_mac=MAC))
OTHER = GuestPort("vnet1", "br0", "web2", "u2", (NEIGHBOUR,), policy=POLICY)
CLOSED = PortFlags(learning=False, unicast_flood=False)


def view(guest: GuestPort = GUEST, flags: PortFlags = CLOSED, ifindex: int = TAP, uplinks: int = 1) -> View:
    ports = [
        BridgePort("vnet0", ifindex, "br0", "fe:00:00:00:00:01", flags, (1,), 1),
        BridgePort("vnet1", OTHER_TAP, "br0", "fe:00:00:00:00:02", CLOSED, (1,), 1),
        *(BridgePort(f"eth{n}", UPLINK + n, "br0", f"02:00:00:00:00:0{n}", vids=(1,), pvid=1) for n in range(uplinks)),
    ]
    entries = [Entry(MAC, vid, "vnet0", EntryState.STATIC, sticky=True) for vid in (0, 1)]
    snapshot = make_snapshot([Bridge("br0", BRIDGE, "02:00:00:00:00:99", vlan_filtering=True)], ports, entries)
    return View(Intent((guest, OTHER), {"br0": "a test says so"}), snapshot, Plan())


def event(ifindex: int = UPLINK, **values: Any) -> EntryEvent:
    return EntryEvent(ifindex, BRIDGE, MAC, 1, False, EntryState.STATIC, False, False)._replace(**values)


@pytest.fixture
def alarms() -> Alarms:
    """A host that was looked at at 0, and again at 100."""
    made = Alarms()
    made.look(view(), 0.0)
    made.look(view(), 100.0)
    return made


def test_a_guests_mac_on_another_port_is_told_with_all_that_is_known(alarms: Alarms) -> None:
    (alarm,) = alarms.entries([event()], 100.0)
    assert (alarm.kind, alarm.mac, alarm.vid, alarm.seen_on, alarm.at) == (Kind.THEFT, MAC, 1, ("eth0",), 100.0)
    line = in_words(alarm)
    assert (line.message_id, line.domain, line.port, line.mac) == (THEFT, "web1", "vnet0", MAC)
    assert line.message.startswith(f"eth0 sent with the MAC {MAC} of web1, which is behind vnet0 (br0, VID 1)")


@pytest.mark.parametrize("backwards", [False, True])
def test_what_several_are_allowed_is_at_home_where_its_entry_leads(backwards: bool) -> None:
    """An event that has it there, which macmgr's own put makes, is no theft; one that has it elsewhere is."""
    both = [replace(each, macs=(*each.macs, NEW)) for each in (GUEST, OTHER)]
    seen = view()
    entries = (*seen.snapshot.entries, Entry(NEW, 1, "vnet0", EntryState.STATIC, sticky=True))
    ports = tuple(both[::-1] if backwards else both)
    seen = replace(seen, intent=replace(seen.intent, ports=ports), snapshot=replace(seen.snapshot, entries=entries))
    made = Alarms()
    made.look(seen, 0.0)
    made.look(seen, 100.0)
    assert made.entries([event(TAP, mac=NEW)], 100.0) == []
    (alarm,) = made.entries([event(mac=NEW)], 100.0)
    assert alarm.guest.port == "vnet0"


def test_it_is_told_once_a_minute_with_a_count(alarms: Alarms) -> None:
    assert len(alarms.entries([event()] * 3, 100.0)) == 1
    assert alarms.entries([event()] * 5, 100.0 + EVERY - 1) == []
    (alarm,) = alarms.entries([event()], 100.0 + EVERY)
    assert alarm.times == 8
    assert "sent 8 times with" in in_words(alarm).message
    (other,) = alarms.entries([event(OTHER_TAP)], 100.0 + EVERY)  # another port is another alarm
    assert other.times == 1


@pytest.mark.parametrize(
    "harmless",
    [
        event(TAP),  # our own put, or libvirt's
        event(gone=True),
        event(mac=NEW),
        event(bridge=77),
        event(vid=9),  # not a VID of the guest's
        event(extern_learn=True, state=EntryState.DYNAMIC),  # a control plane's word, and no frame
        event(BRIDGE, state=EntryState.LOCAL),  # the host's address: a finding of its own
    ],
)
def test_what_is_no_theft(alarms: Alarms, harmless: EntryEvent) -> None:
    assert alarms.entries([LOST, harmless], 100.0) == []


@pytest.mark.parametrize(
    "before",
    [
        view(replace(GUEST, running=False, state="paused")),  # it was suspended, or came by migration
        view(ifindex=77),  # another tap
        view(replace(GUEST, uuid="another")),
        view(flags=PortFlags()),  # the port was open, and learned the MAC by itself
    ],
)
def test_a_guest_that_has_just_come_is_nobodys_victim(before: View) -> None:
    alarms = Alarms()
    alarms.look(before, 0.0)
    alarms.look(view(), 100.0)
    assert alarms.entries([event()], 100.0 + GRACE - 0.1) == []
    assert alarms.ages({KEY: 0.0}, 100.0 + GRACE - 0.1) == []
    assert len(alarms.entries([event()], 100.0 + GRACE)) == 1


@pytest.mark.parametrize("now", [view(replace(GUEST, running=False, state="paused")), view(ifindex=77)])
def test_a_guest_that_has_left_is_not_one_either(alarms: Alarms, now: View) -> None:
    """It migrates, and is seen where it runs now: the look that followed the event knows."""
    alarms.look(now, 101.0)
    assert alarms.entries([event()], 101.0) == []
    assert alarms.ages({KEY: 0.0}, 101.0) == []


def test_nothing_is_told_at_the_first_look() -> None:
    alarms = Alarms()
    assert alarms.entries([event()], 0.0) == []
    alarms.look(view(), 0.0)
    assert alarms.entries([event()], 0.0) == []
    assert alarms.ages({KEY: 50.0}, 0.0) == []


def test_an_age_that_begins_anew_is_a_mac_seen_elsewhere(alarms: Alarms) -> None:
    assert alarms.keys() == [KEY]
    assert alarms.ages({KEY: 100.0}, 100.0) == []
    (alarm,) = alarms.ages({KEY: 3.0}, 110.0)
    assert (alarm.kind, alarm.vid, alarm.seen_on) == (Kind.THEFT, 1, ("eth0",))
    assert alarms.ages({KEY: 13.0}, 120.0) == []  # the same refresh, older
    assert alarms.ages({KEY: 1.0}, 130.0) == []  # another one, within the minute
    (again,) = alarms.ages({KEY: 1.0}, 110.0 + EVERY)
    assert again.times == 2
    assert alarms.ages({KEY: None, ("br0", NEW, 1): 0.0}, 200.0) == []


def test_where_two_ports_learn_both_are_named() -> None:
    alarms = Alarms()
    alarms.look(view(uplinks=2), 0.0)
    (alarm,) = alarms.ages({KEY: 1.0}, 100.0)
    assert alarm.seen_on == ("eth0", "eth1")
    assert in_words(alarm).message.startswith("eth0 or eth1 sent with the MAC")


def test_where_none_learns_nobody_is_accused() -> None:
    alarms = Alarms()
    alarms.look(view(uplinks=0), 0.0)
    assert alarms.ages({KEY: 1.0}, 100.0) == []


def test_an_age_that_our_put_explains_is_none(alarms: Alarms) -> None:
    put = SetEntries(MAC, (), (Entry(MAC, 1, "vnet0", sticky=True),), "br0", "web1")
    alarms.look(view(), 110.0, [put])
    assert alarms.ages({KEY: 0.3}, 110.3) == []
    alarms.look(view(), 120.0)
    assert alarms.entries([event(TAP)], 120.0) == []  # somebody else's put is told as an event
    assert alarms.ages({KEY: 0.1}, 120.2) == []
    assert len(alarms.ages({KEY: 0.1}, 130.0)) == 1


def test_a_frame_behind_another_guest_names_that_port(alarms: Alarms) -> None:
    (alarm,) = alarms.sightings([Sighting("vnet1", OTHER_TAP, MAC, None)], 100.0)
    assert (alarm.guest.port, alarm.seen_on, alarm.vid) == ("vnet0", ("vnet1",), 1)
    for harmless in (
        Sighting("vnet1", OTHER_TAP, NEW, None),
        Sighting("vnet1", OTHER_TAP, MAC, 9),
        Sighting("vnet1", 4711, MAC, None),
        Sighting("vnet9", 9, MAC, None),
        Sighting("vnet0", TAP, MAC, None),
    ):
        assert alarms.sightings([harmless], 100.0 + EVERY) == []


def test_a_bond_inside_a_guest_is_no_theft() -> None:
    alarms = Alarms()
    both = view()
    both = replace(both, intent=replace(both.intent, ports=(GUEST, replace(OTHER, uuid=GUEST.uuid))))
    alarms.look(both, 0.0)
    assert alarms.sightings([Sighting("vnet1", OTHER_TAP, MAC, None)], 100.0) == []


def test_an_address_that_may_roam_is_nobodys(alarms: Alarms) -> None:
    roaming = view(replace(GUEST, macs=(MAC, NEW), roaming=(NEW,)))
    alarms.look(roaming, 100.0)
    assert alarms.entries([event(mac=NEW)], 200.0) == []


def test_a_guest_that_is_followed_is_told_by_its_port(alarms: Alarms) -> None:
    change = MacChange(GUEST, NEW, MAC, followed=True)
    (alarm,) = alarms.guest_macs([change], 100.0)
    line = in_words(alarm)
    assert (line.message_id, line.mac, line.code) == (GUEST_MAC_CHANGED, NEW, "guest-mac-changed")
    assert line.message == f"web1 uses {NEW} on vnet0 instead of {MAC}: its entry follows"
    assert alarms.guest_macs([change._replace(mac=f"02:00:00:00:00:{n:02x}") for n in range(9)], 101.0) == []
    (again,) = alarms.guest_macs([change], 100.0 + EVERY)
    assert again.times == 10
    assert alarms.guest_macs([change._replace(followed=False)], 300.0) == []
