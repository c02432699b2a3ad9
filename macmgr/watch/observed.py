"""Keeps the addresses that packet sockets see behind guest ports, for every verb to read.

It holds the sockets and the file for `macmgr.watch.addresses`. It does not judge: a seen address is a source, and the
round decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from macmgr import paths
from macmgr.kernel.sightings import Sightings
from macmgr.model.known import NicAddress, Sighting
from macmgr.state.observedfile import read_observed, write_observed
from macmgr.view import View
from macmgr.watch.addresses import MacChange, Records, hear, remember, settle, watched


class Observer:
    """The sightings of one network namespace. ``records`` are for the intent of the next round.

    ``lost``: another daemon saw more, and its records cannot be read. ``problem``: an obstacle to seeing or keeping, in
    one line; empty if there is none.
    """

    def __init__(self, netns: str | None = None, path: Path | None = None) -> None:
        self._netns, self._path = netns, path
        self._sightings = Sightings(netns)
        read = read_observed(netns, path)
        self.records: Records = read.records
        self.lost, self._kept = read.lost, read.problem
        if read.missing:  # from now on a missing file is a lost one
            self._kept = write_observed((), netns, path, lost=read.lost) or self._kept

    @property
    def problem(self) -> str:
        return self._sightings.problem or self._kept

    @property
    def kept(self) -> bool:
        """The records are in their file, as far as it could be written."""
        return not self._kept

    def fileno(self) -> int:
        return self._sightings.fileno()

    def read(self, view: View | None, now: float) -> tuple[bool, list[Sighting], list[MacChange]]:
        """Reads the sockets. Returns (a round has something to do, the sightings, the changes of guests' addresses)."""
        seen = self._sightings.read()
        if view is None or not seen:
            return False, seen, []
        before = self.records
        records, changes = remember(before, seen, view, now)
        self._replace(records)
        # an address that nothing lets in gives a round nothing to do, and a guest may send from many
        return _acted_on(records) != _acted_on(before), seen, changes

    def hear(
        self, words: Iterable[NicAddress], view: View, now: float
    ) -> tuple[bool, list[MacChange], list[NicAddress]]:
        """Applies libvirt's reports. Returns (a round has something to do, changes, reports about unknown NICs)."""
        records, changes, unknown = hear(self.records, words, view, now)
        return self._replace(records), changes, unknown

    def after(self, view: View, now: float, *, sightings: bool = True) -> bool:
        """Forgets, after a round, what it acted on or what moved on, and watches its ports, if that is wanted.

        True if another round has something to do: it sweeps the entry of an address that has moved on.
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
        """Keeps the records. True if they changed."""
        changed = records != self.records
        self.records = records
        if changed or self._kept or not (self._path or paths.OBSERVED).exists():
            self._kept = write_observed(records, self._netns, self._path, lost=self.lost)
        return changed


def _acted_on(records: Records) -> Records:
    return tuple(replace(record, unlisted=()) for record in records)
