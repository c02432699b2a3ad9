"""Applying and releasing again, on worlds that have drifted in every way we know of: what was there is there again."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given

from macmgr.forwarding.guestaddresses import where_they_are
from macmgr.model.findings import Code
from macmgr.model.intent import GuestPort, Intent, Manager, Scope
from macmgr.model.known import NOTHING, NOTHING_KNOWN, Known
from macmgr.model.mac import matches
from macmgr.model.snapshot import EntryState, PortFlags
from macmgr.reconcile import Notes, apply, release
from macmgr.state.lock import WriterLock
from macmgr.state.statedocument import document_of, parse_document
from macmgr.view import Outcome, Released
from tests.fake_kernel import FakeKernel
from tests.notebook import Notebook
from tests.property.strategies import World, worlds
from tests.property.test_laws import heard, reachable, rightful, state_of, unshared

LOCK = WriterLock()
EVERYTHING = Scope()
Static = set[tuple[str, int, bool]]


class EveryRequest(FakeKernel):
    """A kernel that is asked after every single request whether a guest is still reached as it was before."""

    def watch(self, guests: list[tuple[GuestPort, str]]) -> None:
        self.watched = [(guest, mac, reachable(self, guest, mac), heard(self, guest, mac)) for guest, mac in guests]

    def send(self, requests, snapshot):  # type: ignore[no-untyped-def]
        answers = []
        for request in requests:
            answers += super().send([request], snapshot)
            for guest, mac, before, was_heard in self.watched:
                assert reachable(self, guest, mac) >= before, f"{request} cuts {guest.domain} off"
                assert heard(self, guest, mac) >= was_heard, f"{request} mutes {guest.domain}"
        return answers


def applied(world: World, kernel: FakeKernel, notes: Notes) -> Outcome:
    return apply(LOCK, lambda: world.intent, kernel, EVERYTHING, notes=notes, known=world.known)


def released(intent: Intent, kernel: FakeKernel, notes: Notes, scope: Scope = EVERYTHING) -> Released:
    """Somebody consents to what it harms: macmgr may have repaired what it gives back."""
    return release(LOCK, lambda: intent, kernel, scope, notes, Known(cut=True))


def without_policy(intent: Intent) -> Intent:
    """Somebody removed the configuration and the attributes."""
    kernel = [
        replace(guest, policy=replace(guest.policy, manager=Manager.KERNEL), entry_comes=False)
        for guest in intent.ports
    ]
    return Intent(tuple(kernel))


def static_on(kernel: FakeKernel, guest: GuestPort) -> Static:
    return {
        (entry.mac, entry.vid, entry.sticky)
        for entry in kernel.fdb.values()
        if entry.port == guest.port and entry.state is EntryState.STATIC
    }


def stays_closed(guest: GuestPort, flags: PortFlags) -> bool:
    return not flags.learning and not flags.unicast_flood and (guest.running or guest.entry_comes)


@given(worlds())
def test_ports_get_their_flags_back(world: World) -> None:
    """But for a waiting guest's that was closed, where nobody would put the entry."""
    kernel, notes = world.kernel(), Notebook()
    applied(world, kernel, notes)
    touched = {each.port for each in notes.memory.ports}
    assert released(world.intent, kernel, notes).outcome.complete
    for guest in rightful(world):
        if guest.port not in touched:
            continue
        then, now = world.start.ports[guest.port].flags, kernel.ports[guest.port].flags
        waits = not guest.running and not guest.entry_comes and not then.learning and not then.unicast_flood
        assert now == (PortFlags(locked=then.locked and False) if waits else then)


@given(worlds())
def test_uplinks_get_their_learning_back(world: World) -> None:
    """On a kernel without sticky entries, where an uplink may have been kept from learning."""
    kernel, notes = world.kernel(), Notebook()
    kernel.knows_sticky = False
    kernel.fdb = {key: entry._replace(sticky=False) for key, entry in kernel.fdb.items()}
    applied(world, kernel, notes)
    applied(world, kernel, notes)  # the first one found out
    assert released(world.intent, kernel, notes).outcome.complete
    for bridge in world.start.bridges:
        for uplink in world.uplinks(bridge):
            assert kernel.ports[uplink].flags == world.start.ports[uplink].flags


def of_others(world: World, kernel: FakeKernel, guest: GuestPort) -> set[str]:
    """The addresses that lead to another guest who may have them: each is that one's."""
    may = {each.port: (*each.macs, *each.policy.allow) for each in world.intent.ports if each.port != guest.port}
    entries = kernel.read_snapshot().fdb.of_bridge(guest.bridge)
    return {each.mac for each in entries if any(matches(mac, each.mac) for mac in may.get(each.port, ()))}


def in_its_vlans(kernel: FakeKernel, guest: GuestPort) -> set[str]:
    """The addresses that lead elsewhere in a VLAN of the guest's: a request for VID 0 would take them there."""
    snapshot = kernel.read_snapshot()
    port, filters = snapshot.ports[guest.port], snapshot.bridges[guest.bridge].vlan_filtering
    entries = (each for each in snapshot.fdb.of_bridge(guest.bridge) if each.port != port.name)
    return {each.mac for each in entries if filters and each.vid in (0, *port.vids)}


@given(worlds())
def test_ports_get_their_static_entries_back(world: World) -> None:
    """And a closed one, which nothing else would reach, has one for its guest's own MAC."""
    kernel, notes = world.kernel(), Notebook()
    before = {guest.port: static_on(kernel, guest) for guest in rightful(world)}
    there = (*world.intent.ports, *where_they_are(world.intent, world.start).ports)  # or there by mistake
    held = {(guest.bridge, mac) for guest in there for mac in guest.macs}
    applied(world, kernel, notes)
    touched = {each.port for each in notes.memory.ports}
    theirs = {guest.port: of_others(world, kernel, guest) for guest in rightful(world)}
    elsewhere = {guest.port: in_its_vlans(kernel, guest) for guest in rightful(world)}
    released(world.intent, kernel, notes)
    for guest in rightful(world):
        if guest.port not in touched:
            continue
        vids = (0, *world.start.ports[guest.port].vids)
        # a stranded copy, in a VID that the port has lost, nobody can put
        then = {(mac, vid, sticky) for mac, vid, sticky in before[guest.port] if vid in vids}
        now = {(mac, vid, sticky) for mac, vid, sticky in static_on(kernel, guest) if vid in vids}
        # another guest's MAC is that one's, wherever its entry was
        theirs[guest.port] |= of_others(world, kernel, guest)
        others = held | {(guest.bridge, mac) for mac in theirs[guest.port]}
        others -= {(guest.bridge, mac) for mac in guest.macs}
        then = {each for each in then if (guest.bridge, each[0]) not in others}
        # no request names VID 0 alone: it would take what another port has in a VLAN, where VID 0 decides nothing
        stays = elsewhere[guest.port] | in_its_vlans(kernel, guest)
        then = {(mac, vid, sticky) for mac, vid, sticky in then if vid or mac not in stays}
        now = {each for each in now if (guest.bridge, each[0]) not in others}
        assert then <= now
        # no request names VID 0 alone (br_fdb_add): an entry that was there alone comes back in the port's VIDs as well
        in_vid_0 = {mac for mac, vid, _ in then if vid == 0}
        extra = {(mac, vid) for mac, vid, _ in now - then if mac not in in_vid_0 and (vid or mac not in stays)}
        if stays_closed(guest, world.start.ports[guest.port].flags):
            # it learns nothing, so what it is allowed beside its own stays reachable too
            assert extra <= {(mac, vid) for mac in guest.macs for vid in vids}
            assert {(mac, vid) for mac, vid, _ in now} >= {(guest.macs[0], vid) for vid in vids}
        else:
            assert not extra


@given(worlds())
def test_releasing_twice_is_releasing_once(world: World) -> None:
    kernel, notes = world.kernel(), Notebook()
    applied(world, kernel, notes)
    released(world.intent, kernel, notes)
    once = state_of(kernel)
    assert not notes.memory.ports
    again = released(world.intent, kernel, notes)
    assert again.outcome.done == ()
    assert state_of(kernel) == once


@given(worlds())
def test_nobody_is_cut_off_by_a_release(world: World) -> None:
    """After every single request the guest's own MAC is reached from where it was, and its frames are taken."""
    kernel, notes = EveryRequest(world.start), Notebook()
    kernel.watch([])
    applied(world, kernel, notes)
    kernel.watch([(guest, mac) for guest, mac in unshared(world) if mac == guest.macs[0]])
    released(world.intent, kernel, notes)


@given(worlds())
def test_without_its_policy_a_port_is_given_back_from_memory(world: World) -> None:
    """The same flags as with the policy: only the memory is asked."""
    kernel, notes = world.kernel(), Notebook()
    applied(world, kernel, notes)
    touched = {each.port for each in notes.memory.ports}
    kernel_too, notes_too = FakeKernel(kernel.read_snapshot()), Notebook(notes.memory)
    released(world.intent, kernel, notes)
    released(without_policy(world.intent), kernel_too, notes_too)
    for guest in rightful(world):
        if guest.running and guest.port in touched:
            assert kernel.ports[guest.port].flags == kernel_too.ports[guest.port].flags
            assert static_on(kernel, guest) == static_on(kernel_too, guest)


def left_to_the_kernel(world: World, kernel: FakeKernel, notes: Notebook, known: Known = NOTHING_KNOWN) -> Outcome:
    return apply(LOCK, lambda: without_policy(world.intent), kernel, EVERYTHING, notes=notes, known=known)


@given(worlds())
def test_an_apply_without_policy_gives_back_what_a_release_does(world: World) -> None:
    """The same where somebody consents to harm, and where nobody does.

    Without consent a port stays as macmgr made it if a guest would lose by what was there: the entry that led its
    address elsewhere, say. That port is reported, and with consent it ends.
    """
    kernel, notes = world.kernel(), Notebook()
    applied(world, kernel, notes)
    kernel_too, notes_too = FakeKernel(kernel.read_snapshot()), Notebook(notes.memory)
    here = {guest.port for guest in world.intent.ports}
    ours = {each.port for each in notes.memory.ports} & here
    for known in (NOTHING_KNOWN, Known(cut=True)):
        release(LOCK, lambda: without_policy(world.intent), kernel, EVERYTHING, notes, known)
        outcome = left_to_the_kernel(world, kernel_too, notes_too, known)
        assert outcome.complete
        for guest in rightful(world):
            if guest.port in ours:
                assert kernel.ports[guest.port].flags == kernel_too.ports[guest.port].flags
                assert static_on(kernel, guest) == static_on(kernel_too, guest)
        left = {each.port for each in notes_too.memory.ports} & here
        assert left == {each.port for each in notes.memory.ports} & here
        assert left <= {each.port for each in outcome.view.plan.findings if each.code is Code.NOT_GIVEN_BACK}
        once = state_of(kernel_too)
        assert left_to_the_kernel(world, kernel_too, notes_too, known).done == ()
        assert state_of(kernel_too) == once
    assert not left


@given(worlds())
def test_nobody_is_cut_off_when_policy_leaves_the_ports_to_the_kernel(world: World) -> None:
    kernel, notes = EveryRequest(world.start), Notebook()
    kernel.watch([])
    applied(world, kernel, notes)
    kernel.watch([(guest, mac) for guest, mac in unshared(world) if mac == guest.macs[0]])
    left_to_the_kernel(world, kernel, notes)


@given(worlds())
def test_nothing_but_the_remembered_ports_is_touched(world: World) -> None:
    kernel, notes = world.kernel(), Notebook()
    applied(world, kernel, notes)
    ours = {each.port for each in notes.memory.ports} | {guest.port for guest in world.intent.ports if guest.managed}
    before = state_of(kernel)
    released(world.intent, kernel, notes)
    flags, entries = state_of(kernel)
    assert {port for port in flags if flags[port] != before[0][port]} <= ours
    macs = {mac for guest in world.intent.ports for mac in guest.macs}
    for key in before[1].keys() | entries.keys():
        then, now = before[1].get(key), entries.get(key)
        # a request without a VID takes a learned entry along that its bridge does not look up, as the kernel does
        looked_up = bool(key[2]) == world.start.bridges[key[0]].vlan_filtering
        unread = then and then.state is EntryState.DYNAMIC and not looked_up
        if then != now and not unread:
            assert {entry.port for entry in (then, now) if entry} & ours or key[1] in macs


@given(worlds())
def test_the_document_says_all_that_is_remembered(world: World) -> None:
    kernel, notes = world.kernel(), Notebook()
    applied(world, kernel, notes)
    document = document_of({"": notes.memory}, "this boot")
    assert parse_document(document, "this boot") == ({} if notes.memory == NOTHING else {"": notes.memory}, False)
    assert parse_document(document, "another boot") == ({}, False)
