"""The way of a frame into a bridge: the port's state, VLAN, lock and learning. Pure.

In the order of the kernel: vlan_do_receive, br_handle_frame, br_handle_frame_finish (net/bridge/br_input.c),
__allowed_ingress (br_vlan.c), br_fdb_update (br_fdb.c); of the host's own frames br_dev_xmit (br_device.c).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from macmgr.forwarding.frames import PAUSE, Frame
from macmgr.forwarding.reasons import Learned, Move, Reason
from macmgr.model.relay import PortState, Tag, VlanProtocol
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, Snapshot

_PROVIDER_GROUPS = 0xB801  # BR_GROUPFWD_8021AD: a provider bridge forwards its customers' link-local frames
_IN_STATE = {
    PortState.DISABLED: Reason.DISABLED,
    PortState.LISTENING: Reason.LISTENING,
    PortState.BLOCKING: Reason.BLOCKING,
    PortState.LEARNING: Reason.LEARNING_ONLY,
}


class Entered(NamedTuple):
    """A frame inside its bridge. ``stopped`` is why the bridge forwards it to nobody; ``unsure`` why it may not.

    ``vid`` is where the FDB is asked: 0 without VLAN filtering. ``vlan`` is then None, and else the frame's tag inside
    the bridge. ``payload_tags`` are those that the bridge does not read. ``port`` is None for the host.
    """

    frame: Frame
    bridge: Bridge
    port: BridgePort | None
    stopped: Reason | None = None
    unsure: Reason | None = None
    vid: int = 0
    vlan: Tag | None = None
    payload_tags: tuple[Tag, ...] = ()
    move: Move = Move(Learned.NOTHING)


def enter(snapshot: Snapshot, ingress: str, frame: Frame) -> Entered:
    """Brings a frame into the bridge: from a port, or from the host, whose port is the bridge itself."""
    if ingress in snapshot.bridges:
        return _from_host(snapshot.bridges[ingress], frame)
    port = snapshot.ports[ingress]
    bridge = snapshot.bridges[port.bridge]
    start = Entered(frame, bridge, port)
    if frame.tags and frame.tags[0] in port.relay.taken:
        return start._replace(stopped=Reason.VLAN_DEVICE)
    if not frame.valid:
        return start._replace(stopped=Reason.INVALID_SOURCE)
    if (number := frame.link_local) is not None and not _forwards_group(bridge, port, number):
        if number == PAUSE:
            return start._replace(stopped=Reason.PAUSE)
        return start._replace(stopped=Reason.LINK_LOCAL, move=_learn_link_local(snapshot, start, port))
    state = PortState.FORWARDING if bridge.relay.mst else port.relay.state
    if not (port.up and port.relay.carrier and state.learns):
        return start._replace(stopped=why_not_forwarding(bridge, port))
    entered = _into_vlan(start, port.vids, port.pvid, port.relay.vlan_states, state)
    if entered.stopped not in (None, Reason.LEARNING_ONLY):
        return entered
    return _learn(snapshot, _unlock(snapshot, entered, port), port)


def why_not_forwarding(bridge: Bridge, port: BridgePort) -> Reason:
    """The reason for the state of a port that forwards nothing. The kernel disables one that cannot work."""
    if not port.up:
        return Reason.PORT_DOWN
    if not port.relay.carrier:
        return Reason.NO_CARRIER
    if port.relay.state is PortState.DISABLED:
        if not bridge.up:
            return Reason.BRIDGE_DOWN
        if not port.relay.operational:
            return Reason.NOT_OPERATIONAL
    return _IN_STATE[port.relay.state]


def _from_host(bridge: Bridge, frame: Frame) -> Entered:
    """The host's own frames are not learned, and no lock holds them."""
    start = Entered(frame, bridge, None)
    if not bridge.up:
        return start._replace(stopped=Reason.BRIDGE_DOWN)
    if not bridge.relay.operational:
        return start._replace(stopped=Reason.NO_PORT_FORWARDS)
    entered = _into_vlan(start, bridge.vids, bridge.pvid, bridge.relay.vlan_states, PortState.FORWARDING)
    return entered._replace(stopped=None) if entered.stopped is Reason.LEARNING_ONLY else entered


def _forwards_group(bridge: Bridge, port: BridgePort, number: int) -> bool:
    """The bridge forwards a link-local group as it does any other. Without STP it does so with BPDUs (0).

    No mask can have the bit of pause frames: the kernel refuses it.
    """
    mask = port.relay.group_forward
    if bridge.vlan_filtering and bridge.relay.protocol is VlanProtocol.DOT1AD:
        mask |= _PROVIDER_GROUPS
    if number == 0:
        return not bridge.relay.stp or bool(mask & 1)
    return bool((mask | bridge.relay.group_forward) & 1 << number)


def _into_vlan(
    entered: Entered, vids: Collection[int], pvid: int | None, states: Mapping[int, PortState], state: PortState
) -> Entered:
    """Finds the frame's VLAN. A tag of the other protocol is payload, so that such a frame counts as untagged.

    LEARNING_ONLY stops nothing but forwarding: the frame is still learned from. A VLAN's state counts only while the
    port itself forwards.
    """
    vid, tags, bridge = 0, entered.frame.tags, entered.bridge
    if bridge.vlan_filtering:
        if tags and tags[0].protocol is bridge.relay.protocol:
            vid, tags = tags[0].vid, tags[1:]
        if not vid and not pvid:
            return entered._replace(stopped=Reason.NO_PVID)
        vid = vid or pvid or 0
        if vid not in vids:
            return entered._replace(stopped=Reason.NOT_IN_VLAN_IN, vid=vid)
        if state is PortState.FORWARDING:
            state = states.get(vid, PortState.FORWARDING)
            if not state.learns:
                return entered._replace(stopped=Reason.VLAN_STATE_IN, vid=vid)
        entered = entered._replace(vlan=Tag(vid, bridge.relay.protocol))
    stopped = Reason.LEARNING_ONLY if state is PortState.LEARNING else None
    return entered._replace(vid=vid, payload_tags=tags, stopped=stopped)


def _unlock(snapshot: Snapshot, entered: Entered, port: BridgePort) -> Entered:
    """A locked port lets in only sources whose entry leads to it. With MAB, one that was learned may be locked."""
    if not port.flags.locked:
        return entered
    entry = snapshot.fdb.at(port.bridge, entered.frame.source, entered.vid)
    if entry is None and not snapshot.lists_port(port.name):
        return entered._replace(unsure=Reason.NOT_READ)
    if entry is not None and entry.port == port.name and entry.state is not EntryState.LOCAL:
        if port.relay.mab and entry.state is EntryState.DYNAMIC:
            return entered._replace(unsure=Reason.MAB)
        return entered
    move = Move(Learned.NOTHING)
    if entry is None and port.relay.mab:
        move = _update(snapshot, entered, port)
    return entered._replace(stopped=Reason.LOCKED, move=move)


def _learn(snapshot: Snapshot, entered: Entered, port: BridgePort) -> Entered:
    if not port.flags.learning or entered.stopped is Reason.LOCKED:
        return entered
    return entered._replace(move=_update(snapshot, entered, port))


def _learn_link_local(snapshot: Snapshot, entered: Entered, port: BridgePort) -> Move:
    """br_handle_local_finish: no lock is asked here, and the port's own state counts even with MST."""
    relay = entered.bridge.relay
    if not (port.flags.learning and port.relay.state.learns and relay.link_local_learning and port.up):
        return Move(Learned.NOTHING)
    into = _into_vlan(entered, port.vids, port.pvid, port.relay.vlan_states, PortState.FORWARDING)
    return _update(snapshot, into, port) if into.stopped in (None, Reason.LEARNING_ONLY) else Move(Learned.NOTHING)


def _update(snapshot: Snapshot, entered: Entered, port: BridgePort) -> Move:
    """br_fdb_update: one frame moves a static entry, which stays static; none moves a sticky or a local one."""
    relay, source = entered.bridge.relay, entered.frame.source
    if not relay.ages:
        return Move(Learned.NOTHING)
    entry = snapshot.fdb.at(port.bridge, source, entered.vid)
    if entry is None:
        if not snapshot.lists(port.bridge):
            return Move(Learned.NOT_READ)
        if relay.room == 0:
            return Move(Learned.FULL)
        return Move(Learned.NEW, None, Entry(source, entered.vid, port.name, EntryState.DYNAMIC))
    if entry.state is EntryState.LOCAL:
        return Move(Learned.LOCAL, entry, entry)
    if entry.port == port.name:
        return Move(Learned.KNOWN, entry, entry)
    if entry.sticky:
        return Move(Learned.STICKY, entry, entry)
    return Move(Learned.MOVED, entry, entry._replace(port=port.name, extern_learn=False))
