"""`macmgr watch`: opens its event sources, runs one round after the other, answers hooks, and ends in good order.

An event only marks the host as dirty (watch/pending); the round decides what is right, by the one pipeline. The loop
never waits for the kernel, for libvirt or for a disk: a round runs in a thread of its own. Decisions: docs/adr/0006.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from macmgr import paths
from macmgr.config import Config, load_config
from macmgr.errors import Busy, MacmgrError
from macmgr.model.changes import Change
from macmgr.model.findings import Code
from macmgr.model.hookcall import HookCall
from macmgr.model.intent import OBSERVE_ALL
from macmgr.safefiles import Stamp, stamp_at
from macmgr.wanted import WaitingCall
from macmgr.watch.announcing import Announcing
from macmgr.watch.backoff import Backoff
from macmgr.watch.daemonlog import DaemonLog
from macmgr.watch.eventsources import EventSources
from macmgr.watch.grace import Grace
from macmgr.watch.hookcalls import Ticket, answered, settle
from macmgr.watch.hooksocket import HookSocket
from macmgr.watch.pending import Batch, Pending
from macmgr.watch.reachwatch import ReachWatch
from macmgr.watch.round import Round, Rounds
from macmgr.watch.settings import Options
from macmgr.watch.systemd import Systemd, watchdog_seconds

# A burst is one round: it takes all marks within this time of the first. If looks are asked for again and again and
# find nothing, they become rarer, so that no foreign program can make us spin.
FIRST_WINDOW, LONGEST_WINDOW = 0.005, 0.25
# A round that failed, or left changes undone, is repeated after this time.
FIRST_RETRY, LONGEST_RETRY, LONGEST_WAIT = 0.5, 60.0, 2.0
# A thread still busy after this time is stuck; the watchdog may then end us.
_STUCK = 60.0
# The interval for reading the ages of sticky entries. Nothing else shows that their MAC was seen elsewhere.
_AGES = 30.0
# The report of a hook that did not wait is not used; a look covers the hook's own work.
_GONE = "a hook that did not wait"


@dataclass(frozen=True, slots=True)
class Places:
    """This host's files; ``observe``: nothing may be changed; ``hooks``: hooks may leave their work to us."""

    run_dir: Path
    config: Path | None = None
    netns: str | None = None
    observe: bool = False
    hooks: bool = True
    socket: Path = paths.HOOK_SOCKET


class Daemon:
    """One daemon for one host. ``run`` ends after SIGTERM or SIGINT. Raises what it cannot open at its start."""

    def __init__(self, places: Places, log: DaemonLog, systemd: Systemd) -> None:
        self._places, self._log, self._systemd = places, log, systemd
        self._stamp = self._config_stamp()
        self._config: Config = load_config(places.config)
        self._configured()
        if not places.hooks:
            log.leaves_hooks()
        self._pending: Pending[Ticket] = Pending()
        self._backoff, self._grace = Backoff(self._config.daemon.repairs_per_minute), Grace()
        self._announcing = Announcing()
        self._window, self._retry = FIRST_WINDOW, FIRST_RETRY
        self._round_started = self._round_ended = 0.0
        self._headline = ""
        self._timers: dict[str, asyncio.TimerHandle] = {}

    async def run(self) -> None:
        """Starts dirty, resyncs, and runs rounds until it is stopped."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda _, context: self._log.bug(context.get("exception")))
        self._dirty, self._stop, self._hurry = asyncio.Event(), asyncio.Event(), asyncio.Event()
        with ExitStack() as opened:
            self._worker = opened.enter_context(ThreadPoolExecutor(1, "macmgr-round"))
            judge = opened.enter_context(ThreadPoolExecutor(1, "macmgr-judge"))
            self._reach = ReachWatch(self._log, judge, self._after)
            self._rounds = Rounds(self._places.run_dir, self._places.netns, observe=self._places.observe)
            opened.callback(self._rounds.close)
            self._sources = EventSources(self._places.run_dir, self._places.netns, self._log, self._mark, opened)
            self._hooks = HookSocket(self._places.socket, self._called, self._log.status, self._config.hook)
            await self._hooks.start()
            self._options = Options(self._log, self._mark_from_anywhere, self._sources.hear_from_anywhere)
            try:
                await self._options.configure(self._config.daemon)
                await self._serve()
            finally:
                self._systemd.stopping()
                await self._options.close()
                await self._hooks.close()  # hooks that still wait get no answer and do their work themselves
                self._log.stopped()

    async def _serve(self) -> None:
        for number, act in ((signal.SIGTERM, self._end), (signal.SIGINT, self._end), (signal.SIGHUP, self._reload)):
            self._loop.add_signal_handler(number, act)
        self._sources.start()
        self._after(_AGES, "ages", self._ask_ages)
        self._stay_alive()
        self._mark("start")
        await self._round()
        self._log.started()
        self._systemd.ready()
        stop = asyncio.create_task(self._stop.wait())
        settings = self._config.daemon
        while not self._stop.is_set():
            dirty = asyncio.create_task(self._dirty.wait())
            await asyncio.wait((stop, dirty), return_when=asyncio.FIRST_COMPLETED)
            await self._gather()
            if not self._stop.is_set():
                await self._round()
            dirty.cancel()
            if settings is not self._config.daemon:
                settings = self._config.daemon
                await self._options.configure(settings)

    async def _gather(self) -> None:
        """Lets a burst come together, but only while nobody waits for us."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._window if time.monotonic() - self._round_ended < 1 else FIRST_WINDOW):
                await self._hurry.wait()

    def _end(self) -> None:
        self._stop.set()
        self._hurry.set()

    # Event sources

    def _mark(self, reason: str) -> None:
        self._pending.mark(reason)
        self._dirty.set()

    def _mark_from_anywhere(self, reason: str) -> None:
        self._loop.call_soon_threadsafe(self._mark, reason)

    def _ask_ages(self) -> None:
        """Checks from time to time for a guest's MAC seen where its sticky entry does not let it go."""
        self._after(_AGES, "ages", self._ask_ages)
        if questions := self._sources.addresses.questions():
            asked = self._loop.run_in_executor(self._worker, self._rounds.ages, *questions)
            asked.add_done_callback(lambda done: self._sources.addresses.ages(done.result(), time.monotonic()))

    def _announce(self) -> None:
        """Puts entries again, unchanged, that a control plane may have refused."""
        if due := self._announcing.take(time.monotonic()):
            config, seen = self._config, self._sources.addresses.records
            asked = self._loop.run_in_executor(self._worker, self._rounds.announce, due, config, seen)
            asked.add_done_callback(lambda done: done.result())  # so that a bug is reported
        self._announce_later()

    def _announce_later(self) -> None:
        if (due := self._announcing.next_due()) is not None:
            self._after(max(0.0, due - time.monotonic()), "announce", self._announce)

    async def _called(self, call: HookCall, data: bytes, waits: Callable[[], bool]) -> tuple[bool, str] | None:
        """Answers a hook that has handed its work over while libvirt waits; None: the hook must do the work."""
        if not self._places.hooks:
            return None
        if not waits():  # we were suspended, or too busy: its report may be out of date
            self._mark(_GONE)
            return None
        return await answered(call, data, waits, self._config.hook.timeout / 2, self._take, self._log)

    def _take(self, call: WaitingCall, ticket: Ticket) -> None:
        self._pending.hear(call, ticket)
        self._dirty.set()
        self._hurry.set()

    def _reload(self) -> None:
        self._systemd.reloading()
        try:
            stamp = self._config_stamp()
            self._config, self._stamp = load_config(self._places.config), stamp
            self._backoff.limit = self._config.daemon.repairs_per_minute
            self._configured()
            self._hooks.configure(self._config.hook)
        except MacmgrError as error:
            self._log.misconfigured(str(error))
        self._sources.retry()
        self._sources.need_all_ports()
        self._mark("SIGHUP")
        self._systemd.ready()

    def _resync(self) -> None:
        self._sources.retry()
        self._sources.read_files()
        self._mark("the timer")

    def _is_outdated(self) -> bool:
        """The file has changed since it was read, so it may now name a port that it did not name before."""
        return self._config_stamp() != self._stamp

    def _config_stamp(self) -> Stamp | None:
        return stamp_at(self._places.config or paths.CONFIG)

    def _configured(self) -> None:
        modes = OBSERVE_ALL if self._places.observe else self._config.modes
        self._log.configured(modes, self._config.daemon.resync)

    def _after(self, seconds: float, name: str, act: Callable[[], None]) -> None:
        """Schedules an action; each name has one timer."""
        if name in self._timers:
            self._timers[name].cancel()
        self._timers[name] = self._loop.call_later(seconds, act)

    def _stay_alive(self) -> None:
        wanted = watchdog_seconds()
        if wanted is None:
            return
        if not self._round_started or time.monotonic() - self._round_started < _STUCK:
            self._systemd.alive()
        self._after(wanted / 3, "watchdog", self._stay_alive)

    # A round

    async def _round(self) -> None:
        batch = self._pending.take()
        self._dirty.clear()
        self._hurry.clear()
        now, config = time.monotonic(), self._config  # SIGHUP may change it while the round runs
        skips = (
            self._backoff.skips(now),
            self._grace.skips(now, self._sources.last.had if self._sources.last else lambda _: False),
            lambda change: change.because == Code.NOT_GIVEN_BACK and self._is_outdated(),
        )
        self._sources.pause()  # later events are compared with this round's view
        self._round_started = now
        self._log.looking(True)
        heard, addresses = [each for each, _ in batch.calls], self._sources.addresses

        def is_skipped(change: Change) -> bool:
            return any(skipped(change) for skipped in skips)

        done, opened = None, self._sources.take_opened(batch.reasons)
        if opened and not heard:
            close = partial(self._rounds.close_again, opened, config, is_skipped)
            done = await self._loop.run_in_executor(self._worker, close)
        if done is None:
            look = partial(
                self._rounds.run,
                heard,
                config,
                is_skipped,
                whole=bool(batch.reasons),
                observed=addresses.records,
                lost=addresses.lost,
                kept=addresses.kept,
                refused=self._backoff.refused(now),
                expect=self._sources.expecting(),
                closed_ports=self._sources.take_ports(),
            )
            done = await self._loop.run_in_executor(self._worker, look)
        self._round_started, self._round_ended = 0.0, time.monotonic()
        self._log.looking(False)
        for (_, ticket), answer in zip(batch.calls, done.answers, strict=True):
            settle(ticket, answer if done.failure is None else done.failure)
        if not all(each.waits() for each in heard):
            self._mark(_GONE)
        try:
            self._digest(batch, done, now)
            self._say_how_it_stands()
        except Exception as error:  # noqa: BLE001 - a failed report must not end what keeps all guests reachable
            self._log.bug(error)
        self._sources.resume()

    def _say_how_it_stands(self) -> None:
        if (headline := self._log.headline()) != self._headline:
            self._headline = headline
            self._systemd.status(headline)

    def _digest(self, batch: Batch[Ticket], done: Round, started: float) -> None:
        """Applies a round's result to the next ones."""
        now = time.monotonic()
        if done.last is not None and done.looked:
            self._sources.compare_with(done.last)
        if done.failure is not None:
            self._sources.need_all_ports()
        made = done.outcome.done if done.outcome else ()
        self._window = FIRST_WINDOW if made or batch.calls else min(LONGEST_WINDOW, 2 * self._window)
        fights = self._backoff.note(made, now)
        if done.outcome and done.looked:
            self._reach.look(done.outcome.view)
            self._announcing.note(done.announced, made, now)
            self._announce_later()
            skipped = done.outcome.view.skipped
            back = any(change.because == Code.NOT_GIVEN_BACK for change in skipped)
            self._log.outdated(back and self._is_outdated())
            self._grace.note(skipped, now)
        ends = self._backoff.next_end(now), self._grace.next_end(started)
        if (end := min((each for each in ends if each is not None), default=None)) is not None:
            self._after(end - now, "pause", lambda: self._mark("the end of a pause"))
        if done.looked and (done.outcome or done.failure):
            self._after(self._config.daemon.resync, "resync", self._resync)
        if done.failure or (done.outcome and not done.outcome.complete):
            # a look that waits for the lock costs next to nothing, and drift stays until it succeeds
            longest = LONGEST_WAIT if isinstance(done.failure, Busy) else LONGEST_RETRY
            self._after(min(self._retry, longest), "retry", lambda: self._mark("what was left undone"))
            self._retry = min(LONGEST_RETRY, 2 * self._retry)
        elif done.outcome:
            self._retry = FIRST_RETRY
            if retry := self._timers.pop("retry", None):
                retry.cancel()
        expected = frozenset(each.call.object for each, _ in batch.calls if each.given.domain is not None)
        if (wait := self._log.round(batch.reasons, done, expected)) is not None:
            self._after(wait, "lasting", lambda: self._mark("what may have passed"))
        self._log.fights(fights, self._backoff.held(now))
        if done.looked and self._sources.addresses.after(done, now, sightings=self._config.daemon.sightings):
            self._mark("an address has moved on")
