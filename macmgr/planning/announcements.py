"""Puts the entries of running guests again, unchanged, where a control plane reads them. Pure.

zebra refuses a local address as long as it knows it as another host's sticky one, and reads the kernel never again by
itself: any put of the very same entry makes it look (docs/adr/0011). That is no part of a plan, for it changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from macmgr.model.changes import SetEntries
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.snapshot import Entry, Snapshot
from macmgr.planning.draft import Pins


class Announced(NamedTuple):
    """An address that is announced: of the guest behind one very port."""

    bridge: str
    mac: str
    ifindex: int


def announcements(intent: Intent, snapshot: Snapshot) -> dict[Announced, SetEntries]:
    """The static entries of managed guests that run here, on such bridges, as changes from what is to what is."""
    pins = Pins(snapshot)
    guests = {guest.port: guest for guest in intent.ports if _is_announced(guest, snapshot, pins)}
    if not guests:
        return {}
    found: dict[Announced, SetEntries] = {}
    for guest in guests.values():
        port = snapshot.ports[guest.port]
        for mac in guest.macs:
            here = snapshot.fdb.static_on(port.name, port.bridge, mac)
            if entries := _as_they_are(here, port.vids):
                # zebra's mark (extern_learn) stays on an entry that it took and we put back, and is not ours to put
                again = tuple(entry._replace(extern_learn=False) for entry in entries)
                change = SetEntries(mac, entries, again, guest.bridge, guest.domain)
                found[Announced(guest.bridge, mac, port.ifindex)] = change
    return found


def _is_announced(guest: GuestPort, snapshot: Snapshot, pins: Pins) -> bool:
    if not (guest.managed and guest.running) or pins.control_plane(guest.bridge) is None:
        return False
    return snapshot.port_on(guest.bridge, guest.port) is not None


def _as_they_are(here: Mapping[int, Entry], vids: tuple[int, ...]) -> tuple[Entry, ...]:
    """The entries in the VIDs of a port; that in VID 0 only where no other VID is put along with it."""
    own = tuple(here[vid] for vid in vids if vid in here)
    return (here[0], *own) if len(own) == len(vids) and 0 in here else own
