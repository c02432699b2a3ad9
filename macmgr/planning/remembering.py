"""Writes the memory of managed ports and of what an apply has learned, and draws conclusions from it. Pure.

Never a second opinion about what is right: it feeds the planner and the release, and nothing else. Why it holds what it
holds: docs/adr/0004.

A kernel before 4.20 acknowledges NTF_STICKY and drops it, one before 5.19 takes a flush for a deletion that lacks its
address, and distributions carry features back to kernels of any version. No return code and no version says it. So a
change is made, and what is there afterwards shows it. Kept for the kernel's boot: docs/adr/0010.

A guest's own ``<mac>`` is libvirt's word, and its entry is put wherever the address was learned: a guest that has just
come from another host was always learned on the uplink. Where the address is not the guest's alone, as a router's is
not, its other owner goes on sending. The sticky entry stays, and the kernel notes the time (br_fdb_update).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from macmgr.model.changes import Change, SetEntries, SetFlags, SetVids, ports_of
from macmgr.model.findings import Code
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.known import Held, KeptMac, Memory, PortBefore, Taken
from macmgr.model.snapshot import BridgePort, Entry, EntryState, Feature, Key, PortFlags, Snapshot
from macmgr.planning.draft import MANY_VIDS


def default_flags(guest: GuestPort, port: BridgePort) -> PortFlags:
    """The flags of a guest's port without macmgr: the kernel's, or those that libvirt gives to its own NICs.

    libvirt isolates any NIC's port where its XML asks for it: that stays as it is.
    """
    libvirts = guest.entry_comes
    return PortFlags(not libvirts, not libvirts, isolated=None).for_kernel_of(port.flags)


def remember(memory: Memory, intent: Intent, snapshot: Snapshot, changes: Collection[Change]) -> Memory:
    """The memory with the ports that ``changes`` are about to touch for the first time, as they are now.

    Those are managed ports; and uplinks, of which nothing but flags is ever set.
    """
    memory = what_is_left(memory, intent, snapshot)
    known = {each.port for each in memory.ports}
    touched = {port for change in changes for port in ports_of(change)}
    guests = [guest for guest in intent.ports if guest.managed and snapshot.port_on(guest.bridge, guest.port)]
    fresh = [guest for guest in guests if guest.port in touched - known]
    ports = [_before(guest, snapshot.ports[guest.port], snapshot) for guest in fresh]
    if memory.lost:
        ports = [
            each if (each.port, each.ifindex) in memory.released else _by_default(each, guest, snapshot)
            for each, guest in zip(ports, fresh, strict=True)
        ]
    moved = {each.port: each for each in changes if isinstance(each, SetVids) and each.because is Code.WRONG_VLAN}
    ports = [_with_vids(each, moved.get(each.port)) for each in (*memory.ports, *ports)]
    quiet = {change.port for change in changes if isinstance(change, SetFlags)} - {guest.port for guest in intent.ports}
    ports += [_before(None, snapshot.ports[name], snapshot) for name in sorted(quiet - known)]
    put = {(e.port, e.mac) for change in changes if isinstance(change, SetEntries) for e in change.after}
    macs = {each for each in _may_be_kept(guests, snapshot) if (each.port, each.mac) in put}
    again = {(each.port, each.ifindex) for each in ports}
    still_released = tuple(each for each in memory.released if each not in again)
    shut = {change.port for change in changes if isinstance(change, SetFlags) and change.closes}
    closed = {(guest.port, snapshot.ports[guest.port].ifindex) for guest in guests if guest.port in shut}
    return replace(
        memory,
        ports=tuple(ports),
        macs=tuple(sorted({*memory.macs, *macs})),
        released=still_released,
        closed=tuple(sorted({*memory.closed, *closed})),
    )


def with_kept(memory: Memory, intent: Intent, snapshot: Snapshot) -> Memory:
    """The memory with each MAC of a running guest that has its static entry, whoever put it.

    Only what is remembered is called left behind once the guest is gone; libvirt's own entry may be all that was asked
    for, and is found on the uplink as well.
    """
    guests = [g for g in intent.ports if g.managed and not g.frozen and snapshot.port_on(g.bridge, g.port)]
    shut = {(g.port, port.ifindex) for g in guests if g.running and not (port := snapshot.ports[g.port]).auto}
    if not shut <= {*memory.closed}:
        memory = replace(memory, closed=tuple(sorted(shut.union(memory.closed))))
    new = {each for each in _may_be_kept(guests, snapshot) if (each.port, each.ifindex) not in memory.released}
    new -= {*memory.macs}
    kept = {each for each in new if snapshot.fdb.static_on(each.port, each.bridge, each.mac)}
    return replace(memory, macs=tuple(sorted({*memory.macs, *kept}))) if kept else memory


def what_is_left(memory: Memory, intent: Intent, snapshot: Snapshot) -> Memory:
    """The memory without what is no more: ports that are gone, MACs that nobody wants and that have no entry left."""
    wanted = {(guest.bridge, mac) for guest in intent.ports for mac in guest.macs}

    def is_left(each: KeptMac) -> bool:
        place = each.bridge, each.mac
        if place in wanted:
            return _exists(each.port, each.ifindex, snapshot)
        return _has_static(*place, snapshot) or _may_be_unread(each.bridge, snapshot)

    return replace(
        memory,
        ports=valid_ports(memory, intent, snapshot),
        macs=tuple(filter(is_left, memory.macs)),
        released=tuple(each for each in memory.released if _exists(*each, snapshot)),
        closed=tuple(each for each in memory.closed if _exists(*each, snapshot)),
        taken=of_same_ports(memory.taken, snapshot),
    )


def _may_be_unread(bridge: str, snapshot: Snapshot) -> bool:
    """An address may have an entry that was not read: where the table is too long, in a VID of trunks alone."""
    if bridge not in snapshot.bridges or snapshot.lists(bridge):
        return False
    members = [port.vids for port in snapshot.ports.values() if port.bridge == bridge]
    return any(len(vids) > MANY_VIDS for vids in (snapshot.bridges[bridge].vids, *members))


def valid_ports(memory: Memory, intent: Intent, snapshot: Snapshot) -> tuple[PortBefore, ...]:
    """The remembered ports that are still the same, of the same guest."""
    uuids: dict[str, set[str]] = {}
    for guest in intent.ports:  # several may name one port
        uuids.setdefault(guest.port, set()).add(guest.uuid)
    return tuple(
        each
        for each in memory.ports
        if each.is_still(snapshot.ports.get(each.port), snapshot) and each.uuid in uuids.get(each.port, (each.uuid,))
    )


def gone_macs(memory: Memory, intent: Intent, snapshot: Snapshot) -> dict[tuple[str, str], str]:
    """The MACs of guests that have left this host: (bridge, MAC) with the domain.

    A guest whose XML could not be read has not left, and neither has one whose tap is still open, whatever the status
    files say: they may be another libvirt's. That a hook call says who has left is no proof that it ever ran here:
    libvirt calls `stopped` for a start that failed, and the XML may name any address. So only what is remembered of it
    counts, and what its status file said of it while it ran.
    """
    here = _domains_here(intent)
    wanted = {mac for guest in intent.ports for mac in guest.macs}
    there = (each for each in memory.macs if _exists(each.port, each.ifindex, snapshot))
    present = {each.mac for each in there if not _nobody_has_it_open(snapshot.ports[each.port])}
    gone = {
        (each.bridge, each.mac): each.domain
        for each in memory.macs
        if each.domain not in here
        and each.mac not in wanted
        and (each.domain in intent.gone_domains or each.mac not in present)
    }
    return gone | {
        (guest.bridge, mac): guest.domain for guest in intent.gone_ports for mac in guest.macs if mac not in wanted
    }


def learning_off(memory: Memory, intent: Intent, snapshot: Snapshot) -> tuple[str, ...]:
    """The uplinks whose learning macmgr turned off."""
    ports = (each for each in valid_ports(memory, intent, snapshot) if not each.domain)
    return tuple(each.port for each in ports if each.flags.learning and not snapshot.ports[each.port].flags.learning)


def locked_since(memory: Memory, intent: Intent, snapshot: Snapshot) -> tuple[str, ...]:
    """The guests' ports that had no lock before macmgr and have one now."""
    unsure = {guest.port for guest in intent.ports if guest.policy.incomplete}
    ports = (each for each in valid_ports(memory, intent, snapshot) if each.domain and each.port not in unsure)
    return tuple(each.port for each in ports if not each.flags.locked and snapshot.ports[each.port].flags.locked)


def to_release(memory: Memory, intent: Intent, snapshot: Snapshot) -> tuple[PortBefore, ...]:
    """The ports that macmgr managed, and that nobody asks for now.

    Policy leaves them to the kernel, or their guest is gone and its tap is not: somebody else has made it (ethernet).
    """
    left, here = _left_to_the_kernel(intent), _domains_here(intent) | {guest.port for guest in intent.ports}
    ports = (each for each in valid_ports(memory, intent, snapshot) if each.domain)
    return tuple(
        each
        for each in ports
        if (each.port, each.bridge, each.uuid) in left
        or (
            here.isdisjoint((each.domain, each.port))
            and (each.domain in intent.gone_domains or _nobody_has_it_open(snapshot.ports[each.port]))
        )
    )


def closed_once(memory: Memory, snapshot: Snapshot) -> frozenset[str]:
    """The ports of which no address was learned before they were closed: what was learned there since may be cut."""
    return frozenset(name for name, ifindex in memory.closed if _exists(name, ifindex, snapshot))


def after_release(memory: Memory, released: Collection[tuple[str, int]]) -> Memory:
    """The memory once these ports, by name and ifindex, were given back."""
    return replace(
        memory,
        ports=tuple(each for each in memory.ports if (each.port, each.ifindex) not in released),
        macs=tuple(each for each in memory.macs if (each.port, each.ifindex) not in released),
        released=tuple(sorted({*memory.released, *released})),
        closed=tuple(each for each in memory.closed if each not in released),
        taken=tuple(each for each in memory.taken if (each.port, each.ifindex) not in released),
    )


def _left_to_the_kernel(intent: Intent) -> set[tuple[str, str, str]]:
    """The guests' ports, by name, bridge and uuid, that policy leaves to the kernel, and nothing may say otherwise.

    Where metadata is not understood, or a place that may say otherwise is not there now, what macmgr made of the port
    stays; but the domain's own word comes first, and needs no other.
    """
    managed = {guest.port for guest in intent.ports if guest.managed}
    return {
        (guest.port, guest.bridge, guest.uuid)
        for guest in intent.ports
        if guest.port not in managed and not guest.policy.problem
        if not guest.policy.incomplete or any(step.says.manager for step in guest.policy.steps[:2])
    }


def _domains_here(intent: Intent) -> set[str]:
    """The domains that run here, as far as anybody knows."""
    here = {each.domain for each in intent.ports} | {each.domain for each in intent.portless}
    return here | {each.domain for each in intent.findings if each.code is Code.UNREADABLE_XML and each.domain}


def _nobody_has_it_open(port: BridgePort) -> bool:
    """A tap has a carrier as long as a program has it open (drivers/net/tun.c), even a guest that is suspended."""
    return port.kind == "tun" and port.up and not port.relay.carrier


def _may_be_kept(guests: Iterable[GuestPort], snapshot: Snapshot) -> Iterator[KeptMac]:
    for guest in guests:
        for mac in guest.macs if guest.running else ():
            yield KeptMac(mac, guest.bridge, guest.domain, guest.port, snapshot.ports[guest.port].ifindex)


def _exists(name: str, ifindex: int, snapshot: Snapshot) -> bool:
    port = snapshot.ports.get(name)
    return port is not None and port.ifindex == ifindex


def _before(guest: GuestPort | None, port: BridgePort, snapshot: Snapshot) -> PortBefore:
    bridge = snapshot.bridges[port.bridge]
    domain, uuid = (guest.domain, guest.uuid) if guest else ("", "")
    held = tuple(_held(snapshot.fdb.of_port(port.name))) if guest else ()
    vids = port.vlans if guest and guest.facts.vlan_live else None  # macmgr sets none of any other port
    return PortBefore(
        port.name, port.ifindex, port.mac, bridge.name, bridge.ifindex, domain, uuid, port.flags, held, vids
    )


def _with_vids(before: PortBefore, change: SetVids | None) -> PortBefore:
    """Nothing is put back where somebody has changed the VIDs since macmgr first saw the port.

    One does who takes a tap off its bridge and puts it back: what was there right before the change was wrong for a
    moment only.
    """
    if change is None or (before.vids_set is None and before.vids != change.before):
        return before
    return replace(before, vids_set=change.after)


def _by_default(before: PortBefore, guest: GuestPort, snapshot: Snapshot) -> PortBefore:
    """A port of which nothing is remembered any more: what is there may be macmgr's own work."""
    return replace(before, flags=default_flags(guest, snapshot.ports[guest.port]), held=(), vids=None)


def _held(on_port: Iterable[Entry]) -> Iterator[Held]:
    vids: dict[tuple[str, bool], list[int]] = {}
    for entry in on_port:
        if entry.state is EntryState.STATIC:
            vids.setdefault((entry.mac, entry.sticky), []).append(entry.vid)
    for (mac, sticky), found in sorted(vids.items()):
        yield Held(mac, sticky, tuple(sorted(found)))


def _has_static(bridge: str, mac: str, snapshot: Snapshot) -> bool:
    """The bridge has a static entry for a MAC that is macmgr's, or could become it.

    One that another host's control plane put, and that no frame moves, is neither.
    """
    return any(
        entry.state is EntryState.STATIC and (entry.extern_learn or not snapshot.by_control_plane(entry))
        for entry in snapshot.fdb.of_mac(bridge, mac).values()
    )


def found_lacking(sent: Iterable[Change], snapshot: Snapshot) -> frozenset[Feature]:
    """The features that the kernel lacks, by the ``snapshot`` that was read after ``sent`` was asked for."""
    entries = [change for change in sent if isinstance(change, SetEntries)]
    lacks = set()
    if _drops_sticky(entries, snapshot):
        lacks.add(Feature.STICKY)
    flushed = (change for change in entries if change.stranded and not change.by)
    if any(snapshot.fdb.at(change.bridge, *entry.key) == entry for change in flushed for entry in change.before):
        lacks.add(Feature.FLUSH)
    return frozenset(lacks)


def _drops_sticky(changes: Iterable[SetEntries], snapshot: Snapshot) -> bool:
    """Entries that were put as sticky are there without it, and no other entry is sticky either."""
    asked = {entry[:4] for change in changes for entry in change.after if entry.sticky and not entry.extern_learn}
    if not asked or any(entry.sticky for entry in snapshot.entries):
        return False
    return any(entry.state is EntryState.STATIC and entry[:4] in asked for entry in snapshot.entries)


Times = Mapping[Key, tuple[float, float]]
"""The time at which an entry was last put, or its address seen elsewhere: not before, not after, of one clock."""


def taken_by(changes: Iterable[Change], intent: Intent, snapshot: Snapshot, known: Iterable[Taken]) -> list[Taken]:
    """The entries that ``changes`` take from uplinks, and those of ``known`` that they put anew; without times yet.

    Only sticky entries, for any other goes back to who sends next.
    """
    taps = {guest.port for guest in intent.ports}
    before = {each.key: each for each in known}
    found: list[Taken] = []
    for change in changes:
        if not isinstance(change, SetEntries):
            continue
        learned = {entry.vid: entry.port for entry in change.before if entry.state is EntryState.DYNAMIC}
        for entry in change.after:
            key = change.bridge, entry.mac, entry.vid
            uplink = learned.get(entry.vid, "")
            if entry.port not in taps or not entry.sticky:
                continue
            if uplink and uplink not in taps:
                ifindex = snapshot.ports[entry.port].ifindex
                found.append(Taken(*key, entry.port, ifindex, uplink, 0.0))
            elif key in before and before[key].port == entry.port:
                found.append(before[key])
    return found


def with_times(known: Collection[Taken], new: Collection[Taken], times: Times) -> tuple[Taken, ...]:
    """All that was taken, the ``new`` ones as of the ``times`` at which they were put."""
    put = {each.key for each in new}
    dated = [replace(each, at=times[each.key][1]) for each in new if each.key in times]
    return tuple(sorted([each for each in known if each.key not in put] + dated))


def of_same_ports(known: Iterable[Taken], snapshot: Snapshot) -> tuple[Taken, ...]:
    """Those about ports that are still the same. An entry that is gone may be put again."""
    ports = ((each, snapshot.port_on(each.bridge, each.port)) for each in known)
    return tuple(each for each, port in ports if port is not None and port.ifindex == each.ifindex)


def seen_since(known: Iterable[Taken], snapshot: Snapshot) -> Iterator[Taken]:
    """The entries on their guests' ports whose address was surely seen elsewhere after they were put."""
    for each in of_same_ports(known, snapshot):
        entry, times = snapshot.fdb.at(*each.key), snapshot.refreshed.get(each.key)
        if entry is not None and entry.port == each.port and times is not None and times[0] > each.at:
            yield each
