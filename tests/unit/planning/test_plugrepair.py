"""A managed port is brought to how libvirt plugged it, before anything else, and `release` undoes that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from macmgr.forwarding.requested import requested
from macmgr.model.changes import DeleteVids, Request, SetEntries, SetFlags, SetVids, bridge_command, requests
from macmgr.model.findings import Code
from macmgr.model.intent import EVERYTHING, GuestPort, Intent, Manager, NicFacts, Policy, Vlan, Vlans
from macmgr.model.known import Known
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, PortFlags, Snapshot
from macmgr.model.vids import PortVids
from macmgr.planning.draft import Plan
from macmgr.planning.planner import plan
from macmgr.planning.release import plan_release
from macmgr.reconcile import apply, release
from macmgr.state.lock import WriterLock
from macmgr.state.statedocument import document_of, parse_document
from macmgr.view import Outcome
from macmgr.watch.backoff import Backoff
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.notebook import Notebook

LOCK = WriterLock()
MACS = ("52:54:00:00:00:01", "52:54:00:00:00:02")
OPEN, CLOSED = PortFlags(), PortFlags(learning=False, unicast_flood=False)
APART = NicFacts(isolated=True, isolated_live=True)


def guest(number: int, facts: NicFacts = APART, **policy: object) -> GuestPort:
    said = replace(Policy(Manager.LIBVIRT), **policy)  # type: ignore[arg-type]
    name = f"web{number}"
    return GuestPort(f"vnet{number}", "br0", name, f"u-{name}", (MACS[number],), policy=said, facts=facts)


def host(flags: PortFlags = OPEN, *entries: Entry, uplink: PortFlags = OPEN) -> Snapshot:
    taps = [BridgePort(f"vnet{n}", 7 + n, "br0", f"fe:54:00:00:00:0{n}", flags, (1,), 1) for n in range(2)]
    eth0 = BridgePort("eth0", 3, "br0", "02:00:00:00:00:03", uplink, (1,), 1)
    return make_snapshot([Bridge("br0", 2, "02:00:00:00:00:02", True)], [*taps, eth0], entries)


def intent(*guests: GuestPort) -> Intent:
    return Intent(guests or (guest(0), guest(1)), {"br0": "a test"})


def applied(kernel: FakeKernel, notes: Notebook, *guests: GuestPort) -> Outcome:
    return apply(LOCK, lambda: intent(*guests), kernel, notes=notes)


def commands(planned: Plan) -> list[str]:
    return [" ".join(bridge_command(request)) for change in planned.changes for request in requests(change)]


def isolation(planned: Plan) -> list[str]:
    return [command for command in commands(planned) if "isolated" in command]


def test_all_are_isolated_before_anything_else_is_done() -> None:
    planned = plan(intent(), host())
    assert commands(planned)[:2] == [f"bridge link set dev vnet{n} isolated on" for n in range(2)]
    closing = [change for change in planned.changes if isinstance(change, SetFlags) and change.closes]
    assert [change.before.isolated for change in closing] == [True, True], "it says nothing of isolation again"
    told = [finding for finding in planned.findings if finding.code is Code.NOT_ISOLATED]
    assert [finding.changes for finding in told] == [(change,) for change in planned.changes[:2]]
    kernel = FakeKernel(host())
    assert applied(kernel, Notebook()).complete
    assert {kernel.ports[f"vnet{n}"].flags for n in range(2)} == {replace(CLOSED, isolated=True)}
    assert kernel.frame("vnet0", MACS[0], MACS[1]) == set()


def test_who_is_not_isolated() -> None:
    """A guest whose XML does not say so live, one that is not managed, and one whose network is not active."""
    for who in (
        guest(0, NicFacts(isolated=True)),
        guest(0, manager=Manager.KERNEL),
        guest(0, incomplete=True),
    ):
        assert isolation(plan(intent(who), host())) == []


def test_an_uplink_that_is_isolated_would_not_reach_it() -> None:
    planned = plan(intent(), host(uplink=replace(OPEN, isolated=True)))
    assert isolation(planned) == []
    notes = {finding.note for finding in planned.findings if finding.code is Code.NOT_ISOLATED}
    assert all(note.startswith("first end the isolation of the uplink eth0") for note in notes)


def test_a_kernel_without_isolation_is_told_once() -> None:
    old = PortFlags(locked=None, isolated=None)
    planned = plan(intent(), host(old))
    assert isolation(planned) == []
    told = [finding for finding in planned.findings if finding.code in (Code.UNSUPPORTED, Code.NOT_ISOLATED)]
    assert [(finding.code, finding.message) for finding in told] == [
        (
            Code.UNSUPPORTED,
            "<port isolated='yes'/> is asked for vnet0 of web0, vnet1 of web1, but this kernel lacks isolated ports "
            "(Linux 4.18): guests on br0 hear each other",
        )
    ]


def test_release_puts_back_what_was_there() -> None:
    kernel, notes = FakeKernel(host()), Notebook()
    applied(kernel, notes)
    assert not release(LOCK, intent, kernel, EVERYTHING, notes).complete
    assert {kernel.ports[f"vnet{n}"].isolated for n in range(2)} == {True}, "the guests would hear each other"
    assert release(LOCK, intent, kernel, EVERYTHING, notes, Known(cut=True)).complete
    assert {kernel.ports[f"vnet{n}"].flags for n in range(2)} == {OPEN}
    apart = replace(OPEN, isolated=True)  # as libvirt left it, and lost since
    kernel, notes = FakeKernel(host(apart)), Notebook()
    applied(kernel, notes)
    kernel.set_flags("vnet0", OPEN)
    applied(kernel, notes)
    assert kernel.ports["vnet0"].isolated
    assert release(LOCK, intent, kernel, EVERYTHING, notes).complete
    assert {kernel.ports[f"vnet{n}"].flags for n in range(2)} == {apart}


def test_without_a_memory_isolation_stays_as_it_is() -> None:
    for isolated in (False, True):
        pinned = Entry(MACS[0], 0, "vnet0", sticky=True), Entry(MACS[0], 1, "vnet0", sticky=True)
        kernel = FakeKernel(host(replace(CLOSED, isolated=isolated), *pinned))
        release(LOCK, lambda: intent(guest(0, NicFacts())), kernel, EVERYTHING, Notebook())
        assert kernel.ports["vnet0"].flags == replace(OPEN, isolated=isolated)


def test_an_administrator_who_ends_it_again_and_again_is_not_fought() -> None:
    """And the port is opened and closed meanwhile as ever."""
    isolate = plan(intent(guest(0)), host()).changes[0]
    backoff = Backoff(limit=3)
    for second in range(5):
        backoff.note([isolate], float(second))
    assert backoff.skips(4.5)(isolate)
    opening = SetFlags("vnet0", CLOSED, OPEN, "br0", "web0", Code.CLOSED_WITHOUT_ENTRY)
    assert not backoff.skips(4.5)(opening)


# VLANs

IN_42 = NicFacts(vlan=Vlan((42,)), vlan_live=True)
PLAIN, ACCESS = PortVids((1,), 1, (1,)), PortVids((42,), 42, (42,))


def lan(
    *entries: Entry, vlans: PortVids = PLAIN, flags: PortFlags = CLOSED, uplink: tuple[int, ...] = (1, 42)
) -> Snapshot:
    """vnet0 of web0, and vnet1 of web1, which is in VLAN 1; the uplink carries what it is given."""
    vnet0 = BridgePort("vnet0", 7, "br0", "fe:54:00:00:00:00", flags, vlans.vids, vlans.pvid, untagged=vlans.untagged)
    vnet1 = BridgePort("vnet1", 8, "br0", "fe:54:00:00:00:01", CLOSED, (1,), 1, untagged=(1,))
    eth0 = BridgePort("eth0", 3, "br0", "02:00:00:00:00:03", OPEN, uplink, 1, untagged=(1,))
    neighbour = [Entry(MACS[1], vid, "vnet1", sticky=True) for vid in (0, 1)]
    return make_snapshot([Bridge("br0", 2, "02:00:00:00:00:02", True)], [vnet0, vnet1, eth0], [*entries, *neighbour])


PINNED = tuple(Entry(MACS[0], vid, "vnet0", sticky=True) for vid in (0, 1))
NEIGHBOUR = guest(1, NicFacts())
REPAIRED = guest(0, IN_42, vlans=Vlans.REPAIR)
TOLD = guest(0, IN_42)


def vlans(kernel: FakeKernel) -> PortVids:
    return kernel.ports["vnet0"].vlans


def pinned(kernel: FakeKernel) -> dict[int, str]:
    return {vid: entry.port for (_, mac, vid), entry in kernel.fdb.items() if mac == MACS[0] and entry.sticky}


def test_a_port_is_put_into_its_vlan_and_its_entry_follows_in_the_same_run() -> None:
    kernel, notes = FakeKernel(lan(*PINNED)), Notebook()
    planned = plan(intent(REPAIRED, NEIGHBOUR), kernel.read_snapshot())
    assert commands(planned) == [
        "bridge vlan del dev vnet0 vid 1",
        "bridge vlan add dev vnet0 vid 42 pvid untagged",
        f"bridge fdb replace {MACS[0]} dev vnet0 vlan 42 master static sticky",
        f"bridge fdb replace {MACS[0]} dev eth0 vlan 1 master dynamic",
        f"bridge fdb del {MACS[0]} dev eth0 vlan 1 master",
    ]
    told = [finding for finding in planned.findings if finding.port == "vnet0"]
    assert [finding.code for finding in told] == [Code.WRONG_VLAN], (
        "what is planned for the port is no finding by itself"
    )
    outcome = applied(kernel, notes, REPAIRED, NEIGHBOUR)
    assert outcome.complete
    assert (vlans(kernel), pinned(kernel)) == (ACCESS, {0: "vnet0", 42: "vnet0"})
    assert kernel.frame("eth0", "02:00:00:00:00:99", MACS[0], 42) == {"vnet0"}
    assert kernel.frame("vnet0", MACS[0], "ff:ff:ff:ff:ff:ff") == {"eth0"}, "nobody in VLAN 1 hears it"
    assert applied(kernel, notes, REPAIRED, NEIGHBOUR).done == ()


def test_after_each_request_the_guest_is_in_no_vlan_but_its_own() -> None:
    for has in (PLAIN, PortVids((1, 42), 1, (1,)), PortVids((1, 2, 3, 9), 9, (2, 9)), PortVids()):
        start = lan(*PINNED, vlans=has)
        made: list[Request] = []
        for change in plan(intent(REPAIRED, NEIGHBOUR), start).changes:
            for request in requests(change):
                made.append(request)
                assert {*requested(start, made).ports["vnet0"].vids} <= {42} or isinstance(request, DeleteVids)
        assert requested(start, made).ports["vnet0"].vlans == ACCESS


def test_nothing_is_set_where_nobody_asks_for_it() -> None:
    start = lan(*PINNED)
    for who in (
        TOLD,
        guest(0, IN_42, vlans=Vlans.REPAIR, manager=Manager.KERNEL),
        guest(0, NicFacts(vlan=Vlan((42,)))),
    ):
        assert [command for command in commands(plan(intent(who, NEIGHBOUR), start)) if "vlan add" in command] == []
    frozen = replace(REPAIRED, policy=replace(REPAIRED.policy, incomplete=True))
    assert commands(plan(intent(frozen, NEIGHBOUR), start)) == []
    (told,) = [each for each in plan(intent(frozen, NEIGHBOUR), start).findings if each.code is Code.WRONG_VLAN]
    assert told.fix.endswith("bridge vlan add dev vnet0 vid 42 pvid untagged && macmgr apply --domain web0")
    off = replace(start, bridges={"br0": replace(start.bridges["br0"], vlan_filtering=False)})
    assert [command for command in commands(plan(intent(REPAIRED, NEIGHBOUR), off)) if "vlan add" in command] == []


def test_a_person_asks_for_it_once() -> None:
    (finding,) = [each for each in plan(intent(TOLD, NEIGHBOUR), lan(*PINNED)).findings if each.code is Code.WRONG_VLAN]
    assert finding.fix == "macmgr apply --vlans --domain web0"
    kernel, notes = FakeKernel(lan(*PINNED)), Notebook()
    apply(LOCK, lambda: intent(TOLD, NEIGHBOUR), kernel, notes=notes, known=Known(vlans=True))
    assert (vlans(kernel), pinned(kernel)) == (ACCESS, {0: "vnet0", 42: "vnet0"})


def test_where_no_uplink_carries_it_the_port_stays_where_it_is_reached() -> None:
    planned = plan(intent(REPAIRED, NEIGHBOUR), lan(*PINNED, uplink=(1, 7)))
    assert commands(planned) == []
    told = {finding.code: finding for finding in planned.findings}
    assert told[Code.WRONG_VLAN].fix == "left out: it would harm web0 (vnet0); no uplink of br0 carries VID 42"
    assert Code.WOULD_HARM in told


def test_the_fix_of_an_entry_comes_with_the_vids() -> None:
    """By itself, the put without a VID would take the address in VLAN 1 from the neighbour, who uses it there."""
    vrrp = "00:00:5e:00:01:0a"
    used = Entry(vrrp, 1, "vnet1", EntryState.DYNAMIC)
    start = lan(*PINNED, used)
    open_ports = {**start.ports, "vnet1": replace(start.ports["vnet1"], flags=OPEN)}
    neighbour = guest(1, NicFacts(), manager=Manager.KERNEL)
    allowed = replace(REPAIRED, macs=(MACS[0], vrrp))
    planned = plan(intent(allowed, neighbour), replace(start, ports=open_ports))
    (told,) = [each for each in planned.findings if each.mac == vrrp and each.code is Code.MISSING_ENTRY]
    set_vids, *puts = told.changes
    assert isinstance(set_vids, SetVids)
    assert {each.mac for each in puts if isinstance(each, SetEntries)} == {MACS[0], vrrp}


@pytest.mark.parametrize("uplink", [(1, 42), (1, 7)])
def test_who_had_it_as_a_neighbour_by_mistake_gets_its_entry(uplink: tuple[int, ...]) -> None:
    """The neighbour loses whoever goes home, and that is no reason to leave out what is planned for the neighbour."""
    start = lan(*PINNED, uplink=uplink)
    open_ports = {**start.ports, "vnet1": replace(start.ports["vnet1"], flags=OPEN)}
    planned = plan(intent(REPAIRED, NEIGHBOUR), replace(start, ports=open_ports, entries=PINNED))
    assert {f"bridge fdb replace {MACS[1]} dev vnet1 master static sticky"} <= {*commands(planned)}
    assert "bridge link set dev vnet1 learning off flood off" in commands(planned)
    assert [each.port for each in planned.findings if each.code is Code.WOULD_HARM] == ["vnet0"] * (42 not in uplink)


def test_a_vid_that_cannot_be_set_leaves_the_port_as_it_was() -> None:
    trunk = guest(0, NicFacts(vlan=Vlan((10, 11, 30), 30, trunk=True), vlan_live=True), vlans=Vlans.REPAIR)
    start = lan(Entry(MACS[0], 0, "vnet0", sticky=True), vlans=PortVids((1, 10), 1, (1,)), uplink=(1, 10, 11, 30))
    for spoil in ("refuses", "forgets"):
        kernel, notes = FakeKernel(start), Notebook()
        kernel.refuses_vids = {11} if spoil == "refuses" else set()
        kernel.forgets_vids = {"vnet0"} if spoil == "forgets" else set()
        outcome = applied(kernel, notes, trunk, NEIGHBOUR)
        assert vlans(kernel) == PortVids((1, 10), 1, (1,))
        assert [failure.change.port for failure in outcome.failures if isinstance(failure.change, SetVids)] == ["vnet0"]
        assert len(outcome.failures) == 1, "one line"
        assert pinned(kernel) == dict.fromkeys((0, 1, 10), "vnet0"), "it has its entries where it is"


def test_release_puts_back_the_vids_and_entries_that_were_there() -> None:
    before = PortVids((1, 7), 7, (1,))
    start = lan(*(Entry(MACS[0], vid, "vnet0") for vid in (0, 1, 7)), vlans=before, flags=OPEN)
    kernel, notes = FakeKernel(start), Notebook()
    state = {**kernel.fdb}
    apply(LOCK, lambda: intent(TOLD, NEIGHBOUR), kernel, notes=notes, known=Known(vlans=True))
    assert vlans(kernel) == ACCESS
    kernel.ports["vnet0"] = replace(kernel.ports["vnet0"], vids=(1,), pvid=1, untagged=(1,))  # off its bridge, and on
    kernel.lose_entry("br0", MACS[0], 42)
    apply(LOCK, lambda: intent(TOLD, NEIGHBOUR), kernel, notes=notes, known=Known(vlans=True))
    assert vlans(kernel) == ACCESS
    assert parse_document(document_of({"": notes.memory}, "b"), "b") == ({"": notes.memory}, False)
    assert not release(LOCK, lambda: intent(TOLD, NEIGHBOUR), kernel, EVERYTHING, notes).complete
    assert vlans(kernel) == ACCESS, "no uplink reached the guest in the VLANs that it had"
    assert release(LOCK, lambda: intent(TOLD, NEIGHBOUR), kernel, EVERYTHING, notes, Known(cut=True)).complete
    assert (vlans(kernel), kernel.ports["vnet0"].flags) == (before, OPEN)
    mine = {key: entry for key, entry in kernel.fdb.items() if key[1] == MACS[0]}
    assert mine == {key: entry for key, entry in state.items() if key[1] == MACS[0]}


def test_no_entry_stays_behind_where_release_takes_a_port_from_a_vlan() -> None:
    """There it would keep the frames from another guest with the same address, between one request and the next."""
    twin = replace(guest(1, NicFacts()), macs=MACS[:1])
    start = lan(flags=CLOSED, vlans=PortVids((1,), 1, (1,)))
    ports = {**start.ports, "vnet1": replace(start.ports["vnet1"], flags=OPEN, vids=(42,), pvid=42, untagged=(42,))}
    kernel, notes = FakeKernel(replace(start, ports=ports, entries=())), Notebook()
    apply(LOCK, lambda: intent(TOLD, twin), kernel, notes=notes, known=Known(vlans=True))
    assert vlans(kernel) == ACCESS
    managed = kernel.read_snapshot()
    assert managed.fdb.static_on("vnet0", "br0", MACS[0]).keys() >= {42}
    given_back = plan_release(intent(TOLD, twin), managed, Known(notes.memory))
    assert commands(given_back)[:2] == [
        f"bridge fdb replace {MACS[0]} dev vnet0 vlan 42 master dynamic",
        "bridge vlan del dev vnet0 vid 42",
    ]
    made: list[Request] = []
    for change in given_back.changes:
        for request in requests(change):
            made.append(request)
            now = FakeKernel(requested(managed, made))
            assert now.frame("eth0", "02:00:00:00:00:99", MACS[0], 42) & {"vnet0", "vnet1"}, request
    assert release(LOCK, lambda: intent(TOLD, twin), kernel, EVERYTHING, notes).complete
    assert kernel.ports["vnet0"].vids == (1,)


def test_vids_that_cannot_be_given_back_leave_the_entries_as_they_were() -> None:
    start = lan(*(Entry(MACS[0], vid, "vnet0") for vid in (0, 1)), vlans=PortVids((1,), 1, (1,)), flags=CLOSED)
    kernel, notes = FakeKernel(start), Notebook()
    apply(LOCK, lambda: intent(TOLD, NEIGHBOUR), kernel, notes=notes, known=Known(vlans=True))
    there = pinned(kernel)
    kernel.refuses_vids = {1}
    assert not release(LOCK, lambda: intent(TOLD, NEIGHBOUR), kernel, EVERYTHING, notes, Known(cut=True)).complete
    assert (vlans(kernel), pinned(kernel)) == (ACCESS, there)


def test_release_puts_back_no_vids_that_were_wrong_for_a_moment() -> None:
    """The port was in its VLAN when macmgr first saw it, and fell out of it later."""
    kernel, notes = FakeKernel(lan(vlans=ACCESS)), Notebook()
    applied(kernel, notes, REPAIRED, NEIGHBOUR)
    kernel.ports["vnet0"] = replace(kernel.ports["vnet0"], vids=(1,), pvid=1, untagged=(1,))
    applied(kernel, notes, REPAIRED, NEIGHBOUR)
    assert vlans(kernel) == ACCESS
    assert release(LOCK, lambda: intent(TOLD, NEIGHBOUR), kernel, EVERYTHING, notes).complete
    assert vlans(kernel) == ACCESS


def test_release_leaves_vids_that_somebody_set_since() -> None:
    kernel, notes = FakeKernel(lan(*PINNED)), Notebook()
    applied(kernel, notes, REPAIRED, NEIGHBOUR)
    kernel.ports["vnet0"] = replace(kernel.ports["vnet0"], vids=(1, 42))
    release(LOCK, lambda: intent(TOLD, NEIGHBOUR), kernel, EVERYTHING, notes)
    assert vlans(kernel).vids == (1, 42)


def test_a_port_that_goes_to_the_kernel_stays_as_its_xml_says() -> None:
    """Nobody has asked for the guest to come into another VLAN, or to be heard by other isolated guests."""
    facts = replace(IN_42, isolated=True, isolated_live=True)
    kernel, notes = FakeKernel(lan(*PINNED, flags=OPEN)), Notebook()
    applied(kernel, notes, replace(REPAIRED, facts=facts), NEIGHBOUR)
    outcome = applied(kernel, notes, replace(REPAIRED, facts=facts, policy=Policy()), NEIGHBOUR)
    assert outcome.complete
    assert (vlans(kernel), kernel.ports["vnet0"].flags) == (ACCESS, replace(OPEN, isolated=True))
    assert kernel.frame("eth0", "02:00:00:00:00:99", MACS[0], 42) == {"vnet0"}


def test_an_administrator_who_sets_other_vids_again_and_again_is_not_fought() -> None:
    """The entries follow the administrator meanwhile."""
    kernel, notes, backoff = FakeKernel(lan(*PINNED)), Notebook(), Backoff(limit=3)
    for second in range(5):
        outcome = applied(kernel, notes, REPAIRED, NEIGHBOUR)
        backoff.note(outcome.done, float(second))
        assert vlans(kernel) == ACCESS
        kernel.ports["vnet0"] = replace(kernel.ports["vnet0"], vids=(1,), pvid=1, untagged=(1,))
    known = Known(refused=backoff.refused(4.5))
    assert known.refused == {("vnet0", "", 0)}
    apply(LOCK, lambda: intent(REPAIRED, NEIGHBOUR), kernel, notes=notes, known=known)
    assert (vlans(kernel), pinned(kernel)) == (PLAIN, {0: "vnet0", 1: "vnet0"})
    assert backoff.refused(60.0) == frozenset()
