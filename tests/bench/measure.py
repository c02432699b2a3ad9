"""Two things done in turns, and how much more one takes than the other.

Processor time, of this process and of the processes it starts, user and system: on a machine that others use too, the
clock on the wall says mostly what they did. In turns, so that what is left of that falls on both. Ratios are of the
minima: noise only ever adds.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

Nothing = Callable[[], object]


@dataclass(frozen=True)
class Side:
    """One side of a comparison: what is timed, and what tidies up after each time without being timed.

    ``seconds`` is for what times itself: it returns the seconds.
    """

    name: str
    work: Callable[[], object]
    tidy: Nothing = lambda: None
    times_itself: bool = False

    def once(self) -> float:
        start = _processor_time()
        result = self.work()  # kept until the clock is read: taking it apart again is not in the figure
        seconds = _processor_time() - start
        if self.times_itself:
            assert isinstance(result, float)
            seconds = result
        del result
        self.tidy()
        return seconds


def _processor_time() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


@dataclass(frozen=True)
class Result:
    """A line of the table. ``unit`` is no ``ms`` where ``ours`` is compared with a limit, not with a time.

    ``by_median`` is for a target that is about the usual case and not about what the code costs at least. ``load`` is
    the machine's load average.
    """

    what: str
    reference: str
    target: float
    ours: Sequence[float]
    theirs: Sequence[float]
    why_not: str = ""
    unit: str = "ms"
    by_median: bool = False
    load: float = field(default_factory=lambda: os.getloadavg()[0])

    @property
    def ratio(self) -> float:
        return min(self.ours) / min(self.theirs)

    @property
    def median_ratio(self) -> float:
        return median(self.ours) / median(self.theirs)

    @property
    def met(self) -> bool:
        return (self.median_ratio if self.by_median else self.ratio) <= self.target


def compare(what: str, target: float, ours: Side, *theirs: Side, rounds: int, why_not: str = "") -> Result:
    """Do ``ours`` and ``theirs`` in turns; several of ``theirs`` are summed, round by round."""
    for side in (ours, *theirs):  # the first time pays for caches that the others find warm
        side.once()
    our_times, their_times = [], []
    for _ in range(rounds):
        our_times.append(ours.once() * 1000)
        their_times.append(sum(side.once() for side in theirs) * 1000)
    reference = " + ".join(side.name for side in theirs)
    return Result(what, reference, target, our_times, their_times, why_not)
