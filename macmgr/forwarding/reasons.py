"""The reasons why a port gets a frame or does not, and what a frame does to the FDB: closed vocabularies."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from macmgr.model.relay import Tag
from macmgr.model.snapshot import Entry


class Reason(StrEnum):
    """One word for scripts, and ``words`` for people, about the port or the host that the answer is about."""

    words: str

    def __new__(cls, word: str, words: str) -> Reason:
        reason = str.__new__(cls, word)
        reason._value_ = word
        reason.words = words
        return reason

    # It gets the frame
    ENTRY = "entry", "an FDB entry leads there"
    BACKUP = "backup", "it stands in for a port without a carrier, to which an FDB entry leads"
    UNKNOWN = "unknown-destination", "no FDB entry knows the destination, so the frame is flooded"
    MULTICAST = "multicast", "multicast is flooded"
    MEMBER = "member", "the group has a member there"
    ROUTER = "router", "a multicast router is there"
    BROADCAST = "broadcast", "broadcast is flooded"
    LOCAL = "local", "the destination is a local entry, an address of the host"
    PROMISCUOUS = "promiscuous", "the bridge is promiscuous: a capture, or a device on it, sees the frame"

    # The bridge does not take the frame at all
    INVALID_SOURCE = "invalid-source", "the frame's source is no address of a station"
    PAUSE = "pause", "no bridge forwards pause frames"
    LINK_LOCAL = "link-local", "the frame is link-local (STP, LACP, LLDP): only the host gets it, from the port itself"
    VLAN_DEVICE = "vlan-device", "a VLAN device on the port takes the frames of this VLAN, before the bridge"
    NO_PVID = "no-pvid", "the frame is untagged, and the port has no PVID"
    NOT_IN_VLAN_IN = "not-in-vlan-in", "the port that it comes from is not in the VLAN of the frame"
    VLAN_STATE_IN = "vlan-state-in", "the VLAN is blocked (MSTP) on the port that it comes from"
    LOCKED = "locked", "the port that it comes from is locked, and no FDB entry leads the source MAC there"
    LEARNING_ONLY = "learning-only", "the port that it comes from is still learning (STP), and forwards nothing"

    # Of the port that it comes from, or of the one that it is to leave by
    BRIDGE_DOWN = "bridge-down", "the bridge is down"
    NO_PORT_FORWARDS = "no-port-forwards", "the bridge has no carrier: none of its ports forwards"
    PORT_DOWN = "port-down", "the port is down"
    NO_CARRIER = "no-carrier", "the port has no carrier"
    NOT_OPERATIONAL = "not-operational", "the port is up, but not operational (dormant, or a lower device is down)"
    DISABLED = "disabled", "the port is disabled (STP)"
    LISTENING = "listening", "the port is listening (STP)"
    BLOCKING = "blocking", "the port is blocked (STP)"

    # This port or the host does not get it
    SENDER = "sender", "the frame came from there"
    OTHER_PORT = "other-port", "an FDB entry leads to another port"
    HOST_ONLY = "host-only", "the destination is a local entry, so only the host gets it"
    NOT_FLOODED = "not-flooded", "no FDB entry knows the destination, and unicast flood is off"
    NO_MULTICAST = "multicast-flood-off", "multicast flood is off"
    NO_MEMBER = "no-member", "multicast snooping: the group has no member there, and no multicast router is there"
    NO_BROADCAST = "broadcast-flood-off", "broadcast flood is off"
    PROXY_ARP = "proxy-arp", "the port has proxy_arp, and gets nothing that is flooded"
    LEARNING = "learning", "the port is still learning (STP)"
    NOT_IN_VLAN = "not-in-vlan", "it is not in the VLAN of the frame"
    VLAN_STATE = "vlan-state", "the VLAN is blocked (MSTP) there"
    ISOLATED = "isolated", "both ports are isolated"
    TOO_LONG = "too-long", "the frame is longer than the port's MTU"
    NOT_FOR_HOST = "not-for-host", "the host takes no frame for an unknown destination"

    # It may get it, or not
    SNOOPING = "snooping", "multicast snooping decides, and the list of groups was not read"
    SNOOPING_BY_VLAN = "snooping-by-vlan", "multicast snooping decides by the lists of the VLAN, which were not read"
    QUERIER = (
        "querier",
        "multicast snooping decides once there is a querier, which this kernel does not say",
    )
    PACKET = "packet", "multicast snooping decides by what is in the frame: the group and the source of a packet of IP"
    ROUTER_UNLISTED = "router-unlisted", "a multicast router may be there: with mcast_router 0 the bridge lists none"
    ALL_MULTICAST = "all-multicast", "the bridge is to take all multicast, and only some kernels hand it to the host"
    MAB = "mab", "the port authenticates MACs (MAB), and an entry there may still be locked"
    NOT_READ = "not-read", "the bridge's FDB was not read to its end"
    LOCAL_IN_VID_0 = "local-in-vid-0", "a local entry of VID 0 may count here (fdb_local_vlan_0)"


class Fate(NamedTuple):
    """A frame at one port, or at the host: ``reached`` is None if nobody can say. It has the ``tags`` if it arrives."""

    reached: bool | None
    reason: Reason
    tags: tuple[Tag, ...] = ()


class Learned(StrEnum):
    """The effect of a frame's source on the FDB."""

    NOTHING = "nothing"  # the port does not learn, or the frame did not get that far
    KNOWN = "known"  # the entry is already there
    NEW = "new"
    MOVED = "moved"
    STICKY = "sticky"  # an entry on another port does not move
    LOCAL = "local"  # an address of the host, seen from outside: the kernel warns, and moves nothing
    FULL = "full"  # as many entries are learned as the bridge may learn
    NOT_READ = "not-read"  # the FDB was not read to its end: there may be an entry

    @property
    def changes(self) -> bool:
        """The FDB is another one afterwards."""
        return self in (Learned.NEW, Learned.MOVED)


class Move(NamedTuple):
    """The FDB entry of a frame's source, before and after."""

    learned: Learned
    before: Entry | None = None
    after: Entry | None = None
