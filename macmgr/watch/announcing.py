"""When the entries of guests are put again, unchanged, for a control plane to read them: soon, and then more rarely.

What it refuses at first it takes once the host that had the address has withdrawn it, or is given up: after its hold
time, which is three minutes where nobody has set it. Pure; the time is an argument, in seconds of a clock that never
goes back.
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
    """The addresses that are announced, and when next. One that is new, or whose entry was put, begins anew."""

    def __init__(self) -> None:
        self._there: frozenset[Announced] = frozenset()
        self._series: dict[Announced, _Series] = {}

    def note(self, there: Collection[Announced], made: Iterable[Change], now: float) -> None:
        """A round has found these addresses ``there``, and has made these changes."""
        put = {(change.bridge, change.mac) for change in made if isinstance(change, SetEntries) and change.after}
        self._series = {place: series for place, series in self._series.items() if place in there}
        for place in there:
            if place not in self._there or place[:2] in put:
                self._series[place] = _Series(now + INTERVALS[0])
        self._there = frozenset(there)

    def take(self, now: float) -> frozenset[Announced]:
        """What is due now; each of it is due again after its next interval, until there is none."""
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
        """When the next one is due, None where there is none."""
        return min((series.due for series in self._series.values()), default=None)
