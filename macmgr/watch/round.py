"""One round: compares libvirt's files and all pending hook calls with the bridges, and repairs the bridges.

It is `reconcile.apply` for the whole host. A process that stays keeps the netlink connection, the parsed status files,
and the intent while its inputs are unchanged. Rounds run in one worker thread, one at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from macmgr.config import Config
from macmgr.errors import MacmgrError, unexpected
from macmgr.execution import execute
from macmgr.hook.work import concerns, in_words, left_as_it_is, remembers
from macmgr.kernel import Kernel
from macmgr.model.changes import Change
from macmgr.model.intent import OBSERVE_ALL, Intent, Scope
from macmgr.model.known import Known, SeenMacs
from macmgr.model.snapshot import Key, Snapshot
from macmgr.planning.announcements import Announced, announcements
from macmgr.planning.plugged import with_taps
from macmgr.planning.reading import Beside
from macmgr.planning.seen import with_seen
from macmgr.policy.guests import Decisions
from macmgr.reconcile import apply, look
from macmgr.sources.statusfiles import LibvirtState, StatusFiles
from macmgr.state import lock
from macmgr.state.memory import LastRead, StateFile, read_memory
from macmgr.view import Outcome
from macmgr.wanted import WaitingCall, wanted
from macmgr.watch.closedagain import closed_again, entries_behind
from macmgr.watch.eventfilter import LastView

# The limit of a person's `macmgr apply` too; a hook that waits has given up by then and done its work itself.
_LOCK_WAIT = 5.0


@dataclass(frozen=True, slots=True)
class Round:
    """The result of a round.

    ``answers`` are (ok, message) for the hook calls, in their order. ``outcome`` and ``last`` are None if no look was
    needed, or if it failed; ``failure`` then has the cause. ``problem`` is about the memory and never fails the round.
    ``announced`` are the addresses to announce to a control plane again. ``seconds`` is the duration. Without
    ``looked``, ports were closed again, and the host is as at the last look.
    """

    answers: tuple[tuple[bool, str], ...]
    outcome: Outcome | None = None
    last: LastView | None = None
    failure: MacmgrError | None = None
    problem: str = ""
    announced: frozenset[Announced] = frozenset()
    seconds: float = 0.0
    looked: bool = True


class Rounds:
    """Runs rounds for one host: its status files below ``run_dir``, its bridges in the namespace ``netns``."""

    def __init__(self, run_dir: Path, netns: str | None, *, observe: bool = False) -> None:
        self._netns, self._observe = netns, observe
        self._files, self._memory, self._decisions = StatusFiles(run_dir), LastRead(), Decisions()
        self._kernel: Kernel | None = None
        self._known: tuple[LibvirtState, Config, list[WaitingCall], Intent] | None = None
        self._last: Round | None = None

    def run(
        self,
        heard: Iterable[WaitingCall],
        config: Config,
        skips: Callable[[Change], bool],
        *,
        whole: bool = True,
        observed: tuple[SeenMacs, ...] = (),
        lost: bool = False,
        kept: bool = False,
        refused: frozenset[tuple[str, str, int]] = frozenset(),
        expect: Callable[[Intent], None] = lambda _: None,
        closed_ports: frozenset[str] | None = None,
    ) -> Round:
        """Looks at the whole host and repairs it; without ``whole``, only if one of the hook calls concerns it.

        ``observed`` was seen behind guest ports. ``lost``: there was more that cannot be read. ``kept``: it is in its
        file. ``refused`` was just refused (`Known`). ``expect`` gets the intent before the kernel is looked at.
        ``closed_ports``: see `Beside`.
        """
        started = time.monotonic()
        calls, known = list(heard), Known(seen=observed, seen_lost=lost, refused=refused)
        try:
            result = self._run(calls, config, skips, whole, known, kept, expect, Beside(closed_ports=closed_ports))
        except Exception as error:  # noqa: BLE001 - a failed round must not end what keeps all guests reachable
            self.close()  # a connection that failed half way may still hold answers to an old question
            failure = error if isinstance(error, MacmgrError) else unexpected(error)
            result = Round(((False, str(failure)),) * len(calls), failure=failure)
        if result.outcome is not None or result.failure is not None:
            self._last = result
        return replace(result, seconds=time.monotonic() - started)

    def close_again(self, ports: Collection[str], config: Config, skips: Callable[[Change], bool]) -> Round | None:
        """Closes ``ports`` that somebody has opened since the last look. None if a look must decide."""
        started, last = time.monotonic(), self._last
        if last is None or last.outcome is None or not ports or self._observe:
            return None
        view = last.outcome.view
        try:
            self._kernel = self._kernel or Kernel(self._netns)
            with lock.hold(wait=0.0) as held:
                memory, problem = read_memory(self._netns, known=self._memory)
                flags = self._kernel.read_flags(ports, view.snapshot)
                changes = [closed_again(view, port, flags[port], memory) for port in ports if port in flags]
                made = [each for each in changes if each and not skips(each) and not config.observes(each.bridge)]
                entries = {key: entry for change in made for key, entry in entries_behind(view, change).items()}
                if problem or len(made) < len(ports) or self._kernel.look_up(entries, view.snapshot) != entries:
                    return None
                execute(held, made, self._kernel, view.snapshot)
                flags = self._kernel.read_flags(ports, view.snapshot)
                if any(flags.get(each.port) != each.after for each in made):
                    return None
        except Exception:  # noqa: BLE001 - the look that follows reports what is wrong
            self.close()
            return None
        outcome = replace(last.outcome, done=tuple(made), failures=())
        return replace(last, answers=(), outcome=outcome, problem="", seconds=time.monotonic() - started, looked=False)

    def close(self) -> None:
        """Closes the netlink connection; the next round opens another."""
        if self._kernel is not None:
            self._kernel.close()
            self._kernel = None

    def ages(self, keys: Iterable[Key], snapshot: Snapshot) -> dict[Key, float | None]:
        """Returns the ages of these entries; empty if the kernel cannot be asked, which the next round reports."""
        try:
            self._kernel = self._kernel or Kernel(self._netns)
            return self._kernel.ages(keys, snapshot)
        except MacmgrError:
            self.close()
            return {}

    def announce(self, places: Collection[Announced], config: Config, observed: tuple[SeenMacs, ...]) -> None:
        """Puts entries again, unchanged, of guests that still run here by what is read under the lock.

        A failure is not reported: the announcement is repeated, and a round reports the cause.
        """
        observes = OBSERVE_ALL.observes if self._observe else config.observes
        try:
            self._kernel = self._kernel or Kernel(self._netns)
            with lock.hold(wait=_LOCK_WAIT) as held:
                snapshot = self._kernel.read_snapshot()
                said = with_seen(with_taps(self._intent([], config), snapshot), snapshot, Known(seen=observed))
                there = announcements(said, snapshot)
                again = [there[each] for each in places if each in there and not observes(each.bridge)]
                execute(held, again, self._kernel, snapshot)
        except MacmgrError:
            self.close()

    def _run(
        self,
        calls: list[WaitingCall],
        config: Config,
        skips: Callable[[Change], bool],
        whole: bool,
        known: Known,
        kept: bool,
        expect: Callable[[Intent], None],
        beside: Beside,
    ) -> Round:
        def read_intent() -> Intent:
            intent = self._intent(calls, config)
            expect(intent)
            return intent

        intent = read_intent()
        observes = OBSERVE_ALL.observes if self._observe else config.observes
        scopes = [each.scope(observes, skips) for each in calls]
        if not whole and not self._concerned(intent, scopes):
            return Round(tuple(_left(intent, scope) for scope in scopes))
        self._kernel = self._kernel or Kernel(self._netns)
        if self._observe:
            outcome, problem = self._seen(read_intent, known, self._kernel, beside)
        else:
            with lock.hold(wait=_LOCK_WAIT) as held:
                notes = StateFile(held, self._netns, known=self._memory, watched=kept)
                scope = Scope(skips=skips, observes=observes)
                with notes.told():
                    outcome = apply(held, read_intent, self._kernel, scope, notes=notes, known=known, beside=beside)
                problem = notes.problem
        answers = tuple(_answer(each, outcome, scope) for each, scope in zip(calls, scopes, strict=True))
        there = announcements(outcome.view.intent, outcome.view.snapshot)
        heard_of = frozenset(place for place in there if not observes(place.bridge))
        return Round(answers, outcome, LastView(outcome.view), problem=problem, announced=heard_of)

    def _concerned(self, intent: Intent, scopes: list[Scope]) -> bool:
        if any(concerns(intent, scope) for scope in scopes):
            return True
        memory, _ = read_memory(self._netns, known=self._memory)
        return any(remembers(memory, scope) for scope in scopes)

    def _seen(
        self, read_intent: Callable[[], Intent], known: Known, kernel: Kernel, beside: Beside
    ) -> tuple[Outcome, str]:
        """Only looks: all changes are skipped."""
        memory, problem = read_memory(self._netns, known=self._memory)
        scope, known = Scope(observes=OBSERVE_ALL.observes), replace(known, memory=memory)
        return Outcome((), (), look(read_intent, kernel, scope, known, beside=beside)), problem

    def _intent(self, calls: list[WaitingCall], config: Config) -> Intent:
        """Returns the intent, rebuilt only if a file, the config or the waiting calls changed since the last look.

        A round with calls asks twice: to see if they concern anything, and again under the lock.
        """
        waiting = [each for each in calls if each.waits()]  # asked before the files are read, and under the lock
        state = self._files.read()
        known = self._known
        if known is None or known[0] is not state or known[1] is not config or known[2] != waiting:
            known = self._known = state, config, waiting, wanted(state, config, waiting, self._decisions)
        return known[3]


def _left(intent: Intent, scope: Scope) -> tuple[bool, str]:
    """An obstacle to a guest's ports is a failure: the configuration may let it refuse the guest's start."""
    problem = left_as_it_is(intent, scope)
    return not problem, problem


def _answer(each: WaitingCall, outcome: Outcome, scope: Scope) -> tuple[bool, str]:
    """Returns (ok, message) for one hook call, about its own part of the host."""
    well, problem = _left(outcome.view.intent, scope)
    released = any(scope.holds(each.domain, each.bridge) for each in outcome.view.to_release)
    if not released and not concerns(outcome.view.intent, scope):
        return well, problem
    line = in_words(each.call, outcome.within(scope), watched=True)
    return well, "; ".join(filter(None, (problem, line)))
