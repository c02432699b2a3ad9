"""Reports what is true of a bridge as a whole: what was not looked at, and why its uplinks are promiscuous. Pure.

An audit that compares nothing must not look like one that found nothing wrong. So bridges that are not here, tables
that are too long, and a host on which nothing is managed are findings.

The kernel takes a port out of promiscuous mode only when VLAN filtering is on and no other port learns or floods
(net/bridge/br_if.c, br_manage_promisc). Uplinks are never touched for it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from macmgr import virsh
from macmgr.model.findings import Code, Finding
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.roles import uplinks_of
from macmgr.model.snapshot import MOST_LISTED, Bridge, BridgePort, Snapshot
from macmgr.options import nearest

_FEW = 5  # bridges that a line names


def coverage_findings(intent: Intent, snapshot: Snapshot, reported: Iterable[Finding]) -> Iterator[Finding]:
    """Policy asks for it and it is not here. ``reported`` are the findings so far: a guest's own says it already."""
    named = {name: f'[bridge."{name}"] in the configuration' for name in intent.named} | dict(intent.managed_bridges)
    missing = sorted(named.keys() - snapshot.bridges.keys())
    known = {finding.bridge for finding in reported if finding.code is Code.WRONG_BRIDGE} if missing else set()
    for name in missing:
        if name not in known:
            meant = sorted(snapshot.bridges.keys() - set(intent.named)) if name in intent.named else []
            yield _missing(name, named[name], nearest(name, meant), snapshot)
    yield from (_too_long(name) for name in sorted(intent.managed_bridges) if _is_too_long(name, snapshot))
    if manages_nothing(intent, snapshot):
        yield Finding(Code.NOTHING_MANAGED, f"nothing is managed here: {left_to_the_kernel(intent.ports)}")


def _is_too_long(bridge: str, snapshot: Snapshot) -> bool:
    return bridge in snapshot.bridges and not snapshot.lists(bridge)


def _too_long(bridge: str) -> Finding:
    return Finding(
        Code.TABLE_TOO_LONG,
        f"the MAC table of {bridge} has more than {MOST_LISTED:,} entries: those of guests' addresses and on managed "
        "ports were read; of all others, such as static ones left on an uplink, nothing is said",
        bridge,
        mends=(("bridge", "fdb", "show", "br", bridge, "dynamic"),),
        note="see who sends from so many addresses",
    )


def manages_nothing(intent: Intent, snapshot: Snapshot) -> bool:
    """No bridge here and no guest's port is managed."""
    here = not snapshot.bridges.keys().isdisjoint(intent.managed_bridges)
    return not here and not any(guest.managed for guest in intent.ports)


def left_to_the_kernel(guests: Iterable[GuestPort]) -> str:
    """The guests that nobody but the kernel manages, in words."""
    guests = list(guests)
    bridges = sorted({guest.bridge for guest in guests if guest.bridge})
    if not bridges:
        return "no guest has a port on a bridge"
    domains = {guest.domain for guest in guests}
    who = next(iter(domains)) if len(domains) == 1 else f"{len(domains)} guests"
    on = ", ".join(bridges[:_FEW]) + (f" and {len(bridges) - _FEW} more" if len(bridges) > _FEW else "")
    return f"{who} on {on} {'is' if len(domains) == 1 else 'are'} left to the kernel"


def _missing(name: str, place: str, meant: str | None, snapshot: Snapshot) -> Finding:
    what = "is no Linux bridge" if name in snapshot.masters else "is not here"
    hint = f"; did you mean {meant}?" if meant else ""
    return Finding(Code.NO_SUCH_BRIDGE, f"{name} {what}, and policy names it ({place}){hint}", name)


def promiscuity_findings(intent: Intent, snapshot: Snapshot) -> Iterator[Finding]:
    """For each managed bridge: is VLAN filtering off, which ports keep the uplink promiscuous, which uplinks are."""
    guests = {guest.port: guest for guest in intent.ports}
    by_bridge: dict[str, list[BridgePort]] = {}
    for port in snapshot.ports.values():
        by_bridge.setdefault(port.bridge, []).append(port)
    for name in intent.managed_bridges:
        bridge = snapshot.bridges.get(name)
        if bridge is None:
            continue
        ports = by_bridge.get(name, [])
        if not bridge.vlan_filtering:
            yield Finding(
                Code.VLAN_FILTERING_OFF,
                f"VLAN filtering is off on {name}: the kernel keeps every port promiscuous",
                name,
                mends=(("macmgr", "apply", "--vlan-filtering", name),),  # it asks first who would be cut off
            )
        for port in ports:
            guest = guests.get(port.name)
            if guest is not None and port.auto and (guest.frozen or not guest.managed):
                yield Finding(
                    Code.UNMANAGED_AUTO_PORT,
                    f"{port.name} of {guest.domain} is {_manager(guest)} and learns or floods: the uplink must stay "
                    "promiscuous",
                    name,
                    port.name,
                    guest.domain,
                    mends=(virsh.start_network(guest.network),) if guest.frozen else (),
                    note=""
                    if guest.frozen
                    else f'mac_table_manager = "libvirt" under [bridge."{name}"], or the attribute on its network',
                )
        for uplink in uplinks_of(ports, guests):
            if uplink.promiscuity:
                yield Finding(
                    Code.UPLINK_PROMISCUOUS,
                    f"{uplink.name} is promiscuous: {_cause(uplink, bridge, ports)}",
                    name,
                    uplink.name,
                )


def _manager(guest: GuestPort) -> str:
    if guest.managed:
        return f"left as it is (its network {guest.network} is not active)"
    return "left as it is" if guest.policy.problem else "managed by the kernel"


def _cause(uplink: BridgePort, bridge: Bridge, ports: list[BridgePort]) -> str:
    if not bridge.vlan_filtering:
        return f"VLAN filtering is off on {bridge.name}"
    others = sorted(port.name for port in ports if port.auto and port is not uplink)
    if others:
        return f"{', '.join(others)} {'learns or floods' if len(others) == 1 else 'learn or flood'}"
    if bridge.promiscuity:
        return f"{bridge.name} itself is promiscuous"
    return (
        "it filters no unicast addresses itself, as veth and tap cannot, or a packet capture or an administrator asks "
        f"for it; 'macmgr doctor {shlex.quote(bridge.name)}' says which"
    )
