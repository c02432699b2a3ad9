"""The plan while it is made: findings, changes by the phase in which they are safe, and the FDB that it starts from.

A sticky entry is moved by no frame, and that is what a guest needs where frames say who is where. Where a control plane
says it (EVPN), NTF_STICKY means something else: that the address never moves to another host. zebra then refuses the
host to which the guest has moved, for as long as it lives (docs/adr/0011).

An entry without a VID in its request is one for VID 0 and every VID of the port (br_fdb_add), which for a trunk of all
VIDs is 4095 entries for each MAC. On a trunk there is one where a frame can come from (docs/adr/0007).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from macmgr.model.changes import Change, SetFlags, SetVids
from macmgr.model.findings import Code, Finding, Repair
from macmgr.model.intent import GuestPort, Pin, Scope
from macmgr.model.snapshot import BridgePort, Entry, EntryState, Feature, Snapshot


@dataclass(frozen=True, slots=True)
class Stranded:
    """An entry that may not stay, in a VID that its port has lost, and why; see `macmgr.planning.leftovers`.

    ``why`` says in words why it is cleared, empty where the finding's code does.
    """

    entry: Entry
    bridge: str
    domain: str
    code: Code
    text: str
    why: str = ""

    @property
    def in_any_vid(self) -> Stranded:
        """The same, whatever its VID."""
        return replace(self, entry=self.entry._replace(vid=0))


@dataclass(slots=True)
class Draft:
    """Bring ports to how they were plugged, open floods, put entries, close floods and learning, drop what is stale.

    Each list is a phase.

    ``stranded`` waits for all of it to be known: what clears one such entry clears its neighbours too.
    """

    findings: list[Finding] = field(default_factory=list)
    plugs: list[SetFlags | SetVids] = field(default_factory=list)
    opens: list[Change] = field(default_factory=list)
    puts: list[Change] = field(default_factory=list)
    closes: list[Change] = field(default_factory=list)
    drops: list[Change] = field(default_factory=list)
    stranded: list[Stranded] = field(default_factory=list)

    @property
    def changes(self) -> tuple[Change, ...]:
        return (*self.plugs, *self.opens, *self.puts, *self.closes, *self.drops)

    def report(
        self,
        code: Code,
        guest: GuestPort,
        message: str,
        *,
        mac: str = "",
        vid: int | None = None,
        mends: tuple[Repair, ...] = (),
        note: str = "",
    ) -> None:
        self.findings.append(Finding(code, message, guest.bridge, guest.port, guest.domain, mac, vid, mends, note))

    def report_at(
        self, code: Code, message: str, *, bridge: str, domain: str, entry: Entry, mends: tuple[Repair, ...]
    ) -> None:
        """Note a finding about an entry on a port that is no guest's of ours."""
        self.findings.append(Finding(code, message, bridge, entry.port, domain, entry.mac, entry.vid, mends))


@dataclass(frozen=True, slots=True)
class Plan:
    """An audit prints it and an apply executes it. ``changes`` are in the order in which they are safe."""

    changes: tuple[Change, ...] = ()
    findings: tuple[Finding, ...] = ()

    def only(self, scope: Scope) -> Plan:
        return Plan(tuple(filter(scope.covers, self.changes)), tuple(filter(scope.covers, self.findings)))


class Pins:
    """The pins on the bridges of one snapshot: never auto."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._planes: dict[str, str] = {}
        for port in snapshot.ports.values():
            if port.has_control_plane:
                self._planes.setdefault(port.bridge, port.name)

    def of(self, pin: Pin, bridge: str) -> Pin:
        """The pin of the entries on a bridge, where policy says ``pin``."""
        if pin is not Pin.AUTO:
            return pin
        return Pin.STATIC if bridge in self._planes else Pin.STICKY

    def control_plane(self, bridge: str) -> str | None:
        """The port by which a control plane puts addresses into the bridge's MAC table, if there is one."""
        return self._planes.get(bridge)

    def why(self, bridge: str) -> str:
        """Why pin='auto' is not sticky there; empty where it is."""
        plane = self._planes.get(bridge)
        if plane is None:
            return ""
        return f"a control plane puts addresses here, because the vxlan {plane} does not learn by itself"


# Up to so many VIDs an entry in each costs less than a VID that is added elsewhere and waits for the next look.
MANY_VIDS = 64


class Carriers:
    """Counts who takes part in each VID of a bridge: its ports, and the host through the bridge itself."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._counts: dict[str, Counter[int]] = {}

    def vids_of(self, port: BridgePort) -> tuple[int, ...]:
        """The VIDs in which the port's guest needs its entries, ascending; VID 0 is what counts without filtering.

        VID 0 cannot be had without an entry in every VID of the port, so a trunk without those has none.
        """
        every_vid = tuple(sorted({0, *port.vids}))
        if len(port.vids) <= MANY_VIDS or not self._snapshot.bridges[port.bridge].vlan_filtering:
            return every_vid
        counts = self._counts.get(port.bridge)
        if counts is None:
            counts = self._counts[port.bridge] = self._count(port.bridge)
        shared = tuple(vid for vid in port.vids if counts[vid] > 1)
        return every_vid if shared == port.vids else shared

    def _count(self, bridge: str) -> Counter[int]:
        counts = Counter(self._snapshot.bridges[bridge].vids)
        for port in self._snapshot.ports.values():
            if port.bridge == bridge:
                counts.update(port.vids)
        return counts


class Table:
    """The FDB of all bridges of a snapshot, and what this kernel ``lacks``, by what the planner asks for."""

    def __init__(self, snapshot: Snapshot, lacks: Collection[Feature] = ()) -> None:
        self._snapshot, self._lacks, self.fdb = snapshot, lacks, snapshot.fdb
        self.pins = Pins(snapshot)
        self._reachable: dict[str, frozenset[int]] = {}

    def static_on(self, port: BridgePort, mac: str) -> Mapping[int, Entry]:
        """The static entries that lead a MAC to a port, by VID.

        An entry that an external control plane made keeps its extern_learn through every put (fdb_add_entry), and is
        dynamic by itself: a static one is our doing, and as a dynamic one it is again what it was.
        """
        return self.fdb.static_on(port.name, port.bridge, mac)

    def has_static(self, guest: GuestPort, mac: str, vid: int) -> bool:
        entry = self.fdb.at(guest.bridge, mac, vid)
        return entry is not None and entry.port == guest.port and entry.state is EntryState.STATIC

    def stranded(self, entry: Entry) -> bool:
        """The entry is in a VID that its port has lost: no request can name it."""
        port = self._snapshot.ports.get(entry.port)
        return port is not None and entry.vid not in self._vids_of(port)

    def is_alive(self, entry: Entry) -> bool:
        """Its station was seen there, in a VID in which the bridge looks addresses up."""
        port = self._snapshot.ports.get(entry.port)
        filters = port is not None and self.filters(port.bridge)
        return entry.state is EntryState.DYNAMIC and bool(entry.vid) is filters

    def filters(self, bridge: str) -> bool:
        """The bridge looks addresses up in VLANs, and not in VID 0."""
        return self._snapshot.bridges[bridge].vlan_filtering

    def is_sticky(self, guest: GuestPort) -> bool:
        return self.pins.of(guest.policy.pin, guest.bridge) is Pin.STICKY

    def by_control_plane(self, entry: Entry) -> bool:
        return self._snapshot.by_control_plane(entry)

    def lacks(self, feature: Feature) -> bool:
        return feature in self._lacks

    def _vids_of(self, port: BridgePort) -> frozenset[int]:
        """VID 0 and those that the port carries; asked for each entry of it, and a trunk has thousands of both."""
        vids = self._reachable.get(port.name)
        if vids is None:
            vids = self._reachable[port.name] = frozenset((0, *port.vids))
        return vids
