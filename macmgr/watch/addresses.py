"""What becomes of sightings: which addresses are remembered of a NIC, and when they are forgotten. Pure.

Everything here is about records; whether an address gets an entry, `macmgr.planning.observed` decides for every verb
alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple, Protocol

from macmgr.model.changes import SetEntries
from macmgr.model.intent import GuestMac, GuestPort, Observed
from macmgr.model.snapshot import BridgePort, Snapshot
from macmgr.planning.observed import MOST, allowed, is_about, moved_on, table_of
from macmgr.reconcile import View

# A NIC that goes back to its former address and from there to the other one again within this time uses both.
BOTH = 30.0
# An address that nothing is done about is told for so long after it was last seen.
ALERT = 60.0

Records = tuple[Observed, ...]


class Seen(Protocol):
    """A frame that a guest sent: `macmgr.kernel.sightings.Sighting`."""

    @property
    def port(self) -> str: ...

    @property
    def ifindex(self) -> int: ...

    @property
    def mac(self) -> str: ...

    @property
    def vid(self) -> int | None: ...


class MacChange(NamedTuple):
    """A guest uses another address than before; ``followed`` says that its entry follows."""

    guest: GuestPort
    mac: str
    before: str
    followed: bool


def watched(view: View) -> dict[str, tuple[int, frozenset[str]]]:
    """The ports on which something can be learned, with ifindex and the addresses that are no news there."""
    return {
        guest.port: (port.ifindex, frozenset(guest.macs))
        for guest in view.intent.ports
        if guest.managed
        and guest.running
        and (port := view.snapshot.ports.get(guest.port)) is not None
        and _can_act(guest, port)
    }


def remember(records: Records, seen: Iterable[Seen], view: View, now: float) -> tuple[Records, list[MacChange]]:
    """The records with what was seen in them, and the guests that have changed their address. The latest comes last."""
    guests = {guest.port: guest for guest in view.intent.ports if guest.managed and guest.running}
    by_port = {record.port: record for record in records}
    changes: list[MacChange] = []
    for sighting in seen:
        guest, port = guests.get(sighting.port), view.snapshot.ports.get(sighting.port)
        if guest is None or port is None or port.ifindex != sighting.ifindex or not _can_act(guest, port):
            continue
        before = by_port.get(guest.port)
        if before is None or not is_about(before, guest, view.snapshot):
            before = Observed(guest.port, port.ifindex, guest.uuid, guest.facts.configured_mac)
        after = _seen(before, guest, sighting.mac, now)
        if after.current != before.current:
            followed = guest.policy.guest_mac is GuestMac.FOLLOW
            changes.append(MacChange(guest, sighting.mac, before.current or before.nic_mac, followed))
        by_port[guest.port] = after
        if sighting.mac in after.fresh and allowed(guest, sighting.mac):
            _take(sighting.mac, guest, guests, by_port, view)
    return tuple(by_port[port] for port in sorted(by_port) if _says_something(by_port[port], now)), changes


def settle(records: Records, view: View, now: float) -> Records:
    """The records after a round, which has acted on those that its intent held."""
    guests = {guest.port: guest for guest in view.intent.ports}
    acted_on = {record.port: record for record in view.intent.observed}
    table = table_of(records, guests.values(), view.snapshot)
    left_to_do = {change.mac for change in view.plan.changes if isinstance(change, SetEntries)}
    settled = []
    for record in records:
        guest = guests.get(record.port)
        if guest is None or not is_about(record, guest, view.snapshot):
            if _may_be_again(record, guest, view.snapshot):
                settled.append(record)
            continue
        used = acted_on.get(record.port, _nothing_about(record))
        follows = guest.policy.guest_mac is GuestMac.FOLLOW
        unsure = guest.frozen  # its network may say that it follows, and nothing is swept meanwhile
        held = [mac for mac in (record.current if follows else "", *record.macs) if mac and mac not in record.fresh]
        moved = [mac for mac in held if any(moved_on(mac, guest, table, view.snapshot))]
        forgotten = record.current in moved if follows else not unsure and now - record.at > ALERT
        gone = [mac for mac in record.gone if unsure or mac not in used.gone or mac in left_to_do]
        after = replace(
            record,
            current="" if forgotten else record.current,
            macs=tuple(mac for mac in record.macs if mac not in moved),
            fresh=tuple(mac for mac in record.fresh if mac not in used.fresh),
            gone=tuple(dict.fromkeys([*gone, *moved]))[-MOST:],
        )
        if _says_something(after, now):
            settled.append(after)
    return tuple(settled)


def _may_be_again(record: Observed, guest: GuestPort | None, snapshot: Snapshot) -> bool:
    """Whether a record that is about nothing now may be about its NIC again: nothing shows that this is another.

    One odd look (XML that cannot be read, metadata with a mistake, a network that is not active, a tap that is off its
    bridge) must not cost an address its entry when the next one is as before.
    """
    port = snapshot.ports.get(record.port)
    if record.port not in snapshot.masters or (port is not None and port.ifindex != record.ifindex):
        return False
    if guest is None:
        return True
    same = (guest.uuid, guest.facts.configured_mac) == (record.uuid, record.nic_mac)
    return same and (guest.managed or bool(guest.policy.problem) or guest.policy.incomplete)


def _can_act(guest: GuestPort, port: BridgePort) -> bool:
    """Whether anything can become of an address that is seen behind a managed port: not while it is on another bridge.

    While the guest's network is not active, a port that is open stays open and needs no entry, and only what is said
    elsewhere lets an address in.
    """
    policy = guest.policy
    if port.bridge != guest.bridge or (guest.frozen and port.flags.open):
        return False
    alerts = policy.guest_mac is GuestMac.ALERT and not guest.frozen
    return alerts or policy.guest_mac is GuestMac.FOLLOW or any(map(_is_pattern, policy.allow))


def _seen(record: Observed, guest: GuestPort, mac: str, now: float) -> Observed:
    """The record of a NIC that has sent with an address."""
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
            return record  # its network may say that it follows
        case GuestMac.ALERT if mac == record.current:
            return replace(record, at=now)
        case GuestMac.ALERT if not record.current or now - record.at > ALERT:
            return replace(record, current=mac, at=now)
    return record


def _changed(record: Observed, mac: str, returned: bool, now: float) -> Observed:
    """The record of a NIC that is followed to another address, which may be its own again."""
    used, current = record.current or record.nic_mac, "" if mac == record.nic_mac else mac
    record = replace(record, current=current, previous=used, returned=returned, at=now)
    return _fresh(record, mac) if current else record


def _beside(record: Observed, mac: str) -> Observed:
    """One more address of a NIC. Where there are too many, the one that was first seen the longest ago makes room."""
    macs = record.macs if mac in record.macs else (*record.macs, mac)
    out, macs = macs[:-MOST], macs[-MOST:]
    gone = tuple(dict.fromkeys([*record.gone, *out]))
    return _fresh(replace(record, macs=macs, gone=gone[-MOST:], full=record.full or bool(out)), mac)


def _fresh(record: Observed, mac: str) -> Observed:
    here = {record.current, *record.macs}
    fresh = (*(each for each in record.fresh if each != mac and each in here), mac)
    return replace(record, fresh=fresh, gone=tuple(each for each in record.gone if each != mac))


def _take(mac: str, guest: GuestPort, guests: dict[str, GuestPort], by_port: dict[str, Observed], view: View) -> None:
    """An address that roams between guests of one bridge is behind the port where it was seen last."""
    vids = set(view.snapshot.deciding_vids(guest.port))
    for port, record in by_port.items():
        other = guests.get(port)
        if port == guest.port or mac not in record.macs or other is None or other.bridge != guest.bridge:
            continue
        if port in view.snapshot.ports and not vids.isdisjoint(view.snapshot.deciding_vids(port)):
            by_port[port] = replace(
                record,
                macs=tuple(each for each in record.macs if each != mac),
                fresh=tuple(each for each in record.fresh if each != mac),
                gone=(*record.gone, mac)[-MOST:],
            )


def _nothing_about(record: Observed) -> Observed:
    return Observed(record.port, record.ifindex, record.uuid, record.nic_mac)


def _says_something(record: Observed, now: float) -> bool:
    return record != _nothing_about(record) or (bool(record.previous) and now - record.at < BOTH)


def _is_pattern(allow: str) -> bool:
    return allow.endswith("*")
