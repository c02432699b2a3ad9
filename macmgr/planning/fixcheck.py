"""Runs the commands of each fix through the model of frames before it is printed, and withholds those that harm. Pure.

Changes of macmgr's own are judged by the planner (`macmgr.planning.interlock`), all together. Here it is the commands
that a person would type: they put a tap on its bridge, into its VLANs, or delete an entry. A person who types what is
printed trusts that no guest is cut off by it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from macmgr.forwarding.consequences import consequences
from macmgr.forwarding.guestaddresses import may_have, own_addresses, where_they_are
from macmgr.forwarding.harm import Harm, harms, reduced
from macmgr.forwarding.requested import requested
from macmgr.forwarding.typed import typed
from macmgr.model.changes import SetFlags, requests
from macmgr.model.findings import Command, Finding
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.known import Known
from macmgr.model.roles import Role
from macmgr.model.snapshot import Snapshot
from macmgr.planning.planner import plan

TYPED = ("ip", "bridge")  # programs whose commands a person types


def with_harmless_fixes(
    findings: Iterable[Finding], intent: Intent, snapshot: Snapshot, known: Known
) -> Iterator[Finding]:
    """Yields the findings, without the commands that would cut off the guest they are for."""
    for finding in findings:
        commands = [repair for repair in finding.mends if isinstance(repair, tuple)]
        guest = next((guest for guest in intent.ports if guest.port == finding.port and guest.running), None)
        if guest is not None and _closes_alone(finding, guest, intent, snapshot):
            yield replace(finding, mends=(("macmgr", "apply", "--bridge", guest.bridge),))
        elif guest is None or not any(command[0] in TYPED or "--vlans" in command for command in commands):
            yield finding
        elif lost := _lost_by(commands, guest, intent, snapshot, known):
            note = f"no command is printed, because {lost}"
            yield replace(finding, mends=(), note=f"{finding.note}; {note}" if finding.note else note)
        else:
            yield finding


def _lost_by(commands: Sequence[Command], guest: GuestPort, intent: Intent, snapshot: Snapshot, known: Known) -> str:
    """Returns in words who would lose the guest, or another one that may have its address; empty if nobody does."""
    at = snapshot.masters.get(guest.port) or guest.bridge
    typed_words = {word for command in commands for word in command}
    macs = {mac for each in intent.ports for mac in each.macs if mac in typed_words} | {*guest.macs}
    before = reduced(snapshot, intent, {at, guest.bridge}, macs)
    after = before
    for command in commands:
        asked = replace(known, cut=True, vlans=known.vlans or "--vlans" in command)
        after = _apply(guest, after, intent, asked) if command[0] == "macmgr" else typed(after, command)
    if at == guest.bridge:
        found = _cut_off(guest, before, after, intent, {*typed_words, guest.macs[0]})
        return next((_words(h.role, h.other, h.mac, h.guest) for h in found), "")
    # It is on another bridge than its own: those on that one lose it, as its XML says. A way out it must have.
    uplinks = _uplinks(before, where_they_are(intent, snapshot), guest)
    lost = uplinks and not _uplinks(after, intent, guest)
    return _words(Role.UPLINK, uplinks[0], guest.macs[0], guest) if lost else ""


def _cut_off(
    guest: GuestPort, before: Snapshot, after: Snapshot, intent: Intent, macs: Collection[str]
) -> Iterator[Harm]:
    """What is lost of the guest's addresses, and of ``macs`` by any guest on its bridge."""
    own = own_addresses(intent.ports)

    def addresses(each: GuestPort) -> Iterator[str]:
        if each.bridge == guest.bridge:
            yield from (mac for mac in may_have(each, own) if each.port == guest.port or mac in macs)

    return (harm for harm in harms(before, after, intent, addresses) if harm.cut_off)


def _closes_alone(finding: Finding, guest: GuestPort, intent: Intent, snapshot: Snapshot) -> bool:
    """The fix closes the guest's port, and an address that it is allowed gets its entry on another port by this plan.

    In between nobody reaches it, so the fix is the whole order.
    """
    if len(guest.macs) == 1 or not any(isinstance(step, SetFlags) and step.closes for step in finding.changes):
        return False
    before = reduced(snapshot, intent, {guest.bridge}, guest.macs)
    after = requested(before, (request for change in finding.changes for request in requests(change)))
    return any(_cut_off(guest, before, after, intent, guest.macs))


def _words(role: Role | None, other: str, mac: str, guest: GuestPort) -> str:
    return f"{'the host' if role is None else other} would no longer reach {mac} of {guest.domain}"


def _apply(guest: GuestPort, snapshot: Snapshot, intent: Intent, known: Known) -> Snapshot:
    """What macmgr would then do for the guest, if its interlock let it."""
    alone = replace(intent, ports=(guest,), findings=(), portless=())
    changes = plan(alone, snapshot, known).changes
    return requested(snapshot, (request for change in changes for request in requests(change)))


def _uplinks(snapshot: Snapshot, intent: Intent, guest: GuestPort) -> list[str]:
    """The uplinks from which the guest is reached."""
    found = consequences(
        snapshot, intent, lambda each: each.macs[:1] if each.port == guest.port else (), exposure=False
    )
    ways = (way for reach in found for way in reach.ways if way.role is Role.UPLINK and way.reached)
    return [other for way in ways for other in way.others]
