"""The way of multicast through a bridge that snoops: to the members of a group and to multicast routers. Pure.

In the order of the kernel: br_multicast_rcv and br_mdb_get (net/bridge/br_multicast.c), br_multicast_querier_exists
(br_private.h), br_multicast_flood (br_forward.c); for the host br_handle_frame_finish (br_input.c).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from macmgr.forwarding.ingress import Entered
from macmgr.forwarding.reasons import Reason
from macmgr.model.multicast import Mdb, Member, always_flooded
from macmgr.model.relay import RouterMode
from macmgr.model.snapshot import BridgePort, Snapshot

_IPV4 = "01:00:5e:"
_MACS_OF_ALWAYS_FLOODED = (f"{_IPV4}00:00:", "33:33:00:00:00:01")


class Listed(NamedTuple):
    """Only these get the frame: the ``members`` of its group, and ``routers``. A bridge stands for its host."""

    members: frozenset[str]
    routers: frozenset[str] = frozenset()


Way = Listed | None
"""The way of a frame for a group: None floods it."""


def ways(snapshot: Snapshot, entered: Entered) -> tuple[tuple[Way, Reason], ...]:
    """Returns the way of the frame; if nobody can say, all that it may go, each with the reason for the doubt."""
    relay, frame = entered.bridge.relay, entered.frame
    if not relay.snooping:
        return ((None, Reason.MULTICAST),)
    if relay.snooping_by_vlan and entered.vlan is not None:
        return _anywhere(snapshot, entered, Reason.SNOOPING_BY_VLAN)
    ipv6 = not frame.destination.startswith(_IPV4)
    querier = relay.querier_ipv6 if ipv6 else relay.querier
    looks = _look_for_ip(entered)
    if querier is False and looks == (True,):
        return ((None, Reason.MULTICAST),)
    if entered.bridge.name not in snapshot.mdb:
        return _anywhere(snapshot, entered, Reason.SNOOPING)
    scene = _Scene(snapshot, entered, snapshot.mdb[entered.bridge.name], ipv6)
    found: dict[Way, Reason] = {}
    for as_ip in looks:
        if not as_ip:
            found |= dict.fromkeys(scene.lists(frame.destination), Reason.PACKET)
            continue
        if querier is not True:
            found[None] = Reason.QUERIER
        if querier is not False:
            found = dict.fromkeys(scene.of_ip(), Reason.PACKET) | found
    return tuple(scene.with_doubts(found))


def _anywhere(snapshot: Snapshot, entered: Entered, why: Reason) -> tuple[tuple[Way, Reason], ...]:
    name = entered.bridge.name
    everybody = frozenset({name, *(port.name for port in snapshot.ports.values() if port.bridge == name)})
    return ((Listed(frozenset()), why), (Listed(everybody), why))


def _look_for_ip(entered: Entered) -> tuple[bool, ...]:
    """The bridge looks into the frame as into a packet of IP, or may do so. Behind a tag it does not.

    The kernel takes the first tag out, even if the bridge does not filter VLANs. In the host's own frames, the tag of a
    VLAN device is out, and that of a program that makes the frame itself is not.
    """
    tags, filtering = entered.payload_tags, entered.bridge.vlan_filtering
    if not entered.frame.for_ip_group or (tags if filtering else tags[1:]):
        return (False,)
    return (True, False) if tags and entered.port is None else (True,)


class _Scene(NamedTuple):
    """A frame for a group in a bridge whose lists were read."""

    snapshot: Snapshot
    entered: Entered
    mdb: Mdb
    ipv6: bool

    def of_ip(self) -> Iterator[Way]:
        """The ways of a packet of IP. If its group is not said, it may be for each that has this MAC."""
        frame = self.entered.frame
        if frame.group:
            yield from [None] if always_flooded(frame.group) else self.lists(frame.group)
            return
        yield Listed(frozenset(), self.routers)
        for group in self.mdb.sharing(frame.destination, self.entered.vid):
            yield from self.lists(group)
        if frame.destination.startswith(_MACS_OF_ALWAYS_FLOODED):
            yield None

    def lists(self, group: str) -> Iterator[Way]:
        """The list of a group in the frame's VLAN: that of its source, or else that of all.

        Without a list, IP goes to the routers, and what is not IP is flooded.
        """
        frame, relay = self.entered.frame, self.entered.bridge.relay
        by_source, ip = self.mdb.of(group, self.entered.vid), group != frame.destination
        by_sources = ip and (relay.sources_ipv6 if self.ipv6 else relay.sources_ipv4)
        for source, members in by_source.items():
            if by_sources and source and frame.ip_source in ("", source):
                yield Listed(self.getting(members), self.routers)
                if frame.ip_source:
                    return
        if "" in by_source:
            asked = [member for member in by_source[""] if not (by_sources and member.include)]
            yield Listed(self.getting(by_source[""], asked), self.routers)
        else:
            yield Listed(frozenset(), self.routers) if ip else None

    def getting(self, members: Sequence[Member], asked: Sequence[Member] | None = None) -> frozenset[str]:
        """Those that get it: with ``to_unicast`` each, else those that ``asked`` for it and have not blocked it."""
        ports = self.snapshot.ports
        each = (member.port for member in members if member.port in ports and ports[member.port].relay.to_unicast)
        asked = members if asked is None else asked
        return frozenset({*each, *(member.port for member in asked if not member.blocked)})

    @property
    def routers(self) -> frozenset[str]:
        """What is not IP goes to the routers for IPv4."""
        bridge, mdb = self.entered.bridge, self.mdb
        if bridge.relay.router is RouterMode.NEVER:
            return frozenset(port.name for port in self.ports if port.relay.router is RouterMode.ALWAYS)
        host: frozenset[str] = frozenset({bridge.name}) if bridge.relay.router is RouterMode.ALWAYS else frozenset()
        return host | (mdb.routers_ipv6 if self.ipv6 and self.entered.frame.for_ip_group else mdb.routers_ipv4)

    @property
    def ports(self) -> Iterator[BridgePort]:
        return (port for port in self.snapshot.ports.values() if port.bridge == self.entered.bridge.name)

    def with_doubts(self, found: dict[Way, Reason]) -> Iterator[tuple[Way, Reason]]:
        """Adds the ways that only depend on what the kernel does not say.

        With ``mcast_router 0`` the bridge lists no routers, and still uses those that it has heard. If a program asks
        for all multicast, the host gets it since Linux 6.15. Each member of a port with ``to_unicast`` gets a copy, but
        for the sender.
        """
        bridge, port = self.entered.bridge, self.entered.port
        yield from found.items()
        for way in filter(None, found):
            if bridge.relay.router is RouterMode.NEVER:
                heard = (RouterMode.HEARD, RouterMode.FOR_NOW)
                perhaps = {each.name for each in self.ports if each.relay.router in heard}
                yield way._replace(routers=way.routers | perhaps), Reason.ROUTER_UNLISTED
            if bridge.relay.all_multicast:
                yield way._replace(routers=way.routers | {bridge.name}), Reason.ALL_MULTICAST
            if port is not None and port.relay.to_unicast and port.name in way.members:
                yield way._replace(members=way.members - {port.name}), Reason.PACKET
