"""What a change does to those who are reached now: who loses a guest, who hears it that did not. Pure.

A change list is harmless if no guest address that was reached is unreached after it, no guest is heard in a VLAN in
which it was not, and no isolated guests hear each other that did not. What a guest's XML asks for harms nobody: a port
that comes into its own VLAN is lost to those in the other, and an isolated one to isolated ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import NamedTuple

from macmgr.forwarding.consequences import Reach, Way, consequences
from macmgr.forwarding.guestaddresses import where_they_are
from macmgr.forwarding.justsent import just_sent, turns
from macmgr.forwarding.reasons import Fate, Reason
from macmgr.model.flags import LOCKED, with_flag
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.roles import Role
from macmgr.model.snapshot import EntryState, Snapshot

_OUTSIDE_VLAN = (Reason.NOT_IN_VLAN, Reason.NOT_IN_VLAN_IN)

Place = tuple[str, str, int]
"""Port, MAC address and VID."""


class Harm(NamedTuple):
    """A guest's address in some VIDs, and somebody who reached it and does not any more, or comes to hear it.

    ``before`` and ``after`` are the way between them; None where there was or is none, as in another VLAN.
    """

    guest: GuestPort
    mac: str
    vids: tuple[int, ...]
    role: Role | None
    other: str
    before: Way | None
    after: Way | None

    @property
    def cut_off(self) -> bool:
        """The guest was reached, and is not any more. If False, it is heard by somebody who did not hear it."""
        return _may_reach(self.before)

    @property
    def whom(self) -> str:
        """The other one in words."""
        if self.role is None:
            return "the host"
        return f"the uplink {self.other}" if self.role is Role.UPLINK else self.other


def harms(
    before: Snapshot,
    after: Snapshot,
    intent: Intent,
    addresses: Callable[[GuestPort], Iterable[str]] = lambda guest: guest.macs,
    without: Collection[Place] = (),
) -> Iterator[Harm]:
    """Yields what a change from one snapshot to the other takes from guests, or lets others hear of them.

    ``addresses`` are those of a guest that are asked for; ``without`` are places in which it has none. Nobody is harmed
    who comes to reach a guest by an uplink or from the host: that is a repair. Of a guest whose CPUs do not run here,
    nothing is asked: its addresses are elsewhere. An address that several guests have is reached if one of them is;
    but not one that is only in use behind a guest's port. An entry that is not sticky is where somebody sent last, and
    goes along with the next frame of another one. So for an address that several have, and for one that leads
    elsewhere, the same is asked once more for each as it is when it has just sent. What was learned on a port ages once
    that learns no more: nothing refreshes the entry. A guest on another bridge than its own is asked for there; that it
    is reached there by mistake makes up for nobody who is at home.
    """
    at_home = {(guest.port, guest.bridge) for guest in intent.ports}
    intent, after = where_they_are(intent, before), _aged(before, after)
    strays = {guest.port for guest in intent.ports if (guest.port, guest.bridge) not in at_home}
    before, after = (_with_waiting_let_in(snapshot, intent) for snapshot in (before, after))

    def asked(guest: GuestPort) -> Iterable[str]:
        return addresses(guest) if guest.running else ()

    found = [*_harms(before, after, intent, asked, without, strays)]
    for turn in turns(before, intent, asked):
        own: dict[str, list[str]] = {}
        for guest, mac in turn:
            own.setdefault(guest.port, []).append(mac)
        again = _harms(just_sent(before, turn), just_sent(after, turn), intent, asked, without, strays, own)
        known = {(harm.guest.port, harm.mac, harm.other, harm.vids) for harm in found}
        found += (harm for harm in again if (harm.guest.port, harm.mac, harm.other, harm.vids) not in known)
    yield from found


def _aged(before: Snapshot, after: Snapshot) -> Snapshot:
    learned = {name for name, port in before.ports.items() if port.flags.learning}
    closed = {name for name in learned & after.ports.keys() if not after.ports[name].flags.learning}
    kept = (each for each in after.entries if each.port not in closed or each.state is not EntryState.DYNAMIC)
    return replace(after, entries=tuple(kept)) if closed else after


def _with_waiting_let_in(snapshot: Snapshot, intent: Intent) -> Snapshot:
    """The snapshot without the locks of guests whose CPUs do not run here: the entry that lets one in comes with them.

    Whom such a guest reaches then is not lost because its port is locked meanwhile.
    """
    names = {guest.port for guest in intent.ports if not guest.running}
    locked = {name: port for name, port in snapshot.ports.items() if name in names and port.flags.locked}
    ports = {name: replace(port, flags=with_flag(port.flags, LOCKED, value=False)) for name, port in locked.items()}
    return replace(snapshot, ports={**snapshot.ports, **ports}) if ports else snapshot


def _harms(
    before: Snapshot,
    after: Snapshot,
    intent: Intent,
    asked: Callable[[GuestPort], Iterable[str]],
    without: Collection[Place],
    strays: Collection[str],
    own: Mapping[str, Collection[str]] | None = None,
) -> Iterator[Harm]:
    """``own`` are those of the addresses of ports of which harm counts; None: all that are asked for."""

    def having(mac: str) -> Mapping[tuple[str, str], list[Reach]]:
        return _reaches(after, intent, lambda guest: (mac,) if mac in asked(guest) else ())

    def counts(guest: GuestPort) -> Iterable[str]:
        return asked(guest) if own is None else own.get(guest.port, ())

    was, becomes = (_reaches(snapshot, intent, counts) for snapshot in (before, after))
    to_be = {guest.port for guest in intent.ports if guest.facts.isolated}
    to_be |= {port.name for port in before.ports.values() if port.isolated}
    isolated = {port.name for port in after.ports.values() if port.isolated and port.name in to_be}
    old = before.bridges
    newly = {
        name for name, now in after.bridges.items() if name in old and now.vlan_filtering > old[name].vlan_filtering
    }
    at_home = {guest.port: vids for guest in intent.ports if (vids := _home(guest, newly)) is not None}
    foreign = {  # VIDs that a port comes into and its XML does not ask for
        name: {*port.vids}.difference(old_port.vids, at_home.get(name, ()))
        for name, port in after.ports.items()
        if (old_port := before.ports.get(name)) is not None and port.vids != old_port.vids
    }
    found: list[Harm] = []
    for key, reaches in was.items():
        later = becomes.get(key, [])
        guest, mac = reaches[0].guest, reaches[0].mac
        if guest.bridge not in newly:
            found += _compared(reaches, later, without, isolated, foreign) if reaches != later else ()
        elif (guest.port, mac, 0) not in without:
            found += _once_filtered(reaches[0], later, at_home.get(guest.port))
    whose = {guest.port: (guest.domain, guest.uuid) for guest in intent.ports}
    of_mac: dict[str, Mapping[tuple[str, str], list[Reach]]] = {}
    for harm in found:
        if harm.cut_off and harm.other in at_home:  # in any other VLAN, it had the guest by mistake
            vids = tuple(vid for vid in harm.vids if not vid or vid in at_home[harm.other])
            if not vids:
                continue
            harm = harm._replace(vids=vids)
        if whose.get(harm.other) == whose.get(harm.guest.port):
            continue  # NICs of one guest hide nothing from each other: a bond sends by one or the other
        if harm.cut_off and harm.mac in harm.guest.macs:
            if harm.mac not in of_mac:
                of_mac[harm.mac] = having(harm.mac)
            twins = (each for (port, _), each in of_mac[harm.mac].items() if port not in {harm.guest.port, *strays})
            if any(_reached_too(harm, reaches) for reaches in twins):
                continue
        yield harm


def reduced(snapshot: Snapshot, intent: Intent, bridges: Collection[str], macs: Collection[str]) -> Snapshot:
    """Returns the snapshot without the bridges and entries that decide nothing about these.

    A locked port asks for the entry of what sends by it.
    """
    ports = {name: port for name, port in snapshot.ports.items() if port.bridge in bridges}
    senders = (guest for guest in intent.ports if guest.port in ports and ports[guest.port].flags.locked)
    wanted = dict.fromkeys((*macs, *(guest.macs[0] for guest in senders)))
    entries = (entry for bridge in bridges for mac in wanted for entry in snapshot.fdb.of_mac(bridge, mac).values())
    there = {name: snapshot.bridges[name] for name in snapshot.bridges if name in bridges}
    stacked = tuple(each for each in snapshot.stacked if each.bridge in there)
    return replace(snapshot, bridges=there, ports=ports, entries=tuple(entries), stacked=stacked)


def _reaches(
    snapshot: Snapshot, intent: Intent, addresses: Callable[[GuestPort], Iterable[str]]
) -> Mapping[tuple[str, str], list[Reach]]:
    """All of each guest's address together."""
    found: dict[tuple[str, str], list[Reach]] = {}
    for reach in consequences(snapshot, intent, addresses, exposure=False):
        found.setdefault((reach.guest.port, reach.mac), []).append(reach)
    return found


def _compared(
    reaches: list[Reach],
    later: list[Reach],
    without: Collection[Place],
    isolated: AbstractSet[str],
    foreign: Mapping[str, AbstractSet[int]],
) -> Iterator[Harm]:
    """Compares the VIDs in which all is alike, before and after, and in them the ports that are alike."""
    guest, mac = reaches[0].guest, reaches[0].mac
    still = _has_a_way_out(later)
    of_vid = {vid: reach for reach in later for vid in reach.vids}

    def later_ways(vid: int) -> Sequence[Way]:
        return of_vid[vid].ways if vid in of_vid else ()

    for reach in reaches:
        vids: dict[int, list[int]] = {}
        for vid in reach.vids:
            if (guest.port, mac, vid) not in without:
                vids.setdefault(id(of_vid.get(vid)), []).append(vid)
        for there in vids.values():
            yield from _in_vids(guest, mac, there, reach.ways, later_ways(there[0]), still, isolated, foreign)
    had = {vid for reach in reaches for vid in reach.vids}
    for reach in later:
        new = [vid for vid in reach.vids if vid not in had and (guest.port, mac, vid) not in without]
        if new:
            yield from _in_vids(guest, mac, new, (), reach.ways, still, isolated, foreign)


def _once_filtered(before: Reach, later: Sequence[Reach], asked: Collection[int] | None) -> Iterator[Harm]:
    """The bridge comes to filter VLANs: who reached the guest must reach it in one of its VLANs.

    Where its XML has ``asked`` for some, those that are in none of them are lost to it; but a way out must be left.
    """
    guest, in_its_vlans = before.guest, [each for each in later if asked is None or not {*asked}.isdisjoint(each.vids)]
    vids = tuple(vid for each in in_its_vlans for vid in each.vids if asked is None or vid in asked)
    becomes: dict[tuple[Role | None, str], Way] = {}
    for way in (way for each in in_its_vlans for way in each.ways):
        for key in ((way.role, other) for other in way.others):
            if key not in becomes or (way.reached and not becomes[key].reached):
                becomes[key] = way
    still = _has_a_way_out(later)
    for way in before.ways:
        for other in way.others:
            new = becomes.get((way.role, other))
            apart = asked is not None and (new is None or new.reason in _OUTSIDE_VLAN)
            harmless = apart and (still or way.role is not Role.UPLINK)
            if not harmless and _is_lost(guest, 0, way.role, way, new, still):
                yield Harm(guest, before.mac, vids, way.role, other, way, new)


def _has_a_way_out(reaches: Iterable[Reach]) -> bool:
    return any(way.reached for reach in reaches for way in reach.ways if way.role is Role.UPLINK)


def _in_vids(
    guest: GuestPort,
    mac: str,
    vids: Sequence[int],
    old: Sequence[Way],
    new: Sequence[Way],
    still: bool,
    isolated: AbstractSet[str],
    foreign: Mapping[str, AbstractSet[int]],
) -> Iterator[Harm]:
    """``still``: an uplink reaches the guest afterwards, in any VID."""
    for role, others, was, becomes in _pairs(old, new):
        if was is not None and was.back.reached and becomes is not None and becomes.reached:
            continue
        found = tuple(
            vid
            for vid in vids
            if _is_lost(guest, vid, role, was, becomes, still) or _is_heard(guest, vid, role, was, becomes)
        )
        apart = becomes is not None and becomes.reason is Reason.ISOLATED and role is not Role.UPLINK
        hears = becomes is not None and _may_arrive(becomes.back) and role is not Role.UPLINK
        for other in others:
            harmed = found or tuple(vid for vid in vids if hears and vid in foreign.get(other, ()))
            if harmed and not (apart and isolated >= {guest.port, other}):  # as their XML asks for, or as before
                yield Harm(guest, mac, harmed, role, other, was, becomes)


def _pairs(
    old: Sequence[Way], new: Sequence[Way]
) -> Iterator[tuple[Role | None, Sequence[str], Way | None, Way | None]]:
    """The ways before and after of the same others: ports that were alike may be so no more."""
    of_others = {(way.role, way.others): way for way in new}
    apart: dict[tuple[Role | None, str], Way] = {}
    for way in old:
        if (same := of_others.pop((way.role, way.others), None)) is not None:
            yield way.role, way.others, way, same
        else:
            apart |= {(way.role, other): way for other in way.others}
    becomes = {(way.role, other): way for way in of_others.values() for other in way.others}
    for role, other in {**apart, **becomes}:
        yield role, (other,), apart.get((role, other)), becomes.get((role, other))


def _is_lost(guest: GuestPort, vid: int, role: Role | None, old: Way | None, new: Way | None, still: bool) -> bool:
    """The other one reached the guest, and does not any more.

    A sender that its own port does not let in is lost to everybody: that is judged where the sender is.
    """
    if not _may_reach(old) or _may_reach(new):
        return False
    if vid and vid not in (_vids_asked_for(guest) or (vid,)):
        return role is Role.UPLINK and not still
    return new is None or not (role is Role.GUEST and new.there.reason is Reason.LOCKED)


def _may_reach(way: Way | None) -> bool:
    return way is not None and (way.reached is True or (way.reached is None and way.reason is Reason.MAB))


def _may_arrive(fate: Fate) -> bool:
    """It does; or a port with MAB may hold it, and nothing says that it does."""
    return fate.reached is True or (fate.reached is None and fate.reason is Reason.MAB)


def _is_heard(guest: GuestPort, vid: int, role: Role | None, old: Way | None, new: Way | None) -> bool:
    """The other one comes to hear the guest, from whom another VLAN or isolation kept it; a lock or state only rests.

    In the VLAN of the guest's XML, the guest is at home.
    """
    if role in (Role.UPLINK, None) or new is None or not _may_arrive(new.back):
        return False
    if old is None or old.back.reason in _OUTSIDE_VLAN:
        return vid not in (_vids_asked_for(guest) or ())
    return old.back.reason is Reason.ISOLATED


def _vids_asked_for(guest: GuestPort) -> Collection[int] | None:
    """The VIDs of the XML. None if it asks for none, or nobody has carried it out."""
    return guest.facts.vlan.vids if guest.facts.vlan is not None and guest.facts.vlan_live else None


def _home(guest: GuestPort, newly: Collection[str]) -> Collection[int] | None:
    """Its VIDs as above. A bridge that comes to filter VLANs carries out what nobody has until then."""
    if guest.bridge in newly and guest.facts.vlan is not None:
        return guest.facts.vlan.vids
    return _vids_asked_for(guest)


def _reached_too(harm: Harm, later: list[Reach]) -> bool:
    """Another guest with the same address is reached by whom this one has lost, in those VIDs."""
    ways = (way for reach in later if not {*harm.vids}.isdisjoint(reach.vids) for way in reach.ways)
    found = [way.reached for way in ways if way.role is harm.role and harm.other in way.others]
    return harm.other == later[0].guest.port or (bool(found) and all(found))
