"""Reports why the uplinks of a managed bridge are promiscuous; they are never touched. Pure.

The kernel takes a port out of promiscuous mode only when VLAN filtering is on and no other port learns or floods
(net/bridge/br_if.c, br_manage_promisc).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from macmgr import virsh
from macmgr.model.findings import Code, Finding
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.roles import uplinks_of
from macmgr.model.snapshot import Bridge, BridgePort, Snapshot


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
