"""Decides in which VIDs a guest's MAC needs an entry: in all of its port's; on a trunk where a frame can come from.

An entry without a VID in its request is one for VID 0 and every VID of the port (br_fdb_add), which for a trunk of all
VIDs is 4095 entries for each MAC. The rule for trunks and its reasons: docs/adr/0007.
"""

from __future__ import annotations

from collections import Counter

from macmgr.model.snapshot import BridgePort, Snapshot

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
