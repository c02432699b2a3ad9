"""Decides when a guest's port is closed (learning and unicast flood off), and reports what open ones cost. Pure.

Only unicast flood is ever touched: multicast flood carries neighbour discovery, broadcast flood ARP and DHCP.

The kernel takes a port out of promiscuous mode only when VLAN filtering is on and no other port learns or floods
(net/bridge/br_if.c, br_manage_promisc). Uplinks are never touched for it: each cause is a finding. So is an
uplink that is too narrow for its guests. A bridge is no router: it drops a packet that is too long for a port, and
answers nothing (net/core/dev.c, is_skb_forwardable).
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator
from dataclasses import replace

from macmgr import virsh
from macmgr.model.changes import Change, SetEntries, SetFlags
from macmgr.model.findings import Code, Finding
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.roles import roles_of, uplinks_of
from macmgr.model.snapshot import Bridge, BridgePort, Feature, Snapshot
from macmgr.phrases import first_few
from macmgr.planning.draft import Draft, Table
from macmgr.planning.entries import plan_entries
from macmgr.planning.ownership import Ownership

_FEW = 5  # ports that a message names
_TAG = 4  # bytes that the kernel grants each frame for a VLAN tag


def plan_closed(
    guest: GuestPort,
    port: BridgePort,
    draft: Draft,
    ours: Collection[str] = (),
    *,
    report_only: bool = False,
    reached: bool = True,
) -> None:
    """Learning and unicast flood off, and ``locked`` on where policy asks for it and an entry is there to allow it.

    A lock that policy does not ask for goes where it is ``ours``: not there before macmgr managed the port. One that
    was stays. ``report_only``: the port may not be closed now, and no fix closes it. ``reached``: the entries
    are there without which a port that is closed by itself is cut off; where they are not, they are put first.
    """
    flags = port.flags
    lock = guest.policy.lock and guest.running
    if flags.locked and not guest.policy.lock and port.name in ours:
        unlocked = replace(flags, locked=False)
        unlock = SetFlags(port.name, flags, unlocked, guest.bridge, guest.domain, Code.STILL_LOCKED)
        draft.report(
            Code.STILL_LOCKED,
            guest,
            f"{port.name} of {guest.domain} takes frames only from addresses that have an entry, but its policy no "
            "longer asks for that",
            mends=(unlock,),
        )
        draft.opens.append(unlock)
        flags = unlocked
    problems = []
    if flags.learning:
        problems.append((Code.LEARNING_ON, "learns source addresses", replace(flags, learning=False)))
    if flags.unicast_flood:
        without = replace(flags, unicast_flood=False)
        problems.append((Code.FLOOD_ON, "gets every frame with an unknown destination", without))
    if lock and flags.locked is False:
        text = "accepts frames from any source address, but policy says lock='yes'"
        problems.append((Code.UNLOCKED, text, replace(flags, locked=True)))
    if lock and flags.locked is None:
        text = f"lock='yes' is asked for {port.name} of {guest.domain}, but this kernel lacks locked ports (Linux 5.18)"
        draft.report(Code.UNSUPPORTED, guest, text)
    first = () if reached else _puts_on(port, draft)
    for code, text, better in problems:
        closing = SetFlags(port.name, flags, better, guest.bridge, guest.domain, code)
        stays = "; it stays so: its entry cannot be put, and closed it would be cut off" if report_only else ""
        mends = () if report_only else (*first, closing)
        draft.report(code, guest, f"{port.name} of {guest.domain} {text}{stays}", mends=mends)
    if problems and not report_only:
        locked = flags.locked if flags.locked is None else flags.locked or lock
        closed = replace(flags, learning=False, unicast_flood=False, locked=locked)
        draft.closes.append(SetFlags(port.name, flags, closed, guest.bridge, guest.domain, problems[0][0]))


def plan_open(guest: GuestPort, port: BridgePort, draft: Draft, why: str) -> None:
    """A port whose entry is not there when it is needed: open is slow, closed without an entry is an outage."""
    flags = port.flags
    opened = flags.opened()
    if opened == flags:
        return
    change = SetFlags(port.name, flags, opened, guest.bridge, guest.domain, Code.CLOSED_WITHOUT_ENTRY)
    draft.report(
        Code.CLOSED_WITHOUT_ENTRY,
        guest,
        f"{port.name} of {guest.domain} ({guest.state}) is closed, and {why}: it would be cut off",
        mends=(change,),
    )
    draft.opens.append(change)


def plan_frozen(
    guest: GuestPort, owned: Ownership, port: BridgePort, table: Table, draft: Draft, *, comes: bool
) -> None:
    """The port of a NIC whose network is not active: what its portgroup says is not to be known then (docs/adr/0004).

    The network's metadata may keep macmgr from that very port, allow its guest further addresses, or say how its
    entries are pinned. So the port stays as it is: open or closed, locked or not, with the entries that lead to it. An
    open port needs nothing. A closed one needs its guest's entry, or is opened where none ``comes``.

    A locked port stays locked: open, it would take frames from any address.
    """
    if port.flags.open:
        return
    if guest.running:
        plan_entries(guest, owned, table, draft)
    there = all(table.has_static(guest, mac, vid) for mac, vids in owned.vids[guest].items() for vid in vids)
    if not there and not comes and not port.flags.locked:
        plan_open(guest, port, draft, "nobody puts its entry")


def plan_uplinks(intent: Intent, snapshot: Snapshot, learning_off: Collection[str], table: Table, draft: Draft) -> None:
    """Turn learning off on an uplink where the kernel has no sticky entries (before 4.20): then no frame moves one.

    It is safe where the uplink is the only port with unicast flood on (what was not learned still goes there, and
    nowhere else), and no entry of a guest is meant to be moved by a frame. That is judged by what is read, so it comes
    after the taps were closed; and it is taken back: ``learning_off`` are the uplinks that macmgr made so.
    """
    guests = {guest.port: guest for guest in intent.ports}
    pinned = {guest.bridge for guest in intent.ports if guest.managed and table.is_sticky(guest)}
    moving = {guest.bridge for guest in intent.ports if guest.managed and (guest.roaming or not table.is_sticky(guest))}
    closing = {change.port for change in draft.closes if isinstance(change, SetFlags)}
    earlier = (snapshot.ports[name].bridge for name in learning_off)  # their bridge may be the kernel's by now
    for bridge in dict.fromkeys([*intent.managed_bridges, *earlier]):
        ports = [port for port in snapshot.ports.values() if port.bridge == bridge]
        roles = roles_of(ports, guests)
        flooding = {port.name for port in ports if port.flags.unicast_flood}
        bare = table.lacks(Feature.STICKY) and bridge in pinned
        for port in ports:
            if port.name in guests:
                continue
            flags = port.flags
            may = bare and bridge not in moving
            if may and roles[port.name].leads_out and flags.learning and flooding == {port.name}:
                quiet = replace(flags, learning=False)
                draft.closes.append(SetFlags(port.name, flags, quiet, bridge, because=Code.UNSUPPORTED))
            elif port.name in learning_off and not (may and flooding - closing == {port.name}):
                learns = replace(flags, learning=True)
                draft.opens.append(SetFlags(port.name, flags, learns, bridge, because=Code.UNSUPPORTED))
        if bare:
            learning = sorted(port.name for port in ports if port.name not in guests and port.flags.learning)
            held = "no uplink learns instead, so no frame moves a guest's entry"
            if learning:
                held = f"one frame seen on {' or '.join(learning)} moves a guest's entry"
            text = f"pin='sticky' is asked for on {bridge}, but this kernel lacks sticky entries (Linux 4.20): {held}"
            draft.findings.append(Finding(Code.UNSUPPORTED, text, bridge))


def _puts_on(port: BridgePort, draft: Draft) -> tuple[Change, ...]:
    """The entries that are put on a port: closed before them, it would cut its guest off."""
    puts = (put for put in draft.puts if isinstance(put, SetEntries))
    return tuple(put for put in puts if any(entry.port == port.name for entry in put.after))


def promiscuity_findings(intent: Intent, snapshot: Snapshot) -> Iterator[Finding]:
    """For each managed bridge: is VLAN filtering off, which ports keep the uplink promiscuous, which uplinks are."""
    guests = {guest.port: guest for guest in intent.ports}
    by_bridge: dict[str, list[BridgePort]] = {}
    for port in snapshot.ports.values():
        by_bridge.setdefault(port.bridge, []).append(port)
    for name in intent.managed_bridges:
        bridge = snapshot.bridges.get(name)
        if bridge is None:
            continue
        ports = by_bridge.get(name, [])
        if not bridge.vlan_filtering:
            yield Finding(
                Code.VLAN_FILTERING_OFF,
                f"VLAN filtering is off on {name}: the kernel keeps every port promiscuous",
                name,
                mends=(("macmgr", "apply", "--vlan-filtering", name),),  # it asks first who would be cut off
            )
        for port in ports:
            guest = guests.get(port.name)
            if guest is not None and port.auto and (guest.frozen or not guest.managed):
                yield Finding(
                    Code.UNMANAGED_AUTO_PORT,
                    f"{port.name} of {guest.domain} is {_manager(guest)} and learns or floods: the uplink must stay "
                    "promiscuous",
                    name,
                    port.name,
                    guest.domain,
                    mends=(virsh.start_network(guest.network),) if guest.frozen else (),
                    note=""
                    if guest.frozen
                    else f'mac_table_manager = "libvirt" under [bridge."{name}"], or the attribute on its network',
                )
        for uplink in uplinks_of(ports, guests):
            if uplink.promiscuity:
                yield Finding(
                    Code.UPLINK_PROMISCUOUS,
                    f"{uplink.name} is promiscuous: {_cause(uplink, bridge, ports)}",
                    name,
                    uplink.name,
                )


def mtu_findings(intent: Intent, snapshot: Snapshot) -> Iterator[Finding]:
    """For each uplink of a managed bridge: the running guests whose ports have a larger MTU, as jumbo frames need."""
    mtus: dict[str, dict[str, int]] = {}
    for guest in intent.ports:
        port = snapshot.port_on(guest.bridge, guest.port)
        if port and guest.running and guest.bridge in intent.managed_bridges:
            mtus.setdefault(guest.bridge, {})[f"{guest.port} of {guest.domain}"] = port.relay.mtu
    roles = roles_of(snapshot.ports.values(), {guest.port for guest in intent.ports})
    for uplink in snapshot.ports.values():
        most, theirs = uplink.relay.mtu, mtus.get(uplink.bridge, {})
        above = [f"{who} has {mtu}" for who, mtu in theirs.items() if mtu > most + _TAG]
        if above and uplink.up and roles[uplink.name].leads_out:
            yield Finding(
                Code.MTU,
                f"packets of more than {most} bytes are lost at the uplink {uplink.name}, whose MTU that is: "
                f"{first_few(above, _FEW)}",
                uplink.bridge,
                uplink.name,
                note=f"set <mtu size='{most}'/> in the XML of the NICs or of their network for the guests' next start, "
                "and that MTU inside the guests now; or raise it on the uplink, if its network carries more",
            )


def _manager(guest: GuestPort) -> str:
    if guest.managed:
        return f"left as it is (its network {guest.network} is not active)"
    return "left as it is" if guest.policy.problem else "managed by the kernel"


def _cause(uplink: BridgePort, bridge: Bridge, ports: list[BridgePort]) -> str:
    if not bridge.vlan_filtering:
        return f"VLAN filtering is off on {bridge.name}"
    others = sorted(port.name for port in ports if port.auto and port is not uplink)
    if others:
        return f"{first_few(others, _FEW)} {'learns or floods' if len(others) == 1 else 'learn or flood'}"
    if bridge.promiscuity:
        return f"{bridge.name} itself is promiscuous"
    return (
        "it cannot filter unicast addresses, like veth and tap, or a packet capture or an administrator asks for it; "
        f"'macmgr doctor {shlex.quote(bridge.name)}' says which"
    )
