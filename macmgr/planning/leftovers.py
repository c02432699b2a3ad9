"""Finds static entries that nothing asks for: on an uplink, or in a VID that their port has lost. Pure.

libvirt leaves one on the uplink when a guest moves away: the guest's first frame from its new host moves the entry
there, and there it is static for ever. It cuts the guest off when it comes to this host. An administrator may want one;
so it is reported, with what deletes it, and an apply leaves it. What a control plane put is none, and what another
finding reports is reported there.

A VID that is taken off a port takes the learned entries along and leaves the static ones (br_fdb_delete_by_port).
Nobody can delete them by name after that (br_fdb_delete asks for the port's VLAN: EINVAL), and a frame in that VID
which finds one goes nowhere. What clears one, and nothing else, is a put of the same MAC on another port that carries
the VID, which moves the entry there, and its deletion there. For that a port is taken that is no guest's: frames to the
MAC go there for a moment, as they do when they are flooded. Where there is none, what clears the entry is a flush by
port, VID and state, for all MACs at once. A kernel that leaves no such entry behind has none to be cleared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from macmgr.model.changes import DeleteEntry, SetEntries, bridge_command
from macmgr.model.findings import Code, Command, Finding, Repair
from macmgr.model.intent import Intent
from macmgr.model.roles import Role, roles_of
from macmgr.model.snapshot import BridgePort, Entry, EntryState, Feature, Snapshot
from macmgr.planning.draft import Draft, Stranded, Table

MANY = 8  # addresses of one port that are reported one by one
_REPORTED = (Code.STOLEN_ENTRY, Code.STALE_ENTRY, Code.MISSING_ENTRY, Code.ADDRESS_IN_USE)


def leftover_findings(intent: Intent, snapshot: Snapshot, table: Table, so_far: Iterable[Finding]) -> Iterator[Finding]:
    known = {(finding.bridge, finding.mac) for finding in so_far if finding.code in _REPORTED}
    guests = {guest.port for guest in intent.ports}
    users = {(guest.bridge, mac): guest for guest in intent.ports for mac in guest.macs}
    ports = [port for port in snapshot.ports.values() if port.bridge in intent.managed_bridges]
    roles = roles_of(ports, guests)
    for uplink in ports:
        if roles[uplink.name] is not Role.UPLINK:
            continue  # who puts entries on a tunnel knows of other hosts
        filtering = snapshot.bridges[uplink.bridge].vlan_filtering
        found: dict[str, list[Entry]] = {}
        for entry in table.fdb.of_port(uplink.name):
            left = entry.state is EntryState.STATIC and not table.stranded(entry)
            left = left and not snapshot.by_control_plane(entry)
            looked_up = bool(entry.vid) == filtering
            if left and looked_up and (uplink.bridge, entry.mac) not in known:
                found.setdefault(entry.mac, []).append(entry)
        for entry in [entry for entries in list(found.values())[:MANY] for entry in entries]:
            guest = users.get((uplink.bridge, entry.mac))
            what = f"{uplink.name} has a static entry for {entry.mac} that nothing here asks for: "
            if guest is None or guest.port not in snapshot.ports or entry.vid not in snapshot.deciding_vids(guest.port):
                domain = None
                what += "a guest with that address is cut off when it comes to this host"
            else:
                domain = guest.domain
                what += f"{domain}, which has that address on {guest.port}, gets no frames for it"
            mends, note = _cleared(uplink, entry, table)
            yield Finding(
                Code.LEFT_ON_UPLINK,
                what,
                uplink.bridge,
                uplink.name,
                domain,
                entry.mac,
                entry.vid,
                mends,
                note,
            )
        if len(found) > MANY:
            what = f"{uplink.name} has static entries for {len(found) - MANY} more addresses that nothing here asks for"
            yield Finding(Code.LEFT_ON_UPLINK, what, uplink.bridge, uplink.name)


def _cleared(uplink: BridgePort, entry: Entry, table: Table) -> tuple[tuple[Command, ...], str]:
    """The command that deletes the entry, and in VID 0 its copies in the port's VIDs with it; or words.

    A host on the LAN that has the address is reached by flooding until it speaks, but not where the port floods
    nothing, or takes frames only from addresses that have an entry.
    """
    mac = entry.mac
    if not uplink.flags.unicast_flood or uplink.flags.locked:
        return (), f"see who uses {mac} behind {uplink.name}: its user is cut off there without the entry"
    if entry.vid:
        return (tuple(bridge_command(DeleteEntry(uplink.name, mac, entry.vid))),), ""
    others = (each for each in table.fdb.of_mac(uplink.bridge, mac).values() if each.port == uplink.name and each.vid)
    if any(each.state is EntryState.LOCAL or each.extern_learn for each in others):
        return (), f"see who put the other entries for {mac} on {uplink.name}: the one in VID 0 goes only with them"
    # the request without a VID is one for all VIDs of the port, as the one that put it was (br_fdb_add)
    return (tuple(bridge_command(DeleteEntry(uplink.name, mac, None))),), ""


_FOR_THAT = (Role.DUMMY, Role.UPLINK)  # but no tunnel: what is put there, a control plane hears of


def plan_stranded(
    rightful: Collection[tuple[str, str, int]],
    taps: Collection[str],
    snapshot: Snapshot,
    table: Table,
    draft: Draft,
) -> None:
    """Clear them where nothing else goes along; else report how it is done by hand. ``taps`` are all guests' ports."""
    places: dict[tuple[str, int], dict[str, Stranded]] = {}
    for each in draft.stranded:
        places.setdefault((each.entry.port, each.entry.vid), {}).setdefault(each.entry.mac, each)
    others = _Others(snapshot, taps)
    flushed = _flushed_with({port for port, _ in places}, table)
    found: dict[tuple[Stranded, str | None, str, bool], list[Entry]] = {}
    for (port, vid), at_place in places.items():
        bridge, domain, can = next(iter(at_place.values())).bridge, None, True
        by = others.that_carries(bridge, vid)
        if not by:
            there = flushed.get((port, vid), [])
            waiting = [
                entry for entry in there if (bridge, entry.mac, vid) in rightful
            ]  # its guest's put moves it before
            bystanders = [e for e in there if e.mac not in at_place and (bridge, e.mac, vid) not in rightful]
            can = not bystanders and snapshot.lists_port(port) and not table.lacks(Feature.FLUSH)
            # a flush that takes more than one domain's entries is not done for one of them alone
            domains: set[str | None] = {each.domain for each in at_place.values()} | {None for _ in waiting}
            domain = domains.pop() if len(domains) == 1 else None
            if table.lacks(Feature.FLUSH):
                text = (
                    f"the entries of {port} in VID {vid}, which it no longer carries, cannot be cleared: this "
                    "kernel cannot flush a port's entries in one VID; Linux 5.19 can"
                )
                draft.findings.append(Finding(Code.UNSUPPORTED, text, bridge, port, domain, vid=vid))
        for each in at_place.values():
            kind = each.in_any_vid, each.domain if by else domain, by, can
            found.setdefault(kind, []).append(each.entry)
    for (each, domain, by, can), entries in found.items():
        change = SetEntries(
            each.entry.mac,
            tuple(entries),
            (),
            each.bridge,
            domain,
            None if each.why else each.code,
            stranded=True,
            by=by,
            why=each.why,
        )
        if can:
            draft.drops.append(change)
        mends: tuple[Repair, ...] = (change,)
        for entry in entries:
            text = f"{each.text}, in VID {entry.vid}, which {entry.port} no longer carries"
            mends = mends if can else _by_hand(entry, each.bridge)
            draft.report_at(each.code, text, bridge=each.bridge, domain=each.domain, entry=entry, mends=mends)


class _Others:
    """The ports by which an entry can be cleared."""

    def __init__(self, snapshot: Snapshot, taps: Collection[str]) -> None:
        self._snapshot, self._taps = snapshot, taps
        self._of_bridge: dict[str, list[tuple[BridgePort, frozenset[int]]]] = {}

    def that_carries(self, bridge: str, vid: int) -> str:
        """A port of the bridge that carries the VID and forwards, and is no guest's; empty where there is none."""
        if bridge not in self._of_bridge:
            ports = [port for port in self._snapshot.ports.values() if port.bridge == bridge]
            roles = roles_of(ports, self._taps)
            self._of_bridge[bridge] = [
                (port, frozenset(port.vids))
                for port in sorted(ports, key=lambda port: (roles[port.name] is not Role.DUMMY, port.ifindex))
                if port.up and port.forwarding and roles[port.name] in _FOR_THAT
            ]
        return next((port.name for port, vids in self._of_bridge[bridge] if vid in vids), "")


def _flushed_with(ports: Iterable[str], table: Table) -> dict[tuple[str, int], list[Entry]]:
    """The entries that a flush of each port and VID would take; a port that was a trunk has thousands."""
    found: dict[tuple[str, int], list[Entry]] = {}
    for port in ports:
        for entry in table.fdb.of_port(port):
            if entry.state is EntryState.STATIC and not entry.extern_learn:
                found.setdefault((port, entry.vid), []).append(entry)
    return found


def _by_hand(entry: Entry, bridge: str) -> tuple[Command, ...]:
    """Commands for every kernel that put no guest into another VLAN: a port for a moment, which takes the entry along.

    With the highest address it does not become the bridge's, and with that MTU it does not lower the bridge's.
    """
    name, vid = "macmgr-tmp", str(entry.vid)
    return (
        ("ip", "link", "add", name, "address", "fe:ff:ff:ff:ff:fe", "mtu", "65535", "type", "dummy"),
        ("ip", "link", "set", "dev", name, "master", bridge),
        ("bridge", "vlan", "add", "dev", name, "vid", vid),
        ("bridge", "fdb", "replace", entry.mac, "dev", name, "vlan", vid, "master", "static"),
        ("ip", "link", "del", name),
    )
