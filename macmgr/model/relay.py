"""The facts of a bridge and of its ports that only decide where frames go: macmgr reads them and never sets them.

Plain records, with the values that the kernel gives to a new bridge and a new port. The netlink edge fills them, and
`macmgr.forwarding` reads them. Sources: net/bridge/br_netlink.c, include/uapi/linux/if_link.h and if_bridge.h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import NamedTuple


class PortState(IntEnum):
    """A port's state, or its state in one VLAN; the numbers of BR_STATE_… in the kernel.

    The kernel disables a port that is down, has no carrier, or whose bridge is down, whether or not STP runs.
    """

    DISABLED = 0
    LISTENING = 1
    LEARNING = 2
    FORWARDING = 3
    BLOCKING = 4

    @property
    def learns(self) -> bool:
        """The bridge learns from the port's frames. It forwards none of them unless the state is FORWARDING."""
        return self in (PortState.LEARNING, PortState.FORWARDING)


class VlanProtocol(StrEnum):
    """The kind of a VLAN tag. A bridge that filters VLANs reads and writes one kind; the other is payload to it."""

    DOT1Q = "802.1Q"
    DOT1AD = "802.1ad"


class Tag(NamedTuple):
    """A VLAN tag of a frame. VID 0 carries only a priority."""

    vid: int
    protocol: VlanProtocol = VlanProtocol.DOT1Q


class RouterMode(IntEnum):
    """A multicast router is behind a port, or on the host; the numbers of MDB_RTR_TYPE_… in the kernel."""

    NEVER = 0
    HEARD = 1  # if the bridge has heard its queries
    ALWAYS = 2
    FOR_NOW = 3  # until its time is over; of a port only


@dataclass(frozen=True, slots=True)
class PortRelay:
    """A port. ``vlan_states`` has the VIDs whose state is not FORWARDING.

    ``carrier`` and ``operational`` are the kernel's IFF_LOWER_UP and IFF_RUNNING; both are False while the port is
    down. ``multicast_flood`` and ``broadcast_flood`` do not stop the host's own frames. With ``mab``, a locked port
    keeps entries that let no frame in. ``group_forward`` is a mask of the addresses 01:80:c2:00:00:0X that the port
    forwards. A port with ``proxy_arp`` gets no flooded frame. ``backup`` is the port that gets its frames while it has
    no carrier. VLAN devices on the port take the frames with the tags ``taken``; the bridge gets none of them. With
    ``to_unicast``, each member of a group behind the port gets a copy of its own, whatever it asked for.
    """

    state: PortState = PortState.FORWARDING
    carrier: bool = True
    operational: bool = True
    broadcast_flood: bool = True
    multicast_flood: bool = True
    hairpin: bool = False
    mab: bool = False
    proxy_arp: bool = False
    group_forward: int = 0
    mtu: int = 1500
    backup: str = ""
    taken: tuple[Tag, ...] = ()
    router: RouterMode = RouterMode.HEARD
    to_unicast: bool = False
    vlan_states: Mapping[int, PortState] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class BridgeRelay:
    """A bridge. ``vlan_states`` has the VIDs of the bridge's own interface whose state is not FORWARDING.

    ``operational`` is IFF_RUNNING: the bridge is up and a port forwards. The host sends nothing before that. ``ages``:
    entries age. A bridge without an ageing time learns nothing. ``group_forward`` is the mask of a port's, for all
    ports. ``link_local_learning``: the bridge learns from frames that it hands to the host, as LLDP's. With
    ``snooping``, multicast goes where hosts asked for it, once there is a ``querier``, or for IPv6 a ``querier_ipv6``;
    None if that cannot be read. With ``snooping_by_vlan``, each VLAN has queriers and routers of its own. With
    ``sources_ipv4`` (IGMPv3) and ``sources_ipv6`` (MLDv2), a group's entries may be of single sources. ``router``: the
    host is a multicast router. ``all_multicast``: somebody on the host wants all multicast. With ``mst``, a port's
    state is that of each VLAN alone. ``room`` is how many more entries it may learn; None for no limit.
    ``local_in_vid_0``: the local entries of VID 0 count in each VID.
    """

    protocol: VlanProtocol = VlanProtocol.DOT1Q
    stp: bool = False
    operational: bool = True
    ages: bool = True
    group_forward: int = 0
    link_local_learning: bool = True
    snooping: bool = True
    querier: bool | None = False
    querier_ipv6: bool | None = False
    snooping_by_vlan: bool = False
    sources_ipv4: bool = False
    sources_ipv6: bool = False
    router: RouterMode = RouterMode.HEARD
    all_multicast: bool = False
    mst: bool = False
    room: int | None = None
    local_in_vid_0: bool = False
    vlan_states: Mapping[int, PortState] = field(default_factory=dict, hash=False)
