"""Decides which guest owns a MAC that several claim. Pure.

A guest without its own address is left as it is; any further one, it can be without. An address is one guest's in one
VID: its own address goes before what others are allowed, and among equals, who holds the static entry of that very MAC
and VID, so that nothing flaps. An address that changed inside a guest takes nothing that anybody has in writing
(docs/adr/0009).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from macmgr import virsh
from macmgr.model.findings import Code
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.known import Known
from macmgr.model.mac import is_of_cluster
from macmgr.model.snapshot import Entry, Key, Snapshot
from macmgr.planning.collisions import Barred, collides, disallow, let_cluster_in
from macmgr.planning.draft import Carriers, Draft, Table

_Holders = Mapping[Key, GuestPort]


@dataclass(frozen=True, slots=True)
class Ownership:
    """The VIDs in which each guest owns each of its MACs, and so the entries that no drop of a stale one may touch.

    VID 0 and every VID that the port carries, so that turning VLAN filtering on or off cuts nobody; fewer on a trunk,
    and where another has the address in VID 0 or in one of the port's VIDs. ``others`` are the (MAC, VID) that a guest
    must do without. ``alive`` are those that it is allowed and that somebody on the LAN uses.

    ``rightful`` are the places that a running guest has a right to. ``managed`` ports report their extra entries
    themselves. ``left_alone`` is (port, MAC) of each guest that is not managed, or that keeps its port as it is: its
    own MAC on its own port may be all that it is reached by. ``bonded`` are the domains of (bridge, MAC) that another
    NIC of the domain uses.
    """

    vids: Mapping[GuestPort, Mapping[str, tuple[int, ...]]]
    others: Mapping[GuestPort, Collection[tuple[str, int]]]
    alive: Mapping[GuestPort, tuple[str, ...]]
    rightful: Collection[Key]
    managed: Collection[str]
    left_alone: Collection[tuple[str, str]]
    bonded: Mapping[tuple[str, str], str]

    def protects(self, bridge: str, entry: Entry) -> bool:
        return (
            (bridge, entry.mac, entry.vid) in self.rightful
            or entry.port in self.managed
            or (entry.port, entry.mac) in self.left_alone
        )


def ownership(
    guests: Iterable[GuestPort], intent: Intent, snapshot: Snapshot, known: Known, table: Table, draft: Draft
) -> Ownership:
    """Give each managed guest the MACs it owns; one that may not have its own address is left out and reported."""
    guests = list(guests)
    barred = Barred(guests, intent, snapshot, known, table)
    taps = {guest.port: guest for guest in intent.ports}
    fit = [guest for guest in guests if not collides(guest, barred, snapshot, taps, draft)]
    assignment = _Assignment(fit, barred, intent, snapshot, table, draft)
    left = assignment.own()
    assignment.further([guest for guest in fit if guest.running and guest not in left])
    owners = [guest for guest in fit if guest not in left]
    owned = {guest: assignment.owned_by(guest) for guest in owners}
    vids = {guest: vids for guest, (vids, _) in owned.items()}
    running = [guest for guest in owners if guest.running]
    return Ownership(
        vids,
        {guest: others for guest, (_, others) in owned.items()},
        {guest: tuple(_waits_for(guest, barred)) for guest in owners},
        {(guest.bridge, mac, vid) for guest in running for mac, there in vids[guest].items() for vid in there},
        {guest.port for guest in owners},
        {(guest.port, mac) for guest in intent.ports if guest not in vids for mac in guest.macs},
        {(guest.bridge, mac): guest.domain for guest, mac in barred.bonded},
    )


def _waits_for(guest: GuestPort, barred: Barred) -> Iterator[str]:
    """The addresses that are learned elsewhere, and that may be learned behind the guest's port yet."""
    return (mac for mac in guest.macs if barred.alive(guest, mac) and (guest, mac) not in barred.fixed)


def report_duplicates(guest: GuestPort, rivals: Mapping[GuestPort, tuple[str, int]], draft: Draft) -> None:
    for rival, (mac, vid) in rivals.items():
        draft.report(
            Code.DUPLICATE_MAC,
            guest,
            f"{guest.domain} ({guest.port}) and {rival.domain} ({rival.port}) both have {mac} on {guest.bridge}: "
            f"the entry stays with {rival.port}, and {guest.port} is left as it is",
            mac=mac,
            vid=vid,
            mends=(virsh.edit_domain(guest.domain),),
            note=let_cluster_in(guest) if is_of_cluster(mac) else "give it another MAC address",
        )


class _Assignment:
    """All addresses of one look, as they are given out: first each guest's own, then the further ones."""

    def __init__(
        self,
        guests: Collection[GuestPort],
        barred: Barred,
        intent: Intent,
        snapshot: Snapshot,
        table: Table,
        draft: Draft,
    ) -> None:
        carriers = Carriers(snapshot)
        self._guests, self._barred = guests, barred
        self._snapshot, self._table, self._draft = snapshot, table, draft
        self._there = [guest for guest in intent.ports if snapshot.port_on(guest.bridge, guest.port)]
        self._reach = {guest: carriers.vids_of(snapshot.ports[guest.port]) for guest in guests}
        self._given: dict[tuple[GuestPort, str], tuple[int, ...]] = {}
        self._others: dict[GuestPort, set[tuple[str, int]]] = {guest: set() for guest in guests}
        self._owners: dict[tuple[str, str, int], GuestPort] = {}

    def owned_by(self, guest: GuestPort) -> tuple[dict[str, tuple[int, ...]], set[tuple[str, int]]]:
        """What one guest owns, and what it must do without. One that does not run here contests none."""
        vids, others = {}, set(self._others[guest])
        for mac in guest.macs:
            barred = self._barred.of(guest, mac)
            if barred.keys() >= {*self._deciding(guest)} or mac in guest.lent:
                others.update(self._everywhere(guest, mac))
            else:
                others.update((mac, vid) for vid in barred if vid)  # a copy in VID 0 goes only with all the others
                if given := self._given.get((guest, mac), () if guest.running else self._free(guest, mac)):
                    vids[mac] = given
        return vids, others

    def own(self) -> set[GuestPort]:
        """Give each running guest its own address; the answer is who cannot have it.

        Two running NICs with one MAC owned a bridge only in different VLANs of a filtering bridge; then one of them has
        VID 0.
        """
        claims = [(guest, mac) for guest in self._guests if guest.running for mac in guest.own_macs]
        uses = Counter((guest.bridge, mac, vid) for guest, mac in claims for vid in self._deciding(guest))
        written = {
            (guest.bridge, mac, vid): guest
            for guest in self._there
            for mac in guest.macs
            if mac not in guest.roaming and mac not in guest.borrowed
            if not (mac == guest.macs[0] and _has_changed(guest))
            for vid in self._deciding(guest)
        }
        holders: dict[tuple[str, str, int], GuestPort] = {}
        left: set[GuestPort] = set()

        def order(claim: tuple[GuestPort, str]) -> tuple[bool, bool, bool, str, str]:
            guest, mac = claim
            contested = [vid for vid in self._deciding(guest) if uses[guest.bridge, mac, vid] > 1]
            holds = any(self._table.has_static(guest, mac, vid) for vid in contested)
            holds_vid_0 = 0 in self._reach[guest] and self._table.has_static(guest, mac, 0)
            return _has_changed(guest), not holds, not holds_vid_0, guest.domain, guest.port

        for guest, mac in sorted(claims, key=order):
            taken: list[_Holders] = [written, holders] if _has_changed(guest) and mac == guest.macs[0] else [holders]
            places = [(guest.bridge, mac, vid) for vid in self._deciding(guest)]
            rivals = {
                rival: place[1:]
                for place in places
                for each in taken
                if (rival := each.get(place)) is not None and rival.port != guest.port
            }
            if rivals and mac in guest.borrowed:
                self._others[guest] |= self._everywhere(guest, mac)
                continue  # its owner is reported
            if rivals:
                left.add(guest)
                report_duplicates(guest, rivals, self._draft)
                continue
            shared_vid_0 = (guest.bridge, mac, 0) in holders
            self._given[guest, mac] = tuple(vid for vid in self._free(guest, mac) if vid or not shared_vid_0)
            holders |= {(guest.bridge, mac, vid): guest for vid in self._given[guest, mac]}
        # what is a guest's own is nobody else's to have by an allowance, whether that guest runs or is managed
        for guest in self._there:
            if not _has_changed(guest):
                places = [(guest.bridge, guest.macs[0], vid) for vid in self._deciding(guest)]
                self._owners |= dict.fromkeys(places, guest)
        self._owners |= holders
        return left

    def further(self, guests: Iterable[GuestPort]) -> None:
        """Give out the addresses that running guests are allowed in addition to their own."""
        claims: dict[tuple[str, str], list[GuestPort]] = {}
        for guest in guests:
            for mac in guest.macs[1:]:
                if mac not in (*guest.borrowed, *guest.lent) and self._open_to(guest, mac):
                    claims.setdefault((guest.bridge, mac), []).append(guest)
        for (bridge, mac), claimants in claims.items():
            self._give(bridge, mac, claimants)

    def _give(self, bridge: str, mac: str, claimants: Collection[GuestPort]) -> None:
        def first(vid: int, among: Iterable[GuestPort]) -> GuestPort | None:
            key = (bridge, mac, vid)
            have = self._table.fdb.at(*key)

            def order(each: GuestPort) -> tuple[bool, bool, str, str]:
                uses = have is not None and have.port == each.port
                return not self._table.has_static(each, mac, vid), not uses, each.domain, each.port

            return self._owners.get(key) or min(among, key=order, default=None)

        by_vid: dict[int, list[GuestPort]] = {}
        for guest in claimants:
            for vid in self._open_to(guest, mac):
                by_vid.setdefault(vid, []).append(guest)
        has = {vid: first(vid, among) for vid, among in by_vid.items()}
        lost = {
            guest: {vid: rival for vid in self._open_to(guest, mac) if (rival := has[vid]) not in (None, guest)}
            for guest in claimants
        }
        # no request names VID 0 without all VIDs of its port, so it is for one that has the address in each of them
        whole = [guest for guest in claimants if not lost[guest] and 0 in self._free(guest, mac)]
        vid_0 = has[0] if 0 in has else first(0, whole)
        for guest in claimants:
            nothing = len(lost[guest]) == len(self._open_to(guest, mac))
            without = self._everywhere(guest, mac) if nothing else {(mac, vid) for vid in lost[guest]}
            self._others[guest] |= without
            self._given[guest, mac] = tuple(
                vid for vid in self._free(guest, mac) if (mac, vid) not in without and (vid or vid_0 is guest)
            )
            self._report(guest, mac, lost[guest])

    def _report(self, guest: GuestPort, mac: str, lost: Mapping[int, GuestPort | None]) -> None:
        """An allowance that comes to nothing: two settings that contradict each other, and no fault of the table."""
        if is_of_cluster(mac):
            return  # reported for each node that is allowed it, shared or not
        reported: set[GuestPort] = set()
        for vid, rival in lost.items():
            if rival is None or rival in reported:
                continue
            reported.add(rival)
            if rival.macs[0] == mac:
                message = (
                    f"{guest.domain} ({guest.port}) is allowed {mac}, the address of {rival.domain} ({rival.port}) "
                    f"itself, on {guest.bridge}: no entry is put on {guest.port}"
                )
                note = disallow(guest, mac)
            else:
                message = (
                    f"{guest.domain} ({guest.port}) and {rival.domain} ({rival.port}) are both allowed {mac} on "
                    f"{guest.bridge}: its entry leads to {rival.port}, also while {guest.domain} uses the address"
                )
                note = (
                    f"allow it to one of them; allow one that moves between guests by a prefix "
                    f"({mac.rpartition(':')[0]}:*), with macmgr watch running"
                )
            self._draft.report(Code.CONFLICTING_SETTINGS, guest, message, mac=mac, vid=vid, note=note)

    def _deciding(self, guest: GuestPort) -> tuple[int, ...]:
        return self._snapshot.deciding_vids(guest.port)

    def _open_to(self, guest: GuestPort, mac: str) -> tuple[int, ...]:
        """The VIDs in which its bridge looks up the address, and in which the guest may have it."""
        barred = self._barred.of(guest, mac)
        return tuple(vid for vid in self._deciding(guest) if vid not in barred)

    def _free(self, guest: GuestPort, mac: str) -> tuple[int, ...]:
        """The VIDs in which the guest needs an entry for the address, and may have one."""
        barred = self._barred.of(guest, mac)
        return tuple(vid for vid in self._reach[guest] if vid not in barred) if barred else self._reach[guest]

    def _everywhere(self, guest: GuestPort, mac: str) -> set[tuple[str, int]]:
        return {(mac, vid) for vid in (0, *self._snapshot.ports[guest.port].vids)}


def _has_changed(guest: GuestPort) -> bool:
    """The NIC uses another address than its XML gives it: the guest took it by itself."""
    return guest.facts.configured_mac not in ("", guest.macs[0])
