"""What the daemon sees behind guest ports with packet sockets, and keeps for every verb to read.

The two ends (sockets, file) of `macmgr.watch.addresses`. It holds no opinion: an address that it has seen is a source,
and the round decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from macmgr import paths
from macmgr.kernel.sightings import Sighting, Sightings
from macmgr.reconcile import View
from macmgr.state.observedfile import read_observed, write_observed
from macmgr.watch.addresses import MacChange, Records, Word, hear, remember, settle, watched


class Observer:
    """What is seen in one network namespace. ``records`` are for the intent of the next round.

    ``lost``: another daemon saw more, and it cannot be read. ``problem`` is one line about what it cannot see or keep,
    empty while all is well.
    """

    def __init__(self, netns: str | None = None, path: Path | None = None) -> None:
        self._netns, self._path = netns, path
        self._sightings = Sightings(netns)
        read = read_observed(netns, path)
        self.records: Records = read.records
        self.lost, self._kept = read.lost, read.problem
        if read.missing:  # from now on one that is missing is lost
            self._kept = write_observed((), netns, path, lost=read.lost) or self._kept

    @property
    def problem(self) -> str:
        return self._sightings.problem or self._kept

    @property
    def kept(self) -> bool:
        """Whether the records are in their file, as far as it could be written."""
        return not self._kept

    def fileno(self) -> int:
        """Readable when a guest has sent from a new address."""
        return self._sightings.fileno()

    def read(self, view: View | None, now: float) -> tuple[bool, list[Sighting], list[MacChange]]:
        """Whether there is something for a round to do, what was seen, and which guests have changed their address."""
        seen = self._sightings.read()
        if view is None or not seen:
            return False, seen, []
        records, changes = remember(self.records, seen, view, now)
        return self._replace(records), seen, changes

    def hear(self, words: Iterable[Word], view: View, now: float) -> tuple[bool, list[MacChange], list[Word]]:
        """libvirt has said which addresses NICs have; as `read`, and the words about NICs that are not known yet."""
        records, changes, unknown = hear(self.records, words, view, now)
        return self._replace(records), changes, unknown

    def after(self, view: View, now: float, *, sightings: bool = True) -> bool:
        """A round is over: forget what it has acted on or what has moved on, and watch its ports, if that is wanted.

        Whether there is more for a round to do: the entry of an address that has moved on is swept.
        """
        before = {record.port: {*record.moved, *record.fresh} for record in self.records}
        changed = self._replace(settle(self.records, view, now, sightings=sightings))
        self._sightings.watch(watched(view) if sightings else {})
        return changed and any(
            {*record.moved, *record.fresh} - before.get(record.port, set()) for record in self.records
        )

    def close(self) -> None:
        self._sightings.close()

    def _replace(self, records: Records) -> bool:
        """Keep the records; whether they say anything new."""
        changed = records != self.records
        self.records = records
        if changed or self._kept or not (self._path or paths.OBSERVED).exists():
            self._kept = write_observed(records, self._netns, self._path, lost=self.lost)
        return changed
