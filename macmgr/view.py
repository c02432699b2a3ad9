"""The records of one look at the host, and of what an apply or a release came to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from macmgr.execution import Failure
from macmgr.forwarding.consequences import Reach, consequences
from macmgr.forwarding.requested import requested
from macmgr.model.changes import Change, requests
from macmgr.model.codes import Consequence, Severity
from macmgr.model.findings import Finding
from macmgr.model.intent import EVERYTHING, GuestPort, Intent, PortlessNic, Scope
from macmgr.model.known import NOTHING_KNOWN, Known, PortBefore
from macmgr.model.snapshot import Bridge, BridgePort, Snapshot, Stacked
from macmgr.planning.draft import Plan
from macmgr.planning.fixcheck import with_harmless_fixes
from macmgr.planning.reached import judged as judge
from macmgr.planning.reached import unreached
from macmgr.planning.remembering import gone_macs, to_release


@dataclass(frozen=True)
class View:
    """One look at the host: what is wanted, what is there, and the plan between them.

    ``skipped`` are changes that are needed and not made; their findings are in the plan. ``scope`` is the part of the
    host that was asked about: a report shows, counts and judges what it holds, and nothing else.
    ``intent`` has the addresses that guests were seen to use; ``known`` is the rest that the plan was made with.
    ``reaches`` is who reaches the guests in scope; a look has it once it is `judged`.
    """

    intent: Intent
    snapshot: Snapshot
    plan: Plan
    skipped: tuple[Change, ...] = ()
    scope: Scope = EVERYTHING
    known: Known = NOTHING_KNOWN
    reaches: tuple[Reach, ...] = ()

    @property
    def cut_off(self) -> tuple[str, ...]:
        """The domains in scope that are not reached from beyond this host, in at least one of their VLANs."""
        found = {reach.guest.domain for reach, _ in unreached(self.reaches) if self._is_managed(reach.guest)}
        cut = (each for each in self.plan.findings if each.consequence is Consequence.CUT_OFF and each.reached is False)
        found |= {each.domain for each in cut if each.domain and each.severity is not Severity.INFO}
        return tuple(sorted(found))

    def _is_managed(self, guest: GuestPort) -> bool:
        return guest.bridge in self.intent.managed_bridges

    @cached_property
    def gone_macs(self) -> Mapping[tuple[str, str], str]:
        return gone_macs(self.known.memory, self.intent, self.snapshot)

    @property
    def to_release(self) -> tuple[PortBefore, ...]:
        return to_release(self.known.memory, self.intent, self.snapshot)

    def within(self, scope: Scope) -> View:
        skipped = tuple(filter(scope.covers, self.skipped))
        reaches = tuple(each for each in self.reaches if scope.holds(each.guest.domain, each.guest.bridge))
        return replace(self, plan=self.plan.only(scope), skipped=skipped, scope=scope, reaches=reaches)

    @property
    def guests(self) -> tuple[GuestPort, ...]:
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

    def stacked_on(self, bridge: str) -> list[Stacked]:
        """The host's devices on a bridge; with a domain in scope, none."""
        return [each for each in self.snapshot.stacked if each.bridge == bridge and self.scope.domain is None]

    @property
    def observed(self) -> tuple[Change, ...]:
        """The changes that are not made because their bridge is only observed."""
        return tuple(change for change in self.skipped if self.scope.observes(change.bridge))


def reached_after(view: View) -> tuple[str, ...]:
    """Returns the domains in scope that are cut off now, and are not once the plan's changes are made."""
    cut = {reach.guest.domain for reach, _ in unreached(view.reaches)}.intersection(view.cut_off)
    if not cut or not view.plan.changes:
        return ()
    after = requested(view.snapshot, (each for change in view.plan.changes for each in requests(change)))

    def own_address(guest: GuestPort) -> Sequence[str]:
        return guest.macs[:1] if guest.domain in cut else ()

    then = consequences(after, view.intent, own_address, exposure=False)
    return tuple(sorted(cut - {reach.guest.domain for reach, _ in unreached(then)}))


def judged(view: View) -> View:
    """Returns the view with its findings judged by frames, the worst first.

    It is asked where somebody reads the findings. Hooks and the daemon's rounds do not pay for it.
    """

    used: dict[str, list[str]] = {}
    for finding in view.plan.findings:
        if finding.mac:
            used.setdefault(finding.port, []).append(finding.mac)

    def addresses(guest: GuestPort) -> Iterable[str]:
        return (*guest.macs, *used.get(guest.port, ())) if view.scope.holds(guest.domain, guest.bridge) else ()

    reaches = tuple(consequences(view.snapshot, view.intent, addresses))
    findings = judge(view.plan.findings, reaches, view.intent, view.snapshot)
    findings = tuple(with_harmless_fixes(findings, view.intent, view.snapshot, view.known))
    return replace(view, plan=replace(view.plan, findings=findings), reaches=reaches)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an apply. ``view`` is the look taken afterwards: its plan is empty when all is well."""

    done: tuple[Change, ...]
    failures: tuple[Failure, ...]
    view: View

    def within(self, scope: Scope) -> Outcome:
        failures = tuple(failure for failure in self.failures if scope.covers(failure.change))
        return Outcome(tuple(filter(scope.covers, self.done)), failures, self.view.within(scope))

    @property
    def complete(self) -> bool:
        return not self.view.plan.changes

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The errors that are left; one that a change left out on an observe-only bridge repairs does not count."""
        observed = {change.bridge for change in self.view.skipped}
        return tuple(
            finding
            for finding in self.view.plan.findings
            if finding.severity is Severity.ERROR and not (finding.bridge in observed and finding.changes)
        )


@dataclass(frozen=True, slots=True)
class ReleasedPort:
    """A port of which nothing is left to give back. ``because`` says as what, empty where nothing had to change."""

    port: str
    ifindex: int
    domain: str
    because: str


@dataclass(frozen=True, slots=True)
class Released:
    outcome: Outcome
    ports: tuple[ReleasedPort, ...]

    @property
    def complete(self) -> bool:
        """Nothing is left: no change to be made, and nothing that only a person can clear."""
        return self.outcome.complete and not self.outcome.view.plan.findings
