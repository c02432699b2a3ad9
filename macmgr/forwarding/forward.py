"""The answer for one frame: which ports and whether the host get it, and for each that does not, why. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from macmgr.forwarding.egress import Aim, aim, at_host, at_port
from macmgr.forwarding.frames import Frame
from macmgr.forwarding.ingress import Entered, enter
from macmgr.forwarding.reasons import Fate, Learned, Move, Reason
from macmgr.model.snapshot import Entry, Snapshot


@dataclass(frozen=True)
class Answer:
    """What the bridge does with a frame. The fates of a thousand ports are worked out where they are asked for."""

    snapshot: Snapshot
    entered: Entered
    aim: Aim

    @property
    def bridge(self) -> str:
        return self.entered.bridge.name

    @property
    def vid(self) -> int:
        """The VID in which the FDB is asked; 0 without VLAN filtering."""
        return self.entered.vid

    @property
    def stopped(self) -> Reason | None:
        """Why the bridge forwards the frame to nobody. None if it looks for a port."""
        return self.entered.stopped

    @property
    def move(self) -> Move:
        """What the frame does to the FDB entry of its source."""
        return self.entered.move

    @property
    def entry(self) -> Entry | None:
        """The entry that decides where the frame goes."""
        return self.aim.entry if self.stopped is None else None

    def at(self, interface: str) -> Fate:
        """The fate of the frame at a port of the bridge, or at the bridge itself, which is the host."""
        if interface == self.bridge:
            return at_host(self.entered, self.aim)
        return at_port(self.entered, self.aim, self.snapshot.ports[interface])

    @cached_property
    def fates(self) -> Mapping[str, Fate]:
        """The fate at each port of the bridge, and at the bridge itself."""
        ports = (name for name, port in self.snapshot.ports.items() if port.bridge == self.bridge)
        return {name: self.at(name) for name in (*ports, self.bridge)}

    @property
    def reached(self) -> Mapping[str, Fate]:
        """Those that get the frame."""
        if self.aim.port is None:
            return {name: fate for name, fate in self.fates.items() if fate.reached}
        led_to = dict.fromkeys((self.aim.port, self.bridge))  # nobody else: one entry decides
        there = {name: self.at(name) for name in led_to if name == self.bridge or name in self.snapshot.ports}
        return {name: fate for name, fate in there.items() if fate.reached}


def forward(snapshot: Snapshot, ingress: str, frame: Frame) -> Answer:
    """Returns what a bridge does with a frame from ``ingress``: one of its ports, or the bridge itself for the host.

    A frame from somewhere behind an uplink comes in on the uplink's port.
    """
    entered = enter(snapshot, ingress, frame)
    return Answer(snapshot, entered, aim(snapshot, entered))


def after(answer: Answer) -> Snapshot:
    """Returns the snapshot as it is after the frame: its source may have been learned."""
    move, snapshot = answer.move, answer.snapshot
    if not move.learned.changes or move.after is None:
        return snapshot
    bridges = snapshot.bridges
    if move.learned is Learned.NEW and (room := answer.entered.bridge.relay.room) is not None:
        bridge = answer.entered.bridge
        bridges = {**bridges, bridge.name: replace(bridge, relay=replace(bridge.relay, room=room - 1))}
    kept = (entry for entry in snapshot.entries if entry is not move.before)
    return replace(snapshot, bridges=bridges, entries=(*kept, move.after))
