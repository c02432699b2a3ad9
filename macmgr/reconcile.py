"""The one use case: look, plan, execute, look again. Its tools are arguments, so tests bring their own kernel.

`look` is all that audit, plan and show do. `apply` executes what `look` found, in phases, and never closes a port
whose entry it could not read back (the interlock).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from macmgr.execution import Failure, Kernel, execute, give_back
from macmgr.model.changes import Change, SetEntries, ports_of
from macmgr.model.fdb import Key
from macmgr.model.findings import Code
from macmgr.model.intent import GuestPort, Intent, PortlessNic
from macmgr.model.scope import EVERYTHING
from macmgr.model.scope import Scope as Scope
from macmgr.model.snapshot import Bridge, BridgePort, Feature, Snapshot
from macmgr.planning.features import found_lacking
from macmgr.planning.observed import with_observed
from macmgr.planning.planner import Plan, plan
from macmgr.planning.remembered import NOTHING, Memory, after_release, remember, what_is_left, with_departed, with_kept
from macmgr.planning.taken import on_their_ports, seen_since, taken_by, with_times
from macmgr.planning.taps import with_taps_only
from macmgr.planning.unlisted import NOTHING_BESIDE, Beside, bridges_to_read, keys_to_look_up, ports_to_read
from macmgr.state.lock import WriterLock

# A change of the world while we look can leave a difference after one round; a difference that three rounds do not
# mend is a fight with somebody else, or a refusal, and is reported.
ROUNDS = 3

# libvirt puts the entry of a guest that goes on, tells QEMU to go on, and notes that it runs once QEMU has said so: an
# entry that is early is looked at once more after that time, in seconds.
MOMENT = 0.3

Planner = Callable[[Intent, Snapshot], Plan]


class Notes(Protocol):
    """Where the memory is between two processes: really `macmgr.state.memory.StateFile`. Neither call may fail."""

    def read(self) -> Memory: ...

    def keep(self, memory: Memory) -> None: ...


class NoNotes:
    """Nothing is remembered."""

    def read(self) -> Memory:
        return NOTHING

    def keep(self, memory: Memory) -> None:
        pass


NO_NOTES = NoNotes()


@dataclass(frozen=True, slots=True)
class View:
    """One look at the host: what is wanted, what is there, and the plan between them.

    ``spared`` are the changes that the plan would hold if they were not spared; their findings are in it. ``scope`` is
    the part of the host that was asked about: a report shows, counts and judges what it holds, and nothing else.
    """

    intent: Intent
    snapshot: Snapshot
    plan: Plan
    spared: tuple[Change, ...] = ()
    scope: Scope = EVERYTHING

    @property
    def guests(self) -> tuple[GuestPort, ...]:
        """The guests' ports in scope."""
        return tuple(guest for guest in self.intent.ports if self.scope.holds(guest.domain, guest.bridge))

    @property
    def portless(self) -> tuple[PortlessNic, ...]:
        """The NICs in scope that are on no bridge: of a domain, and of no bridge that somebody asked about."""
        nics = self.intent.portless if self.scope.bridges is None else ()
        return tuple(nic for nic in nics if self.scope.holds(nic.domain, ""))

    @property
    def bridges(self) -> list[Bridge]:
        """The bridges in scope, by name; of a domain those that its NICs are to be on."""
        names = {guest.bridge for guest in self.guests} if self.scope.domain is not None else self.snapshot.bridges
        return [
            bridge
            for name, bridge in sorted(self.snapshot.bridges.items())
            if name in names and self.scope.holds(self.scope.domain, name)
        ]

    def ports_of(self, bridge: str) -> list[BridgePort]:
        """The ports of a bridge that are in scope, by their age: of a domain only its own."""
        ports = [port for port in self.snapshot.ports.values() if port.bridge == bridge]
        if self.scope.domain is not None:
            mine = {guest.port for guest in self.guests}
            ports = [port for port in ports if port.name in mine]
        return sorted(ports, key=lambda port: port.ifindex)

    @property
    def observed(self) -> tuple[Change, ...]:
        """The changes that are not made because their bridge is only observed."""
        return tuple(change for change in self.spared if self.scope.observes(change.bridge))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an apply did. ``view`` is the look taken afterwards: its plan is empty when all is well."""

    done: tuple[Change, ...]
    failures: tuple[Failure, ...]
    view: View

    @property
    def complete(self) -> bool:
        return not self.view.plan.changes


def look(
    read_intent: Callable[[], Intent],
    kernel: Kernel,
    scope: Scope = EVERYTHING,
    memory: Memory = NOTHING,
    planner: Planner = plan,
    moment: Callable[[], None] | None = None,
    beside: Beside = NOTHING_BESIDE,
) -> View:
    """Compare what is wanted with what is there, and change nothing. ``memory`` tells what no source does any more.

    Only the FDBs of bridges that are managed, or remembered, are read, and what is ``beside`` them.

    An FDB dump can miss entries while others come and go, so each suspected difference is looked up by name before
    it is believed (rtnl_fdb_dump keeps no consistent position; RTM_GETNEIGH does one hash lookup). And an early entry
    is looked at once more after a ``moment``: it may be libvirt's own, of a guest that just goes on.
    """
    view = _look(read_intent, kernel, scope, memory, planner, beside)
    if moment and any(finding.code is Code.EARLY_ENTRY for finding in view.plan.findings):
        moment()
        view = _look(read_intent, kernel, scope, memory, planner, beside)
    return view


def _look(
    read_intent: Callable[[], Intent], kernel: Kernel, scope: Scope, memory: Memory, planner: Planner, beside: Beside
) -> View:
    said = read_intent()
    snapshot = _read(said, kernel, memory, beside)
    said = with_taps_only(said, snapshot)
    intent = with_departed(with_observed(said, snapshot), memory, snapshot)
    draft = planner(intent, snapshot).only(scope)
    suspects = _suspects(draft.changes, intent, snapshot)
    if suspects:
        found = kernel.look_up(suspects, snapshot)
        if found != snapshot.fdb.at_all(suspects):
            snapshot = replace(snapshot, entries=snapshot.fdb.with_found(found))
            intent = with_departed(with_observed(said, snapshot), memory, snapshot)
            draft = planner(intent, snapshot).only(scope)
    spared = _spared(draft.changes, scope)
    if spared:
        left_out = frozenset(spared)
        draft = replace(draft, changes=tuple(change for change in draft.changes if change not in left_out))
    return View(intent, snapshot, draft, spared, scope)


def _read(intent: Intent, kernel: Kernel, memory: Memory, beside: Beside) -> Snapshot:
    bridges, ports = bridges_to_read(intent, memory, beside), ports_to_read(intent, memory)
    snapshot = replace(kernel.read_snapshot(bridges, ports, whole=beside.whole), lacks=memory.lacks)
    if keys := list(keys_to_look_up(intent, memory, snapshot, beside)):
        snapshot = replace(snapshot, entries=snapshot.fdb.with_found(kernel.look_up(keys, snapshot)))
    if taken := on_their_ports(memory.taken, snapshot):
        times = kernel.refreshed([each.key for each in taken], snapshot)
        snapshot = replace(snapshot, used_elsewhere=seen_since(taken, times))
    return snapshot


def _spared(changes: Sequence[Change], scope: Scope) -> tuple[Change, ...]:
    """What is seen and not made; of a port that is given back all or nothing: its entries go after it is open."""
    spared = set(filter(scope.leaves_out, changes))
    whole = {port for change in spared if _gives_back(change) for port in ports_of(change)}
    return tuple(
        change
        for change in changes
        if change in spared or (_gives_back(change) and not whole.isdisjoint(ports_of(change)))
    )


def _gives_back(change: Change) -> bool:
    return change.because == Code.NOT_GIVEN_BACK


def apply(
    lock: WriterLock,
    read_intent: Callable[[], Intent],
    kernel: Kernel,
    scope: Scope = EVERYTHING,
    notes: Notes = NO_NOTES,
    moment: Callable[[], None] | None = None,
) -> Outcome:
    """Execute the plan and look again, until the plan is empty or ROUNDS rounds did not empty it.

    How a port was is written down before it is changed for the first time. What shows that the kernel lacks a feature
    is believed, and planned with; that it drops sticky, when it did so twice, for once it may be somebody's replace.
    Where an entry is put in vain, its port is not closed, and opened if it was.
    """
    memory = notes.read()
    sent: tuple[Change, ...] = ()
    doubted: frozenset[Feature] = frozenset()
    put: set[tuple[str, str, int]] = set()
    in_vain: set[tuple[str, str, int]] = set()

    def read() -> Intent:
        said = read_intent()
        return replace(said, unputtable=said.unputtable | in_vain) if in_vain else said

    def look_again() -> View:
        nonlocal memory, doubted
        view = look(read, kernel, scope, memory, moment=moment)
        found = found_lacking(sent, view.snapshot)
        lacks = memory.lacks | (found - {Feature.STICKY}) | (found & doubted)
        doubted = found
        if lacks != memory.lacks:
            memory = replace(memory, lacks=lacks)
            view = look(read, kernel, scope, memory, moment=moment)
        if not put.isdisjoint(lost := _puts(view.plan.changes) - in_vain):
            in_vain.update(put & lost)
            view = look(read, kernel, scope, memory, moment=moment)
        return view

    def step(view: View) -> tuple[list[Change], tuple[Failure, ...]]:
        nonlocal memory, sent
        sent = view.plan.changes
        memory = remember(memory, view.intent, view.snapshot, view.plan.changes)
        notes.keep(memory)
        back = [change for change in view.plan.changes if _gives_back(change)]
        rest = [change for change in view.plan.changes if not _gives_back(change)]
        made, failures = execute(lock, rest, kernel, view.snapshot)
        if back:
            more, unmade = give_back(lock, back, kernel, view.snapshot)
            made, failures = made + more, failures + unmade
        if taken := taken_by(made, view.intent, view.snapshot, memory.taken):
            times = kernel.refreshed([each.key for each in taken], view.snapshot)
            memory = replace(memory, taken=with_times(memory.taken, taken, times))
        put.update(_puts(made))
        in_vain.update(_puts(failure.change for failure in failures))
        return made, failures

    outcome = until_empty(look_again, step)
    left = what_is_left(memory, outcome.view.intent, outcome.view.snapshot)
    left = with_kept(left, outcome.view.intent, outcome.view.snapshot)
    returned = _returned(outcome.view, scope)
    notes.keep(after_release(left, returned) if returned else left)
    return outcome


def _puts(changes: Iterable[Change]) -> set[tuple[str, str, int]]:
    """(port, MAC, VID) of the entries that are put: in another VID it is another entry."""
    return {(entry.port, put.mac, entry.vid) for put in changes if isinstance(put, SetEntries) for entry in put.after}


def _returned(view: View, scope: Scope) -> set[tuple[str, int]]:
    """The ports, by name and ifindex, that policy leaves to the kernel and of which nothing is left to give back."""
    unfinished = {port for change in (*view.plan.changes, *view.spared) for port in ports_of(change)}
    unfinished |= {finding.port for finding in view.plan.findings if finding.code is Code.NOT_GIVEN_BACK}
    return {
        (each.port, view.snapshot.ports[each.port].ifindex)
        for each in view.intent.returning
        if each.port not in unfinished and scope.holds(each.domain, each.bridge)
    }


def until_empty(
    look_again: Callable[[], View], step: Callable[[View], tuple[list[Change], tuple[Failure, ...]]]
) -> Outcome:
    """Make one step after the other until a look finds nothing left, or nothing new to try; ROUNDS of them at most."""
    view = look_again()
    done: list[Change] = []
    failures: tuple[Failure, ...] = ()
    for _ in range(ROUNDS):
        if not view.plan.changes:
            break
        made, failures = step(view)
        done += made
        tried, view = view.plan.changes, look_again()
        if not made and set(view.plan.changes) <= set(tried):
            break
    return Outcome(tuple(done), failures if view.plan.changes else (), view)


def _suspects(changes: Iterable[Change], intent: Intent, snapshot: Snapshot) -> list[Key]:
    """What the changes rest on: the entries they name, and for a port to be closed where its guest's MACs are.

    VID 0 is dropped only together with every VID of its port, so a copy there that a dump left out counts as named.
    """
    guests = {guest.port: guest for guest in intent.ports}
    suspects: dict[Key, None] = {}
    for change in changes:
        if isinstance(change, SetEntries):
            named = {each.vid for each in (*change.before, *change.after)}
            if not change.after:
                named.update(*(snapshot.ports[each.port].vids for each in change.before if each.vid == 0))
            suspects |= {(change.bridge, change.mac, vid): None for vid in named}
        elif change.closes:
            macs = guests[change.port].macs if change.port in guests else ()  # a release needs no XML
            vids = snapshot.ports[change.port].vids
            suspects |= {(change.bridge, mac, vid): None for mac in macs for vid in (0, *vids)}
    return list(suspects)
