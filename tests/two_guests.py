"""A host with two guests, as macmgr leaves their ports: for tests of where frames go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from macmgr.model.flags import PortFlags
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.snapshot import Bridge, BridgePort, Entry, Snapshot

WEB, DB = "52:54:00:00:00:01", "52:54:00:00:00:02"
CLOSED = PortFlags(learning=False, unicast_flood=False)
PINNED = (Entry(WEB, 0, "vnet1", sticky=True), Entry(DB, 0, "vnet2", sticky=True))
INTENT = Intent((GuestPort("vnet1", "br0", "web", "u1", (WEB,)), GuestPort("vnet2", "br0", "db", "u2", (DB,))))


def host(vlans: bool = False, entries: tuple[Entry, ...] | None = None, **ports: Any) -> Snapshot:
    """br0 with eth0, and the guests web on vnet1 and db on vnet2, which have their entries if none are given."""
    carried: dict[str, Any] = {"vids": (1,), "pvid": 1, "untagged": (1,)} if vlans else {}
    start = {
        "eth0": BridgePort("eth0", 10, "br0", "02:00:00:00:00:10", **carried),
        "vnet1": BridgePort("vnet1", 11, "br0", "fe:54:00:00:00:01", CLOSED, kind="tun", **carried),
        "vnet2": BridgePort("vnet2", 12, "br0", "fe:54:00:00:00:02", CLOSED, kind="tun", **carried),
    }
    made = {name: replace(port, **ports.get(name, {})) for name, port in start.items()}
    if entries is None:
        entries = tuple(entry._replace(vid=int(vlans)) for entry in PINNED)
    bridges = {"br0": Bridge("br0", 1, "02:b0:00:00:00:01", vlans, **carried)}
    return Snapshot(bridges, made, {"br0": None, **dict.fromkeys(made, "br0")}, entries)
