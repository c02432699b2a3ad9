"""Decides which NIC of a domain has an address that its NICs share: the one that the guest last sent from. Pure.

A bond inside a guest sends with one address from whichever NIC is active. Where policy lets its NICs share their
addresses (`allow='own'`), the address of one may leave by another. Its entry is on one port, and is pinned there as the
policy says: it is in writing for the domain, and nobody but the guest can take it along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from macmgr.model.intent import GuestPort, Intent
from macmgr.model.known import SeenMacs
from macmgr.model.snapshot import EntryState, Snapshot


def is_shared(guest: GuestPort, mac: str) -> bool:
    """The address is in writing for another NIC of the domain, and this one may use it."""
    return mac in guest.shared and mac != guest.facts.configured_mac


def let_bond_in(domain: str) -> str:
    """The words for letting the NICs of a domain use each other's addresses."""
    return (
        f"if {domain} bonds its NICs, set allow='own' for both (<macmgr:macTable allow='own'/> in its metadata), with "
        "macmgr watch running: the entry then is where the guest last sent from"
    )


def borrowers(intent: Intent, snapshot: Snapshot, about: Mapping[GuestPort, SeenMacs]) -> dict[GuestPort, SeenMacs]:
    """The records of NICs behind which the FDB has an address of another NIC of their domain, with that address.

    Nobody but the guest can have sent it there: a bond that has failed over before the daemon came, or that was put
    there when it was seen. A record of another NIC is newer.
    """
    seen = {(guest.uuid, mac) for guest, record in about.items() if guest.shared for mac in record.macs}
    found: dict[GuestPort, SeenMacs] = {}
    for guest in intent.ports:
        port = snapshot.port_on(guest.bridge, guest.port) if guest.shared and guest.running else None
        if port is None or not guest.managed:
            continue
        known = about.get(guest, SeenMacs(guest.port, port.ifindex, guest.uuid, guest.facts.configured_mac))
        mine, vids = {*guest.macs, *known.moved}, {*snapshot.deciding_vids(guest.port)}
        others = [
            entry.mac
            for entry in snapshot.fdb.of_port(guest.port)
            if entry.mac not in mine and (guest.uuid, entry.mac) not in seen and entry.vid in vids
            if entry.state is not EntryState.LOCAL and not entry.extern_learn
        ]
        theirs = {*guest.shared} if others else ()
        if here := dict.fromkeys(mac for mac in others if mac in theirs):
            found[guest] = replace(known, macs=(*known.macs, *here))
    return found


def lends(owner: GuestPort, guest: GuestPort, mac: str, snapshot: Snapshot) -> bool:
    """Both are NICs of one domain that share the address, in each VLAN that its owner is in."""
    same = owner.uuid == guest.uuid and is_shared(guest, mac)
    return same and {*snapshot.deciding_vids(owner.port)} <= {*snapshot.deciding_vids(guest.port)}


def with_lent(ports: Sequence[GuestPort]) -> tuple[GuestPort, ...]:
    """The ports, where those whose address another NIC of the domain uses now do without it."""
    borrowed = {(each.uuid, each.bridge, mac): each for each in ports for mac in each.borrowed}

    def lent(guest: GuestPort) -> tuple[str, ...]:
        users = ((mac, borrowed.get((guest.uuid, guest.bridge, mac))) for mac in guest.macs)
        return tuple(mac for mac, user in users if user is not None and user.port != guest.port)

    return tuple(replace(each, lent=lent(each)) if borrowed and lent(each) else each for each in ports)
