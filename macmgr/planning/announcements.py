"""What is put again, unchanged, where a control plane reads who is here: the entries of guests that run. Pure.

zebra refuses a local address as long as it knows it as another host's sticky one, and reads the kernel never again by
itself: any put of the very same entry makes it look (docs/adr/0011). That is no part of a plan, for it changes nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from macmgr.model.changes import SetEntries
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.snapshot import Entry, Snapshot
from macmgr.planning.draft import Table


class Announced(NamedTuple):
    """An address that is announced: of the guest behind one very port."""

    bridge: str
    mac: str
    ifindex: int


def announcements(intent: Intent, snapshot: Snapshot) -> dict[Announced, SetEntries]:
    """The static entries of managed guests that run here, on such bridges, as changes from what is to what is."""
    if not any(port.has_control_plane for port in snapshot.ports.values()):
        return {}
    table = Table(snapshot)
    found: dict[Announced, SetEntries] = {}
    for guest in intent.ports:
        port = snapshot.ports.get(guest.port)
        if port is None or port.bridge != guest.bridge or not (guest.managed and guest.running):
            continue
        if table.pins.control_plane(guest.bridge) is None:
            continue
        for mac in guest.macs:
            if entries := _as_they_are(guest, mac, port.vids, table):
                place = Announced(guest.bridge, mac, port.ifindex)
                # zebra's mark (extern_learn) stays on an entry that it took and we put back, and is not ours to put
                again = tuple(entry._replace(extern_learn=False) for entry in entries)
                found[place] = SetEntries(mac, entries, again, guest.bridge, guest.domain)
    return found


def _as_they_are(guest: GuestPort, mac: str, vids: tuple[int, ...], table: Table) -> tuple[Entry, ...]:
    """The guest's own entries in the VIDs of its port; VID 0 only where no other VID is put along with it."""
    of_mac = table.of_mac(guest.bridge, mac)
    own = tuple(of_mac[vid] for vid in vids if table.has_static(guest, mac, vid))
    if len(own) == len(vids) and table.has_static(guest, mac, 0):
        return (of_mac[0], *own)
    return own
