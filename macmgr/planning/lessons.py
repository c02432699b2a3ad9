"""Finds what an apply has learned: which features the kernel lacks, and which addresses an uplink has as well. Pure.

A kernel before 4.20 acknowledges NTF_STICKY and drops it, one before 5.19 takes a flush for a deletion that lacks its
address, and distributions carry features back to kernels of any version. No return code and no version says it. So a
change is made, and what is there afterwards shows it. Kept for the kernel's boot, in the state file: docs/adr/0010.

A guest's own ``<mac>`` is libvirt's word, and its entry is put wherever the address was learned: a guest that has just
come from another host was always learned on the uplink. Where the address is not the guest's alone, as a router's is
not, its other owner goes on sending. The sticky entry stays, and the kernel notes the time (br_fdb_update).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from macmgr.model.changes import Change, SetEntries
from macmgr.model.intent import Intent
from macmgr.model.known import Taken
from macmgr.model.snapshot import EntryState, Feature, Key, Snapshot


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


Times = Mapping[Key, tuple[float, float]]
"""The time at which an entry was last put, or its address seen elsewhere: not before, not after, of one clock."""


def taken_by(changes: Iterable[Change], intent: Intent, snapshot: Snapshot, known: Iterable[Taken]) -> list[Taken]:
    """The entries that ``changes`` take from uplinks, and those of ``known`` that they put anew; without times yet.

    Only sticky entries, for any other goes back to who sends next.
    """
    taps = {guest.port for guest in intent.ports}
    before = {each.key: each for each in known}
    found: list[Taken] = []
    for change in changes:
        if not isinstance(change, SetEntries):
            continue
        learned = {entry.vid: entry.port for entry in change.before if entry.state is EntryState.DYNAMIC}
        for entry in change.after:
            key = change.bridge, entry.mac, entry.vid
            uplink = learned.get(entry.vid, "")
            if entry.port not in taps or not entry.sticky:
                continue
            if uplink and uplink not in taps:
                ifindex = snapshot.ports[entry.port].ifindex
                found.append(Taken(*key, entry.port, ifindex, uplink, 0.0))
            elif key in before and before[key].port == entry.port:
                found.append(before[key])
    return found


def with_times(known: Collection[Taken], new: Collection[Taken], times: Times) -> tuple[Taken, ...]:
    """All that was taken, the ``new`` ones as of the ``times`` at which they were put."""
    put = {each.key for each in new}
    dated = [replace(each, at=times[each.key][1]) for each in new if each.key in times]
    return tuple(sorted([each for each in known if each.key not in put] + dated))


def of_same_ports(known: Iterable[Taken], snapshot: Snapshot) -> tuple[Taken, ...]:
    """Those about ports that are still the same. An entry that is gone may be put again."""
    ports = ((each, snapshot.port_on(each.bridge, each.port)) for each in known)
    return tuple(each for each, port in ports if port is not None and port.ifindex == each.ifindex)


def seen_since(known: Iterable[Taken], snapshot: Snapshot) -> Iterator[Taken]:
    """The entries on their guests' ports whose address was surely seen elsewhere after they were put."""
    for each in of_same_ports(known, snapshot):
        entry, times = snapshot.fdb.at(*each.key), snapshot.refreshed.get(each.key)
        if entry is not None and entry.port == each.port and times is not None and times[0] > each.at:
            yield each
