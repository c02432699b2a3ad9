"""A kernel in memory: bridges, port flags, VIDs and the FDB, failure switches, and "does the frame arrive?".

It earns trust by its twins: each behaviour here is proven on the real kernel by a test of tests/netns/test_kernel.py.

    a put moves any entry, clears sticky unless it says it     a_put_moves_a_sticky_entry_and_clears_sticky...
    a put takes over a local entry                             a_put_makes_a_local_entry_the_guests
    extern_learn stays through a put                           no_put_clears_extern_learn
    extern_learn is never static by itself                     extern_learn_makes_a_static_entry_dynamic
    a local entry is never put                                 a_local_entry_is_never_put
    a port that does not forward takes no dynamic entry        a_port_that_does_not_forward_takes_no_dynamic_entry
    without a VID: VID 0 and every VID of the port             one_vid_is_put_and_deleted
    a VID the port does not carry: EINVAL, its copy stays      a_copy_in_a_vid_that_the_port_lost_cannot_be_deleted
    a flush takes the static entries of a port and VID          a_flush_takes_what_is_stranded_and_nothing_else
    deleting what is not there, or elsewhere, is no refusal    delete_is_idempotent, delete_leaves_the_entry_of...
    only the flags named are set                               only_the_flags_named_are_set, locked_is_set_and_read
    one frame moves a static entry, which stays static         one_frame_moves_a_static_entry_that_is_not_sticky
    no frame moves a sticky entry                              no_frame_moves_a_sticky_entry
    a port that leaves takes its entries along                 a_static_entry_survives_its_port_going_down_but_not...
    a port gone since the snapshot is refused (ENODEV)         a_port_deleted_since_is_refused
    a port made again under its name is not touched            a_port_made_again_under_its_name_is_not_touched
    known destinations go to one port, unknown ones flood      a_frame_goes_where_the_entry_leads_or_where_unicast...
    a locked port takes frames of its own entries only         a_locked_port_takes_only_the_frames_of_its_entries
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from macmgr.forwarding import BROADCAST, Answer, Frame, Learned, forward
from macmgr.forwarding.requested import deleted, put, refuses, set_local, with_flags, with_vids
from macmgr.model.changes import AddVids, DeleteEntry, DeleteVids, FlushEntries, Request, SetFlags
from macmgr.model.devices import Device, DeviceFacts, Features
from macmgr.model.flags import LOCKED, NEW_PORT, with_flag
from macmgr.model.multicast import Mdb
from macmgr.model.relay import Tag
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, PortFlags, Snapshot

Key = tuple[str, str, int]
_ANYBODY = "02:00:5e:00:53:01"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What this kernel would not do."""

    errno: int
    text: str


def put_entry(
    port: str,
    mac: str,
    vid: int | None,
    state: EntryState = EntryState.STATIC,
    sticky: bool = False,
    extern_learn: bool = False,
) -> Entry:
    """The request that puts an entry; without a VID, in VID 0 and every VID of the port."""
    return Entry(mac, vid or 0, port, state, sticky, extern_learn)


def set_port(port: str, **values: bool | None) -> SetFlags:
    """The request that sets these flags, and no other."""
    named: dict[str, Any] = {field: value for field, value in values.items() if value is not None}
    return SetFlags(
        port, replace(NEW_PORT, **{field: not value for field, value in named.items()}), replace(NEW_PORT, **named)
    )


class FakeKernel:
    """One network namespace; the methods of `macmgr.execution.Kernel`, and what the world does to it.

    Failure switches by port name: ``refuses_puts``, ``forgets_puts``, ``forgets_flags`` and ``forgets_vids`` (these
    three acknowledged, none carried out), ``refuses_flags`` (with the flag's name: all flags of such a request come
    to nothing, as where a driver must be asked). ``refuses_vids`` has VIDs. Of the whole kernel: ``knows_sticky``
    (without it, the flag is acknowledged and dropped) and ``flushes``. The tables of the bridges ``too_long`` are not
    read to their end. ``skipped_by_dumps`` holds keys of live entries that dumps leave out; ``before_each_send``,
    ``after_each_send``, ``before_each_dump`` and ``after_each_dump`` are somebody else who acts at the worst moment.
    ``sent`` keeps every request, in order.
    """

    def __init__(self, start: Snapshot) -> None:
        self.bridges = dict(start.bridges)
        self.ports = dict(start.ports)
        self.masters = dict(start.masters)
        self.left: dict[str, BridgePort] = {}
        self.stacked = start.stacked
        self.fdb: dict[Key, Entry] = {}
        for entry in start.entries:
            bridge = start.bridge_of(entry.port)
            assert bridge is not None, f"{entry} is on no bridge"
            self.fdb[bridge, entry.mac, entry.vid] = entry
        self.refuses_puts: set[str] = set()
        self.forgets_puts: set[str] = set()
        self.forgets_flags: set[str] = set()
        self.forgets_vids: set[str] = set()
        self.refuses_vids: set[int] = set()
        self.skipped_by_dumps: set[Key] = set()
        self.too_long: set[str] = set()
        self.flushes = True
        self.knows_sticky = True
        self.refuses_flags: set[tuple[str, str]] = set()
        self.before_each_send: Callable[[], None] = lambda: None
        self.after_each_send: Callable[[], None] = lambda: None
        self.before_each_dump: Callable[[], None] = lambda: None
        self.after_each_dump: Callable[[], None] = lambda: None
        self.sent: list[Request] = []
        self.mdb: dict[str, Mdb] = {}
        self.refreshed_at: dict[Key, float] = {}

    # What macmgr asks of a kernel

    def read_snapshot(
        self,
        bridges: Collection[str] | None = None,
        ports: Collection[str] = (),
        *,
        whole: bool = False,
        if_open: Collection[str] | None = None,
    ) -> Snapshot:
        self.before_each_dump()
        asked = self.bridges.keys() if bridges is None else self.bridges.keys() & {*bridges}
        listed = {name for name in asked if whole or bridges is None or name not in self.too_long}
        opened = {name for name, port in self.ports.items() if port.flags.learning or port.flags.unicast_flood}
        ports = opened.intersection(if_open or ()).union(ports)
        there = {key: entry for key, entry in self.fdb.items() if key not in self.skipped_by_dumps}
        read = Snapshot(
            dict(self.bridges),
            dict(self.ports),
            dict(self.masters),
            tuple(
                entry
                for (bridge, _, _), entry in there.items()
                if bridge in listed
                or (bridge in asked and (entry.port in ports or (entry.port == bridge and if_open is None)))
            ),
            listed=None if listed == self.bridges.keys() else listed,
            listed_ports={name for name, port in self.ports.items() if name in ports and port.bridge in asked},
            stacked=self.stacked,
        )
        self.after_each_dump()
        return read

    def look_up(self, keys: Iterable[Key], snapshot: Snapshot) -> dict[Key, Entry | None]:
        known = {*snapshot.bridges, *snapshot.ports}
        found = {key: self.fdb.get(key) for key in keys}
        return {key: entry if entry is not None and entry.port in known else None for key, entry in found.items()}

    def read_groups(self, snapshot: Snapshot) -> Snapshot:
        return replace(snapshot, mdb=dict(self.mdb))

    def refreshed(self, keys: Iterable[Key], snapshot: Snapshot) -> dict[Key, tuple[float, float]]:
        return {key: (self.refreshed_at[key],) * 2 for key in keys if key in self.fdb and key in self.refreshed_at}

    def send(self, requests: Sequence[Request], snapshot: Snapshot) -> list[Refusal | None]:
        self.before_each_send()
        answers = [self._carry_out(request, snapshot) for request in requests]
        self.after_each_send()
        return answers

    def read_devices(self) -> DeviceFacts:
        devices = {
            port.name: Device(
                port.name,
                port.ifindex,
                port.mac,
                port.kind,
                master=port.bridge,
                up=port.up,
                promiscuity=port.promiscuity,
            )
            for port in self.ports.values()
        }
        return DeviceFacts(devices, features=Features(True, True, True, True))

    def turn_vlan_filtering_on(self, bridge: Bridge) -> None:
        self.bridges[bridge.name] = replace(bridge, vlan_filtering=True)

    def _carry_out(self, request: Request, snapshot: Snapshot) -> Refusal | None:
        self.sent.append(request)
        then, now = snapshot.ports.get(request.port), self.ports.get(request.port)
        if then is None or now is None or then.ifindex != now.ifindex:
            return Refusal(errno.ENODEV, f"{request.port} is gone since the kernel was read")
        match request:
            case Entry():
                return self._put(request, now)
            case DeleteEntry():
                return self._delete(request, now)
            case FlushEntries():
                return self._flush(request, now)
            case SetFlags():
                return self._set_port(request, now)
            case DeleteVids() | AddVids():
                return self._set_vids(request, now)

    def _put(self, request: Entry, port: BridgePort) -> Refusal | None:
        if request.state is EntryState.LOCAL:
            raise ValueError("macmgr never puts a local entry")
        if port.name in self.refuses_puts:
            return Refusal(errno.ENOSPC, f"putting the FDB entry {request.mac} on {port.name}: no space (ENOSPC)")
        if why := refuses(request, port, port.vids):
            return Refusal(errno.EINVAL if request.vid and request.vid not in port.vids else errno.EPERM, why)
        if port.name not in self.forgets_puts:
            known = request if self.knows_sticky else request._replace(sticky=False)
            for key, entry in put(known, port, self.fdb).items():
                have, self.fdb[key] = self.fdb.get(key), entry
                if entry != have:
                    self._refresh(key)
        return None

    def _delete(self, request: DeleteEntry, port: BridgePort) -> Refusal | None:
        if why := refuses(request, port, port.vids):
            return Refusal(errno.EINVAL, why)
        for key in deleted(request, port, self.fdb):
            del self.fdb[key]
        return None

    def _flush(self, request: FlushEntries, port: BridgePort) -> Refusal | None:
        if not self.flushes:
            return Refusal(errno.EINVAL, f"flushing on {port.name}: Invalid argument (EINVAL): invalid address")
        for key in deleted(request, port, self.fdb):
            del self.fdb[key]
        return None

    def _set_port(self, request: SetFlags, port: BridgePort) -> Refusal | None:
        if port.name not in self.forgets_flags:
            # an old kernel ignores the attribute of a flag that it does not know, and answers OK
            known = [(flag, value) for flag, value in request.named() if port.flags.value(flag) is not None]
            if any((port.name, flag.field) in self.refuses_flags for flag, _ in known):
                words = "Operation not supported (EOPNOTSUPP): bridge flag offload is not supported"
                return Refusal(errno.EOPNOTSUPP, f"setting port flags on {port.name}: {words}")
            self.ports[port.name] = with_flags(request, port)
        return None

    def _set_vids(self, request: DeleteVids | AddVids, port: BridgePort) -> Refusal | None:
        if isinstance(request, AddVids) and not self.refuses_vids.isdisjoint(range(request.first, request.last + 1)):
            # of a run, those before it are there by then (br_process_vlan_info)
            return Refusal(errno.ENOSPC, f"setting VID {request.first} on {port.name}: no space (ENOSPC)")
        if port.name not in self.forgets_vids:
            self.ports[port.name] = with_vids(request, port)
            set_local(self.ports[port.name], port, self.fdb)
        return None

    # What the world does

    def remove_port(self, name: str) -> None:
        """The interface goes away, and its entries with it."""
        del self.ports[name], self.masters[name]
        self.fdb = {key: entry for key, entry in self.fdb.items() if entry.port != name}

    def leave_bridge(self, name: str) -> None:
        """The interface is taken off its bridge: its entries go."""
        self.left[name] = self.ports[name]
        self.remove_port(name)
        self.masters[name] = None

    def come_back(self, name: str) -> None:
        """The interface is put on its bridge again, with the flags of a new port."""
        port = self.left.pop(name)
        self.ports[name], self.masters[name] = replace(port, flags=PortFlags()), port.bridge

    def make_port_again(self, name: str) -> None:
        """Another interface of the same name comes to the same bridge, with the flags of a new port."""
        port = self.ports[name]
        self.remove_port(name)
        number = 1000 + port.ifindex
        self.ports[name] = replace(port, ifindex=number, flags=PortFlags())
        self.masters[name] = port.bridge

    def set_entry(self, entry: Entry) -> None:
        """Somebody else's doing."""
        self.fdb[self.ports[entry.port].bridge, entry.mac, entry.vid] = entry

    def lose_entry(self, bridge: str, mac: str, vid: int) -> None:
        """Somebody else's doing; there may be none."""
        self.fdb.pop((bridge, mac, vid), None)

    def set_flags(self, port: str, flags: PortFlags) -> None:
        """Somebody else's doing."""
        self.ports[port] = replace(self.ports[port], flags=flags)

    # Frames, by the model that tests/netns/test_forwarding.py proves

    def frame(self, port: str, source: str, destination: str, vid: int | None = None) -> set[str]:
        """A frame comes in on ``port``, the bridge learns from it, and it leaves on the ports returned."""
        answer = self._forward(port, Frame(source, destination, _tags(vid)))
        if answer.move.learned is not Learned.NOTHING:
            key = answer.bridge, source, answer.vid
            self._refresh(key)
            if answer.move.after is not None:
                self.fdb[key] = answer.move.after
        return {*answer.reached}

    def takes(self, port: str, source: str, vid: int | None = None) -> bool:
        """A frame from ``source`` may come in here."""
        return self._forward(port, Frame(source, BROADCAST, _tags(vid))).stopped is None

    def deliver(self, bridge: str, port: str, destination: str, vid: int | None = None) -> set[str]:
        """A frame that came in on ``port``, from somebody whom no lock holds, leaves on the ports returned.

        ``vid`` None is an untagged frame. The bridge among the ports is the host.
        """
        came_in = self.ports[port]
        unlocked = replace(came_in, flags=with_flag(came_in.flags, LOCKED, False))
        answer = self._forward(port, Frame(_ANYBODY, destination, _tags(vid)), {port: unlocked})
        assert answer.bridge == bridge
        return {*answer.reached}

    def _forward(self, port: str, frame: Frame, ports: Mapping[str, BridgePort] | None = None) -> Answer:
        entries = tuple(self.fdb.values())
        return forward(Snapshot(self.bridges, {**self.ports, **(ports or {})}, self.masters, entries), port, frame)

    def _refresh(self, key: Key) -> None:
        """An entry was changed, or its address seen: time goes on by one."""
        self.refreshed_at[key] = max(self.refreshed_at.values(), default=0.0) + 1


def _tags(vid: int | None) -> tuple[Tag, ...]:
    return () if vid is None else (Tag(vid),)


def make_snapshot(bridges: Iterable[Bridge], ports: Iterable[BridgePort], entries: Iterable[Entry] = ()) -> Snapshot:
    """A snapshot of these bridges and ports, each with its own address as a local entry, and of ``entries``.

    What has the name of a tap and no kind is one.
    """
    by_name, ports_by_name = {each.name: each for each in bridges}, {each.name: _tap(each) for each in ports}
    own = {
        (each.bridge, each.mac, vid): Entry(each.mac, vid, each.name, EntryState.LOCAL)
        for each in ports_by_name.values()
        for vid in (0, *each.vids)
    }
    own |= {(each.name, each.mac, 0): Entry(each.mac, 0, each.name, EntryState.LOCAL) for each in by_name.values()}
    start = Snapshot(
        by_name, ports_by_name, {**dict.fromkeys(by_name), **{p.name: p.bridge for p in ports_by_name.values()}}
    )
    more = {(start.bridge_of(entry.port) or "", entry.mac, entry.vid): entry for entry in entries}
    return replace(start, entries=tuple((own | more).values()))


def _tap(port: BridgePort) -> BridgePort:
    return replace(port, kind="tun") if not port.kind and port.name.startswith(("vnet", "tap")) else port
