"""Two programs that want different things of one port: how often we insist, and how long we stand back.

Pure; the time is an argument, in seconds of a clock that never goes back. A change that was made more often than the
limit within a minute is a fight. Then it is spared, for a second at first, twice as long each time the fight goes on,
and a minute at most. A port that somebody opens again and again stays open, and its entries are put all the same: that
is only slow. Without its entry, or closed when it must be open, a guest may be cut off: what mends that is spared for
no longer than our time needs to be saved. Where the fight is over an entry, its port is not closed for a while, and the
planner is told that putting it is in vain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from macmgr.model.changes import Change, SetFlags

WINDOW = 60.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
LONGEST_CUT_OFF = 0.25
NOT_CLOSED = 2.0
_CLOSE, _OPEN, _PUT, _DROP = "close", "open", "put", "drop"


class Subject(NamedTuple):
    """What is fought over: a port that is closed, or opened, or an entry there that is put, or dropped."""

    kind: str
    bridge: str
    port: str
    mac: str = ""


@dataclass(frozen=True, slots=True)
class Fight:
    """A subject that was changed too often: by us ``times`` times within a minute. ``pause`` is in seconds."""

    change: Change
    port: str
    times: int
    pause: float


@dataclass(slots=True)
class _Record:
    times: deque[float] = field(default_factory=deque)
    pause: float = 0.0
    until: float = 0.0
    not_closed_until: float = 0.0


class Hysteresis:
    """Counts what was changed, and knows what is left alone for now. ``limit`` is in changes a minute."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._records: dict[tuple[Subject, str], _Record] = {}

    def note(self, made: Iterable[Change], now: float) -> list[Fight]:
        """Count changes that were just made; the fights that have now become, or go on."""
        fights = []
        for change in made:
            subject = _subject(change)
            record = self._records.setdefault((subject, change.because), _Record())
            record.times.append(now)
            _forget(record, now)
            if len(record.times) > self.limit:
                longest = LONGEST_CUT_OFF if subject.kind in (_PUT, _OPEN) else LONGEST_PAUSE
                record.pause = min(longest, 2 * record.pause or FIRST_PAUSE)
                record.until = now + record.pause
                record.not_closed_until = now + NOT_CLOSED if subject.kind == _PUT else 0.0
                fights.append(Fight(change, subject.port, len(record.times), record.pause))
        self._tidy(now)
        return fights

    def spares(self, now: float) -> Callable[[Change], bool]:
        """What says of a change whether it is left out now."""
        held = {subject for (subject, _), record in self._records.items() if record.until > now}
        held |= {Subject(_CLOSE, put.bridge, put.port) for put in self._in_vain(now)}
        return lambda change: bool(held) and _subject(change) in held

    def in_vain(self, now: float) -> frozenset[tuple[str, str]]:
        """(port, MAC) of the entries that somebody takes away each time."""
        return frozenset((put.port, put.mac) for put in self._in_vain(now))

    def _in_vain(self, now: float) -> set[Subject]:
        return {subject for (subject, _), record in self._records.items() if record.not_closed_until > now}

    def next_end(self, now: float) -> float | None:
        """When the next pause ends, None where there is none."""
        ends = (end for record in self._records.values() for end in (record.until, record.not_closed_until))
        return min((end for end in ends if end > now), default=None)

    def held(self, now: float) -> list[str]:
        """The ports that are left alone now."""
        return sorted({subject.port for (subject, _), record in self._records.items() if record.until > now})

    def _tidy(self, now: float) -> None:
        for key, record in list(self._records.items()):
            _forget(record, now)
            if not record.times and max(record.until, record.not_closed_until) <= now:
                del self._records[key]


def _forget(record: _Record, now: float) -> None:
    while record.times and record.times[0] <= now - WINDOW:
        record.times.popleft()


def _subject(change: Change) -> Subject:
    if isinstance(change, SetFlags):
        return Subject(_CLOSE if change.closes else _OPEN, change.bridge, change.port)
    if change.after:
        return Subject(_PUT, change.bridge, change.after[0].port, change.mac)
    return Subject(_DROP, change.bridge, change.before[0].port, change.mac)
