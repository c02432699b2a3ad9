"""Decides the form of a guest's entries: how they are pinned, and in which VIDs there is one. Pure.

A sticky entry is moved by no frame, and that is what a guest needs where frames say who is where. Where a control plane
says it (EVPN), NTF_STICKY means something else: that the address never moves to another host. zebra then refuses the
host to which the guest has moved, for as long as it lives (docs/adr/0011).

An entry without a VID in its request is one for VID 0 and every VID of the port (br_fdb_add), which for a trunk of all
VIDs is 4095 entries for each MAC. On a trunk there is one where a frame can come from (docs/adr/0007).
"""

from __future__ import annotations

from collections import Counter

from macmgr.model.intent import Pin
from macmgr.model.snapshot import BridgePort, Snapshot


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
        return f"a control plane puts addresses here, for the vxlan {plane} does not learn by itself"


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
