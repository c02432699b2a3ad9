"""Decides which addresses that were seen behind a guest's port get entries there.

Pure. Policy decides (guestMac, allow), and the kernel's tables: an address that nobody wrote down may roam, and is
where it was seen last (docs/adr/0009). None is taken away from the host, or from another guest on the bridge.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from macmgr.model.findings import Code, Finding
from macmgr.model.intent import GuestMac, GuestPort, Intent
from macmgr.model.known import Known, SeenMacs
from macmgr.model.mac import Patterns, matches
from macmgr.model.snapshot import Entry, EntryState, Key, Snapshot
from macmgr.planning.bonds import borrowers, is_shared, lends, let_bond_in, with_lent
from macmgr.planning.collisions import HostAddresses, by_kernel

MOST = 64  # further addresses of one NIC

Owners = Mapping[Key, GuestPort]


def is_about(record: SeenMacs, guest: GuestPort | None, snapshot: Snapshot) -> bool:
    """The record is about the very port and NIC that is there now."""
    port = snapshot.ports.get(record.port)
    return (
        guest is not None
        and guest.managed
        and (record.port, record.uuid, record.nic_mac) == (guest.port, guest.uuid, guest.facts.configured_mac)
        and port is not None
        and (port.ifindex, port.bridge) == (record.ifindex, guest.bridge)
        and port.bridge in snapshot.bridges
    )


def what_is_known(record: SeenMacs | None, guest: GuestPort, snapshot: Snapshot) -> SeenMacs | None:
    """The record of a NIC with libvirt's latest word in it; None where nothing is known of the NIC beyond its XML."""
    port = snapshot.ports.get(guest.port)
    if record is None or not is_about(record, guest, snapshot):
        if not guest.facts.said_mac or port is None:
            return None
        record = SeenMacs(guest.port, port.ifindex, guest.uuid, guest.facts.configured_mac)
        if not is_about(record, guest, snapshot):
            return None
    return as_of_now(record, guest)


def as_of_now(record: SeenMacs, guest: GuestPort) -> SeenMacs:
    """The record, with the ``currentAddress`` of libvirt's XML where that has changed since: what was said last holds.

    One that stands there as it did when the guest was last seen is old. libvirt knows of a change at once, but saves
    its status file only with the next suspend, hotplug, migration or restart.
    """
    said = guest.facts.said_mac
    if record.current and is_shared(guest, record.current):  # a NIC's in the bond: it may be used on each of them
        record = replace(record, current="", macs=(*record.macs, record.current))
    if record.file_said is None or record.file_said == said:
        return record
    follows = bool(said) and guest.policy.guest_mac is GuestMac.FOLLOW
    fresh = tuple(mac for mac in record.fresh if mac in record.macs and mac != said)
    return replace(
        record,
        current=said,
        fresh=(*fresh, said) if follows else fresh,
        moved=tuple(mac for mac in record.moved if mac != said),
        file_said=said,
    )


def allowed(guest: GuestPort, mac: str) -> bool:
    return any(matches(pattern, mac) for pattern in (*guest.policy.allow, *guest.shared))


def moved_on(mac: str, guest: GuestPort, owners: Owners, snapshot: Snapshot) -> Iterator[Entry]:
    """The entries by which an address that was seen behind a guest's port is elsewhere now.

    Those of the host and of a guest to whom it belongs are none: there it has not gone, it was never to be taken. And
    what is in writing for the domain is with that NIC until another one of it is seen to use it.
    """
    if is_shared(guest, mac):
        return
    for vid in snapshot.deciding_vids(guest.port):
        entry = snapshot.fdb.at(guest.bridge, mac, vid)
        if entry is not None and entry.port != guest.port and entry.state is not EntryState.LOCAL:
            owner = owners.get((guest.bridge, mac, vid))
            if owner is None or owner.port != entry.port:
                yield entry


def owners_of(records: Iterable[SeenMacs], guests: Iterable[GuestPort], snapshot: Snapshot) -> Owners:
    macs = {mac for record in records for mac in (record.current, *record.macs) if mac}
    return {
        (guest.bridge, mac, vid): guest
        for guest in guests
        if snapshot.port_on(guest.bridge, guest.port)
        for mac in guest.macs
        if mac in macs and mac not in guest.roaming and mac not in guest.borrowed
        for vid in snapshot.deciding_vids(guest.port)
    }


def with_lost(known: Known, intent: Intent, snapshot: Snapshot) -> Known:
    """Add what the FDB still shows of what was seen, where the record of that is lost."""
    if not known.seen_lost:
        return known
    return replace(known, seen=(*known.seen, *_from_the_table(known, intent, snapshot)))


def with_learned(known: Known, intent: Intent, snapshot: Snapshot) -> Known:
    """Add what the kernel has learned behind ports that are open still, where a prefix allows it.

    Nobody has to have heard the guest: closed, the port would learn it no more, and what it has learned would age.
    """
    records = {record.port: record for record in known.seen}
    for guest in intent.ports:
        port = snapshot.port_on(guest.bridge, guest.port)
        if port is None or not port.flags.learning or not guest.managed or not guest.running or guest.frozen:
            continue
        patterns = Patterns(guest.policy.allow)
        learned = {
            entry.mac: None
            for entry in snapshot.fdb.of_port(port.name)
            if entry.state is EntryState.DYNAMIC and not entry.extern_learn and patterns.matches(entry.mac)
        }
        record = records.get(port.name) or SeenMacs(port.name, port.ifindex, guest.uuid, guest.facts.configured_mac)
        new = [mac for mac in learned if mac not in guest.macs and mac not in record.macs]
        if new and is_about(record, guest, snapshot):
            macs = (*record.macs, *new)
            records[port.name] = replace(record, macs=macs[-MOST:], full=record.full or len(macs) > MOST)
    return replace(known, seen=tuple(records.values()))


def with_seen(intent: Intent, snapshot: Snapshot, known: Known) -> Intent:
    """The intent, with the addresses that guests were seen to use where policy lets them."""
    records = {record.port: record for record in known.seen}
    about = {
        guest: record
        for guest in intent.ports
        if (record := what_is_known(records.get(guest.port), guest, snapshot)) is not None
    }
    if any(guest.shared for guest in intent.ports):
        about |= borrowers(intent, snapshot, about)
    if not about:
        return intent
    host = HostAddresses(snapshot, {guest.port for guest in intent.ports})
    in_xml = [_without_what_is_old(guest, about[guest]) if guest in about else guest for guest in intent.ports]
    fdb, owners = snapshot.fdb, owners_of(about.values(), in_xml, snapshot)
    taken: dict[Key, GuestPort] = {}
    findings: list[Finding] = []
    after: dict[GuestPort, GuestPort] = {}

    def holds(guest: GuestPort) -> bool:
        addresses = {about[guest].current, *about[guest].macs}
        return any(entry.mac in addresses for entry in fdb.of_port(guest.port))

    def may_have(guest: GuestPort, mac: str) -> bool:
        """The address is free on its bridge; a finding says why not."""
        vids = snapshot.deciding_vids(guest.port)
        if barred := host.among(guest.bridge, mac, vids):
            findings.append(_collision(guest, mac, next(iter(barred.values()))))
            return False
        places = [(guest.bridge, mac, vid) for vid in vids]
        for place in places:
            other = taken.get(place) or owners.get(place)
            if other is None or other.port == guest.port:
                continue
            if not lends(other, guest, mac, snapshot):
                findings.append(_duplicate(guest, mac, other, place[2]))
                return False
            if place in taken:
                return False  # a third NIC of the bond has it
        taken.update(dict.fromkeys(places, guest))
        return True

    def is_here(guest: GuestPort, mac: str) -> bool:
        waits = mac == about[guest].current and not guest.running  # it has no entry to lose
        return waits or mac in about[guest].fresh or not any(moved_on(mac, guest, owners, snapshot))

    def libvirt_says_so(guest: GuestPort) -> bool:
        return bool(guest.facts.said_mac) and about[guest].current == guest.facts.said_mac

    # libvirt's word comes first, and then who holds the entry: nothing flaps between two who claim one address
    for guest in sorted(about, key=lambda each: (not libvirt_says_so(each), not holds(each), each.domain, each.port)):
        record = about[guest]
        wanted = [mac for mac in _wanted(record, guest) if is_here(guest, mac) and may_have(guest, mac)]
        after[guest] = _with_addresses(guest, record, wanted)
        if record.full:
            findings.append(_full(guest))
    ports = with_lent([after.get(guest, guest) for guest in intent.ports])
    return replace(intent, ports=ports, findings=(*intent.findings, *findings))


def _from_the_table(known: Known, intent: Intent, snapshot: Snapshot) -> Iterator[SeenMacs]:
    """Read from the FDB what was seen, where the record of it is lost.

    Nothing but an address that was seen, and that policy lets roam, has a plain static entry on a guest's closed port,
    and none of them may lose it because a file cannot be read. Where the NIC's own address has none there, the entry
    has followed the guest. Each guest that was judged so gets a record, so that it is judged once.
    """
    records = {record.port: record for record in known.seen}
    for guest in intent.ports:
        port = snapshot.ports.get(guest.port)
        if port is None or not guest.managed or not guest.running or guest.frozen:
            continue
        record = SeenMacs(guest.port, port.ifindex, guest.uuid, guest.facts.configured_mac)
        before = records.get(guest.port)
        if not is_about(record, guest, snapshot) or (before is not None and is_about(before, guest, snapshot)):
            continue
        follows = guest.policy.guest_mac is GuestMac.FOLLOW
        on_port = snapshot.fdb.of_port(guest.port)
        found = {e.mac: e.sticky for e in on_port if e.state is EntryState.STATIC and not e.extern_learn}
        own, said = record.nic_mac, guest.facts.said_mac
        written = {*_without_current(guest), own}
        plain = (mac for mac, sticky in found.items() if not sticky and mac not in written)
        roaming = [mac for mac in plain if follows or allowed(guest, mac)][-MOST:]
        current = [mac for mac in roaming if not allowed(guest, mac)][-1:] if own not in found else []
        # a plain entry for the NIC's own address may be the one that libvirt puts by itself when a guest arrives
        unsure = [said] if own in found and not found[own] and said and follows and said not in found else []
        macs = [*(mac for mac in roaming if mac not in current), *unsure]
        yield replace(
            record,
            current=current[0] if current else "",
            macs=tuple(macs[-MOST:]),
            fresh=tuple(unsure),
            file_said=None if current or own in found else "",
        )


def _wanted(record: SeenMacs, guest: GuestPort) -> list[str]:
    """The addresses that the policy would let in, the one that the NIC has changed to first."""
    follows = guest.policy.guest_mac is GuestMac.FOLLOW
    current = [record.current] if follows and record.current else []
    return [*current, *(mac for mac in record.macs if mac not in current and (follows or allowed(guest, mac)))]


def _with_addresses(guest: GuestPort, record: SeenMacs, wanted: Collection[str]) -> GuestPort:
    written = (*_without_current(guest), record.nic_mac)
    macs = (record.current, *written[1:-1]) if record.current in wanted else written[:-1]
    follows = guest.policy.guest_mac is GuestMac.FOLLOW
    facts = replace(guest.facts, current_mac=record.current if record.current in wanted or not follows else "")
    macs = tuple(dict.fromkeys([*macs, *wanted]))
    return replace(
        guest,
        macs=macs,
        facts=facts,
        roaming=tuple(mac for mac in macs if mac not in written and not is_shared(guest, mac)),
        borrowed=tuple(mac for mac in macs if mac not in written and is_shared(guest, mac)),
        moved=tuple(mac for mac in record.moved if mac not in macs),
        unlisted=tuple(mac for mac in record.unlisted if mac not in (*macs, record.current)),
    )


def _without_what_is_old(guest: GuestPort, record: SeenMacs) -> GuestPort:
    """The guest without a ``currentAddress`` that it has left since: another guest may have it."""
    if record.current == guest.facts.said_mac:
        return guest
    return replace(guest, macs=_without_current(guest))


def _without_current(guest: GuestPort) -> tuple[str, ...]:
    """The addresses that somebody wrote down: the NIC's own, and the exact ones under allow."""
    said = guest.facts.said_mac
    if not said or guest.macs[0] != said:
        return guest.macs
    rest = guest.macs if said in guest.policy.allow else guest.macs[1:]
    return tuple(dict.fromkeys([guest.facts.configured_mac, *rest]))


def _collision(guest: GuestPort, mac: str, whose: str) -> Finding:
    return Finding(
        Code.MAC_COLLISION,
        f"{guest.domain} was seen to use {mac} on {guest.port}, the MAC address of {whose}: no entry is put",
        guest.bridge,
        guest.port,
        guest.domain,
        mac,
        note=f"ask who runs {guest.domain} to use another MAC address",
    )


def _duplicate(guest: GuestPort, mac: str, other: GuestPort, vid: int) -> Finding:
    return Finding(
        Code.DUPLICATE_MAC,
        f"{guest.domain} was seen to use {mac} on {guest.port}, which {other.domain} ({other.port}) has on "
        f"{guest.bridge}: the entry stays with {other.port}",
        guest.bridge,
        guest.port,
        guest.domain,
        mac,
        vid,
        note=let_bond_in(guest.domain)
        if other.uuid == guest.uuid
        else f"ask who runs {guest.domain} to use another MAC address",
    )


def _full(guest: GuestPort) -> Finding:
    return Finding(
        Code.LEARNED_ON_MANAGED_PORT,
        f"{guest.domain} uses more than {MOST} further addresses on {guest.port}: only those that were seen last are "
        "let in",
        guest.bridge,
        guest.port,
        guest.domain,
        guest.macs[0],
        note=f"narrow the prefixes under allow, or leave the NIC to the kernel: {by_kernel(guest)} in the metadata of "
        f"{guest.domain}",
    )
