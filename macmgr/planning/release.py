"""Gives ports back to the kernel: from what macmgr made of them to what they were before it. Pure.

No step cuts a guest off. Flags come first: a port learns and floods again before an entry stops being static, so the
guest is reachable after every single step. Then each entry is replaced, never deleted and added: by what was
remembered, or as a dynamic one, which the kernel ages and moves by itself. Only a port that does not forward takes no
dynamic entry (EPERM, fdb_add_entry in net/bridge/br_fdb.c), and there it is deleted.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from macmgr.forwarding.requested import requested
from macmgr.model.changes import Change, SetEntries, SetFlags, ports_of, requests
from macmgr.model.findings import Code, Finding
from macmgr.model.flags import ISOLATED, with_flag
from macmgr.model.intent import EVERYTHING, GuestPort, Intent, Scope
from macmgr.model.known import Known, Memory, PortBefore
from macmgr.model.snapshot import BridgePort, Entry, EntryState, Key, PortFlags, Snapshot
from macmgr.planning.draft import Draft, Plan, Stranded, Table
from macmgr.planning.interlock import harmless
from macmgr.planning.leftovers import plan_stranded
from macmgr.planning.ownership import ownership
from macmgr.planning.portvlans import vids_back
from macmgr.planning.remembering import default_flags, gone_macs, to_release, valid_ports

AS_BEFORE = "as it was before macmgr"
KERNEL_DEFAULT = "the kernel's default, because nothing is remembered"
LIBVIRTS_OWN = "as libvirt makes it, because nothing is remembered"
LEFT_BEHIND = "left by a guest that is gone"


@dataclass(frozen=True, slots=True)
class PortRelease:
    """A port on its way back: the flags it gets, the static entries it had, and the MACs that macmgr put there.

    ``own`` are the MACs that stay reachable if the port is closed. ``absent`` have no entry: the guest's CPUs do not
    run here, or it is another one's address. ``present`` are those of one whose CPUs do: no uplink has a right to them.
    """

    port: BridgePort
    domain: str
    flags: PortFlags
    why: str
    macs: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()

    @property
    def because(self) -> Code | None:
        """The finding that asks for it; None for a release, which says ``why`` in words."""
        return None if self.why else Code.NOT_GIVEN_BACK

    @property
    def closed(self) -> bool:
        return not self.flags.learning and not self.flags.unicast_flood


def plan_release(intent: Intent, snapshot: Snapshot, known: Known, scope: Scope = EVERYTHING) -> Plan:
    """The changes that give back every port in scope that is remembered, or bears macmgr's mark; empty when all are.

    Its findings are about entries in VIDs that their port has lost: those that no change clears are left to a person.
    And about ports that are left as macmgr made them, because giving them back would harm a guest.
    """
    draft, memory, start = Draft(), known.memory, snapshot
    before = {each.port: each for each in valid_ports(memory, intent, snapshot)}
    vids = (vids_back(snapshot.ports[name], each, start, AS_BEFORE) for name, each in before.items() if each.vids_set)
    draft.plugs += [change for change in vids if change is not None]
    if draft.plugs:
        snapshot = requested(snapshot, (request for change in draft.plugs for request in requests(change)))
    table = Table(snapshot, known.lacks)
    guests = {guest.port: guest for guest in intent.ports if snapshot.port_on(guest.bridge, guest.port)}
    owned = {(guest.bridge, mac) for guest in guests.values() for mac in guest.macs}
    for port in snapshot.ports.values():
        guest = guests.get(port.name)
        if port.name in before:
            back = as_remembered(port, before[port.name], memory, guest, AS_BEFORE, owned, table)
        elif guest is not None and guest.managed and _bears_the_mark(guest, port, memory, table):
            back = _by_default(port, guest)
        else:
            continue
        plan_port_release(back, guests.keys(), table, draft)
    gone = gone_macs(memory, intent, snapshot)
    _plan_left_behind(gone, snapshot, {*guests, *before}, table, draft)
    plan_stranded((), {guest.port for guest in intent.ports}, snapshot, table, draft)
    left = tuple(finding for finding in draft.findings if finding.code is Code.NOT_GIVEN_BACK)
    made = Plan((*draft.opens, *draft.plugs, *draft.puts, *draft.closes, *draft.drops), left).only(scope)
    return made if known.cut else _harmless(made, intent, start, known)


def _harmless(made: Plan, intent: Intent, snapshot: Snapshot, known: Known) -> Plan:
    """The plan without what would harm a guest, with a finding for each port that is left as it is for that.

    A guest on another bridge than its own is there by mistake; and still, no release lets others hear it.
    """
    managed = [guest for guest in intent.ports if guest.managed and snapshot.port_on(guest.bridge, guest.port)]
    owned = ownership(managed, intent, snapshot, known, Table(snapshot, known.lacks), Draft())
    asks = {
        guest.port
        for guest in intent.ports
        if guest.port in snapshot.ports and not (guest.managed and guest.policy.lock)
    }
    judged = harmless(made, intent, snapshot, owned, asks, "release")
    if judged is made:
        return made
    kept = {*judged.changes}
    left = {port: change for change in made.changes if change not in kept for port in _given_back_by(change)}
    return replace(judged, findings=(*judged.findings, *(_left(port, change) for port, change in left.items())))


def _given_back_by(change: Change) -> Collection[str]:
    """The ports that a change gives back, without those that an entry would move away from: they may be done."""
    if isinstance(change, SetEntries) and change.after:
        return {entry.port for entry in change.after}
    return ports_of(change)


def _left(port: str, change: Change) -> Finding:
    whose = f"{port} of {change.domain}" if change.domain else port
    text = f"{whose} is left as macmgr made it: giving it back would harm a guest"
    note = f"'macmgr release --cut --bridge {shlex.quote(change.bridge)}' gives it back anyway"
    return Finding(Code.NOT_GIVEN_BACK, text, change.bridge, port, change.domain, note=note)


def _by_default(port: BridgePort, guest: GuestPort) -> PortRelease:
    return PortRelease(
        port,
        guest.domain,
        default_flags(guest, port),
        LIBVIRTS_OWN if guest.entry_comes else KERNEL_DEFAULT,
        macs=guest.macs,
        own=guest.macs,
        absent=() if guest.running else guest.macs,
        present=guest.macs if guest.running else (),
    )


def _bears_the_mark(guest: GuestPort, port: BridgePort, memory: Memory, table: Table) -> bool:
    """A port of which nothing is remembered looks like ours: an entry as the policy pins it, or a lock.

    Where there was more in the memory, any may be ours.
    """
    if (port.name, port.ifindex) in memory.released:
        return False
    if memory.lost:
        return True
    sticky = table.is_sticky(guest)
    pinned = any(entry.sticky is sticky for mac in guest.macs for entry in table.static_on(port, mac).values())
    return pinned or (guest.policy.lock and bool(port.flags.locked))


def _plan_left_behind(
    gone: Mapping[tuple[str, str], str], snapshot: Snapshot, own: Collection[str], table: Table, draft: Draft
) -> None:
    """Static entries of guests that are gone, elsewhere than on the ports that are ``own``."""
    for (bridge, mac), domain in gone.items():
        by_port: dict[str, list[Entry]] = {}
        for entry in table.fdb.of_mac(bridge, mac).values():
            # no frame took a sticky one there: somebody has put it
            fixed = entry.state is EntryState.STATIC and not table.by_control_plane(entry) and not entry.sticky
            if not fixed or entry.port not in snapshot.ports or entry.port in own:
                continue
            if table.stranded(entry):
                text = f"{entry.port} still has the static entry of {mac}"
                draft.stranded.append(Stranded(entry, bridge, domain, Code.NOT_GIVEN_BACK, text, LEFT_BEHIND))
            else:
                by_port.setdefault(entry.port, []).append(entry)
        for found in by_port.values():
            draft.drops.append(SetEntries(mac, tuple(found), (), bridge, domain, why=LEFT_BEHIND))


def plan_releases(
    intent: Intent,
    snapshot: Snapshot,
    memory: Memory,
    gone: Collection[tuple[str, str]],
    rightful: Collection[Key],
    table: Table,
    draft: Draft,
) -> None:
    """The ports that nobody asks for by now, and that are still as macmgr made them.

    A MAC that a managed guest has a right to, or whose guest has left, is not theirs: the planner has rules for it. No
    guest leaves the VLANs of its XML by it, or comes to be heard by those whom its XML keeps it from: only a person who
    says `release` asks for that.
    """
    guests = {guest.port: guest for guest in intent.ports if snapshot.port_on(guest.bridge, guest.port)}
    owned = {(guest.bridge, mac) for guest in guests.values() for mac in guest.macs}
    taken = {(bridge, mac) for bridge, mac, _ in rightful}
    not_theirs = taken.union(gone)
    for before in to_release(memory, intent, snapshot):
        guest, port = guests.get(before.port), snapshot.ports[before.port]
        back = as_remembered(port, before, memory, guest, "", owned, table)
        if guest is not None and guest.facts.isolated_live:
            back = replace(back, flags=with_flag(back.flags, ISOLATED, port.flags.isolated))
        macs = (mac for mac in back.macs if (port.bridge, mac) not in not_theirs)
        part = Draft()
        plan_port_release(replace(back, macs=tuple(macs)), guests.keys(), table, part)
        draft.stranded += part.stranded
        changes = (*part.opens, *part.puts, *part.closes, *part.drops)
        if not changes:
            continue
        text = f"{port.name} is still as macmgr made it for {back.domain}, which does not run here"
        if guest is not None:
            why = guest.policy.reason
            text = f"{port.name} of {guest.domain} is left to the kernel ({why}), but is still as macmgr made it"
        draft.findings.append(Finding(Code.NOT_GIVEN_BACK, text, port.bridge, port.name, back.domain, mends=changes))
        draft.opens += part.opens
        draft.puts += part.puts
        draft.closes += part.closes
        draft.drops += part.drops


def plan_port_release(back: PortRelease, guest_ports: Collection[str], table: Table, draft: Draft) -> None:
    """Bring one port back; ``guest_ports`` are all that are some guest's."""
    _plan_port_flags(back, draft)
    for mac in back.macs:
        _plan_port_entries(back, mac, guest_ports, table, draft)
        draft.stranded += _stranded(back, mac, table)


def as_remembered(
    port: BridgePort,
    before: PortBefore,
    memory: Memory,
    guest: GuestPort | None,
    why: str,
    others: Collection[tuple[str, str]],
    table: Table,
) -> PortRelease:
    """As the port was. What is another guest's by now, (bridge, MAC), is not given back: that one would be cut off."""
    mine = guest.macs if guest else ()
    # each once: a trunk had one of its MACs in thousands of VIDs
    entries = tuple(before.entries())
    macs = tuple(dict.fromkeys([*mine, *(entry.mac for entry in entries), *memory.macs_put_on(before)]))
    # a port that was closed is again, and learns nothing: what is reachable there stays so, allowed and followed
    # addresses too; and without its XML nobody knows which of the MACs is the NIC's own. With it, an address that is no
    # NIC's comes back as it was, and in no other VID: it may be in use elsewhere.
    strangers = {entry.mac for entry in entries}.difference(mine) if guest else ()
    reachable = tuple(mac for mac in macs if mac not in strangers and table.static_on(port, mac))
    own = (*(guest.macs[:1] if guest else ()), *reachable)
    theirs = {mac for mac in macs if mac not in mine and (port.bridge, mac) in others}
    back = PortRelease(
        port,
        guest.domain if guest else before.domain,
        before.flags.for_kernel_of(port.flags),
        why,
        macs=macs,
        own=own,
        absent=(*(guest.macs if guest and not guest.running else ()), *theirs),
        present=guest.macs if guest and guest.running else (),
        entries=entries,
    )
    if back.closed and guest is not None and not guest.running and not guest.entry_comes:
        # nobody would put the entry when the CPUs start: closed without one is an outage
        return replace(back, flags=back.flags.opened())
    return back


def _plan_port_flags(back: PortRelease, draft: Draft) -> None:
    """Open the port before its entries change, and close it after."""
    now, wanted, bridge = back.port.flags, back.flags, back.port.bridge
    opened = now.before_closing(wanted)
    if opened != now:
        draft.opens.append(SetFlags(back.port.name, now, opened, bridge, back.domain, back.because, back.why))
    if wanted != opened:
        draft.closes.append(SetFlags(back.port.name, opened, wanted, bridge, back.domain, back.because, back.why))


def _plan_port_entries(back: PortRelease, mac: str, guest_ports: Collection[str], table: Table, draft: Draft) -> None:
    """One MAC's entries on the port: static where they were, or must be on a closed port, else the kernel's own."""
    port = back.port
    vids = dict.fromkeys((0, *port.vids))  # in their order, and on a trunk each of thousands is looked for
    now = table.fdb.of_mac(port.bridge, mac)
    here = {vid: entry for vid, entry in table.static_on(port, mac).items() if vid in vids}
    taken = {
        vid
        for vid, entry in now.items()
        if (entry.extern_learn and vid not in here)
        or entry.state is EntryState.LOCAL
        or (entry.port != port.name and _is_static_elsewhere(entry, back, guest_ports, table))
    }
    wanted = {vid: entry for vid, entry in _static_back(back, mac) if vid in vids and vid not in taken}
    # the kernel's request for VID 0 is one for all VIDs of the port: it would take somebody else's entry
    learned = {vid for vid, entry in now.items() if entry.port != port.name and vid not in wanted}
    if 0 in here and not taken.isdisjoint(port.vids):
        wanted[0] = here[0]
    elif 0 not in here and table.filters(port.bridge) and not (taken | learned).isdisjoint(port.vids):
        wanted.pop(0, None)
    copies = port.vids if 0 in wanted and 0 not in here else ()  # that the request makes, too
    if port.up and port.forwarding and mac not in back.absent:
        for vid in (*here, *copies):
            wanted.setdefault(vid, Entry(mac, vid, port.name, EntryState.DYNAMIC))
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
            why=back.why,
        )
        (draft.puts if change.after else draft.drops).append(change)


def _is_static_elsewhere(entry: Entry, back: PortRelease, guest_ports: Collection[str], table: Table) -> bool:
    """A static entry on another port, but for one that led to the guest until a frame moved it to no guest's port."""
    stolen = entry.mac in back.present and entry.port not in guest_ports and not table.by_control_plane(entry)
    return entry.state is EntryState.STATIC and not stolen


def _stranded(back: PortRelease, mac: str, table: Table) -> Iterator[Stranded]:
    """Entries that were put since in a VID that the port has lost: they lead nowhere, and no request names them."""
    before = {(entry.vid, entry.sticky) for entry in back.entries if entry.mac == mac}
    for vid, entry in table.static_on(back.port, mac).items():
        if table.stranded(entry) and not table.by_control_plane(entry) and (vid, entry.sticky) not in before:
            text = f"{back.port.name} still has the static entry of {mac}"
            yield Stranded(entry, back.port.bridge, back.domain, Code.NOT_GIVEN_BACK, text, back.why)


def _static_back(back: PortRelease, mac: str) -> Iterator[tuple[int, Entry]]:
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
