"""The way back: plan the release, execute it, look again, and forget what was given back.

The executor and the look are those of reconcile, which gives a single port back in the same way where policy leaves
it to the kernel by now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from macmgr.execution import Kernel, give_back
from macmgr.model.changes import ports_of
from macmgr.model.intent import Intent
from macmgr.planning.release import plan_release
from macmgr.planning.remembered import Memory, after_release, what_is_left
from macmgr.reconcile import Notes, Outcome, Scope, look, until_empty
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

    @property
    def complete(self) -> bool:
        """Whether nothing is left: no change to be made, and nothing that only a person can clear."""
        return self.outcome.complete and not self.outcome.view.plan.findings


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
        lambda: look(read_intent, kernel, scope, memory, planner),
        lambda view: give_back(lock, view.plan.changes, kernel, view.snapshot),
    )
    left = what_is_left(memory, outcome.view.intent, outcome.view.snapshot)
    given_back = tuple(_given_back(outcome, left, scope))
    notes.keep(after_release(left, {(each.port, each.ifindex) for each in given_back}))
    return Released(outcome, given_back)


def _given_back(outcome: Outcome, memory: Memory, scope: Scope) -> Iterator[GivenBack]:
    because = {port: change.because for change in reversed(outcome.done) for port in ports_of(change)}
    domains = {guest.port: guest.domain for guest in outcome.view.intent.ports if guest.port in because}
    domains |= {each.port: each.domain for each in memory.ports}
    unfinished = {port for change in outcome.view.plan.changes for port in ports_of(change)}
    unfinished |= {finding.port for finding in outcome.view.plan.findings}
    for name, port in outcome.view.snapshot.ports.items():
        if name in domains.keys() - unfinished and scope.holds(domains[name], port.bridge):
            yield GivenBack(name, port.ifindex, domains[name], because.get(name, ""))
