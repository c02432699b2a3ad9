"""An entry that seems early is given a moment: libvirt's own comes before the word that the guest runs.

It puts the entry, tells QEMU to go on, and writes the status file once QEMU has said so (qemuProcessStartCPUs). Its
entry wakes the daemon within milliseconds; dropped then, the guest would run behind a closed port without one. Pure;
the time is an argument, in seconds of a clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from macmgr.model.changes import Change
from macmgr.model.findings import Code

MOMENT = 1.0


class Patience:
    """Remembers since when each early entry is there, by bridge and domain."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, str], float] = {}

    def spares(self, now: float) -> Callable[[Change], bool]:
        """What says of a change whether it is left out now."""
        since = self._since
        return lambda change: change.because is Code.EARLY_ENTRY and now - since.get(_what(change), now) < MOMENT

    def note(self, spared: Iterable[Change], now: float) -> None:
        """Which changes the last look left out: of an early entry that is not among them the next one is another."""
        early = {_what(change) for change in spared if change.because is Code.EARLY_ENTRY}
        self._since = {what: self._since.get(what, now) for what in early}

    def next_end(self, looked: float) -> float | None:
        """When the next moment is over that was not at the last look, whoever else spares the entry; None for none."""
        return min((end for since in self._since.values() if (end := since + MOMENT) > looked), default=None)


def _what(change: Change) -> tuple[str, str]:
    return change.bridge, change.domain or ""
