"""What the daemon counted, and when: the one source of `macmgr status` and of the metrics.

A record and functions that make the next one of it; times are seconds since the epoch, and come as arguments. What is
managed, and how it stands, is worked out of the last view when somebody asks, not in each round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from macmgr.model.changes import Change
from macmgr.model.findings import Finding, Severity
from macmgr.model.intent import GuestPort
from macmgr.model.modes import MANAGE_ALL, Modes
from macmgr.reconcile import View
from macmgr.watch.messages import Line

KEPT = 20  # repairs, and alarms, that are told again by `macmgr status`

Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Event:
    """One repair or alarm that is remembered."""

    at: float
    line: Line


@dataclass(frozen=True, slots=True)
class StandingBack:
    """A change that somebody else takes back each time, and until when it is not made."""

    line: Line
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Tally:
    """All that was counted since the daemon started.

    ``modes`` says on which bridges nothing is changed. ``guests_started`` counts those that came since the first look;
    unless ``hooks_taken`` is false, libvirt's hooks have called for each of them.
    """

    started_at: float
    modes: Modes = MANAGE_ALL
    rounds: int = 0
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

    @property
    def findings(self) -> Sequence[Finding]:
        return self.view.plan.findings if self.view else ()

    @property
    def in_sync(self) -> bool | None:
        """Whether the last look found no error; None before the first one."""
        return all(finding.severity is not Severity.ERROR for finding in self.findings) if self.view else None

    @property
    def managed_bridges(self) -> Mapping[str, str]:
        """The bridges that policy manages, here or not, each with the reason."""
        return self.view.intent.managed_bridges if self.view else {}

    @property
    def managed_ports(self) -> list[GuestPort]:
        """The managed ports that are there."""
        if self.view is None:
            return []
        there = self.view.snapshot.ports
        return [guest for guest in self.view.intent.ports if guest.managed and guest.port in there]


def after_round(
    tally: Tally,
    view: View,
    *,
    at: float,
    seconds: float,
    done: Sequence[Change] = (),
    told: Sequence[Line] = (),
    failures: int = 0,
) -> Tally:
    """One look was taken, and ``done`` was changed; ``told`` are the lines that say so, one for each change."""
    return replace(
        tally,
        view=view,
        rounds=tally.rounds + 1,
        last_round_at=at,
        last_round_seconds=seconds,
        repairs=_with(tally.repairs, [change.because for change in done]),
        last_repairs=_last(tally.last_repairs, told, at),
        failures=tally.failures + failures,
        guests_started=tally.guests_started + _started(tally.view, view),
    )


def _started(before: View | None, after: View) -> int:
    """How many guests are there that were not before."""
    if before is None or before.intent.ports is after.intent.ports:
        return 0
    return len({guest.uuid for guest in after.intent.ports} - {guest.uuid for guest in before.intent.ports})


def after_resync(tally: Tally, why: str, *, at: float) -> Tally:
    """The round before took nothing for granted: all sources were read anew, because of ``why``."""
    return replace(tally, resyncs=tally.resyncs + 1, last_resync_at=at, last_resync_why=why)


def after_alarms(tally: Tally, alarms: Sequence[Line], *, at: float) -> Tally:
    """A person was warned, once for each line."""
    return replace(
        tally,
        alarms=_with(tally.alarms, [line.code for line in alarms]),
        last_alarms=_last(tally.last_alarms, alarms, at),
    )


def standing_back(tally: Tally, now: Sequence[StandingBack], begun: int = 0) -> Tally:
    """These changes are left out for now; ``begun`` of them were still made the last time."""
    return replace(tally, standing_back=tuple(now), stood_back=tally.stood_back + begun)


def after_hook(tally: Tally, driver: str, operation: str, *, failed: bool = False, timed_out: bool = False) -> Tally:
    """A hook call was answered, or nobody waited for the answer any more."""
    calls = {**tally.hook_calls, (driver, operation): tally.hook_calls.get((driver, operation), 0) + 1}
    return replace(
        tally,
        hook_calls=calls,
        hook_failures=tally.hook_failures + failed,
        hook_timeouts=tally.hook_timeouts + timed_out,
    )


def after_events(tally: Tally, *, read: int = 0, lost: int = 0) -> Tally:
    """Events of netlink or inotify were read; ``lost`` counts the times that the kernel had dropped some."""
    return replace(tally, events_read=tally.events_read + read, events_lost=tally.events_lost + lost)


def _with(counts: Counts, codes: Sequence[str]) -> Counts:
    if not codes:
        return counts
    more = dict(counts)
    for code in codes:
        more[str(code)] = more.get(str(code), 0) + 1
    return more


def _last(events: tuple[Event, ...], lines: Sequence[Line], at: float) -> tuple[Event, ...]:
    return (*events, *(Event(at, line) for line in lines[-KEPT:]))[-KEPT:]


def with_modes(tally: Tally, modes: Modes) -> Tally:
    """The configuration was read, and says where nothing is changed."""
    return replace(tally, modes=modes)


def leaves_hooks(tally: Tally) -> Tally:
    """This daemon takes no hook calls: hooks do their work themselves."""
    return replace(tally, hooks_taken=False)
