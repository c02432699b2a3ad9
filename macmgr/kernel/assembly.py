"""Puts a snapshot together from decoded interfaces, VIDs and entries: ifindexes become names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from macmgr.kernel.links import Link
from macmgr.kernel.vlanstates import VlanStates
from macmgr.model.devices import STACKED
from macmgr.model.relay import BridgeRelay, PortRelay, PortState, Tag
from macmgr.model.roles import CABLE
from macmgr.model.snapshot import Bridge, BridgePort, Entry, PortFlags, Snapshot, Stacked
from macmgr.model.vids import PortVids

R = TypeVar("R", BridgeRelay, PortRelay)


def assemble(
    links: Sequence[Link],
    found: Mapping[int, Link],
    members: Sequence[Link],
    vids: Mapping[int, PortVids],
    states: VlanStates,
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
            own.vids,
            link.default_pvid,
            own.pvid,
            own.untagged,
            _with_states(link.bridge_relay, states.get(link.ifindex)),
        )
        for link in found.values()
        for own in [vids.get(link.ifindex, PortVids())]
    }
    taken = _taken(links)
    return Snapshot(
        bridges=bridges,
        ports={
            link.name: _port(
                link,
                link.flags,
                found[link.master].name,
                vids.get(link.ifindex, PortVids()),
                _with_states(_relay(link, names, taken), states.get(link.ifindex)),
                names.get(link.lower, "") if link.kind == CABLE and link.lower and not link.elsewhere else "",
            )
            for link in members
            if link.flags is not None and link.master is not None
        },
        masters={link.name: names.get(link.master) if link.master else None for link in links},
        entries=tuple(entries),
        stacked=tuple(_stacked(links, bridges)),
    )


def _stacked(links: Iterable[Link], bridges: Mapping[str, Bridge]) -> Iterator[Stacked]:
    """The devices stacked on bridges, directly or not.

    A device above a VLAN device is in that one's VID. Any other is in the VIDs that the bridge sends untagged.
    """
    uppers: dict[int, list[Link]] = {}
    for link in links:
        if link.kind in STACKED and link.lower and link.lower != link.ifindex and not link.elsewhere:
            uppers.setdefault(link.lower, []).append(link)
    for bridge in bridges.values():
        waiting = [(link, (link.vid,) if link.vid else bridge.untagged) for link in uppers.get(bridge.ifindex, ())]
        for link, carried in waiting:  # nothing is stacked on itself, so the walk ends
            waiting += [(upper, carried) for upper in uppers.get(link.ifindex, ())]
            if link.mac:
                yield Stacked(bridge.name, link.name, link.mac, carried, link.kind)


def _with_states(relay: R, states: Mapping[int, PortState] | None) -> R:
    return replace(relay, vlan_states=states) if states else relay


def _taken(links: Iterable[Link]) -> Mapping[int, tuple[Tag, ...]]:
    """The tags whose frames a device's VLAN devices take, by its ifindex."""
    taken: dict[int, tuple[Tag, ...]] = {}
    for link in links:
        if link.kind == "vlan" and link.lower and link.vid is not None and not link.elsewhere:
            taken[link.lower] = (*taken.get(link.lower, ()), Tag(link.vid, link.vlan_protocol))
    return taken


def _relay(link: Link, names: Mapping[int, str], taken: Mapping[int, tuple[Tag, ...]]) -> PortRelay:
    """Most ports have no backup and no VLAN devices, and share one record."""
    if link.backup is None and link.ifindex not in taken:
        return link.port_relay
    backup = names.get(link.backup, "") if link.backup else ""
    return replace(link.port_relay, backup=backup, taken=taken.get(link.ifindex, ()))


def _port(link: Link, flags: PortFlags, bridge: str, port_vids: PortVids, relay: PortRelay, peer: str) -> BridgePort:
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
        tunnel_learning=link.tunnel_learning,
        elsewhere=link.elsewhere,
        peer=peer,
        relay=relay,
    )
