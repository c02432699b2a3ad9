"""What is drift and what is not, one small world at a time: findings, and the world after the plan is carried out."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace

import pytest

from macmgr.model.changes import SetEntries, SetFlags, requests
from macmgr.model.findings import Code, Finding, fix_of
from macmgr.model.intent import GuestMac, GuestPort, Intent, Manager, NicFacts, Pin, Policy, Scope
from macmgr.model.known import Known, Memory, PortBefore
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, Feature, PortFlags
from macmgr.planning.draft import Plan
from macmgr.planning.planner import plan
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.notebook import remembers_gone

G1, G2, STRANGER = "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:99"
OPEN, CLOSED = PortFlags(), PortFlags(learning=False, unicast_flood=False)
LOCKED = PortFlags(learning=False, unicast_flood=False, locked=True)
TELLS_NOTHING = {Code.VLAN_FILTERING_OFF, Code.UPLINK_PROMISCUOUS, Code.UNMANAGED_AUTO_PORT, Code.CONFLICTING_SETTINGS}


def guest(
    mac: str = G1, *more: str, pin: Pin = Pin.STICKY, lock: bool = False, allow: tuple[str, ...] = ()
) -> GuestPort:
    policy = Policy(manager=Manager.LIBVIRT, pin=pin, lock=lock, allow=allow)
    number = mac[-1]
    return GuestPort(f"vnet{number}", "br0", f"g{number}", f"uuid-{number}", (mac, *more), policy=policy)


def waiting(mac: str = G1, *, entry_comes: bool = False) -> GuestPort:
    return replace(guest(mac), state="paused", running=False, entry_comes=entry_comes)


def unmanaged(mac: str) -> GuestPort:
    return replace(guest(mac), policy=Policy())


def host(
    *entries: Entry, flags: PortFlags = CLOSED, vids: tuple[int, ...] = (1,), filtering: bool = True
) -> FakeKernel:
    """A bridge with an uplink and two taps, closed unless said otherwise."""
    taps = [
        BridgePort(name, 10 + number, "br0", f"fe:00:00:00:00:{number:02x}", flags, vids, vids[0] if vids else None)
        for number, name in enumerate(("vnet1", "vnet2"))
    ]
    uplink = BridgePort("eth0", 5, "br0", "fe:00:00:00:00:05", OPEN, (1, 10), 1)
    return FakeKernel(make_snapshot([Bridge("br0", 1, "fe:00:00:00:01:00", filtering)], [uplink, *taps], entries))


def pinned(mac: str = G1, port: str = "vnet1", vids: tuple[int, ...] = (0, 1), *, sticky: bool = True) -> list[Entry]:
    return [Entry(mac, vid, port, EntryState.STATIC, sticky) for vid in vids]


def planned(kernel: FakeKernel, *guests: GuestPort, departed: dict[str, str] | None = None) -> Plan:
    intent = Intent(guests, {"br0": "a test says so"})
    return plan(intent, kernel.read_snapshot(), remembers_gone(departed or {}, "br0"))


def carried_out(kernel: FakeKernel, *guests: GuestPort, departed: dict[str, str] | None = None) -> set[Code]:
    """Carry the plan out, see that nothing is left to do, and answer with what it told."""
    steps = planned(kernel, *guests, departed=departed)
    for change in steps.changes:
        assert not any(kernel.send(list(requests(change)), kernel.read_snapshot()))
    assert planned(kernel, *guests, departed=departed).changes == ()
    return {finding.code for finding in steps.findings} - TELLS_NOTHING


def entries_of(kernel: FakeKernel, mac: str) -> set[tuple[int, str, str]]:
    return {(entry.vid, entry.port, entry.in_words) for entry in kernel.fdb.values() if entry.mac == mac}


WANTED = {(0, "vnet1", "static sticky"), (1, "vnet1", "static sticky")}


# A running guest's entries

DRIFTS: dict[str, tuple[list[Entry], set[Code]]] = {
    "as wanted": (pinned(), set()),
    "missing": ([], {Code.MISSING_ENTRY}),
    "missing in one VID": (pinned(vids=(0,)), {Code.MISSING_ENTRY}),
    "missing in VID 0": (pinned(vids=(1,)), {Code.MISSING_ENTRY}),
    "only learned": ([Entry(G1, 1, "vnet1", EntryState.DYNAMIC)], {Code.MISSING_ENTRY}),
    "stolen by a frame": (pinned(port="eth0", sticky=False), {Code.STOLEN_ENTRY}),
    "stolen in one VID": ([*pinned(vids=(0,)), *pinned(port="eth0", vids=(1,))], {Code.STOLEN_ENTRY}),
    "learned elsewhere": ([Entry(G1, 1, "eth0", EntryState.DYNAMIC)], {Code.STOLEN_ENTRY, Code.MISSING_ENTRY}),
    "on another tap": (pinned(port="vnet2"), {Code.STOLEN_ENTRY}),
    "not sticky": (pinned(sticky=False), {Code.NOT_STICKY}),
    "local": ([Entry(G1, vid, "vnet1", EntryState.LOCAL) for vid in (0, 1)], {Code.LOCAL_ENTRY}),
}


@pytest.mark.parametrize("drift", DRIFTS)
def test_a_running_guest_gets_its_entry_whatever_was_there(drift: str) -> None:
    entries, told = DRIFTS[drift]
    kernel = host(*entries)
    assert carried_out(kernel, guest()) == told
    assert entries_of(kernel, G1) == WANTED


def test_a_stolen_entry_is_told_once_where_it_leads_to_another_guest() -> None:
    kernel = host(*pinned(port="vnet2"), *pinned(G2, "vnet2"))
    assert carried_out(kernel, guest(), guest(G2)) == {Code.STOLEN_ENTRY}


def test_a_theft_of_vid_0_alone_is_told_with_every_vid() -> None:
    """The kernel has no request for VID 0 alone, so the change names what the port's other VIDs hold too."""
    kernel = host(*pinned(port="eth0", vids=(0,)), *pinned(vids=(1,)))
    kernel.ports["eth0"] = replace(kernel.ports["eth0"], vids=(1,))
    (change,) = planned(kernel, guest()).changes
    assert isinstance(change, SetEntries)
    assert set(change.before) == {*pinned(port="eth0", vids=(0,)), *pinned(vids=(1,))}
    kernel.send(list(requests(change)), kernel.read_snapshot())
    assert entries_of(kernel, G1) == WANTED


def test_a_pin_that_is_static_takes_sticky_off() -> None:
    kernel = host(*pinned())
    assert carried_out(kernel, guest(pin=Pin.STATIC)) == {Code.NOT_STICKY}
    assert entries_of(kernel, G1) == {(0, "vnet1", "static"), (1, "vnet1", "static")}


def test_what_a_control_plane_learned_elsewhere_is_taken_over_once() -> None:
    """The kernel keeps the extern_learn flag through a put: static and on the right port is all there can be."""
    kernel = host(*(Entry(G1, vid, "eth0", EntryState.DYNAMIC, extern_learn=True) for vid in (0, 1)))
    assert carried_out(kernel, guest()) == {Code.STOLEN_ENTRY}
    assert entries_of(kernel, G1) == {
        (0, "vnet1", "static sticky extern_learn"),
        (1, "vnet1", "static sticky extern_learn"),
    }


def test_a_port_without_vids_gets_vid_0() -> None:
    kernel = host(vids=(), filtering=False)
    carried_out(kernel, guest())
    assert entries_of(kernel, G1) == {(0, "vnet1", "static sticky")}


def test_further_macs_get_entries_too() -> None:
    kernel = host()
    carried_out(kernel, guest(G1, STRANGER))
    assert kernel.deliver("br0", "eth0", STRANGER) == {"vnet1"}


# Its port


@pytest.mark.parametrize(
    ("flags", "lock", "told", "after"),
    [
        (CLOSED, False, set(), CLOSED),
        (OPEN, False, {Code.LEARNING_ON, Code.FLOOD_ON}, CLOSED),
        (PortFlags(learning=False), False, {Code.FLOOD_ON}, CLOSED),
        (PortFlags(unicast_flood=False), False, {Code.LEARNING_ON}, CLOSED),
        (CLOSED, True, {Code.UNLOCKED}, LOCKED),
        (OPEN, True, {Code.LEARNING_ON, Code.FLOOD_ON, Code.UNLOCKED}, LOCKED),
        (LOCKED, True, set(), LOCKED),
        (LOCKED, False, set(), LOCKED),
        (replace(LOCKED, learning=True), False, {Code.LEARNING_ON}, LOCKED),
        (replace(OPEN, locked=None), True, {Code.LEARNING_ON, Code.FLOOD_ON}, replace(CLOSED, locked=None)),
    ],
)
def test_a_running_guests_port_is_closed(flags: PortFlags, lock: bool, told: set[Code], after: PortFlags) -> None:
    kernel = host(*pinned(), flags=flags)
    assert carried_out(kernel, guest(lock=lock)) - {Code.UNSUPPORTED} == told
    assert kernel.ports["vnet1"].flags == after
    assert kernel.ports["vnet2"].flags == flags
    assert kernel.ports["eth0"].flags == OPEN


# A guest whose CPUs do not run here


def test_a_waiting_guest_has_no_entry_and_an_open_port() -> None:
    kernel = host(*pinned(), flags=LOCKED)
    assert carried_out(kernel, waiting()) == {Code.EARLY_ENTRY, Code.CLOSED_WITHOUT_ENTRY}
    assert entries_of(kernel, G1) == set()
    assert kernel.ports["vnet1"].flags == OPEN


@pytest.mark.parametrize("drift", [drift for drift in DRIFTS if "local" not in drift])
def test_no_drift_makes_a_waiting_guest_swallow_its_frames(drift: str) -> None:
    kernel = host(*DRIFTS[drift][0])
    carried_out(kernel, waiting())
    assert not [words for _, _, words in entries_of(kernel, G1) if words.startswith("static")]


def test_a_waiting_guest_whose_entry_comes_is_closed_and_never_locked() -> None:
    kernel = host(flags=OPEN)
    carried_out(kernel, replace(waiting(entry_comes=True), policy=guest(lock=True).policy))
    assert kernel.ports["vnet1"].flags == CLOSED


@pytest.mark.parametrize(
    "macs", [(G1, G2), (G2,)], ids=["an allowed address beside it", "an address that it changed to"]
)
def test_a_waiting_guest_is_open_where_libvirts_entry_is_not_all_it_needs(macs: tuple[str, ...]) -> None:
    kernel = host(flags=CLOSED)
    needs = replace(waiting(entry_comes=True), macs=macs, facts=NicFacts(configured_mac=G1))
    assert Code.CLOSED_WITHOUT_ENTRY in carried_out(kernel, needs)
    assert kernel.ports["vnet1"].flags == OPEN


@pytest.mark.parametrize(("vid", "flags"), [(0, OPEN), (1, OPEN), (10, CLOSED)])
def test_libvirts_own_entry_comes_to_nothing_where_another_port_has_the_mac(vid: int, flags: PortFlags) -> None:
    """NLM_F_EXCL, in VID 0 and in the port's VIDs; what is in another VID is no hindrance."""
    kernel = host(Entry(G1, vid, "eth0", EntryState.DYNAMIC), flags=OPEN)
    carried_out(kernel, waiting(entry_comes=True))
    assert kernel.ports["vnet1"].flags == flags


def test_a_control_planes_entry_elsewhere_stays_while_the_guest_waits() -> None:
    """It says where the guest runs, or ran."""
    kernel = host(Entry(G1, 1, "eth0", EntryState.DYNAMIC, extern_learn=True))
    assert Code.FOREIGN_ENTRY in carried_out(kernel, waiting())
    assert {port for _, port, _ in entries_of(kernel, G1)} == {"eth0"}


def test_an_early_entry_goes_whatever_is_in_a_vid_that_its_port_has_lost() -> None:
    """A deletion in VID 0 takes along what is in the port's VIDs, and in no others."""
    stranded = Entry(G1, 99, "vnet1", EntryState.DYNAMIC, extern_learn=True)
    kernel = host(*pinned(), stranded)
    assert Code.EARLY_ENTRY in carried_out(kernel, waiting())
    assert {vid for vid, _, _ in entries_of(kernel, G1)} == {99}


def test_an_early_entry_goes_even_if_it_once_was_a_control_planes() -> None:
    kernel = host(*(Entry(G1, vid, "vnet1", sticky=True, extern_learn=True) for vid in (0, 1)))
    assert Code.EARLY_ENTRY in carried_out(kernel, waiting())
    assert entries_of(kernel, G1) == set()


def test_a_waiting_guests_entry_elsewhere_is_stale_but_not_a_running_namesakes() -> None:
    """A local migration, or a NIC moved by update-device: two NICs with one MAC, and one of them runs."""
    kernel = host(*pinned(), flags=OPEN)
    namesake = replace(waiting(G2), macs=(G1,))
    carried_out(kernel, guest(), namesake)
    assert entries_of(kernel, G1) == WANTED


# What else leads to a managed port


def test_an_entry_that_nothing_asks_for_is_dropped() -> None:
    kernel = host(*pinned(), *pinned(STRANGER))
    assert carried_out(kernel, guest()) == {Code.EXTRA_ENTRY}
    assert entries_of(kernel, STRANGER) == set()


def test_an_own_entry_in_a_vid_that_the_port_lost_is_told() -> None:
    kernel = host(*pinned(), *pinned(vids=(20,)))
    assert [(f.mac, f.vid) for f in planned(kernel, guest()).findings if f.code is Code.EXTRA_ENTRY] == [(G1, 20)]


def test_a_learned_address_behind_a_running_guest_is_dropped_and_behind_a_waiting_one_left() -> None:
    learned = Entry(STRANGER, 1, "vnet1", EntryState.DYNAMIC)
    kernel = host(*pinned(), learned)
    assert carried_out(kernel, guest()) == {Code.LEARNED_ON_MANAGED_PORT}
    assert entries_of(kernel, STRANGER) == set()
    kernel = host(learned, flags=OPEN)
    assert carried_out(kernel, waiting()) == set()
    assert entries_of(kernel, STRANGER) == {(1, "vnet1", "dynamic")}


def test_an_allowed_pattern_covers_what_is_there() -> None:
    kernel = host(*pinned(), *pinned(STRANGER))
    assert carried_out(kernel, guest(allow=("52:54:00:00:00:*",))) == set()
    assert len(entries_of(kernel, STRANGER)) == 2


def test_the_hosts_and_the_control_planes_entries_stay_and_the_latter_are_told() -> None:
    theirs = [
        Entry(STRANGER, 0, "vnet1", EntryState.LOCAL),
        Entry(STRANGER, 1, "vnet1", EntryState.DYNAMIC, extern_learn=True),
    ]
    kernel = host(*pinned(), *theirs)
    assert carried_out(kernel, guest()) == {Code.FOREIGN_ENTRY}
    assert len(entries_of(kernel, STRANGER)) == 2


@pytest.mark.parametrize("state", [EntryState.LOCAL, EntryState.DYNAMIC])
def test_vid_0_stays_where_a_copy_that_is_not_ours_would_go_with_it(state: EntryState) -> None:
    kernel = host(*pinned(), *pinned(STRANGER, vids=(0,)))
    kernel.set_entry(Entry(STRANGER, 1, "vnet1", state, extern_learn=state is EntryState.DYNAMIC))
    carried_out(kernel, guest())
    assert ("br0", STRANGER, 1) in kernel.fdb


def test_vid_0_stays_where_a_copy_by_which_somebody_is_reached_would_go_with_it() -> None:
    """No request deletes VID 0 alone, and without VLAN filtering there is no other that counts."""
    alive = Entry(G1, 1, "eth0", EntryState.DYNAMIC)
    kernel = host(*pinned(port="eth0", vids=(0,), sticky=False), alive, flags=OPEN)
    carried_out(kernel, waiting())
    assert kernel.fdb["br0", G1, 1] == alive
    kernel = host(*pinned(port="eth0", vids=(0,), sticky=False), alive, flags=OPEN, filtering=False)
    assert Code.STALE_ENTRY in carried_out(kernel, waiting())


# Guests that have left


def test_the_entry_of_a_guest_that_left_is_dropped_from_the_uplink() -> None:
    kernel = host(*pinned(port="eth0", sticky=False))
    assert carried_out(kernel, departed={G1: "gone"}) == {Code.STALE_ENTRY}
    assert entries_of(kernel, G1) == set()


@pytest.mark.parametrize("state", [EntryState.DYNAMIC, EntryState.LOCAL])
def test_what_is_not_static_is_not_stale(state: EntryState) -> None:
    kernel = host(Entry(G1, 1, "eth0", state))
    assert carried_out(kernel, departed={G1: "gone"}) == set()


def test_a_mac_that_left_and_runs_again_keeps_its_entry() -> None:
    kernel = host(*pinned())
    assert carried_out(kernel, guest(), departed={G1: "gone"}) == set()
    assert entries_of(kernel, G1) == WANTED


def test_a_mac_that_left_keeps_its_entry_on_the_own_port_of_a_guest_that_the_kernel_manages() -> None:
    """That entry may be all that the guest is reached by: somebody closed its port by hand."""
    kernel = host(*pinned())
    assert carried_out(kernel, unmanaged(G1), departed={G1: "gone"}) == set()
    assert kernel.deliver("br0", "eth0", G1) == {"vnet1"}


def test_stale_copies_go_in_one_round_though_one_of_them_is_claimed() -> None:
    kernel = host(*pinned(port="eth0", vids=(0, 1, 10), sticky=False))
    had_it = replace(guest(G2), moved=(G1,))
    told = planned(kernel, guest(), had_it).findings
    assert {(f.code, f.vid) for f in told if f.mac == G1} == {
        (Code.STOLEN_ENTRY, 0),
        (Code.STOLEN_ENTRY, 1),
        (Code.STALE_ENTRY, 10),
    }
    carried_out(kernel, guest(), had_it)
    assert entries_of(kernel, G1) == WANTED


def test_the_entry_of_a_guest_that_left_is_told_once_where_it_leads_to_a_managed_port() -> None:
    kernel = host(*pinned(), *pinned(G2))
    assert carried_out(kernel, guest(), departed={G2: "gone"}) == {Code.EXTRA_ENTRY}
    assert entries_of(kernel, G2) == set()


# Two with one MAC


def test_of_two_nics_with_one_mac_the_one_that_has_the_entry_keeps_it() -> None:
    for holder, other in (("vnet1", "vnet2"), ("vnet2", "vnet1")):
        kernel = host(*pinned(port=holder), flags=OPEN)
        twin = replace(guest(G2), macs=(G1,))
        assert Code.DUPLICATE_MAC in carried_out(kernel, guest(), twin)
        assert kernel.deliver("br0", "eth0", G1) == {holder}
        assert kernel.ports[other].flags == OPEN


@pytest.mark.parametrize("filtering", [True, False])
def test_two_nics_with_one_mac_share_a_filtering_bridge_in_different_vids(filtering: bool) -> None:
    kernel = host(filtering=filtering)
    kernel.ports["vnet2"] = replace(kernel.ports["vnet2"], vids=(10,), pvid=10)
    told = carried_out(kernel, guest(), replace(guest(G2), macs=(G1,)))
    assert (Code.DUPLICATE_MAC in told) is not filtering
    assert kernel.deliver("br0", "eth0", G1, 1) == {"vnet1"}
    if filtering:
        assert kernel.deliver("br0", "eth0", G1, 10) == {"vnet2"}
        assert entries_of(kernel, G1) == {*WANTED, (10, "vnet2", "static sticky")}


@pytest.mark.parametrize("own", ["fe:00:00:00:01:00", "fe:00:00:00:00:05"])
def test_the_hosts_own_address_is_never_taken(own: str) -> None:
    kernel = host(flags=OPEN)
    before = dict(kernel.fdb)
    assert Code.MAC_COLLISION in carried_out(kernel, replace(guest(), macs=(own,)))
    assert kernel.fdb == before
    assert kernel.ports["vnet1"].flags == OPEN


# Taps that are not where they should be


def test_a_tap_that_is_missing_or_elsewhere_is_told_and_left() -> None:
    kernel = host(flags=OPEN)
    missing = replace(guest(), port="vnet7")
    elsewhere = replace(guest(G2), bridge="br7")
    assert carried_out(kernel, missing, elsewhere) == {Code.MISSING_PORT, Code.WRONG_BRIDGE}
    kernel.masters["vnet1"] = None
    assert carried_out(kernel, guest()) == {Code.WRONG_BRIDGE}
    assert not kernel.sent


# The plan as it is printed


def test_the_plan_of_one_domain_holds_nothing_of_another() -> None:
    steps = planned(host(flags=OPEN), guest(), guest(G2))
    part = steps.only(Scope("g1"))
    assert part.changes
    assert {item.domain for item in (*part.changes, *part.findings)} == {"g1"}
    assert {item.domain for item in steps.changes} == {"g1", "g2"}
    assert steps.only(Scope(bridges=frozenset({"br7"}))).changes == ()
    assert steps.only(Scope("g1", frozenset({"br0"}))).changes == part.changes


def test_each_finding_comes_with_the_command_that_mends_it() -> None:
    fixes = [fix_of(f).text for f in planned(host(), guest()).findings if f.code is Code.MISSING_ENTRY]
    assert fixes == [f"bridge fdb replace {G1} dev vnet1 master static sticky"] * 2


def test_a_fix_can_be_typed_whatever_things_are_called() -> None:
    """A domain's name may hold spaces and quotes, and so, but for the spaces, may an interface's."""
    odd = GuestPort("vnet;x", "br0", "web 1; 'x'", "u", (G1,), policy=Policy(manager=Manager.LIBVIRT))
    port = BridgePort("vnet;x", 30, "br0", "fe:00:00:00:00:30", vids=(1,), pvid=1)
    bridge = Bridge("br0", 1, "fe:00:00:00:01:00", True)
    fixes = {
        fix_of(finding).text for finding in plan(Intent((odd,), {"br0": "x"}), make_snapshot([bridge], [port])).findings
    }
    assert f"bridge fdb replace {G1} dev 'vnet;x' master static sticky" in fixes
    puts = f"bridge fdb replace {G1} dev 'vnet;x' master static sticky"  # without the entry a closed port cuts it off
    assert {f"{puts} && bridge link set dev 'vnet;x' {words} off" for words in ("learning", "flood")} <= fixes
    entries = [Entry(G1, vid, "vnet;x", sticky=True) for vid in (0, 1)]
    fixes = {
        fix_of(f).text for f in plan(Intent((odd,), {"br0": "x"}), make_snapshot([bridge], [port], entries)).findings
    }
    assert {f"bridge link set dev 'vnet;x' {words} off" for words in ("learning", "flood")} <= fixes
    (missing,) = plan(Intent((odd,), {"br0": "x"}), make_snapshot([bridge], [])).findings
    assert shlex.split(fix_of(missing).text)[:3] == ["virsh", "domiflist", "web 1; 'x'"]


@pytest.mark.parametrize("flushes", [True, False])
def test_so_can_the_fix_of_an_entry_in_a_vid_that_its_port_has_lost(flushes: bool) -> None:
    odd = GuestPort("x;id>p", "br0", "web 1", "u", (G1,), policy=Policy(manager=Manager.LIBVIRT))
    port = BridgePort("x;id>p", 30, "br0", "fe:00:00:00:00:30", CLOSED, vids=(1,), pvid=1)
    bridge = Bridge("br0", 1, "fe:00:00:00:01:00", True)
    start = make_snapshot([bridge], [port], [*pinned(port="x;id>p"), Entry(STRANGER, 7, "x;id>p")])
    lacks = frozenset() if flushes else frozenset({Feature.FLUSH})
    findings = plan(Intent((odd,), {"br0": "x"}), start, Known(Memory(lacks=lacks))).findings
    (finding,) = [finding for finding in findings if finding.code is Code.EXTRA_ENTRY]
    fix = fix_of(finding).text
    assert bool(finding.changes) == flushes
    commands = re.split(r" && (?:\{ )?(?=bridge |ip )", fix.partition(" || ")[0])
    assert commands == [shlex.join(shlex.split(command)) for command in commands]
    assert fix.count(" dev 'x;id>p' ") == (1 if flushes else 0)
    assert len(commands) == (1 if flushes else 5)
    assert "vlan add dev 'x;id>p'" not in fix  # that would put the guest into another VLAN for a moment


def test_so_can_the_command_that_tells_more_of_an_uplink() -> None:
    uplink = BridgePort("eth0", 5, "b;r", "fe:00:00:00:00:05", CLOSED, (1,), 1, promiscuity=1)
    start = make_snapshot([Bridge("b;r", 1, "fe:00:00:00:01:00", True)], [uplink])
    (finding,) = plan(Intent((), {"b;r": "x"}), start).findings
    assert "'macmgr doctor 'b;r'' says which" in finding.message


# Entries that were put in vain


def in_vain(
    kernel: FakeKernel, who: GuestPort, *macs: str, ours: tuple[str, ...] = (), vids: tuple[int, ...] = (0, 1)
) -> Plan:
    lost = frozenset((who.port, mac, vid) for mac in macs or who.macs for vid in vids)
    snapshot = kernel.read_snapshot()
    bridge, ports = snapshot.bridges["br0"], [snapshot.ports[name] for name in ours]
    before = [PortBefore(p.name, p.ifindex, p.mac, "br0", bridge.ifindex, "web1", who.uuid, PortFlags()) for p in ports]
    known = Known(Memory(tuple(before)), refused=lost)
    return plan(Intent((who,), {"br0": "a test says so"}), snapshot, known)


def flag_changes(steps: Plan) -> list[SetFlags]:
    return [change for change in steps.changes if isinstance(change, SetFlags)]


@pytest.mark.parametrize(
    "entries",
    [[], pinned(port="eth0"), pinned(vids=(0,)), [Entry(G1, 1, "vnet1", EntryState.DYNAMIC)]],
    ids=["none", "stolen", "not in the VID that decides", "learned: it ages out"],
)
def test_a_closed_port_whose_entry_was_put_in_vain_is_opened(entries: list[Entry]) -> None:
    steps = in_vain(host(*entries), guest())
    (opens,) = flag_changes(steps)
    assert (opens.port, opens.before, opens.after) == ("vnet1", CLOSED, OPEN)
    assert steps.changes[0] == opens
    (told,) = [finding for finding in steps.findings if finding.code is Code.CLOSED_WITHOUT_ENTRY]
    assert told.message == "vnet1 of g1 (running) is closed, and its entry cannot be put: it would be cut off"
    assert fix_of(told).text == "bridge link set dev vnet1 learning on flood on"


def test_an_open_port_whose_entry_was_put_in_vain_is_not_closed() -> None:
    steps = in_vain(host(flags=OPEN), guest())
    assert flag_changes(steps) == []
    assert {Code.MISSING_ENTRY, Code.LEARNING_ON, Code.FLOOD_ON} <= {finding.code for finding in steps.findings}
    told = [finding for finding in steps.findings if finding.code in (Code.LEARNING_ON, Code.FLOOD_ON)]
    assert [fix_of(finding).text for finding in told] == ["", ""]  # nobody is told to close what is kept open
    assert all("it stays so: its entry cannot be put" in finding.message for finding in told)


def test_where_it_was_put_after_all_the_port_is_closed() -> None:
    """Nor does a copy in a VID that decides nothing now, or another guest's trouble, open a port."""
    assert [change.after for change in flag_changes(in_vain(host(*pinned(), flags=OPEN), guest()))] == [CLOSED]
    assert in_vain(host(*pinned(vids=(1,))), guest()).changes  # the copy in VID 0 is put
    assert flag_changes(in_vain(host(*pinned(vids=(1,))), guest())) == []
    assert flag_changes(in_vain(host(), guest(), G2)) == []


def test_no_guest_opens_its_port_by_what_it_sends() -> None:
    """Where its address is followed, roams, or is moved by a frame, the one who takes the entry can be its friend."""
    follows = replace(guest(), policy=replace(guest().policy, guest_mac=GuestMac.FOLLOW))
    roams = replace(guest(G1, STRANGER), roaming=(STRANGER,))
    assert flag_changes(in_vain(host(), follows)) == []
    assert flag_changes(in_vain(host(), guest(pin=Pin.STATIC))) == []
    assert flag_changes(in_vain(host(*pinned()), roams)) == []
    assert flag_changes(in_vain(host(), roams))[0].after == OPEN


def test_a_lock_stays() -> None:
    """Be it asked for, or put by an administrator: open, the port would take frames from any source address."""
    assert all(change.closes for change in flag_changes(in_vain(host(), guest(lock=True))))
    assert flag_changes(in_vain(host(flags=LOCKED), guest(lock=True))) == []
    assert flag_changes(in_vain(host(flags=LOCKED), guest())) == []
    assert flag_changes(in_vain(host(flags=LOCKED), guest(), ours=("vnet1",)))[0].after == OPEN


def test_a_tap_with_its_guests_own_address_gets_the_one_that_libvirt_gives() -> None:
    """The bridge takes the frames of the guest for those of the host."""
    port = BridgePort("vnet1", 30, "br0", G1, vids=(1,), pvid=1)
    bridge = Bridge("br0", 1, "fe:00:00:00:01:00", True)

    def collision(bridge: Bridge, port: BridgePort, *others: BridgePort) -> Finding:
        found = plan(Intent((guest(),), {"br0": "x"}), make_snapshot([bridge], [port, *others])).findings
        return next(finding for finding in found if finding.code is Code.MAC_COLLISION)

    told = collision(bridge, port)
    assert told.message.startswith("vnet1, the tap of g1, has the MAC address")
    assert fix_of(told).text == f"ip link set dev vnet1 address fe{G1[2:]} && macmgr apply --domain g1"
    taken = collision(replace(bridge, mac=G1), port)  # the bridge has the lowest address of its ports
    assert fix_of(taken).text.startswith("give br0, the host's interface there, an address of its own")
    other = replace(port, name="eth9", ifindex=31)
    assert fix_of(collision(bridge, replace(port, mac="fe:00:00:00:00:30"), other)).text.startswith("virsh edit g1")


UNREAD = Finding(Code.UNREADABLE_XML, "other.xml: not understood", domain="other")
STRANGE_TAP = BridgePort("vnet9", 19, "br0", "fe:00:00:00:00:19", CLOSED, (1,), 1, kind="tun")


@pytest.mark.parametrize("mine", [guest(), waiting(), guest(G2, G1)], ids=["running", "waiting", "allowed"])
def test_nothing_leads_away_from_the_tap_of_a_guest_whose_xml_is_not_known(mine: GuestPort) -> None:
    kernel = host(flags=OPEN)
    kernel.ports["vnet9"], kernel.masters["vnet9"] = STRANGE_TAP, "br0"
    kernel.fdb |= {("br0", G1, entry.vid): entry for entry in pinned(G1, "vnet9")}
    intent = Intent((mine,), {"br0": "a test says so"}, findings=(UNREAD,))
    found = plan(intent, kernel.read_snapshot())
    assert found.changes == ()
    (told,) = (finding for finding in found.findings if finding.port == mine.port and finding.code is UNREAD.code)
    assert "vnet9" in told.message
    assert "other" in told.message


@pytest.mark.parametrize("port", ["eth0", "vnet2", "vnet9"])
def test_elsewhere_a_guests_entry_is_put_right_though_some_xml_is_not_known(port: str) -> None:
    """By a frame it is moved to a port that learns, and is not sticky then."""
    kernel = host(flags=OPEN)
    kernel.ports["vnet9"], kernel.masters["vnet9"] = STRANGE_TAP, "br0"
    kernel.fdb |= {("br0", G1, entry.vid): entry for entry in pinned(G1, port, sticky=False)}
    intent = Intent((guest(), guest(G2)), {"br0": "a test says so"}, findings=(UNREAD,))
    assert any(
        isinstance(change, SetEntries) and change.mac == G1 for change in plan(intent, kernel.read_snapshot()).changes
    )
