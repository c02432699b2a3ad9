"""The kernel's events: an interface, a bridge port, its VIDs or an FDB entry is new or gone.

Plain records: the netlink edge fills them, and the daemon compares them with its last reading. They hold ifindexes,
because a name may belong to another interface when an event is read. They are tuples for the reason given at
`snapshot.Entry`. Sources: net/core/rtnetlink.c (rtmsg_ifinfo), net/bridge/br_netlink.c (br_info_notify), br_fdb.c
(fdb_notify), br_vlan.c (br_vlan_notify).
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from macmgr.model.relay import PortRelay, PortState
from macmgr.model.snapshot import EntryState, PortFlags


class LinkEvent(NamedTuple):
    """An interface as it is now, or as it was when it went.

    ``bridge_message``: the message is the bridge's about its port (AF_BRIDGE), not that about the interface
    (AF_UNSPEC). Only the bridge's reports a change of port flags or VIDs and holds ``vids``. Only the interface's holds
    kind, ``vlan_filtering`` and ``default_pvid``. Both hold ``flags`` and ``relay``. None: the message does not say.
    ``gone`` in a bridge's message: the port has left its ``master``, and the interface may live on. ``operational`` is
    IFF_RUNNING.
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
    relay: PortRelay | None = None
    operational: bool | None = None


class VlanEvent(NamedTuple):
    """A port, or a bridge itself, now carries the VIDs from ``first`` to ``last``, or (``gone``) no longer does.

    No other event of the ports reports a change of the bridge's default PVID. ``pvid``: untagged frames get this VID.
    ``state`` is that of the VIDs there (MSTP); None on a kernel before 5.6. ``untagged``: their frames leave untagged.
    """

    ifindex: int
    first: int
    last: int
    gone: bool
    pvid: bool
    state: PortState | None = None
    untagged: bool | None = None


class EntryEvent(NamedTuple):
    """An entry of a bridge's FDB as it is now, or as it was when it went. VID 0 is the copy without a VLAN.

    ``ifindex`` is the port's, or the bridge's own if the entry is one of its addresses.
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


class Strangers(NamedTuple):
    """FDB entries that nobody needs to hear of: all of these bridges, and on these ports all but of these MACs.

    Bridges and ports are ifindexes.
    """

    bridges: frozenset[int] = frozenset()
    ports: frozenset[int] = frozenset()
    macs: frozenset[str] = frozenset()

    def both(self, other: Strangers) -> Strangers:
        """Those that both leave out."""
        return Strangers(self.bridges & other.bridges, self.ports & other.ports, self.macs | other.macs)
