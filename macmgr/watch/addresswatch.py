"""Watches MAC addresses between rounds: new ones of guests, and guests' own seen elsewhere.

It joins watch/observed (sockets and file), watch/addresses (records) and watch/alarms (judgement). It only marks and
reports: a round decides which address gets an entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from macmgr.model.kernelevents import EntryEvent, Event
from macmgr.model.known import NicAddress
from macmgr.model.snapshot import Key, Snapshot
from macmgr.view import View
from macmgr.watch import words
from macmgr.watch.addresses import Records
from macmgr.watch.alarms import Alarm, Alarms
from macmgr.watch.messages import Line
from macmgr.watch.observed import Observer
from macmgr.watch.round import Round

_MOST_EVENTS = 10_000  # about guests' addresses, kept for the next look to judge; a larger storm loses some alarms
_MOST_WORDS = 10_000  # libvirt's reports about NICs that no look has found yet


_Nic = tuple[str, str]
"""The uuid of a domain, and the alias of its NIC."""


class _Heard(NamedTuple):
    """libvirt's last report of a NIC, and the NIC that it is about: another one may get the alias."""

    word: NicAddress
    mac: str
    ifindex: int


class AddressWatch:
    """Watches one namespace. ``report`` gets alarms, ``trouble`` obstacles to seeing; both in the loop's thread."""

    def __init__(
        self,
        netns: str | None,
        report: Callable[[Sequence[Line]], None],
        trouble: Callable[[str, str], None],
        path: Path | None = None,
    ) -> None:
        self._observer, self._alarms = Observer(netns, path), Alarms()
        self._report, self._trouble = report, trouble
        self._view: View | None = None
        self._macs: frozenset[str] = frozenset()
        self._events: list[EntryEvent] = []
        self._words: dict[_Nic, NicAddress] = {}
        self._heard: dict[_Nic, _Heard] = {}
        self._said = ""
        self._report_blindness()

    @property
    def records(self) -> Records:
        return self._observer.records

    @property
    def lost(self) -> bool:
        return self._observer.lost

    @property
    def kept(self) -> bool:
        return self._observer.kept

    def fileno(self) -> int:
        return self._observer.fileno()

    def read(self, now: float) -> bool:
        """Reads sightings. True if a round has something to do."""
        dirty, seen, changes = self._observer.read(self._view, now)
        self._say([*self._alarms.sightings(seen, now), *self._alarms.guest_macs(changes, now)])
        self._report_blindness()
        return dirty

    def note(self, word: NicAddress) -> None:
        """Keeps libvirt's report of a NIC's address; only the last one of each NIC counts."""
        if len(self._words) < _MOST_WORDS or (word.uuid, word.alias) in self._words:
            self._words[word.uuid, word.alias] = word

    def hear(self, now: float) -> bool:
        """Acts on the noted reports. True if a round has something to do."""
        dirty = self.read(now)  # frames come first: they are older
        return self._hear(now) or dirty

    def events(self, events: Sequence[Event]) -> None:
        """Keeps netlink events about guests' MACs; the next look judges them."""
        entries = [
            event for event in events if isinstance(event, EntryEvent) and not event.gone and event.mac in self._macs
        ]
        self._events += entries[: _MOST_EVENTS - len(self._events)]

    def after(self, done: Round, now: float, *, sightings: bool) -> bool:
        """Digests a round. True if another has something to do. ``sightings``: packet sockets may be used."""
        if done.outcome is None:
            return False
        self._view = done.outcome.view
        self._macs = frozenset(mac for guest in self._view.intent.ports for mac in guest.macs)
        self._alarms.look(self._view, now, done.outcome.done)
        self._say(self._alarms.entries(self._events, now))
        self._events.clear()
        heard = self._hear(now)
        nics = {(guest.uuid, guest.alias) for guest in self._view.intent.ports} if self._words else ()
        self._words = {nic: word for nic, word in self._words.items() if nic in nics}  # the others are no guests' here
        dirty = self._observer.after(self._view, now, sightings=sightings)
        self._report_blindness()
        return dirty or heard

    def questions(self) -> tuple[list[Key], Snapshot] | None:
        """Returns the entries whose ages `ages` needs, and the snapshot with their ports; None if there are none."""
        keys = self._alarms.keys() if self._view is not None else []
        return (keys, self._view.snapshot) if keys and self._view is not None else None

    def ages(self, ages: Mapping[Key, float | None], now: float) -> None:
        """Judges the ages of entries that nobody should have refreshed."""
        self._say(self._alarms.ages(ages, now))

    def close(self) -> None:
        self._observer.close()

    def _hear(self, now: float) -> bool:
        """Applies libvirt's reports; those about unknown NICs wait. True if a round has something to do.

        The last report of each NIC is kept, as an answer to a question: libvirt saves it to no file, and a record may
        be dropped and made again, as when the policy of the NIC changes to 'kernel' and back.
        """
        if self._view is None or not (self._words or self._heard):
            return False
        ports = self._view.snapshot.ports
        nics = {
            (guest.uuid, guest.alias): (guest.facts.configured_mac, ports[guest.port].ifindex)
            for guest in self._view.intent.ports
            if guest.port in ports
        }
        self._heard = {nic: each for nic, each in self._heard.items() if nics.get(nic, each[1:]) == each[1:]}
        kept = [each.word for nic, each in self._heard.items() if nic in nics and nic not in self._words]
        dirty, changes, unknown = self._observer.hear([*kept, *self._words.values()], self._view, now)
        self._heard |= {
            nic: _Heard(word._replace(changed=False), *nics[nic])
            for nic, word in self._words.items()
            if nic in nics and (nic in self._heard or len(self._heard) < _MOST_WORDS)
        }
        self._words = {(word.uuid, word.alias): word for word in unknown if (word.uuid, word.alias) not in nics}
        self._say(self._alarms.guest_macs(changes, now))
        self._report_blindness()
        return dirty

    def _say(self, alarms: Sequence[Alarm]) -> None:
        if alarms:
            self._report([words.alarm(alarm) for alarm in alarms])

    def _report_blindness(self) -> None:
        """Reports a problem once, until it is gone."""
        problem = self._observer.problem
        if problem and problem != self._said:
            self._trouble("which addresses guests use", problem)
        self._said = problem
