"""Entries that no request can name any more: static ones in a VID that their port has lost.

A VID that is taken off a port takes the learned entries along and leaves the static ones (br_fdb_delete_by_port).
Nobody can delete them by name after that (br_fdb_delete asks for the port's VLAN: EINVAL), and a frame in that VID
which finds one goes nowhere. What clears them is a flush by port, VID and state, for all MACs at once.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from macmgr.model.changes import FlushEntries, SetEntries, typed
from macmgr.model.findings import Code, Finding
from macmgr.model.snapshot import Entry, EntryState, Feature
from macmgr.planning.draft import Draft, Stranded, Table


def plan_stranded(claimed: frozenset[tuple[str, str, int]], table: Table, draft: Draft) -> None:
    """Flush where all that would go is known to be wrong there; else tell how it is done by hand."""
    places: dict[tuple[str, int], dict[str, Stranded]] = {}
    for each in draft.stranded:
        places.setdefault((each.entry.port, each.entry.vid), {}).setdefault(each.entry.mac, each)
    flushed = _flushed_with({port for port, _ in places}, table)
    for (port, vid), found in places.items():
        there = flushed.get((port, vid), [])
        bridge = next(iter(found.values())).bridge
        waiting = [entry for entry in there if (bridge, entry.mac, vid) in claimed]  # its guest's put moves it before
        bystanders = [entry for entry in there if entry.mac not in found and (bridge, entry.mac, vid) not in claimed]
        can = not bystanders and not table.lacks(Feature.FLUSH)
        # a flush that takes more than one domain's entries is not done for one of them alone
        domains: set[str | None] = {each.domain for each in found.values()} | {None for _ in waiting}
        domain = domains.pop() if len(domains) == 1 else None
        command = typed(FlushEntries(port, vid))
        for each in found.values():
            if can:
                draft.drops.append(
                    SetEntries(each.entry.mac, (each.entry,), (), bridge, domain, each.code, stranded=True)
                )
            text = f"{each.text}, in VID {vid}, which {port} does not carry any more"
            fix = command if can else _by_hand(each.entry)
            draft.find_at(each.code, text, bridge=bridge, domain=each.domain, entry=each.entry, fix=fix)
        if table.lacks(Feature.FLUSH):
            text = (
                f"the entries of {port} in VID {vid}, which it does not carry any more, cannot be cleared; this kernel "
                "cannot flush a port's entries in one VID, Linux 5.19 can"
            )
            draft.findings.append(Finding(Code.UNSUPPORTED, text, bridge, port, domain, vid=vid))


def _flushed_with(ports: Iterable[str], table: Table) -> dict[tuple[str, int], list[Entry]]:
    """What a flush of each port and VID would take; a port that was a trunk has entries in thousands of them."""
    found: dict[tuple[str, int], list[Entry]] = {}
    for port in ports:
        for entry in table.of_port(port):
            if entry.state is EntryState.STATIC and not entry.extern_learn:
                found.setdefault((port, entry.vid), []).append(entry)
    return found


def _by_hand(entry: Entry) -> str:
    """What every kernel can do: with the VID back on its port, the entry can be named."""
    port, vid = shlex.quote(entry.port), entry.vid
    return (
        f"bridge vlan add dev {port} vid {vid}; bridge fdb del {entry.mac} dev {port} vlan {vid} master; "
        f"bridge vlan del dev {port} vid {vid}"
    )
