"""Who reaches whom on a host, frame by frame: for judging what changes and fixes do. The model of frames answers.

It asks pair by pair and knows of no groups, no findings and no plan, so it is no second copy of what it judges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from macmgr.forwarding import BROADCAST, Frame, forward
from macmgr.forwarding.reasons import Fate, Reason
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.relay import Tag
from macmgr.model.snapshot import Bridge, BridgePort, EntryState, Snapshot

SOMEBODY = "02:00:5e:00:53:07"

From = tuple[str, str, str, int]
"""A guest's port and address, who sends to it (a port, or the bridge for the host), and the VID."""
Hears = tuple[str, str, int]
"""A port, the guest's port that it hears, and the VID."""


@dataclass(frozen=True)
class Earshot:
    """``reached`` are the pairs that reach each other; ``held`` why a sender's own port holds its frames back."""

    reached: frozenset[From]
    hears: Mapping[Hears, Fate]
    held: Mapping[From, Reason]


class Asked(NamedTuple):
    """Three frames between a guest and somebody: for its address, a broadcast, and the guest's own on the way back."""

    port: str
    mac: str
    sender: str
    vid: int
    own: bool
    there: Frame
    asks: Frame
    back: Frame

    @property
    def place(self) -> From:
        return self.port, self.mac, self.sender, self.vid


def asked(snapshot: Snapshot, intent: Intent, used: Mapping[str, Sequence[str]]) -> Iterator[Asked]:
    """The frames that say who reaches whom. ``used`` has further addresses behind guests' ports."""
    guests = {guest.port: guest for guest in intent.ports}
    for guest in intent.ports:
        port = snapshot.ports.get(guest.port)
        if port is None or port.bridge not in snapshot.bridges or not guest.running:
            continue
        bridge = snapshot.bridges[port.bridge]
        places: list[Bridge | BridgePort] = [bridge, *_beside(port, snapshot)]
        for vid in snapshot.deciding_vids(guest.port):
            for mac in dict.fromkeys((*guest.macs, *used.get(guest.port, ()))):
                back = _frame(port, vid, mac, BROADCAST, bridge)
                for place in places:
                    source = _source(place, guests)
                    if source != mac:
                        there = _frame(place, vid, source, mac, bridge)
                        asks = _frame(place, vid, source, BROADCAST, bridge)
                        yield Asked(port.name, mac, place.name, vid, mac == guest.macs[0], there, asks, back)


def listen(snapshot: Snapshot, intent: Intent, used: Mapping[str, Sequence[str]]) -> Earshot:
    """Who reaches whom, by the model."""
    reached: set[From] = set()
    hears: dict[Hears, Fate] = {}
    held: dict[From, Reason] = {}
    for each in asked(snapshot, intent, used):
        there = forward(snapshot, each.sender, each.there).at(each.port)
        asks = forward(snapshot, each.sender, each.asks).at(each.port)
        answer = forward(snapshot, each.port, each.back).at(each.sender)
        if there.reached and asks.reached and answer.reached:
            reached.add(each.place)
        held[each.place] = there.reason
        if each.own and each.sender not in snapshot.bridges:
            hears[each.sender, each.port, each.vid] = answer
    return Earshot(frozenset(reached), hears, held)


def in_use(snapshot: Snapshot) -> dict[str, list[str]]:
    """The addresses that are learned behind each port that learns still."""
    found: dict[str, list[str]] = {}
    for entry in snapshot.entries:
        port, learned = snapshot.ports.get(entry.port), entry.state is EntryState.DYNAMIC and not entry.extern_learn
        if learned and port is not None and port.flags.learning and entry.vid in snapshot.deciding_vids(port.name):
            found.setdefault(port.name, []).append(entry.mac)
    return found


def _beside(port: BridgePort, snapshot: Snapshot) -> list[BridgePort]:
    return [each for each in snapshot.ports.values() if each.bridge == port.bridge and each is not port]


def _source(place: Bridge | BridgePort, guests: Mapping[str, GuestPort]) -> str:
    if isinstance(place, Bridge):
        return place.mac
    guest = guests.get(place.name)
    return guest.macs[0] if guest is not None else SOMEBODY


def _frame(place: Bridge | BridgePort, vid: int, source: str, destination: str, bridge: Bridge) -> Frame:
    tagged = bridge.vlan_filtering and vid and place.pvid != vid
    return Frame(source, destination, (Tag(vid, bridge.relay.protocol),) if tagged else ())
