"""Limits the repair of a port that another program changes too, and stands back from a fight.

Pure; the time is an argument, in seconds of a clock that never goes back. A change made more often than the limit
within a minute is a fight. It is then skipped: for a second at first, twice as long each time the fight goes on, a
minute at most. A port that somebody opens again and again stays open. Its entries are still put: that is only slow. A
guest without its entry, or behind a closed port that must be open, may be cut off: that repair is skipped no longer
than it takes to save our time. In a fight over an entry, its port is not closed for a while, and the planner gets the
put as refused.

Only the same change counts again: an entry of a MAC in another VID is another entry. So an administrator who adds or
removes a thousand VIDs, at once or one by one, fights with nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from macmgr.model.changes import Change, SetEntries, SetFlags, SetVids
from macmgr.model.codes import Code

WINDOW = 60.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
LONGEST_CUT_OFF = 0.25
NOT_CLOSED = 2.0
_CLOSE, _OPEN, _PUT, _DROP, _ISOLATE, _VLANS = "close", "open", "put", "drop", "isolate", "vlans"
_ALL = 1  # flags have no VID: they count as one


class Subject(NamedTuple):
    """The object of a fight: closing, opening or isolating a port, setting its VLANs, or entries of a MAC there."""

    kind: str
    bridge: str
    port: str
    mac: str = ""


@dataclass(frozen=True, slots=True)
class Fight:
    """A subject that we changed too often: ``times`` times within a minute. ``pause`` is in seconds."""

    change: Change
    port: str
    times: int
    pause: float


@dataclass(slots=True)
class _Record:
    """The changes made to one subject: each time with its VIDs, one bit for each. ``held`` are the paused VIDs."""

    made: deque[tuple[float, int]] = field(default_factory=deque)
    pause: float = 0.0
    until: float = 0.0
    not_closed_until: float = 0.0
    held: int = 0

    def too_often(self, limit: int) -> int:
        """Returns the VIDs in which it was made more often than ``limit``."""
        counted = [0] * (limit + 1)  # the VIDs in which it was made at least once, twice, and so on
        for _, vids in self.made:
            for place, seen in enumerate(counted):
                counted[place], vids = seen | vids, seen & vids
                if not vids:
                    break
        return counted[limit]


class Backoff:
    """Counts changes, and knows the changes to leave out now. ``limit`` is in changes a minute."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._records: dict[tuple[Subject, Code | None], _Record] = {}

    def note(self, made: Iterable[Change], now: float) -> list[Fight]:
        """Counts changes that were just made. Returns the fights that began or go on."""
        fights = []
        for (subject, because), changes in _together(made).items():
            record = self._records.setdefault((subject, because), _Record())
            for change, vids in changes:
                record.made.append((now, vids))
                _forget(record, now)
                again = record.too_often(self.limit) & vids
                if not again:
                    continue
                longest = LONGEST_CUT_OFF if subject.kind in (_PUT, _OPEN) else LONGEST_PAUSE
                record.held = again | (record.held if record.until > now or record.not_closed_until > now else 0)
                record.pause = min(longest, 2 * record.pause or FIRST_PAUSE)
                record.until = now + record.pause
                record.not_closed_until = now + NOT_CLOSED if subject.kind == _PUT else 0.0
                times = sum(bool(each & again) for _, each in record.made)
                fights.append(Fight(change, subject.port, times, record.pause))
        self._tidy(now)
        return fights

    def skips(self, now: float) -> Callable[[Change], bool]:
        """Returns a test: True skips the change now. A change with something to do outside the fight is made."""
        held: dict[Subject, int] = {}
        for (subject, _), record in self._records.items():
            if record.until > now and subject.kind != _VLANS:
                held[subject] = held.get(subject, 0) | record.held
            if record.not_closed_until > now:
                held[Subject(_CLOSE, subject.bridge, subject.port)] = _ALL
        return lambda change: bool(held) and not _vids(change) & ~held.get(_subject(change), 0)

    def refused(self, now: float) -> frozenset[tuple[str, str, int]]:
        """Returns (port, MAC, VID) of the entries that another program removes each time, and ports whose VIDs it sets.

        With that the planner leaves such a port in the VLANs that it has, and puts its entries there.
        """
        return frozenset(
            (subject.port, subject.mac, vid)
            for (subject, _), record in self._records.items()
            if record.not_closed_until > now or (subject.kind == _VLANS and record.until > now)
            for vid in range(record.held.bit_length())
            if record.held >> vid & 1
        )

    def next_end(self, now: float) -> float | None:
        ends = (end for record in self._records.values() for end in (record.until, record.not_closed_until))
        return min((end for end in ends if end > now), default=None)

    def held(self, now: float) -> list[str]:
        return sorted({subject.port for (subject, _), record in self._records.items() if record.until > now})

    def _tidy(self, now: float) -> None:
        for key, record in list(self._records.items()):
            _forget(record, now)
            if not record.made and max(record.until, record.not_closed_until) <= now:
                del self._records[key]


def _forget(record: _Record, now: float) -> None:
    while record.made and record.made[0][0] <= now - WINDOW:
        record.made.popleft()


def _together(made: Iterable[Change]) -> dict[tuple[Subject, Code | None], list[tuple[Change, int]]]:
    """Groups changes by subject and reason. Changes of different VIDs, made at once, are one."""
    found: dict[tuple[Subject, Code | None], list[tuple[Change, int]]] = {}
    for change in made:
        changes, vids = found.setdefault((_subject(change), change.because), []), _vids(change)
        if changes and not changes[-1][1] & vids:
            changes[-1] = changes[-1][0], changes[-1][1] | vids
        else:
            changes.append((change, vids))
    return found


def _vids(change: Change) -> int:
    """Returns the VIDs in which a change does something. A put may name others that are already right."""
    if not isinstance(change, SetEntries):
        return _ALL
    there = frozenset(change.before) if change.after else frozenset()
    vids = 0
    for entry in [entry for entry in change.after if entry not in there] or change.after or change.before:
        vids |= 1 << entry.vid
    return vids


def _subject(change: Change) -> Subject:
    if isinstance(change, SetFlags):
        kind = _CLOSE if change.closes else _ISOLATE if change.because is Code.NOT_ISOLATED else _OPEN
        return Subject(kind, change.bridge, change.port)
    if isinstance(change, SetVids):
        return Subject(_VLANS, change.bridge, change.port)
    if change.after:
        return Subject(_PUT, change.bridge, change.after[0].port, change.mac)
    return Subject(_DROP, change.bridge, change.before[0].port, change.mac)
