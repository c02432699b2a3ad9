"""The snapshot as the kernel leaves it after some requests: for judging a change before it is made. Pure.

Sources: net/bridge/br_fdb.c (br_fdb_add, fdb_add_entry, br_fdb_external_learn_add, br_fdb_delete, br_fdb_delete_bulk)
and br_netlink.c (br_setport). What the kernel refuses changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from macmgr.model.changes import AddVids, DeleteEntry, DeleteVids, FlushEntries, Request, SetFlags
from macmgr.model.flags import with_flag
from macmgr.model.snapshot import BridgePort, Entry, EntryState, Key, Snapshot


def requested(snapshot: Snapshot, requests: Iterable[Request]) -> Snapshot:
    """Returns the snapshot after the requests, in their order."""
    fdb = {(snapshot.bridge_of(entry.port) or "", entry.mac, entry.vid): entry for entry in snapshot.entries}
    ports = dict(snapshot.ports)
    carried: dict[str, frozenset[int]] = {}  # a trunk has thousands of VIDs, and a request for each of them
    for request in requests:
        if (port := ports.get(request.port)) is None:
            continue
        if port.name not in carried:
            carried[port.name] = frozenset(port.vids)
        if refuses(request, port, carried[port.name]):
            continue
        match request:
            case Entry():
                fdb |= put(request, port, fdb)
            case DeleteEntry() | FlushEntries():
                for key in deleted(request, port, fdb):
                    del fdb[key]
            case SetFlags():
                ports[port.name] = with_flags(request, port)
            case DeleteVids() | AddVids():
                ports[port.name] = with_vids(request, port)
                del carried[port.name]
                set_local(ports[port.name], port, fdb)
    return replace(snapshot, ports=ports, entries=tuple(fdb.values()))


def refuses(request: Request, port: BridgePort, vids: Collection[int]) -> str:
    """Returns why the kernel refuses a request for the port, which carries ``vids``; empty if it does not."""
    if isinstance(request, Entry | DeleteEntry) and request.vid and request.vid not in vids:
        return f"{port.name} does not carry VID {request.vid}"
    if isinstance(request, Entry) and request.state is EntryState.DYNAMIC and not request.extern_learn:
        return "" if port.up and port.forwarding else f"{port.name} does not forward, and then takes no dynamic entry"
    if isinstance(request, SetFlags) and port.relay.mab:
        flags = with_flags(request, port).flags
        return "" if flags.locked and flags.learning else f"{port.name} has MAB on, and so must be locked and learn"
    return ""


def put(request: Entry, port: BridgePort, fdb: dict[Key, Entry]) -> dict[Key, Entry]:
    """Returns the entries that a put makes or replaces. One for VID 0 is for each VID of the port, too."""
    keys = [(port.bridge, request.mac, vid) for vid in _vids(request.vid or None, port)]
    return {key: _replaced(fdb.get(key), request, key[2]) for key in keys}


def deleted(request: DeleteEntry | FlushEntries, port: BridgePort, fdb: dict[Key, Entry]) -> list[Key]:
    """Returns the keys of the entries that a deletion or a flush takes."""
    if isinstance(request, FlushEntries):
        return [
            key
            for key, entry in fdb.items()
            if (entry.port, entry.vid, entry.state) == (port.name, request.vid, EntryState.STATIC)
            and not entry.extern_learn
        ]
    keys = [(port.bridge, request.mac, vid) for vid in _vids(request.vid, port)]
    return [key for key in keys if key in fdb and fdb[key].port == port.name]


def with_flags(request: SetFlags, port: BridgePort) -> BridgePort:
    """Returns the port with its flags set. The kernel ignores a flag that it does not know, and answers OK."""
    flags = port.flags
    for flag, value in request.named():
        if flags.value(flag) is not None:
            flags = with_flag(flags, flag, value)
    return replace(port, flags=flags)


def with_vids(request: DeleteVids | AddVids, port: BridgePort) -> BridgePort:
    """Returns the port with its VIDs set. A VID that it gets is in the state of forwarding (br_vlan.c, __vlan_add)."""
    run = frozenset(range(request.first, request.last + 1))
    vids, untagged, pvid = frozenset(port.vids) - run, frozenset(port.untagged) - run, port.pvid
    relay, pvid = port.relay, None if pvid in run else pvid
    if isinstance(request, AddVids):
        vids, untagged = vids | run, untagged | run if request.untagged else untagged
        pvid = request.first if request.pvid else pvid
    elif not run.isdisjoint(relay.vlan_states):
        states = {vid: state for vid, state in relay.vlan_states.items() if vid not in run}
        relay = replace(relay, vlan_states=states)
    return replace(port, vids=tuple(sorted(vids)), pvid=pvid, untagged=tuple(sorted(untagged)), relay=relay)


def set_local(now: BridgePort, before: BridgePort, fdb: dict[Key, Entry]) -> None:
    """A port has a local entry for its own address in each VID; what was learned in one that it leaves is forgotten.

    A static entry stays behind there, and no request can name it (nbp_vlan_delete, br_fdb_delete_by_port).
    """
    gone = frozenset(before.vids).difference(now.vids)
    stays = EntryState.STATIC
    for key in [key for key, entry in fdb.items() if entry.port == now.name and entry.vid in gone]:
        if fdb[key].state is not stays:
            del fdb[key]
    for vid in frozenset(now.vids).difference(before.vids):
        key = now.bridge, now.mac, vid
        if key not in fdb or fdb[key].state is not EntryState.LOCAL:
            fdb[key] = Entry(now.mac, vid, now.name, EntryState.LOCAL)


def _vids(asked: int | None, port: BridgePort) -> tuple[int, ...]:
    return (0, *port.vids) if asked is None else (asked,)


def _replaced(have: Entry | None, request: Entry, vid: int) -> Entry:
    """A put leaves the extern_learn flag; a put with that flag leaves state and sticky."""
    if not request.extern_learn:
        return request._replace(vid=vid, extern_learn=have is not None and have.extern_learn)
    if have is None:
        return Entry(request.mac, vid, request.port, EntryState.DYNAMIC, extern_learn=True)
    return have._replace(port=request.port, extern_learn=True)
