"""Domains that run here and whose XML is not known: what leads to their taps stays, whoever else has the address.

Pure. Which taps those are, nobody can say. So an entry on a tap that no domain's NIC asks for, pinned as it is done
here, may be such a guest's, and a guest with the same address is left as it is until that XML is read. One that is not
sticky where entries are may have come there by a frame, and proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from macmgr.model.findings import Code
from macmgr.model.intent import GuestPort, Intent, Pin
from macmgr.model.roles import Role, roles_of
from macmgr.model.snapshot import Entry, EntryState, Snapshot
from macmgr.planning.draft import Draft, Table

_FEW = 3


def unread_domains(intent: Intent) -> list[str]:
    """The domains of which nothing is known but that they run here."""
    known = {guest.domain for guest in intent.ports} | {nic.domain for nic in intent.portless}
    told = (finding for finding in intent.findings if finding.code is Code.UNREADABLE_XML)
    return sorted({finding.domain for finding in told if finding.domain} - known)


def beside_unread(
    guests: Iterable[GuestPort], intent: Intent, snapshot: Snapshot, table: Table, draft: Draft
) -> Iterator[GuestPort]:
    """The ``guests`` without those whose address a guest may have whose XML is not known: these are reported."""
    unread = unread_domains(intent)
    if not unread:
        yield from guests
        return
    roles = roles_of(snapshot.ports.values(), {guest.port for guest in intent.ports})
    taps = {name for name, role in roles.items() if role is Role.TAP}
    names = ", ".join(unread[:_FEW]) + (f" and {len(unread) - _FEW} more" if len(unread) > _FEW else "")
    for guest in guests:
        entry = next(_on_taps(guest, taps, table), None)
        if entry is None:
            yield guest
            continue
        draft.report(
            Code.UNREADABLE_XML,
            guest,
            f"{guest.port} of {guest.domain} is left as it is: {entry.mac} has a static entry on {entry.port}, which "
            f"may be the tap of a guest whose XML is not known ({names})",
            mac=entry.mac,
            vid=entry.vid,
        )


def _on_taps(guest: GuestPort, taps: set[str], table: Table) -> Iterator[Entry]:
    for mac in guest.macs:
        for entry in table.of_mac(guest.bridge, mac).values():
            pinned = entry.sticky or table.pins.of(Pin.AUTO, guest.bridge) is Pin.STATIC
            if entry.port in taps and entry.state is EntryState.STATIC and pinned:
                yield entry
