"""Who reaches a guest: worlds in which an audit by entries and flags saw nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from macmgr.forwarding import Reason
from macmgr.forwarding.consequences import Reach, consequences
from macmgr.forwarding.harm import harms
from macmgr.model.flags import PortFlags
from macmgr.model.intent import GuestPort, Intent, NicFacts, Vlan
from macmgr.model.relay import PortRelay, PortState
from macmgr.model.roles import Role
from macmgr.model.snapshot import Entry, EntryState, Snapshot
from tests.two_guests import CLOSED, DB, INTENT, PINNED, WEB, host

APART = {"flags": replace(CLOSED, isolated=True)}


def reach(snapshot: Snapshot) -> Reach:
    """Who reaches web, which is in one VLAN or in VLANs that are all alike."""
    (found,) = (each for each in consequences(snapshot, INTENT) if each.guest.domain == "web")
    return found


def reasons(found: Reach) -> dict[Role | None, Reason]:
    return {way.role: way.reason for way in found.ways if not way.reached}


@pytest.mark.parametrize("vlans", [False, True])
def test_a_guest_in_sync_is_reached_and_nothing_takes_it_away(vlans: bool) -> None:
    found = reach(host(vlans))
    assert [found.reached_from(role) for role in (Role.UPLINK, None, Role.GUEST)] == [True, True, True]
    assert (found.taken_from, found.hears_others) == ((), False)
    assert found.vids == ((1,) if vlans else (0,))


@pytest.mark.parametrize(
    ("ports", "reason"),
    [
        ({"eth0": {"vids": (1, 42)}, "vnet1": {"vids": (42,), "pvid": 42, "untagged": (42,)}}, Reason.UNKNOWN),
        ({"eth0": {"vids": (7,), "pvid": None, "untagged": ()}}, Reason.NOT_IN_VLAN_IN),
        ({"eth0": {"relay": PortRelay(PortState.LISTENING)}}, Reason.LISTENING),
        ({"eth0": {"relay": PortRelay(vlan_states={1: PortState.BLOCKING})}}, Reason.VLAN_STATE_IN),
        ({"vnet1": {"up": False, "relay": PortRelay(PortState.DISABLED, carrier=False)}}, Reason.PORT_DOWN),
        ({"vnet1": {"vids": (), "pvid": None, "untagged": ()}}, Reason.NOT_IN_VLAN),
    ],
)
def test_a_guest_that_is_cut_off_from_the_uplink(ports: dict[str, Any], reason: Reason) -> None:
    """Entries and flags are all right, but for the first: a closed port without an entry in its VLAN."""
    found = reach(host(True, **ports))
    assert found.reached_from(Role.UPLINK) is False
    if reason is not Reason.UNKNOWN:
        assert reasons(found)[Role.UPLINK] is reason


def test_a_stolen_address_goes_elsewhere() -> None:
    found = reach(host(entries=(PINNED[0]._replace(port="eth0"), PINNED[1])))
    way = next(way for way in found.ways if way.role is Role.GUEST)
    assert (way.reached, way.reason, way.instead) == (False, Reason.OTHER_PORT, ("eth0",))


def test_one_frame_takes_an_entry_away_that_is_not_sticky_from_a_port_that_does_not_learn() -> None:
    loose = tuple(entry._replace(sticky=False) for entry in PINNED)
    assert reach(host(entries=loose)).taken_from == ("eth0",), "the other guest's port does not learn either"
    learns = host(entries=loose, vnet1={"flags": PortFlags()})
    assert reach(learns).taken_from == (), "the guest's next frame brings it back"


def test_isolated_guests_do_not_reach_each_other_and_an_open_port_hears_what_is_for_others() -> None:
    apart = host(vnet1={"flags": PortFlags(isolated=True)}, vnet2=APART)
    found = reach(apart)
    assert reasons(found) == {Role.GUEST: Reason.ISOLATED}
    assert found.hears_others is True


def test_a_locked_port_without_an_entry_holds_the_guests_own_frames() -> None:
    locked = host(entries=PINNED[1:], vnet1={"flags": PortFlags(locked=True)})
    (way,) = (way for way in reach(locked).ways if way.role is Role.UPLINK)
    assert (way.there.reached, way.back.reason, way.reached) == (True, Reason.LOCKED, False)


def test_vids_in_which_all_is_alike_are_one() -> None:
    trunk = {"vids": tuple(range(1, 4095)), "pvid": 1, "untagged": (1,)}
    entries = tuple(Entry(WEB, vid, "vnet1", sticky=True) for vid in range(1, 4095) if vid != 100)
    snapshot = replace(host(True, eth0=trunk, vnet1=trunk), entries=entries)
    intent = Intent((GuestPort("vnet1", "br0", "web", "u1", (WEB,)),))
    found = [(each.vids[0], len(each.vids), each.reached_from(Role.UPLINK)) for each in consequences(snapshot, intent)]
    assert found == [(1, 1, True), (2, 4092, True), (100, 1, False)]


# What a change does


def changed(
    before: Snapshot, after: Snapshot, intent: Intent = INTENT, used: str = ""
) -> set[tuple[str, str, str, bool]]:
    """Whose address, which one, with whom, and whether it is cut off. ``used`` is one more that web uses."""

    def addresses(guest: GuestPort) -> tuple[str, ...]:
        return (*guest.macs, used) if used and guest.domain == "web" else guest.macs

    found = harms(before, after, intent, addresses)
    return {(harm.guest.domain, harm.mac, harm.other, harm.cut_off) for harm in found}


def web_is(**facts: Any) -> Intent:
    web, db = INTENT.ports
    return Intent((replace(web, facts=NicFacts(**facts)), db))


PEERS = ("eth0", "br0", "vnet2")
OPEN: dict[str, Any] = {"vnet1": {"flags": PortFlags()}, "vnet2": {"flags": PortFlags()}}


def test_a_change_to_what_macmgr_wants_harms_nobody() -> None:
    assert changed(host(entries=(), **OPEN), host()) == set()
    assert changed(host(), host(entries=(), **OPEN)) == set(), "and neither does giving back"


def test_a_guest_that_is_there_by_mistake_makes_up_for_nobody_with_its_address() -> None:
    """db is on br0, has the address of web and takes it; its own bridge is br1."""
    before = host(entries=PINNED[:1], vnet2={"flags": PortFlags()})
    after = replace(before, entries=(Entry(WEB, 0, "vnet2"),))
    web, db = INTENT.ports
    for bridge, lost in (("br0", set()), ("br1", {("web", WEB, other, True) for other in ("eth0", "br0")})):
        assert changed(before, after, Intent((web, replace(db, macs=(WEB,), bridge=bridge)))) == lost


def test_a_port_that_is_closed_without_an_entry_is_cut_off() -> None:
    closed = host(entries=PINNED[1:])
    everybody = {("web", WEB, other, True) for other in ("eth0", "br0", "vnet2")}
    assert changed(host(), closed) == everybody


def test_an_address_in_use_behind_a_port_is_lost_when_that_is_closed() -> None:
    vrrp = "00:00:5e:00:01:0a"
    learned = Entry(vrrp, 0, "vnet1", EntryState.DYNAMIC)
    lost = {("web", vrrp, other, True) for other in ("eth0", "br0", "vnet2")}
    assert changed(host(entries=(*PINNED, learned), **OPEN), host(), used=vrrp) == lost


def test_whom_a_suspended_guest_reaches_when_it_goes_on_is_lost_though_its_port_is_locked_meanwhile() -> None:
    web, db = INTENT.ports
    suspended = Intent((web, replace(db, running=False)))
    waits = {"flags": PortFlags(locked=True)}
    reached, closed = host(entries=(), vnet1=OPEN["vnet1"], vnet2=waits), host(entries=(), vnet2=waits)
    assert changed(reached, closed, suspended) == {("web", WEB, other, True) for other in PEERS}
    unlocked = host(entries=(), **OPEN)
    assert changed(unlocked, reached, suspended) == set(), "that its port is locked harms nobody"


def test_who_may_be_let_in_by_mab_counts_as_reached() -> None:
    relay = replace(host().ports["vnet1"].relay, mab=True)
    mab = {"flags": PortFlags(locked=True), "relay": relay}
    learned = Entry(WEB, 0, "vnet1", EntryState.DYNAMIC)
    before = host(entries=(learned, PINNED[1]), vnet1=mab)
    assert changed(before, host(entries=(PINNED[1],), vnet1=mab)) == {("web", WEB, other, True) for other in PEERS}
    assert changed(before, before) == set()


def test_who_may_be_let_in_by_mab_counts_as_heard() -> None:
    """Its entry was put, and is learned again when its port is given back: whether it is locked then, nothing says."""
    relay = replace(host().ports["vnet1"].relay, mab=True)
    apart = {"flags": PortFlags(locked=True, isolated=True), "relay": relay}
    alone = {"flags": PortFlags(isolated=True)}
    before = host(entries=PINNED, vnet1=apart, vnet2=alone)
    learned = Entry(WEB, 0, "vnet1", EntryState.DYNAMIC)
    given_back = {"flags": PortFlags(locked=True, isolated=False), "relay": relay}
    after = host(entries=(learned, PINNED[1]), vnet1=given_back, vnet2=alone)
    assert changed(before, after) == {("web", WEB, "vnet2", False), ("db", DB, "vnet1", False)}


def test_a_guest_in_another_vlan_is_cut_off_and_heard_there() -> None:
    in_42 = {"vids": (42,), "pvid": 42, "untagged": (42,)}
    trunk = {"vids": (1, 42)}
    before = replace(host(True, eth0=trunk, vnet1=in_42), entries=(Entry(WEB, 42, "vnet1", sticky=True),))
    after = replace(before, ports=host(True, eth0=trunk, vnet1={"flags": PortFlags()}).ports)
    assert changed(before, after) >= {("web", WEB, "eth0", True), ("web", WEB, "vnet2", False)}
    back = changed(after, before, web_is(vlan=Vlan((42,), 42), vlan_live=True))
    assert back == set(), "its XML asks for that VLAN, and its uplink carries it"
    lost = replace(before, ports={**before.ports, "eth0": replace(before.ports["eth0"], vids=(1,))})
    nowhere = changed(
        replace(after, ports={**after.ports, "eth0": lost.ports["eth0"]}),
        lost,
        web_is(vlan=Vlan((42,), 42), vlan_live=True),
    )
    assert nowhere == {("web", WEB, "eth0", True)}, "it was reached by its uplink, and is by none"


def test_isolation_that_is_lost_lets_guests_hear_each_other() -> None:
    apart = host(vnet1=APART, vnet2=APART)
    assert changed(apart, host(vnet2=APART)) == {("web", WEB, "vnet2", False), ("db", DB, "vnet1", False)}
    assert changed(host(), apart) == {("web", WEB, "vnet2", True), ("db", DB, "vnet1", True)}
    assert changed(host(vnet2=APART), apart, web_is(isolated=True)) == set(), "the XML of web asks for it"
    assert changed(host(), apart, web_is(isolated=True)) != set(), "and that of db does not"


def test_an_address_of_two_guests_is_reached_as_long_as_one_of_them_is() -> None:
    web, db = INTENT.ports
    twins = Intent((web, replace(db, macs=(WEB,))))
    moved = host(entries=(PINNED[0]._replace(port="vnet2"),))
    assert changed(host(), moved, twins) == set()
    down = replace(moved, ports={**moved.ports, "vnet2": replace(moved.ports["vnet2"], up=False)})
    assert changed(host(), down, twins) == {("web", WEB, other, True) for other in ("eth0", "br0")}


def test_a_sender_that_its_own_port_holds_back_is_no_loss_of_those_it_sends_to() -> None:
    locked: dict[str, Any] = {"vnet2": {"flags": replace(CLOSED, locked=True)}}
    found = changed(host(**locked), host(entries=PINNED[:1], **locked))
    assert {(domain, other) for domain, _, other, _ in found} == {("db", "br0"), ("db", "eth0"), ("db", "vnet1")}
