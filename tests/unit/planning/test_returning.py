"""What macmgr made and policy does not ask for any more is undone, from memory; and nothing that somebody else made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from macmgr.model.changes import SetEntries, SetFlags, bridge_command, requests
from macmgr.model.findings import Code, fix_of
from macmgr.model.intent import GuestPort, Intent, Manager, Policy, Scope, Settings, Step
from macmgr.model.known import Known
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, PortFlags, Snapshot
from macmgr.reconcile import apply, look
from macmgr.state.lock import WriterLock
from macmgr.view import Outcome
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.notebook import Notebook

MAC, MAC2 = "52:54:00:00:00:01", "52:54:00:00:00:02"
OPEN, CLOSED = PortFlags(), PortFlags(learning=False, unicast_flood=False)
LOCKED = replace(CLOSED, locked=True)
LOCK = WriterLock()
EVERYTHING = Scope()
MANAGED = GuestPort("vnet0", "br0", "web1", "u1", (MAC,), policy=Policy(Manager.LIBVIRT))
KERNELS = replace(MANAGED, policy=Policy())
SECOND = GuestPort("vnet1", "br0", "web2", "u2", (MAC2,), policy=Policy(Manager.LIBVIRT))
PINNED = {Entry(MAC, 0, "vnet0", sticky=True), Entry(MAC, 1, "vnet0", sticky=True)}
LIBVIRTS = {Entry(MAC, 0, "vnet0"), Entry(MAC, 1, "vnet0")}
DYNAMIC = {Entry(MAC, 0, "vnet0", EntryState.DYNAMIC), Entry(MAC, 1, "vnet0", EntryState.DYNAMIC)}


def host(flags: PortFlags = OPEN, entries: Iterable[Entry] = ()) -> Snapshot:
    taps = [BridgePort(f"vnet{n}", 7 + n, "br0", f"fe:54:00:00:00:0{n + 1}", OPEN, (1,), 1) for n in range(2)]
    uplink = BridgePort("eth0", 3, "br0", "02:00:00:00:00:03", OPEN, (1,), 1)
    return make_snapshot(
        [Bridge("br0", 2, "02:00:00:00:00:02", True)], [replace(taps[0], flags=flags), taps[1], uplink], entries
    )


def applied(kernel: FakeKernel, notes: Notebook, *guests: GuestPort, scope: Scope = EVERYTHING) -> Outcome:
    return apply(LOCK, lambda: Intent(guests, {"br0": "a test says so"}), kernel, scope, notes=notes)


def managed(start: Snapshot | None = None, *guests: GuestPort) -> tuple[FakeKernel, Notebook]:
    kernel, notes = FakeKernel(start or host()), Notebook()
    assert applied(kernel, notes, *(guests or (MANAGED,))).complete
    assert kernel.ports["vnet0"].flags in (CLOSED, LOCKED)
    assert entries(kernel) == PINNED
    return kernel, notes


def entries(kernel: FakeKernel, mac: str = MAC) -> set[Entry]:
    return {entry for entry in kernel.fdb.values() if entry.mac == mac}


def codes(kernel: FakeKernel, notes: Notebook, *guests: GuestPort) -> set[Code]:
    found = look(lambda: Intent(guests, {"br0": "a test says so"}), kernel, known=Known(notes.memory)).plan.findings
    return {finding.code for finding in found if finding.port}


def test_a_port_that_goes_to_the_kernel_is_opened_and_then_its_entry_is_the_kernels() -> None:
    kernel, notes = managed()
    view = look(lambda: Intent((KERNELS,), {}), kernel, known=Known(notes.memory))
    (told,) = [finding for finding in view.plan.findings if finding.port]
    assert (told.code, told.port, told.domain) == (Code.NOT_GIVEN_BACK, "vnet0", "web1")
    assert told.message == (
        "vnet0 of web1 is left to the kernel (nothing asks for it: the kernel manages by default), but is still as "
        "macmgr made it"
    )
    steps = [" ".join(bridge_command(request)) for change in view.plan.changes for request in requests(change)]
    assert steps == [
        "bridge link set dev vnet0 learning on flood on",
        f"bridge fdb replace {MAC} dev vnet0 master dynamic",
    ]
    assert fix_of(told).text == " && ".join(steps)


@pytest.mark.parametrize("bridges", [{}, {"br0": "a test says so"}], ids=["the whole bridge", "one guest"])
def test_it_is_given_back_once_and_forgotten(bridges: dict[str, str]) -> None:
    kernel, notes = managed()
    outcome = apply(LOCK, lambda: Intent((KERNELS,), bridges), kernel, notes=notes)
    assert outcome.complete
    assert kernel.ports["vnet0"].flags == OPEN
    assert entries(kernel) == DYNAMIC
    assert (notes.memory.ports, notes.memory.macs) == ((), ())
    kernel.set_flags("vnet0", LOCKED)
    kernel.set_entry(Entry(MAC, 1, "vnet0", sticky=True))
    assert applied(kernel, notes, KERNELS).done == ()
    assert codes(kernel, notes, KERNELS) == set()


def test_what_somebody_gave_back_by_hand_is_forgotten_too() -> None:
    kernel, notes = managed()
    kernel.set_flags("vnet0", OPEN)
    for entry in DYNAMIC:
        kernel.set_entry(entry)
    assert applied(kernel, notes, KERNELS).done == ()
    assert notes.memory.ports == ()


def test_a_guest_that_is_managed_again_is_remembered_again() -> None:
    kernel, notes = managed()
    applied(kernel, notes, KERNELS)
    assert applied(kernel, notes, MANAGED).complete
    assert [each.flags for each in notes.memory.ports] == [OPEN]
    assert entries(kernel) == PINNED


def test_a_waiting_guests_port_has_no_entry_afterwards() -> None:
    kernel, notes = managed()
    assert applied(kernel, notes, replace(KERNELS, running=False, state="paused")).complete
    assert kernel.ports["vnet0"].flags == OPEN
    assert entries(kernel) == set()


def test_a_port_that_libvirt_had_closed_is_libvirts_again() -> None:
    """It closed it because the network asks for that, and macmgr only came after it."""
    kernel, notes = managed(host(CLOSED, LIBVIRTS))
    assert codes(kernel, notes, KERNELS) == {Code.NOT_GIVEN_BACK}
    assert applied(kernel, notes, KERNELS).complete
    assert kernel.ports["vnet0"].flags == CLOSED
    assert entries(kernel) == LIBVIRTS
    assert applied(kernel, notes, KERNELS).done == ()


def test_on_a_port_that_stays_closed_no_address_of_the_guest_is_left_to_age() -> None:
    """Learning is off there, so the kernel would not refresh it, and forget it after five minutes."""
    kernel, notes = FakeKernel(host(CLOSED, LIBVIRTS)), Notebook()
    assert applied(kernel, notes, replace(MANAGED, macs=(MAC, MAC2))).complete
    assert applied(kernel, notes, KERNELS).complete
    assert kernel.ports["vnet0"].flags == CLOSED
    assert entries(kernel) == LIBVIRTS
    assert {(entry.port, entry.state, entry.sticky) for entry in entries(kernel, MAC2)} == {
        ("vnet0", EntryState.STATIC, False)
    }


def test_while_a_network_is_not_active_the_lock_and_the_allowed_addresses_stay() -> None:
    """virsh net-destroy and net-start under a running guest whose portgroup asks for the lock."""
    locked = replace(MANAGED, macs=(MAC, MAC2), policy=Policy(Manager.LIBVIRT, lock=True, allow=(MAC2,)))
    kernel, notes = FakeKernel(host(replace(OPEN, locked=False))), Notebook()
    assert applied(kernel, notes, locked).complete
    before = dict(kernel.ports), dict(kernel.fdb)
    assert kernel.ports["vnet0"].flags == LOCKED
    assert applied(kernel, notes, replace(MANAGED, policy=Policy(Manager.LIBVIRT, incomplete=True))).done == ()
    assert (kernel.ports, kernel.fdb) == before


LEFT_AS_THEY_ARE = {
    "metadata that is not understood": replace(KERNELS, policy=Policy(problem="no such option")),
    "a network that is not active": replace(KERNELS, policy=Policy(incomplete=True)),
    "another guest on the tap": replace(KERNELS, uuid="u9"),
    "another bridge by its XML": replace(KERNELS, bridge="br1"),
}


def test_a_domains_own_word_needs_no_network() -> None:
    kernel, notes = managed()
    says = Policy(incomplete=True, steps=(Step("domain", Settings(Manager.KERNEL)), Step("domain", Settings())))
    assert codes(kernel, notes, replace(KERNELS, policy=says)) == {Code.NOT_GIVEN_BACK}


@pytest.mark.parametrize("guest", LEFT_AS_THEY_ARE.values(), ids=LEFT_AS_THEY_ARE)
def test_where_policy_may_not_mean_it_the_port_stays(guest: GuestPort) -> None:
    kernel, notes = managed()
    before = dict(kernel.ports), dict(kernel.fdb)
    assert Code.NOT_GIVEN_BACK not in codes(kernel, notes, guest)
    assert applied(kernel, notes, guest).done == ()
    assert (kernel.ports, kernel.fdb) == before


def test_a_port_that_macmgr_did_not_touch_is_none_of_its_business() -> None:
    kernel, notes = FakeKernel(host(LOCKED, PINNED)), Notebook()
    assert applied(kernel, notes, KERNELS).done == ()
    assert codes(kernel, notes, KERNELS) == set()


# How far it goes


def test_a_call_for_another_guest_leaves_it_alone_and_remembers_it() -> None:
    kernel, notes = managed(host(), MANAGED, SECOND)
    guests = KERNELS, replace(SECOND, policy=Policy())
    assert applied(kernel, notes, *guests, scope=Scope("web2")).complete
    assert (kernel.ports["vnet0"].flags, kernel.ports["vnet1"].flags) == (CLOSED, OPEN)
    assert [each.port for each in notes.memory.ports] == ["vnet0"]
    assert applied(kernel, notes, *guests, scope=Scope(bridges=frozenset({"br1"}))).complete
    assert [each.port for each in notes.memory.ports] == ["vnet0"]
    assert applied(kernel, notes, *guests, scope=Scope("web1")).complete
    assert notes.memory.ports == ()


SPARED = {
    "the bridge": lambda change: change.bridge == "br0",
    "its flags": lambda change: isinstance(change, SetFlags),
    "its entry": lambda change: isinstance(change, SetEntries),
}


@pytest.mark.parametrize("skips", SPARED.values(), ids=SPARED)
def test_what_is_skipped_is_skipped_as_a_whole(skips) -> None:  # type: ignore[no-untyped-def]
    """An entry that ages on a port that is still closed would be an outage."""
    kernel, notes = managed()
    assert applied(kernel, notes, KERNELS, scope=Scope(skips=skips)).done == ()
    assert (kernel.ports["vnet0"].flags, entries(kernel)) == (CLOSED, PINNED)
    assert [each.port for each in notes.memory.ports] == ["vnet0"]


def test_a_port_that_could_not_be_opened_keeps_its_entry() -> None:
    kernel, notes = managed()
    kernel.forgets_flags.add("vnet0")
    outcome = applied(kernel, notes, KERNELS)
    assert {failure.why for failure in outcome.failures} == {"its port could not be opened, so its entry stays"}
    assert entries(kernel) == PINNED
    assert len(notes.memory.ports) == 1
    kernel.forgets_flags.clear()
    assert applied(kernel, notes, KERNELS).complete
    assert entries(kernel) == DYNAMIC


def test_a_mac_that_another_guest_is_given_is_that_ones() -> None:
    kernel, notes = managed()
    heir = replace(SECOND, macs=(MAC,))
    outcome = applied(kernel, notes, KERNELS, heir)
    assert outcome.complete
    assert kernel.ports["vnet0"].flags == OPEN
    assert {(entry.port, entry.sticky) for entry in entries(kernel)} == {("vnet1", True)}
    assert [change for change in outcome.done if isinstance(change, SetEntries) and change.domain == "web1"] == []


# The lock alone

LOCKING = replace(MANAGED, policy=replace(MANAGED.policy, lock=True))


def test_a_lock_that_policy_does_not_ask_for_any_more_is_taken_off() -> None:
    kernel, notes = managed(host(), LOCKING)
    assert kernel.ports["vnet0"].flags == LOCKED
    assert codes(kernel, notes, MANAGED) == {Code.STILL_LOCKED}
    assert applied(kernel, notes, MANAGED).complete
    assert kernel.ports["vnet0"].flags == CLOSED
    assert codes(kernel, notes, MANAGED) == set()
    assert applied(kernel, notes, LOCKING).complete
    assert kernel.ports["vnet0"].flags == LOCKED


def test_it_is_taken_off_before_anything_is_closed() -> None:
    kernel, notes = managed(host(), LOCKING)
    kernel.set_flags("vnet0", replace(LOCKED, learning=True))
    done = applied(kernel, notes, MANAGED).done
    assert [" ".join(bridge_command(request)) for change in done for request in requests(change)] == [
        "bridge link set dev vnet0 locked off",
        "bridge link set dev vnet0 learning off",
    ]


def test_a_lock_that_was_there_before_macmgr_stays() -> None:
    kernel, notes = managed(host(replace(OPEN, locked=True)))
    assert kernel.ports["vnet0"].flags == LOCKED
    assert codes(kernel, notes, MANAGED) == set()


def test_a_lock_of_which_nothing_is_remembered_stays() -> None:
    kernel, _ = managed(host(), LOCKING)
    assert applied(kernel, Notebook(), MANAGED).done == ()
    assert kernel.ports["vnet0"].flags == LOCKED
