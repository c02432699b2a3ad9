"""Finds what this kernel lacks by writing and reading: no return code and no version says it. Pure.

A kernel before 4.20 acknowledges NTF_STICKY and drops it, one before 5.19 takes a flush for a deletion that lacks its
address, and distributions carry features back to kernels of any version. So a change is made, and what is there
afterwards shows it. Kept for the kernel's boot, in the state file: docs/adr/0010.
"""

from __future__ import annotations

from collections.abc import Iterable

from macmgr.model.changes import Change, SetEntries
from macmgr.model.snapshot import EntryState, Feature, Snapshot


def found_lacking(sent: Iterable[Change], snapshot: Snapshot) -> frozenset[Feature]:
    """The features that the kernel lacks, by the ``snapshot`` that was read after ``sent`` was asked for."""
    entries = [change for change in sent if isinstance(change, SetEntries)]
    lacks = set()
    if _drops_sticky(entries, snapshot):
        lacks.add(Feature.STICKY)
    flushed = (change for change in entries if change.stranded and not change.by)
    if any(snapshot.fdb.at(change.bridge, *entry.key) == entry for change in flushed for entry in change.before):
        lacks.add(Feature.FLUSH)
    return frozenset(lacks)


def _drops_sticky(changes: Iterable[SetEntries], snapshot: Snapshot) -> bool:
    """Entries that were put as sticky are there without it, and no other entry is sticky either.

    Somebody else's replace of the only one, right after ours, looks like that too: once is not enough to believe it.
    """
    asked = {entry[:4] for change in changes for entry in change.after if entry.sticky and not entry.extern_learn}
    if not asked or any(entry.sticky for entry in snapshot.entries):
        return False
    return any(entry.state is EntryState.STATIC and entry[:4] in asked for entry in snapshot.entries)
