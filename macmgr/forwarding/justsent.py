"""The host as it is when guests have just sent, one at a time of those that share an address. Pure.

An entry that is not sticky is where somebody sent last, and goes along with the next frame of another one. So what a
change does to a guest is asked of the host after a frame of that guest, too (`macmgr.forwarding.harm`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from macmgr.forwarding.forward import forward
from macmgr.forwarding.frames import BROADCAST, Frame
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.relay import Tag
from macmgr.model.snapshot import Entry, EntryState, Snapshot

# Guests that share an address, and are judged as they are when they have just sent: how many others have it must not
# decide how long a hook takes. Each is judged as it is now, too.
_MOST_TURNS = 8


def turns(
    snapshot: Snapshot, intent: Intent, addresses: Callable[[GuestPort], Iterable[str]]
) -> list[list[tuple[GuestPort, str]]]:
    """Returns guests, each with an address that another port may have instead; of those that share one, one a turn."""
    claims: dict[tuple[str, str], list[GuestPort]] = {}
    for guest in intent.ports:
        for mac in dict.fromkeys(addresses(guest)):
            if mac in guest.macs and snapshot.port_on(guest.bridge, guest.port):
                claims.setdefault((guest.bridge, mac), []).append(guest)
    found: list[list[tuple[GuestPort, str]]] = []
    for (bridge, mac), guests in claims.items():
        entries = snapshot.fdb.of_mac(bridge, mac).values()
        if len(guests) == 1 and not any(_moves(entry) and entry.port != guests[0].port for entry in entries):
            continue
        for number, guest in enumerate(guests[:_MOST_TURNS]):
            found += [[]] if number == len(found) else []
            found[number].append((guest, mac))
    return found


def _moves(entry: Entry) -> bool:
    """A frame takes it along, whether it was learned or put."""
    return not entry.sticky and entry.state is not EntryState.LOCAL


def _is_learned(entry: Entry) -> bool:
    return entry.state is EntryState.DYNAMIC and not entry.extern_learn


def just_sent(snapshot: Snapshot, turn: Iterable[tuple[GuestPort, str]]) -> Snapshot:
    """Returns the snapshot after a frame of each in each of its VIDs; what was learned of it elsewhere is over."""
    gone: set[Entry] = set()
    learned: list[Entry] = []
    for guest, mac in turn:
        port = snapshot.port_on(guest.bridge, guest.port)
        if port is None:
            continue
        have = snapshot.fdb.of_mac(guest.bridge, mac)
        gone |= {entry for entry in have.values() if _is_learned(entry) and entry.port != guest.port}
        bridge = snapshot.bridges[port.bridge]
        for vid in snapshot.deciding_vids(port.name):
            tags = (Tag(vid, bridge.relay.protocol),) if bridge.vlan_filtering and vid and port.pvid != vid else ()
            # its own VLAN and entry decide, and a trunk has thousands of both
            entries = (have[vid],) if vid in have and have[vid] not in gone else ()
            alone = replace(port, vids=(vid,), untagged=()) if bridge.vlan_filtering else port
            others = {each.port: snapshot.ports[each.port] for each in entries if each.port in snapshot.ports}
            there = replace(snapshot, ports={**others, port.name: alone}, entries=entries)
            move = forward(there, port.name, Frame(mac, BROADCAST, tags)).move
            if move.learned.changes and move.after is not None:
                learned.append(move.after)
                gone |= {*entries}
    if not gone and not learned:
        return snapshot
    return replace(snapshot, entries=(*(entry for entry in snapshot.entries if entry not in gone), *learned))
