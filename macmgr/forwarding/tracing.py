"""The frames of a trace: who sends them, from which port, in which VLAN, and which of them go the same way. Pure.

The bridge treats two senders alike as soon as their frames are alike inside it. So a thousand ports that ask for one
address are judged once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from macmgr.forwarding.consequences import SOMEBODY
from macmgr.forwarding.egress import at_port
from macmgr.forwarding.forward import Answer, forward
from macmgr.forwarding.frames import Frame, is_group
from macmgr.forwarding.reasons import Fate, Learned
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.relay import Tag
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, Snapshot


class Owner(StrEnum):
    """The owner of a frame's source address."""

    GUEST = "guest"  # the guest behind the port
    HOST = "host"
    GIVEN = "given"  # somebody asked for frames from this address
    NOBODY = "nobody"  # no entry has it: it stands for any address behind the port


class Sender(NamedTuple):
    """A frame's origin: a port, or a bridge for its host. ``vid`` is its VLAN; None for that of an untagged frame."""

    bridge: str
    place: str
    source: str
    owner: Owner
    vid: int | None = None


@dataclass(frozen=True)
class Trace:
    """Senders whose frames go the same way: one answer for each."""

    senders: tuple[Sender, ...]
    answers: tuple[Answer, ...]

    @property
    def answer(self) -> Answer:
        return self.answers[0]

    @property
    def fates(self) -> Mapping[str, Fate]:
        """The fate at each port and at the host. Where several send, it is that of a frame from another of them."""
        answer = self.answer
        if len(self.answers) == 1 or answer.entered.port is None:
            return answer.fates
        port = answer.entered.port
        seen = replace(port, relay=replace(port.relay, hairpin=True))
        return {**answer.fates, port.name: at_port(answer.entered._replace(port=seen), answer.aim, seen)}


def guests_with(snapshot: Snapshot, intent: Intent, mac: str) -> list[GuestPort]:
    """The guests' NICs with this address whose port is where it belongs."""
    found = (g for g in intent.ports if mac in (*g.macs, g.facts.current_mac, g.facts.configured_mac))
    return [guest for guest in found if snapshot.port_on(guest.bridge, guest.port)]


def senders_at(snapshot: Snapshot, intent: Intent, name: str) -> list[Sender]:
    """The host of the bridge, by a device stacked on it too, or whoever is behind the port."""
    if snapshot.bridge_of(name):
        return [_sender(snapshot, intent, name)]
    stacked = (each for each in snapshot.stacked if each.name == name)
    return [
        Sender(each.bridge, each.bridge, each.mac, Owner.HOST, vid)
        for each in stacked
        for vid in [next((vid for vid in each.vids if vid not in snapshot.bridges[each.bridge].untagged), None)]
    ]


def senders_with(snapshot: Snapshot, intent: Intent, mac: str) -> list[Sender]:
    """The station with this address, wherever it is known: at its guest's port, or else where its entries lead."""
    if guests := guests_with(snapshot, intent, mac):
        return [Sender(guest.bridge, guest.port, mac, Owner.GUEST) for guest in guests]
    found: dict[tuple[str, str], Sender] = {}
    for name, bridge in snapshot.bridges.items():
        for entry in _entries(snapshot, bridge, mac):
            host = entry.state is EntryState.LOCAL
            place = name if host else entry.port
            sender = Sender(name, place, mac, Owner.HOST if host else Owner.GIVEN, entry.vid or None)
            found.setdefault((name, place), sender)
        if mac == bridge.mac:
            found.setdefault((name, name), Sender(name, name, mac, Owner.HOST))
    return list(found.values())


def senders_to(snapshot: Snapshot, intent: Intent, mac: str) -> list[Sender]:
    """Everybody else on each bridge that knows the address: the host, and whoever is behind another port."""
    return list(_senders_to(snapshot, intent, mac))


def _senders_to(snapshot: Snapshot, intent: Intent, mac: str) -> Iterator[Sender]:
    guests = guests_with(snapshot, intent, mac)
    for name, bridge in sorted(snapshot.bridges.items()):
        places = [*(port.name for port in snapshot.ports.values() if port.bridge == name), name]
        if is_group(mac):
            yield from (_sender(snapshot, intent, place) for place in places)
            continue
        behind: dict[int | None, set[str]] = {}
        for guest in guests:
            if guest.bridge == name:
                behind.setdefault(_vid_of(bridge, snapshot.ports[guest.port]), set()).add(guest.port)
        entries = _entries(snapshot, bridge, mac) if not behind else []
        if entries:
            first = entries[0]
            behind[first.vid or None] = {name if first.state is EntryState.LOCAL else first.port}
        for vid, its in behind.items():
            for place in places:
                if place not in its:
                    yield _sender(snapshot, intent, place)._replace(vid=vid)


def _vid_of(bridge: Bridge, port: BridgePort) -> int | None:
    """The VLAN in which a guest is asked for: that of its untagged frames, or else the first of its port."""
    return (port.pvid or next(iter(port.vids), None)) if bridge.vlan_filtering else None


def vids_of(snapshot: Snapshot, intent: Intent, bridge: str, mac: str) -> tuple[int, ...]:
    """The VIDs in which a bridge may know the address."""
    if not snapshot.bridges[bridge].vlan_filtering or is_group(mac):
        return ()
    if guests := [guest for guest in guests_with(snapshot, intent, mac) if guest.bridge == bridge]:
        return tuple(sorted({vid for guest in guests for vid in snapshot.ports[guest.port].vids}))
    return tuple(entry.vid for entry in _entries(snapshot, snapshot.bridges[bridge], mac))


def _entries(snapshot: Snapshot, bridge: Bridge, mac: str) -> list[Entry]:
    """The entries that the bridge looks at: those of VID 0 only without VLAN filtering."""
    found = sorted(snapshot.fdb.of_mac(bridge.name, mac).items())
    return [entry for vid, entry in found if bool(vid) is bridge.vlan_filtering]


def _sender(snapshot: Snapshot, intent: Intent, place: str) -> Sender:
    if place in snapshot.bridges:
        return Sender(place, place, snapshot.bridges[place].mac, Owner.HOST)
    bridge = snapshot.ports[place].bridge
    for guest in intent.ports:
        if guest.port == place and guest.bridge == bridge:
            return Sender(bridge, place, guest.macs[0], Owner.GUEST)
    return Sender(bridge, place, _nobody(snapshot, bridge), Owner.NOBODY)


def _nobody(snapshot: Snapshot, bridge: str) -> str:
    """An address for documentation, locally administered, that no entry has."""
    numbers = (f"{SOMEBODY[:-2]}{number:02x}" for number in range(1, 256))
    return next((mac for mac in numbers if not snapshot.fdb.of_mac(bridge, mac)), SOMEBODY)


def trace(snapshot: Snapshot, senders: Iterable[Sender], destination: str, group: str = "") -> list[Trace]:
    """Asks the model about each sender's frame, and puts those together that go the same way.

    ``group`` is the IP address of the group whose MAC the destination is; empty if nobody said it.
    """
    alike: dict[object, list[tuple[Sender, Answer]]] = {}
    for sender in senders:
        answer = forward(snapshot, sender.place, replace(_frame(snapshot, sender, destination), group=group))
        alike.setdefault(_kind(answer), []).append((sender, answer))
    return [Trace(*(tuple(each) for each in zip(*pairs, strict=True))) for pairs in alike.values()]


def _frame(snapshot: Snapshot, sender: Sender, destination: str) -> Frame:
    """A frame without a tag where its VLAN is that of the port's untagged frames."""
    bridge = snapshot.bridges[sender.bridge]
    place = bridge if sender.place == sender.bridge else snapshot.ports[sender.place]
    if not sender.vid or (bridge.vlan_filtering and place.pvid == sender.vid):
        return Frame(sender.source, destination)
    tag = Tag(sender.vid, bridge.relay.protocol) if bridge.vlan_filtering else Tag(sender.vid)
    return Frame(sender.source, destination, (tag,))


def _kind(answer: Answer) -> object:
    """All of a frame inside its bridge that decides about its way, and what it does to an entry that is there."""
    entered, aim, learned = answer.entered, answer.aim, answer.move.learned
    moved = answer.move if learned not in (Learned.NOTHING, Learned.KNOWN, Learned.NEW) else None
    where = answer.bridge, entered.vid, moved
    if answer.stopped is not None:
        return *where, answer.stopped
    if aim.port:
        there = answer.at(aim.port) if answer.snapshot.bridge_of(aim.port) == answer.bridge else None
        return *where, entered.payload_tags, entered.unsure, aim, there
    isolated = entered.port is not None and entered.port.isolated
    return *where, entered.payload_tags, entered.unsure, aim, isolated, entered.port is None
