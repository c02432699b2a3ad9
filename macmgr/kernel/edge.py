"""The kernel as the rest of macmgr sees it: a snapshot, look-ups, and requests carried out one by one.

Everything goes by interface name outside and by ifindex inside. The ifindex is always that of the snapshot the
caller decided upon: an interface that was deleted and made again under the same name has another one, so a
request meant for the old interface fails with ENODEV and never reaches another guest's port.
"""

from __future__ import annotations

import errno
import gc
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import TracebackType

from macmgr.kernel import wire
from macmgr.kernel.attributes import PortVids
from macmgr.kernel.devices import read_devices, set_vlan_filtering
from macmgr.kernel.fdb import decode_age, decode_entries, decode_replies
from macmgr.kernel.links import Link, decode_links, decode_vids
from macmgr.kernel.netlink import Connection, Gone, Groups, TooLong, raise_for, words
from macmgr.model.changes import DeleteEntry, FlushEntries, PutEntry, Request, SetPort
from macmgr.model.devices import STACKED, DeviceFacts
from macmgr.model.snapshot import MOST_LISTED, Bridge, BridgePort, Entry, PortFlags, Snapshot, Stacked

_TICK = 0.01  # seconds: how exactly the kernel tells ages
_BRIDGE_GONE = "Invalid master ifindex"  # rtnetlink.c, rtnl_fdb_get; with EINVAL

Key = tuple[str, str, int]
"""Bridge, MAC address, VID."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the kernel would not do, in its own words."""

    errno: int
    text: str


class Kernel:
    """One connection to the bridges of one network namespace, by default that of the calling thread.

    NotThere when there is no such namespace, NoPermission where a capability is missing, KernelError when the
    connection itself fails. Not for two threads at a time.
    """

    def __init__(self, netns: str | None = None) -> None:
        self._netns = netns
        self._connection = Connection(netns)

    def __enter__(self) -> Kernel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def read_snapshot(
        self, bridges: Collection[str] | None = None, ports: Collection[str] = (), *, whole: bool = False
    ) -> Snapshot:
        """What is there now: every interface's master, bridges and ports with their VIDs, and the FDB of ``bridges``.

        None means that of all of them. An FDB of more than MOST_LISTED entries is not read to its end: of it, only what
        leads to ``ports`` and to the bridge itself is read, unless ``whole`` says so. The kernel begins at the head of
        the list for each 32 KiB that it answers (br_fdb_dump), so that takes time by the square of the entries.

        The dumps follow each other and no two are of the same instant. The FDB comes last, so that an entry
        whose port has just appeared is left out, never attributed to another port.
        """
        with collector_paused():
            links = decode_links(self._connection.dump(wire.link_dump(), "reading the interfaces"))
            found = {link.ifindex: link for link in links if link.kind == "bridge"}
            members = [link for link in links if link.flags is not None and link.master in found]
            vids: Mapping[int, PortVids] = {}
            entries: list[Entry] = []
            if members:
                vids = decode_vids(self._connection.dump(wire.vlan_dump(), "reading the VIDs of the bridge ports"))
            listed = set()
            for bridge in found.values():
                if bridges is None or bridge.name in bridges:
                    own = [bridge, *(link for link in members if link.master == bridge.ifindex)]
                    of_bridge = self._list(own, None if whole or bridges is None else MOST_LISTED)
                    if of_bridge is not None:
                        listed.add(bridge.name)
                    else:
                        of_bridge = self._list_ports(own, ports)
                    entries += of_bridge
            snapshot = _snapshot(links, found, members, vids, entries)
            if listed == snapshot.bridges.keys():
                return snapshot
            asked = {port.name for port in snapshot.ports.values() if bridges is None or port.bridge in bridges}
            return replace(snapshot, listed=frozenset(listed), listed_ports=frozenset(asked.intersection(ports)))

    def _list(self, interfaces: Sequence[Link], most: int | None) -> list[Entry] | None:
        """The FDB of a bridge, the first of its ``interfaces``; None where it has more entries than ``most``."""
        names = {link.ifindex: link.name for link in interfaces}
        try:
            return decode_entries(self._dump_fdb(wire.fdb_dump(bridge=interfaces[0].ifindex), most), names)
        except TooLong:
            return None

    def _list_ports(self, interfaces: Sequence[Link], ports: Collection[str]) -> list[Entry]:
        """What leads to some ports of a bridge, and to the bridge itself, the first of ``interfaces``."""
        entries: list[Entry] = []
        for link in interfaces:
            if link is interfaces[0] or link.name in ports:
                entries += decode_entries(self._dump_fdb(wire.fdb_dump(link.ifindex)), {link.ifindex: link.name})
        return entries

    def _dump_fdb(self, request: wire.Message, most: int | None = None) -> Groups:
        try:
            return self._connection.dump(request, "reading the FDB", most)
        except Gone:  # the bridge, since the interfaces were read
            return {}

    def read_devices(self) -> DeviceFacts:
        """What the doctor asks of devices beyond their bridges; reads that fail for want of a feature are left out."""
        return read_devices(self._connection, self._netns)

    def turn_vlan_filtering_on(self, bridge: Bridge) -> None:
        """Turn VLAN filtering on for ``bridge`` as it was read. Whether it then is on, the caller must read."""
        operation = f"turning VLAN filtering on for {bridge.name}"
        for code, text in self._connection.transact([set_vlan_filtering(bridge.ifindex)], operation).failures.values():
            raise_for(code, text, operation)

    def look_up(self, keys: Iterable[Key], snapshot: Snapshot) -> dict[Key, Entry | None]:
        """What the bridges' FDBs hold for exactly these keys; None where there is no entry.

        A dump may miss an entry while others change; this does not. An entry on a port that is not in
        ``snapshot`` counts as none; so does one of a bridge that is not there. A kernel before 5.0 looks nothing up
        (EOPNOTSUPP): there another dump has to do.
        """
        found: dict[Key, Entry | None] = dict.fromkeys(keys)
        names = {interface.ifindex: name for name, interface in _interfaces(snapshot).items()}
        answers = self._get_entries(found, snapshot, "looking up FDB entries")
        if answers is None:
            there = self.read_snapshot({bridge for bridge, _, _ in found}, whole=True)
            known = frozenset(names.values())
            return {
                key: entry if entry and entry.port in known else None for key, entry in there.fdb.at_all(found).items()
            }
        by_bridge: dict[str, list[bytes]] = {}
        for (bridge, _, _), reply in answers.items():
            by_bridge.setdefault(bridge, []).append(reply)
        for name, replies in by_bridge.items():
            found.update(((name, entry.mac, entry.vid), entry) for entry in decode_replies(replies, names))
        return found

    def ages(self, keys: Iterable[Key], snapshot: Snapshot) -> dict[Key, float | None]:
        """How many seconds ago these entries were put, or their MACs seen, to a hundredth; None where there is none.

        Only a port that learns sees (br_input.c, br_handle_frame_finish), and a sticky entry does not move to it. So
        where a guest's own port does not learn, an age that begins anew says that its MAC was seen on another port:
        or that somebody put the entry, which is told as an event, while what is seen is not (br_fdb_update).
        """
        found: dict[Key, float | None] = dict.fromkeys(keys)
        for key, reply in (self._get_entries(found, snapshot, "reading the ages of FDB entries") or {}).items():
            found[key] = decode_age(reply)
        return found

    def refreshed(self, keys: Iterable[Key], snapshot: Snapshot) -> dict[Key, tuple[float, float]]:
        """When these entries were put, or their MACs seen (`ages`): not before, and not after, in seconds of the
        monotonic clock. It is the kernel's own: neither goes on while the machine sleeps.
        """
        before = time.monotonic()
        ages = self.ages(keys, snapshot)
        after = time.monotonic()
        return {key: (before - age - _TICK, after - age) for key, age in ages.items() if age is not None}

    def _get_entries(self, keys: Iterable[Key], snapshot: Snapshot, operation: str) -> dict[Key, bytes] | None:
        """The kernel's answers about the entries that there are, of bridges that are there; None: it gives none."""
        known = [key for key in keys if key[0] in snapshot.bridges]
        requests = [wire.fdb_get(snapshot.bridges[bridge].ifindex, mac, vid) for bridge, mac, vid in known]
        answers = self._connection.transact(requests, operation)
        if any(code == errno.EOPNOTSUPP for code, _ in answers.failures.values()):
            return None
        for place, (code, text) in answers.failures.items():
            if code not in (errno.ENOENT, errno.ENODEV) and text != _BRIDGE_GONE:
                bridge, mac, vid = known[place]
                raise_for(code, text, f"{operation}: {mac} VID {vid} on {bridge}")
        return {known[place]: reply for place, reply in answers.replies.items()}

    def send(self, requests: Sequence[Request], snapshot: Snapshot) -> list[Refusal | None]:
        """Carry out ``requests``, in order, on the interfaces as they were in ``snapshot``; a slot for each.

        A failure does not stop the requests behind it. Deleting an entry that is not there (ENOENT) is no
        refusal. The kernel's OK is no proof: it ignores a flag it does not know and may carry out a part of a
        request (br_netlink.c, br_setport), so the caller reads back.
        """
        ifindexes = {name: interface.ifindex for name, interface in _interfaces(snapshot).items()}
        slots: list[Refusal | None] = [None] * len(requests)
        messages: list[wire.Message] = []
        places: list[int] = []
        operation = "changing bridge ports and FDB entries"
        with collector_paused():
            for place, request in enumerate(requests):
                ifindex = ifindexes.get(request.port)
                if ifindex is None:
                    slots[place] = Refusal(errno.ENODEV, f"{request.port} was no bridge port when the kernel was read")
                else:
                    messages.append(_message(request, ifindex))
                    places.append(place)
            answers = self._connection.transact(messages, operation)
        for sent, (code, text) in answers.failures.items():
            request = requests[places[sent]]
            if code == errno.EPERM and not self._may_change():
                raise_for(code, text, f"{_purpose(request)} on {request.port}")
            if not (code == errno.ENOENT and isinstance(request, DeleteEntry)):
                slots[places[sent]] = _refusal(request, code, text)
        return slots

    def _may_change(self) -> bool:
        """Whether the capability is there. EPERM alone does not tell, see `_refusal`; a request for nothing does."""
        nothing = wire.delete_entry(DeleteEntry("", "02:00:00:00:00:00", None), ifindex=0)
        answers = self._connection.transact([nothing], "asking for the capability")
        return answers.failures.get(0, (0, ""))[0] != errno.EPERM


def _message(request: Request, ifindex: int) -> wire.Message:
    if isinstance(request, PutEntry):  # `match` takes 150 ns longer, a tenth of all that putting an entry takes
        return wire.put_entry(request, ifindex)
    if isinstance(request, DeleteEntry):
        return wire.delete_entry(request, ifindex)
    if isinstance(request, FlushEntries):
        return wire.flush_entries(request, ifindex)
    return wire.set_port(request, ifindex)


def _refusal(request: Request, code: int, text: str) -> Refusal:
    if code in (errno.ENODEV, errno.ENOENT):
        return Refusal(code, f"{request.port} is gone since the kernel was read: {words(code, text)}")
    if code == errno.EPERM and isinstance(request, PutEntry):
        # br_fdb.c, fdb_add_entry: only static and local entries may be put on a port that is down or blocked.
        text = text or "the port does not forward, and then takes no dynamic entry"
    return Refusal(code, f"{_purpose(request)} on {request.port}: {words(code, text)}")


def _purpose(request: Request) -> str:
    match request:
        case PutEntry():
            return f"putting the FDB entry {request.mac}"
        case DeleteEntry():
            return f"deleting the FDB entry {request.mac}"
        case FlushEntries():
            return f"flushing the static FDB entries of VID {request.vid}"
        case SetPort():
            return "setting port flags"


def _interfaces(snapshot: Snapshot) -> dict[str, Bridge | BridgePort]:
    return {**snapshot.bridges, **snapshot.ports}


def _snapshot(
    links: Sequence[Link],
    found: Mapping[int, Link],
    members: Sequence[Link],
    vids: Mapping[int, PortVids],
    entries: Sequence[Entry],
) -> Snapshot:
    names = {link.ifindex: link.name for link in links}
    bridges = {
        link.name: Bridge(
            link.name,
            link.ifindex,
            link.mac,
            link.vlan_filtering,
            link.promiscuity,
            link.up,
            vids.get(link.ifindex, PortVids()).vids,
            link.default_pvid,
        )
        for link in found.values()
    }
    return Snapshot(
        bridges=bridges,
        ports={
            link.name: _port(link, link.flags, found[link.master].name, vids.get(link.ifindex, PortVids()))
            for link in members
            if link.flags is not None and link.master is not None
        },
        masters={link.name: names.get(link.master) if link.master else None for link in links},
        entries=tuple(entries),
        stacked=tuple(_stacked(links, bridges, vids)),
    )


def _stacked(links: Iterable[Link], bridges: Mapping[str, Bridge], vids: Mapping[int, PortVids]) -> Iterator[Stacked]:
    """The devices on bridges, and those on these, that have another address than their bridge.

    What is below another VLAN device is in that one's VID; what is right on the bridge gets what it sends untagged.
    """
    uppers: dict[int, list[Link]] = {}
    for link in links:
        if link.kind in STACKED and link.lower and link.lower != link.ifindex and not link.elsewhere:
            uppers.setdefault(link.lower, []).append(link)
    for bridge in bridges.values():
        untagged = vids.get(bridge.ifindex, PortVids()).untagged
        waiting = [(link, (link.vid,) if link.vid else untagged) for link in uppers.get(bridge.ifindex, ())]
        for link, carried in waiting:  # nothing is stacked on itself, so the walk ends
            waiting += [(upper, carried) for upper in uppers.get(link.ifindex, ())]
            if link.mac and link.mac != bridge.mac:
                yield Stacked(bridge.name, link.name, link.mac, carried)


def _port(link: Link, flags: PortFlags, bridge: str, port_vids: PortVids) -> BridgePort:
    return BridgePort(
        name=link.name,
        ifindex=link.ifindex,
        bridge=bridge,
        mac=link.mac,
        flags=flags,
        vids=port_vids.vids,
        pvid=port_vids.pvid,
        untagged=port_vids.untagged,
        promiscuity=link.promiscuity,
        up=link.up,
        kind=link.kind,
        isolated=link.isolated,
        tunnel_learning=link.tunnel_learning,
        forwarding=link.forwarding,
        elsewhere=link.elsewhere,
    )


@contextmanager
def collector_paused() -> Iterator[None]:
    """Nothing that is read here is garbage, yet looking for some is a quarter of a big decode's, or a look's, time."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
