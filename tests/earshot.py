"""Who reaches whom on a host, frame by frame: for judging what changes and fixes do. The model of frames answers.

It asks pair by pair and knows of no groups, no findings and no plan, so it is no second copy of what it judges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


def listen(snapshot: Snapshot, intent: Intent, used: Mapping[str, Sequence[str]]) -> Earshot:
    """``used`` has further addresses behind guests' ports."""
    guests = {guest.port: guest for guest in intent.ports}
    reached: set[From] = set()
    hears: dict[Hears, Fate] = {}
    held: dict[From, Reason] = {}
    for guest in intent.ports:
        port = snapshot.ports.get(guest.port)
        if port is None or port.bridge not in snapshot.bridges or not guest.running:
            continue
        bridge = snapshot.bridges[port.bridge]
        places: list[Bridge | BridgePort] = [bridge, *_beside(port, snapshot)]
        for vid in snapshot.deciding_vids(guest.port):
            for mac in dict.fromkeys((*guest.macs, *used.get(guest.port, ()))):
                back = forward(snapshot, port.name, _frame(port, vid, mac, BROADCAST, bridge))
                for place in places:
                    source = _source(place, guests)
                    if source == mac:
                        continue
                    there = forward(snapshot, place.name, _frame(place, vid, source, mac, bridge)).at(port.name)
                    asks = forward(snapshot, place.name, _frame(place, vid, source, BROADCAST, bridge)).at(port.name)
                    answer = back.at(place.name)
                    if there.reached and asks.reached and answer.reached:
                        reached.add((guest.port, mac, place.name, vid))
                    held[guest.port, mac, place.name, vid] = there.reason
                    if mac == guest.macs[0] and place is not bridge:
                        hears[place.name, guest.port, vid] = answer
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
