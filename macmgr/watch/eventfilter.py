"""Filters the kernel's events: only an event that shows something new since the last look makes a round due.

It compares with what was read. Only the planner decides what is right. Our own writes were read back, so their events
are no news. Most events on a busy host are about addresses that an uplink learns, and each of these costs two look-ups
in tables made once per view.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from macmgr.model.changes import Change, SetEntries
from macmgr.model.intent import Intent
from macmgr.model.kernelevents import LOST, EntryEvent, Event, LinkEvent, Strangers, VlanEvent
from macmgr.model.relay import PortRelay, PortState
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState
from macmgr.view import View

# Entries that no managed port may have, whatever their MAC. A waiting guest's port is open, and an open port learns.
_STATIC = frozenset({EntryState.STATIC})
_LEARNED_TOO = _STATIC | {EntryState.DYNAMIC}


class _Read(NamedTuple):
    ifindex: int
    entry: Entry


class LastView:
    """The last look's intent and snapshot, indexed by the keys of events.

    An event that cannot concern a managed bridge is never news. One kind is an entry of a MAC that no managed guest
    has, or just had, on its bridge, unless macmgr would drop it from a managed port. The other is an interface that is
    neither a bridge with managed guests, nor on one, nor a managed guest's tap.
    """

    def __init__(self, view: View) -> None:
        intent, snapshot = view.intent, view.snapshot
        guests = [guest for guest in intent.ports if guest.managed]
        names = {*intent.managed_bridges, *(guest.bridge for guest in guests)}
        self._masters = snapshot.masters
        self._named_bridges = names
        self._bridges = {bridge.ifindex: bridge for bridge in snapshot.bridges.values()}
        self._bridges_by_name = snapshot.bridges
        self.heeded = frozenset(bridge.ifindex for name, bridge in snapshot.bridges.items() if name in names)
        self._taps = {guest.port for guest in (*guests, *intent.unplaced)}
        self._ports_by_name = snapshot.ports
        self.strangers = self._strangers(intent, (mac for _, mac in view.gone_macs))
        self._ports = {
            port.ifindex: port for port in snapshot.ports.values() if port.bridge in names or port.name in self._taps
        }
        ifindexes = {name: bridge.ifindex for name, bridge in snapshot.bridges.items()}
        self._wanted = {
            (ifindexes[guest.bridge], mac) for guest in guests if guest.bridge in ifindexes for mac in guest.macs
        }
        managed = [ifindexes[name] for name in intent.managed_bridges if name in ifindexes]
        gone = {mac for _, mac in view.gone_macs}
        self._departed = {(bridge, mac) for bridge in managed for mac in gone} - self._wanted
        self._drops = {
            snapshot.ports[guest.port].ifindex: _LEARNED_TOO if guest.running else _STATIC
            for guest in guests
            if snapshot.port_on(guest.bridge, guest.port)
        }
        macs = {mac for _, mac in self._wanted} | gone
        owners = {**{name: port.ifindex for name, port in snapshot.ports.items()}, **ifindexes}
        self._entries = {
            (ifindexes[bridge], entry.mac, entry.vid): _Read(owners[entry.port], entry)
            for entry in snapshot.fdb
            if (entry.mac in macs or owners.get(entry.port) in self._drops)
            and (bridge := snapshot.bridge_of(entry.port)) is not None
        }

    def strangers_now(self, intent: Intent, seen: Iterable[str]) -> Strangers:
        """Returns whose entries may be left out if guests are those of ``intent`` now, and were ``seen`` to use these.

        What is found by the next look only, as its bridges and ports, is heard of.
        """
        return self._strangers(intent, seen).both(self.strangers)

    def _strangers(self, intent: Intent, macs: Iterable[str]) -> Strangers:
        managed = [guest for guest in intent.ports if guest.managed]
        names = {*intent.managed_bridges, *(guest.bridge for guest in managed)}
        taps = {guest.port for guest in (*managed, *intent.unplaced)}
        return Strangers(
            frozenset(bridge.ifindex for name, bridge in self._bridges_by_name.items() if name not in names),
            frozenset(
                port.ifindex for port in self._ports_by_name.values() if port.bridge in names and port.name not in taps
            ),
            frozenset(mac for guest in intent.ports if guest.bridge in names for mac in guest.macs) | {*macs},
        )

    def news_among(self, events: Iterable[Event]) -> list[str]:
        """Returns the news after all of ``events``: a change that was undone meanwhile is none.

        So drift and its repair, both seen after the look that followed the repair, cost no further look.
        """
        entries: dict[tuple[int, str, int], EntryEvent] = {}
        links: dict[int, LinkEvent] = {}
        vlans: dict[int, list[VlanEvent]] = {}
        reasons: list[str] = []
        for event in events:
            if isinstance(event, EntryEvent):
                if self._concerns(event):
                    entries[event.bridge, event.mac, event.vid] = event
            elif isinstance(event, LinkEvent):
                before = links.get(event.ifindex)
                links[event.ifindex] = _together(before, event) if before else event
            elif isinstance(event, VlanEvent):
                vlans.setdefault(event.ifindex, []).append(event)
            else:
                reasons.append(self.news_in(event))
        latest: list[Event] = [*links.values(), *entries.values()]
        reasons += [news for event in latest if (news := self.news_in(event))]
        return reasons + [news for heard in vlans.values() if (news := self._vlan_news(heard))]

    def opened_among(self, events: Iterable[Event]) -> dict[str, str]:
        """Returns, by the news of it, each port of which ``events`` show other flags and nothing else that is new."""
        latest: dict[int, LinkEvent] = {}
        for event in events:
            if isinstance(event, LinkEvent) and event.ifindex in self._ports:
                before = latest.get(event.ifindex)
                latest[event.ifindex] = _together(before, event) if before else event
        return {
            news: self._ports[event.ifindex].name
            for event in latest.values()
            if (news := self.news_in(event))
            and not self.news_in(event._replace(flags=self._ports[event.ifindex].flags))
        }

    def ports_with_strangers(self, events: Iterable[Event]) -> Iterator[str]:
        """Yields the managed ports on which something has an entry that is no guest's of the bridge."""
        for event in events:
            if not isinstance(event, EntryEvent) or event.gone or (event.bridge, event.mac) in self._wanted:
                continue
            if event.ifindex in self._drops:
                yield self._ports[event.ifindex].name

    def had(self, change: Change) -> bool:
        """True if an entry that the change removes was read on the port that it removes it from."""
        bridge = self._bridges_by_name.get(change.bridge)
        if bridge is None or not isinstance(change, SetEntries):
            return False
        read = (self._entries.get((bridge.ifindex, entry.mac, entry.vid)) for entry in change.before)
        return any(
            each is not None and each.entry.port == entry.port for each, entry in zip(read, change.before, strict=True)
        )

    def news_in(self, event: Event) -> str:
        """Returns what the event shows beyond the last look, in words; empty if that is nothing."""
        if isinstance(event, EntryEvent):
            return self._entry_news(event) if self._concerns(event) else ""
        if isinstance(event, VlanEvent):
            return self._vlan_news([event])
        if event is LOST:
            return "events of the kernel were lost"
        return self._gone(event) if event.gone else self._link_news(event)

    def _concerns(self, event: EntryEvent) -> bool:
        key = event.bridge, event.mac
        if key in self._wanted:
            return True
        if event.state in self._drops.get(event.ifindex, ()) and not event.extern_learn:
            return True
        return key in self._departed and (event.state is EntryState.STATIC or self._was_static(event))

    def _was_static(self, event: EntryEvent) -> bool:
        read = self._entries.get((event.bridge, event.mac, event.vid))
        return read is not None and read.entry.state is EntryState.STATIC

    def _entry_news(self, event: EntryEvent) -> str:
        read = self._entries.get((event.bridge, event.mac, event.vid))
        what = f"the entry of {event.mac}" + (f" in VID {event.vid}" if event.vid else "")
        if event.gone:
            # on any port: a bridge has one entry for a MAC in a VID, and it may have moved before
            return f"{what} on {self._name(event.ifindex)} is gone" if read is not None else ""
        now = Entry(event.mac, event.vid, "", event.state, event.sticky, event.extern_learn)
        if read is None:
            return f"{what} appeared on {self._name(event.ifindex)} ({now.in_words})"
        if read.ifindex != event.ifindex:
            return f"{what} moved to {self._name(event.ifindex)}"
        if now != read.entry._replace(port=""):
            return f"{what} on {read.entry.port} is {now.in_words}"
        return ""

    def _name(self, ifindex: int) -> str:
        interface = self._ports.get(ifindex) or self._bridges.get(ifindex)
        return interface.name if interface else f"interface {ifindex}"

    def _vlan_news(self, heard: Sequence[VlanEvent]) -> str:
        """Reports changed VIDs of a port, or of a bridge itself, after all events ``heard`` of it."""
        port, bridge = self._ports.get(heard[0].ifindex), self._bridges.get(heard[0].ifindex)
        read = port or (bridge if bridge and bridge.name in self._named_bridges else None)
        if read is None:
            return ""
        were = sum(1 << vid for vid in read.vids)
        pvid_was = port.pvid or 0 if port else 0
        are, pvid = were, pvid_was
        untagged = untagged_was = sum(1 << vid for vid in read.untagged)
        for event in heard:
            vids = (2 << event.last) - (1 << event.first)
            are = are & ~vids if event.gone else are | vids
            if port and event.pvid and not event.gone:
                pvid = event.first
            elif vids >> pvid & 1:
                pvid = 0
            if event.untagged is not None:
                untagged = untagged | vids if event.untagged and not event.gone else untagged & ~vids
        if are != were:
            return f"the VIDs of {read.name} changed" if port else f"the VIDs of {read.name} itself changed"
        if _differing_states(read, heard):
            return f"the states of VLANs on {read.name} changed"
        if pvid != pvid_was:
            return f"untagged frames of {read.name} get another VID"
        return f"{read.name} sends frames of other VIDs untagged" if untagged != untagged_was else ""

    def _gone(self, event: LinkEvent) -> str:
        """Reports a port that left its bridge (a bridge's message) or an interface that is gone (any other message)."""
        port = self._ports.get(event.ifindex)
        if event.bridge_message:
            return f"{port.name} left {port.bridge}" if port and self._is_on(port, event.master) else ""
        if port:
            return f"{port.name} is gone"
        bridge = self._bridges.get(event.ifindex)
        if bridge and bridge.name in self._named_bridges:
            return f"{bridge.name} is gone"
        unported = event.name in self._taps and event.name in self._masters and event.name not in self._ports_by_name
        return f"{event.name} is gone" if unported else ""

    def _link_news(self, event: LinkEvent) -> str:
        port = self._ports.get(event.ifindex)
        if port:
            return self._port_news(event, port)
        bridge = self._bridges.get(event.ifindex)
        if bridge and bridge.name in self._named_bridges:
            return _bridge_news(event, bridge)
        if event.name in self._named_bridges and event.kind == "bridge":
            return f"{event.name} {'was made again' if event.name in self._bridges_by_name else 'appeared'}"
        joined = self._bridges.get(event.master) if event.master is not None else None
        if event.name in self._taps:
            if event.name in self._ports_by_name:
                return f"{event.name} was made again"
            if event.name not in self._masters:
                return f"{event.name} appeared"
            if joined:
                return f"{event.name} joined {joined.name}"
            left = event.master is None and self._masters[event.name] is not None
            return f"{event.name} left {self._masters[event.name]}" if left else ""
        if joined and joined.name in self._named_bridges:
            return f"{event.name} joined {joined.name}"
        return ""

    def _port_news(self, event: LinkEvent, port: BridgePort) -> str:
        if event.name != port.name:
            return f"{port.name} is called {event.name} now"
        if not self._is_on(port, event.master):
            return f"{port.name} left {port.bridge}"
        if event.flags is not None and event.flags != port.flags:
            flags = event.flags.differing(port.flags)
            return f"{port.name}: {', '.join(f'{flag.words} is {_on(event.flags.value(flag))}' for flag in flags)}"
        if event.vids is not None and event.vids != port.vids:
            return f"the VIDs of {port.name} changed"
        return _relay_news(event.relay, port) if event.relay else ""

    def _is_on(self, port: BridgePort, master: int | None) -> bool:
        bridge = self._bridges.get(master) if master is not None else None
        return bridge is not None and bridge.name == port.bridge


def _bridge_news(event: LinkEvent, bridge: Bridge) -> str:
    if event.name != bridge.name:
        return f"{bridge.name} is called {event.name} now"
    if event.vlan_filtering is not None and event.vlan_filtering != bridge.vlan_filtering:
        return f"VLAN filtering of {bridge.name} is {_on(event.vlan_filtering)}"
    if event.default_pvid is not None and event.default_pvid != bridge.default_pvid:
        # its ports' VIDs changed too, and a kernel before 5.6 has no other report of that
        return f"the default PVID of {bridge.name} changed"
    if event.vids is not None and event.vids != bridge.vids:
        return f"the VIDs of {bridge.name} itself changed"
    if event.up != bridge.up:
        return f"{bridge.name} is {'up' if event.up else 'down'}"
    if event.operational is not None and event.operational != bridge.relay.operational:
        return f"{bridge.name} has {'a carrier' if event.operational else 'no carrier'}"
    return ""


def _relay_news(now: PortRelay, port: BridgePort) -> str:
    """Reports what decides whether guests are reached by way of the port; the rest waits for the next look."""
    was = port.relay
    if now.state is not was.state:
        return f"{port.name} is {now.state.name.lower()}"
    if now.carrier != was.carrier:
        return f"{port.name} has {'a carrier' if now.carrier else 'no carrier'}"
    if now.operational != was.operational:
        return f"{port.name} is {'' if now.operational else 'not '}operational"
    if now.broadcast_flood != was.broadcast_flood:
        return f"broadcast flood of {port.name} is {_on(now.broadcast_flood)}"
    return f"proxy_arp of {port.name} is {_on(now.proxy_arp)}" if now.proxy_arp != was.proxy_arp else ""


def _differing_states(read: Bridge | BridgePort, heard: Iterable[VlanEvent]) -> bool:
    """A VLAN on the port is in another state (MSTP) than read, after all that was ``heard``."""
    states = {vid: event.state for event in heard if not event.gone for vid in range(event.first, event.last + 1)}
    known = read.relay.vlan_states
    return any(state is not None and state is not known.get(vid, PortState.FORWARDING) for vid, state in states.items())


def _together(before: LinkEvent, after: LinkEvent) -> LinkEvent:
    """Completes the later event from the earlier one. A port's values from before it left are not taken over."""
    if before.gone or after.gone:
        return after
    after = after._replace(
        kind=after.kind or before.kind,
        vlan_filtering=before.vlan_filtering if after.vlan_filtering is None else after.vlan_filtering,
        default_pvid=before.default_pvid if after.default_pvid is None else after.default_pvid,
    )
    if after.master != before.master:
        return after
    return after._replace(
        flags=before.flags if after.flags is None else after.flags,
        vids=before.vids if after.vids is None else after.vids,
        relay=after.relay or before.relay,
    )


def _on(value: bool | None) -> str:
    return "on" if value else "off"
