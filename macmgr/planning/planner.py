"""Plans the changes that bring the snapshot to the intent, and reports what is wrong in words.

Pure. The order of the changes is the safety of the guests: open what must be open, put entries, close learning and
unicast flood, drop what is stale. A wanted MAC that was reachable stays reachable after every single step, because
a port floods until its entry is there, and an entry is moved by one replace, never deleted and added.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from macmgr.model.intent import GuestMac, GuestPort, Intent
from macmgr.model.known import NOTHING_KNOWN, Known
from macmgr.model.snapshot import BridgePort, Feature, Snapshot
from macmgr.planning.closing import plan_closed, plan_frozen, plan_open, plan_uplinks, promiscuity_findings
from macmgr.planning.conflicts import conflict_findings, guest_mac_findings, used_elsewhere_findings
from macmgr.planning.draft import Draft, Plan, Table
from macmgr.planning.entries import (
    Places,
    Protected,
    addresses_in_use,
    plan_entries,
    plan_foreign_entries,
    plan_gone,
    plan_lost_entries,
    plan_moved_addresses,
    plan_waiting_entries,
    report_in_use,
)
from macmgr.planning.leftovers import leftover_findings, plan_stranded
from macmgr.planning.ownership import Owned, beside_unread, ownership, report_duplicates
from macmgr.planning.plugged import is_on_its_bridge, plug_findings
from macmgr.planning.reading import coverage_findings
from macmgr.planning.release import plan_releases
from macmgr.planning.remembering import Recalled, recall


def plan(intent: Intent, snapshot: Snapshot, known: Known = NOTHING_KNOWN) -> Plan:
    """The plan that brings ``snapshot`` to ``intent``: empty of changes when they agree."""
    draft = Draft(findings=list(intent.findings))
    table = Table(snapshot, known.lacks)
    recalled = recall(known.memory, intent, snapshot)
    present = [guest for guest in intent.ports if guest.managed and is_on_its_bridge(guest, snapshot, draft)]
    present = list(beside_unread(present, intent, snapshot, table, draft))
    given = ownership(present, intent, snapshot, known, table, draft)
    rightful = {
        (guest.bridge, mac, vid)
        for guest, owned in given.items()
        if guest.running
        for mac, vids in owned.vids.items()
        for vid in vids
    }
    left_alone = {(guest.port, mac) for guest in intent.ports if guest not in given for mac in guest.macs}
    protected = Protected(rightful, {guest.port for guest in given}, left_alone)
    _report_unmanaged_duplicates(intent, given, snapshot, draft)
    refused: dict[str, set[tuple[str, int]]] = {}
    for name, mac, vid in known.refused:
        refused.setdefault(name, set()).add((mac, vid))
    for guest, owned in given.items():
        port = snapshot.ports[guest.port]
        if guest.frozen:
            waits_closed = guest.may_wait_closed and not _known_elsewhere(guest, owned, rightful, table)
            was_refused = _lacks_a_refused_entry(guest, owned, refused, recalled, snapshot, table)
            comes = not was_refused if guest.running else waits_closed
            plan_frozen(guest, owned, port, table, draft, comes=comes)
            continue
        in_use = addresses_in_use(guest, owned, rightful, table) if _asks_first(guest, port, known, recalled) else []
        if guest.running:
            plan_entries(guest, owned, table, draft)
            was_refused = _lacks_a_refused_entry(guest, owned, refused, recalled, snapshot, table)
            if was_refused and not port.flags.open:
                plan_open(guest, port, draft, "its entry cannot be put")
            elif in_use:
                report_in_use(guest, in_use, draft)
            elif owned.alive and _not_closed_yet(guest, known, recalled):  # an open port learns when the guest has it
                plan_open(guest, port, draft, "an address that it is allowed was learned elsewhere")
            else:
                reached = _is_reached_closed(guest, owned, snapshot, table)
                plan_closed(guest, port, draft, recalled.locked, report_only=was_refused, reached=reached)
            plan_lost_entries(guest, owned, protected, table, draft)
        else:
            plan_waiting_entries(guest, owned, protected, table, draft)
            if guest.may_wait_closed and not _known_elsewhere(guest, owned, rightful, table):
                if in_use:
                    report_in_use(guest, in_use, draft)
                else:
                    plan_closed(guest, port, draft, recalled.locked)
            else:
                plan_open(guest, port, draft, "nobody would put its entry when the guest's CPUs start")
        plan_foreign_entries(guest, owned, rightful, table, draft, keep=in_use)
        plan_moved_addresses(guest, protected, table, draft)
    plan_gone(recalled.gone_macs, intent, protected, table, draft)
    plan_releases(intent, snapshot, known.memory, recalled, rightful, table, draft)
    plan_stranded(rightful, {guest.port for guest in intent.ports}, snapshot, table, draft)
    plan_uplinks(intent, snapshot, recalled.learning_off, table, draft)
    draft.findings += leftover_findings(intent, snapshot, table, tuple(draft.findings))
    draft.findings += plug_findings(intent, snapshot)
    draft.findings += guest_mac_findings(intent)
    draft.findings += used_elsewhere_findings(intent, snapshot, known.memory)
    draft.findings += conflict_findings(intent, snapshot, table.pins)
    draft.findings += promiscuity_findings(intent, snapshot)
    draft.findings += list(coverage_findings(intent, snapshot, draft.findings))
    return Plan(draft.changes, tuple(draft.findings))


def _is_reached_closed(guest: GuestPort, owned: Owned, snapshot: Snapshot, table: Table) -> bool:
    """The entries that a running guest needs are there: its port can be closed by itself."""
    deciding = set(snapshot.deciding_vids(guest.port))
    return all(
        table.has_static(guest, mac, vid) for mac, vids in owned.vids.items() for vid in deciding.intersection(vids)
    )


def _asks_first(guest: GuestPort, port: BridgePort, known: Known, recalled: Recalled) -> bool:
    """The port is closed only if that cuts off no address that is in use behind it (docs/adr/0015).

    That is one which was not closed yet. And lock='yes' has said already that no other address may be used there.
    """
    return port.auto and _not_closed_yet(guest, known, recalled)


def _not_closed_yet(guest: GuestPort, known: Known, recalled: Recalled) -> bool:
    return not known.cut and not guest.policy.lock and guest.port not in recalled.closed_once


def _known_elsewhere(guest: GuestPort, owned: Owned, rightful: Places, table: Table) -> bool:
    """Another port holds, or is about to get, an entry for the guest.

    libvirt's own add, with NLM_F_EXCL, would come to nothing there. An entry that this very plan drops is no exception:
    until it is gone, CPUs that start would find the port closed and no entry put. So the port is opened first, and the
    next look closes it (docs/adr/0005).
    """
    places = {(guest.bridge, mac, vid) for mac, vids in owned.vids.items() for vid in vids}
    entries = (entry for mac in owned.vids for entry in table.of_mac(guest.bridge, mac).values())
    found = any(entry.port != guest.port and (guest.bridge, *entry.key) in places for entry in entries)
    return found or any(place in rightful for place in places)


def _lacks_a_refused_entry(
    guest: GuestPort,
    owned: Owned,
    refused: Mapping[str, Collection[tuple[str, int]]],
    recalled: Recalled,
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
    locked = guest.policy.lock or (snapshot.ports[guest.port].flags.locked and guest.port not in recalled.locked)
    if locked or guest.policy.guest_mac is GuestMac.FOLLOW:
        return False
    deciding = set(snapshot.deciding_vids(guest.port))
    return any(
        not table.has_static(guest, mac, vid)
        for mac, vids in owned.vids.items()
        if mac not in guest.roaming
        for vid in deciding.intersection(vids)
        if (mac, vid) in of_port
    )


def _report_unmanaged_duplicates(
    intent: Intent, given: Mapping[GuestPort, Owned], snapshot: Snapshot, draft: Draft
) -> None:
    """Running guests that are left to the kernel and have the MAC of a managed one: their frames go to that one."""
    holders = {
        (guest.bridge, mac, vid): guest
        for guest, owned in given.items()
        if guest.running
        for mac in owned.vids
        for vid in snapshot.deciding_vids(guest.port)
        if (mac, vid) not in owned.others
    }
    for guest in intent.ports:
        if guest.managed or not guest.running or snapshot.port_on(guest.bridge, guest.port) is None:
            continue
        own = guest.macs[0]  # what else it is allowed is the business of a manager
        places = [(own, vid) for vid in snapshot.deciding_vids(guest.port)]
        rivals = {rival: place for place in places if (rival := holders.get((guest.bridge, *place))) is not None}
        report_duplicates(guest, rivals, draft)
