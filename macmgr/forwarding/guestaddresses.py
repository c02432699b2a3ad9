"""The addresses of a guest by which a change is judged: those that it may have, and those in use behind its port. Pure.

An address is one guest's in a pair with its bridge: on another bridge it is another station's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from macmgr.model.intent import GuestPort, Intent
from macmgr.model.snapshot import EntryState, Snapshot

Address = tuple[str, str]
"""Bridge and MAC address."""


def where_they_are(intent: Intent, snapshot: Snapshot) -> Intent:
    """Returns the intent with each guest on the bridge that its port is on.

    A guest on another bridge than its own is there by mistake; and still, it is reached there, and may lose that.
    """
    places = ((guest, snapshot.masters.get(guest.port) or guest.bridge) for guest in intent.ports)
    guests = tuple(guest if at == guest.bridge else replace(guest, bridge=at) for guest, at in places)
    return intent if guests == intent.ports else replace(intent, ports=guests)


def own_addresses(guests: Iterable[GuestPort]) -> set[Address]:
    return {(guest.bridge, guest.macs[0]) for guest in guests}


def may_have(guest: GuestPort, own: Collection[Address]) -> Iterator[str]:
    """Yields the addresses that a guest may have; none that is another one's ``own``, unless it bonds with that NIC.

    What else than its own it is allowed is the business of a manager.
    """
    yield guest.macs[0]
    if guest.managed:
        yield from (mac for mac in guest.macs[1:] if mac in guest.borrowed or (guest.bridge, mac) not in own)


def in_use(guest: GuestPort, snapshot: Snapshot, own: Collection[Address]) -> Iterator[str]:
    """Yields what was learned behind a guest's port and is no guest's own, nor in writing for this one."""
    vids, others = {*snapshot.deciding_vids(guest.port)}, {*guest.macs, *guest.moved}
    for entry in snapshot.fdb.of_port(guest.port):
        learned = entry.state is EntryState.DYNAMIC and not entry.extern_learn and entry.vid in vids
        if learned and entry.mac not in others and (guest.bridge, entry.mac) not in own:
            yield entry.mac
