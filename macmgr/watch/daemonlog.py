"""The daemon's log and counts: the words of watch/words for the journal, the counters for `macmgr status`.

The loop passes on what happened; this module decides what is worth a line. Nothing is repeated in each round: a finding
that stays, or a failure that comes back, is reported again only after it was gone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from macmgr import __version__
from macmgr.errors import unexpected
from macmgr.model.findings import Code, Consequence, Severity
from macmgr.model.hookcall import HookCall
from macmgr.model.intent import MANAGE_ALL, Modes
from macmgr.model.kernelevents import LOST, Event
from macmgr.planning.reached import Outage
from macmgr.view import View
from macmgr.watch import counters, messages, words
from macmgr.watch.backoff import Fight
from macmgr.watch.bursts import AT_ONCE, EACH, OVER, Bursts
from macmgr.watch.counters import Counters, StandingBack
from macmgr.watch.journal import Journal
from macmgr.watch.messages import Line
from macmgr.watch.metrics import metrics
from macmgr.watch.outages import Outages, Time
from macmgr.watch.round import Round
from macmgr.watch.statusdocument import document

# Findings that pass by themselves while a guest starts, goes on or ends are reported after this many seconds.
_PASSING = {Code.EARLY_ENTRY, Code.MISSING_PORT, Code.WRONG_BRIDGE, Code.NO_SUCH_BRIDGE}
_LASTING = 2.0
# A storm of events loses some in each round. All are counted, and once a minute is enough to report that.
_LOST_EACH = 60.0
# A fight goes on several times a second; it is reported once a minute.
_FIGHT_EACH = 60.0
# While looks fail, the reason is repeated from time to time: a late reader looks at the end of the journal.
_FAILING_EACH = 600.0


class DaemonLog:
    """The log of one daemon. ``modes`` names the bridges where nothing is changed."""

    def __init__(self, journal: Journal, modes: Modes = MANAGE_ALL) -> None:
        self._journal = journal
        self._counters = Counters(time.time(), modes)
        self._said: frozenset[Line] = frozenset()
        self._failed: frozenset[Line] = frozenset()
        self._since: dict[Line, float] = {}
        self._failure = ""
        self._failure_again = 0.0
        self._failed_in_a_row = 0
        self._problem = ""
        self._quiet_until = 0.0
        self._bursts = Bursts()
        self._said_at: dict[tuple[str, str, str, str], list[float]] = {}
        self._fought: dict[tuple[str, str], float] = {}
        self._outdated = False
        self._outages = Outages(_clock)

    def started(self) -> None:
        self._journal.write([words.started(__version__, self._counters.modes, self._counters.managed_bridges)])

    def stopped(self) -> None:
        """Reports the end, and the repairs not reported yet."""
        self._journal.write([*words.repaired(self._bursts.kept(time.monotonic())), words.stopped()])

    def configured(self, modes: Modes, resync: float) -> None:
        """Takes the configuration read at the start or after SIGHUP."""
        self._counters = replace(self._counters, modes=modes, resync=resync, config_problem="")

    def misconfigured(self, problem: str) -> None:
        self.trouble("the old configuration stays", problem)
        self._counters = replace(self._counters, config_problem=problem)

    def looking(self, is_so: bool) -> None:
        self._counters = replace(self._counters, looking_since=time.time() if is_so else None)

    def headline(self) -> str:
        """Returns the state in a line for `systemctl status`."""
        now = time.time()
        if unknown := self._counters.unknown(now):
            return f"unknown since {_clock(unknown.since)}: {unknown.why}"
        errors = sum(finding.severity is Severity.ERROR for finding in self._counters.findings)
        ports = len(self._counters.managed_ports)
        if not errors and not ports:
            return "the last look found nothing to manage"
        return f"managed ports: {ports}, errors that the last look found: {errors}"

    def leaves_hooks(self) -> None:
        self._counters = replace(self._counters, hooks_taken=False)

    def trouble(self, what: str, why: str) -> None:
        """Reports a problem that a person has to fix and the daemon can live with."""
        self._journal.write([words.unreadable(what, why)])

    def outdated(self, is_so: bool) -> None:
        """Reports, once, ports left as they are because the configuration has changed since it was read."""
        if is_so and not self._outdated:
            self.trouble(
                "the configuration has changed since it was read",
                "ports that it left to the kernel stay as they are until 'systemctl reload macmgr'",
            )
        self._outdated = is_so

    def bug(self, error: BaseException | None) -> None:
        """Reports an unforeseen error in the loop, which goes on."""
        self._journal.write([words.unreadable("macmgr watch", str(unexpected(error or RuntimeError())))])

    def events(self, events: Sequence[Event]) -> None:
        lost = sum(event is LOST for event in events)
        self._counters = counters.after_events(self._counters, read=len(events), lost=lost)
        now = time.monotonic()
        if lost and now >= self._quiet_until:
            self._quiet_until = now + _LOST_EACH
            self._journal.write([words.events_lost("netlink")])

    def alarms(self, lines: Sequence[Line]) -> None:
        self._journal.write(lines)
        self._counters = counters.after_alarms(self._counters, lines, at=time.time())

    def hook(self, call: HookCall, done: bool, text: str, *, timed_out: bool = False) -> None:
        """Counts an answered hook call. Its line in libvirt's log goes to the journal too."""
        self._counters = counters.after_hook(
            self._counters, call.driver, call.operation, failed=not done, timed_out=timed_out
        )
        if text:
            self._journal.write([words.hook(call, text, failed=timed_out or not done)])

    def round(self, reasons: Sequence[str], done: Round, expected: frozenset[str] = frozenset()) -> float | None:
        """Reports a round. ``expected`` are domains that just came or went: changes for them are routine.

        Returns the seconds until the next report, of something that may pass until then; None if nothing waits.
        """
        now = time.time()
        if done.problem != self._problem:
            self._problem = done.problem
            if done.problem:
                self._journal.write([words.unreadable("what macmgr remembers", done.problem)])
        self._known_or_not(done, now)
        if done.outcome is None:
            return None
        outcome = done.outcome
        repaired, failures = words.repairs(outcome.done, expected), words.failures(outcome.failures)
        failed = [each.change for each in outcome.failures]
        observes = outcome.view.scope.observes
        held = [change for change in outcome.view.skipped if not observes(change.bridge)]
        left = words.left(outcome.view.plan.findings, observes, failed, held)
        lasting, wait = self._lasting(left)
        fresh, turn = self._fresh(lasting)
        self._journal.write(
            [
                *words.repaired(
                    (line, vids)
                    for line, vids in self._bursts.due(repaired, time.monotonic())
                    if (line.port, line.code) not in self._fought
                ),
                *(line for line in failures if line not in self._failed),
                *fresh,
            ]
        )
        self._said = self._said.intersection(lasting).union(fresh)
        self._failed = frozenset(failures)
        self._counters = counters.after_round(
            self._counters,
            outcome.view,
            at=now,
            seconds=done.seconds,
            done=outcome.done,
            lines=words.repaired(repaired),
            failures=len(outcome.failures),
        )
        if whole := next((reason for reason in reasons if reason in ("start", "SIGHUP", "the timer")), ""):
            self._journal.write([words.resync(whole, outcome.view, done.seconds)])
            self._counters = counters.after_resync(self._counters, whole, at=now)
        waits = (wait, turn, self._bursts.next_end(time.monotonic()))
        return min((each for each in waits if each is not None), default=None)

    def _known_or_not(self, done: Round, now: float) -> None:
        """Reports a failed look, each reason once and again while it lasts, and the first success after it."""
        if done.failure:
            self._counters = counters.after_failure(self._counters, done.failure, at=now)
            failing = self._counters.failing
            if failing and (failing.why != self._failure or time.monotonic() >= self._failure_again):
                self._failure, self._failure_again = failing.why, time.monotonic() + _FAILING_EACH
                self._journal.write([words.look_failed(failing.why, _clock(failing.since))])
            self._failed_in_a_row += 1
        elif done.outcome:
            if failing := self._counters.failing:
                self._journal.write([words.looks_again(now - failing.since, self._failed_in_a_row)])
            self._failure, self._failed_in_a_row = "", 0

    def _lasting(self, left: Sequence[Line]) -> tuple[list[Line], float | None]:
        """Returns the lines due now, and the seconds until more may be due."""
        now = time.monotonic()
        self._since = {line: self._since.get(line, now) for line in left if line.code in _PASSING}
        ages = {line: now - since for line, since in self._since.items()}
        waits = [_LASTING - age for age in ages.values() if age < _LASTING]
        return [line for line in left if ages.get(line, _LASTING) >= _LASTING], min(waits, default=None)

    def _fresh(self, lasting: Sequence[Line]) -> tuple[list[Line], float | None]:
        """Returns the lines not reported the last time, and the seconds until more are due.

        Repeated lines about one entry wait for their turn: on an observe-only bridge, each VID that an administrator's
        loop adds makes another line of it.
        """
        now, fresh, waits = time.monotonic(), [], []
        self._said_at = {what: at for what, at in self._said_at.items() if now - at[-1] < OVER}
        for line in lasting:
            if line in self._said:
                continue
            at = self._said_at.setdefault((line.message_id, line.code, line.port, line.mac), [])
            if len(at) >= AT_ONCE and now - at[-1] < EACH:
                waits.append(at[-1] + EACH - now)
            else:
                fresh.append(line)
                at[:] = [*at[1 - AT_ONCE :], now]
        return fresh, min(waits, default=None)

    def fights(self, fights: Sequence[Fight], held: Sequence[str]) -> None:
        """Reports changes that another program undoes each time; ``held`` are all ports left alone now."""
        now = time.time()
        lines = [words.standing_back(fight.change, fight.times, fight.pause) for fight in fights]
        self._fought = {which: at for which, at in self._fought.items() if now < at + _FIGHT_EACH}
        for line in lines:
            if (line.port, line.code) not in self._fought:
                self._fought[line.port, line.code] = now
                self._journal.write([line])
        going_on = [each for each in self._counters.standing_back if each.until > now]
        begun = [StandingBack(line, now, now + fight.pause) for line, fight in zip(lines, fights, strict=True)]
        if begun or len(going_on) != len(self._counters.standing_back):
            self._counters = counters.standing_back(self._counters, [*going_on, *begun], len(begun))

    def outages(self, found: Iterable[Outage], view: View) -> float | None:
        """Reports guests that nobody beyond this host reaches. Returns the seconds until more may be due."""
        running = frozenset(guest.domain for guest in view.intent.ports if guest.running)
        cut = frozenset(
            each.port for each in view.plan.findings if each.port and each.code.consequence is Consequence.CUT_OFF
        )
        lines, wait = self._outages.look(found, cut, running, Time(time.monotonic(), time.time()))
        for message_id, what in ((messages.NOT_REACHED, "cut off"), (messages.REACHED_AGAIN, "reached again")):
            those = [line for line in lines if line.message_id == message_id]
            self._journal.write(words.summed_up(those, f"places at which guests are {what}", message_id))
        self._counters = replace(self._counters, outages=self._outages.standing)
        return wait

    def reached(self, found: Mapping[tuple[str, str, str], float]) -> None:
        self._counters = replace(self._counters, reached=found)

    def metrics(self, *, per_mac: bool) -> str:
        return metrics(self._counters, time.time(), per_mac=per_mac)

    def status(self) -> bytes:
        return json.dumps(document(self._counters, time.time()), ensure_ascii=False).encode()


def _clock(seconds: float) -> str:
    """Returns the time of day, with the date if it is not today's."""
    then, now = datetime.fromtimestamp(seconds).astimezone(), datetime.now().astimezone()
    return then.strftime("%H:%M:%S" if then.date() == now.date() else "%Y-%m-%d %H:%M:%S")
