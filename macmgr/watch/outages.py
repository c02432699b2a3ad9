"""Decides what a person hears of guests that nobody beyond this host reaches, and how often. Pure.

The journal has one line once it lasts, with who is not reached, why and since when, and one once it is over. The same
place is named once a minute at most: a port that flaps costs two lines a minute, however often it does. Times come in
pairs: of a clock that never goes back, and of the day.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from macmgr.model.findings import Finding, fix_of
from macmgr.phrases import are, first_few
from macmgr.planning.reached import Outage
from macmgr.watch import messages
from macmgr.watch.messages import Line, Priority

LASTING = 2.0  # a guest that starts or stops, or an uplink with a bad contact, is soon over it
EVERY = 60.0  # seconds between two lines about one place
_FEW = 5  # guests that a line names
Key = tuple[str, str]


class Time(NamedTuple):
    ticks: float  # of a clock that never goes back
    clock: float  # of the day


@dataclass(frozen=True)
class Standing:
    """An outage that lasts, and those of its guests that the journal has named."""

    outage: Outage
    since: Time
    named: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Report:
    at: float
    times: int = 0


class Outages:
    """The outages of one host. Call `look` with all that are found, and again when `look` says that more is due."""

    def __init__(self, time_of_day: Callable[[float], str]) -> None:
        self._time_of_day = time_of_day
        self._standing: dict[Key, Standing] = {}
        self._reports: dict[Key, _Report] = {}
        self._owed: dict[str, tuple[Time, Finding]] = {}  # by domain: the journal is to say when it is over

    @property
    def standing(self) -> tuple[Standing, ...]:
        return tuple(self._standing.values())

    def look(
        self, found: Iterable[Outage], said: Collection[str], running: Collection[str], now: Time
    ) -> tuple[list[Line], float | None]:
        """Returns the lines due now, and the seconds until more may be due.

        ``said`` are ports of which another finding says why their guest is cut off, and ``running`` the domains whose
        CPUs run here: of any other that it is over goes without saying.
        """
        before, self._standing = self._standing, {}
        for outage in found:
            key = _key(outage)
            if key in self._standing:  # another of its VLANs, for another reason
                there = self._standing[key]
                guests = tuple(dict.fromkeys((*there.outage.guests, *outage.guests)))
                self._standing[key] = replace(
                    there, outage=outage._replace(finding=there.outage.finding, guests=guests)
                )
                continue
            if key not in before and key in self._reports:
                self._reports[key].times += 1
            known = before.get(key, Standing(outage, now))
            self._standing[key] = Standing(outage, known.since, known.named)
        lines, waits = list(self._over(running, now)), []
        for key, standing in self._standing.items():
            domains = frozenset(guest.domain for guest in standing.outage.guests if guest.port not in said)
            if domains <= standing.named:
                continue
            report = self._reports.get(key)
            wait = max(standing.since.ticks + LASTING, report.at + EVERY if report else 0.0) - now.ticks
            if wait > 0:
                waits.append(wait)
                continue
            since = self._time_of_day(standing.since.clock)
            lines.append(_begins(standing, 1 if report is None else report.times, since))
            self._reports[key] = _Report(now.ticks)
            self._standing[key] = Standing(standing.outage, standing.since, domains | standing.named)
            self._owed |= dict.fromkeys(domains, (standing.since, standing.outage.finding))
        self._reports = {key: each for key, each in self._reports.items() if now.ticks - each.at < 10 * EVERY}
        return lines, min(waits, default=None)

    def _over(self, running: Collection[str], now: Time) -> Iterator[Line]:
        cut = {guest.domain for standing in self._standing.values() for guest in standing.outage.guests}
        over: dict[tuple[Time, Finding], list[str]] = {}
        for domain in [domain for domain in self._owed if domain not in cut]:
            owed = self._owed.pop(domain)
            if domain in running:
                over.setdefault(owed, []).append(domain)
        for (since, finding), domains in over.items():
            place = finding.port or finding.bridge
            who = f"{first_few(sorted(domains), _FEW)} {are(domains)} reached again"
            text = f"{who} by way of {place}, after {now.ticks - since.ticks:.0f} s"
            own = domains[0] if len(domains) == 1 else ""
            told = own, finding.port, finding.bridge, "", finding.code
            yield Line(Priority.NOTICE, text, messages.REACHED_AGAIN, *told)


def _begins(standing: Standing, times: int, since: str) -> Line:
    finding = standing.outage.finding
    own = next((guest for guest in standing.outage.guests if guest.port == finding.port), None)
    often = f", {times} times since the last line of it" if times > 1 else ""
    fix = fix_of(finding).text
    text = f"{finding.message}, since {since}{often}{f'; fix: {fix}' if fix else ''}"
    domain = own.domain if own else ""
    place = domain, finding.port, finding.bridge, finding.mac
    return Line(Priority.WARNING, text, messages.NOT_REACHED, *place, finding.code)


def _key(outage: Outage) -> Key:
    return outage.finding.bridge, outage.finding.port
