"""Two programs that want different things of one port: how often we insist, and how long we stand back.

Pure; the time is an argument, in seconds of a clock that never goes back. A change that was made more often than the
limit within a minute is a fight. Then the changes of that port are spared, for a second at first, twice as long each
time the fight goes on, and a minute at most. Its entries are put all the same: open and with its entry, a port is
only slow. Where the fight is over an entry, its port is not closed either, and a few seconds are the most: without its
entry, the guest behind a port that is closed already is cut off.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from macmgr.model.changes import Change, SetEntries, SetFlags

WINDOW = 60.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
LONGEST_WITHOUT_ENTRY = 5.0

# What is fought over: a guest's port, or an entry that is dropped again and again (bridge, port, and MAC there).
Subject = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Fight:
    """A subject that was changed too often: by us ``times`` times within a minute. ``pause`` is in seconds."""

    change: Change
    port: str
    times: int
    pause: float


@dataclass(slots=True)
class _Record:
    is_put: bool
    times: deque[float] = field(default_factory=deque)
    pause: float = 0.0
    until: float = 0.0


class Hysteresis:
    """Counts what was changed, and knows what is left alone for now. ``limit`` is in changes a minute."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._records: dict[tuple[Subject, str], _Record] = {}

    def note(self, made: Iterable[Change], now: float) -> list[Fight]:
        """Count changes that were just made; the fights that have now become, or go on."""
        fights = []
        for change in made:
            key = _subject(change), change.because
            record = self._records.setdefault(key, _Record(_is_put(change)))
            record.times.append(now)
            _forget(record, now)
            if len(record.times) > self.limit:
                longest = LONGEST_WITHOUT_ENTRY if record.is_put else LONGEST_PAUSE
                record.pause = min(longest, 2 * record.pause or FIRST_PAUSE)
                record.until = now + record.pause
                fights.append(Fight(change, key[0][1], len(record.times), record.pause))
        self._tidy(now)
        return fights

    def spares(self, now: float) -> Callable[[Change], bool]:
        """What says of a change whether it is left out now."""
        held = {subject for (subject, _), record in self._records.items() if record.until > now}
        puts = {key[0] for key, record in self._records.items() if record.is_put and record.until > now}
        return lambda change: bool(held) and _subject(change) in (puts if _is_put(change) else held)

    def next_end(self, now: float) -> float | None:
        """When the next pause ends, None where there is none."""
        return min((record.until for record in self._records.values() if record.until > now), default=None)

    def held(self, now: float) -> list[str]:
        """The ports that are left alone now."""
        return sorted({subject[1] for (subject, _), record in self._records.items() if record.until > now})

    def _tidy(self, now: float) -> None:
        for key, record in list(self._records.items()):
            _forget(record, now)
            if not record.times and record.until <= now:
                del self._records[key]


def _is_put(change: Change) -> bool:
    return isinstance(change, SetEntries) and bool(change.after)


def _forget(record: _Record, now: float) -> None:
    while record.times and record.times[0] <= now - WINDOW:
        record.times.popleft()


def _subject(change: Change) -> Subject:
    if isinstance(change, SetFlags):
        return change.bridge, change.port, ""
    if isinstance(change, SetEntries) and change.after:
        return change.bridge, change.after[0].port, ""
    return change.bridge, change.before[0].port, change.mac
