"""The daemon's counts and times: the one source of `macmgr status` and of the metrics.

Functions make the next record from the last one. Times are seconds since the epoch, and come as arguments. The managed
ports and their state are computed from the last view on request, not in each round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from macmgr.errors import Busy, MacmgrError, NotThere
from macmgr.model.changes import Change
from macmgr.model.findings import Finding, Severity
from macmgr.model.intent import MANAGE_ALL, GuestPort, Modes
from macmgr.view import View
from macmgr.watch.messages import Line
from macmgr.watch.outages import Standing

KEPT = 20  # repairs, and alarms, that `macmgr status` shows
LONG = 30.0  # seconds in which a look ends, with its wait for the writer lock
MISSED = 3  # this many missing full looks in a row are no coincidence

Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Event:
    at: float
    line: Line


@dataclass(frozen=True, slots=True)
class StandingBack:
    """A change that another program undoes each time; it is not made until ``until``."""

    line: Line
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Unknown:
    """The state is unknown since ``since``, because of ``why``; ``exit_code`` is that of the cause.

    ``pid`` and ``program`` are of the process that holds the lock, if one keeps us from looking.
    """

    since: float
    why: str
    exit_code: int
    pid: int | None = None
    program: str = ""


@dataclass(frozen=True, slots=True)
class Counters:
    """All counts since the daemon started.

    ``modes`` names the bridges where nothing is changed. ``guests_started`` counts the guests that came since the first
    look; libvirt's hooks should have called for each, unless ``hooks_taken`` is false. ``failing`` is set while looks
    fail, ``looking_since`` while one is under way. A look is due every ``resync`` seconds at least. ``config_problem``
    is the fault in the configuration file, whose former content holds. ``reached`` is the value of
    ``macmgr_guest_reached`` by domain, bridge and port.
    """

    started_at: float
    modes: Modes = MANAGE_ALL
    resync: float = 0.0
    config_problem: str = ""
    rounds: int = 0
    failed_rounds: int = 0
    failing: Unknown | None = None
    looking_since: float | None = None
    last_round_at: float | None = None
    last_round_seconds: float = 0.0
    resyncs: int = 0
    last_resync_at: float | None = None
    last_resync_why: str = ""
    repairs: Counts = field(default_factory=dict)
    failures: int = 0
    last_repairs: tuple[Event, ...] = ()
    alarms: Counts = field(default_factory=dict)
    last_alarms: tuple[Event, ...] = ()
    stood_back: int = 0
    standing_back: tuple[StandingBack, ...] = ()
    hook_calls: Mapping[tuple[str, str], int] = field(default_factory=dict)
    hook_timeouts: int = 0
    hook_failures: int = 0
    hooks_taken: bool = True
    guests_started: int = 0
    events_read: int = 0
    events_lost: int = 0
    view: View | None = None
    outages: tuple[Standing, ...] = ()
    reached: Mapping[tuple[str, str, str], float] = field(default_factory=dict)

    @property
    def findings(self) -> Sequence[Finding]:
        return self.view.plan.findings if self.view else ()

    def unknown(self, now: float) -> Unknown | None:
        """Returns why the last look does not show the present state; None if it does.

        A look that failed may have been meant for anything. So may one that has not ended.
        """
        if self.failing is not None:
            return self.failing
        if self.looking_since is not None and now - self.looking_since > LONG:
            return Unknown(self.looking_since, "the look that began then has not ended", NotThere.exit_code)
        if self.view is None or self.last_round_at is None:
            return Unknown(self.started_at, "the first look is not over yet", NotThere.exit_code)
        if self.resync and now - self.last_round_at > MISSED * self.resync:
            why = f"no look was taken since then, and one is due each {self.resync:g} s"
            return Unknown(self.last_round_at, why, NotThere.exit_code)
        return None

    def in_sync(self, now: float) -> bool | None:
        """True if the last look found no error; None if it does not show the present state."""
        if self.unknown(now) is not None:
            return None
        return all(finding.severity is not Severity.ERROR for finding in self.findings)

    @property
    def managed_bridges(self) -> Mapping[str, str]:
        """The bridges that policy manages, here or not, each with the reason."""
        return self.view.intent.managed_bridges if self.view else {}

    @property
    def managed_ports(self) -> list[GuestPort]:
        if self.view is None:
            return []
        there = self.view.snapshot.ports
        return [guest for guest in self.view.intent.ports if guest.managed and guest.port in there]


def after_round(
    counters: Counters,
    view: View,
    *,
    at: float,
    seconds: float,
    done: Sequence[Change] = (),
    lines: Sequence[Line] = (),
    failures: int = 0,
) -> Counters:
    """Counts one look and the changes ``done``; ``lines`` are the lines about them."""
    return replace(
        counters,
        view=view,
        failing=None,
        rounds=counters.rounds + 1,
        last_round_at=at,
        last_round_seconds=seconds,
        repairs=_with(counters.repairs, [change.because for change in done if change.because]),
        last_repairs=_last(counters.last_repairs, lines, at),
        failures=counters.failures + failures,
        guests_started=counters.guests_started + _started(counters.view, view),
    )


def _started(before: View | None, after: View) -> int:
    if before is None or before.intent.ports is after.intent.ports:
        return 0
    return len({guest.uuid for guest in after.intent.ports} - {guest.uuid for guest in before.intent.ports})


def after_failure(counters: Counters, error: MacmgrError, *, at: float) -> Counters:
    """Counts a failed look. The state is unknown since the first failure in a row."""
    since = counters.failing.since if counters.failing else at
    pid, program = (error.pid, error.program) if isinstance(error, Busy) else (None, "")
    failing = Unknown(since, str(error), error.exit_code, pid, program)
    return replace(counters, failing=failing, failed_rounds=counters.failed_rounds + 1)


def after_resync(counters: Counters, why: str, *, at: float) -> Counters:
    """Counts a round that took nothing for granted: it read all sources anew, because of ``why``."""
    return replace(counters, resyncs=counters.resyncs + 1, last_resync_at=at, last_resync_why=why)


def after_alarms(counters: Counters, alarms: Sequence[Line], *, at: float) -> Counters:
    return replace(
        counters,
        alarms=_with(counters.alarms, [line.code for line in alarms]),
        last_alarms=_last(counters.last_alarms, alarms, at),
    )


def standing_back(counters: Counters, now: Sequence[StandingBack], begun: int = 0) -> Counters:
    """Sets the changes left out for now; ``begun`` of them were still made the last time."""
    return replace(counters, standing_back=tuple(now), stood_back=counters.stood_back + begun)


def after_hook(
    counters: Counters, driver: str, operation: str, *, failed: bool = False, timed_out: bool = False
) -> Counters:
    """Counts a hook call that was answered, or whose hook did not wait for the answer."""
    calls = {**counters.hook_calls, (driver, operation): counters.hook_calls.get((driver, operation), 0) + 1}
    return replace(
        counters,
        hook_calls=calls,
        hook_failures=counters.hook_failures + failed,
        hook_timeouts=counters.hook_timeouts + timed_out,
    )


def after_events(counters: Counters, *, read: int = 0, lost: int = 0) -> Counters:
    """Counts events of netlink or inotify; ``lost`` counts the times that the kernel had dropped some."""
    return replace(counters, events_read=counters.events_read + read, events_lost=counters.events_lost + lost)


def _with(counts: Counts, codes: Sequence[str]) -> Counts:
    if not codes:
        return counts
    more = dict(counts)
    for code in codes:
        more[str(code)] = more.get(str(code), 0) + 1
    return more


def _last(events: tuple[Event, ...], lines: Sequence[Line], at: float) -> tuple[Event, ...]:
    return (*events, *(Event(at, line) for line in lines[-KEPT:]))[-KEPT:]
