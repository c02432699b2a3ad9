"""Decides when to report a guest's MAC on a wrong port, and how often. Pure: the clock is an argument.

Three things show it: an event with the MAC on another port; a refreshed entry that nobody wrote; a frame that a packet
socket saw behind another guest's port. A refreshed sticky entry means that another port has learned the MAC
(br_fdb_update refreshes the entry and leaves it in place). The next look judges, not the one before: a guest that has
moved, or has just begun to run here, is no victim.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from macmgr.model.changes import Change, SetEntries
from macmgr.model.intent import GuestPort
from macmgr.model.kernelevents import EntryEvent, Event
from macmgr.model.known import Sighting
from macmgr.model.snapshot import EntryState, Key, Snapshot
from macmgr.view import View
from macmgr.watch.addresses import MacChange

# A guest that has just come to its port (start, resume, migration, a new tap) may still be seen at its old place.
GRACE = 5.0
# The first alarm is reported at once, then one in this many seconds at most, with a count.
EVERY = 60.0
# The least time from our write to a later frame: the kernel gives ages in hundredths of a second.
_APART = 0.5
# The ages of this many VIDs of one MAC are read; a trunk may have thousands.
_VIDS = 16


class Kind(StrEnum):
    THEFT = "theft"
    GUEST_MAC = "guest-mac-changed"


@dataclass(frozen=True, slots=True)
class Alarm:
    """A warning to a person about a guest's MAC.

    For a theft, ``seen_on`` are the ports that may have seen the MAC, usually one. For a changed address, ``mac`` is
    the new one and ``before`` the old one. ``times`` counts the cases not reported since the last alarm of this kind.
    ``at`` is the time by the caller's clock.
    """

    kind: Kind
    guest: GuestPort
    mac: str
    at: float
    vid: int = 0
    seen_on: tuple[str, ...] = ()
    before: str = ""
    times: int = 1


class _Home(NamedTuple):
    """The place where a MAC belongs, unchanged since ``since``."""

    guest: GuestPort
    ifindex: int
    vids: tuple[int, ...]
    since: float


@dataclass(slots=True)
class _Report:
    at: float
    more: int = 0


class Alarms:
    """The alarms of one host. Call `look` after each round, then pass everything seen since the round before."""

    def __init__(self) -> None:
        self._snapshot = Snapshot()
        self._homes: dict[tuple[str, str], _Home] = {}
        self._wrote: dict[tuple[str, str], float] = {}
        self._refreshed: dict[Key, float] = {}
        self._reports: dict[tuple[str, ...], _Report] = {}

    def look(self, view: View, now: float, done: Iterable[Change] = ()) -> None:
        """Notes, after a round, the place of each guest's MAC and the round's writes."""
        homes = {}
        uses = Counter((guest.bridge, mac) for guest in view.intent.ports for mac in guest.macs)
        shared = {mac for (_, mac), times in uses.items() if times > 1}
        fdb = view.snapshot.fdb
        for guest in view.intent.ports:
            port = view.snapshot.port_on(guest.bridge, guest.port)
            # an open port learns its own guest's MAC and refreshes the entry itself
            if not guest.managed or not guest.running or port is None or port.auto:
                continue
            vids = view.snapshot.deciding_vids(guest.port)
            for mac in guest.macs:
                # a MAC allowed to several guests belongs where its entry leads
                held = mac not in shared or fdb.static_on(guest.port, guest.bridge, mac)
                if mac not in guest.roaming and held:
                    known = self._homes.get((guest.bridge, mac))
                    same = known is not None and (known.guest.uuid, known.ifindex) == (guest.uuid, port.ifindex)
                    since = known.since if known is not None and same else now
                    homes[guest.bridge, mac] = _Home(guest, port.ifindex, vids, since)
        self._homes, self._snapshot = homes, view.snapshot
        wrote = {(change.bridge, change.mac): now for change in done if isinstance(change, SetEntries)}
        self._wrote = {place: at for place, at in (self._wrote | wrote).items() if place in homes}
        self._refreshed = {key: at for key, at in self._refreshed.items() if key[:2] in homes}
        self._reports = {what: report for what, report in self._reports.items() if now - report.at < 10 * EVERY}

    def entries(self, events: Iterable[Event], now: float) -> list[Alarm]:
        """Judges events from before that look: a guest's MAC on a port that is not the guest's."""
        bridges = {bridge.ifindex: name for name, bridge in self._snapshot.bridges.items()}
        ports = {port.ifindex: name for name, port in self._snapshot.ports.items()}
        found: list[Alarm] = []
        for event in events:
            if not isinstance(event, EntryEvent) or event.gone or event.extern_learn:
                continue
            place = bridges.get(event.bridge, ""), event.mac
            home = self._homes.get(place)
            if home is None or event.state is EntryState.LOCAL:
                continue
            if event.ifindex == home.ifindex:
                self._wrote[place] = now  # any write here explains an age that begins anew
            elif event.vid in (0, *home.vids) and now - home.since >= GRACE:
                seen_on = ports.get(event.ifindex, f"interface {event.ifindex}")
                found += self._theft(home, event.mac, event.vid, (seen_on,), now)
        return found

    def keys(self) -> list[Key]:
        """Returns the entries whose ages `ages` needs: the sticky ones of guests that run here."""
        wanted = ((*place, vid) for place, home in self._homes.items() for vid in home.vids[:_VIDS])
        found = self._snapshot.fdb.at_all(wanted)
        return [key for key, entry in found.items() if entry is not None and entry.sticky]

    def ages(self, ages: Mapping[Key, float | None], now: float) -> list[Alarm]:
        """Judges the ages of sticky entries, read after that look."""
        found: list[Alarm] = []
        for key, age in ages.items():
            home = self._homes.get(key[:2])
            if age is None or home is None:
                continue
            refreshed = now - age
            before = self._refreshed.get(key, home.since)
            self._refreshed[key] = max(refreshed, before)
            explained = max(home.since + GRACE, self._wrote.get(key[:2], 0.0), before) + _APART
            if refreshed > explained:
                candidates = tuple(sorted(self._learning_ports(key, home)))
                if candidates:
                    found += self._theft(home, key[1], key[2], candidates, now)
        return found

    def sightings(self, seen: Iterable[Sighting], now: float) -> list[Alarm]:
        """Judges frames with a guest's MAC that packet sockets saw behind another's port, which does not learn."""
        found: list[Alarm] = []
        for sighting in seen:
            port = self._snapshot.ports.get(sighting.port)
            if port is None or port.ifindex != sighting.ifindex:
                continue
            home = self._homes.get((port.bridge, sighting.mac))
            filtering = self._snapshot.bridges[port.bridge].vlan_filtering
            vid = (sighting.vid or port.pvid or 0) if filtering else 0
            if home is None or home.ifindex == port.ifindex or vid not in home.vids or now - home.since < GRACE:
                continue
            if not self._same_domain(port.ifindex, home):
                found += self._theft(home, sighting.mac, vid, (port.name,), now)
        return found

    def guest_macs(self, changes: Iterable[MacChange], now: float) -> list[Alarm]:
        """Reports guests that changed their address and are followed; the audit has a finding for the others."""
        found: list[Alarm] = []
        for change in changes:
            guest = change.guest
            if change.followed and (times := self._due((Kind.GUEST_MAC, guest.bridge, guest.port), now)):
                alarm = Alarm(Kind.GUEST_MAC, guest, change.mac, now, before=change.before, times=times)
                found.append(alarm)
        return found

    def _theft(self, home: _Home, mac: str, vid: int, seen_on: tuple[str, ...], now: float) -> Iterator[Alarm]:
        if times := self._due((Kind.THEFT, home.guest.bridge, mac, *seen_on), now):
            yield Alarm(Kind.THEFT, home.guest, mac, now, vid, seen_on, times=times)

    def _due(self, what: tuple[str, ...], now: float) -> int:
        """Returns the number of cases since the last report; 0 while the next report is not due."""
        report = self._reports.get(what)
        if report is not None and now - report.at < EVERY:
            report.more += 1
            return 0
        self._reports[what] = _Report(now)
        return 1 + (report.more if report is not None else 0)

    def _learning_ports(self, key: Key, home: _Home) -> Iterator[str]:
        bridge, _, vid = key
        for port in self._snapshot.ports.values():
            learns = port.bridge == bridge and port.ifindex != home.ifindex and port.flags.learning and port.up
            if learns and (not vid or vid in port.vids):
                yield port.name

    def _same_domain(self, ifindex: int, home: _Home) -> bool:
        """Two NICs of one guest may share an address: a bond inside it."""
        return any(each.ifindex == ifindex and each.guest.uuid == home.guest.uuid for each in self._homes.values())
