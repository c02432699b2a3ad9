"""Decides where a guest may not have an address: it is the host's own, or somebody on the LAN uses it. Pure.

Local entries name the host's addresses: what the kernel adds for the bridge and its ports, and what an administrator or
keepalived adds (`bridge fdb add MAC dev br0 self local`). A local entry on a guest's tap that is not the tap's own
address is a slip (`bridge fdb add` without `static`): it cuts the guest off, and is no address of the host's. What is
stacked on a bridge (a VLAN device, a macvlan, a VRRP VMAC) has addresses there that no entry shows.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from macmgr import virsh
from macmgr.model.findings import Code, Command
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.known import Known
from macmgr.model.mac import virtual_router
from macmgr.model.snapshot import Entry, EntryState, Snapshot
from macmgr.planning.bonds import let_bond_in
from macmgr.planning.draft import Draft, Table
from macmgr.planning.remembering import closed_once

_SOME = 8  # VIDs that a message names
MANY = 3  # further addresses of one NIC that are reported one by one


class HostAddresses:
    """The host's own addresses on all bridges; ``taps`` are the ports of guests."""

    def __init__(self, snapshot: Snapshot, taps: Collection[str]) -> None:
        self._devices = snapshot.own_addresses()
        self._stacked: dict[tuple[str, str], dict[int, str]] = {}
        for (bridge, mac, vid), whose in snapshot.stacked_addresses().items():
            self._stacked.setdefault((bridge, mac), {})[vid] = whose
        self._fdb, self._taps = snapshot.fdb, taps

    def among(self, bridge: str, mac: str, vids: Iterable[int]) -> dict[int, str]:
        """Those of ``vids`` in which an address is the host's, with whose it is in words.

        What is the host's in one VID is so in VID 0: without VLAN filtering that is where each VID is looked up, and a
        request for VID 0 is one for every VID of its port (br_fdb_add).
        """
        if device := self._devices.get((bridge, mac)):
            return dict.fromkeys(vids, device)
        own = {
            vid: f"the host (a local entry on {entry.port})"
            for vid, entry in self._fdb.of_mac(bridge, mac).items()
            if entry.state is EntryState.LOCAL and entry.port not in self._taps
        }
        own |= self._stacked.get((bridge, mac), {})
        if own:
            own.setdefault(0, next(iter(own.values())))
        return {vid: own[vid] for vid in vids if vid in own}


class Barred:
    """The VIDs in which a guest may not have an address because it is the host's, with whose it is in words.

    Nor may it have one, that it is only allowed, while somebody on the LAN uses it: ``alive`` has the uplink by VID. Of
    what was seen behind its own port the daemon knows better. ``fixed`` are those of which a static entry is there: an
    administrator's, if no frame has moved it there from the guest's port. And a NIC's own address that was learned
    behind another NIC of its domain, whose port was never closed, is used there (a bond): ``bonded`` has that port by
    (NIC, MAC).
    """

    def __init__(
        self, guests: Iterable[GuestPort], intent: Intent, snapshot: Snapshot, known: Known, table: Table
    ) -> None:
        taps = {guest.port for guest in intent.ports}
        host = HostAddresses(snapshot, taps)
        self._vids = {
            (guest, mac): barred
            for guest in guests
            for mac in guest.macs
            if (barred := host.among(guest.bridge, mac, (0, *snapshot.ports[guest.port].vids)))
        }
        seen = {(record.port, mac) for record in known.seen for mac in record.fresh}
        self._alive: dict[tuple[GuestPort, str], dict[int, str]] = {}
        self.fixed: set[tuple[GuestPort, str]] = set()
        self.bonded: dict[tuple[GuestPort, str], str] = {}
        kept: dict[tuple[str, str, str], set[str]] = {}
        for each in known.memory.macs:
            kept.setdefault((each.bridge, each.mac, each.domain), set()).add(each.port)
        open_ports = _never_closed(intent, snapshot, known)
        for guest in guests:
            uses = _learned_behind(guest, open_ports, table) if guest.running and not known.cut else {}
            if uses:
                self._alive[guest, guest.macs[0]] = uses
                self.bonded[guest, guest.macs[0]] = next(iter(uses.values()))
            written = frozenset((guest.macs[0], guest.facts.configured_mac, *guest.roaming, *guest.borrowed))
            for mac in guest.macs[1:] if guest.running and not known.cut else ():
                if mac in written or (guest.port, mac) in seen:
                    continue
                ports = kept.get((guest.bridge, mac, guest.domain), set()) if not virtual_router(mac) else set()
                elsewhere = [
                    entry
                    for entry in table.fdb.of_mac(guest.bridge, mac).values()
                    if entry.port not in taps and entry.vid in snapshot.deciding_vids(guest.port)
                    if _is_anothers(entry, ports)
                ]
                if elsewhere:
                    self._alive[guest, mac] = {entry.vid: entry.port for entry in elsewhere}
                if any(entry.state is EntryState.STATIC for entry in elsewhere):
                    self.fixed.add((guest, mac))

    def of(self, guest: GuestPort, mac: str) -> Mapping[int, str]:
        barred, alive = self._vids.get((guest, mac), {}), self._alive.get((guest, mac))
        return {**alive, 0: next(iter(alive.values())), **barred} if alive else barred

    def alive(self, guest: GuestPort, mac: str) -> Mapping[int, str]:
        """The uplinks on which somebody uses an address that the guest is allowed, by VID."""
        return self._alive.get((guest, mac), {})


def _is_anothers(entry: Entry, ports: Collection[str]) -> bool:
    """It was learned there, or somebody has put it. ``ports`` are those on which the guest is known to have had it.

    It may have left one of them behind, and a frame may have moved it from there, if it is not sticky.
    """
    if entry.state is not EntryState.STATIC:
        return entry.state is EntryState.DYNAMIC
    return entry.port not in ports if entry.sticky else not ports


def _never_closed(intent: Intent, snapshot: Snapshot, known: Known) -> dict[str, GuestPort]:
    """The managed NICs of domains with several, whose ports are open and stay so if an address is in use there."""
    closed = closed_once(known.memory, snapshot)
    several = Counter(guest.uuid for guest in intent.ports)
    return {
        guest.port: guest
        for guest in intent.ports
        if several[guest.uuid] > 1 and guest.managed and not guest.policy.lock and guest.port not in closed
        if (port := snapshot.port_on(guest.bridge, guest.port)) is not None and port.auto
    }


def _learned_behind(guest: GuestPort, open_ports: Mapping[str, GuestPort], table: Table) -> dict[int, str]:
    """The ports of the domain's other NICs behind which a NIC's own address was learned, by VID."""
    if guest.port not in open_ports or guest.macs[0] in guest.lent:
        return {}
    learned = table.fdb.of_mac(guest.bridge, guest.macs[0]).values() if open_ports else ()
    return {
        entry.vid: entry.port
        for entry in learned
        if entry.state is EntryState.DYNAMIC and (other := open_ports.get(entry.port)) is not None
        if other is not guest and other.uuid == guest.uuid and guest.macs[0] not in other.macs
    }


def collides(
    guest: GuestPort, barred: Barred, snapshot: Snapshot, owners: Mapping[str, GuestPort], draft: Draft
) -> bool:
    """Report each address that is the host's; true where the guest's own is so wherever the bridge looks it up.

    In the VIDs in which the host has not got it, the guest has it.
    """
    deciding = snapshot.deciding_vids(guest.port)
    for mac in guest.macs:
        alive = barred.alive(guest, mac)
        if other := barred.bonded.get((guest, mac)):
            _report_bonded(guest, mac, other, draft)
        elif alive:
            _report_alive(guest, mac, alive, draft, fixed=(guest, mac) in barred.fixed)
        found = {vid: whose for vid, whose in barred.of(guest, mac).items() if vid in deciding and vid not in alive}
        own, everywhere = mac == guest.macs[0], len(found) == len(deciding)
        if found and (tap := _tap_with(mac, guest.bridge, snapshot, owners)):
            mends, note = _other_address(tap, guest, snapshot)
            draft.report(
                Code.MAC_COLLISION,
                guest,
                f"{tap.port}, the tap of {tap.domain}, has the MAC address {mac} of {guest.domain} as its own: the "
                "bridge hands the guest's frames to the host, so no entry is put",
                mac=mac,
                mends=mends,
                note=note,
            )
            continue
        for whose in dict.fromkeys(found.values()):
            vids = sorted(vid for vid in found if found[vid] == whose)
            where = f" in VID {', '.join(map(str, vids[:_SOME]))}{', …' * (len(vids) > _SOME)}" * (len(vids) > 1)
            draft.report(
                Code.MAC_COLLISION,
                guest,
                f"{guest.domain} {'has' if own else 'is allowed'} the MAC address {mac} of {whose}"
                f"{'' if everywhere else where}: no entry is put{'' if everywhere else ' there'}, because it "
                "would take the host's own address away",
                mac=mac,
                vid=vids[0] if len(vids) == 1 and not everywhere else None,
                mends=(virsh.edit_domain(guest.domain),) if own else (),
                note="give it another MAC address" if own else disallow(guest, mac),
            )
    return barred.of(guest, guest.macs[0]).keys() >= {*deciding}


def _tap_with(mac: str, bridge: str, snapshot: Snapshot, owners: Mapping[str, GuestPort]) -> GuestPort | None:
    """The guest whose tap has an address of its own that is a guest's: libvirt gives none like that, a script may."""
    ports = (port for port in snapshot.ports.values() if port.bridge == bridge and port.mac == mac)
    return next((owners[port.name] for port in ports if port.name in owners), None)


def _other_address(tap: GuestPort, guest: GuestPort, snapshot: Snapshot) -> tuple[tuple[Command, ...], str]:
    """Commands or words. The tap gets the address that libvirt gives it: its guest's, with fe first (virNetDevTap)."""
    mac = tap.facts.configured_mac or tap.macs[0]
    address = f"{'fa' if mac.startswith('fe') else 'fe'}{mac[2:]}"
    bridge = snapshot.bridges[tap.bridge]
    if bridge.mac == guest.macs[0]:
        return (), (
            f"give {bridge.name}, the host's interface there, an address of its own: it has that of {tap.port}; then "
            f"'ip link set dev {shlex.quote(tap.port)} address {address}'"
        )
    there = ("ip", "link", "set", "dev", tap.port, "address", address)
    return (there, ("macmgr", "apply", "--domain", guest.domain)), ""


def _report_bonded(guest: GuestPort, mac: str, other: str, draft: Draft) -> None:
    draft.report(
        Code.ADDRESS_IN_USE,
        guest,
        f"{guest.domain} uses {mac}, the address of {guest.port}, on {other}: no entry is put on {guest.port}, which "
        f"would take it from {other}, and both ports stay open",
        mac=mac,
        note=let_bond_in(guest.domain),
    )


def _report_alive(guest: GuestPort, mac: str, alive: Mapping[int, str], draft: Draft, *, fixed: bool) -> None:
    uplinks = " and ".join(sorted({*alive.values()}))
    if fixed:
        draft.report(
            Code.ADDRESS_IN_USE,
            guest,
            f"{guest.domain} is allowed {mac}, but somebody has put a static entry for it on {uplinks}: while it is "
            f"there, no entry is put on {guest.port}",
            mac=mac,
            note=f"{disallow(guest, mac)}; or remove the entry on {uplinks}, if nobody there has the address",
        )
        return
    prefix = virtual_router(mac) or f"{mac.rpartition(':')[0]}:*"
    draft.report(
        Code.ADDRESS_IN_USE,
        guest,
        f"{guest.domain} is allowed {mac}, but somebody uses it on {uplinks}: while it is seen there, no entry is put "
        f"on {guest.port}, because it would take the address from its user",
        mac=mac,
        vid=next(iter(alive)) if len(alive) == 1 else None,
        note=f"{disallow(guest, mac)}; allow one that moves between hosts by a prefix ({prefix}), "
        "with macmgr watch running",
    )


def let_cluster_in(guest: GuestPort) -> str:
    """The words for a node of a cluster. Flooding reaches all of them, and a group address is flooded anywhere."""
    return (
        f"leave the NIC of each node to the kernel ({by_kernel(guest)}), and allow the address to nobody: then frames "
        "for the cluster are flooded to all nodes; or use its multicast or IGMP mode, which needs no entry"
    )


def serve_many(guest: GuestPort) -> str:
    """The words for a NIC that has many addresses behind it."""
    return (
        "if the NIC serves many, as in a bridge, a firewall or a hypervisor, leave it to the kernel: "
        f"{by_kernel(guest)} in the metadata of {guest.domain}; or allow the prefix that they share"
    )


def by_kernel(guest: GuestPort) -> str:
    """The element of metadata that leaves a guest's NIC to the kernel."""
    return f"<macmgr:interface mac='{guest.facts.configured_mac or guest.macs[0]}' manager='kernel'/>"


def disallow(guest: GuestPort, mac: str) -> str:
    place = guest.policy.place_that_allows(mac)
    return f"do not allow {mac} to {guest.domain}{f' ({place})' if place else ''}"
