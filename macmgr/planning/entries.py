"""Decides which FDB entries a guest's MAC must have, which it may not have, and where none may be left. Pure.

The rules and their reasons are those of the Linux bridge: net/bridge/br_fdb.c (fdb_add_entry, br_fdb_update).
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from macmgr.model.changes import SetEntries
from macmgr.model.findings import Code, Finding
from macmgr.model.intent import GuestPort, Intent, Pin
from macmgr.model.known import PortBefore
from macmgr.model.mac import Patterns, virtual_router
from macmgr.model.snapshot import Entry, EntryState, Feature
from macmgr.phrases import first_few
from macmgr.planning.bonds import let_bond_in
from macmgr.planning.collisions import MANY, serve_many
from macmgr.planning.draft import Draft, Stranded, Table
from macmgr.planning.ownership import Ownership

_SOME = 8  # addresses behind one port that a message names


def plan_entries(guest: GuestPort, owned: Ownership, table: Table, draft: Draft) -> None:
    """One exact static entry for each MAC in each VID that is the guest's, on its port.

    While its network is not active, nobody knows how they are to be pinned: those that are there stay as they are. One
    that is put is pinned as far as it is known, for no frame seen elsewhere is to take it away again.
    """
    why = table.pins.why(guest.bridge) if guest.policy.pin is Pin.AUTO else "policy says pin='static'"
    can_be_sticky = table.is_sticky(guest) and not table.lacks(Feature.STICKY)
    for mac, vids in owned.vids[guest].items():
        sticky = can_be_sticky and mac not in guest.roaming
        plain = "the address may roam" if mac in guest.roaming else why
        have = table.fdb.of_mac(guest.bridge, mac)
        pinned = {vid: have[vid].sticky for vid in have if guest.frozen and table.has_static(guest, mac, vid)}
        wanted = {vid: Entry(mac, vid, guest.port, EntryState.STATIC, pinned.get(vid, sticky)) for vid in vids}
        wrong = {
            vid: problem
            for vid in vids
            if (problem := _problem(f"{mac} of {guest.domain}", wanted[vid], have.get(vid), plain))
        }
        if not wrong:
            continue
        # the kernel has no request for VID 0 alone, so a change of it names every VID of the port
        touched = vids if 0 in wrong else tuple(wrong)
        change = SetEntries(
            mac,
            tuple(have[vid] for vid in touched if vid in have),
            tuple(wanted[vid] for vid in touched),
            guest.bridge,
            guest.domain,
            next(iter(wrong.values()))[0],
        )
        draft.puts.append(change)
        mends = (change,)  # one for all of them: each VID of a trunk is a finding
        for vid, (code, text) in wrong.items():
            stolen = code is Code.STOLEN_ENTRY and mac not in guest.borrowed
            bonded = stolen and any((nic.port, nic.uuid) == (have[vid].port, guest.uuid) for nic in owned.vids)
            note = let_bond_in(guest.domain) if bonded else ""
            draft.report(code, guest, text, mac=mac, vid=vid, mends=mends, note=note)


def _problem(what: str, wanted: Entry, have: Entry | None, plain: str) -> tuple[Code, str] | None:
    """The fault of the entry for a running guest's MAC in one VID, or None. ``plain`` is why none is sticky."""
    if have is None:
        return Code.MISSING_ENTRY, f"{what} has no entry"
    if have.state is EntryState.LOCAL:
        return Code.LOCAL_ENTRY, f"{what} is a local entry on {have.port}: the host swallows the guest's frames"
    if have.port != wanted.port:
        return Code.STOLEN_ENTRY, f"frames for {what} leave through {have.port} instead of {wanted.port}"
    if have.state is EntryState.DYNAMIC:
        return Code.MISSING_ENTRY, f"{what} has no static entry: the one on {have.port} is {have.in_words}"
    if have.sticky and not wanted.sticky:
        return Code.NOT_STICKY, f"the entry for {what} on {have.port} is sticky, but {plain}"
    if wanted.sticky and not have.sticky:
        return Code.NOT_STICKY, f"the entry for {what} on {have.port} is not sticky: one frame seen elsewhere moves it"
    return None


def plan_waiting_entries(guest: GuestPort, owned: Ownership, table: Table, draft: Draft) -> None:
    """No entry for a guest whose CPUs do not run here: it would swallow the frames for where the guest does run."""
    for mac in owned.vids[guest]:
        # no put clears extern_learn, so a static entry on the guest's own port is ours even with that flag
        on_port = [entry for entry in table.fdb.of_mac(guest.bridge, mac).values() if entry.port == guest.port]
        ours = [each for each in on_port if each.state is EntryState.STATIC or _droppable(each, table)]
        reached = [each for each in on_port if not table.stranded(each)]  # no deletion takes the others along
        here = _deletable([each for each in ours if not table.stranded(each)], reached, table)
        early = [entry for entry in here if entry.state is EntryState.STATIC]
        text = f"{guest.domain} is {guest.state}, and the entry for {mac} is on {guest.port} already: "
        text += f"frames for it are lost if {guest.domain} runs on another host"
        draft.stranded += _stranded(ours, guest.bridge, guest.domain, Code.EARLY_ENTRY, text, table)
        if early:
            change = _drop(here, guest.bridge, guest.domain, Code.EARLY_ENTRY)
            draft.drops.append(change)
            mends = (change,)
            for entry in early:
                draft.report(Code.EARLY_ENTRY, guest, text, mac=mac, vid=entry.vid, mends=mends)
        elsewhere = [entry for entry in table.fdb.of_mac(guest.bridge, mac).values() if entry.port != guest.port]
        _plan_stale(elsewhere, guest.bridge, guest.domain, owned, table, draft)
        _report_control_planes(elsewhere, guest, table, draft)


def plan_lost_entries(guest: GuestPort, owned: Ownership, table: Table, draft: Draft) -> None:
    """No copy of a running guest's MAC stays on another port in a VID that this port has lost."""
    for mac in owned.vids[guest]:
        lost = (e for e in table.fdb.of_mac(guest.bridge, mac).values() if e.port != guest.port and table.stranded(e))
        _plan_stale(lost, guest.bridge, guest.domain, owned, table, draft)


def addresses_in_use(guest: GuestPort, owned: Ownership, table: Table) -> list[str]:
    """The addresses that were learned behind a guest's port and that nothing gives it: VRRP, nested guests, containers.

    They are reached because the port is open, and by nothing else.
    """
    found = _foreign_entries(guest, owned, table)
    return [
        mac
        for mac, entries in found.items()
        if mac not in guest.macs and mac not in guest.moved
        if any(each.state is EntryState.DYNAMIC and not each.extern_learn for each in entries)
    ]


def report_in_use(guest: GuestPort, macs: Sequence[str], owned: Ownership, draft: Draft) -> None:
    """Note that a port stays open, for closing it would cut off addresses that are in use behind it."""
    bonded = [mac for mac in macs if owned.bonded.get((guest.bridge, mac)) == guest.domain]
    for mac in bonded:
        draft.report(
            Code.LEARNED_ON_MANAGED_PORT,
            guest,
            f"{mac}, the address of another NIC of {guest.domain}, is in use behind {guest.port}",
            mac=mac,
            note=let_bond_in(guest.domain),
        )
    others = [mac for mac in macs if mac not in bonded]
    if len(others) > MANY:
        draft.report(
            Code.LEARNED_ON_MANAGED_PORT,
            guest,
            f"{len(others)} addresses are in use behind {guest.port} that nothing gives to {guest.domain} "
            f"({first_few(others, MANY)}): if the port were closed, nobody would reach them",
            note=serve_many(guest),
        )
    for mac in others if len(others) <= MANY else ():
        draft.report(
            Code.LEARNED_ON_MANAGED_PORT,
            guest,
            f"{mac} is in use behind {guest.port}, but nothing gives it to {guest.domain}: if the port were closed, "
            "nobody would reach it",
            mac=mac,
            note=f"allow {virtual_router(mac) or mac} in the metadata of {guest.domain}, or leave the NIC to the "
            "kernel (manager='kernel')",
        )
    draft.report(
        Code.ADDRESS_IN_USE,
        guest,
        f"{guest.port} of {guest.domain} stays open (learning and unicast flood on): closing it would cut off "
        f"{first_few(macs, _SOME)}, which nothing allows",
        note="allow them, or leave the NIC to the kernel; "
        f"'macmgr apply --cut --domain {shlex.quote(guest.domain)}' closes the port and cuts them off",
    )


def plan_foreign_entries(
    guest: GuestPort, owned: Ownership, table: Table, draft: Draft, *, keep: Collection[str] = ()
) -> None:
    """Drop what else leads to a managed port: static entries that nothing asks for, and addresses learned behind it.

    ``keep`` are those that stay, as the port does that they were learned behind.
    """
    keep = frozenset(keep)  # a guest may send from thousands of addresses
    for mac, entries in _foreign_entries(guest, owned, table).items():
        _report_control_planes(entries, guest, table, draft)
        text = f"{guest.port} of {guest.domain} has a static entry for {mac} that nothing asks for"
        lost = [entry for entry in entries if _droppable(entry, table)]
        draft.stranded += _stranded(lost, guest.bridge, guest.domain, Code.EXTRA_ENTRY, text, table)
        entries = [entry for entry in entries if not table.stranded(entry)]
        droppable = _deletable([entry for entry in entries if _droppable(entry, table)], entries, table)
        static = [entry for entry in droppable if entry.state is EntryState.STATIC]
        learned = [entry for entry in droppable if entry.state is EntryState.DYNAMIC and mac not in keep]
        if not static and not (learned and guest.running):
            continue  # a waiting guest's port is open, and an open port learns
        because = Code.EXTRA_ENTRY if static else Code.LEARNED_ON_MANAGED_PORT
        change = _drop([*static, *learned], guest.bridge, guest.domain, because)
        draft.drops.append(change)
        mends = (change,)
        for entry in static:
            draft.report(Code.EXTRA_ENTRY, guest, text, mac=mac, vid=entry.vid, mends=mends)
        text = f"{mac} was learned behind {guest.port}, but nothing gives it to {guest.domain}"
        for entry in learned:
            draft.report(Code.LEARNED_ON_MANAGED_PORT, guest, text, mac=mac, vid=entry.vid, mends=mends)


def _foreign_entries(guest: GuestPort, owned: Ownership, table: Table) -> dict[str, list[Entry]]:
    """The entries that lead to a managed port and that its guest has no right to, by their MAC.

    A copy of the guest's own MAC in a VID that its port carries leads where it must, asked for or not; but not where
    the address is another's.
    """
    foreign: dict[str, list[Entry]] = {}
    macs, moved, patterns = (
        frozenset(guest.macs),
        frozenset(guest.moved),
        Patterns((*guest.policy.allow, *guest.shared)),
    )
    for entry in table.fdb.of_port(guest.port):
        stranded = table.stranded(entry)
        own = entry.mac in macs and (not stranded or not guest.running)  # a waiting guest's are reported elsewhere
        allowed = entry.mac not in moved and patterns.matches(entry.mac)
        own = (own or (allowed and not stranded)) and (entry.mac, entry.vid) not in owned.others[guest]
        if not own and (guest.bridge, entry.mac, entry.vid) not in owned.rightful:
            foreign.setdefault(entry.mac, []).append(entry)
    return foreign


def plan_gone(
    gone_macs: Mapping[tuple[str, str], str],
    intent: Intent,
    left: Iterable[PortBefore],
    owned: Ownership,
    table: Table,
    draft: Draft,
) -> None:
    """No static entry stays for a guest that has left: on the uplink it would cut the guest off when it returns.

    A frame took it there, so it is not sticky: one that is was put there by somebody, and is not the guest's; but for
    those on taps. On the ports that guests have ``left``, all are macmgr's.
    """
    taps, ports = {guest.port for guest in intent.ports}, {each.port for each in left}
    for (bridge, mac), domain in gone_macs.items():
        ours = bridge in intent.managed_bridges
        entries = table.fdb.of_mac(bridge, mac).values()
        stale = [e for e in entries if e.port in ports or (ours and (not e.sticky or e.port in taps))]
        _plan_stale(stale, bridge, domain, owned, table, draft)


def plan_moved_addresses(guest: GuestPort, owned: Ownership, table: Table, draft: Draft) -> None:
    """A roaming address that has moved on: the kernel moved its entry along, and there it is static for ever."""
    for mac in guest.moved:
        elsewhere = (entry for entry in table.fdb.of_mac(guest.bridge, mac).values() if entry.port != guest.port)
        why = f"it has moved on from {guest.domain}"
        _plan_stale(elsewhere, guest.bridge, guest.domain, owned, table, draft, why)


def _plan_stale(
    entries: Iterable[Entry], bridge: str, domain: str, owned: Ownership, table: Table, draft: Draft, why: str = ""
) -> None:
    by_port: dict[str, list[Entry]] = {}
    for entry in entries:
        if not owned.protects(bridge, entry):
            by_port.setdefault(entry.port, []).append(entry)
    for port, on_port in by_port.items():
        stale = [entry for entry in on_port if entry.state is EntryState.STATIC and _droppable(entry, table)]
        text = f"{port} has a static entry for {on_port[0].mac}, but {why or f'{domain} does not run there'}"
        draft.stranded += _stranded(stale, bridge, domain, Code.STALE_ENTRY, text, table)
        found = _deletable([entry for entry in stale if not table.stranded(entry)], on_port, table)
        if not found:
            continue
        change = _drop(found, bridge, domain, Code.STALE_ENTRY)
        draft.drops.append(change)
        text = f"{port} has a static entry for {found[0].mac}, but {why or f'{domain} does not run here'}"
        mends = (change,)
        for entry in found:
            draft.report_at(Code.STALE_ENTRY, text, bridge=bridge, domain=domain, entry=entry, mends=mends)


def _stranded(
    entries: Iterable[Entry], bridge: str, domain: str, code: Code, text: str, table: Table
) -> Iterator[Stranded]:
    """The static ones of ``entries`` in VIDs that their port has lost; what was learned there, the kernel dropped."""
    for entry in entries:
        if entry.state is EntryState.STATIC and not entry.extern_learn and table.stranded(entry):
            yield Stranded(entry, bridge, domain, code, text)


def _report_control_planes(entries: Iterable[Entry], guest: GuestPort, table: Table, draft: Draft) -> None:
    """Entries that an external control plane has put stay as they are, and are reported once for each port."""
    for entry in {each.port: each for each in entries if table.by_control_plane(each)}.values():
        whose = f", the address of {guest.domain}," if entry.mac in guest.macs else ""
        text = f"{entry.port} has an entry for {entry.mac}{whose} from an external control plane ({entry.in_words})"
        draft.findings.append(
            Finding(
                Code.FOREIGN_ENTRY, f"{text}: it is left as it is", guest.bridge, entry.port, guest.domain, entry.mac
            )
        )


def _droppable(entry: Entry, table: Table) -> bool:
    """Not the host's own address, and not an external control plane's entry."""
    return entry.state is not EntryState.LOCAL and not table.by_control_plane(entry)


def _deletable(entries: list[Entry], on_port: list[Entry], table: Table) -> list[Entry]:
    """Those of ``entries`` that can be deleted alone; ``on_port`` is all that the port has of the MAC.

    VID 0 goes only together with every VID of the port (br_fdb_delete): it stays for a copy that is not ours, and for
    one by which somebody is reached.
    """
    going = frozenset(entries)
    staying = [entry for entry in on_port if entry not in going]
    others = any(not _droppable(entry, table) or table.is_alive(entry) for entry in staying)
    return [entry for entry in entries if entry.vid or not others]


def _drop(entries: list[Entry], bridge: str, domain: str, because: Code) -> SetEntries:
    return SetEntries(entries[0].mac, tuple(entries), (), bridge, domain, because)
