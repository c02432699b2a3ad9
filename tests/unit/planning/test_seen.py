"""What the daemon sees behind a guest's port becomes entries, as policy says, and is forgotten when it moves on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from macmgr.model.findings import Code
from macmgr.model.intent import GuestPort, Manager, Pin, Policy
from macmgr.model.known import NicAddress, Sighting
from macmgr.model.snapshot import Entry, EntryState
from macmgr.planning.seen import MOST
from macmgr.watch.addresses import ALERT, BOTH, hear, remember, settle, watched
from tests.golden.case import explained
from tests.onlooker import (
    ALERTS,
    BRIDGE_MAC,
    FOLLOW,
    IGNORE,
    LAN,
    NEIGHBOUR,
    NEW,
    NO_WORD,
    OTHER,
    OWN,
    UPLINK_MAC,
    VIRTUAL,
    VRRP,
    Host,
    guest,
    said_of,
)


def test_a_followed_address_gets_the_entry_and_the_old_one_goes() -> None:
    host = Host([guest()])
    (change,) = host.sees(NEW)
    assert (change.before, change.mac, change.followed) == (OWN, NEW, True)
    assert host.port_of(NEW) == "vnet0"
    assert host.entry(OWN) is None
    assert host.codes == set()
    assert not host.audit().plan.changes
    assert host.view.intent.ports[0].facts.current_mac == NEW
    assert watched(host.view) == {"vnet0": (10, frozenset({NEW}))}


def test_without_the_record_the_address_would_be_dropped() -> None:
    """Why every verb reads it."""
    host = Host([guest()])
    host.sees(NEW)
    host.records = ()
    assert Code.EXTRA_ENTRY in {each.code for each in host.audit().plan.findings}


def test_a_locked_port_takes_the_followed_address_and_the_old_one_no_more() -> None:
    host = Host([guest(replace(FOLLOW, lock=True))])
    assert not host.kernel.takes("vnet0", NEW)
    host.sees(NEW)
    assert host.kernel.takes("vnet0", NEW)
    assert not host.kernel.takes("vnet0", OWN)


def test_a_guest_that_goes_back_to_its_own_address_is_followed_too() -> None:
    host = Host([guest()])
    host.sees(NEW)
    host.sees(OWN)
    assert (host.port_of(OWN), host.entry(NEW)) == ("vnet0", None)
    host.sees(NEW, after=BOTH + 1)
    host.sees(OWN, after=BOTH + 1)
    assert (host.port_of(OWN), host.entry(NEW)) == ("vnet0", None)
    host.now += BOTH + 1
    host.round()
    assert host.records == ()
    assert host.entry(OWN) == Entry(OWN, 1, "vnet0", EntryState.STATIC, sticky=True)


def test_a_guest_that_uses_both_addresses_keeps_both() -> None:
    """keepalived's macvlan in a trusted guest: following back and forth would cut the one and then the other."""
    host = Host([guest()])
    for mac in (VIRTUAL, OWN, VIRTUAL):
        host.sees(mac)
    assert (host.port_of(OWN), host.port_of(VIRTUAL)) == ("vnet0", "vnet0")
    assert watched(host.view)["vnet0"][1] == {OWN, VIRTUAL}


COMBINATIONS = [(frames, events) for frames in (True, False) for events in (True, False)]


@pytest.mark.parametrize(("sightings", "listens"), COMBINATIONS)
def test_a_guest_is_followed_through_what_libvirt_saves_and_what_it_does_not(sightings: bool, listens: bool) -> None:
    """A to B, which libvirt saves, to C, which it does not, and back to A: at each step it is where it was seen last.

    Without frames and events nobody can know C before libvirt saves it: the entry is what the file says.
    """
    host = Host([guest()], sightings=sightings, listens=listens)
    knows = sightings or listens

    def uses(mac: str) -> None:
        host.hears(mac)
        host.sees(mac)
        right = mac if knows else (host.guests[0].facts.said_mac or OWN)
        others = {OWN, NEW, OTHER} - {right}
        for _ in range(2):
            assert (host.port_of(right), [each for each in others if host.entry(each)]) == ("vnet0", [])
            assert not host.audit().plan.changes
            if knows:
                assert not host.audit_by_libvirt(mac).plan.changes
            host.round()

    uses(NEW)
    host.saves(NEW)
    assert (host.port_of(NEW), host.entry(OWN)) == ("vnet0", None)
    uses(OTHER)
    host.restarts()
    uses(OTHER)
    uses(OWN)
    host.restarts()
    uses(OWN)
    host.saves(OWN)
    assert (host.port_of(OWN), host.entry(NEW), host.entry(OTHER)) == ("vnet0", None, None)


def test_what_libvirt_saves_of_another_change_is_newer_than_what_was_seen() -> None:
    """The daemon was not there when the guest changed again, and the file has another word since."""
    host = Host([guest()])
    host.sees(NEW)
    host.saves(OTHER)
    assert (host.port_of(OTHER), host.entry(NEW)) == ("vnet0", None)
    host.saves(OWN)
    assert (host.port_of(OWN), host.entry(OTHER)) == ("vnet0", None)


def test_an_address_that_the_file_is_saved_with_before_the_next_look_is_older_than_the_frame() -> None:
    """B was saved, and C seen, after the daemon has read the file: B is not news at its next look."""
    host = Host([guest()])
    view = host.view
    host.guests = [said_of(guest(), NEW)]
    host.records, _ = remember(host.records, [Sighting("vnet0", 10, OTHER, None)], view, host.now)
    host.round()
    assert (host.port_of(OTHER), host.entry(NEW)) == ("vnet0", None)
    assert not host.audit().plan.changes


@pytest.mark.parametrize("current", [NEW, OWN])
def test_an_address_is_pinned_alike_whoever_tells_of_it(current: str) -> None:
    """Plain static where the guest has changed to it, for nobody wrote it down; the NIC's own as policy says."""
    tells: dict[str, Callable[[Host], object]] = {
        "a frame": lambda host: host.sees(current, after=BOTH + 1),
        "an event": lambda host: host.hears(current),
        "the file": lambda host: host.saves(current),
    }
    for tell in tells.values():
        host = Host([guest()])
        host.sees(OTHER)
        host.saves(OTHER)
        tell(host)
        assert host.entry(current) == Entry(current, 1, "vnet0", EntryState.STATIC, sticky=current == OWN)
        assert host.entry(OTHER) is None


def test_what_libvirt_says_when_it_is_asked_is_news_only_where_it_did_not_say_so_before() -> None:
    host = Host([guest()])
    host.hears(NEW)
    host.sees(OTHER)
    host.hears(NEW, changed=False)  # a new connection: libvirt has not noticed the last change
    assert (host.port_of(OTHER), host.entry(NEW)) == ("vnet0", None)
    host.hears(OWN, changed=False)
    assert (host.port_of(OWN), host.entry(OTHER)) == ("vnet0", None)
    host.sees(NEW, after=BOTH + 1)
    host.hears(OWN, changed=False)  # an old libvirt, which never says anything else
    assert (host.port_of(NEW), host.entry(OWN)) == ("vnet0", None)


def test_what_libvirt_says_of_a_nic_that_only_alerts_is_told() -> None:
    host = Host([guest(ALERTS)])
    (change,) = host.hears(NEW)
    assert (change.mac, change.followed) == (NEW, False)
    assert (host.codes, host.entry(NEW)) == ({Code.GUEST_MAC_CHANGED}, None)
    host.hears(OWN)
    assert host.codes == set()
    ignores = Host([guest(IGNORE)])
    assert ignores.hears(NEW) == []
    assert ignores.records == ()


def test_a_word_about_nobody_here_waits_for_a_look() -> None:
    host = Host([guest()])
    word = NicAddress("another", "net0", NEW, True)
    assert hear(host.records, [word], host.view, 0.0) == ((), [], [word])


def test_the_address_of_an_arriving_guest_is_put_though_the_uplink_has_learned_it() -> None:
    """Its file comes with the migration and has the changed address; nobody here has seen the guest yet."""
    arriving = replace(said_of(guest(), NEW), running=False, state="paused")
    host = Host([arriving])
    host.kernel.frame("eth0", NEW, LAN)
    host.round()
    assert host.port_of(NEW) == "eth0"
    host.guests = [replace(arriving, running=True, state="running")]
    host.round()
    assert (host.port_of(NEW), host.entry(OWN)) == ("vnet0", None)


def test_where_no_frame_is_heard_an_address_does_not_leave_with_one_that_is_forged() -> None:
    """Nobody would hear the guest when it goes on sending."""
    for sightings, stays in ((True, False), (False, True)):
        host = Host([guest()], sightings=sightings)
        host.hears(NEW)
        host.kernel.frame("eth0", NEW, LAN)
        host.round()
        host.round()
        assert (host.port_of(NEW) == "vnet0") is stays
        host.sees(NEW)
        assert host.port_of(NEW) == "vnet0"


def test_an_address_that_another_guest_has_left_is_free() -> None:
    """Also while libvirt's file still says that it has it."""
    host = Host([said_of(guest(), NEW), guest(FOLLOW, "vnet1", NEIGHBOUR, "web2")])
    host.sees(NEW, port="vnet1")
    assert host.port_of(NEW) == "vnet0"
    assert Code.DUPLICATE_MAC in host.codes
    host.sees(OTHER)
    host.sees(NEW, port="vnet1")
    assert host.port_of(NEW) == "vnet1"
    assert host.codes == set()


def test_alert_tells_and_lets_nothing_in() -> None:
    host = Host([guest(ALERTS)])
    (change,) = host.sees(NEW)
    assert not change.followed
    assert host.codes == {Code.GUEST_MAC_CHANGED}
    assert (host.port_of(OWN), host.entry(NEW)) == ("vnet0", None)
    assert host.sees(NEW, after=ALERT - 1) == []
    assert host.codes == {Code.GUEST_MAC_CHANGED}
    host.now += ALERT + 1
    host.round()
    assert host.records == ()
    assert {each.code for each in host.audit().plan.findings} <= {Code.UPLINK_PROMISCUOUS}


def test_a_guest_that_uses_many_addresses_is_one_alert() -> None:
    host = Host([guest(ALERTS)])
    assert len(host.sees(NEW, OTHER)) == 1
    assert host.sees(VIRTUAL, OTHER) == []


def test_ignore_does_not_even_look() -> None:
    host = Host([guest(IGNORE)])
    assert watched(host.view) == {}
    assert host.sees(NEW) == []
    assert (host.records, host.codes) == ((), set())
    assert watched(Host([guest(replace(IGNORE, allow=VRRP.allow))]).view) == {"vnet0": (10, frozenset({OWN}))}


def test_what_matches_a_pattern_is_let_in_beside_the_guests_own() -> None:
    host = Host([guest(VRRP)])
    assert host.sees(VIRTUAL) == []
    assert host.entry(VIRTUAL) == Entry(VIRTUAL, 1, "vnet0", EntryState.STATIC, sticky=False)
    assert host.entry(OWN) == Entry(OWN, 1, "vnet0", EntryState.STATIC, sticky=True)
    assert host.codes == set()
    assert not host.audit().plan.changes


def test_an_exact_address_stays_pinned() -> None:
    exact = guest(replace(VRRP, allow=(VIRTUAL, "00:00:5e:00:01:*")))
    host = Host([replace(exact, macs=(OWN, VIRTUAL))])
    host.sees(VIRTUAL)
    assert host.records == ()
    assert host.entry(VIRTUAL) == Entry(VIRTUAL, 1, "vnet0", EntryState.STATIC, sticky=True)


def test_a_virtual_router_fails_over_to_another_host_and_back() -> None:
    """Both ways, and nobody on this host loses it for longer than the next frame takes."""
    host = Host([guest(VRRP), guest(VRRP, "vnet1", NEIGHBOUR, "web2")])
    host.kernel.frame("eth0", VIRTUAL, NEIGHBOUR)  # the master is elsewhere
    assert host.kernel.deliver("br0", "vnet1", VIRTUAL) == {"eth0"}

    host.sees(VIRTUAL)  # it comes here
    assert host.kernel.deliver("br0", "vnet1", VIRTUAL) == {"vnet0"}

    host.kernel.frame("eth0", VIRTUAL, NEIGHBOUR)  # it goes
    assert host.kernel.deliver("br0", "vnet1", VIRTUAL) == {"eth0"}  # by the kernel alone, with that frame
    assert not host.audit().plan.changes  # no verb takes it back
    host.round()
    assert host.records[0].moved == (VIRTUAL,)
    assert next(each.state for each in host.view.snapshot.entries if each.mac == VIRTUAL) is EntryState.STATIC
    host.round()  # the static entry that is left is swept, and nothing of it stays
    assert (host.entry(VIRTUAL), host.entry(VIRTUAL, 0), host.records) == (None, None, ())
    assert host.kernel.deliver("br0", "vnet1", VIRTUAL) == {"eth0"}

    host.kernel.frame("eth0", VIRTUAL, NEIGHBOUR)
    assert host.entry(VIRTUAL) == Entry(VIRTUAL, 1, "eth0", EntryState.DYNAMIC)
    host.sees(VIRTUAL)  # and comes back
    assert host.kernel.deliver("br0", "eth0", VIRTUAL) == {"vnet0"}


def test_between_two_guests_of_one_bridge_it_is_where_it_was_seen_last() -> None:
    host = Host([guest(VRRP), guest(VRRP, "vnet1", NEIGHBOUR, "web2")])
    for port in ("vnet0", "vnet1", "vnet0"):
        host.sees(VIRTUAL, port=port)
        assert host.port_of(VIRTUAL) == port
        assert host.codes == set()
        host.round()
        assert [record.port for record in host.records] == [port]


def test_in_two_vlans_it_is_two_addresses() -> None:
    """One VRRP group number in many VLANs is usual."""
    guests = [guest(VRRP), guest(VRRP, "vnet1", NEIGHBOUR, "web2")]
    host = Host(guests, {"vnet0": (1,), "vnet1": (2,)})
    host.sees(VIRTUAL, port="vnet0")
    host.sees(VIRTUAL, port="vnet1")
    assert (host.port_of(VIRTUAL, 1), host.port_of(VIRTUAL, 2)) == ("vnet0", "vnet1")
    assert host.codes == set()


@pytest.mark.parametrize("policy", [FOLLOW, replace(ALERTS, allow=("52:54:00:*",))])
@pytest.mark.parametrize("running", [True, False])
def test_no_guest_takes_anothers_address(policy: Policy, running: bool) -> None:
    """A tenant must not hijack its neighbour, whoever manages that one, and whether it runs or not."""
    for manager in Manager:
        other = replace(guest(replace(FOLLOW, manager=manager), "vnet1", NEIGHBOUR, "web2"), running=running)
        host = Host([guest(policy), other])
        before = host.entry(NEIGHBOUR)
        host.sees(NEIGHBOUR)
        assert host.entry(NEIGHBOUR) == before
        assert host.port_of(OWN) == "vnet0"
        assert Code.DUPLICATE_MAC in host.codes


def test_no_guest_takes_what_another_has_changed_to() -> None:
    host = Host([guest(), guest(FOLLOW, "vnet1", NEIGHBOUR, "web2")])
    host.sees(NEW, port="vnet1")
    host.sees(NEW, port="vnet0")
    assert host.port_of(NEW) == "vnet1"
    assert host.port_of(OWN) == "vnet0"
    assert Code.DUPLICATE_MAC in host.codes


@pytest.mark.parametrize(("on", "the_hosts"), [("eth0", True), ("vnet0", False), ("vnet1", False)])
def test_a_local_entry_is_the_hosts_by_the_rule_for_written_addresses(on: str, the_hosts: bool) -> None:
    """On a guest's tap it is a slip (planning/collisions.py)."""
    for policy in (FOLLOW, replace(ALERTS, allow=(NEW,))):
        host = Host([guest(policy), guest(ALERTS, "vnet1", NEIGHBOUR, "web2")])
        host.kernel.set_entry(Entry(NEW, 1, on, EntryState.LOCAL))
        host.sees(NEW)
        assert (Code.MAC_COLLISION in host.codes) is the_hosts
        assert (host.port_of(NEW) == "vnet0") is not the_hosts


@pytest.mark.parametrize("mac", [BRIDGE_MAC, UPLINK_MAC])
@pytest.mark.parametrize("policy", [FOLLOW, replace(ALERTS, allow=("02:00:00:*",))])
def test_no_guest_takes_the_hosts_address(mac: str, policy: Policy) -> None:
    host = Host([guest(policy)])
    before = dict(host.kernel.fdb)
    host.sees(mac)
    assert host.kernel.fdb == before
    assert Code.MAC_COLLISION in host.codes
    host.kernel.lose_entry("br0", OWN, 1)  # the guest is managed all the same
    host.round()
    assert host.port_of(OWN) == "vnet0"


def test_there_are_at_most_so_many_and_the_latest_are_let_in() -> None:
    host = Host([guest(replace(ALERTS, allow=("02:aa:*",)))])
    many = [f"02:aa:00:00:00:{number:02x}" for number in range(MOST + 2)]
    host.sees(*many)
    host.round()
    assert {mac for mac in many if host.port_of(mac) == "vnet0"} == set(many[2:])
    assert host.codes == {Code.LEARNED_ON_MANAGED_PORT}
    host.sees(many[0])
    host.round()
    assert (host.port_of(many[0]), host.entry(many[2])) == ("vnet0", None)


def test_a_port_made_again_and_another_guest_on_it_are_forgotten() -> None:
    host = Host([guest()])
    host.sees(NEW)
    host.kernel.make_port_again("vnet0")
    host.round()
    assert (host.records, host.port_of(OWN)) == ((), "vnet0")
    host.sees(NEW)
    host.guests = [replace(host.guests[0], uuid="another")]
    host.round()
    assert (host.records, host.port_of(OWN), host.entry(NEW)) == ((), "vnet0", None)


def test_a_guest_that_waits_has_no_entry_and_its_address_is_back_when_it_runs() -> None:
    host = Host([guest(VRRP)])
    host.sees(VIRTUAL)
    host.guests = [replace(host.guests[0], running=False, state="paused")]
    host.round()
    assert host.entry(VIRTUAL) is None
    host.guests = [replace(host.guests[0], running=True, state="running")]
    host.round()
    assert host.port_of(VIRTUAL) == "vnet0"


def test_a_policy_that_allows_no_more_drops_the_entry() -> None:
    host = Host([guest(VRRP)])
    host.sees(VIRTUAL)
    host.guests = [replace(host.guests[0], policy=ALERTS)]
    host.round()
    assert host.entry(VIRTUAL) is None


UNSURE = {
    "metadata with a mistake": NO_WORD,
    "a network that is not active, and was to trust it": replace(ALERTS, incomplete=True),
    "a network that is not active, and alone had a word": Policy(incomplete=True),
}


@pytest.mark.parametrize("policy", UNSURE.values(), ids=UNSURE)
def test_while_nobody_knows_what_policy_says_a_followed_address_is_kept(policy: Policy) -> None:
    host = Host([guest()])
    host.sees(NEW)
    host.now += ALERT + 1
    host.guests = [guest(policy)]
    before = host.records
    host.round()
    host.round()
    assert host.records == before
    assert host.port_of(NEW) == "vnet0"
    assert not host.codes & {Code.GUEST_MAC_CHANGED, Code.EXTRA_ENTRY}
    host.guests = [guest()]
    assert NEW not in {each.mac for each in host.audit().plan.findings}
    host.round()
    assert (host.port_of(NEW), host.entry(OWN)) == ("vnet0", None)


def test_a_guest_whose_file_cannot_be_read_keeps_its_address_while_its_tap_is_there() -> None:
    host = Host([guest()])
    host.sees(NEW)
    before, host.guests = host.guests, []
    host.round()
    host.guests = before
    host.round()
    assert (host.port_of(NEW), host.entry(OWN)) == ("vnet0", None)
    host.guests = []
    host.kernel.remove_port("vnet0")
    host.round()
    assert host.records == ()


def test_a_tap_that_was_off_its_bridge_gets_the_followed_address_again() -> None:
    host = Host([guest()])
    host.sees(NEW)
    host.kernel.leave_bridge("vnet0")
    host.round()
    assert watched(host.view) == {}
    host.kernel.come_back("vnet0")
    host.round()
    assert (host.port_of(NEW), host.entry(OWN)) == ("vnet0", None)


FORGOTTEN = {
    "another guest": lambda kept: replace(kept, uuid="another"),
    "another configured address": lambda kept: replace(kept, facts=replace(kept.facts, configured_mac=OTHER)),
    "the kernel's, by what policy says": lambda kept: replace(kept, policy=Policy()),
}


@pytest.mark.parametrize("becomes", FORGOTTEN.values(), ids=FORGOTTEN)
def test_what_is_another_nics_or_the_kernels_by_now_is_forgotten(becomes: Callable[[GuestPort], GuestPort]) -> None:
    """Also where the tap is off its bridge, or the metadata has a mistake."""
    host = Host([guest()])
    host.sees(NEW)
    host.kernel.leave_bridge("vnet0")
    host.guests = [becomes(host.guests[0])]
    host.round()
    assert host.records == ()


def test_a_mistake_in_the_metadata_keeps_no_record_of_another_guest() -> None:
    host = Host([guest()])
    host.sees(NEW)
    host.guests = [replace(guest(NO_WORD), uuid="another")]
    host.round()
    assert host.records == ()


def test_while_its_network_is_not_active_what_others_say_of_a_guest_still_lets_its_addresses_roam() -> None:
    """On a port that is closed; the entry that the kernel has moved to the uplink is swept when the network is back."""
    host = Host([guest(VRRP)])
    host.sees(VIRTUAL)
    host.guests = [guest(replace(VRRP, incomplete=True))]
    host.kernel.frame("eth0", VIRTUAL, LAN)
    host.round()
    assert (host.port_of(VIRTUAL), host.records[0].moved) == ("eth0", (VIRTUAL,))
    host.round()
    host.guests = [guest(VRRP)]
    host.round()
    assert host.entry(VIRTUAL) is None
    host.guests = [guest(replace(VRRP, incomplete=True))]
    host.round()
    host.sees(VIRTUAL)
    assert host.port_of(VIRTUAL) == "vnet0"


def test_behind_an_open_port_whose_network_is_not_active_nobody_is_looked_for() -> None:
    """It stays open and gets no entry: an alarm for each nested guest would say nothing."""
    host = Host([guest(Policy())])
    for policy in (replace(FOLLOW, incomplete=True), replace(ALERTS, incomplete=True)):
        host.guests = [guest(policy)]
        host.round()
        assert watched(host.view) == {}
        assert remember((), [Sighting("vnet0", 10, NEW, None)], host.view, host.now) == ((), [])


def test_behind_a_closed_port_only_what_may_be_let_in_while_the_network_is_not_active_is_looked_for() -> None:
    host = Host([guest()])
    listened = {}
    for policy in (ALERTS, VRRP, FOLLOW):
        host.guests = [guest(replace(policy, incomplete=True))]
        host.round()
        listened[policy] = "vnet0" in watched(host.view)
    assert listened == {ALERTS: False, VRRP: True, FOLLOW: True}


def test_nobody_is_told_of_a_change_that_a_network_which_is_not_active_may_allow() -> None:
    host = Host([guest(VRRP)])
    host.guests = [guest(replace(VRRP, incomplete=True))]
    host.round()
    assert host.sees(NEW) == []
    assert host.records == ()


def test_what_is_seen_while_a_round_runs_is_not_forgotten_by_it() -> None:
    """The round has read the records before; it has not acted on this one."""
    host = Host([guest(VRRP)])
    host.kernel.frame("eth0", VIRTUAL, OWN)
    before = host.view
    host.records, _ = remember(host.records, [Sighting("vnet0", 10, VIRTUAL, None)], before, host.now)
    host.records = settle(host.records, before, host.now)
    host.round()
    assert host.port_of(VIRTUAL) == "vnet0"


def test_a_sighting_on_an_interface_that_is_no_more_says_nothing() -> None:
    host = Host([guest()])
    assert remember((), [Sighting("vnet0", 4711, NEW, None)], host.view, 0.0) == ((), [])
    assert remember((), [Sighting("vnet9", 10, NEW, None)], host.view, 0.0) == ((), [])


def test_an_entry_that_was_sticky_is_unpinned_for_what_roams() -> None:
    host = Host([guest(replace(VRRP, pin=Pin.STICKY))])
    for vid in (0, 1):
        host.kernel.set_entry(Entry(VIRTUAL, vid, "vnet0", EntryState.STATIC, sticky=True))
    host.sees(VIRTUAL)
    found = host.entry(VIRTUAL)
    assert found is not None
    assert not found.sticky


def test_explain_tells_what_was_seen_and_that_it_may_roam() -> None:
    host = Host([guest(replace(FOLLOW, allow=VRRP.allow))])
    host.sees(NEW)
    host.sees(VIRTUAL)
    text = explained(host.audit(), VIRTUAL)
    assert f"macmgr watch has seen\n    {NEW}, in addition to, or instead of, {OWN}" in text
    assert f"the guest uses {NEW} now" not in text  # no XML says so
    assert f"{VIRTUAL} -> vnet0 in VID 0,1, static: it may roam" in text


def test_where_the_record_is_lost_the_entries_that_are_there_stay() -> None:
    host = Host([guest(replace(FOLLOW, allow=VRRP.allow)), guest(VRRP, "vnet1", NEIGHBOUR, "web2")])
    host.sees(NEW)
    host.sees(VIRTUAL, port="vnet1")
    before = dict(host.kernel.fdb)
    host.loses()
    assert not host.audit().plan.changes
    assert host.codes == set()
    host.round()
    assert host.kernel.fdb == before
    host.restarts()
    assert host.kernel.fdb == before
    host.sees(OWN, after=BOTH + 1)  # and from then on it is followed as ever
    assert (host.port_of(OWN), host.entry(NEW)) == ("vnet0", None)
    host.sees(VIRTUAL)
    assert host.port_of(VIRTUAL) == "vnet0"
    host.round()
    assert not host.audit().plan.changes


def test_what_nothing_that_was_seen_explains_is_dropped_though_the_record_is_lost() -> None:
    """A sticky entry is no address that was seen, and a guest that may not follow has none."""
    for policy, sticky in ((FOLLOW, True), (ALERTS, False), (VRRP, False)):
        host = Host([guest(policy)])
        for vid in (0, 1):
            host.kernel.set_entry(Entry(OTHER, vid, "vnet0", EntryState.STATIC, sticky=sticky))
        host.loses()
        assert Code.EXTRA_ENTRY in {each.code for each in host.audit().plan.findings}


def test_a_guest_that_lost_its_own_entry_too_gets_it_though_the_record_is_lost() -> None:
    host = Host([guest()])
    for vid in (0, 1):
        host.kernel.lose_entry("br0", OWN, vid)
    host.loses()
    host.round()
    assert host.port_of(OWN) == "vnet0"


def test_a_guest_that_is_not_understood_when_the_record_is_lost_is_judged_later() -> None:
    host = Host([guest()])
    host.sees(NEW)
    host.loses()
    before, host.guests = host.guests, []
    host.round()
    host.guests = before
    host.round()
    assert (host.port_of(NEW), host.entry(OWN)) == ("vnet0", None)


def test_an_arriving_guest_has_what_libvirt_says_though_the_record_is_lost() -> None:
    """libvirt has put the entry for the NIC's own address, and the guest uses the one that its XML says."""
    host = Host([said_of(guest(), NEW)])
    host.kernel.frame("eth0", NEW, LAN)
    for mac in (OWN, NEW):
        for vid in (0, 1):
            host.kernel.lose_entry("br0", mac, vid)
    host.kernel.frame("eth0", NEW, LAN)
    for vid in (0, 1):
        host.kernel.set_entry(Entry(OWN, vid, "vnet0", EntryState.STATIC, sticky=False))
    host.loses()
    host.round()
    assert host.port_of(NEW) == "vnet0"
