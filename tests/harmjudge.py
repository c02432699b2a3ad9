"""Judges what changes and fixes do to a host: who is lost, who is heard, and what takes from somebody and harms nobody.

The same words are in docs/forwarding.rst. Who reaches whom comes from the model of frames, or from frames.
"""

from __future__ import annotations

from collections.abc import Collection

from macmgr.forwarding import after as moved
from macmgr.forwarding import forward
from macmgr.forwarding.reasons import Reason
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.roles import roles_of
from macmgr.model.snapshot import EntryState, Snapshot
from macmgr.planning.portvlans import vlans_of
from tests.earshot import Earshot, From, asked, in_use, listen

OUTSIDE_VLAN = (Reason.NOT_IN_VLAN, Reason.NOT_IN_VLAN_IN)


class Judge:
    """Compares who reaches whom with the start."""

    def __init__(self, intent: Intent, start: Snapshot) -> None:
        self.intent, self.start = intent, start
        self.used = in_use(self.start)
        self.before = listen(self.start, self.intent, self.used)
        self.guests = {guest.port: guest for guest in self.intent.ports}
        roles = roles_of(self.start.ports.values(), self.guests)
        self.ways_out = {name for name, role in roles.items() if role.leads_out}
        self.hosts = self._hosts()
        self.by_frames = False

    def harm(self, after: Snapshot, *, under_way: Collection[str] = (), heard: Earshot | None = None) -> list[str]:
        """``under_way`` are ports that are on their way to their bridge. ``heard``: by frames, not by the model."""
        self.by_frames = heard is not None
        heard = heard or listen(after, self.intent, self.used)
        lost = [f"{each} is lost" for each in self.before.reached - heard.reached if self._is_lost(each, after, heard)]
        lost = [each for each in lost if not any(f"'{port}'" in each for port in under_way)]
        return lost + [f"{each} is heard" for each in heard.hears if self._is_heard(each, after, heard)]

    def _hosts(self) -> set[tuple[str, str]]:
        """Bridges and addresses: what is the host's is no guest's."""
        snapshot = self.start
        found = {*snapshot.own_addresses()} | {key[:2] for key in snapshot.stacked_addresses()}
        for entry in snapshot.entries:
            if entry.state is EntryState.LOCAL and entry.port not in self.guests:
                found.add((snapshot.bridge_of(entry.port) or "", entry.mac))
        return found

    def _is_lost(self, place: From, after: Snapshot, heard: Earshot) -> bool:
        port, mac, sender, vid = place
        guest, bridge = self.guests[port], self.start.ports[port].bridge
        if (bridge, mac) in self.hosts or not self._has_right(guest, bridge, mac):
            return False
        if self._is_reached_elsewhere(place, after, heard) or self._are_of_one_guest(port, sender):
            return False
        wanted = vlans_of(guest)
        wanted_vids = wanted.vids if wanted is not None else ()
        moves = after.masters.get(port) != bridge
        if moves or (vid and wanted is not None and vid not in wanted.vids):  # its own bridge, and its own VLAN
            by_uplink = sender in self.ways_out and mac == guest.macs[0]
            # NICs of one guest with one address are one station: it is reached where one of them is
            at = after.masters.get(port)
            nics = {each.port for each in self.intent.ports if mac in each.macs and after.masters.get(each.port) == at}
            nics = {each for each in nics if self._are_of_one_guest(port, each)}
            places = (each for each in heard.reached if each[0] in nics and each[1] == mac)
            home = {each for each in places if moves or each[3] in wanted_vids}
            return by_uplink and self.ways_out.isdisjoint(each[2] for each in home)
        vids = self._vids_now(place, after)
        if any((port, mac, sender, each) in heard.reached for each in vids) or self._parted(place, after, heard):
            return False
        if self._are_apart_as_asked(port, sender, after):
            return False
        other = self.guests.get(sender)
        if other is None:
            return True
        held = {each for each in vids if heard.held.get((port, mac, sender, each)) is Reason.LOCKED}
        held |= {each for each in vids if self._is_held_for_a_twin(other, each, after, heard)}
        shared = {each for each in vids if heard.held.get((port, mac, sender, each)) not in OUTSIDE_VLAN}
        if held.issuperset(shared) and shared:
            return False  # in each VLAN that both are in, the sender's port holds it back: that is the sender's loss
        at_home = vlans_of(other)  # if not, the sender has gone where its XML says
        return after.masters.get(sender) == bridge and not (vid and at_home is not None and vid not in at_home.vids)

    def _are_of_one_guest(self, port: str, other: str) -> bool:
        """They hide nothing from each other."""
        both = [self.guests[name] for name in (port, other) if name in self.guests]
        return len(both) == 2 and len({(guest.domain, guest.uuid) for guest in both}) == 1

    def _is_reached_elsewhere(self, place: From, after: Snapshot, heard: Earshot) -> bool:
        """Another guest that has the address too gets the frames, or sends them."""
        port, mac, sender, _ = place
        bridge, vids = self.start.ports[port].bridge, self._vids_now(place, after)
        may = [each for each in self.intent.ports if each.running and mac in each.macs and each.bridge == bridge]
        twins = {each.port for each in may if each.port != port}
        if sender in twins or any((twin, mac, sender, vid) in heard.reached for twin in twins for vid in vids):
            return True
        users = {name for name, macs in self.used.items() if mac in macs and self.start.ports[name].bridge == bridge}
        if not self.by_frames or not twins | users - {port}:
            return False
        # each of theirs takes the entry to itself, and so none may get its own in time
        return any(
            self._reached_when_it_has_sent((one, mac, sender, vid), after) for one in (port, *twins) for vid in vids
        )

    def _reached_when_it_has_sent(self, place: From, after: Snapshot) -> bool:
        for each in asked(after, self.intent, self.used):
            if each.place == place:
                then = listen(moved(forward(after, each.port, each.back)), self.intent, self.used)
                return place in then.reached
        return False

    def _are_apart_as_asked(self, port: str, sender: str, after: Snapshot) -> bool:
        """Both are isolated now, and those that were not are guests whose XML asks for it."""
        both = [name for name in (port, sender) if name in after.ports and name not in self.ways_out]
        apart = len(both) == 2 and all(after.ports[name].isolated for name in both)
        fresh = [name for name in both if not self.start.ports[name].isolated]
        return apart and all(name in self.guests and self.guests[name].facts.isolated for name in fresh)

    def _filters_now(self, port: str, after: Snapshot) -> bool:
        bridge = self.start.ports[port].bridge
        return after.bridges[bridge].vlan_filtering > self.start.bridges[bridge].vlan_filtering

    def _vids_now(self, place: From, after: Snapshot) -> tuple[int, ...]:
        port, _, _, vid = place
        return after.ports[port].vids if self._filters_now(port, after) else (vid,)

    def _parted(self, place: From, after: Snapshot, heard: Earshot) -> bool:
        """The bridge filters VLANs now, and puts two into different ones, as the XML of one of them asks for.

        An uplink reaches the guest.
        """
        port, mac, sender, _ = place
        if not self._filters_now(port, after):
            return False
        both = [self.guests[name].facts.vlan if name in self.guests else None for name in (port, sender)]
        there = [after.ports[port], after.ports.get(sender) or after.bridges[sender]]
        mine, theirs = ({*(vlan.vids if vlan else each.vids)} for vlan, each in zip(both, there, strict=True))
        if both == [None, None] or mine & theirs:
            return False
        ways = (s for p, m, s, _ in heard.reached if (p, m) == (port, mac))
        return sender not in self.ways_out or not self.ways_out.isdisjoint(ways)

    def _is_held_for_a_twin(self, sender: GuestPort, vid: int, after: Snapshot, heard: Earshot) -> bool:
        """By frames, another guest with the sender's address took the entry, and the sender's locked port lets in none.

        The model says that: with the entry at the twin that the frames of the twin can move there, the port is locked.
        """
        port = after.ports.get(sender.port)
        entry = after.fdb.at(sender.bridge, sender.macs[0], vid)
        twins = [each for each in self.intent.ports if each is not sender and sender.macs[0] in each.macs]
        ports = (after.port_on(sender.bridge, each.port) for each in twins if each.bridge == sender.bridge)
        learn = [each for each in ports if each is not None and each.flags.learning]
        moves = entry is None or (not entry.sticky and entry.state is not EntryState.LOCAL)
        return bool(port and port.flags.locked) and moves and bool(learn)

    def _has_right(self, guest: GuestPort, bridge: str, mac: str) -> bool:
        own = {(each.bridge, each.macs[0]) for each in self.intent.ports if each is not guest}
        if (bridge, mac) in own and mac != guest.macs[0]:
            return False
        if mac in (guest.macs if guest.managed else guest.macs[:1]):
            return True
        refused = guest.managed and guest.policy.lock
        return not refused and mac not in (*guest.macs, *guest.moved) and (bridge, mac) not in own

    def _is_heard(self, place: tuple[str, str, int], after: Snapshot, heard: Earshot) -> bool:
        listener, speaker, vid = place
        if not heard.hears[place].reached or listener in self.ways_out:
            return False
        bridge = self.start.ports[speaker].bridge if speaker in self.start.ports else ""
        if bridge in self.start.bridges and not self.start.bridges[bridge].vlan_filtering:
            place = (listener, speaker, 0)
        before = self.before.hears.get(place)
        if before is not None and before.reason not in (*OUTSIDE_VLAN, Reason.ISOLATED):
            return False
        both = [self.guests[name] for name in (listener, speaker) if name in self.guests]
        if self._are_of_one_guest(listener, speaker):
            return False
        if before is not None and before.reason is Reason.ISOLATED:
            return True
        if len([guest for guest in both if self._was_isolated(guest, after)]) > 1:
            return True
        return not all(self._is_at_home(guest, vid, after) for guest in both)

    def _was_isolated(self, guest: GuestPort, after: Snapshot) -> bool:
        """It was, on its bridge; where it is a new port, its XML says so."""
        was = self.start.port_on(after.ports[guest.port].bridge, guest.port)
        return bool(was.isolated) if was is not None else guest.facts.isolated_live

    def _is_at_home(self, guest: GuestPort, vid: int, after: Snapshot) -> bool:
        bridge = after.bridges[after.ports[guest.port].bridge]
        if not bridge.vlan_filtering:
            return True
        was = self.start.port_on(bridge.name, guest.port)
        if was is not None and vid in was.vids:
            return True
        if (wanted := vlans_of(guest)) is not None:
            return vid in wanted.vids
        if was is not None:
            return False
        others = {vid for port in self.start.ports.values() if port.bridge == bridge.name for vid in port.vids}
        return others <= {vid}
