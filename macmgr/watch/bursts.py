"""Groups a repair repeated in other VIDs: it is reported a few times, and then from time to time.

An administrator's loop may add four thousand VIDs to a port, one after the other, and each is one repair. Pure; the
time is an argument, in seconds of a clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from macmgr.watch.messages import Line

AT_ONCE = 5  # this many are reported at once
EACH = 10.0  # then the rest is reported together after this many seconds
OVER = 60.0  # after this many seconds without one, the next starts a new burst

VidLine = tuple[Line, frozenset[int]]
"""A line and its VIDs; without VIDs it is about no VID, or about every one."""


@dataclass(slots=True)
class _Burst:
    times: int = 0
    last: float = 0.0
    since: float = 0.0
    vids: set[int] = field(default_factory=set)


class Bursts:
    def __init__(self) -> None:
        self._bursts: dict[Line, _Burst] = {}

    def due(self, lines: Iterable[VidLine], now: float) -> list[VidLine]:
        """Returns the lines to report now, and those kept for long enough."""
        due: list[VidLine] = []
        for line, vids in lines:
            if not vids:
                due.append((line, vids))
                continue
            burst = self._bursts.setdefault(line, _Burst())
            burst.times, burst.last = burst.times + 1, now
            if burst.times <= AT_ONCE:
                due.append((line, vids))
            else:
                burst.since = burst.since if burst.vids else now
                burst.vids |= vids
        return due + self.kept(now, EACH)

    def kept(self, now: float, least: float = 0.0) -> list[VidLine]:
        """Returns the lines kept for ``least`` seconds, and keeps them no more."""
        found: list[VidLine] = []
        for line, burst in list(self._bursts.items()):
            if burst.vids and now - burst.since >= least:
                found.append((line, frozenset(burst.vids)))
                burst.vids.clear()
            if not burst.vids and now - burst.last >= OVER:
                del self._bursts[line]
        return found

    def next_end(self, now: float) -> float | None:
        """Returns the seconds until the next report, or None if nothing is kept."""
        ends: Collection[float] = [burst.since + EACH - now for burst in self._bursts.values() if burst.vids]
        return max(min(ends), 0.0) if ends else None
