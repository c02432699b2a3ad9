"""Keeps and forgets the addresses seen behind each NIC. Pure.

This module changes records only. `macmgr.planning.seen` decides for every verb which address gets an entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from macmgr.model.changes import SetEntries
from macmgr.model.intent import GuestMac, GuestPort
from macmgr.model.known import NicAddress, SeenMacs, Sighting
from macmgr.model.snapshot import BridgePort, Snapshot
from macmgr.planning.bonds import is_shared
from macmgr.planning.seen import MOST, allowed, as_of_now, is_about, moved_on, owners_of, what_is_known
from macmgr.view import View

# A NIC uses both addresses if it returns to its former one, and then to the other, within this time.
BOTH = 30.0
# An address that gets no entry is reported for this long after its last sighting.
ALERT = 60.0

Records = tuple[SeenMacs, ...]


class MacChange(NamedTuple):
    """A guest uses another address than before; ``followed``: its entry follows."""

    guest: GuestPort
    mac: str
    before: str
    followed: bool


def watched(view: View) -> dict[str, tuple[int, frozenset[str]]]:
    """Returns the ports where a new address matters, with ifindex and the addresses already known there."""
    return {
        guest.port: (port.ifindex, frozenset(guest.macs).difference(guest.lent))
        for guest in view.intent.ports
        if guest.managed
        and guest.running
        and (port := view.snapshot.ports.get(guest.port)) is not None
        and _can_act(guest, port)
    }


def remember(records: Records, seen: Iterable[Sighting], view: View, now: float) -> tuple[Records, list[MacChange]]:
    """Adds sightings to the records. Returns the records and the changes of guests' addresses, the latest last."""
    guests = {guest.port: guest for guest in view.intent.ports if guest.managed and guest.running}
    by_port = {record.port: record for record in records}
    changes: list[MacChange] = []
    for sighting in seen:
        guest, port = guests.get(sighting.port), view.snapshot.ports.get(sighting.port)
        if guest is None or port is None or port.ifindex != sighting.ifindex or not _can_act(guest, port):
            continue
        before = _known(by_port.get(guest.port), guest, port, view.snapshot)
        after = _seen(before, guest, sighting.mac, now)
        if after.current != before.current:
            changes.append(_change(guest, before, after))
        by_port[guest.port] = after
        if sighting.mac in guest.lent or (sighting.mac in after.fresh and allowed(guest, sighting.mac)):
            _take(sighting.mac, guest, guests, by_port, view)
    return _kept(by_port, view, now), changes


def hear(
    records: Records, words: Iterable[NicAddress], view: View, now: float
) -> tuple[Records, list[MacChange], list[NicAddress]]:
    """Adds libvirt's reports to the records. Returns records, changes, and reports about NICs not found yet.

    A report needs no frame but covers the NIC's own address only. Frames show the guest's other addresses.
    """
    guests = {(guest.uuid, guest.alias): guest for guest in view.intent.ports if guest.managed}
    by_port = {record.port: record for record in records}
    changes: list[MacChange] = []
    unknown: list[NicAddress] = []
    for word in words:
        guest = guests.get((word.uuid, word.alias))
        port = view.snapshot.ports.get(guest.port) if guest else None
        if guest is None or port is None or port.bridge != guest.bridge:
            unknown.append(word)
            continue
        before = _known(by_port.get(guest.port), guest, port, view.snapshot)
        after = _reported(before, guest, word, now)
        if after.current != before.current:
            changes.append(_change(guest, before, after))
        by_port[guest.port] = after
    return _kept(by_port, view, now), changes, unknown


def settle(records: Records, view: View, now: float, *, sightings: bool = True) -> Records:
    """Updates the records after a round, which acted on those in its intent.

    ``sightings``: frames are heard. If they are not, the return of a NIC's own address would go unnoticed. So that
    address has not gone then, even if it was seen elsewhere.
    """
    guests = {guest.port: guest for guest in view.intent.ports}
    acted_on = {record.port: record for record in view.known.seen}
    if view.known.seen_lost:
        known = {record.port for record in records if is_about(record, guests.get(record.port), view.snapshot)}
        records = (*records, *(each for each in acted_on.values() if each.port not in known))
    records = (*records, *_said_alone(records, guests, view.snapshot))
    owners = owners_of(records, guests.values(), view.snapshot)
    left_to_do = {change.mac for change in view.plan.changes if isinstance(change, SetEntries)}
    settled = []
    for kept in records:
        guest = guests.get(kept.port)
        if guest is None or not is_about(kept, guest, view.snapshot):
            if _may_be_again(kept, guest, view.snapshot):
                settled.append(kept)
            continue
        used = acted_on.get(kept.port, _nothing_about(kept))
        record = kept
        if guest.running:  # until its CPUs run, libvirt's file has no effect
            record, used = as_of_now(_file_read(kept, used, guest), guest), as_of_now(used, guest)
        follows = guest.policy.guest_mac is GuestMac.FOLLOW
        unsure = guest.frozen  # its network may set follow; nothing is swept meanwhile
        held = [mac for mac in (record.current if follows else "", *record.macs) if mac and mac not in record.fresh]
        moved = [mac for mac in held if any(moved_on(mac, guest, owners, view.snapshot))]
        back = [mac for mac in moved if mac == record.current and not (sightings and guest.running)]
        moved = [mac for mac in moved if mac not in back]
        said = record.current == record.event_said  # only libvirt's next report ends that
        forgotten = record.current in moved if follows else not (unsure or said) and now - record.at > ALERT
        gone = [mac for mac in record.moved if unsure or mac not in used.moved or mac in left_to_do]
        after = replace(
            record,
            current="" if forgotten else record.current,
            unlisted=() if forgotten or follows else record.unlisted,
            file_said="" if forgotten and not follows else record.file_said,
            macs=tuple(mac for mac in record.macs if mac not in moved),
            fresh=(*(mac for mac in record.fresh if mac not in used.fresh), *back),
            moved=tuple(dict.fromkeys([*gone, *moved]))[-MOST:],
        )
        if _says_something(after, now) or view.known.seen_lost:
            settled.append(after)
    return tuple(settled)


def _said_alone(records: Records, guests: Mapping[str, GuestPort], snapshot: Snapshot) -> list[SeenMacs]:
    """Returns records for the running NICs whose change of address only libvirt's XML has reported so far."""
    known = {record.port for record in records if is_about(record, guests.get(record.port), snapshot)}
    return [
        SeenMacs(guest.port, snapshot.ports[guest.port].ifindex, guest.uuid, guest.facts.configured_mac)
        for guest in guests.values()
        if guest.facts.said_mac and guest.running and guest.port not in known
        if guest.policy.guest_mac is GuestMac.FOLLOW and what_is_known(None, guest, snapshot) is not None
    ]


def _file_read(record: SeenMacs, used: SeenMacs, guest: GuestPort) -> SeenMacs:
    """Stores the address in libvirt's file once a look that knew the record has read it: it was saved before."""
    if record.file_said is None and (used.file_said, used.current) == (None, record.current):
        return replace(record, file_said=guest.facts.said_mac)
    return record


def _may_be_again(record: SeenMacs, guest: GuestPort | None, snapshot: Snapshot) -> bool:
    """True if a record about nothing now may be about its NIC again: nothing shows another NIC.

    One odd look (unreadable XML, a mistake in metadata, an inactive network, a tap off its bridge) must not cost an
    address its entry if the next look is as before.
    """
    port = snapshot.ports.get(record.port)
    if record.port not in snapshot.masters or (port is not None and port.ifindex != record.ifindex):
        return False
    if guest is None:
        return True
    same = (guest.uuid, guest.facts.configured_mac) == (record.uuid, record.nic_mac)
    return same and (guest.managed or bool(guest.policy.problem) or guest.policy.incomplete)


def _can_act(guest: GuestPort, port: BridgePort) -> bool:
    """True if an address seen behind a managed port can matter. It cannot while the port is on another bridge.

    While the guest's network is inactive, an open port stays open and needs no entry. Only policy from outside that
    network then lets an address in.
    """
    policy = guest.policy
    if port.bridge != guest.bridge or (guest.frozen and port.flags.open):
        return False
    alerts = policy.guest_mac is GuestMac.ALERT and not guest.frozen
    prefixes = any(each.endswith("*") for each in policy.allow)
    return alerts or policy.guest_mac is GuestMac.FOLLOW or prefixes or bool(guest.shared or guest.lent)


def _known(record: SeenMacs | None, guest: GuestPort, port: BridgePort, snapshot: Snapshot) -> SeenMacs:
    """Returns the NIC's record, or an empty one if the record is about another NIC."""
    known = what_is_known(record, guest, snapshot)
    return known or SeenMacs(guest.port, port.ifindex, guest.uuid, guest.facts.configured_mac)


def _change(guest: GuestPort, before: SeenMacs, after: SeenMacs) -> MacChange:
    followed = guest.policy.guest_mac is GuestMac.FOLLOW
    return MacChange(guest, after.current or after.nic_mac, before.current or before.nic_mac, followed)


def _reported(record: SeenMacs, guest: GuestPort, word: NicAddress, now: float) -> SeenMacs:
    """Applies libvirt's report of a NIC's address.

    An answer to a question, as after a new connection, is news only if libvirt has not reported it before: the guest
    may have been seen since.
    """
    said = word.mac if word.mac != record.nic_mac else ""
    if guest.policy.guest_mac is GuestMac.IGNORE or not (word.changed or said != record.event_said):
        return record
    if is_shared(guest, said):  # a NIC of a bond has the bond's address whether it sends or not
        return replace(record, event_said=said)
    if said == record.current:
        return replace(record, event_said=said, file_said=None)
    used = record.current or record.nic_mac
    macs = tuple(mac for mac in record.macs if mac not in (used, said))
    record = replace(record, current=said, macs=macs, event_said=said, file_said=None)
    record = replace(record, previous=used, returned=False, at=now)
    return _fresh(record, said) if said else replace(record, fresh=tuple(mac for mac in record.fresh if mac in macs))


def _seen(record: SeenMacs, guest: GuestPort, mac: str, now: float) -> SeenMacs:
    if mac in guest.macs:
        return record  # it became known while the frame was on its way
    if allowed(guest, mac):
        return _beside(record, mac)
    match guest.policy.guest_mac:
        case GuestMac.FOLLOW if mac == record.current:
            return _fresh(record, mac)
        case GuestMac.FOLLOW if mac in record.macs:
            return _beside(record, mac)
        case GuestMac.FOLLOW:
            returned = mac == record.previous and now - record.at < BOTH
            return _beside(record, mac) if returned and record.returned else _changed(record, mac, returned, now)
        case GuestMac.ALERT if guest.frozen:
            return record  # its network may set follow
        case GuestMac.ALERT if mac == record.current:
            return replace(record, at=now)
        case GuestMac.ALERT if not record.current or now - record.at > ALERT:
            return replace(record, current=mac, at=now, file_said=None, unlisted=())
        case GuestMac.ALERT if mac not in record.unlisted and len(record.unlisted) < MOST:
            return replace(record, unlisted=(*record.unlisted, mac))
    return record


def _changed(record: SeenMacs, mac: str, returned: bool, now: float) -> SeenMacs:
    """Follows a NIC to another address, which may be its own again."""
    used, current = record.current or record.nic_mac, "" if mac == record.nic_mac else mac
    record = replace(record, current=current, previous=used, returned=returned, at=now, file_said=None)
    return _fresh(record, mac) if current else record


def _beside(record: SeenMacs, mac: str) -> SeenMacs:
    """Adds an address to a NIC. If there are too many, the one first seen the longest ago makes room."""
    macs = record.macs if mac in record.macs else (*record.macs, mac)
    out, macs = macs[:-MOST], macs[-MOST:]
    gone = tuple(dict.fromkeys([*record.moved, *out]))
    return _fresh(replace(record, macs=macs, moved=gone[-MOST:], full=record.full or bool(out)), mac)


def _fresh(record: SeenMacs, mac: str) -> SeenMacs:
    here = {record.current, *record.macs}
    fresh = (*(each for each in record.fresh if each != mac and each in here), mac)
    return replace(record, fresh=fresh, moved=tuple(each for each in record.moved if each != mac))


def _take(mac: str, guest: GuestPort, guests: dict[str, GuestPort], by_port: dict[str, SeenMacs], view: View) -> None:
    """Moves an address that roams between guests of one bridge to the port of its last sighting.

    So does one that NICs of a domain share: a NIC may have it without a record, because the FDB had it there.
    """
    vids = set(view.snapshot.deciding_vids(guest.port))
    borrowers = {other.port: other for other in guests.values() if mac in other.borrowed and other.uuid == guest.uuid}
    for port, borrower in borrowers.items():
        by_port[port] = _known(by_port.get(port), borrower, view.snapshot.ports[port], view.snapshot)
    for port, record in by_port.items():
        other = guests.get(port)
        has = mac in record.macs or port in borrowers
        if port == guest.port or not has or other is None or other.bridge != guest.bridge:
            continue
        if port in view.snapshot.ports and not vids.isdisjoint(view.snapshot.deciding_vids(port)):
            by_port[port] = replace(
                record,
                macs=tuple(each for each in record.macs if each != mac),
                fresh=tuple(each for each in record.fresh if each != mac),
                moved=(*record.moved, mac)[-MOST:],
            )


def _nothing_about(record: SeenMacs) -> SeenMacs:
    return SeenMacs(record.port, record.ifindex, record.uuid, record.nic_mac)


def _says_something(record: SeenMacs, now: float) -> bool:
    return record != _nothing_about(record) or (bool(record.previous) and now - record.at < BOTH)


def _kept(by_port: Mapping[str, SeenMacs], view: View, now: float) -> Records:
    """Returns the records that say something, by port. If some are lost, an empty one says that nothing was seen."""
    lost = view.known.seen_lost
    return tuple(by_port[port] for port in sorted(by_port) if lost or _says_something(by_port[port], now))
