"""The snapshot: bridges, their ports with flags and VIDs, and the FDB, as read in one network namespace.

Plain records: the netlink edge fills them, and the planner compares them with the intent. Names are those of bridge(8);
sources: net/bridge/br_fdb.c, br_netlink.c, include/uapi/linux/neighbour.h.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from macmgr.model.flags import NEW_PORT
from macmgr.model.flags import PortFlags as PortFlags
from macmgr.model.multicast import Mdb
from macmgr.model.relay import BridgeRelay, PortRelay
from macmgr.model.vids import PortVids

Key = tuple[str, str, int]
"""Bridge, MAC address, VID: the kernel keeps one entry for each."""


class EntryState(StrEnum):
    """The origin of an FDB entry, in bridge(8)'s words."""

    STATIC = "static"  # set by an administrator, NUD_NOARP: the only state a guest's entry may have
    LOCAL = "permanent"  # the bridge's own address, NUD_PERMANENT: frames go to the host
    DYNAMIC = "dynamic"  # learned, ages


class Entry(NamedTuple):
    """An FDB entry: (MAC, VID) leads to a port.

    ``port`` is an interface name; for the bridge's own addresses it is the bridge. The kernel looks up the copy with
    VID 0 while VLAN filtering is off. A tuple, because there may be a hundred thousand: a frozen dataclass takes four
    times as long to make, and to hash.
    """

    mac: str
    vid: int
    port: str
    state: EntryState = EntryState.STATIC
    sticky: bool = False
    extern_learn: bool = False

    @property
    def key(self) -> tuple[str, int]:
        return self.mac, self.vid

    @property
    def in_words(self) -> str:
        return " ".join([str(self.state)] + ["sticky"] * self.sticky + ["extern_learn"] * self.extern_learn)


class Fdb:
    """The entries of all bridges of a snapshot, by bridge, MAC and VID, and by port.

    Each index is built on first use: there may be a hundred thousand entries. ``bridges`` maps each interface to the
    bridge whose FDB holds its entries. An entry on any other interface is only in the index by port.
    """

    def __init__(self, entries: Sequence[Entry], bridges: Mapping[str, str]) -> None:
        self._entries, self._bridges = entries, bridges

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def at(self, bridge: str, mac: str, vid: int) -> Entry | None:
        return self.of_mac(bridge, mac).get(vid)

    def of_mac(self, bridge: str, mac: str) -> Mapping[int, Entry]:
        return self._by_mac.get((bridge, mac), {})

    def of_port(self, port: str) -> list[Entry]:
        return self._by_port.get(port, [])

    def of_bridge(self, bridge: str) -> Iterator[Entry]:
        """Yields all entries of one bridge, in reading order."""
        return (entry for entry in self._entries if self._bridges.get(entry.port) == bridge)

    def static_on(self, port: str, bridge: str, mac: str) -> dict[int, Entry]:
        there = self.of_mac(bridge, mac).items()
        return {vid: entry for vid, entry in there if entry.port == port and entry.state is EntryState.STATIC}

    def at_all(self, keys: Iterable[Key]) -> dict[Key, Entry | None]:
        """Returns the entries for exactly these keys; None for a key without one."""
        return {key: self.at(*key) for key in keys}

    def with_found(self, found: Mapping[Key, Entry | None]) -> tuple[Entry, ...]:
        """Returns all entries; those looked up by name replace those read under the same keys."""
        macs = {mac for _, mac, _ in found}
        kept = (
            entry
            for entry in self._entries
            if entry.mac not in macs or (self._bridges.get(entry.port), entry.mac, entry.vid) not in found
        )
        return (*kept, *(entry for entry in found.values() if entry is not None))

    @cached_property
    def _by_mac(self) -> dict[tuple[str, str], dict[int, Entry]]:
        index: dict[tuple[str, str], dict[int, Entry]] = {}
        for entry in self._entries:
            if (bridge := self._bridges.get(entry.port)) is not None:
                index.setdefault((bridge, entry.mac), {})[entry.vid] = entry
        return index

    @cached_property
    def _by_port(self) -> dict[str, list[Entry]]:
        index: dict[str, list[Entry]] = {}
        for entry in self._entries:
            index.setdefault(entry.port, []).append(entry)
        return index


VXLAN = "vxlan"  # the kind of a tunnel that carries a bridge's frames to other hosts


# The most entries of one bridge to list. The kernel starts anew for each part of its answer. Up to this number that
# costs no more than decoding; at ten times as many it costs ten times as much as decoding.
MOST_LISTED = 40_000


class Feature(StrEnum):
    """A feature that a kernel may silently lack, by its name in a state file."""

    STICKY = "sticky"  # Linux 4.20: before it, the flag is acknowledged and dropped
    FLUSH = "flush"  # Linux 5.19: deletes by port, VID and state


@dataclass(frozen=True, slots=True)
class BridgePort:
    """An interface enslaved to a bridge. ``promiscuity`` is the kernel's counter; 0 is not promiscuous.

    ``pvid`` is the VID of its untagged frames. Frames of the ``untagged`` VIDs leave it without a tag. ``elsewhere``:
    the other end of its link, as of a veth, is in another network namespace. ``outward``: that end is on a bridge
    there, or may not be looked at; asked only where nothing else tells an uplink. ``peer`` is a veth's other end, if
    that is here. ``tunnel_learning`` is a vxlan's: it learns by itself which host an address is behind. None for all
    other kinds. ``relay`` is what else decides about frames.
    """

    name: str
    ifindex: int
    bridge: str
    mac: str
    flags: PortFlags = NEW_PORT
    vids: tuple[int, ...] = ()
    pvid: int | None = None
    promiscuity: int = 0
    up: bool = True
    kind: str = ""
    elsewhere: bool = False
    outward: bool = False
    peer: str = ""
    untagged: tuple[int, ...] = ()
    tunnel_learning: bool | None = None
    relay: PortRelay = PortRelay()  # noqa: RUF009 - frozen

    @property
    def forwarding(self) -> bool:
        """Its state lets the bridge learn from it. A port that does not takes no dynamic entry."""
        return self.relay.state.learns

    @property
    def vlans(self) -> PortVids:
        return PortVids(tuple(sorted(self.vids)), self.pvid, tuple(sorted(self.untagged)))

    @property
    def isolated(self) -> bool:
        """No frame passes between it and another isolated port. A kernel before 4.18 isolates none."""
        return bool(self.flags.isolated)

    @property
    def auto(self) -> bool:
        """The port is an auto port in the kernel's sense: it learns or floods (br_if.c, br_auto_mask)."""
        return self.flags.learning or self.flags.unicast_flood

    @property
    def has_control_plane(self) -> bool:
        """A control plane (EVPN) decides the addresses behind the port: a vxlan that learns none by itself."""
        return self.tunnel_learning is False


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge device. With ``vlan_filtering`` off, no port can leave promiscuous mode.

    The host itself takes part in ``vids``, through the bridge's own interface: its untagged frames are in ``pvid``, and
    it gets those of the ``untagged`` VIDs without a tag. ``default_pvid`` is a new port's, 0 for none; None on a kernel
    without VLANs.
    """

    name: str
    ifindex: int
    mac: str
    vlan_filtering: bool = False
    promiscuity: int = 0
    up: bool = True
    vids: tuple[int, ...] = ()
    default_pvid: int | None = None
    pvid: int | None = None
    untagged: tuple[int, ...] = ()
    relay: BridgeRelay = BridgeRelay()  # noqa: RUF009 - frozen


class Stacked(NamedTuple):
    """A device of the host's, stacked on a bridge itself (8021q, macvlan, a VRRP VMAC).

    While the bridge filters VLANs, its FDB is asked for the device's address in ``vids``.
    """

    bridge: str
    name: str
    mac: str
    vids: tuple[int, ...] = ()
    kind: str = ""


@dataclass(frozen=True)
class Snapshot:
    """One reading of one network namespace.

    ``masters`` maps every interface to its master, or None: it tells a tap that does not exist from one that is on no
    bridge. An FDB dump is not atomic: before the planner sees it, the reader has confirmed that a missing entry is
    missing. ``listed`` are the bridges whose FDB was read to its end, None for all. Of other bridges, ``entries`` holds
    only what was asked for: an entry may exist and not be in it. Of ``listed_ports`` it has all entries. ``stacked``
    are the host's devices on bridges. ``refreshed`` is about entries that took an address from an uplink when they were
    put, or whose address was seen elsewhere. It bounds the time of that: not before, and not after, in seconds of one
    clock. ``mdb`` has the groups of the bridges of which they were read.
    """

    bridges: Mapping[str, Bridge] = field(default_factory=dict)
    ports: Mapping[str, BridgePort] = field(default_factory=dict)
    masters: Mapping[str, str | None] = field(default_factory=dict)
    entries: tuple[Entry, ...] = ()
    listed: Collection[str] | None = None
    listed_ports: Collection[str] = ()
    stacked: tuple[Stacked, ...] = ()
    refreshed: Mapping[Key, tuple[float, float]] = field(default_factory=dict)
    mdb: Mapping[str, Mdb] = field(default_factory=dict)

    @cached_property
    def fdb(self) -> Fdb:
        bridges = {name: port.bridge for name, port in self.ports.items()}
        return Fdb(self.entries, bridges | {name: name for name in self.bridges})

    def port_on(self, bridge: str, name: str) -> BridgePort | None:
        port = self.ports.get(name)
        return port if port is not None and port.bridge == bridge else None

    def lists(self, bridge: str) -> bool:
        """The bridge's FDB was read to its end: a missing entry does not exist."""
        return self.listed is None or bridge in self.listed

    def lists_port(self, port: str) -> bool:
        return port in self.listed_ports or self.lists(self.bridge_of(port) or "")

    def bridge_of(self, interface: str) -> str | None:
        """Returns the bridge whose FDB holds an entry on ``interface``: a bridge itself, or the interface's master."""
        if interface in self.bridges:
            return interface
        port = self.ports.get(interface)
        return port.bridge if port else None

    def by_control_plane(self, entry: Entry) -> bool:
        """An external control plane has put the entry: it is marked (extern_learn), or nobody else puts such a one.

        The latter is a static sticky entry on a vxlan. FRR puts another host's sticky address there without
        extern_learn. No frame moves a sticky entry, so none was moved there, and macmgr puts none there.
        """
        if entry.extern_learn or not (entry.sticky and entry.state is EntryState.STATIC):
            return entry.extern_learn
        port = self.ports.get(entry.port)
        return port is not None and port.kind == VXLAN

    def deciding_vids(self, port: str) -> tuple[int, ...]:
        """Returns the VIDs in which its bridge looks up frames to a port."""
        there = self.ports[port]
        return there.vids if self.bridges[there.bridge].vlan_filtering and there.vids else (0,)

    def own_addresses(self) -> dict[tuple[str, str], str]:
        """Returns the addresses of each bridge and its ports, in words. Without one the host is off the network."""
        own = {(bridge.name, bridge.mac): f"the bridge {bridge.name} itself" for bridge in self.bridges.values()}
        for port in self.ports.values():
            own.setdefault((port.bridge, port.mac), f"the port {port.name}")
        return own

    def stacked_addresses(self) -> dict[tuple[str, str, int], str]:
        """Returns the own addresses of devices stacked on the bridges, in their VIDs, with words.

        VID 0 is included: without VLAN filtering each VID is looked up there.
        """
        return {
            (each.bridge, each.mac, vid): f"{each.name}, which is stacked on {each.bridge}"
            for each in self.stacked
            if each.mac != self.bridges[each.bridge].mac
            for vid in (0, *each.vids)
        }
