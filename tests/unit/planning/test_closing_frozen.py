"""A guest whose network is not active: its portgroup may have said otherwise, so its port stays as it is."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace

import pytest

from macmgr.model.findings import Code, Severity, fix_of
from macmgr.model.intent import GuestPort, Intent, Manager, Pin, Policy, Scope, Settings, Step
from macmgr.model.known import KeptMac, Memory
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, PortFlags
from macmgr.reconcile import apply
from macmgr.report.explain import explain
from macmgr.state.lock import WriterLock
from macmgr.view import Outcome
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.notebook import Notebook

MAC, ALLOWED, NESTED = "52:54:00:00:00:01", "00:00:5e:00:01:0a", "52:54:00:0f:00:01"
OPEN, CLOSED = PortFlags(), PortFlags(learning=False, unicast_flood=False)
LOCKED = replace(CLOSED, locked=True)
FROZEN = GuestPort(
    "vnet0",
    "br0",
    "web1",
    "u1",
    (MAC,),
    network="lan",
    policy=Policy(Manager.LIBVIRT, reason="the configuration", lock=True, incomplete=True),
)
SPOKEN = replace(FROZEN, policy=replace(FROZEN.policy, steps=(Step("the configuration", Settings(Manager.LIBVIRT)),)))
WAITING = replace(FROZEN, state="paused", running=False)
PINNED = (Entry(MAC, 0, "vnet0", sticky=True), Entry(MAC, 1, "vnet0", sticky=True))
PLAIN = (Entry(MAC, 0, "vnet0"), Entry(MAC, 1, "vnet0"))


def host(flags: PortFlags, entries: Iterable[Entry] = ()) -> FakeKernel:
    tap = BridgePort("vnet0", 7, "br0", "fe:54:00:00:00:01", flags, (1,), 1)
    uplink = BridgePort("eth0", 3, "br0", "02:00:00:00:00:03", OPEN, (1,), 1)
    return FakeKernel(make_snapshot([Bridge("br0", 2, "02:00:00:00:00:02", True)], [tap, uplink], entries))


def applied(kernel: FakeKernel, guest: GuestPort = FROZEN, notes: Notebook | None = None) -> Outcome:
    return apply(WriterLock(), lambda: Intent((guest,), {"br0": "a test"}), kernel, Scope(), notes=notes or Notebook())


def entries(kernel: FakeKernel) -> set[Entry]:
    return {entry for entry in kernel.fdb.values() if entry.mac == MAC}


def test_an_open_port_stays_open_and_one_line_says_why() -> None:
    """A guest of guests, which the network's metadata leaves to the kernel."""
    kernel = host(OPEN, [Entry(NESTED, 1, "vnet0", EntryState.DYNAMIC)])
    before = dict(kernel.fdb)
    outcome = applied(kernel)
    assert outcome.done == ()
    assert (kernel.ports["vnet0"].flags, kernel.fdb) == (OPEN, before)
    (told,) = (each for each in outcome.view.plan.findings if each.port == "vnet0")
    assert (told.code, told.severity, fix_of(told).text) == (
        Code.UNMANAGED_AUTO_PORT,
        Severity.INFO,
        "virsh net-start lan",
    )
    assert told.message == (
        "vnet0 of web1 is left as it is (its network lan is not active) and learns or floods: the uplink must stay "
        "promiscuous"
    )


@pytest.mark.parametrize("flags", [CLOSED, LOCKED], ids=["closed", "locked"])
@pytest.mark.parametrize("there", [PINNED, PLAIN], ids=["sticky", "plain"])
def test_a_closed_port_keeps_its_entries_as_they_are_pinned_and_its_lock(
    flags: PortFlags, there: tuple[Entry, ...]
) -> None:
    kernel = host(flags, [*there, Entry(ALLOWED, 1, "vnet0"), Entry(NESTED, 1, "vnet0")])
    before = dict(kernel.fdb)
    for pin, lock in itertools.product(Pin, (True, False)):
        policy = replace(FROZEN.policy, pin=pin, lock=lock)
        outcome = applied(kernel, replace(FROZEN, policy=policy))
        assert outcome.done == ()
        assert (kernel.ports["vnet0"].flags, kernel.fdb) == (flags, before)
        assert {each.code for each in outcome.view.plan.findings if each.port == "vnet0"} <= {Code.CONFLICTING_SETTINGS}


@pytest.mark.parametrize(
    "there",
    [[], [Entry(MAC, 1, "eth0")], [Entry(MAC, 1, "vnet0", EntryState.DYNAMIC)]],
    ids=["missing", "stolen", "ageing"],
)
def test_a_closed_port_gets_the_entry_that_its_guest_would_be_cut_off_without(there: list[Entry]) -> None:
    for pin, wanted in ((Pin.STICKY, PINNED), (Pin.STATIC, PLAIN)):
        kernel = host(CLOSED, there)
        assert applied(kernel, replace(FROZEN, policy=replace(FROZEN.policy, pin=pin))).complete
        assert entries(kernel) == set(wanted)
        assert kernel.ports["vnet0"].flags == CLOSED


@pytest.mark.parametrize(
    ("pin", "there", "put"),
    [(Pin.STICKY, PLAIN[1], PINNED[0]), (Pin.STATIC, PINNED[1], PLAIN[0])],
    ids=["plain", "sticky"],
)
def test_an_entry_that_is_put_leaves_those_that_are_there_as_they_are(pin: Pin, there: Entry, put: Entry) -> None:
    kernel = host(CLOSED, [there])
    assert applied(kernel, replace(FROZEN, policy=replace(FROZEN.policy, pin=pin))).complete
    assert entries(kernel) == {put, there}


@pytest.mark.parametrize(("flags", "now"), [(CLOSED, OPEN), (LOCKED, LOCKED)], ids=["closed", "locked"])
def test_a_closed_port_whose_entry_the_kernel_refuses_is_opened_but_never_unlocked(
    flags: PortFlags, now: PortFlags
) -> None:
    kernel = host(flags)
    kernel.refuses_puts = {"vnet0"}
    applied(kernel, replace(FROZEN, policy=replace(FROZEN.policy, lock=False)))
    assert kernel.ports["vnet0"].flags == now


@pytest.mark.parametrize(
    ("guest", "there", "now"),
    [(WAITING, PINNED, CLOSED), (WAITING, (), OPEN), (replace(WAITING, entry_comes=True), (), CLOSED)],
    ids=["its entry is there", "nobody puts one", "libvirt puts one"],
)
def test_a_guest_that_waits_is_reached_when_it_goes_on(
    guest: GuestPort, there: tuple[Entry, ...], now: PortFlags
) -> None:
    kernel = host(CLOSED, there)
    applied(kernel, guest)
    assert kernel.ports["vnet0"].flags == now
    assert entries(kernel) == set(there)


def test_when_the_network_is_started_again_all_is_as_policy_says() -> None:
    kernel = host(CLOSED)
    applied(kernel)
    whole = replace(FROZEN, policy=replace(FROZEN.policy, incomplete=False))
    assert applied(kernel, whole).complete
    assert entries(kernel) == set(PINNED)
    assert kernel.ports["vnet0"].flags == LOCKED


def test_the_addresses_of_a_port_that_is_left_open_are_not_remembered_as_macmgrs() -> None:
    """Its network may leave it to the kernel, and an entry for it elsewhere be an administrator's."""
    kernel = host(OPEN, [Entry("52:54:00:00:00:09", 1, "eth0")])
    notes = Notebook(Memory(macs=(KeptMac("52:54:00:00:00:09", "br0", "gone", "vnet9", 99),)))
    gone = Intent((FROZEN,), {"br0": "a test"})
    assert apply(WriterLock(), lambda: gone, kernel, Scope(), notes=notes).done
    assert notes.memory == Memory()


def test_explain_says_that_it_waits_for_the_network() -> None:
    (told,) = explain(applied(host(OPEN), SPOKEN).view, "vnet0")
    assert told.document()["so_wanted"] == [
        "the port as it is, until its network lan is active: its policy may differ",
        "if it is closed, the entries without which web1 would be cut off",
    ]
