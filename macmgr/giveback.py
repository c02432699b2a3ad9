"""The way back: plan the release, execute it, look again, and forget what was given back.

The executor and the look are those of reconcile. The one difference is where a step can go wrong: an entry that stops
being static on a port that is still closed is an outage, so the flags are read back first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from macmgr.model.changes import Change, SetFlags, ports_of
from macmgr.model.intent import Intent
from macmgr.planning.release import plan_release
from macmgr.planning.remembered import Memory, after_release, what_is_left
from macmgr.reconcile import Failure, Kernel, Notes, Outcome, Scope, View, execute, look, until_empty
from macmgr.state.lock import WriterLock


@dataclass(frozen=True, slots=True)
class GivenBack:
    """A port of which nothing is left to give back. ``because`` says as what, empty where nothing had to change."""

    port: str
    ifindex: int
    domain: str
    because: str


@dataclass(frozen=True, slots=True)
class Released:
    """What a release did, and the ports that it gave back."""

    outcome: Outcome
    ports: tuple[GivenBack, ...]


def release(
    lock: WriterLock,
    read_intent: Callable[[], Intent],
    kernel: Kernel,
    scope: Scope,
    notes: Notes,
) -> Released:
    """Give ports back as they were, look again, and forget those whose plan is empty."""
    memory = notes.read()
    planner = partial(plan_release, memory=memory)
    outcome = until_empty(
        lambda: look(read_intent, kernel, scope, memory, planner), lambda view: _give_back(lock, view, kernel)
    )
    left = what_is_left(memory, outcome.view.intent, outcome.view.snapshot)
    given_back = tuple(_given_back(outcome, left, scope))
    notes.keep(after_release(left, {(each.port, each.ifindex) for each in given_back}))
    return Released(outcome, given_back)


def _give_back(lock: WriterLock, view: View, kernel: Kernel) -> tuple[list[Change], tuple[Failure, ...]]:
    """Open, read back, and only then let go of the entries."""
    opens = [change for change in view.plan.changes if isinstance(change, SetFlags) and not change.closes]
    made, failures = execute(lock, opens, kernel, view.snapshot)
    now = kernel.read_snapshot().ports if opens else {}
    shut = {change.port for change in opens if change.port not in now or now[change.port].flags != change.after}
    rest = [change for change in view.plan.changes if change not in opens]
    held_back = [change for change in rest if not shut.isdisjoint(ports_of(change))]
    more, refused = execute(lock, [change for change in rest if change not in held_back], kernel, view.snapshot)
    failures += tuple(Failure(change, "its port could not be opened, so its entry stays") for change in held_back)
    return [change for change in made if shut.isdisjoint(ports_of(change))] + more, failures + refused


def _given_back(outcome: Outcome, memory: Memory, scope: Scope) -> Iterator[GivenBack]:
    because = {port: change.because for change in reversed(outcome.done) for port in ports_of(change)}
    domains = {guest.port: guest.domain for guest in outcome.view.intent.ports if guest.port in because}
    domains |= {each.port: each.domain for each in memory.ports}
    unfinished = {port for change in outcome.view.plan.changes for port in ports_of(change)}
    for name, port in outcome.view.snapshot.ports.items():
        if name in domains.keys() - unfinished and (scope.bridges is None or port.bridge in scope.bridges):
            yield GivenBack(name, port.ifindex, domains[name], because.get(name, ""))
