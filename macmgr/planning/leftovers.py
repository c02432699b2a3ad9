"""Static entries on an uplink that nothing here asks for: they cut a guest off when it comes to this host. Pure.

libvirt leaves one behind when a guest moves away: the guest's first frame from its new host moves the entry to the
uplink, and there it is static for ever. An administrator may want one; so it is reported, with what deletes it, and an
apply leaves it. What a control plane put is none. What another finding reports is left to that one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from macmgr.model.changes import DeleteEntry, bridge_command
from macmgr.model.findings import Code, Command, Finding
from macmgr.model.intent import Intent
from macmgr.model.roles import uplinks_of
from macmgr.model.snapshot import BridgePort, Entry, EntryState, Snapshot
from macmgr.planning.draft import Table

MANY = 8  # addresses of one port that are reported one by one
_TOLD = (Code.STOLEN_ENTRY, Code.STALE_ENTRY, Code.MISSING_ENTRY)


def leftover_findings(intent: Intent, snapshot: Snapshot, table: Table, told: Iterable[Finding]) -> Iterator[Finding]:
    """For each uplink of a managed bridge."""
    known = {(finding.bridge, finding.mac) for finding in told if finding.code in _TOLD}
    guests = {guest.port for guest in intent.ports}
    users = {(guest.bridge, mac): guest for guest in intent.ports for mac in guest.macs}
    ports = [port for port in snapshot.ports.values() if port.bridge in intent.managed_bridges]
    for uplink in uplinks_of(ports, guests):
        if uplink.kind == "vxlan":
            continue  # whoever puts an entry there knows of other hosts
        filtering = snapshot.bridges[uplink.bridge].vlan_filtering
        found: dict[str, list[Entry]] = {}
        for entry in table.of_port(uplink.name):
            left = entry.state is EntryState.STATIC and not entry.extern_learn and not table.stranded(entry)
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
        return (), f"see who behind {uplink.name} has {mac}: without the entry, who has it is cut off there"
    if entry.vid:
        return (tuple(bridge_command(DeleteEntry(uplink.name, mac, entry.vid))),), ""
    others = (each for each in table.of_mac(uplink.bridge, mac).values() if each.port == uplink.name and each.vid)
    if any(each.state is EntryState.LOCAL or each.extern_learn for each in others):
        return (), f"see who put the other entries for {mac} on {uplink.name}: the one in VID 0 goes only with them"
    # the request without a VID is one for all VIDs of the port, as the one that put it was (br_fdb_add)
    return (tuple(bridge_command(DeleteEntry(uplink.name, mac, None))),), ""
