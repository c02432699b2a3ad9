"""What a change does to those who are reached now: who loses a guest, who hears it that did not. Pure.

A change list is harmless if no guest address that was reached is unreached after it, no guest is heard in a VLAN in
which it was not, and no isolated guests hear each other that did not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from macmgr.forwarding.consequences import Reach, Way, consequences
from macmgr.forwarding.reasons import Reason
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.roles import Role
from macmgr.model.snapshot import EntryState, Snapshot


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


def harms(before: Snapshot, after: Snapshot, intent: Intent) -> Iterator[Harm]:
    """Yields what a change from one snapshot to the other takes from guests, or lets others hear of them.

    Of each guest, the addresses that are in use behind its port now are asked for, too: a virtual router's, those of
    guests inside it. Nobody is harmed who comes to reach a guest by an uplink or from the host: that is a repair. Of a
    guest whose CPUs do not run here, nothing is asked: its addresses are elsewhere.
    """
    used = {guest.port: addresses_behind(before, guest.port) for guest in intent.ports}
    here = replace(intent, ports=tuple(guest for guest in intent.ports if guest.running))
    was, becomes = (_reaches(snapshot, here, used) for snapshot in (before, after))
    for place, reaches in was.items():
        if reaches != becomes.get(place):
            yield from _compared(reaches, becomes.get(place, []))


def addresses_behind(snapshot: Snapshot, port: str) -> tuple[str, ...]:
    """Returns the addresses to which entries on the port lead."""
    there = (entry.mac for entry in snapshot.fdb.of_port(port) if entry.state is not EntryState.LOCAL)
    return tuple(dict.fromkeys(there))


def _reaches(
    snapshot: Snapshot, intent: Intent, used: Mapping[str, tuple[str, ...]]
) -> Mapping[tuple[str, str], list[Reach]]:
    """All of each guest's address together."""
    found: dict[tuple[str, str], list[Reach]] = {}
    for reach in consequences(snapshot, intent, used):
        found.setdefault((reach.guest.port, reach.mac), []).append(reach)
    return found


def _compared(reaches: list[Reach], later: list[Reach]) -> Iterator[Harm]:
    was, becomes = _ways(reaches), _ways(later)
    found: dict[tuple[Role | None, str, Way | None, Way | None], list[int]] = {}
    for vid, role, other in {**was, **becomes}:
        old, new = was.get((vid, role, other)), becomes.get((vid, role, other))
        lost = old is not None and old.reached and not (new is not None and new.reached)
        heard = role not in (Role.UPLINK, None) and _hears(new) and _was_kept_from(old)
        if lost or heard:
            found.setdefault((role, other, old, new), []).append(vid)
    for (role, other, old, new), vids in found.items():
        yield Harm(reaches[0].guest, reaches[0].mac, tuple(sorted(vids)), role, other, old, new)


def _ways(reaches: list[Reach]) -> dict[tuple[int, Role | None, str], Way]:
    """The ways to one address, in each VID, from each of those whose ports are alike by itself."""
    return {
        (vid, way.role, other): replace(way, others=())
        for reach in reaches
        for vid in reach.vids
        for way in reach.ways
        for other in way.others
    }


def _hears(way: Way | None) -> bool:
    """The other one hears the guest's broadcast."""
    return way is not None and bool(way.back.reached)


def _was_kept_from(way: Way | None) -> bool:
    """Another VLAN or isolation kept the other one from hearing the guest; a lock or a state comes and goes."""
    return way is None or way.back.reason in (Reason.ISOLATED, Reason.NOT_IN_VLAN, Reason.NOT_IN_VLAN_IN)
