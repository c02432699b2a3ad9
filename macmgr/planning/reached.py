"""Judges a look by frames: the consequence of each finding, and guests that no other finding explains. Pure.

Entries and flags are means. `macmgr.forwarding.consequences` says which guests get frames, and every finding is judged
by that: a missing entry behind a port that floods cuts nobody off, and one behind a closed port does. A guest that is
not reached, though its entries and flags are as wanted, is a finding by itself: its port or an uplink is down or does
not forward, or no uplink is in its VLAN.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from macmgr.forwarding.consequences import Reach, Way
from macmgr.forwarding.reasons import Reason
from macmgr.model.codes import Code, Consequence, Severity
from macmgr.model.findings import Finding, Fixes, Repair
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.roles import Role, uplinks_of
from macmgr.model.snapshot import Snapshot
from macmgr.model.vids import fold_vids
from macmgr.phrases import are, first_few
from macmgr.planning.fate import is_about, with_fate
from macmgr.planning.portvlans import vlans_of

_FEW = 3  # guests that a message names
_DOWN = (
    Reason.BRIDGE_DOWN,
    Reason.NO_PORT_FORWARDS,
    Reason.PORT_DOWN,
    Reason.NO_CARRIER,
    Reason.NOT_OPERATIONAL,
)
_OF_THE_BRIDGE = (Reason.BRIDGE_DOWN, Reason.NO_PORT_FORWARDS)
# No entry helps against these.
_BESIDE_THE_TABLE = (
    *_DOWN,
    *(Reason.DISABLED, Reason.LISTENING, Reason.LEARNING, Reason.LEARNING_ONLY, Reason.BLOCKING),
    *(Reason.VLAN_STATE, Reason.VLAN_STATE_IN),
)
_OF_THE_TABLE = (Code.MISSING_ENTRY, Code.STOLEN_ENTRY, Code.LOCAL_ENTRY)
_NOT_IN_VLAN = (Reason.NOT_IN_VLAN_IN, Reason.VLAN_DEVICE)
# What a finding that can cut off does to a guest that is reached, where the next frame does not decide.
_REACHED = {
    Code.MISSING_ENTRY: Consequence.COST,  # its port floods, so all frames for it go to each such port
    Code.WRONG_VLAN: Consequence.EXPOSED,  # in a VLAN that is not its own
}
# Nothing is done for such a port until that is ended: if its guest is not reached, this is why.
_LEFT_ALONE = (Code.SHARED_TAP, Code.UNREADABLE_XML, Code.NOT_GIVEN_BACK)


def judged(
    findings: Iterable[Finding], reaches: Sequence[Reach], intent: Intent, snapshot: Snapshot
) -> tuple[Finding, ...]:
    """Returns the findings with their consequences, the worst first, and with those that only frames show."""
    of_port: dict[str, list[Reach]] = {}
    for reach in reaches:
        of_port.setdefault(reach.guest.port, []).append(reach)
    guests = {guest.port: guest for guest in intent.ports}
    uplinks = {port.name for port in uplinks_of(snapshot.ports.values(), guests)}
    said = [with_fate(_judged(finding, guests, uplinks, of_port), of_port, snapshot) for finding in _merged(findings)]
    explained = {finding.port for finding in said if finding.consequence is Consequence.CUT_OFF and finding.port}
    said += [outage.finding for outage in outages(reaches, intent, snapshot, explained)]
    said += _lost_uplinks(
        reaches, intent, snapshot, {finding.port for finding in said if finding.code is Code.PORT_DOWN}
    )
    severities, consequences = list(Severity), list(Consequence)
    return tuple(
        sorted(
            said,
            key=lambda each: (
                each.consequence is not Consequence.CUT_OFF or each.severity is Severity.INFO,
                severities.index(each.severity),
                consequences.index(each.consequence),
            ),
        )
    )


def _merged(findings: Iterable[Finding]) -> Iterator[Finding]:
    """One finding for those that differ only in the VID: a trunk has thousands."""
    fixes, groups = Fixes(), dict[Finding, list[Finding]]()
    for finding in findings:
        key = replace(finding, vid=None, mends=(), note=fixes.of(finding).text)
        groups.setdefault(key, []).append(finding)
    for group in groups.values():
        yield replace(group[0], vids=tuple(each.vid for each in group if each.vid is not None))


def _judged(
    finding: Finding,
    guests: Mapping[str, GuestPort],
    uplinks: Collection[str],
    reaches: Mapping[str, Sequence[Reach]],
) -> Finding:
    guest = guests.get(finding.port)
    if finding.code is Code.STALE_ENTRY and finding.port in uplinks:  # where the guest may be; not once it is back
        return replace(finding, judged=Consequence.AT_RISK)
    if guest is None or guest.domain != finding.domain or finding.code is Code.STALE_ENTRY:
        return finding
    if not guest.running:
        at_rest = guest.state == "paused" and finding.code.consequence is Consequence.CUT_OFF
        return replace(finding, judged=Consequence.AT_RISK) if at_rest else finding
    about = [reach for reach in reaches.get(guest.port, ()) if is_about(finding, reach)]
    if not about:  # it is on no bridge, or on another one
        cut = finding.code.consequence is Consequence.CUT_OFF
        return replace(finding, reached=False) if cut else finding
    found = [reach.reached for reach in about]
    reached = False if False in found else None if None in found else True
    return replace(finding, judged=_consequence(finding.code, about, reached=reached), reached=reached)


def _consequence(code: Code, about: Sequence[Reach], *, reached: bool | None) -> Consequence:
    """A finding that can cut a guest off does so where the guest is not reached. The others keep their own."""
    if code.consequence is Consequence.CUT_OFF:
        if reached is not True and not (code in _OF_THE_TABLE and _lost_beside_the_table(about)):
            return Consequence.CUT_OFF
        return _REACHED.get(code, Consequence.AT_RISK)
    left_alone = code in _LEFT_ALONE and not _lost_beside_the_table(about)
    if reached is False and (left_alone or (code is Code.CONFLICTING_SETTINGS and _both_isolated(about))):
        return Consequence.CUT_OFF
    if code is Code.FLOOD_ON and not any(reach.hears_others is not False for reach in about):
        return Consequence.COST
    return code.consequence


def _lost_beside_the_table(about: Iterable[Reach]) -> bool:
    """The guest is not reached, and would not be with its entry: that is a finding of its own."""
    ways = [way for reach in about if reach.reached is False for way in reach.outside]
    return bool(ways) and all(way.reason in _BESIDE_THE_TABLE for way in ways)


def _both_isolated(about: Iterable[Reach]) -> bool:
    return any(way.reason is Reason.ISOLATED for reach in about for way in reach.outside)


def unreached(reaches: Iterable[Reach]) -> Iterator[tuple[Reach, frozenset[int]]]:
    """Yields who is cut off, and in which VIDs.

    A guest that is reached in one VLAN may carry others that lead nowhere from here, unless its XML asks for them.
    """
    reaches = list(reaches)
    reached = {reach.guest.port for reach in reaches if reach.reached and reach.mac == reach.guest.macs[0]}
    for reach in reaches:
        if not reach.cut_off:
            continue
        vids = frozenset(reach.vids)
        if reach.guest.port in reached and _outside_the_vlan(reach):
            wanted = vlans_of(reach.guest)
            vids = vids.intersection(wanted.vids if wanted else ())
            if not vids:
                continue
        yield reach, vids


def _outside_the_vlan(reach: Reach) -> bool:
    return all(each.reason in _NOT_IN_VLAN for each in reach.outside)


class Outage(NamedTuple):
    """Guests that are cut off at one place, and the finding that says why."""

    finding: Finding
    guests: tuple[GuestPort, ...]


def outages(
    reaches: Iterable[Reach], intent: Intent, snapshot: Snapshot, explained: Iterable[str] = ()
) -> Iterator[Outage]:
    """Yields why guests are cut off, one finding a place: their own port, an uplink, a bridge.

    Ports that are ``explained`` have a finding of their own already.
    """
    cut = [
        (reach, vids)
        for reach, vids in unreached(reaches)
        if vids and reach.guest.port not in {*explained} and reach.guest.bridge in intent.managed_bridges
    ]
    places: dict[tuple[str, str, Reason, tuple[str, ...]], dict[GuestPort, set[int]]] = {}
    outside: dict[GuestPort, set[int]] = {}
    for reach, vids in cut:
        if _outside_the_vlan(reach):
            outside.setdefault(reach.guest, set()).update(vids)
            continue
        way = reach.outside[0]
        place = reach.guest.bridge, _place(reach, way), way.reason, way.instead
        places.setdefault(place, {}).setdefault(reach.guest, set()).update(vids)
    for (bridge, name, reason, instead), guests in places.items():
        yield Outage(_not_reached(bridge, name, reason, instead, guests, snapshot), tuple(guests))
    for guest, lost in outside.items():
        yield Outage(_without_uplink(guest, lost, snapshot, reaches), (guest,))


def _lost_uplinks(
    reaches: Iterable[Reach], intent: Intent, snapshot: Snapshot, known: Collection[str]
) -> Iterator[Finding]:
    """Yields a finding for each uplink that is down while guests are reached by another one: a network is lost.

    Two uplinks lead to two networks, or STP keeps one of them in reserve.
    """
    lost: dict[tuple[str, str, Reason], dict[str, tuple[str, ...]]] = {}
    for reach in reaches:
        guest = reach.guest
        if not reach.reached or not guest.running or reach.mac != guest.macs[0]:
            continue
        if guest.bridge not in intent.managed_bridges:
            continue
        left = tuple(name for way in reach.outside if way.reached for name in way.others)
        for way in reach.outside:
            if way.role is Role.UPLINK and not way.here and way.reached is False and way.reason in _DOWN:
                for name in way.others:
                    lost.setdefault((guest.bridge, name, way.reason), {})[guest.domain] = left
    for (bridge, name, reason), domains in lost.items():
        if name in known:
            continue
        left = tuple(dict.fromkeys(name for names in domains.values() for name in names))
        yield Finding(
            Code.PORT_DOWN,
            f"{_words(reason, f'the uplink {name} of {bridge}')}: nobody behind it reaches "
            f"{first_few(sorted(domains), _FEW)}, who {are([*domains])} reached by {first_few(left, _FEW)} alone",
            bridge,
            name,
            mends=_mends(reason, name, snapshot),
            note=_NOTES.get(reason, ""),
            judged=Consequence.AT_RISK,
        )


def _place(reach: Reach, way: Way) -> str:
    """The interface that the reason is about."""
    if way.reason in _OF_THE_BRIDGE:
        return reach.guest.bridge
    if way.here:
        return reach.guest.port
    return way.others[0]


def _not_reached(
    bridge: str,
    place: str,
    reason: Reason,
    instead: Sequence[str],
    guests: Mapping[GuestPort, set[int]],
    snapshot: Snapshot,
) -> Finding:
    code = Code.PORT_DOWN if reason in _DOWN else Code.NOT_FORWARDING
    own = next((guest for guest in guests if guest.port == place), None)
    domains = sorted({guest.domain for guest in guests})
    vids = sorted(set().union(*guests.values()))
    where = f" in VID {fold_vids(vids)}" if vids != [0] and reason in (Reason.VLAN_STATE, Reason.VLAN_STATE_IN) else ""
    who = place if own or place == bridge else f"the uplink {place} of {bridge}"
    why = f"its address leads to {first_few(instead, _FEW)}, not to {place}" if instead and own else _words(reason, who)
    message = f"{first_few(domains, _FEW)} {are(domains)} cut off: {why}{where}"
    return Finding(
        code,
        message,
        bridge,
        place if place != bridge else "",
        own.domain if own else None,
        own.macs[0] if own else "",
        mends=_mends(reason, place, snapshot),
        note=_NOTES.get(reason, ""),
        judged=Consequence.CUT_OFF,
        reached=False if own else None,
    )


def _words(reason: Reason, who: str) -> str:
    return _SAID[reason].format(who) if reason in _SAID else f"{who}: {reason.words}"


_SAID = {
    Reason.BRIDGE_DOWN: "{} is down",
    Reason.NO_PORT_FORWARDS: "none of the ports of {} forwards",
    Reason.PORT_DOWN: "{} is down",
    Reason.NO_CARRIER: "{} has no carrier",
    Reason.NOT_OPERATIONAL: "{} is up, but not operational (dormant, or a lower device is down)",
    Reason.DISABLED: "{} is disabled (STP)",
    Reason.LISTENING: "{} is listening (STP), and does not forward yet",
    Reason.LEARNING: "{} is learning (STP), and does not forward yet",
    Reason.LEARNING_ONLY: "{} is learning (STP), and does not forward yet",
    Reason.BLOCKING: "{} is blocked (STP)",
    Reason.VLAN_STATE: "{} does not forward (MSTP)",
    Reason.VLAN_STATE_IN: "{} does not forward (MSTP)",
    Reason.NOT_FLOODED: "no FDB entry knows its address, and {} gets no unknown unicast",
    Reason.OTHER_PORT: "an FDB entry leads its frames elsewhere, not to {}",
    Reason.NO_BROADCAST: "{} gets no broadcast (bcast_flood is off), so nobody finds its address",
    Reason.ISOLATED: "{} and the other port are both isolated",
    Reason.LOCKED: "{} is locked, and no entry lets the guest's frames in",
}
_NOTES = {
    Reason.NO_CARRIER: "see to the cable, the switch, or the program that holds the other end",
    Reason.LISTENING: "wait for the forward delay; 'bridge -d link' shows the state",
    Reason.LEARNING: "wait for the forward delay; 'bridge -d link' shows the state",
    Reason.LEARNING_ONLY: "wait for the forward delay; 'bridge -d link' shows the state",
    Reason.BLOCKING: "STP keeps a loop open, or a person blocked it; 'bridge -d link' shows the state",
    Reason.DISABLED: "'bridge -d link' shows the state",
}


def _mends(reason: Reason, place: str, snapshot: Snapshot) -> tuple[Repair, ...]:
    if reason in (Reason.PORT_DOWN, Reason.BRIDGE_DOWN) and (place in snapshot.ports or place in snapshot.bridges):
        return (("ip", "link", "set", "dev", place, "up"),)
    return ()


def _without_uplink(guest: GuestPort, vids: set[int], snapshot: Snapshot, reaches: Iterable[Reach]) -> Finding:
    ways = next(reach.outside for reach in reaches if reach.guest is guest and vids & {*reach.vids})
    uplinks = [name for way in ways for name in way.others if way.role is Role.UPLINK]
    folded = fold_vids(sorted(vids))
    taken = any(way.reason is Reason.VLAN_DEVICE for way in ways)
    why = (
        f"a VLAN device on {first_few(uplinks, _FEW)} takes the frames of that VLAN before the bridge"
        if taken
        else f"no uplink of {guest.bridge} carries it ({first_few(uplinks, _FEW)} {are(uplinks)} in others)"
    )
    single = len(uplinks) == 1 and not taken
    return Finding(
        Code.VLAN_WITHOUT_UPLINK,
        f"{guest.domain} is cut off in VID {folded}: {guest.port} is in that VLAN, and {why}",
        guest.bridge,
        guest.port,
        guest.domain,
        guest.macs[0],
        mends=tuple(("bridge", "vlan", "add", "dev", uplinks[0], "vid", run) for run in folded.split(","))
        if single
        else (),
        note="" if single else "let an uplink carry it, if the guest is to be reached from there",
        judged=Consequence.CUT_OFF,
        reached=False,
    )
