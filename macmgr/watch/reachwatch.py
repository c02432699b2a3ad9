"""Judges beside the rounds which guests are reached from beyond this host. No repair waits for it.

A thread of its own asks the model after each round that read something new. It takes a tenth of the processor's time at
most, however often ports change: the next look waits for ten times as long as the last one took.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from macmgr.forwarding.consequences import consequences
from macmgr.model.intent import GuestPort
from macmgr.planning.reached import Outage, outages
from macmgr.report.hostmetrics import Labels, reached_nics
from macmgr.view import View
from macmgr.watch.daemonlog import DaemonLog

_SHARE = 10

After = Callable[[float, str, Callable[[], None]], None]


class Judgement(NamedTuple):
    """The outages of one look, and the value of `macmgr_guest_reached` for each NIC."""

    outages: tuple[Outage, ...] = ()
    reached: Mapping[Labels, float] = {}


class ReachWatch:
    """``after`` schedules an action by a name, as the daemon does."""

    def __init__(self, log: DaemonLog, worker: ThreadPoolExecutor, after: After) -> None:
        self._log, self._worker, self._after = log, worker, after
        self._due: View | None = None
        self._judged: View | None = None
        self._found = Judgement()
        self._busy, self._next = False, 0.0

    def look(self, view: View) -> None:
        """Takes the view of a round that has looked."""
        self._due = view
        self._start()

    def _start(self) -> None:
        if self._busy or self._due is None:
            return
        if (pause := self._next - time.monotonic()) > 0:
            self._after(pause, "reach", self._start)
            return
        view, self._due = self._due, None
        if self._judged is not None and _alike(view, self._judged):
            self._judged = view
            self._say()
            return
        self._busy = True
        started, self._judged = time.monotonic(), view
        asked = asyncio.get_running_loop().run_in_executor(self._worker, judge, view)
        asked.add_done_callback(lambda done: self._end(done, started))

    def _end(self, done: asyncio.Future[Judgement], started: float) -> None:
        now = time.monotonic()
        self._busy, self._next = False, now + _SHARE * (now - started)
        if not done.cancelled():
            self._found = done.result()  # a bug is the loop's to report
            self._say()
        self._start()

    def _say(self) -> None:
        """Reports what was found last. What does not last is not reported, so this is asked again."""
        if self._judged is None:
            return
        self._log.reached(self._found.reached)
        if (wait := self._log.outages(self._found.outages, self._judged)) is not None:
            self._after(wait, "outages", self._say)


def judge(view: View) -> Judgement:
    """Returns the guests on managed bridges that nobody beyond this host reaches, and of each NIC if it is reached."""

    def addresses(guest: GuestPort) -> tuple[str, ...]:
        return guest.macs[:1] if guest.running and guest.bridge in view.intent.managed_bridges else ()

    reaches = tuple(consequences(view.snapshot, view.intent, addresses, exposure=False))
    found = tuple(outages(reaches, view.intent, view.snapshot))
    return Judgement(found, reached_nics(replace(view, reaches=reaches)))


def _alike(view: View, other: View) -> bool:
    """Nothing that decides who is reached has changed."""
    new, old = view.snapshot, other.snapshot
    if (view.intent.ports, view.intent.managed_bridges) != (other.intent.ports, other.intent.managed_bridges):
        return False
    return (new.bridges, new.ports, new.entries) == (old.bridges, old.ports, old.entries)
