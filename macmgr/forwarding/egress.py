"""The way of a frame out of a bridge: the FDB, floods, isolation, VLAN, state and carrier of each port. Pure.

In the order of the kernel: br_forward, br_flood, should_deliver (net/bridge/br_forward.c), br_allowed_egress and
br_handle_vlan (br_vlan.c), br_dev_queue_push_xmit; for the host br_pass_frame_up (br_input.c).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from macmgr.forwarding.frames import BROADCAST
from macmgr.forwarding.ingress import Entered, why_not_forwarding
from macmgr.forwarding.reasons import Fate, Reason
from macmgr.forwarding.snooping import Listed, Way, ways
from macmgr.model.relay import PortState, Tag
from macmgr.model.snapshot import BridgePort, Entry, EntryState, Snapshot

_TAG_LENGTH = 4


class Aim(NamedTuple):
    """Where the bridge sends a frame: to one ``port``, or floods it (None). ``why`` is for those that get it.

    ``entry`` is the one that decided. ``unsure`` is why this may not be so. ``host`` says that the host gets it.
    ``ways`` are those of multicast: several if nobody can say.
    """

    why: Reason
    port: str | None = None
    entry: Entry | None = None
    host: bool = False
    unsure: Reason | None = None
    ways: tuple[tuple[Way, Reason], ...] = ()


def aim(snapshot: Snapshot, entered: Entered) -> Aim:
    """Looks up the destination. The frame's own source is learned before that."""
    frame, bridge = entered.frame, entered.bridge
    if frame.destination == BROADCAST:
        return Aim(Reason.BROADCAST, host=True)
    if frame.for_group:
        return Aim(Reason.MULTICAST, host=True, ways=ways(snapshot, entered))
    entry = snapshot.fdb.at(bridge.name, frame.destination, entered.vid)
    if frame.source == frame.destination and entered.move.after is not None:
        entry = entered.move.after
    if entry is None:
        unsure = None if snapshot.lists(bridge.name) else Reason.NOT_READ
        if bridge.relay.local_in_vid_0 and entered.vid:
            in_vid_0 = snapshot.fdb.at(bridge.name, frame.destination, 0)
            if in_vid_0 is not None and in_vid_0.state is EntryState.LOCAL:
                unsure = Reason.LOCAL_IN_VID_0
        return Aim(Reason.UNKNOWN, unsure=unsure)
    if entry.state is EntryState.LOCAL and entered.port is not None:
        return Aim(Reason.LOCAL, bridge.name, entry, host=True)
    port = snapshot.ports.get(entry.port)
    backup = port.relay.backup if port is not None and not port.relay.carrier else ""
    return Aim(Reason.BACKUP, backup, entry) if backup else Aim(Reason.ENTRY, entry.port, entry)


def at_port(entered: Entered, where: Aim, port: BridgePort) -> Fate:
    """The fate of the frame at one port of the bridge."""
    if entered.stopped is not None:
        return Fate(False, entered.stopped)
    if port is entered.port and not port.relay.hairpin:
        return Fate(False, Reason.SENDER)
    if where.port is not None and where.port != port.name:
        return Fate(False, Reason.HOST_ONLY if where.port == entered.bridge.name else Reason.OTHER_PORT)
    if (reason := _cannot_leave(entered, port)) is not None:
        return Fate(False, reason)
    unsure, tags = entered.unsure or where.unsure, _tags(entered, port.untagged)
    if where.ways:
        return _by_group(entered, [(_in_group(entered, where, way, port), why) for way, why in where.ways], tags)
    if where.port is None and (refused := _not_flooded(entered, where, port)):
        return Fate(None if where.unsure else False, where.unsure or refused, tags)
    return Fate(None if unsure else True, unsure or where.why, tags)


def _in_group(entered: Entered, where: Aim, way: Way, port: BridgePort) -> Fate:
    """The fate of multicast on one way. No flood flag holds back what goes to members and routers."""
    if way is not None:
        return _listed(way, port.name)
    refused = _not_flooded(entered, where, port)
    return Fate(False, refused) if refused else Fate(True, where.why)


def _listed(way: Listed, name: str) -> Fate:
    if name in way.members:
        return Fate(True, Reason.MEMBER)
    return Fate(True, Reason.ROUTER) if name in way.routers else Fate(False, Reason.NO_MEMBER)


def _by_group(entered: Entered, fates: Sequence[tuple[Fate, Reason]], tags: tuple[Tag, ...]) -> Fate:
    """The fate if all ways agree, and else the reason for the doubt."""
    (first, _), *others = fates
    why = next((why for fate, why in others if fate.reached is not first.reached), None)
    if why is None and not (first.reached and entered.unsure):
        return first._replace(tags=tags if first.reached else ())
    return Fate(None, why or entered.unsure or first.reason, tags)


def at_host(entered: Entered, where: Aim) -> Fate:
    """The fate of the frame at the bridge's own interface: with the host, and with what is stacked on the bridge."""
    bridge = entered.bridge
    if entered.port is None:
        return Fate(False, entered.stopped or Reason.SENDER)
    if entered.stopped is not None:
        return Fate(False, entered.stopped)
    unsure = entered.unsure or where.unsure
    promiscuous = bridge.promiscuity > 0
    by_group = [(Fate(True, where.why) if way is None else _listed(way, bridge.name), why) for way, why in where.ways]
    if by_group and not promiscuous and not any(fate.reached for fate, _ in by_group):
        return Fate(False, Reason.NO_MEMBER)
    if not where.host and not promiscuous:
        if unsure:
            return Fate(None, unsure, _tags(entered, bridge.untagged))
        return Fate(False, Reason.OTHER_PORT if where.port else Reason.NOT_FOR_HOST)
    if not bridge.up:
        return Fate(False, Reason.BRIDGE_DOWN)
    if not promiscuous and (reason := _outside_vlan(entered, bridge.vids, bridge.relay.vlan_states)) is not None:
        return Fate(False, reason)
    tags = _tags(entered, bridge.untagged)
    if by_group:
        fate = _by_group(entered, by_group, tags)
        return fate if fate.reached or not promiscuous or entered.unsure else Fate(True, Reason.PROMISCUOUS, tags)
    if entered.unsure or (where.unsure and not promiscuous):
        return Fate(None, unsure or where.why, tags)
    return Fate(True, where.why if where.host else Reason.PROMISCUOUS, tags)


def _cannot_leave(entered: Entered, port: BridgePort) -> Reason | None:
    """Why no frame of this one's VLAN and length leaves by the port. None if it may."""
    bridge, relay = entered.bridge, port.relay
    if not bridge.relay.mst and relay.state is not PortState.FORWARDING:
        return Reason.LEARNING if relay.state is PortState.LEARNING and port.up else why_not_forwarding(bridge, port)
    if (reason := _outside_vlan(entered, port.vids, relay.vlan_states)) is not None:
        return reason
    if port.isolated and entered.port is not None and entered.port.isolated:
        return Reason.ISOLATED
    if not port.up:
        return Reason.PORT_DOWN
    if not relay.carrier:
        return Reason.NO_CARRIER
    inner = entered.payload_tags if entered.vlan is not None else entered.payload_tags[1:]
    if entered.frame.length + _TAG_LENGTH * len(inner) > relay.mtu + _TAG_LENGTH:
        return Reason.TOO_LONG
    return None


def _outside_vlan(entered: Entered, vids: Collection[int], states: Mapping[int, PortState]) -> Reason | None:
    """``states`` are those of the VLANs that do not forward."""
    if entered.vlan is None:
        return None
    if entered.vid not in vids:
        return Reason.NOT_IN_VLAN
    return Reason.VLAN_STATE if entered.vid in states else None


def _not_flooded(entered: Entered, where: Aim, port: BridgePort) -> Reason | None:
    """Why a port gets no flooded frame. The host's own broadcast and multicast goes to each port."""
    relay, from_host = port.relay, entered.port is None
    if where.why is Reason.UNKNOWN and not port.flags.unicast_flood:
        return Reason.NOT_FLOODED
    if where.why is Reason.MULTICAST and not relay.multicast_flood and not from_host:
        return Reason.NO_MULTICAST
    if where.why is Reason.BROADCAST and not relay.broadcast_flood and not from_host:
        return Reason.NO_BROADCAST
    return Reason.PROXY_ARP if relay.proxy_arp else None


def _tags(entered: Entered, untagged: Collection[int]) -> tuple[Tag, ...]:
    """The frame's tags as it leaves: the bridge puts its own in front, unless the VLAN is untagged there."""
    if entered.vlan is None or entered.vid in untagged:
        return entered.payload_tags
    return (entered.vlan, *entered.payload_tags)
