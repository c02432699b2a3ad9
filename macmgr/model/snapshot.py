"""The snapshot: bridges, their ports with flags and VIDs, and the FDB, as read in one network namespace.

Plain records between the netlink edge, which fills them, and the planner, which compares them with the
intent. Names are those of bridge(8); sources: net/bridge/br_fdb.c, br_netlink.c, include/uapi/linux/neighbour.h.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from macmgr.model.flags import NEW_PORT
from macmgr.model.flags import PortFlags as PortFlags

Key = tuple[str, str, int]
"""Bridge, MAC address, VID: the kernel keeps one entry for each."""


class EntryState(StrEnum):
    """The origin of an FDB entry, in bridge(8)'s words."""

    STATIC = "static"  # set by an administrator, NUD_NOARP: the only state a guest's entry may have
    LOCAL = "permanent"  # the bridge's own address, NUD_PERMANENT: frames go to the host
    DYNAMIC = "dynamic"  # learned, ages


class Entry(NamedTuple):
    """An FDB entry: (MAC, VID) leads to a port.

    ``port`` is an interface name; for the bridge's own addresses it is the bridge. VID 0 is the copy the
    kernel looks up while VLAN filtering is off. A tuple, for there may be a hundred thousand: a frozen dataclass
    takes four times as long to make, and to hash.
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
        """The state and flags, in bridge(8)'s words."""
        return " ".join([str(self.state)] + ["sticky"] * self.sticky + ["extern_learn"] * self.extern_learn)


class Fdb:
    """The entries of all bridges of a snapshot, by bridge, MAC and VID, and by port.

    Each index is made when it is first asked for: there may be a hundred thousand entries. ``bridges`` maps each
    interface to the bridge whose FDB its entries belong to; an entry on any other interface is in no index but that by
    port.
    """

    def __init__(self, entries: Sequence[Entry], bridges: Mapping[str, str]) -> None:
        self._entries, self._bridges = entries, bridges

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def at(self, bridge: str, mac: str, vid: int) -> Entry | None:
        """The entry that a bridge has for a MAC in one VID."""
        return self.of_mac(bridge, mac).get(vid)

    def of_mac(self, bridge: str, mac: str) -> Mapping[int, Entry]:
        """The entries that a bridge has for one MAC, by VID."""
        return self._by_mac.get((bridge, mac), {})

    def of_port(self, port: str) -> list[Entry]:
        """All entries that lead to one port."""
        return self._by_port.get(port, [])

    def of_bridge(self, bridge: str) -> Iterator[Entry]:
        """All entries of one bridge, in the order in which they were read."""
        return (entry for entry in self._entries if self._bridges.get(entry.port) == bridge)

    def static_on(self, port: str, bridge: str, mac: str) -> dict[int, Entry]:
        """The static entries by which a bridge leads a MAC to a port, by VID."""
        there = self.of_mac(bridge, mac).items()
        return {vid: entry for vid, entry in there if entry.port == port and entry.state is EntryState.STATIC}

    def at_all(self, keys: Iterable[Key]) -> dict[Key, Entry | None]:
        """The entries for exactly these keys; None where there is none."""
        return {key: self.at(*key) for key in keys}

    def with_found(self, found: Mapping[Key, Entry | None]) -> tuple[Entry, ...]:
        """All entries, with what was looked up by name in the place of what was read under the same keys."""
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


# Entries of one bridge. Up to so many, that the kernel begins anew for each part of its answer takes no longer than to
# decode them; at ten times as many it takes ten times as long as that.
MOST_LISTED = 40_000


class Feature(StrEnum):
    """A feature that a kernel may lack without saying so, by its name in a state file."""

    STICKY = "sticky"  # Linux 4.20: before it, the flag is acknowledged and dropped
    FLUSH = "flush"  # Linux 5.19: deleting by port, VID and state


@dataclass(frozen=True, slots=True)
class BridgePort:
    """An interface enslaved to a bridge. ``promiscuity`` is the kernel's counter, 0 means not promiscuous.

    ``forwarding`` is about its STP state: a port that neither learns nor forwards takes no dynamic entry.
    ``pvid`` is the VID that its untagged frames get; ``untagged`` are those whose frames leave it without a tag.
    ``elsewhere`` says that what it is linked to, as a veth to its other end, is in another network namespace.
    ``tunnel_learning`` is that of a vxlan: whether it learns by itself behind which host an address is. None for all
    other kinds.
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
    isolated: bool = False
    forwarding: bool = True
    elsewhere: bool = False
    untagged: tuple[int, ...] = ()
    tunnel_learning: bool | None = None

    @property
    def auto(self) -> bool:
        """An auto port, in the kernel's words: it learns or floods (br_if.c, br_auto_mask)."""
        return self.flags.learning or self.flags.unicast_flood

    @property
    def has_control_plane(self) -> bool:
        """A control plane (EVPN) says which addresses are behind it: a vxlan that learns none by itself."""
        return self.tunnel_learning is False


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge device. ``vlan_filtering`` decides whether any port can leave promiscuous mode.

    ``vids`` are those that the host itself takes part in, through the bridge's own interface. ``default_pvid`` is the
    one that a new port gets, 0 for none; None on a kernel without VLANs.
    """

    name: str
    ifindex: int
    mac: str
    vlan_filtering: bool = False
    promiscuity: int = 0
    up: bool = True
    vids: tuple[int, ...] = ()
    default_pvid: int | None = None


class Stacked(NamedTuple):
    """A device that is stacked on a bridge itself (8021q, macvlan, a VRRP VMAC) with an address of its own.

    ``vids`` are those in which the bridge's FDB is asked for that address while it filters VLANs.
    """

    bridge: str
    name: str
    mac: str
    vids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """One reading of one network namespace.

    ``masters`` maps every interface to the interface it is enslaved to, or None: it tells a tap that does
    not exist from one that is on no bridge. An FDB dump is not atomic: an entry missing here was confirmed
    missing by the reader before the planner sees it.
    ``listed`` are the bridges whose FDB was read to its end, None for all of them. Of any other, ``entries`` has what
    was asked for, and that it has no more proves nothing; but of ``listed_ports`` it has all. ``stacked`` are the
    host's devices on bridges. ``refreshed`` says of entries that took an address from an uplink when they were put, or
    the address was seen elsewhere: not before, and not after, in seconds of one clock.
    """

    bridges: Mapping[str, Bridge] = field(default_factory=dict)
    ports: Mapping[str, BridgePort] = field(default_factory=dict)
    masters: Mapping[str, str | None] = field(default_factory=dict)
    entries: tuple[Entry, ...] = ()
    listed: Collection[str] | None = None
    listed_ports: Collection[str] = ()
    stacked: tuple[Stacked, ...] = ()
    refreshed: Mapping[Key, tuple[float, float]] = field(default_factory=dict)

    @cached_property
    def fdb(self) -> Fdb:
        """The entries, indexed once for this snapshot."""
        bridges = {name: port.bridge for name, port in self.ports.items()}
        return Fdb(self.entries, bridges | {name: name for name in self.bridges})

    def port_on(self, bridge: str, name: str) -> BridgePort | None:
        """The port of that name, where it is on that bridge."""
        port = self.ports.get(name)
        return port if port is not None and port.bridge == bridge else None

    def lists(self, bridge: str) -> bool:
        """The bridge's FDB was read to its end: what is not in it is not there."""
        return self.listed is None or bridge in self.listed

    def lists_port(self, port: str) -> bool:
        """All entries that lead to the port are known."""
        return port in self.listed_ports or self.lists(self.bridge_of(port) or "")

    def bridge_of(self, interface: str) -> str | None:
        """The bridge whose FDB an entry on ``interface`` belongs to: its own for a bridge, else its master."""
        if interface in self.bridges:
            return interface
        port = self.ports.get(interface)
        return port.bridge if port else None

    def by_control_plane(self, entry: Entry) -> bool:
        """An external control plane has put the entry: it says so (extern_learn), or nobody else would.

        That is a static sticky one on a vxlan. FRR puts another host's sticky address there without extern_learn; no
        frame moves a sticky entry, so none was moved there; and macmgr puts none there.
        """
        if entry.extern_learn or not (entry.sticky and entry.state is EntryState.STATIC):
            return entry.extern_learn
        port = self.ports.get(entry.port)
        return port is not None and port.kind == VXLAN

    def deciding_vids(self, port: str) -> tuple[int, ...]:
        """The VIDs in which its bridge looks up what goes to a port."""
        there = self.ports[port]
        return there.vids if self.bridges[there.bridge].vlan_filtering and there.vids else (0,)

    def own_addresses(self) -> dict[tuple[str, str], str]:
        """The addresses of each bridge and of its ports, in words: without one of them the host is off the network."""
        own = {(bridge.name, bridge.mac): f"the bridge {bridge.name} itself" for bridge in self.bridges.values()}
        for port in self.ports.values():
            own.setdefault((port.bridge, port.mac), f"the port {port.name}")
        return own

    def stacked_addresses(self) -> dict[tuple[str, str, int], str]:
        """The addresses of what is stacked on the bridges, in the VIDs in which it has them, in words.

        VID 0 is one of them: without VLAN filtering that is where each VID is looked up.
        """
        return {
            (each.bridge, each.mac, vid): f"{each.name}, which is stacked on {each.bridge}"
            for each in self.stacked
            for vid in (0, *each.vids)
        }
