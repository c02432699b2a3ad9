"""Look, execute, look again: on a kernel that skips, refuses, forgets, or is changed by somebody else meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from macmgr.execution import execute
from macmgr.model.changes import DeleteEntry, SetFlags
from macmgr.model.findings import Code
from macmgr.model.intent import GuestPort, Intent, Manager, Policy, Scope
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, PortFlags
from macmgr.reconcile import ROUNDS, apply, look
from macmgr.state.lock import WriterLock
from macmgr.view import Outcome, View
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.notebook import Notebook

G1, G2 = "52:54:00:00:00:01", "52:54:00:00:00:02"
OPEN, CLOSED = PortFlags(), PortFlags(learning=False, unicast_flood=False)
LOCK = WriterLock()


def guest(port: str = "vnet1", mac: str = G1, domain: str = "g1", lock: bool = False) -> GuestPort:
    policy = Policy(manager=Manager.LIBVIRT, lock=lock)
    return GuestPort(port, "br0", domain, f"uuid-{domain}", (mac,), policy=policy)


def intent(*guests: GuestPort) -> Intent:
    return Intent(guests or (guest(), guest("vnet2", G2, "g2")), {"br0": "a test says so"})


def host(*entries: Entry, filtering: bool = True) -> FakeKernel:
    """A bridge with an uplink and two taps, as the kernel makes them: open, in VID 1."""
    ports = [
        BridgePort(name, 10 + number, "br0", f"fe:00:00:00:00:{number:02x}", vids=(1,), pvid=1)
        for number, name in enumerate(("eth0", "vnet1", "vnet2"))
    ]
    return FakeKernel(make_snapshot([Bridge("br0", 1, "fe:00:00:00:01:00", filtering)], ports, entries))


def settled() -> FakeKernel:
    kernel = host()
    assert applied(kernel).complete
    kernel.sent.clear()
    return kernel


def applied(kernel: FakeKernel, wanted: Intent | None = None, scope: Scope | None = None) -> Outcome:
    return apply(LOCK, lambda: wanted or intent(), kernel, scope or Scope(), notes=Notebook())


def codes(outcome: Outcome) -> set[Code]:
    return {finding.code for finding in outcome.view.plan.findings}


def test_two_guests_are_reached_and_nobody_else_hears_their_frames() -> None:
    kernel = host()
    outcome = applied(kernel)
    assert outcome.complete
    assert not outcome.failures
    assert kernel.deliver("br0", "eth0", G1) == {"vnet1"}
    assert kernel.deliver("br0", "vnet1", G2) == {"vnet2"}
    assert kernel.deliver("br0", "eth0", "52:54:00:00:00:99") == set()
    assert {kernel.ports[name].flags for name in ("vnet1", "vnet2")} == {CLOSED}
    assert kernel.ports["eth0"].flags == OPEN


def test_what_is_in_sync_is_sent_nothing() -> None:
    kernel = settled()
    assert applied(kernel).complete
    assert not kernel.sent


def test_looking_changes_nothing() -> None:
    kernel = host()
    view = look(intent, kernel)
    assert view.plan.changes
    assert not kernel.sent


def test_an_entry_that_the_dump_skipped_is_not_missed() -> None:
    kernel = settled()
    kernel.skipped_by_dumps = {("br0", G1, 0), ("br0", G1, 1)}
    view = look(intent, kernel)
    assert not view.plan.changes
    assert Code.MISSING_ENTRY not in {finding.code for finding in view.plan.findings}


def test_an_entry_that_is_really_missing_is_told() -> None:
    kernel = settled()
    del kernel.fdb["br0", G1, 1]
    outcome = look(intent, kernel)
    assert [(f.code, f.port, f.vid) for f in outcome.plan.findings if f.code is Code.MISSING_ENTRY] == [
        (Code.MISSING_ENTRY, "vnet1", 1)
    ]


def test_an_entry_that_is_gone_since_the_dump_is_not_told() -> None:
    kernel = settled()
    kernel.set_entry(Entry("52:54:00:00:00:99", 1, "vnet1"))
    kernel.after_each_dump = lambda: kernel.lose_entry("br0", "52:54:00:00:00:99", 1)
    assert not look(intent, kernel).plan.changes


def test_a_waiting_guests_port_is_not_closed_because_a_dump_skipped_the_uplinks_entry() -> None:
    """libvirt's own entry would not come (NLM_F_EXCL), and the closed port would be cut off."""
    kernel = host(Entry(G1, 1, "eth0", EntryState.DYNAMIC))
    kernel.skipped_by_dumps = {("br0", G1, 1)}
    waiting = replace(guest(), state="incoming", running=False, entry_comes=True)
    assert applied(kernel, intent(waiting)).complete
    assert kernel.ports["vnet1"].flags == OPEN


@pytest.mark.parametrize("verb", [look, partial(apply, LOCK, notes=Notebook())], ids=["look", "apply"])
def test_an_entry_of_a_guest_that_just_goes_on_is_not_early(verb: Callable[..., View | Outcome]) -> None:
    """libvirt puts its entry before the CPUs run, and writes that they do only afterwards."""
    kernel = host(*(Entry(G1, vid, "vnet1") for vid in (0, 1)))
    said = [intent(replace(guest(), state="paused", running=False, entry_comes=True))]
    verb(lambda: said[-1], kernel, moment=lambda: said.append(intent(guest())))
    assert G1 in {entry.mac for entry in kernel.read_snapshot().entries}
    assert not any(isinstance(request, DeleteEntry) for request in kernel.sent)


def test_an_entry_that_stays_early_is_told_and_dropped() -> None:
    paused = replace(guest(), state="paused", running=False, entry_comes=True)
    kernel = host(*(Entry(G1, vid, "vnet1") for vid in (0, 1)))
    moments: list[str] = []
    view = look(lambda: intent(paused), kernel, moment=lambda: moments.append("one"))
    assert Code.EARLY_ENTRY in {finding.code for finding in view.plan.findings}
    assert moments == ["one"]
    assert apply(LOCK, lambda: intent(paused), kernel, moment=lambda: None, notes=Notebook()).complete
    assert G1 not in {entry.mac for entry in kernel.read_snapshot().entries}


def test_a_refused_put_keeps_its_port_open_and_says_why() -> None:
    kernel = host()
    kernel.refuses_puts = {"vnet1"}
    outcome = applied(kernel)
    assert kernel.ports["vnet1"].flags == OPEN
    assert "vnet1" in kernel.deliver("br0", "eth0", G1)
    assert kernel.ports["vnet2"].flags == CLOSED
    assert not outcome.complete
    assert [failure.why for failure in outcome.failures] == [f"putting the FDB entry {G1} on vnet1: no space (ENOSPC)"]
    assert {Code.MISSING_ENTRY, Code.LEARNING_ON, Code.FLOOD_ON} <= codes(outcome)


def test_a_port_whose_entry_is_gone_at_each_look_is_left_open() -> None:
    """Another program is quick: the put is read back, and at the next look the entry is gone."""
    kernel = settled()
    kernel.before_each_dump = lambda: kernel.lose_entry("br0", G1, 1)
    assert not applied(kernel).complete
    assert kernel.ports["vnet1"].flags == OPEN
    assert "vnet1" in kernel.deliver("br0", "eth0", G1)
    kernel.before_each_dump = lambda: None
    assert applied(kernel).complete
    assert kernel.ports["vnet1"].flags == CLOSED


@pytest.mark.parametrize("failure", ["refuses_puts", "forgets_puts"])
def test_a_port_that_is_closed_and_whose_entry_cannot_be_put_is_opened(failure: str) -> None:
    """Not closed in this run is not enough: it was closed before, and its guest is cut off."""
    kernel = settled()
    for vid in (0, 1):
        kernel.lose_entry("br0", G1, vid)
    setattr(kernel, failure, {"vnet1"})
    outcome = applied(kernel)
    assert kernel.ports["vnet1"].flags == OPEN
    assert "vnet1" in kernel.deliver("br0", "eth0", G1)
    assert kernel.ports["vnet2"].flags == CLOSED
    assert not outcome.complete
    assert len(outcome.failures) == 1
    assert {Code.MISSING_ENTRY, Code.LEARNING_ON, Code.FLOOD_ON} <= codes(outcome)
    kernel.sent.clear()
    applied(kernel)
    assert kernel.ports["vnet1"].flags == OPEN
    assert not any(isinstance(request, SetFlags) for request in kernel.sent), "nothing flaps"
    setattr(kernel, failure, set())
    assert applied(kernel).complete
    assert kernel.ports["vnet1"].flags == CLOSED


def test_a_vid_that_is_added_while_another_is_put_is_not_put_in_vain() -> None:
    """An administrator's loop adds one after the other: what is wanted since the last look was not put yet."""
    kernel, more = settled(), iter((100, 101, 102))

    def add_one() -> None:
        if vid := next(more, None):
            port = kernel.ports["vnet1"]
            kernel.ports["vnet1"] = replace(port, vids=(*port.vids, vid))

    add_one()
    kernel.after_each_send = add_one
    outcome = applied(kernel)
    assert [request for request in kernel.sent if isinstance(request, SetFlags)] == []
    assert kernel.ports["vnet1"].flags == CLOSED
    assert outcome.complete
    assert {vid for _, mac, vid in kernel.fdb if mac == G1} == {0, 1, 100, 101, 102}


def test_a_put_that_is_acknowledged_and_not_there_keeps_its_port_open() -> None:
    kernel = host()
    kernel.forgets_puts = {"vnet2"}
    outcome = applied(kernel)
    assert kernel.ports["vnet2"].flags == OPEN
    assert kernel.ports["vnet1"].flags == CLOSED
    assert [failure.why for failure in outcome.failures] == [
        "the kernel acknowledged the entry in VID 1, but does not show it"
    ]


def test_a_put_that_somebody_takes_away_at_once_keeps_its_port_open() -> None:
    """Acknowledged, and a moment later the entry leads to another port: the look-up tells."""
    kernel = host()
    kernel.after_each_send = lambda: kernel.set_entry(Entry(G1, 1, "eth0"))
    applied(kernel, intent(guest()))
    assert kernel.ports["vnet1"].flags == OPEN


def test_a_local_entry_in_the_puts_place_keeps_its_port_open() -> None:
    kernel = host()
    kernel.after_each_send = lambda: kernel.set_entry(Entry(G1, 1, "vnet1", EntryState.LOCAL))
    applied(kernel, intent(guest()))
    assert kernel.ports["vnet1"].flags == OPEN


def test_a_refused_put_keeps_the_lock_off() -> None:
    kernel = host(Entry(G1, 0, "vnet1", sticky=True))
    kernel.set_flags("vnet1", CLOSED)
    kernel.refuses_puts = {"vnet1"}
    applied(kernel, intent(guest(lock=True)))
    assert kernel.ports["vnet1"].flags.locked is False


def test_a_flag_that_the_kernel_forgets_is_asked_for_a_few_times_and_told() -> None:
    kernel = host()
    kernel.forgets_flags = {"vnet1"}
    outcome = applied(kernel)
    assert not outcome.complete
    assert {Code.LEARNING_ON, Code.FLOOD_ON} <= codes(outcome)
    asked = [request for request in kernel.sent if isinstance(request, SetFlags) and request.port == "vnet1"]
    assert len(asked) == ROUNDS


def test_a_fight_ends_and_says_that_changes_remain() -> None:
    """Somebody opens the port and moves an entry after each of our requests."""
    kernel = settled()
    sends: list[int] = []

    def drift() -> None:
        sends.append(1)
        kernel.set_flags("vnet1", OPEN)
        kernel.set_entry(Entry(G2, 1, "eth0"))

    drift()
    kernel.after_each_send = drift
    outcome = applied(kernel)
    assert not outcome.complete
    assert {Code.LEARNING_ON, Code.STOLEN_ENTRY} <= codes(outcome)
    assert len(sends) <= 1 + 3 * ROUNDS
    assert kernel.ports["vnet2"].flags == OPEN, "its entry is taken away each time: closed, it would be cut off"


def test_a_drift_meanwhile_is_mended_in_the_next_round() -> None:
    kernel = host()
    drifts = [Entry(G1, 1, "eth0")]

    def drift_once() -> None:
        if drifts and kernel.ports["vnet1"].flags == CLOSED:
            kernel.set_entry(drifts.pop())

    kernel.after_each_send = drift_once
    assert applied(kernel).complete
    assert not drifts
    assert kernel.deliver("br0", "eth0", G1) == {"vnet1"}


def test_a_failure_that_the_next_round_mends_is_forgotten() -> None:
    kernel = host()
    kernel.refuses_puts = {"vnet1"}

    def relent() -> None:
        if any(isinstance(request, SetFlags) for request in kernel.sent):
            kernel.refuses_puts = set()

    kernel.before_each_send = relent
    outcome = applied(kernel)
    assert outcome.complete
    assert not outcome.failures
    assert kernel.deliver("br0", "eth0", G1) == {"vnet1"}


def test_nothing_made_is_not_tried_again() -> None:
    kernel = host()
    kernel.refuses_puts = {"vnet1"}
    outcome = applied(kernel, intent(guest()))
    assert len([request for request in kernel.sent if isinstance(request, Entry)]) == 1
    assert not outcome.done


def test_a_tap_that_vanishes_fails_alone() -> None:
    kernel = host()

    def vanish() -> None:
        if "vnet1" in kernel.ports:
            kernel.remove_port("vnet1")

    kernel.before_each_send = vanish
    outcome = applied(kernel)
    assert outcome.complete
    assert not outcome.failures, "what could not be done is not wanted any more"
    assert Code.MISSING_PORT in codes(outcome)
    assert kernel.deliver("br0", "eth0", G2) == {"vnet2"}


def test_a_tap_made_again_under_its_name_is_left_to_the_next_round() -> None:
    """A request meant for the old interface never reaches the new one."""
    kernel = host()
    seen = kernel.read_snapshot()
    kernel.make_port_again("vnet1")
    _, failures = execute(LOCK, look(intent, host()).plan.changes, kernel, seen)
    assert {failure.why for failure in failures} == {
        "vnet1 is gone since the kernel was read",
        "its entry could not be put, so the port stays open",
    }
    assert kernel.ports["vnet1"].flags == OPEN
    assert ("br0", G1, 0) not in kernel.fdb


def test_entries_are_there_before_their_port_is_closed() -> None:
    kernel = host()
    applied(kernel)
    kinds = [type(request) for request in kernel.sent]
    assert kinds == [Entry, Entry, SetFlags, SetFlags]


def test_ports_are_opened_before_entries_are_put_and_stale_ones_dropped_last() -> None:
    kernel = host(Entry(G1, 0, "vnet1"), Entry(G1, 1, "vnet1"))
    kernel.set_flags("vnet1", CLOSED)
    paused = replace(guest(), state="paused", running=False)
    assert applied(kernel, intent(paused, guest("vnet2", G2, "g2"))).complete
    assert [(type(request), request.port) for request in kernel.sent] == [
        (SetFlags, "vnet1"),
        (Entry, "vnet2"),
        (SetFlags, "vnet2"),
        (DeleteEntry, "vnet1"),
        (DeleteEntry, "vnet1"),
    ]


def test_only_the_domain_that_was_named_is_touched() -> None:
    kernel = host()
    outcome = applied(kernel, scope=Scope(domain="g2"))
    assert outcome.complete
    assert kernel.ports["vnet1"].flags == OPEN
    assert ("br0", G1, 0) not in kernel.fdb
    assert kernel.deliver("br0", "eth0", G2) == {"vnet2"}


def test_another_bridge_than_the_one_named_is_not_touched() -> None:
    kernel = host()
    assert applied(kernel, scope=Scope(bridges=frozenset({"br7"}))).complete
    assert not kernel.sent


def test_a_bridge_that_is_only_observed_is_told_of_and_not_touched() -> None:
    kernel = host()
    outcome = applied(kernel, scope=Scope(observes={"br0"}.__contains__))
    assert not kernel.sent
    assert {change.because for change in outcome.view.skipped} == {Code.MISSING_ENTRY, Code.LEARNING_ON}
    assert {Code.MISSING_ENTRY, Code.LEARNING_ON, Code.FLOOD_ON} <= codes(outcome)
    assert outcome.complete  # of what was to be made
    assert applied(kernel, scope=Scope(observes={"br7"}.__contains__)).done
