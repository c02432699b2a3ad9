"""The kernel for the rest of macmgr: it reads snapshots, looks entries up, and carries requests out one by one.

Callers use interface names, netlink uses ifindexes. Each ifindex comes from the snapshot that the caller decided
upon. An interface that was deleted and made again under the same name has another ifindex, so a request meant for
the old one fails with ENODEV and never reaches another guest's port.
"""

from __future__ import annotations

import errno
import gc
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from types import TracebackType

from macmgr.kernel import wire
from macmgr.kernel.assembly import assemble
from macmgr.kernel.devicedump import read_devices, set_vlan_filtering
from macmgr.kernel.farends import leading_out
from macmgr.kernel.fdbdump import decode_age, decode_entries, decode_replies
from macmgr.kernel.links import Link, decode_links, decode_vids
from macmgr.kernel.mdbdump import MOST_LISTED as MOST_MDB_MESSAGES
from macmgr.kernel.mdbdump import decode_mdbs, mdb_dump
from macmgr.kernel.netlink import Connection, Gone, Lacking, TooLong, raise_for, words
from macmgr.kernel.vlanstates import VlanStates, decode_vlan_states, vlan_state_dump
from macmgr.model.changes import AddVids, DeleteEntry, DeleteVids, FlushEntries, Request, SetFlags
from macmgr.model.devices import DeviceFacts
from macmgr.model.flags import PortFlags
from macmgr.model.roles import unsure_cables
from macmgr.model.snapshot import MOST_LISTED, Bridge, BridgePort, Entry, Snapshot
from macmgr.model.vids import PortVids

_FDB = "reading the FDB"
_READINGS = 9  # while bridges or ports go
_TICK = 0.01  # seconds: the kernel reports ages no more exactly
_BRIDGE_GONE = "Invalid master ifindex"  # rtnetlink.c, rtnl_fdb_get; with EINVAL

Key = tuple[str, str, int]
"""Bridge, MAC address, VID."""


_TRIED_AGAIN = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Refusal:
    """The kernel refused a request, for this reason in its own words."""

    errno: int
    text: str


class Kernel:
    """One connection to the bridges of one network namespace, by default that of the calling thread.

    NotThere when there is no such namespace, NoPermission where a capability is missing, KernelError when the
    connection itself fails. Not for two threads at a time. An FDB of more than ``most`` entries is not listed.
    """

    def __init__(self, netns: str | None = None, most: int = MOST_LISTED) -> None:
        self._netns, self._most = netns, most
        self._connection = Connection(netns)
        self._too_long: dict[int, float] = {}  # FDBs, by ifindex: when that was found

    def __enter__(self) -> Kernel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def read_snapshot(
        self,
        bridges: Collection[str] | None = None,
        ports: Collection[str] = (),
        *,
        whole: bool = False,
        if_open: Collection[str] | None = None,
    ) -> Snapshot:
        """Reads each interface's master, bridges and ports with their VIDs, and the FDBs of ``bridges`` (None: all).

        An FDB that is too long is not read to its end, unless ``whole`` is set: only the entries that lead to ``ports``
        and to the bridge itself are read. The kernel starts at the head of the list for each 32 KiB of its answer
        (br_fdb_dump), so a whole dump takes time by the square of the entries. And for one port it goes through the
        whole list, too. So who is in a hurry names the ports that matter only as long as they learn or flood
        (``if_open``), and asks for the host's own entries by name; an FDB that was too long is not tried again for a
        minute.

        No two dumps show the same instant. The FDB is read last: an entry whose port has just appeared is then left
        out, and never attributed to another port.
        """
        with collector_paused():
            for _ in range(_READINGS):
                with suppress(Gone):
                    return self._read(bridges, ports, whole=whole, if_open=if_open)
            return self._read(bridges, ports, whole=whole, if_open=if_open)

    def _read(
        self, bridges: Collection[str] | None, ports: Collection[str], *, whole: bool, if_open: Collection[str] | None
    ) -> Snapshot:
        """Reads all once. Gone: a bridge or port has gone meanwhile. Its FDB is not empty, it is unknown."""
        links = decode_links(self._connection.dump(wire.link_dump(), "reading the interfaces"))
        found = {link.ifindex: link for link in links if link.kind == "bridge"}
        members = [link for link in links if link.flags is not None and link.master in found]
        vids: Mapping[int, PortVids] = {}
        states: VlanStates = {}
        entries: list[Entry] = []
        if found:
            vids = decode_vids(self._connection.dump(wire.vlan_dump(), "reading the VIDs of the bridge ports"))
        if any(link.vlan_filtering for link in found.values()):
            states = self._vlan_states()
        listed, listed_ports = set[str](), set[str]()
        for bridge in found.values():
            if bridges is None or bridge.name in bridges:
                own = [bridge, *(link for link in members if link.master == bridge.ifindex)]
                of_bridge = self._list(own, whole=whole or bridges is None, hurried=if_open is not None)
                if of_bridge is not None:
                    listed.add(bridge.name)
                else:
                    opened = {link.name for link in own if link.flags and _is_open(link.flags)}
                    of_ports = opened.intersection(if_open or ()).union(ports)
                    of_bridge = self._list_ports(own, of_ports if if_open is not None else {*of_ports, bridge.name})
                    listed_ports |= of_ports.intersection(link.name for link in own)
                entries += of_bridge
        snapshot = assemble(links, found, members, vids, states, entries)
        if unsure := unsure_cables(snapshot.ports.values(), bridges):
            snapshot = self._with_far_ends(snapshot, [link for link in members if link.name in unsure])
        if listed == snapshot.bridges.keys():
            return snapshot
        return replace(snapshot, listed=frozenset(listed), listed_ports=frozenset(listed_ports))

    def _with_far_ends(self, snapshot: Snapshot, cables: Sequence[Link]) -> Snapshot:
        outward = {name: replace(snapshot.ports[name], outward=True) for name in leading_out(self._connection, cables)}
        return replace(snapshot, ports={**snapshot.ports, **outward}) if outward else snapshot

    def _vlan_states(self) -> VlanStates:
        """A kernel before 5.6 has no states of VLANs: all of them forward."""
        try:
            return decode_vlan_states(self._connection.dump(vlan_state_dump(), "reading the states of VLANs"))
        except Lacking:
            return {}

    def _list(self, interfaces: Sequence[Link], *, whole: bool, hurried: bool) -> list[Entry] | None:
        """The FDB of a bridge, the first of its ``interfaces``; None where it is too long to be read to its end."""
        names, bridge = {link.ifindex: link.name for link in interfaces}, interfaces[0].ifindex
        if hurried and time.monotonic() - self._too_long.get(bridge, float("-inf")) < _TRIED_AGAIN:
            return None
        try:
            dump = self._connection.dump(wire.fdb_dump(bridge=bridge), _FDB, None if whole else self._most)
        except TooLong:
            self._too_long[bridge] = time.monotonic()
            return None
        return decode_entries(dump, names)

    def _list_ports(self, interfaces: Sequence[Link], names: Collection[str]) -> list[Entry]:
        """The entries that lead to those of the ``interfaces`` that are named."""
        entries: list[Entry] = []
        for link in interfaces:
            if link.name in names:
                dump = self._connection.dump(wire.fdb_dump(link.ifindex), _FDB)
                entries += decode_entries(dump, {link.ifindex: link.name})
        return entries

    def read_flags(self, ports: Iterable[str], snapshot: Snapshot) -> dict[str, PortFlags]:
        """Reads the flags of these ports alone; of those only that are the same ports of the same bridges still."""
        there = {snapshot.ports[name].ifindex: snapshot.ports[name] for name in ports}
        groups: dict[bytes, list[bytes]] = {}
        for reply in self._connection.transact(list(map(wire.link_get, there)), "reading ports").replies.values():
            wire.group(reply, groups)
        return {
            link.name: link.flags
            for link in decode_links(groups)
            if link.flags is not None
            and (port := there.get(link.ifindex)) is not None
            and (link.name, link.master) == (port.name, snapshot.bridges[port.bridge].ifindex)
        }

    def read_devices(self) -> DeviceFacts:
        """Reads the devices for the doctor. A kernel without a feature gives less."""
        return read_devices(self._connection, self._netns)

    def turn_vlan_filtering_on(self, bridge: Bridge) -> None:
        """Turns VLAN filtering on for ``bridge`` as it was read. The caller must read back that it is on."""
        operation = f"turning VLAN filtering on for {bridge.name}"
        for code, text in self._connection.transact([set_vlan_filtering(bridge.ifindex)], operation).failures.values():
            raise_for(code, text, operation)

    def look_up(self, keys: Iterable[Key], snapshot: Snapshot) -> dict[Key, Entry | None]:
        """Reads the entries of exactly these keys; None where there is no entry.

        A dump may miss an entry while others change; a look-up does not. An entry on a port that is not in ``snapshot``
        counts as none; so does one of a bridge that is gone. A kernel before 5.0 cannot look up (EOPNOTSUPP), so there
        another dump is read.
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

    def read_groups(self, snapshot: Snapshot) -> Snapshot:
        """Returns the snapshot with the groups of its bridges (MDB). Without them, where there are far too many."""
        names = {interface.ifindex: name for name, interface in _interfaces(snapshot).items()}
        try:
            dump = self._connection.dump(mdb_dump(), "reading the multicast groups", MOST_MDB_MESSAGES)
        except (Lacking, TooLong):  # a kernel without snooping
            return snapshot
        mdbs = decode_mdbs(dump, names)  # a vxlan has one too (6.4), for the hosts that it sends groups to
        return replace(snapshot, mdb={name: each for name, each in mdbs.items() if name in snapshot.bridges})

    def ages(self, keys: Iterable[Key], snapshot: Snapshot) -> dict[Key, float | None]:
        """How many seconds ago these entries were put, or their MACs seen, to a hundredth; None where there is none.

        Only a port that learns renews an age (br_input.c, br_handle_frame_finish), and a sticky entry does not move to
        it. So where a guest's own port does not learn, a new age has one of two reasons. Its MAC was seen on another
        port, which causes no event (br_fdb_update); or somebody put the entry, which causes one.
        """
        found: dict[Key, float | None] = dict.fromkeys(keys)
        for key, reply in (self._get_entries(found, snapshot, "reading the ages of FDB entries") or {}).items():
            found[key] = decode_age(reply)
        return found

    def refreshed(self, keys: Iterable[Key], snapshot: Snapshot) -> dict[Key, tuple[float, float]]:
        """The times when these entries were put, or their MACs seen (`ages`): not before, and not after.

        In seconds of the monotonic clock, which stops like the kernel's while the machine sleeps.
        """
        before = time.monotonic()
        ages = self.ages(keys, snapshot)
        after = time.monotonic()
        return {key: (before - age - _TICK, after - age) for key, age in ages.items() if age is not None}

    def _get_entries(self, keys: Iterable[Key], snapshot: Snapshot, operation: str) -> dict[Key, bytes] | None:
        """The kernel's answers for the entries that exist; None where the kernel cannot look up."""
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

        A failure does not stop the requests behind it. Deleting an entry that does not exist (ENOENT) is no refusal.
        The kernel's OK is no proof, so the caller reads back: the kernel ignores a flag that it does not know, and
        may carry out part of a request (br_netlink.c, br_setport).
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
        """This process has the capability. EPERM alone is no answer (`_refusal`); a request for nothing gives one."""
        nothing = wire.delete_entry(DeleteEntry("", "02:00:00:00:00:00", None), ifindex=0)
        answers = self._connection.transact([nothing], "asking for the capability")
        return answers.failures.get(0, (0, ""))[0] != errno.EPERM


def _is_open(flags: PortFlags) -> bool:
    """It learns, or may have: what is behind it has entries."""
    return flags.learning is not False or flags.unicast_flood is not False


def _message(request: Request, ifindex: int) -> wire.Message:
    if isinstance(request, Entry):  # `match` takes 150 ns longer, a tenth of all that putting an entry takes
        return wire.put_entry(request, ifindex)
    if isinstance(request, DeleteEntry):
        return wire.delete_entry(request, ifindex)
    if isinstance(request, FlushEntries):
        return wire.flush_entries(request, ifindex)
    if isinstance(request, DeleteVids):
        return wire.delete_vids(request, ifindex)
    if isinstance(request, AddVids):
        return wire.add_vids(request, ifindex)
    return wire.set_port(request, ifindex)


def _refusal(request: Request, code: int, text: str) -> Refusal:
    if code in (errno.ENODEV, errno.ENOENT):
        return Refusal(code, f"{request.port} is gone since the kernel was read: {words(code, text)}")
    if code == errno.EPERM and isinstance(request, Entry):
        # br_fdb.c, fdb_add_entry: only static and local entries may be put on a port that is down or blocked.
        text = text or "the port does not forward, and then takes no dynamic entry"
    return Refusal(code, f"{_purpose(request)} on {request.port}: {words(code, text)}")


def _purpose(request: Request) -> str:
    match request:
        case Entry():
            return f"putting the FDB entry {request.mac}"
        case DeleteEntry():
            return f"deleting the FDB entry {request.mac}"
        case FlushEntries():
            return f"flushing the static FDB entries of VID {request.vid}"
        case SetFlags():
            return "setting port flags"
        case DeleteVids() | AddVids():
            return f"setting VID {request.first}" + (f" to {request.last}" if request.last > request.first else "")


def _interfaces(snapshot: Snapshot) -> dict[str, Bridge | BridgePort]:
    return {**snapshot.bridges, **snapshot.ports}


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pauses the garbage collector: it takes a quarter of a big decode's or look's time, and finds nothing here."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
