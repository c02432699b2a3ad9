"""What a change does to those who are reached now: who loses a guest, who hears it that did not. Pure.

A change list is harmless if no guest address that was reached is unreached after it, no guest is heard in a VLAN in
which it was not, and no isolated guests hear each other that did not. What a guest's XML asks for harms nobody: a port
that comes into its own VLAN is lost to those in the other, and an isolated one to isolated ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from macmgr.forwarding.consequences import Reach, Way, consequences
from macmgr.forwarding.reasons import Reason
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.roles import Role
from macmgr.model.snapshot import Snapshot

Place = tuple[str, str, int]
"""Port, MAC address and VID."""
_From = tuple[int, Role | None, str]


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
        return self.before is not None and bool(self.before.reached)


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
    but not one that is only in use behind a guest's port.
    """

    def asked(guest: GuestPort) -> Iterable[str]:
        return addresses(guest) if guest.running else ()

    was, becomes = (_reaches(snapshot, intent, asked) for snapshot in (before, after))
    found: list[Harm] = []
    for key, reaches in was.items():
        later = becomes.get(key, [])
        if reaches != later and not _all_is_well(reaches, later):
            found += _compared(reaches, later, without)
    for harm in found:
        twins = (reaches for (port, mac), reaches in becomes.items() if mac == harm.mac and port != harm.guest.port)
        has_it = harm.cut_off and harm.mac in harm.guest.macs
        if not (has_it and any(_reached_too(harm, reaches) for reaches in twins)):
            yield harm


def _reaches(
    snapshot: Snapshot, intent: Intent, addresses: Callable[[GuestPort], Iterable[str]]
) -> Mapping[tuple[str, str], list[Reach]]:
    """All of each guest's address together."""
    found: dict[tuple[str, str], list[Reach]] = {}
    for reach in consequences(snapshot, intent, addresses, exposure=False):
        found.setdefault((reach.guest.port, reach.mac), []).append(reach)
    return found


def _all_is_well(reaches: list[Reach], later: list[Reach]) -> bool:
    """Everybody reaches the guest, as they hear it now: no pair of them has to be looked at."""
    same = [reach.vids for reach in reaches] == [reach.vids for reach in later]
    hear = all(way.back.reached for reach in reaches for way in reach.ways)
    return same and hear and all(way.reached for reach in later for way in reach.ways)


def _compared(reaches: list[Reach], later: list[Reach], without: Collection[Place]) -> Iterator[Harm]:
    guest, mac = reaches[0].guest, reaches[0].mac
    was, becomes = _ways(reaches), _ways(later)
    found: dict[tuple[Role | None, str, Way | None, Way | None], list[int]] = {}
    for place in {**was, **becomes}:
        vid, role, other = place
        old, new = was.get(place), becomes.get(place)
        if (guest.port, mac, vid) in without:
            continue
        if _is_lost(guest, place, old, new, becomes) or _is_heard(guest, place, old, new):
            found.setdefault((role, other, old, new), []).append(vid)
    for (role, other, old, new), vids in found.items():
        yield Harm(guest, mac, tuple(sorted(vids)), role, other, old, new)


def _ways(reaches: list[Reach]) -> dict[_From, Way]:
    """The ways to one address, in each VID, from each of those whose ports are alike by itself."""
    return {
        (vid, way.role, other): replace(way, others=())
        for reach in reaches
        for vid in reach.vids
        for way in reach.ways
        for other in way.others
    }


def _is_lost(guest: GuestPort, place: _From, old: Way | None, new: Way | None, ways: Mapping[_From, Way]) -> bool:
    """The other one reached the guest, and does not any more.

    A sender that its own port does not let in is lost to everybody: that is judged where the sender is.
    """
    vid, role, _ = place
    if old is None or not old.reached or (new is not None and new.reached):
        return False
    if vid and vid not in (_vids_asked_for(guest) or (vid,)):
        return role is Role.UPLINK and not any(way.reached for (_, by, _), way in ways.items() if by is role)
    if new is None:
        return True
    asked_for = guest.facts.isolated and new.reason is Reason.ISOLATED and role is not Role.UPLINK
    return not asked_for and not (role is Role.GUEST and new.there.reason is Reason.LOCKED)


def _is_heard(guest: GuestPort, place: _From, old: Way | None, new: Way | None) -> bool:
    """The other one comes to hear the guest, from whom another VLAN or isolation kept it; a lock or state only rests.

    In the VLAN of the guest's XML, the guest is at home.
    """
    vid, role, _ = place
    if role in (Role.UPLINK, None) or new is None or not new.back.reached:
        return False
    if old is None or old.back.reason in (Reason.NOT_IN_VLAN, Reason.NOT_IN_VLAN_IN):
        return vid not in (_vids_asked_for(guest) or ())
    return old.back.reason is Reason.ISOLATED


def _vids_asked_for(guest: GuestPort) -> Collection[int] | None:
    """The VIDs of the XML. None if it asks for none, or nobody has carried it out."""
    return guest.facts.vlan.vids if guest.facts.vlan is not None and guest.facts.vlan_live else None


def _reached_too(harm: Harm, later: list[Reach]) -> bool:
    """Another guest with the same address is reached by whom this one has lost, in those VIDs."""
    ways = _ways(later)
    found = (ways.get((vid, harm.role, harm.other)) for vid in harm.vids)
    return harm.other == later[0].guest.port or all(way is not None and way.reached for way in found)
