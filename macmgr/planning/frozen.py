"""A guest's port while its network is not active: what its portgroup says of it is not to be known then. Pure.

The network's metadata may keep macmgr from that very port, allow its guest further addresses, or say how its entries
are pinned. So the port stays as it is: open or closed, locked or not, with the entries that lead to it. Only what its
guest would be cut off by is mended (docs/adr/0004).
"""

from __future__ import annotations

from macmgr.model.intent import GuestPort
from macmgr.model.snapshot import BridgePort
from macmgr.planning.draft import Draft, Table
from macmgr.planning.entryrules import plan_entries
from macmgr.planning.flagrules import plan_open
from macmgr.planning.shares import Share


def plan_frozen(guest: GuestPort, share: Share, port: BridgePort, table: Table, draft: Draft, *, comes: bool) -> None:
    """An open port needs nothing. A closed one needs its guest's entry, or is opened where none ``comes``.

    A locked port stays locked: open, it would take frames from any address.
    """
    if port.flags.open:
        return
    if guest.running:
        plan_entries(guest, share, table, draft)
    there = all(table.has_static(guest, mac, vid) for mac, vids in share.vids.items() for vid in vids)
    if not there and not comes and not port.flags.locked:
        plan_open(guest, port, draft, "nobody puts its entry")
