"""One port's way back: from what macmgr made of it to what it was before, and never by a step that cuts its guest off.

Pure. Flags come first: a port learns and floods again before an entry stops being static, so the guest is reachable
after every single step. Then each entry is replaced, never deleted and added: by what was remembered, or as a dynamic
one, which the kernel ages and moves by itself. Only a port that does not forward takes no dynamic entry (EPERM,
fdb_add_entry in net/bridge/br_fdb.c), and there it is deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from macmgr.model.changes import SetEntries, SetFlags
from macmgr.model.fdb import Key
from macmgr.model.findings import Code
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.known import Memory, PortBefore
from macmgr.model.snapshot import BridgePort, Entry, EntryState, PortFlags, Snapshot
from macmgr.planning.draft import Draft, Stranded, Table, fix_of
from macmgr.planning.remembered import Recalled


@dataclass(frozen=True, slots=True)
class Return:
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


def plan_returning(
    intent: Intent,
    snapshot: Snapshot,
    memory: Memory,
    recalled: Recalled,
    claimed: Collection[Key],
    table: Table,
    draft: Draft,
) -> None:
    """The ports that policy leaves to the kernel by now, and that are still as macmgr made them.

    A MAC that a managed guest has a right to, or whose guest has left, is not theirs: the planner has rules for it.
    """
    guests = {guest.port: guest for guest in intent.ports if snapshot.port_on(guest.bridge, guest.port)}
    owned = {(guest.bridge, mac) for guest in guests.values() for mac in guest.macs}
    taken = {(bridge, mac) for bridge, mac, _ in claimed}
    not_theirs = taken | recalled.gone_macs.keys()
    for before in recalled.to_release:
        guest, port = guests[before.port], snapshot.ports[before.port]
        back = as_remembered(port, before, memory, guest, Code.NOT_GIVEN_BACK, owned, table)
        macs = (mac for mac in back.macs if (port.bridge, mac) not in not_theirs)
        part = Draft()
        plan_way_back(replace(back, macs=tuple(macs)), guests.keys(), table, part)
        draft.stranded += part.stranded
        changes = (*part.opens, *part.puts, *part.closes, *part.drops)
        if not changes:
            continue
        draft.find(
            Code.NOT_GIVEN_BACK,
            guest,
            f"{port.name} of {guest.domain} is left to the kernel ({guest.policy.reason}), and still is as macmgr "
            "made it",
            fix=fix_of(changes, guest.bridge, guest.domain),
        )
        draft.opens += part.opens
        draft.puts += part.puts
        draft.closes += part.closes
        draft.drops += part.drops


def plan_way_back(back: Return, guest_ports: Collection[str], table: Table, draft: Draft) -> None:
    """What brings a port back; ``guest_ports`` are all that are some guest's."""
    _plan_flags(back, draft)
    for mac in back.macs:
        _plan_entries(back, mac, guest_ports, table, draft)
        draft.stranded += _stranded(back, mac, table)


def as_remembered(
    port: BridgePort,
    before: PortBefore,
    memory: Memory,
    guest: GuestPort | None,
    because: str,
    others: Collection[tuple[str, str]],
    table: Table,
) -> Return:
    """As the port was. What is another guest's by now, (bridge, MAC), is not given back: that one would be cut off."""
    mine = guest.macs if guest else ()
    # each once: a trunk had one of its MACs in thousands of VIDs
    entries = tuple(before.entries())
    macs = tuple(dict.fromkeys([*mine, *(entry.mac for entry in entries), *memory.macs_put_on(before)]))
    # a port that was closed is again, and learns nothing: what is reachable there stays so, allowed and followed
    # addresses too; and without its XML nobody knows which of the MACs is the NIC's own
    reachable = tuple(mac for mac in macs if table.static_on(port, mac))
    own = (*(guest.macs[:1] if guest else ()), *reachable)
    locked = None if port.flags.locked is None else bool(before.flags.locked)
    back = Return(
        port,
        guest.domain if guest else before.domain,
        replace(before.flags, locked=locked),
        because,
        macs=macs,
        own=own,
        absent=guest.macs if guest and not guest.running else (),
        present=guest.macs if guest and guest.running else (),
        entries=tuple(entry for entry in entries if entry.mac in mine or (port.bridge, entry.mac) not in others),
    )
    if back.closed and guest is not None and not guest.running and not guest.entry_comes:
        # nobody would put the entry when the CPUs start: closed without one is an outage
        return replace(back, flags=PortFlags(locked=None if locked is None else False))
    return back


def _plan_flags(back: Return, draft: Draft) -> None:
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


def _plan_entries(back: Return, mac: str, guest_ports: Collection[str], table: Table, draft: Draft) -> None:
    """One MAC's entries on the port: static where they were, or must be on a closed port, else the kernel's own."""
    port = back.port
    vids = dict.fromkeys((0, *port.vids))  # in their order, and on a trunk each of thousands is looked for
    now = table.of_mac(port.bridge, mac)
    here = {vid: entry for vid, entry in table.static_on(port, mac).items() if vid in vids}
    taken = {
        vid
        for vid, entry in now.items()
        if (entry.extern_learn and vid not in here)
        or entry.state is EntryState.LOCAL
        or (entry.port != port.name and _is_static_elsewhere(entry, back, guest_ports, table))
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


def _is_static_elsewhere(entry: Entry, back: Return, guest_ports: Collection[str], table: Table) -> bool:
    """A static entry on another port, but for one that led to the guest until a frame moved it to no guest's port."""
    stolen = entry.mac in back.present and entry.port not in guest_ports and not table.by_control_plane(entry)
    return entry.state is EntryState.STATIC and not stolen


def _stranded(back: Return, mac: str, table: Table) -> Iterator[Stranded]:
    """What was put since in a VID that the port has lost meanwhile: there it leads nowhere, and nobody can name it."""
    before = {(entry.vid, entry.sticky) for entry in back.entries if entry.mac == mac}
    for vid, entry in table.static_on(back.port, mac).items():
        if table.stranded(entry) and not table.by_control_plane(entry) and (vid, entry.sticky) not in before:
            text = f"{back.port.name} still has the static entry of {mac}"
            yield Stranded(entry, back.port.bridge, back.domain, Code.NOT_GIVEN_BACK, text, back.because)


def _static_back(back: Return, mac: str) -> Iterator[tuple[int, Entry]]:
    if mac in back.absent:
        return  # an entry would swallow the frames for where the guest does run
    if back.closed and mac in back.own:
        for vid in (0, *back.port.vids):
            yield vid, Entry(mac, vid, back.port.name, EntryState.STATIC)
    for entry in back.entries:
        if entry.mac == mac:
            yield entry.vid, entry


def _kind(entry: Entry | None) -> tuple[EntryState, bool] | None:
    return None if entry is None else (entry.state, entry.sticky)
