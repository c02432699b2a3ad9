"""libvirt adds its own entry before it writes state='running': an early entry is kept for a moment.

libvirt puts the entry, makes QEMU go on, and writes the status file once QEMU has confirmed (qemuProcessStartCPUs). Its
entry wakes the daemon within milliseconds. If it were dropped then, the guest would run behind a closed port without
one. An entry that was there already, of a guest that has stopped or moved away, goes at once. Pure; the time is an
argument, in seconds of a clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from macmgr.model.changes import Change
from macmgr.model.findings import Code

MOMENT = 1.0


class Grace:
    """Remembers when each early entry appeared, by bridge and domain."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, str], float] = {}

    def skips(self, now: float, had: Callable[[Change], bool]) -> Callable[[Change], bool]:
        """Returns a test: True skips the change now. ``had``: its entries were there at the last look."""

        def is_skipped(change: Change) -> bool:
            if change.because is not Code.EARLY_ENTRY:
                return False
            since = self._since.get(_what(change))
            return not had(change) if since is None else now - since < MOMENT

        return is_skipped

    def note(self, skipped: Iterable[Change], now: float) -> None:
        """Takes the changes that the last look left out. An early entry not among them counts as new the next time."""
        early = {_what(change) for change in skipped if change.because is Code.EARLY_ENTRY}
        self._since = {what: self._since.get(what, now) for what in early}

    def next_end(self, looked: float) -> float | None:
        """Returns the next end of a moment open at the last look, even if another rule skips the entry; or None."""
        return min((end for since in self._since.values() if (end := since + MOMENT) > looked), default=None)


def _what(change: Change) -> tuple[str, str]:
    return change.bridge, change.domain or ""
