"""Who reaches a guest, in each of its VLANs, and what one frame could change: judged by frames. Pure.

A guest is reached from somewhere if three frames arrive: one for its MAC, a broadcast (ARP asks with it), and the
guest's own broadcast on the way back. VIDs in which all is alike are judged once; so are ports that are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from macmgr.forwarding.forward import after, forward
from macmgr.forwarding.frames import BROADCAST, Frame
from macmgr.forwarding.reasons import Fate, Reason
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.relay import Tag
from macmgr.model.roles import Role, roles_of
from macmgr.model.snapshot import Bridge, BridgePort, EntryState, Snapshot

SOMEBODY, SOMEBODY_ELSE = "02:00:5e:00:53:01", "02:00:5e:00:53:02"  # addresses for documentation: nobody has them
PEERS = (Role.GUEST, Role.CONTAINER, Role.TAP)
# The uplink is not in the guest's VLAN: the bridge, or a VLAN device on the uplink, says so.
_NOT_IN_THE_VLAN = (Reason.NOT_IN_VLAN_IN, Reason.VLAN_DEVICE)


@dataclass(frozen=True, slots=True)
class Way:
    """The frames between a guest and somebody: behind an uplink, the host, or other guests whose ports are alike.

    ``role`` is None for the host. ``there`` is the fate of a frame for the guest's MAC at its port, and ``instead`` are
    those that get it in its place. ``broadcast`` is the fate of a broadcast, and ``back`` that of the guest's own.
    """

    role: Role | None
    others: tuple[str, ...]
    there: Fate
    broadcast: Fate
    back: Fate
    instead: tuple[str, ...] = ()
    here: bool = True

    @property
    def reached(self) -> bool | None:
        """All three frames arrive. None if nobody can say."""
        fates = [fate.reached for fate in (self.there, self.broadcast, self.back)]
        return False if False in fates else None if None in fates else True

    @property
    def reason(self) -> Reason:
        """The reason of the first of them that is lost, or else of the one for the guest's MAC."""
        fates = (self.there, self.broadcast, self.back)
        return next((fate.reason for fate in fates if not fate.reached), self.there.reason)


@dataclass(frozen=True, slots=True)
class Reach:
    """One MAC of a guest's NIC, in VIDs in which all is alike; () for a port that is in no VLAN.

    ``port`` is the one that was judged: a guest that bonds its NICs uses the address of one on another one's port.
    ``taken_from``: one frame from there takes the address away, and no frame of the guest's brings it back.
    ``hears_others``: frames for unknown addresses come to the guest.
    """

    guest: GuestPort
    mac: str
    vids: tuple[int, ...]
    ways: tuple[Way, ...]
    port: str
    taken_from: tuple[str, ...] = ()
    hears_others: bool | None = False

    def reached_from(self, role: Role | None) -> bool | None:
        """Somebody of that role reaches the guest. None if there is nobody, or nobody can say."""
        return any_reached(way for way in self.ways if way.role is role)

    @property
    def outside(self) -> tuple[Way, ...]:
        """The ways from beyond this host: by the uplinks, or by the host itself where no uplink is in the VLAN.

        A bridge without an uplink leads out by way of the host, as libvirt's own networks do. So does a VLAN that only
        the host carries on. Empty where guests are by themselves.
        """
        uplinks = tuple(way for way in self.ways if way.role is Role.UPLINK)
        if any(way.reason not in _NOT_IN_THE_VLAN for way in uplinks):
            return tuple(way for way in uplinks if way.reason not in _NOT_IN_THE_VLAN)
        host = tuple(way for way in self.ways if way.role is None and way.reason is not Reason.NOT_IN_VLAN_IN)
        return host if not uplinks or any(way.reached is not False for way in host) else uplinks

    @property
    def reached(self) -> bool | None:
        """The guest is reached from beyond this host. None if nobody can say, or nothing leads out."""
        return any_reached(self.outside)

    @property
    def cut_off(self) -> bool:
        """The guest's CPUs run here, and nobody beyond this host reaches its own address in these VIDs.

        An address that it is only allowed may be another's at this moment. A NIC whose link is down in its XML is to
        get nothing.
        """
        guest = self.guest
        return guest.running and not guest.facts.link_down and self.mac == guest.macs[0] and self.reached is False


def any_reached(ways: Iterable[Way]) -> bool | None:
    """One of the ways reaches the guest. None if nobody can say, or there is no way."""
    found = [way.reached for way in ways]
    return True if True in found else None if None in found or not found else False


def consequences(
    snapshot: Snapshot,
    intent: Intent,
    addresses: Callable[[GuestPort], Iterable[str]] = lambda guest: guest.macs,
    *,
    exposure: bool = True,
) -> Iterator[Reach]:
    """Yields who reaches each guest that is on its bridge, by its VIDs and those of its addresses that are asked for.

    ``exposure``: what one frame could change is judged, too.
    """
    guests = {guest.port: guest for guest in intent.ports}
    for bridge in snapshot.bridges.values():
        ports = [port for port in snapshot.ports.values() if port.bridge == bridge.name]
        roles = {name: Role.UPLINK if role.leads_out else role for name, role in roles_of(ports, guests).items()}
        scene = _Scene(snapshot, bridge, ports, roles, guests, exposure)
        for port in ports:
            guest = guests.get(port.name)
            if guest is not None and guest.bridge == bridge.name:
                for mac in dict.fromkeys(addresses(guest)):
                    yield from _reaches(scene, guest, port, mac)


@dataclass(frozen=True)
class _Scene:
    """A bridge, its ports with their roles, and the guests behind them. What does not depend on a guest is kept.

    A tunnel is an uplink here: it leads to a network.
    """

    snapshot: Snapshot
    bridge: Bridge
    ports: Sequence[BridgePort]
    roles: Mapping[str, Role]
    guests: Mapping[str, GuestPort]
    exposure: bool
    _groups: dict[int, list[list[BridgePort]]] = field(default_factory=dict)

    def source_of(self, port: BridgePort) -> str:
        """The address that a station behind the port sends from."""
        guest = self.guests.get(port.name)
        return guest.macs[0] if guest is not None else SOMEBODY

    def sent(self, place: BridgePort | Bridge, vid: int, source: str, destination: str) -> Frame:
        """A frame as somebody sends it who is in that VLAN: without a tag where the VLAN is the PVID's."""
        tagged = self.bridge.vlan_filtering and vid and place.pvid != vid
        return Frame(source, destination, (Tag(vid, self.bridge.relay.protocol),) if tagged else ())

    @cached_property
    def owners(self) -> Mapping[str, list[str]]:
        """The ports of the guests that have an address as their own."""
        found: dict[str, list[str]] = {}
        for port in self.ports:
            if (guest := self.guests.get(port.name)) is not None:
                found.setdefault(guest.macs[0], []).append(port.name)
        return found

    @cached_property
    def layout(self) -> Mapping[int, tuple[object, ...]]:
        """What makes one VID differ from another: which ports carry it, and how."""
        found: dict[int, list[object]] = {}
        places: list[Bridge | BridgePort] = [self.bridge, *self.ports]
        for place in places:
            untagged, states = {*place.untagged}, place.relay.vlan_states
            for vid in place.vids:
                known = isinstance(place, BridgePort) and place.flags.locked and self.lets_in(place, vid)
                found.setdefault(vid, []).append(
                    (place.name, place.pvid == vid, vid in untagged, states.get(vid), known)
                )
        return {vid: tuple(said) for vid, said in found.items()}

    def lets_in(self, port: BridgePort, vid: int) -> bool:
        """A locked port lets the station behind it in."""
        entry = self.snapshot.fdb.at(port.bridge, self.source_of(port), vid)
        return entry is not None and entry.port == port.name and entry.state is not EntryState.LOCAL

    def alike(self, vid: int, without: BridgePort) -> Iterator[list[BridgePort]]:
        """Ports through which a frame of this VLAN goes the same way, together."""
        if vid not in self._groups:
            groups: dict[object, list[BridgePort]] = {}
            for port in self.ports:
                groups.setdefault(self._kind(port, vid), []).append(port)
            self._groups[vid] = list(groups.values())
        for group in self._groups[vid]:
            if others := [port for port in group if port is not without]:
                yield others

    def _kind(self, port: BridgePort, vid: int) -> object:
        state = port.relay.vlan_states.get(vid)
        carries = vid in port.vids, port.pvid == vid, vid in port.untagged, state
        alone = replace(port.relay, vlan_states={}) if port.relay.vlan_states else port.relay
        known = port.flags.locked and self.lets_in(port, vid)
        return self.roles[port.name], port.flags, port.up, alone, carries, known


def _reaches(scene: _Scene, guest: GuestPort, port: BridgePort, mac: str) -> Iterator[Reach]:
    if not scene.bridge.vlan_filtering or not port.vids:
        yield _reach(scene, guest, port, mac, () if scene.bridge.vlan_filtering else (0,))
        return
    alike: dict[object, list[int]] = {}
    for vid in port.vids:
        entry = scene.snapshot.fdb.at(port.bridge, mac, vid)
        alike.setdefault((entry and entry._replace(vid=0), scene.layout[vid]), []).append(vid)
    for vids in alike.values():
        yield _reach(scene, guest, port, mac, tuple(vids))


def _reach(scene: _Scene, guest: GuestPort, port: BridgePort, mac: str, vids: tuple[int, ...]) -> Reach:
    vid = vids[0] if vids else 0
    port = _where_used(scene, guest, port, mac, vid)
    ways = [_way(scene, port, mac, vid, None, [scene.bridge])]
    taken: list[str] = []
    heard: list[bool | None] = []
    twins = [name for name in scene.owners.get(mac, ()) if name != port.name]
    for others in scene.alike(vid, port):
        if twins and not (others := [each for each in others if each.name not in twins]):
            continue  # nobody sends a frame to the address that it sends from
        other, role = others[0], scene.roles[others[0].name]
        if role is Role.UPLINK or (role in PEERS and (not vid or vid in other.vids)):
            ways.append(_way(scene, port, mac, vid, role, others))
        if not scene.exposure:
            continue
        if role is Role.UPLINK:
            foreign = scene.sent(other, vid, SOMEBODY, SOMEBODY_ELSE)
            heard.append(forward(scene.snapshot, other.name, foreign).at(port.name).reached)
        if _takes_away(scene, port, mac, vid, other):
            taken += [each.name for each in others]
    hears = True if True in heard else None if None in heard else False
    return Reach(guest, mac, vids, tuple(ways), port.name, tuple(taken), hears)


def _where_used(scene: _Scene, guest: GuestPort, port: BridgePort, mac: str, vid: int) -> BridgePort:
    """The port from which the guest last sent with that address: a bond uses it on another NIC of the guest."""
    entry = scene.snapshot.fdb.at(port.bridge, mac, vid)
    other = scene.guests.get(entry.port) if entry is not None else None
    if entry is None or other is None or (other.domain, other.uuid) != (guest.domain, guest.uuid):
        return port
    moved = mac in guest.lent or entry.state is EntryState.DYNAMIC
    return scene.snapshot.ports.get(entry.port, port) if moved else port


def _way(
    scene: _Scene, port: BridgePort, mac: str, vid: int, role: Role | None, others: Sequence[BridgePort | Bridge]
) -> Way:
    other, snapshot = others[0], scene.snapshot
    source = other.mac if isinstance(other, Bridge) else scene.source_of(other)
    unicast = forward(snapshot, other.name, scene.sent(other, vid, source, mac))
    broadcast = forward(snapshot, other.name, scene.sent(other, vid, source, BROADCAST))
    back = forward(snapshot, port.name, scene.sent(port, vid, mac, BROADCAST))
    there, asked, answered = unicast.at(port.name), broadcast.at(port.name), back.at(other.name)
    nobody = there.reached or unicast.stopped or not scene.exposure
    instead = () if nobody else tuple(unicast.reached)
    names = tuple(each.name for each in others)
    lost = next((answer for answer, fate in ((unicast, there), (broadcast, asked)) if not fate.reached), None)
    here = lost.stopped is None if lost else back.stopped is not None
    return Way(role, names, there, asked, answered, instead, here)


def _takes_away(scene: _Scene, port: BridgePort, mac: str, vid: int, other: BridgePort) -> bool:
    """A frame with the guest's address as its source, from another port, cuts the guest off for good."""
    stolen = forward(scene.snapshot, other.name, scene.sent(other, vid, mac, BROADCAST))
    if not stolen.move.learned.changes:
        return False
    then = after(stolen)
    answered = after(forward(then, port.name, scene.sent(port, vid, mac, BROADCAST)))
    for place in scene.ports:
        if place is not port and place is not other:
            frame = scene.sent(place, vid, SOMEBODY, mac)
            if forward(scene.snapshot, place.name, frame).at(port.name).reached:
                return not forward(answered, place.name, frame).at(port.name).reached
    entry = answered.fdb.at(port.bridge, mac, stolen.vid)
    return entry is not None and entry.port != port.name
