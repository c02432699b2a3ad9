"""The one use case: look, plan, execute, look again. Its tools are arguments, so tests bring their own kernel.

`look` is all that audit, plan and show do. `apply` executes what `look` found, in phases, and never closes a port
whose entry it could not read back (the interlock). `release` gives ports back to the kernel by the same loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from macmgr.execution import Failure, Kernel, execute, execute_release
from macmgr.model.changes import Change, SetEntries, SetVids, ports_of, reason
from macmgr.model.findings import Code
from macmgr.model.intent import EVERYTHING, Intent, Scope
from macmgr.model.known import NOTHING_KNOWN, Known, Memory, Refused
from macmgr.model.snapshot import Feature, Snapshot
from macmgr.planning.draft import Plan
from macmgr.planning.planner import plan
from macmgr.planning.plugged import with_taps
from macmgr.planning.reading import NOTHING_BESIDE, Beside, bridges_to_read, keys_to_look_up, ports_to_read, suspects
from macmgr.planning.release import plan_release
from macmgr.planning.remembering import (
    after_release,
    found_lacking,
    of_same_ports,
    remember,
    taken_by,
    to_release,
    what_is_left,
    with_kept,
    with_times,
)
from macmgr.planning.seen import with_learned, with_lost, with_seen
from macmgr.state.lock import WriterLock
from macmgr.view import Outcome, Released, ReleasedPort, View

# A change of the world while we look can leave a difference after one round; a difference that three rounds do not
# end is a fight with somebody else, or a refusal, and is reported.
ROUNDS = 3
# A release has one more: a port that is down takes no dynamic entry, so what a put without a VID leaves there in other
# VIDs goes in a round of its own.
_ROUNDS_OF_RELEASE = 4

# libvirt puts the entry of a guest that goes on, tells QEMU to go on, and notes that it runs once QEMU has said so: an
# entry that is early is looked at once more after that time, in seconds.
MOMENT = 0.3

Planner = Callable[[Intent, Snapshot, Known, Scope], Plan]


class Notes(Protocol):
    """The place of the memory between two processes: really `macmgr.state.memory.StateFile`. Neither call may fail."""

    def read(self) -> Memory: ...

    def keep(self, memory: Memory) -> None: ...


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools of a run, and the part of the host that it is about."""

    lock: WriterLock
    read_intent: Callable[[], Intent]
    kernel: Kernel
    scope: Scope
    notes: Notes
    moment: Callable[[], None] | None = None
    beside: Beside = NOTHING_BESIDE


@dataclass(frozen=True, slots=True)
class Run:
    """The progress of a run: what is known by now, what was asked of the kernel last, and what was done.

    ``doubted`` are features that the kernel seemed to lack at the last look. ``put`` are the (port, MAC, VID) of all
    entries that were put.
    """

    known: Known
    sent: tuple[Change, ...] = ()
    doubted: frozenset[Feature] = frozenset()
    put: Refused = frozenset()
    done: tuple[Change, ...] = ()
    failures: tuple[Failure, ...] = ()


def look(
    read_intent: Callable[[], Intent],
    kernel: Kernel,
    scope: Scope = EVERYTHING,
    known: Known = NOTHING_KNOWN,
    planner: Planner = plan,
    moment: Callable[[], None] | None = None,
    beside: Beside = NOTHING_BESIDE,
) -> View:
    """Compare what is wanted with what is there, and change nothing. ``known`` has what no source tells any more.

    Only the FDBs of bridges that are managed, or remembered, are read, and what is ``beside`` them.

    An FDB dump can miss entries while others come and go, so each suspected difference is looked up by name before
    it is believed (rtnl_fdb_dump keeps no consistent position; RTM_GETNEIGH does one hash lookup). And an early entry
    is looked at once more after a ``moment``: it may be libvirt's own, of a guest that just goes on.
    """
    view = _look(read_intent, kernel, scope, known, planner, beside)
    if moment and any(finding.code is Code.EARLY_ENTRY for finding in view.plan.findings):
        moment()
        view = _look(read_intent, kernel, scope, known, planner, beside)
    return view


def _look(
    read_intent: Callable[[], Intent], kernel: Kernel, scope: Scope, known: Known, planner: Planner, beside: Beside
) -> View:
    said = read_intent()
    said, snapshot = _read(said, kernel, known, beside, scope)
    view = _view(said, snapshot, known, planner, scope)
    keys = suspects(view.plan.changes, view.intent, snapshot)
    if keys:
        found = kernel.look_up(keys, snapshot)
        if found != snapshot.fdb.at_all(keys):
            snapshot = replace(snapshot, entries=snapshot.fdb.with_found(found))
            view = _view(said, snapshot, known, planner, scope)
    skipped = frozenset(left_out(view.plan.changes, scope))
    if not skipped:
        return view
    changes = tuple(change for change in view.plan.changes if change not in skipped)
    kept_out = tuple(change for change in view.plan.changes if change in skipped)
    return replace(view, plan=replace(view.plan, changes=changes), skipped=kept_out)


def _view(said: Intent, snapshot: Snapshot, known: Known, planner: Planner, scope: Scope) -> View:
    known = with_learned(with_lost(known, said, snapshot), said, snapshot)
    intent = with_seen(said, snapshot, known)
    return View(intent, snapshot, planner(intent, snapshot, known, scope).only(scope), scope=scope, known=known)


def _read(said: Intent, kernel: Kernel, known: Known, beside: Beside, scope: Scope) -> tuple[Intent, Snapshot]:
    """Read the kernel, and find the taps of which only the kernel says where they are.

    If one of them is on a bridge that is managed for it alone, the second reading has that bridge's FDB.
    """
    bridges, ports = bridges_to_read(said, known.memory, beside), ports_to_read(said, known.memory)
    if_open: frozenset[str] | None = None
    if beside.closed_ports is not None:
        managed = [guest for guest in said.ports if guest.managed and guest.port not in beside.closed_ports]
        ports -= {guest.port for guest in managed}
        if_open = frozenset(guest.port for guest in managed if scope.holds(guest.domain, guest.bridge))
    snapshot = kernel.read_snapshot(bridges, ports, whole=beside.whole, if_open=if_open)
    intent = with_taps(said, snapshot)
    if more := bridges_to_read(intent, known.memory, beside) - bridges:
        snapshot = kernel.read_snapshot(bridges | more, ports, whole=beside.whole, if_open=if_open)
        intent = with_taps(said, snapshot)
    if keys := list(keys_to_look_up(intent, known, snapshot, beside)):
        snapshot = replace(snapshot, entries=snapshot.fdb.with_found(kernel.look_up(keys, snapshot)))
    if taken := of_same_ports(known.memory.taken, snapshot):
        snapshot = replace(snapshot, refreshed=kernel.refreshed([each.key for each in taken], snapshot))
    return intent, snapshot


def apply(
    lock: WriterLock,
    read_intent: Callable[[], Intent],
    kernel: Kernel,
    scope: Scope = EVERYTHING,
    *,
    notes: Notes,
    moment: Callable[[], None] | None = None,
    known: Known = NOTHING_KNOWN,
    beside: Beside = NOTHING_BESIDE,
) -> Outcome:
    """Execute the plan and look again, until the plan is empty or ROUNDS rounds did not empty it."""
    tools = Tools(lock, read_intent, kernel, scope, notes, moment, beside)
    run, view = _run(tools, Run(replace(known, memory=notes.read())), plan, _apply_once)
    memory = what_is_left(run.known.memory, view.intent, view.snapshot)
    memory = with_kept(memory, view.intent, view.snapshot)
    returned = _returned(view, scope)
    notes.keep(after_release(memory, returned) if returned else memory)
    return _outcome(run, view)


def release(
    lock: WriterLock,
    read_intent: Callable[[], Intent],
    kernel: Kernel,
    scope: Scope,
    notes: Notes,
    known: Known = NOTHING_KNOWN,
) -> Released:
    """Give ports back as they were, look again, and forget those whose plan is empty."""
    tools = Tools(lock, read_intent, kernel, scope, notes)
    run, view = _run(tools, Run(replace(known, memory=notes.read())), plan_release, _release_once, _ROUNDS_OF_RELEASE)
    outcome = _outcome(run, view)
    memory = what_is_left(run.known.memory, view.intent, view.snapshot)
    ports = tuple(_released_ports(outcome, memory, scope))
    notes.keep(after_release(memory, {(each.port, each.ifindex) for each in ports}))
    return Released(outcome, ports)


def _run(
    tools: Tools, run: Run, planner: Planner, step: Callable[[Tools, Run, View], Run], most: int = ROUNDS
) -> tuple[Run, View]:
    """Make one step after the other until a look finds nothing left, or nothing new to try; ``most`` at most."""
    run, view = look_and_learn(tools, run, planner)
    for _ in range(most):
        if not view.plan.changes:
            break
        before, tried = len(run.done), view.plan.changes
        run = step(tools, run, view)
        run, view = look_and_learn(tools, run, planner)
        if len(run.done) == before and set(view.plan.changes) <= set(tried):
            break
    return run, view


def look_and_learn(tools: Tools, run: Run, planner: Planner = plan) -> tuple[Run, View]:
    """Look, and once more with each thing that the first look has taught."""
    view = _look_as_known(tools, run, planner)
    run, before = with_lacks(run, found_lacking(run.sent, view.snapshot)), run
    if run.known.lacks != before.known.lacks:
        view = _look_as_known(tools, run, planner)
    run, before = with_refused(run, view.plan.changes), run
    if run.known.refused != before.known.refused:
        view = _look_as_known(tools, run, planner)
    return run, view


def _look_as_known(tools: Tools, run: Run, planner: Planner) -> View:
    return look(tools.read_intent, tools.kernel, tools.scope, run.known, planner, tools.moment, tools.beside)


def with_lacks(run: Run, found: frozenset[Feature]) -> Run:
    """A missing feature is believed at once; missing sticky only the second time in a row.

    Another program's replace of the entry, right after ours, looks the same.
    """
    lacks = run.known.lacks | (found - {Feature.STICKY}) | (found & run.doubted)
    memory = replace(run.known.memory, lacks=lacks)
    return replace(run, doubted=found, known=replace(run.known, memory=memory))


def with_refused(run: Run, changes: Iterable[Change]) -> Run:
    """An entry that was put and is to be put again was put in vain: its port is not closed, and opened if it was."""
    return replace(run, known=replace(run.known, refused=run.known.refused | (run.put & puts(changes))))


def remembering(run: Run, view: View, notes: Notes) -> Run:
    """The memory of how ports were is written down before they are changed for the first time."""
    memory = remember(run.known.memory, view.intent, view.snapshot, view.plan.changes)
    notes.keep(memory)
    return replace(run, known=replace(run.known, memory=memory))


def _apply_once(tools: Tools, run: Run, view: View) -> Run:
    run = remembering(run, view, tools.notes)
    changes = view.plan.changes
    back = [change for change in changes if releases(change)]
    made, failures = execute(tools.lock, [c for c in changes if not releases(c)], tools.kernel, view.snapshot)
    if back:
        more, unmade = execute_release(tools.lock, back, tools.kernel, view.snapshot)
        made, failures = made + more, failures + unmade
    memory = run.known.memory
    if taken := taken_by(made, view.intent, view.snapshot, memory.taken):
        times = tools.kernel.refreshed([each.key for each in taken], view.snapshot)
        memory = replace(memory, taken=with_times(memory.taken, taken, times))
    refused = run.known.refused | puts(failure.change for failure in failures)
    failures = (*_of_vids(run.failures), *failures)
    return replace(
        run,
        known=replace(run.known, memory=memory, refused=refused),
        sent=changes,
        put=run.put | puts(made),
        done=(*run.done, *made),
        failures=failures,
    )


def _release_once(tools: Tools, run: Run, view: View) -> Run:
    made, failures = execute_release(tools.lock, view.plan.changes, tools.kernel, view.snapshot)
    return replace(run, sent=view.plan.changes, done=(*run.done, *made), failures=failures)


def _outcome(run: Run, view: View) -> Outcome:
    return Outcome(run.done, run.failures if view.plan.changes else _of_vids(run.failures), view)


def _of_vids(failures: Iterable[Failure]) -> tuple[Failure, ...]:
    """Those about VIDs: the port is left in the VLANs that it has, and no change for them is planned again."""
    return tuple(failure for failure in failures if isinstance(failure.change, SetVids))


def puts(changes: Iterable[Change]) -> Refused:
    """(port, MAC, VID) of the entries that are put: in another VID it is another entry. Of set VIDs, only the port."""
    found: set[tuple[str, str, int]] = set()
    for change in changes:
        if isinstance(change, SetEntries):
            found.update((entry.port, change.mac, entry.vid) for entry in change.after)
        elif isinstance(change, SetVids):
            found.add((change.port, "", 0))
    return frozenset(found)


def left_out(changes: Sequence[Change], scope: Scope) -> Iterator[Change]:
    """The changes that are not made; of a port that is given back all or none: its entries go after it is open."""
    skipped = set(filter(scope.leaves_out, changes))
    whole = {port for change in skipped if releases(change) for port in ports_of(change)}
    for change in changes:
        if change in skipped or (releases(change) and not whole.isdisjoint(ports_of(change))):
            yield change


def releases(change: Change) -> bool:
    """The change gives back a port that policy leaves to the kernel by now."""
    return change.because == Code.NOT_GIVEN_BACK


def _returned(view: View, scope: Scope) -> set[tuple[str, int]]:
    """The ports, by name and ifindex, that policy leaves to the kernel and of which nothing is left to give back."""
    unfinished = {port for change in (*view.plan.changes, *view.skipped) for port in ports_of(change)}
    unfinished |= {finding.port for finding in view.plan.findings if finding.code is Code.NOT_GIVEN_BACK}
    return {
        (each.port, each.ifindex)
        for each in to_release(view.known.memory, view.intent, view.snapshot)
        if each.port not in unfinished and scope.holds(each.domain, each.bridge)
    }


def _released_ports(outcome: Outcome, memory: Memory, scope: Scope) -> Iterator[ReleasedPort]:
    because = {port: reason(change) for change in reversed(outcome.done) for port in ports_of(change)}
    domains = {guest.port: guest.domain for guest in outcome.view.intent.ports if guest.port in because}
    domains |= {each.port: each.domain for each in memory.ports}
    unfinished = {port for change in outcome.view.plan.changes for port in ports_of(change)}
    unfinished |= {each.port for each in outcome.view.plan.findings if each.code is Code.NOT_GIVEN_BACK}
    for name, port in outcome.view.snapshot.ports.items():
        if name in domains.keys() - unfinished and scope.holds(domains[name], port.bridge):
            yield ReleasedPort(name, port.ifindex, domains[name], because.get(name, ""))
