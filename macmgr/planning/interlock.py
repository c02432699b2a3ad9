"""Leaves out of a plan what would cut off a guest that is reached, or let it be heard where it must not. Pure.

The last step of the planner: so whatever prints a plan or carries it out has it. The model of frames says what the
changes do to the guests that they are about (docs/forwarding.rst). What harms one is left out with all that depends on
it: of an order of steps never the first half, and of a port that is given back all or nothing. The verb with ``--cut``
consents to all of it.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from macmgr.forwarding.guestaddresses import in_use, may_have, own_addresses, where_they_are
from macmgr.forwarding.harm import Harm, harms, reduced
from macmgr.forwarding.requested import requested
from macmgr.model.changes import Change, SetEntries, SetFlags, SetVids, ports_of, requests
from macmgr.model.findings import Code, Finding
from macmgr.model.flags import ISOLATED
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.snapshot import Snapshot
from macmgr.phrases import first_few
from macmgr.planning.draft import Plan
from macmgr.planning.ownership import Ownership

LEFT_OUT = "left out: it would harm"  # how the note of a finding begins whose changes are not made
_FEW = 3
_SOME = (
    8  # addresses in use behind a port that are asked for: one of them keeps it open, and a guest may forge thousands
)


def harmless(
    plan: Plan,
    intent: Intent,
    snapshot: Snapshot,
    owned: Ownership,
    asks: Collection[str],
    verb: str = "apply",
    whole: Sequence[Change] = (),
) -> Plan:
    """The plan without the changes that would harm a guest, and with a finding for each of its addresses.

    What is in use behind a port counts where it ``asks`` before it cuts that off. ``verb`` is the one that makes them.
    ``whole`` has the changes of which the plan's are a part: all together, they may harm nobody.
    """
    if not plan.changes:
        return plan
    harm = _Judge(intent, snapshot, owned, asks).harm
    kept, found = list(plan.changes), dict[tuple[str, str, bool], list[Harm]]()
    steps = iter((_ends_order, _is_of_address, _is_of_port, _is_of_bridge))
    concerns = next(steps)
    while kept and (harmed := list(harm(kept))):
        for each in harmed:
            found.setdefault((each.guest.port, each.mac, each.cut_off), []).append(each)
        while not (out := [change for change in kept if any(concerns(change, each) for each in harmed)]):
            concerns = next(steps)
        out += _depending(kept, out)
        kept = [change for change in kept if change not in out]
    if not found:
        return plan
    left = [change for change in plan.changes if change not in kept]
    guests = dict.fromkeys(each[0].guest for each in found.values())
    findings = [_without(finding, left, guests) for finding in plan.findings]
    together = len(whole) > len(plan.changes) and not any(True for _ in harm(whole))
    makes = "makes them after those of other guests" if together else "makes them anyway"
    command = f"macmgr {verb}{'' if together else ' --cut'}"
    return Plan(tuple(kept), (*findings, *(_finding(each, command, makes) for each in found.values())))


class _Judge:
    """Asks the model about a change list: a hook pays for the guests that its changes are about."""

    def __init__(self, intent: Intent, snapshot: Snapshot, owned: Ownership, asks: Collection[str]) -> None:
        # not of one that may not have its own, because another has it, or because its port is on another bridge
        self._own = own_addresses(guest for guest in intent.ports if guest in owned.vids or not guest.managed)
        self._intent, self._snapshot, self._asks = intent, snapshot, asks
        self._guests = where_they_are(intent, snapshot).ports
        claims = Counter((guest.bridge, mac) for guest in self._guests if guest.running for mac in guest.macs)
        self._without = {  # what the host has, or the LAN; what another guest has is reached there
            (guest.port, mac, vid)
            for guest, places in owned.others.items()
            for mac, vid in places
            if claims[guest.bridge, mac] < 2
        }

    def harm(self, changes: Sequence[Change]) -> Iterator[Harm]:
        ports = {port for change in changes for port in ports_of(change)}
        macs = {(change.bridge, change.mac) for change in changes if isinstance(change, SetEntries)}
        joined = {change.bridge for change in changes if _gives_back(change) and _may_join(change)}
        asked = {
            guest.port: tuple(self._addresses(guest, macs))
            for guest in self._guests
            if guest.running
            and (guest.bridge in joined or guest.port in ports or any((guest.bridge, m) in macs for m in guest.macs))
            and self._snapshot.port_on(guest.bridge, guest.port)
        }
        before = self._about(changes, asked)
        after = requested(before, (request for change in changes for request in requests(change)))
        return harms(before, after, self._intent, lambda guest: asked.get(guest.port, ()), self._without)

    def _addresses(self, guest: GuestPort, touched: Collection[tuple[str, str]]) -> Iterator[str]:
        """Those that it may have, and those in use behind its port where it asks before these are cut off."""
        yield from may_have(guest, self._own)
        if guest.port in self._asks:
            used = [*in_use(guest, self._snapshot, self._own)]
            yield from used[:_SOME]
            yield from (mac for mac in used[_SOME:] if (guest.bridge, mac) in touched)

    def _about(self, changes: Sequence[Change], asked: Mapping[str, Collection[str]]) -> Snapshot:
        macs = {change.mac for change in changes if isinstance(change, SetEntries)}
        macs |= {mac for macs_of in asked.values() for mac in macs_of}
        return reduced(self._snapshot, self._intent, {change.bridge for change in changes}, macs)


def _may_join(change: Change) -> bool:
    """It may let a port hear any guest whom VLANs or isolation keep from it, also if no CPU behind it runs."""
    if isinstance(change, SetFlags):
        return any(flag is ISOLATED for flag, _ in change.named())
    return isinstance(change, SetVids)


def _ends_order(change: Change, harm: Harm) -> bool:
    """It closes the guest's port, or drops an entry there: the last steps of its order."""
    return harm.guest.port in ports_of(change) and _is_last(change)


def _is_of_address(change: Change, harm: Harm) -> bool:
    return isinstance(change, SetEntries) and (change.bridge, change.mac) == (harm.guest.bridge, harm.mac)


def _is_of_port(change: Change, harm: Harm) -> bool:
    return not ports_of(change).isdisjoint((harm.guest.port, harm.other))


def _is_of_bridge(change: Change, harm: Harm) -> bool:
    return change.bridge == harm.guest.bridge


def _is_last(change: Change) -> bool:
    return change.closes if isinstance(change, SetFlags) else isinstance(change, SetEntries) and not change.after


def _depending(changes: Iterable[Change], out: Sequence[Change]) -> list[Change]:
    """The last steps on ports that do not get their entries, and what else gives back a port that is not given back."""
    ports = {entry.port for change in out if isinstance(change, SetEntries) for entry in change.after}
    back = {port for change in out if _gives_back(change) for port in ports_of(change)}
    return [
        change
        for change in changes
        if (_is_last(change) and not ports.isdisjoint(ports_of(change)))
        or (_gives_back(change) and not back.isdisjoint(ports_of(change)))
    ]


def _gives_back(change: Change) -> bool:
    """Only the changes of a release say why in words."""
    return change.because is Code.NOT_GIVEN_BACK or bool(change.why)


def _without(finding: Finding, left: Sequence[Change], guests: Iterable[GuestPort]) -> Finding:
    """No fix says what is left out: neither the change itself, nor a closing that is a part of one.

    The note names the guests that would be harmed: who asks about one guest does not see the finding about another.
    """
    closing = {change.port for change in left if isinstance(change, SetFlags) and change.closes}
    ends = (change in left or (isinstance(change, SetFlags) and change.port in closing) for change in finding.changes)
    names = [f"{guest.domain} ({guest.port})" for guest in guests if guest.bridge == finding.bridge]
    note = "; ".join(filter(None, (f"{LEFT_OUT} {first_few(names, _FEW)}", finding.note)))
    return replace(finding, mends=(), note=note) if any(ends) else finding


def _finding(harmed: Sequence[Harm], command: str, makes: str) -> Finding:
    """One line: which guest, which address, and from whom."""
    first = harmed[0]
    guest, others = first.guest, first_few(list(dict.fromkeys(each.whom for each in harmed)), _FEW)
    happens = f"no longer be reached from {others}" if first.cut_off else f"be heard by {others}"
    return Finding(
        Code.WOULD_HARM,
        f"{first.mac} of {guest.domain} ({guest.port}) would {happens}: changes on {guest.bridge} are left out",
        guest.bridge,
        guest.port,
        guest.domain,
        first.mac,
        first.vids[0] if len(harmed) == 1 and len(first.vids) == 1 and first.vids[0] else None,
        note=f"'{command} --bridge {shlex.quote(guest.bridge)}' {makes}",
    )
