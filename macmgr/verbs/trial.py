"""`macmgr apply --try SECONDS` makes the changes on one observed bridge, and gives them back unless a person says yes.

A guard, a process of its own session, is there before the first change. It ends the trial when the time is over, or
when this process is gone: its end of a pipe closes then, whether it was killed, or the terminal or ssh went away.
Going back is `macmgr release`. So a bridge is tried on which there is nothing to release yet: what is released at the
end is what the trial has made, and no more.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import syslog
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from macmgr.errors import Busy, MacmgrError, NotThere, unexpected
from macmgr.model.intent import observe_nothing
from macmgr.oneline import one_line
from macmgr.planning.release import plan_release
from macmgr.reconcile import look
from macmgr.state.memory import read_memory
from macmgr.verbs.host import Host

KEPT, WENT_BACK, FAILED = 0, 10, 11
_YES = b"y"
# Another macmgr may be at work, or libvirt away for a moment: so often going back is tried, after so many seconds.
_TRIES, _AGAIN = 30, 1.0


@dataclass
class Guard:
    """The process that ends the trial, as its parent sees it."""

    pid: int
    pipe: int
    deadline: float

    def ends(self, *, keep: bool = False) -> int:
        """Returns what came of the trial: one yes in time keeps the changes."""
        with suppress(BrokenPipeError):
            if keep:
                os.write(self.pipe, _YES)
        os.close(self.pipe)
        self.pipe = -1
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def check_nothing_to_release(host: Host, bridge: str) -> None:
    """Raises NotThere unless the bridge is observed, and has nothing of macmgr's yet."""
    memory, _ = read_memory(host.netns)
    with host.kernel() as kernel:
        scope = replace(host.scope, observes=observe_nothing)
        view = look(host.read_intent, kernel, scope, replace(host.known, memory=memory, cut=True), plan_release)
    there = {each.port for each in memory.ports if each.bridge == bridge and each.port in view.snapshot.ports}
    if there or view.plan.changes:
        raise NotThere(
            f"{bridge} cannot be tried: macmgr has made changes there before, and going back gives back all of them; "
            f"'macmgr release --bridge {bridge}' first, or apply without --try"
        )


@contextmanager
def guarded(seconds: float, go_back: Callable[[], bool]) -> Iterator[Guard]:
    """Starts the guard, before anything is changed. Whatever ends the block without `Guard.ends` goes back."""
    reads, writes = os.pipe()
    deadline = time.monotonic() + seconds
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        code = FAILED
        try:
            os.close(writes)
            code = _watch_over(reads, deadline, go_back)
        finally:
            os._exit(code)
    os.close(reads)
    guard = Guard(pid, writes, deadline)
    try:
        yield guard
    finally:
        if guard.pipe >= 0:
            guard.ends()


def _watch_over(pipe: int, deadline: float, go_back: Callable[[], bool]) -> int:
    parent = os.getppid()
    os.setsid()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    if select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0] and os.read(pipe, 1) == _YES:
        return KEPT
    said = ""
    for _ in range(_TRIES):
        try:
            if go_back():
                syslog.syslog(syslog.LOG_NOTICE, "macmgr apply --try: gone back")
                return WENT_BACK
            said = "something is left"
        except Busy as busy:
            said = str(busy)
            if busy.pid == parent == os.getppid():  # stopped in the middle of its changes: it would come back to them
                os.kill(parent, signal.SIGKILL)
        except MacmgrError as error:
            said = str(error)
        except Exception as error:  # noqa: BLE001 - nobody else can say it
            said = str(unexpected(error))
        time.sleep(_AGAIN)
    syslog.syslog(syslog.LOG_ERR, one_line(f"macmgr apply --try: going back failed: {said}; see 'macmgr release'"))
    return FAILED


def is_confirmed(guard: Guard) -> bool:
    """Asks for a line on standard input until the time is over. Only yes is yes."""
    left = max(0.0, guard.deadline - time.monotonic())
    print(f"Type yes within {left:.0f} s to keep the changes; anything else goes back:", flush=True)
    try:
        return bool(select.select([0], [], [], left)[0]) and os.read(0, 100).strip().lower() in (b"y", b"yes")
    except OSError:  # the terminal is gone, or there was none
        return False
