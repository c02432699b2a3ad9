"""Schedules unchanged puts of guests' entries for a control plane to read: soon, and then more rarely.

A control plane that refuses an address takes it once the address's former host has withdrawn it, or is given up after
its hold time, three minutes by default. Pure; the time is an argument, in seconds of a clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from macmgr.model.changes import Change, SetEntries
from macmgr.planning.announcements import Announced

INTERVALS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 60.0)


@dataclass(slots=True)
class _Series:
    due: float
    next: int = 1


class Announcing:
    """The announced addresses and their next times. A new one, or one whose entry was put, starts over."""

    def __init__(self) -> None:
        self._there: frozenset[Announced] = frozenset()
        self._series: dict[Announced, _Series] = {}

    def note(self, there: Collection[Announced], made: Iterable[Change], now: float) -> None:
        """Takes the announced addresses ``there`` that a round found, and the changes that it made."""
        put = {(change.bridge, change.mac) for change in made if isinstance(change, SetEntries) and change.after}
        self._series = {place: series for place, series in self._series.items() if place in there}
        for place in there:
            if place not in self._there or place[:2] in put:
                self._series[place] = _Series(now + INTERVALS[0])
        self._there = frozenset(there)

    def take(self, now: float) -> frozenset[Announced]:
        """Returns the addresses due now. Each is due again after its next interval, until no interval is left."""
        due = frozenset(place for place, series in self._series.items() if series.due <= now)
        for place in due:
            series = self._series[place]
            if series.next == len(INTERVALS):
                del self._series[place]
            else:
                series.due = now + INTERVALS[series.next]
                series.next += 1
        return due

    def next_due(self) -> float | None:
        return min((series.due for series in self._series.values()), default=None)
