"""Plans the changes that bring the snapshot to the intent, and reports what is wrong in words.

Pure. The order of the changes is the safety of the guests: isolate, set VLANs, open what must be open, put entries,
close learning and unicast flood, drop what is stale. A wanted MAC that was reachable stays reachable after every single
step, because a port floods until its entry is there, and an entry is moved by one replace, never deleted and added.

Some domains run here whose XML is not known, and nobody can say which taps are theirs. So an entry on a tap that no
domain's NIC asks for, pinned as it is done here, may be such a guest's, and a guest with the same address is left as it
is until that XML is read. One that is not sticky where entries are may have come there by a frame, and proves nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from macmgr.model.findings import Code
from macmgr.model.intent import EVERYTHING, GuestMac, GuestPort, Intent, Pin, Scope
from macmgr.model.known import NOTHING_KNOWN, Known
from macmgr.model.roles import Role, roles_of
from macmgr.model.snapshot import BridgePort, Entry, EntryState, Feature, Snapshot
from macmgr.phrases import first_few
from macmgr.planning.closing import (
    mtu_findings,
    plan_closed,
    plan_frozen,
    plan_open,
    plan_uplinks,
    promiscuity_findings,
)
from macmgr.planning.conflicts import (
    bond_findings,
    conflict_findings,
    guest_mac_findings,
    used_elsewhere_findings,
)
from macmgr.planning.draft import Draft, Plan, Table
from macmgr.planning.entries import (
    addresses_in_use,
    plan_entries,
    plan_foreign_entries,
    plan_gone,
    plan_lost_entries,
    plan_moved_addresses,
    plan_waiting_entries,
    report_in_use,
)
from macmgr.planning.interlock import harmless
from macmgr.planning.leftovers import leftover_findings, plan_stranded
from macmgr.planning.ownership import Ownership, ownership, report_duplicates
from macmgr.planning.plugged import is_on_its_bridge, of_ports_as_they_are, plan_plugs, plug_findings
from macmgr.planning.reading import coverage_findings
from macmgr.planning.release import plan_releases
from macmgr.planning.remembering import closed_once, gone_macs, learning_off, locked_since, to_release

_FEW = 3  # domains that a message names


def plan(intent: Intent, snapshot: Snapshot, known: Known = NOTHING_KNOWN, scope: Scope = EVERYTHING) -> Plan:
    """The plan that brings ``snapshot`` to ``intent``: empty of changes when they agree.

    The part of it that is in ``scope`` harms nobody by itself: an address that another domain's guest is to get in this
    plan stays where it is used, if only the port of the one who uses it is in scope.
    """
    draft = Draft(findings=list(intent.findings))
    table = Table(snapshot, known.lacks)
    memory = known.memory
    gone, locked = gone_macs(memory, intent, snapshot), locked_since(memory, intent, snapshot)
    closed = closed_once(memory, snapshot)
    present = [guest for guest in intent.ports if is_on_its_bridge(guest, intent, snapshot, draft) and guest.managed]
    present = list(_beside_unread(present, intent, snapshot, table, draft))
    found, snapshot = snapshot, plan_plugs(present, intent, snapshot, known, draft)
    if draft.plugs:
        table = Table(snapshot, known.lacks)
    owned = ownership(present, intent, snapshot, known, table, draft)
    _report_unmanaged_duplicates(intent, owned, snapshot, draft)
    refused: dict[str, set[tuple[str, int]]] = {}
    for name, mac, vid in known.refused:
        refused.setdefault(name, set()).add((mac, vid))
    for guest in owned.vids:
        port = snapshot.ports[guest.port]
        if guest.frozen:
            waits_closed = guest.may_wait_closed and not _known_elsewhere(guest, owned, table)
            was_refused = _lacks_a_refused_entry(guest, owned, refused, locked, snapshot, table)
            comes = not was_refused if guest.running else waits_closed
            plan_frozen(guest, owned, port, table, draft, comes=comes)
            continue
        in_use = addresses_in_use(guest, owned, table) if _asks_first(guest, port, known, closed) else []
        if guest.running:
            plan_entries(guest, owned, table, draft)
            was_refused = _lacks_a_refused_entry(guest, owned, refused, locked, snapshot, table)
            if was_refused and not port.flags.open:
                plan_open(guest, port, draft, "its entry cannot be put")
            elif in_use:
                report_in_use(guest, in_use, owned, draft)
            elif owned.alive[guest] and _not_closed_yet(guest, known, closed):  # open, it learns when it has it
                plan_open(guest, port, draft, "an address that it is allowed was learned elsewhere")
            else:
                reached = _is_reached_closed(guest, owned, snapshot, table)
                stays_open = was_refused or _shares_its_own_address(guest, owned, snapshot)
                plan_closed(guest, port, draft, locked, report_only=stays_open, reached=reached)
            plan_lost_entries(guest, owned, table, draft)
        else:
            plan_waiting_entries(guest, owned, table, draft)
            if guest.may_wait_closed and not _known_elsewhere(guest, owned, table):
                if in_use:
                    report_in_use(guest, in_use, owned, draft)
                else:
                    stays_open = _shares_its_own_address(guest, owned, snapshot)
                    plan_closed(guest, port, draft, locked, report_only=stays_open)
            else:
                plan_open(guest, port, draft, "nobody would put its entry when the guest's CPUs start")
        plan_foreign_entries(guest, owned, table, draft, keep=in_use)
        plan_moved_addresses(guest, owned, table, draft)
    plan_gone(gone, intent, to_release(memory, intent, snapshot), owned, table, draft)
    plan_releases(intent, snapshot, memory, gone, owned.rightful, table, draft)
    plan_stranded(owned.rightful, {guest.port for guest in intent.ports}, snapshot, table, draft)
    plan_uplinks(intent, snapshot, learning_off(memory, intent, snapshot), table, draft)
    draft.findings += leftover_findings(intent, snapshot, table, tuple(draft.findings))
    draft.findings = of_ports_as_they_are(draft)
    draft.findings += plug_findings(intent, found, draft)
    draft.findings += guest_mac_findings(intent)
    draft.findings += used_elsewhere_findings(intent, snapshot, memory)
    draft.findings += bond_findings(intent, snapshot, memory)
    draft.findings += conflict_findings(intent, snapshot, table.pins)
    draft.findings += mtu_findings(intent, snapshot)
    draft.findings += promiscuity_findings(intent, snapshot)
    draft.findings += list(coverage_findings(intent, snapshot, draft.findings))
    made = Plan(tuple(filter(scope.covers, draft.changes)), tuple(draft.findings))
    if known.cut:
        return made
    there = (guest for guest in intent.ports if guest.port in found.ports)
    asks = {
        guest.port for guest in there if not guest.managed or _asks_first(guest, found.ports[guest.port], known, closed)
    }
    return harmless(made, intent, found, owned, asks, whole=draft.changes)


def _unread_domains(intent: Intent) -> list[str]:
    """The domains of which nothing is known but that they run here."""
    known = {guest.domain for guest in intent.ports} | {nic.domain for nic in intent.portless}
    reported = (finding for finding in intent.findings if finding.code is Code.UNREADABLE_XML)
    return sorted({finding.domain for finding in reported if finding.domain} - known)


def _beside_unread(
    guests: Iterable[GuestPort], intent: Intent, snapshot: Snapshot, table: Table, draft: Draft
) -> Iterator[GuestPort]:
    """The ``guests`` without those whose address a guest may have whose XML is not known: these are reported."""
    unread = _unread_domains(intent)
    if not unread:
        yield from guests
        return
    roles = roles_of(snapshot.ports.values(), {guest.port for guest in intent.ports})
    taps = {name for name, role in roles.items() if role is Role.TAP}
    names = first_few(unread, _FEW)
    for guest in guests:
        entry = next(_on_taps(guest, taps, table), None)
        if entry is None:
            yield guest
            continue
        draft.report(
            Code.UNREADABLE_XML,
            guest,
            f"{guest.port} of {guest.domain} is left as it is: {entry.mac} has a static entry on {entry.port}, which "
            f"may be the tap of a guest whose XML is not known ({names})",
            mac=entry.mac,
            vid=entry.vid,
        )


def _on_taps(guest: GuestPort, taps: set[str], table: Table) -> Iterator[Entry]:
    for mac in guest.macs:
        for entry in table.fdb.of_mac(guest.bridge, mac).values():
            pinned = entry.sticky or table.pins.of(Pin.AUTO, guest.bridge) is Pin.STATIC
            if entry.port in taps and entry.state is EntryState.STATIC and pinned:
                yield entry


def _shares_its_own_address(guest: GuestPort, owned: Ownership, snapshot: Snapshot) -> bool:
    """What is stacked on the bridge has the guest's own address in a VID of its port, and no entry keeps frames for it.

    Both get them as long as they are flooded: closed, the port would get none there. A local entry keeps them, and one
    that another guest has a right to. Any other goes, or ages.
    """
    mac = guest.macs[0]
    kept = {vid for vid, entry in snapshot.fdb.of_mac(guest.bridge, mac).items() if entry.state is EntryState.LOCAL}
    denied = {
        vid for each, vid in owned.others[guest] if each == mac and (guest.bridge, mac, vid) not in owned.rightful
    }
    return any(vid in denied and vid not in kept for vid in snapshot.deciding_vids(guest.port))


def _is_reached_closed(guest: GuestPort, owned: Ownership, snapshot: Snapshot, table: Table) -> bool:
    """The entries that a running guest needs are there: its port can be closed by itself."""
    deciding = set(snapshot.deciding_vids(guest.port))
    return all(
        table.has_static(guest, mac, vid)
        for mac, vids in owned.vids[guest].items()
        for vid in deciding.intersection(vids)
    )


def _asks_first(guest: GuestPort, port: BridgePort, known: Known, closed: Collection[str]) -> bool:
    """The port is closed only if that cuts off no address that is in use behind it (docs/adr/0015).

    That is one which was not closed yet. And lock='yes' has said already that no other address may be used there.
    """
    return port.auto and _not_closed_yet(guest, known, closed)


def _not_closed_yet(guest: GuestPort, known: Known, closed: Collection[str]) -> bool:
    return not known.cut and not guest.policy.lock and guest.port not in closed


def _known_elsewhere(guest: GuestPort, owned: Ownership, table: Table) -> bool:
    """Another port holds, or is about to get, an entry for the guest.

    libvirt's own add, with NLM_F_EXCL, would come to nothing there. An entry that this very plan drops is no exception:
    until it is gone, CPUs that start would find the port closed and no entry put. So the port is opened first, and the
    next look closes it (docs/adr/0005).
    """
    places = {(guest.bridge, mac, vid) for mac, vids in owned.vids[guest].items() for vid in vids}
    entries = (entry for mac in owned.vids[guest] for entry in table.fdb.of_mac(guest.bridge, mac).values())
    found = any(entry.port != guest.port and (guest.bridge, *entry.key) in places for entry in entries)
    return found or any(place in owned.rightful for place in places)


def _lacks_a_refused_entry(
    guest: GuestPort,
    owned: Ownership,
    refused: Mapping[str, Collection[tuple[str, int]]],
    locked: Collection[str],
    snapshot: Snapshot,
    table: Table,
) -> bool:
    """A running guest lacks an entry that was just refused: only an open port brings it frames.

    No guest may open a port by what it sends. So only an entry counts that no frame can move and that is in writing.
    And a lock stays, be it asked for or an administrator's: an open port takes frames from any address.
    """
    of_port = refused.get(guest.port)
    if not of_port or not table.is_sticky(guest) or table.lacks(Feature.STICKY):
        return False
    stays = guest.policy.lock or (snapshot.ports[guest.port].flags.locked and guest.port not in locked)
    if stays or guest.policy.guest_mac is GuestMac.FOLLOW:
        return False
    deciding = set(snapshot.deciding_vids(guest.port))
    return any(
        not table.has_static(guest, mac, vid)
        for mac, vids in owned.vids[guest].items()
        if mac not in guest.roaming and mac not in guest.shared
        for vid in deciding.intersection(vids)
        if (mac, vid) in of_port
    )


def _report_unmanaged_duplicates(intent: Intent, owned: Ownership, snapshot: Snapshot, draft: Draft) -> None:
    """Running guests that are left to the kernel and have the MAC of a managed one: their frames go to that one."""
    holders = {
        (guest.bridge, mac, vid): guest
        for guest, vids in owned.vids.items()
        if guest.running
        for mac in vids
        for vid in snapshot.deciding_vids(guest.port)
        if (mac, vid) not in owned.others[guest]
    }
    for guest in intent.ports:
        if guest.managed or not guest.running or snapshot.port_on(guest.bridge, guest.port) is None:
            continue
        own = guest.macs[0]  # what else it is allowed is the business of a manager
        places = [(own, vid) for vid in snapshot.deciding_vids(guest.port)]
        rivals = {rival: place for place in places if (rival := holders.get((guest.bridge, *place))) is not None}
        report_duplicates(guest, rivals, draft)
