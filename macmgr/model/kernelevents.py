"""What the kernel tells whoever listens: an interface, a bridge port, its VIDs or an FDB entry are new or gone.

Plain records between the netlink edge, which fills them, and whoever compares them with the last reading. They
are in ifindexes, for a name may belong to another interface by the time an event is read. Tuples, as `snapshot.Entry`
and for its reason. Sources: net/core/rtnetlink.c (rtmsg_ifinfo), net/bridge/br_netlink.c (br_info_notify), br_fdb.c
(fdb_notify), br_vlan.c (br_vlan_notify).
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from macmgr.model.snapshot import EntryState, PortFlags


class LinkEvent(NamedTuple):
    """An interface as it is now, or as it was when it went.

    ``bridge_message`` tells the bridge's own message about its port (AF_BRIDGE) from that about the interface
    (AF_UNSPEC). A change of port flags or VIDs comes as the former, and only that one holds ``vids``; kind,
    ``vlan_filtering`` and ``default_pvid`` are only in the latter. None is what a message does not say; ``flags`` are
    in both.
    ``gone`` in a bridge's message says that the port has left its ``master``; the interface may live on.
    """

    ifindex: int
    name: str
    gone: bool
    master: int | None
    kind: str
    up: bool
    flags: PortFlags | None
    vlan_filtering: bool | None
    vids: tuple[int, ...] | None
    bridge_message: bool
    default_pvid: int | None = None


class VlanEvent(NamedTuple):
    """A port, or a bridge itself, carries the VIDs from ``first`` to ``last`` now, or (``gone``) no more.

    A change of the bridge's default PVID is told in no other event of its ports. ``pvid``: its untagged frames get it.
    """

    ifindex: int
    first: int
    last: int
    gone: bool
    pvid: bool


class EntryEvent(NamedTuple):
    """An entry of a bridge's FDB as it is now, or as it was when it went. VID 0 is the copy without a VLAN.

    ``ifindex`` is the port's, or the bridge's own where the entry is one of its addresses.
    """

    ifindex: int
    bridge: int
    mac: str
    vid: int
    gone: bool
    state: EntryState
    sticky: bool
    extern_learn: bool


class Lost(Enum):
    """Some events did not arrive, or were not understood: anything may have changed."""

    LOST = "lost"


LOST = Lost.LOST

Event = LinkEvent | EntryEvent | VlanEvent | Lost
