"""Giving ports back to the kernel: the plan from what macmgr made of them to what they were before.

Pure. Flags come first: a port learns and floods again before an entry stops being static, so the guest is reachable
after every single step. Then each entry is replaced, never deleted and added: by what was remembered, or as a dynamic
one, which the kernel ages and moves by itself. Only a port that does not forward takes no dynamic entry (EPERM,
fdb_add_entry in net/bridge/br_fdb.c), and there it is deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from macmgr.model.changes import SetEntries, SetFlags
from macmgr.model.intent import GuestPort, Intent, Pin
from macmgr.model.snapshot import BridgePort, Entry, EntryState, PortFlags, Snapshot
from macmgr.planning.draft import Draft, Table
from macmgr.planning.planner import Plan
from macmgr.planning.remembered import Memory, PortBefore, valid_ports

AS_BEFORE = "as it was before macmgr"
KERNEL_DEFAULT = "the kernel's default, for nothing is remembered"
LIBVIRTS_OWN = "as libvirt makes it, for nothing is remembered"
LEFT_BEHIND = "left by a guest that is gone"


@dataclass(frozen=True, slots=True)
class _Return:
    """A port on its way back: the flags it gets, the static entries it had, and the MACs that macmgr put there.

    ``own`` are the MACs that stay reachable if the port is closed, ``absent`` those of a guest whose CPUs do not run
    here, which have no entry, ``present`` those of one whose CPUs do: no uplink has a right to them.
    """

    port: BridgePort
    domain: str
    flags: PortFlags
    because: str
    macs: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()

    @property
    def closed(self) -> bool:
        return not self.flags.learning and not self.flags.unicast_flood


def plan_release(intent: Intent, snapshot: Snapshot, memory: Memory) -> Plan:
    """The changes that give back every port that is remembered, or bears macmgr's mark; empty when all are."""
    draft, table = Draft(), Table(snapshot)
    guests = {guest.port: guest for guest in intent.ports if snapshot.masters.get(guest.port) == guest.bridge}
    owned = {(guest.bridge, mac) for guest in guests.values() for mac in guest.macs}
    before = {each.port: each for each in valid_ports(memory, intent, snapshot)}
    for port in snapshot.ports.values():
        guest = guests.get(port.name)
        if port.name in before:
            back = _as_remembered(port, before[port.name], guest, memory, table)
            # what is another guest's by now is not given back: that guest would be cut off
            foreign = {mac for mac in back.macs if (port.bridge, mac) in owned} - {*back.present, *back.absent}
            back = replace(back, entries=tuple(entry for entry in back.entries if entry.mac not in foreign))
        elif guest is not None and guest.managed and _bears_the_mark(guest, port, memory, table):
            back = _by_default(port, guest)
        else:
            continue
        _plan_flags(back, draft)
        for mac in back.macs:
            _plan_entries(back, mac, guests.keys(), table, draft)
    _plan_left_behind(intent, snapshot, memory, {*guests, *before}, table, draft)
    return Plan((*draft.opens, *draft.puts, *draft.closes, *draft.drops))


def _as_remembered(
    port: BridgePort, before: PortBefore, guest: GuestPort | None, memory: Memory, table: Table
) -> _Return:
    entries = tuple(before.entries())
    kept = {each.mac for each in memory.macs if (each.port, each.ifindex) == (port.name, port.ifindex)}
    macs = [*(guest.macs if guest else ()), *(entry.mac for entry in entries), *sorted(kept)]
    # without its XML nobody knows which of the MACs is the NIC's own: all that are reachable stay so
    own = guest.macs[:1] if guest else tuple(mac for mac in kept if _static_on(port, mac, table))
    locked = None if port.flags.locked is None else bool(before.flags.locked)
    back = _Return(
        port,
        guest.domain if guest else before.domain,
        replace(before.flags, locked=locked),
        AS_BEFORE,
        macs=tuple(dict.fromkeys(macs)),
        own=own,
        absent=guest.macs if guest and not guest.running else (),
        present=guest.macs if guest and guest.running else (),
        entries=entries,
    )
    if back.closed and guest is not None and not guest.running and not guest.entry_comes:
        # nobody would put the entry when the CPUs start: closed without one is an outage
        return replace(back, flags=PortFlags(locked=None if locked is None else False))
    return back


def _by_default(port: BridgePort, guest: GuestPort) -> _Return:
    libvirts = guest.entry_comes
    locked = None if port.flags.locked is None else False
    return _Return(
        port,
        guest.domain,
        PortFlags(learning=not libvirts, unicast_flood=not libvirts, locked=locked),
        LIBVIRTS_OWN if libvirts else KERNEL_DEFAULT,
        macs=guest.macs,
        own=guest.macs[:1],
        absent=() if guest.running else guest.macs,
        present=guest.macs if guest.running else (),
    )


def _bears_the_mark(guest: GuestPort, port: BridgePort, memory: Memory, table: Table) -> bool:
    """Whether a port of which nothing is remembered looks like ours: an entry as the policy pins it, or a lock."""
    if (port.name, port.ifindex) in memory.given_back:
        return False
    sticky = guest.policy.pin is Pin.STICKY
    pinned = any(entry.sticky is sticky for mac in guest.macs for entry in _static_on(port, mac, table).values())
    return pinned or (guest.policy.lock and bool(port.flags.locked))


def _plan_flags(back: _Return, draft: Draft) -> None:
    """What opens the port comes before its entries change, what closes it after."""
    now, wanted, bridge = back.port.flags, back.flags, back.port.bridge
    opened = PortFlags(
        now.learning or wanted.learning,
        now.unicast_flood or wanted.unicast_flood,
        None if now.locked is None else now.locked and bool(wanted.locked),
    )
    if opened != now:
        draft.opens.append(SetFlags(back.port.name, now, opened, bridge, back.domain, back.because))
    if wanted != opened:
        draft.closes.append(SetFlags(back.port.name, opened, wanted, bridge, back.domain, back.because))


def _plan_entries(back: _Return, mac: str, guest_ports: Collection[str], table: Table, draft: Draft) -> None:
    """One MAC's entries on the port: static where they were, or must be on a closed port, else the kernel's own."""
    port = back.port
    vids = (0, *port.vids)
    now = table.of_mac(port.bridge, mac)
    here = {vid: entry for vid, entry in _static_on(port, mac, table).items() if vid in vids}
    taken = {
        vid
        for vid, entry in now.items()
        if (entry.extern_learn and vid not in here)
        or entry.state is EntryState.LOCAL
        or (entry.port != port.name and entry.state is EntryState.STATIC and not _stolen(entry, back, guest_ports))
    }
    wanted = {vid: entry for vid, entry in _static_back(back, mac) if vid in vids and vid not in taken}
    if port.up and port.forwarding and mac not in back.absent:
        for vid in here:
            wanted.setdefault(vid, Entry(mac, vid, port.name, EntryState.DYNAMIC))
    if 0 in here and not taken.isdisjoint(port.vids):
        # the kernel's request for VID 0 is one for all VIDs of the port: it would take somebody else's entry
        wanted[0] = here[0]
    changed = {vid for vid in vids if _kind(here.get(vid)) != _kind(wanted.get(vid))}
    if 0 in changed:
        changed.update(vid for vid in vids if vid in here or vid in wanted)
    if changed:
        change = SetEntries(
            mac,
            tuple(now[vid] for vid in vids if vid in changed and vid in now),
            tuple(wanted[vid] for vid in vids if vid in changed and vid in wanted),
            port.bridge,
            back.domain,
            back.because,
        )
        (draft.puts if change.after else draft.drops).append(change)


def _stolen(entry: Entry, back: _Return, guest_ports: Collection[str]) -> bool:
    """A static entry that led to the guest until a frame moved it to a port that is no guest's."""
    return entry.mac in back.present and entry.port not in guest_ports


def _static_back(back: _Return, mac: str) -> Iterator[tuple[int, Entry]]:
    if mac in back.absent:
        return  # an entry would swallow the frames for where the guest does run
    if back.closed and mac in back.own:
        for vid in (0, *back.port.vids):
            yield vid, Entry(mac, vid, back.port.name, EntryState.STATIC)
    for entry in back.entries:
        if entry.mac == mac:
            yield entry.vid, entry


def _plan_left_behind(
    intent: Intent, snapshot: Snapshot, memory: Memory, own: Collection[str], table: Table, draft: Draft
) -> None:
    """Static entries of guests that are gone, elsewhere than on the ports that are ``own``."""
    bridges = dict.fromkeys([*intent.managed_bridges, *(each.bridge for each in memory.macs)])
    for mac, domain in intent.departed.items():
        for bridge in bridges:
            by_port: dict[str, list[Entry]] = {}
            for entry in table.of_mac(bridge, mac).values():
                fixed = entry.state is EntryState.STATIC and not entry.extern_learn
                port = snapshot.ports.get(entry.port)
                # a stranded copy, in a VID that the port has lost, cannot be deleted (br_fdb_delete: EINVAL)
                if fixed and port is not None and entry.port not in own and entry.vid in (0, *port.vids):
                    by_port.setdefault(entry.port, []).append(entry)
            for found in by_port.values():
                draft.drops.append(SetEntries(mac, tuple(found), (), bridge, domain, LEFT_BEHIND))


def _kind(entry: Entry | None) -> tuple[EntryState, bool] | None:
    return None if entry is None else (entry.state, entry.sticky)


def _static_on(port: BridgePort, mac: str, table: Table) -> dict[int, Entry]:
    """The static entries that lead a MAC to a port, by VID.

    An entry that an external control plane made keeps its extern_learn through every put (fdb_add_entry), and is
    dynamic by itself: a static one is our doing, and as a dynamic one it is again what it was.
    """
    return {
        vid: entry
        for vid, entry in table.of_mac(port.bridge, mac).items()
        if entry.port == port.name and entry.state is EntryState.STATIC
    }
