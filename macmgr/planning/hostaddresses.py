"""The addresses that are the host's own, and in which VIDs: no guest's entry takes their place. Pure.

Local entries tell: what the kernel adds for the bridge and its ports, and what an administrator or keepalived adds
beside it (`bridge fdb add MAC dev br0 self local`). One on a guest's tap that is not the tap's own address is a slip
(`bridge fdb add` without `static`): it cuts the guest off, and is no address of the host's. And what is stacked on a
bridge (a VLAN device, a macvlan, a VRRP VMAC) has addresses there that no entry tells of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from macmgr.model.snapshot import EntryState, Snapshot
from macmgr.planning.draft import Table


class HostAddresses:
    """The host's own addresses on all bridges; ``taps`` are the ports of guests."""

    def __init__(self, snapshot: Snapshot, table: Table, taps: Collection[str]) -> None:
        self._devices = snapshot.own_addresses()
        self._stacked: dict[tuple[str, str], dict[int, str]] = {}
        for (bridge, mac, vid), whose in snapshot.stacked_addresses().items():
            self._stacked.setdefault((bridge, mac), {})[vid] = whose
        self._table, self._taps = table, taps

    def among(self, bridge: str, mac: str, vids: Iterable[int]) -> dict[int, str]:
        """Those of ``vids`` in which an address is the host's, with whose it is in words.

        What is the host's in one VID is so in VID 0: without VLAN filtering that is where each VID is looked up, and a
        request for VID 0 is one for every VID of its port (br_fdb_add).
        """
        if device := self._devices.get((bridge, mac)):
            return dict.fromkeys(vids, device)
        own = {
            vid: f"the host (a local entry on {entry.port})"
            for vid, entry in self._table.of_mac(bridge, mac).items()
            if entry.state is EntryState.LOCAL and entry.port not in self._taps
        }
        own |= self._stacked.get((bridge, mac), {})
        if own:
            own.setdefault(0, next(iter(own.values())))
        return {vid: own[vid] for vid in vids if vid in own}
