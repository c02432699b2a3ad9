"""An entry that seems early is given a moment: libvirt's own comes before the word that the guest runs.

It puts the entry, tells QEMU to go on, and writes the status file once QEMU has said so (qemuProcessStartCPUs). Its
entry wakes the daemon within milliseconds; dropped then, the guest would run behind a closed port without one. Pure;
the time is an argument, in seconds of a clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Callable

from macmgr.model.changes import Change
from macmgr.model.findings import Code

MOMENT = 1.0
# Seen again after that time, it is another one.
_FORGET = 5.0


class Patience:
    """Remembers since when each early entry is there."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, str], float] = {}

    def spares(self, now: float) -> Callable[[Change], bool]:
        """What says of a change whether it is left out now."""
        self._since = {what: since for what, since in self._since.items() if now - since < _FORGET}

        def is_spared(change: Change) -> bool:
            if change.because is not Code.EARLY_ENTRY:
                return False
            what = change.bridge, change.domain or ""
            return now - self._since.setdefault(what, now) < MOMENT

        return is_spared

    def next_end(self, now: float) -> float | None:
        """When the next moment is over, None where there is none."""
        ends = (since + MOMENT for since in self._since.values())
        return min((end for end in ends if end > now), default=None)
