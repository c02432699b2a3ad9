"""The snapshot after a command of a printed fix: those of ip and bridge that macmgr prints, and no other. Pure.

Sources: net/bridge/br_if.c (br_add_if, del_nbp), br_vlan.c (nbp_vlan_add, nbp_vlan_delete), br_fdb.c. What ``macmgr``
itself does is not said here: it judges its changes by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from macmgr.forwarding.requested import requested
from macmgr.model.changes import DeleteEntry, FlushEntries, SetFlags
from macmgr.model.flags import FLAGS, NEW_PORT, with_flag
from macmgr.model.relay import PortState
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, Snapshot


def typed(snapshot: Snapshot, command: Sequence[str]) -> Snapshot:
    """Returns the snapshot after one command. What the kernel refuses changes nothing."""
    match list(command):
        case ["virsh", *_] | ["ip", "-d", "link", "show", *_] | ["bridge", "fdb", "show", *_]:
            return snapshot
        case ["bridge", "fdb", "replace", mac, "dev", port, *rest]:
            vid, words = _vid(rest)
            state = next(EntryState(word) for word in words if word in {*EntryState})
            entry = Entry(mac, vid or 0, port, state, "sticky" in words, "extern_learn" in words)
            return requested(snapshot, [entry])
        case ["bridge", "fdb", "del", mac, "dev", port, *rest]:
            return requested(snapshot, [DeleteEntry(port, mac, _vid(rest)[0])])
        case ["bridge", "fdb", "flush", "dev", port, "vlan", vid, "master", "static", "noextern_learn"]:
            return requested(snapshot, [FlushEntries(port, int(vid))])
        case ["bridge", "link", "set", "dev", port, *words]:
            return _with_flags(snapshot, port, words)
        case ["bridge", "vlan", verb, "dev", port, "vid", vids, *how]:
            return _with_vlans(snapshot, port, _range(vids), verb, how)
        case ["ip", "link", "add", name, "address", mac, "mtu", _, "type", "dummy"]:
            masters = {**snapshot.masters, name: None}
            return replace(
                snapshot, masters=masters, ports={**snapshot.ports, name: replace(_loose(name, mac, "dummy"), up=False)}
            )
        case ["ip", "link", "set", "dev", name, "master", bridge]:
            return _enslaved(snapshot, name, bridge)
        case ["ip", "link", "set", "dev", name, ("up" | "down") as word]:
            return _up(snapshot, name, up=word == "up")
        case ["ip", "link", "set", "dev", name, "address", mac]:
            return _with_address(snapshot, name, mac)
        case ["ip", "link", "del", name]:
            gone = _without(snapshot, name)
            return replace(gone, masters={each: master for each, master in gone.masters.items() if each != name})
    raise ValueError(f"macmgr prints no such command: {command}")


def _vid(words: list[str]) -> tuple[int | None, list[str]]:
    return (int(words[1]), words[2:]) if words[0] == "vlan" else (None, words)


def _range(vids: str) -> range:
    first, _, last = vids.partition("-")
    return range(int(first), int(last or first) + 1)


def _with_flags(snapshot: Snapshot, name: str, words: list[str]) -> Snapshot:
    before = snapshot.ports[name].flags
    after = before
    for word, value in zip(words[::2], words[1::2], strict=True):
        flag = next(flag for flag in FLAGS if flag.bridge_word == word)
        after = with_flag(after, flag, value=value == "on")
    return requested(snapshot, [SetFlags(name, before, after)])


def _with_vlans(snapshot: Snapshot, name: str, vids: Iterable[int], verb: str, how: list[str]) -> Snapshot:
    """A VID that is added says anew if it is the PVID and untagged; one that goes takes its learned entries along."""
    port = snapshot.ports[name]
    carried, untagged, pvid = {*port.vids}, {*port.untagged}, port.pvid
    lost: set[int] = set()
    for vid in vids:
        untagged.discard(vid)
        pvid = None if pvid == vid else pvid
        if verb == "del":
            lost |= {vid} & carried
            carried.discard(vid)
            continue
        carried.add(vid)
        untagged |= {vid} if "untagged" in how else set()
        pvid = vid if "pvid" in how else pvid
    entries = [
        entry
        for entry in snapshot.entries
        if not (entry.port == name and entry.vid in lost and _goes_with_its_vlan(entry, port))
    ]
    changed = replace(port, vids=tuple(sorted(carried)), untagged=tuple(sorted(untagged)), pvid=pvid)
    made = replace(snapshot, ports={**snapshot.ports, name: changed}, entries=tuple(entries))
    return _with_own(made, changed)


def _goes_with_its_vlan(entry: Entry, port: BridgePort) -> bool:
    """br_fdb_delete_by_port and br_fdb_find_delete_local: the learned ones, and the port's own address."""
    return (entry.state is EntryState.DYNAMIC and not entry.extern_learn) or (
        entry.state is EntryState.LOCAL and entry.mac == port.mac
    )


def _with_own(snapshot: Snapshot, port: BridgePort) -> Snapshot:
    """A port has its own address as a local entry, in each of its VIDs."""
    fdb = {(snapshot.bridge_of(entry.port), entry.mac, entry.vid): entry for entry in snapshot.entries}
    for vid in (0, *port.vids) if port.mac else ():
        fdb.setdefault((port.bridge, port.mac, vid), Entry(port.mac, vid, port.name, EntryState.LOCAL))
    return replace(snapshot, entries=tuple(fdb.values()))


def _loose(name: str, mac: str = "", kind: str = "tun") -> BridgePort:
    """An interface on no bridge: a snapshot has only its name."""
    return BridgePort(name, 0, "", mac, kind=kind)


def _enslaved(snapshot: Snapshot, name: str, bridge: str) -> Snapshot:
    """A port that comes to a bridge is a new one: its flags, its VLAN, its entries (br_add_if)."""
    if snapshot.masters.get(name) == bridge:
        return snapshot
    old = snapshot.ports.get(name) or _loose(name)
    gone = _without(snapshot, name)
    pvid = snapshot.bridges[bridge].default_pvid or None
    vids = (pvid,) if pvid else ()
    relay = replace(old.relay, state=PortState.FORWARDING if old.up else PortState.DISABLED)
    port = replace(old, bridge=bridge, flags=NEW_PORT, vids=vids, pvid=pvid, untagged=vids, relay=relay)
    made = replace(gone, ports={**gone.ports, name: port}, masters={**gone.masters, name: bridge})
    return _with_own(made, port)


def _without(snapshot: Snapshot, name: str) -> Snapshot:
    ports = {each: port for each, port in snapshot.ports.items() if each != name}
    entries = tuple(entry for entry in snapshot.entries if entry.port != name)
    return replace(snapshot, ports=ports, entries=entries, masters={**snapshot.masters, name: None})


def _up(snapshot: Snapshot, name: str, *, up: bool) -> Snapshot:
    """The kernel disables the state of a port that goes down; without STP, one that comes up forwards."""
    if name in snapshot.bridges:
        bridge: Bridge = replace(snapshot.bridges[name], up=up)
        return replace(snapshot, bridges={**snapshot.bridges, name: bridge})
    port = snapshot.ports.get(name) or _loose(name)
    relay = replace(port.relay, state=PortState.FORWARDING if up else PortState.DISABLED, carrier=up, operational=up)
    entries = snapshot.entries
    if not up:
        entries = tuple(each for each in entries if each.port != name or each.state is not EntryState.DYNAMIC)
    changed = replace(port, up=up, relay=relay)
    return replace(snapshot, ports={**snapshot.ports, name: changed}, entries=entries)


def _with_address(snapshot: Snapshot, name: str, mac: str) -> Snapshot:
    port = snapshot.ports[name]
    kept = (
        entry
        for entry in snapshot.entries
        if (entry.port, entry.mac, entry.state) != (name, port.mac, EntryState.LOCAL)
    )
    changed = replace(port, mac=mac)
    return _with_own(replace(snapshot, ports={**snapshot.ports, name: changed}, entries=tuple(kept)), changed)
