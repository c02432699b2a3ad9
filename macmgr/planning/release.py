"""Giving ports back to the kernel: the plan from what macmgr made of them to what they were before.

Pure. How one port goes back is in `macmgr.planning.wayback`; here is which ones do, and what else macmgr left.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from macmgr.model.changes import SetEntries
from macmgr.model.findings import Code
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.known import Known, Memory
from macmgr.model.snapshot import BridgePort, Entry, EntryState, Snapshot
from macmgr.planning.draft import Draft, Stranded, Table
from macmgr.planning.planner import Plan
from macmgr.planning.remembered import default_flags, recall, valid_ports
from macmgr.planning.stranded import plan_stranded
from macmgr.planning.wayback import Return, as_remembered, plan_way_back

AS_BEFORE = "as it was before macmgr"
KERNEL_DEFAULT = "the kernel's default, for nothing is remembered"
LIBVIRTS_OWN = "as libvirt makes it, for nothing is remembered"
LEFT_BEHIND = "left by a guest that is gone"


def plan_release(intent: Intent, snapshot: Snapshot, known: Known) -> Plan:
    """The changes that give back every port that is remembered, or bears macmgr's mark; empty when all are.

    Its findings are about entries in VIDs that their port has lost: those that no change clears are left to a person.
    """
    draft, table, memory = Draft(), Table(snapshot, known.lacks), known.memory
    guests = {guest.port: guest for guest in intent.ports if snapshot.port_on(guest.bridge, guest.port)}
    owned = {(guest.bridge, mac) for guest in guests.values() for mac in guest.macs}
    before = {each.port: each for each in valid_ports(memory, intent, snapshot)}
    for port in snapshot.ports.values():
        guest = guests.get(port.name)
        if port.name in before:
            back = as_remembered(port, before[port.name], memory, guest, AS_BEFORE, owned, table)
        elif guest is not None and guest.managed and _bears_the_mark(guest, port, memory, table):
            back = _by_default(port, guest)
        else:
            continue
        plan_way_back(back, guests.keys(), table, draft)
    gone_macs = recall(memory, intent, snapshot).gone_macs
    _plan_left_behind(gone_macs, snapshot, {*guests, *before}, table, draft)
    plan_stranded((), {guest.port for guest in intent.ports}, snapshot, table, draft)
    left = tuple(finding for finding in draft.findings if finding.code is Code.NOT_GIVEN_BACK)
    return Plan((*draft.opens, *draft.puts, *draft.closes, *draft.drops), left)


def _by_default(port: BridgePort, guest: GuestPort) -> Return:
    return Return(
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
    """Whether a port of which nothing is remembered looks like ours: an entry as the policy pins it, or a lock.

    Where there was more in the memory, any may be ours.
    """
    if (port.name, port.ifindex) in memory.given_back:
        return False
    if memory.lost:
        return True
    sticky = table.is_sticky(guest)
    pinned = any(entry.sticky is sticky for mac in guest.macs for entry in table.static_on(port, mac).values())
    return pinned or (guest.policy.lock and bool(port.flags.locked))


def _plan_left_behind(
    gone_macs: Mapping[tuple[str, str], str], snapshot: Snapshot, own: Collection[str], table: Table, draft: Draft
) -> None:
    """Static entries of guests that are gone, elsewhere than on the ports that are ``own``."""
    for (bridge, mac), domain in gone_macs.items():
        by_port: dict[str, list[Entry]] = {}
        for entry in table.of_mac(bridge, mac).values():
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
            draft.drops.append(SetEntries(mac, tuple(found), (), bridge, domain, LEFT_BEHIND))
