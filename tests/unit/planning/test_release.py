"""The plan of the way back: what a port gets, in which order, and what is never done to its guest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from macmgr.model.changes import bridge_command, requests
from macmgr.model.findings import Code
from macmgr.model.intent import GuestPort, Intent, Manager, Pin, Policy, Scope
from macmgr.model.known import NOTHING_KNOWN, KeptMac, Known, Memory
from macmgr.model.relay import PortRelay, PortState
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, PortFlags, Snapshot
from macmgr.planning.draft import Plan
from macmgr.planning.release import plan_release
from macmgr.reconcile import apply, release
from macmgr.state.lock import WriterLock
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.notebook import Notebook

MAC = "52:54:00:00:00:01"
VRRP = "00:00:5e:00:01:0a"
OPEN, CLOSED = PortFlags(), PortFlags(learning=False, unicast_flood=False)
LOCK = WriterLock()
PLAIN = GuestPort("vnet0", "br0", "web1", "u1", (MAC,), policy=Policy(Manager.LIBVIRT))
LIBVIRTS = replace(PLAIN, entry_comes=True)
BEFORE_LIBVIRT = [Entry(MAC, 0, "vnet0"), Entry(MAC, 1, "vnet0")]


def host(flags: PortFlags = OPEN, entries: Iterable[Entry] = (), *, up: bool = True) -> Snapshot:
    tap = BridgePort("vnet0", 7, "br0", "fe:54:00:00:00:01", flags, (1,), 1, up=up)
    other = BridgePort("vnet1", 8, "br0", "fe:54:00:00:00:02", OPEN, (1,), 1)
    uplink = BridgePort("eth0", 3, "br0", "02:00:00:00:00:03", OPEN, (1,), 1)
    return make_snapshot([Bridge("br0", 2, "02:00:00:00:00:02", True)], [tap, other, uplink], entries)


def intent(*guests: GuestPort) -> Intent:
    return Intent(guests, {"br0": "a test says so"})


def applied(start: Snapshot, guest: GuestPort = PLAIN) -> tuple[FakeKernel, Notebook]:
    kernel, notes = FakeKernel(start), Notebook()
    assert apply(LOCK, lambda: intent(guest), kernel, notes=notes).complete
    return kernel, notes


def commands(steps: Plan) -> list[str]:
    return [" ".join(bridge_command(request)) for change in steps.changes for request in requests(change)]


def entries(kernel: FakeKernel, mac: str = MAC) -> set[Entry]:
    return {entry for entry in kernel.fdb.values() if entry.mac == mac}


def test_a_kernels_port_is_opened_and_then_its_entry_becomes_dynamic() -> None:
    kernel, notes = applied(host())
    assert commands(plan_release(intent(PLAIN), kernel.read_snapshot(), Known(notes.memory))) == [
        "bridge link set dev vnet0 learning on flood on",
        f"bridge fdb replace {MAC} dev vnet0 master dynamic",
    ]


def test_libvirts_port_stays_closed_and_its_entry_is_libvirts_again() -> None:
    kernel, notes = applied(host(CLOSED, BEFORE_LIBVIRT), LIBVIRTS)
    assert commands(plan_release(intent(LIBVIRTS), kernel.read_snapshot(), Known(notes.memory))) == [
        f"bridge fdb replace {MAC} dev vnet0 master static"
    ]


def test_what_was_closed_by_somebody_is_closed_after_its_entry_is_back() -> None:
    """The port was open when the guest was suspended, say; what closes it comes last."""
    kernel, notes = applied(host(PortFlags(False, False, True), BEFORE_LIBVIRT))
    kernel.set_flags("vnet0", OPEN)
    assert commands(plan_release(intent(PLAIN), kernel.read_snapshot(), Known(notes.memory))) == [
        f"bridge fdb replace {MAC} dev vnet0 master static",
        "bridge link set dev vnet0 learning off flood off locked on",
    ]


def test_a_lock_is_opened_before_the_entry_goes() -> None:
    guest = replace(PLAIN, policy=replace(PLAIN.policy, lock=True))
    kernel, notes = applied(host(), guest)
    first, *_ = commands(plan_release(intent(guest), kernel.read_snapshot(), Known(notes.memory)))
    assert first == "bridge link set dev vnet0 learning on flood on locked off"


def test_a_port_that_does_not_forward_takes_no_dynamic_entry() -> None:
    for start in (host(up=False), _blocked(host())):
        kernel, notes = applied(start)
        assert commands(plan_release(intent(PLAIN), kernel.read_snapshot(), Known(notes.memory))) == [
            "bridge link set dev vnet0 learning on flood on",
            f"bridge fdb del {MAC} dev vnet0 vlan 1 master",
            f"bridge fdb del {MAC} dev vnet0 master",
        ]


def _blocked(snapshot: Snapshot) -> Snapshot:
    tap = replace(snapshot.ports["vnet0"], relay=PortRelay(PortState.BLOCKING))
    return replace(snapshot, ports={**snapshot.ports, "vnet0": tap})


def test_a_closed_port_whose_entry_had_been_stolen_gets_one() -> None:
    """Exactly what was would be an outage: closed, and in VID 1 the MAC led to the uplink."""
    kernel, notes = applied(host(CLOSED, [Entry(MAC, 0, "vnet0"), Entry(MAC, 1, "eth0")]), LIBVIRTS)
    release(LOCK, lambda: intent(LIBVIRTS), kernel, Scope(), notes)
    assert entries(kernel) == set(BEFORE_LIBVIRT)


def test_a_suspended_guests_plain_port_is_opened_and_has_no_entry() -> None:
    kernel, notes = applied(host(CLOSED))
    suspended = replace(PLAIN, state="paused", running=False)
    release(LOCK, lambda: intent(suspended), kernel, Scope(), notes)
    assert kernel.ports["vnet0"].flags == OPEN
    assert entries(kernel) == set()


def test_a_suspended_guests_libvirt_port_stays_closed() -> None:
    """libvirt adds its entry when the CPUs start."""
    kernel, notes = applied(host(CLOSED, BEFORE_LIBVIRT), LIBVIRTS)
    suspended = replace(LIBVIRTS, state="paused", running=False)
    release(LOCK, lambda: intent(suspended), kernel, Scope(), notes)
    assert kernel.ports["vnet0"].flags == CLOSED
    assert entries(kernel) == set()


def test_an_administrators_entry_that_macmgr_dropped_comes_back() -> None:
    mine = Entry("02:00:00:00:00:99", 1, "vnet0", sticky=True)
    kernel, notes = applied(host(OPEN, [mine]))
    assert entries(kernel, mine.mac) == set()
    release(LOCK, lambda: intent(PLAIN), kernel, Scope(), notes)
    assert entries(kernel, mine.mac) == {mine}


def test_but_not_when_it_is_another_guests_by_now() -> None:
    mine = Entry("52:54:00:00:00:02", 1, "vnet0")
    kernel, notes = applied(host(OPEN, [mine]))
    other = GuestPort("vnet1", "br0", "web2", "u2", (mine.mac,))
    release(LOCK, lambda: intent(PLAIN, other), kernel, Scope(), notes)
    assert entries(kernel, mine.mac) == set()


def test_allowed_addresses_are_let_go_too() -> None:
    guest = replace(PLAIN, macs=(MAC, VRRP))
    kernel, notes = applied(host(), guest)
    release(LOCK, lambda: intent(guest), kernel, Scope(), notes)
    assert {entry.state for entry in entries(kernel, VRRP)} == {EntryState.DYNAMIC}


@pytest.mark.parametrize("gone", [Intent(), intent(replace(PLAIN, policy=Policy()))], ids=["no XML", "no policy"])
def test_memory_alone_gives_a_port_back(gone: Intent) -> None:
    kernel, notes = applied(host())
    done = release(LOCK, lambda: gone, kernel, Scope(), notes)
    assert [(each.port, each.domain, each.because) for each in done.ports] == [
        ("vnet0", "web1", "as it was before macmgr")
    ]
    assert kernel.ports["vnet0"].flags == OPEN
    assert {entry.state for entry in entries(kernel)} == {EntryState.DYNAMIC}
    assert notes.memory == Memory(released=(("vnet0", 7),))


def test_without_xml_a_closed_port_keeps_what_reaches_its_guest() -> None:
    kernel, notes = applied(host(CLOSED))
    release(LOCK, Intent, kernel, Scope(), notes)
    assert kernel.ports["vnet0"].flags == CLOSED
    assert entries(kernel) == set(BEFORE_LIBVIRT)


# Nothing remembered


def test_a_port_that_bears_our_mark_gets_the_kernels_defaults() -> None:
    kernel, _ = applied(host(PortFlags(True, False, False)))
    done = release(LOCK, lambda: intent(PLAIN), kernel, Scope(), Notebook())
    assert kernel.ports["vnet0"].flags == OPEN
    assert [each.because for each in done.ports] == ["the kernel's default, because nothing is remembered"]


def test_libvirts_own_gets_libvirts_defaults() -> None:
    kernel, _ = applied(host(CLOSED, BEFORE_LIBVIRT), LIBVIRTS)
    release(LOCK, lambda: intent(LIBVIRTS), kernel, Scope(), Notebook())
    assert kernel.ports["vnet0"].flags == CLOSED
    assert entries(kernel) == set(BEFORE_LIBVIRT)


@pytest.mark.parametrize(
    "guest",
    [PLAIN, replace(PLAIN, policy=Policy()), replace(PLAIN, running=False, state="paused")],
    ids=["without a mark", "not managed", "waiting"],
)
def test_a_port_that_macmgr_did_not_touch_is_left_alone(guest: GuestPort) -> None:
    start = host(CLOSED, [Entry(MAC, 1, "vnet0", sticky=guest.policy == Policy())])
    assert plan_release(intent(guest), start, NOTHING_KNOWN).changes == ()


def test_what_was_given_back_is_not_given_back_again() -> None:
    """An administrator's sticky entry on a closed port looks like ours, and is not."""
    kernel, notes = applied(host(PortFlags(False, False, True), [Entry(MAC, 1, "vnet0", sticky=True)]))
    release(LOCK, lambda: intent(PLAIN), kernel, Scope(), notes)
    before = (dict(kernel.ports), dict(kernel.fdb))
    assert release(LOCK, lambda: intent(PLAIN), kernel, Scope(), notes).ports == ()
    assert (kernel.ports, kernel.fdb) == before


def test_what_is_managed_again_is_remembered_again() -> None:
    kernel, notes = applied(host())
    release(LOCK, lambda: intent(PLAIN), kernel, Scope(), notes)
    apply(LOCK, lambda: intent(PLAIN), kernel, notes=notes)
    assert [each.flags for each in notes.memory.ports] == [OPEN]
    assert notes.memory.released == ()


# What goes wrong


def test_a_port_that_could_not_be_opened_keeps_its_entry() -> None:
    kernel, notes = applied(host())
    kernel.forgets_flags.add("vnet0")
    done = release(LOCK, lambda: intent(PLAIN), kernel, Scope(), notes)
    assert not done.outcome.complete
    assert {failure.why for failure in done.outcome.failures} == {"its port could not be opened, so its entry stays"}
    assert {entry.sticky for entry in entries(kernel)} == {True}
    assert len(notes.memory.ports) == 1
    kernel.forgets_flags.clear()
    assert release(LOCK, lambda: intent(PLAIN), kernel, Scope(), notes).outcome.complete


def in_use_since() -> tuple[FakeKernel, Notebook]:
    """The port was closed before macmgr; somebody has let it learn since, and the guest uses another address."""
    kernel, notes = applied(host(CLOSED, BEFORE_LIBVIRT))
    kernel.set_flags("vnet0", PortFlags(unicast_flood=False))
    kernel.set_entry(Entry(VRRP, 1, "vnet0", EntryState.DYNAMIC))
    return kernel, notes


def test_a_port_stays_as_it_is_where_giving_it_back_cuts_an_address_off() -> None:
    kernel, notes = in_use_since()
    before = dict(kernel.ports), dict(kernel.fdb)
    done = release(LOCK, lambda: intent(PLAIN), kernel, Scope(), notes)
    assert ((kernel.ports, kernel.fdb), done.ports, done.complete) == (before, (), False)
    assert [each.port for each in notes.memory.ports] == ["vnet0"], "how it was is remembered still"
    assert [(each.code, each.message, each.note) for each in done.outcome.view.plan.findings] == [
        (
            Code.WOULD_HARM,
            f"{VRRP} of web1 (vnet0) would no longer be reached from vnet1, the uplink eth0: "
            "changes on br0 are left out",
            "'macmgr release --cut --bridge br0' makes them anyway",
        ),
        (
            Code.NOT_GIVEN_BACK,
            "vnet0 of web1 is left as macmgr made it: giving it back would harm a guest",
            "'macmgr release --cut --bridge br0' gives it back anyway",
        ),
    ]


def test_with_consent_it_is_given_back() -> None:
    kernel, notes = in_use_since()
    done = release(LOCK, lambda: intent(PLAIN), kernel, Scope(), notes, Known(cut=True))
    assert (kernel.ports["vnet0"].flags, [each.port for each in done.ports], done.complete) == (CLOSED, ["vnet0"], True)
    assert notes.memory.ports == ()


def test_other_ports_are_given_back_beside_one_that_stays() -> None:
    kernel, notes = in_use_since()
    other = GuestPort("vnet1", "br0", "web2", "u2", ("52:54:00:00:00:02",), policy=Policy(Manager.LIBVIRT))
    apply(LOCK, lambda: intent(other), kernel, notes=notes)
    done = release(LOCK, lambda: intent(PLAIN, other), kernel, Scope(), notes)
    assert ([each.port for each in done.ports], kernel.ports["vnet1"].flags) == (["vnet1"], OPEN)
    assert [each.port for each in notes.memory.ports] == ["vnet0"]


def test_a_port_is_given_back_though_the_one_that_had_taken_its_address_is_not() -> None:
    """An entry led the address to a NIC that is allowed it; put back, it would take the address again."""
    other = GuestPort("vnet1", "br0", "web2", "u2", ("52:54:00:00:00:02", MAC), policy=Policy(Manager.LIBVIRT))
    taken = host(PortFlags(unicast_flood=False), [Entry(MAC, vid, "vnet1", sticky=True) for vid in (0, 1)])
    kernel, notes = FakeKernel(taken), Notebook()
    apply(LOCK, lambda: intent(PLAIN, other), kernel, notes=notes)
    done = release(LOCK, lambda: intent(PLAIN, other), kernel, Scope(), notes)
    assert [each.port for each in done.ports] == ["vnet0"]
    assert kernel.ports["vnet0"].flags == PortFlags(unicast_flood=False)
    left = [each for each in done.outcome.view.plan.findings if each.code is Code.NOT_GIVEN_BACK]
    assert [each.port for each in left] == [each.port for each in notes.memory.ports] == ["vnet1"]


def test_the_copies_of_an_entry_that_comes_back_in_vid_0_are_dynamic_in_the_same_step() -> None:
    """One round later for each, two NICs with one address were not given back in three rounds."""
    kernel, notes = applied(host(OPEN, [Entry(MAC, 0, "vnet0", sticky=True)]))
    kernel.lose_entry("br0", MAC, 0)
    assert commands(plan_release(intent(PLAIN), kernel.read_snapshot(), Known(notes.memory)))[-2:] == [
        f"bridge fdb replace {MAC} dev vnet0 master static sticky",
        f"bridge fdb replace {MAC} dev vnet0 vlan 1 master dynamic",
    ]


def test_an_entry_of_another_guests_address_is_not_given_back() -> None:
    """A put without a VID would take the address where the other one has it."""
    theirs = "52:54:00:00:00:02"
    kernel, notes = applied(host(CLOSED, [*BEFORE_LIBVIRT, Entry(theirs, 0, "vnet0", sticky=True)]))
    kernel.set_entry(Entry(theirs, 0, "vnet0", sticky=True))
    other = GuestPort("vnet1", "br0", "web1", "u1", (theirs,))
    release(LOCK, lambda: intent(PLAIN, other), kernel, Scope(), notes)
    assert {entry for entry in entries(kernel, theirs) if entry.port == "vnet0"} == set()


def test_only_the_named_bridge_is_given_back() -> None:
    kernel, notes = applied(host())
    assert release(LOCK, lambda: intent(PLAIN), kernel, Scope(bridges=frozenset({"br1"})), notes).ports == ()
    assert kernel.ports["vnet0"].flags == CLOSED
    assert len(notes.memory.ports) == 1


def test_what_a_guest_left_behind_goes_too() -> None:
    mac = "52:54:00:00:00:09"
    kernel = FakeKernel(host(OPEN, [Entry(mac, 1, "eth0")]))
    notes = Notebook(Memory(macs=(KeptMac(mac, "br0", "gone", "vnet9", 99),)))
    release(LOCK, intent, kernel, Scope(), notes)
    assert entries(kernel, mac) == set()


def test_entries_of_a_control_plane_stay_its_own() -> None:
    """Ours took its place without clearing its mark, and as a dynamic one it is again what it was."""
    learned = Entry(MAC, 1, "vnet0", EntryState.DYNAMIC, extern_learn=True)
    kernel, notes = applied(host(OPEN, [learned]))
    release(LOCK, lambda: intent(PLAIN), kernel, Scope(), notes)
    assert kernel.fdb["br0", MAC, 1] == learned


def test_a_mac_whose_vid_is_another_guests_keeps_vid_0() -> None:
    """The request for VID 0 is one for all VIDs of the port: it would take the other's entry."""
    kernel, notes = applied(host())
    kernel.set_entry(Entry(MAC, 1, "vnet1"))
    twin = GuestPort("vnet1", "br0", "web2", "u2", (MAC,))
    release(LOCK, lambda: intent(PLAIN, twin), kernel, Scope(), notes)
    assert kernel.fdb["br0", MAC, 1] == Entry(MAC, 1, "vnet1")


def test_an_entry_in_vid_0_does_not_come_back_where_it_would_take_anothers() -> None:
    """Where VLANs are filtered, VID 0 decides nothing, and the request for it takes the address in every VID."""
    guest = replace(PLAIN, macs=(MAC, VRRP))
    kernel, notes = applied(host(OPEN, [Entry(VRRP, 0, "vnet0")]), guest)
    del kernel.fdb["br0", VRRP, 0]
    kernel.set_entry(Entry(VRRP, 1, "vnet1"))
    other = GuestPort("vnet1", "br0", "web2", "u2", ("52:54:00:00:00:02", VRRP))
    assert release(LOCK, lambda: intent(guest, other), kernel, Scope(), notes).complete
    assert entries(kernel, VRRP) == {Entry(VRRP, 1, "vnet1")}
    assert notes.memory.ports == ()


def test_nor_where_the_lan_was_heard_with_that_address() -> None:
    """Its station would be lost until the bridge hears it again."""
    theirs, learned = "52:54:00:0f:00:02", Entry("52:54:00:0f:00:02", 1, "eth0", EntryState.DYNAMIC)
    kernel, notes = applied(host(OPEN, [Entry(theirs, 0, "vnet0", sticky=True)], up=False))
    assert entries(kernel, theirs) == set(), "nothing asks for it"
    kernel.set_entry(learned)
    assert release(LOCK, lambda: intent(PLAIN), kernel, Scope(), notes).complete
    assert entries(kernel, theirs) == {learned}
    assert notes.memory.ports == ()


def test_pin_static_is_a_mark_too() -> None:
    guest = replace(PLAIN, policy=replace(PLAIN.policy, pin=Pin.STATIC))
    kernel, _ = applied(host(), guest)
    release(LOCK, lambda: intent(guest), kernel, Scope(), Notebook())
    assert kernel.ports["vnet0"].flags == OPEN
