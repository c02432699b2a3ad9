"""Decides how a guest's entries are pinned: as policy says; where policy says auto, by what is on the bridge. Pure.

A sticky entry is moved by no frame, and that is what a guest needs where frames say who is where. Where a control plane
says it (EVPN), NTF_STICKY means something else: that the address never moves to another host. zebra then refuses the
host to which the guest has moved, for as long as it lives (docs/adr/0011).
"""

from __future__ import annotations

from macmgr.model.intent import Pin
from macmgr.model.snapshot import Snapshot


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
