"""Reports settings that contradict each other, with both named; none is silently resolved. Pure.

Pure; each rule is one function over one guest port. Two NICs with one MAC, and a guest with the host's own address, are
findings of their own (`duplicate-mac`, `mac-collision`).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence

from macmgr import virsh
from macmgr.model.findings import Code, Finding
from macmgr.model.intent import OWN, GuestMac, GuestPort, Intent, Manager, Pin
from macmgr.model.known import Memory
from macmgr.model.mac import is_of_cluster, virtual_router
from macmgr.model.roles import uplinks_of
from macmgr.model.snapshot import BridgePort, Snapshot
from macmgr.options import MAC_TABLE_MANAGER
from macmgr.phrases import first_few
from macmgr.planning.bonds import let_bond_in
from macmgr.planning.collisions import MANY, let_cluster_in, serve_many
from macmgr.planning.draft import Pins
from macmgr.planning.remembering import seen_since
from macmgr.readers.network import Network

_FEW = 4  # ports that a message names
# libvirt's own filters that drop every frame whose source is not the NIC's configured MAC (nwfilter, 0.8.0)
_ONE_SOURCE = ("no-mac-spoofing", "clean-traffic", "clean-traffic-gateway")


def conflict_findings(intent: Intent, snapshot: Snapshot, pins: Pins) -> Iterator[Finding]:
    """The conflicts of every guest port, managed or not."""
    isolated = _isolated_uplinks(snapshot, {guest.port for guest in intent.ports})
    for guest in intent.ports:
        for message in (*_in_the_settings(guest), *_with_the_bridge(guest, snapshot, isolated)):
            yield _about(guest, Code.CONFLICTING_SETTINGS, message)
        if (plane := pins.control_plane(guest.bridge)) and guest.managed and guest.policy.pin is Pin.STICKY:
            yield _pinned_against(plane, guest)
        if guest.managed:
            yield from _pinned_routers(guest)
            yield from _pinned_clusters(guest)


def guest_mac_findings(intent: Intent) -> Iterator[Finding]:
    """Guests that use another address than their XML gives them, where policy says to report it (libvirt 11.2.0)."""
    nics = {(each.uuid, each.bridge, each.facts.configured_mac): each for each in intent.ports}
    for guest in intent.ports:
        changed = guest.facts.current_mac not in ("", *guest.macs)
        sure = guest.managed and not guest.frozen  # else its network may say that it follows
        if changed and sure and guest.policy.guest_mac is GuestMac.ALERT:
            place = guest.policy.place_of("guest_mac")
            why = f"guestMac='alert' ({place})" if place else "the NIC is not trusted to change it"
            mac, own = guest.facts.current_mac, guest.macs[0]
            if guest.unlisted:
                yield _uses_many(guest, (mac, *guest.unlisted), why)
                continue
            how = f"in addition to {own}" if virtual_router(mac) else f"in addition to {own} or instead of it"
            yield _about(
                guest,
                Code.GUEST_MAC_CHANGED,
                f"{guest.domain} uses {mac} on {guest.port} {how}: no entry is put for it, because {why}",
                guest.facts.current_mac,
                note=let_bond_in(guest.domain) if (guest.uuid, guest.bridge, mac) in nics else _let_in(guest, mac),
            )


def _uses_many(guest: GuestPort, macs: Sequence[str], why: str) -> Finding:
    """One finding for all of them: a bridge, a firewall or a hypervisor inside a guest has dozens."""
    prefixes = dict.fromkeys(prefix for mac in macs if (prefix := virtual_router(mac)))
    routers = f"; allow {' and '.join(prefixes)} for a virtual router" if prefixes else ""
    return _about(
        guest,
        Code.GUEST_MAC_CHANGED,
        f"{guest.domain} uses {len(macs)} addresses on {guest.port} in addition to {guest.macs[0]}, which nothing "
        f"gives it ({first_few(macs, MANY)}): no entry is put for them, because {why}",
        macs[0],
        note=f"{serve_many(guest)}{routers}",
    )


def _let_in(guest: GuestPort, mac: str) -> str:
    """The words for letting a guest use an address. One that moves between hosts is not pinned here.

    A pin takes it from the LAN.
    """
    where = f"in the metadata of {guest.domain}"
    if is_of_cluster(mac):
        return let_cluster_in(guest)
    if prefix := virtual_router(mac):
        return (
            f"allow {prefix} {where}, with macmgr watch running: the address of a virtual router (VRRP, CARP) is put "
            "here while it is seen here, and is left to its master on another host"
        )
    return (
        f"allow {mac} {where} if the guest uses it in addition to its own; set guestMac='follow' if its address "
        "changes; set manager='kernel' if the NIC serves many, as in a bridge, a firewall or a hypervisor"
    )


def _pinned_routers(guest: GuestPort) -> Iterator[Finding]:
    """Addresses of virtual routers that are allowed one by one, and so pinned to this guest while another is master."""
    for mac in guest.policy.allow:
        if not mac.endswith("*") and (prefix := virtual_router(mac)):
            yield _about(
                guest,
                Code.CONFLICTING_SETTINGS,
                f"allow {mac} ({guest.policy.place_that_allows(mac)}) pins an address that a virtual router (VRRP, "
                "CARP) moves between hosts: while its master is elsewhere, nobody on this host reaches it, "
                f"because its entry is on {guest.port}",
                note=f"allow {prefix} in its place, with macmgr watch running",
            )


def _pinned_clusters(guest: GuestPort) -> Iterator[Finding]:
    """Addresses of clusters, which lead to one port where every node must get each frame."""
    own = guest.facts.configured_mac or guest.macs[0]
    for mac in dict.fromkeys((own, *guest.policy.allow)):
        if is_of_cluster(mac):
            place = guest.policy.place_that_allows(mac)
            verb = f"is allowed {mac}{f' ({place})' if place else ''}" if mac != own else f"has {mac}"
            prefix = ", and a prefix lets in nothing that is not sent from" if mac.endswith("*") else ""
            yield _about(
                guest,
                Code.CONFLICTING_SETTINGS,
                f"{guest.domain} ({guest.port}) {verb}, which is for clusters of Network Load Balancing in unicast "
                f"mode: each node must get each frame for the cluster, and none sends from its address; an entry leads "
                f"to one port alone{prefix}",
                "" if mac.endswith("*") else mac,
                note=let_cluster_in(guest),
            )


def _pinned_against(plane: str, guest: GuestPort) -> Finding:
    """A sticky entry where a control plane says who is where: it takes that for an address that never moves."""
    return _about(
        guest,
        Code.PIN_AGAINST_CONTROL_PLANE,
        f"pin='sticky' ({guest.policy.place_of('pin')}) on {guest.port} of {guest.domain}, but a control plane puts "
        f"addresses into the MAC table of {guest.bridge} (the vxlan {plane} does not learn by itself): to EVPN a "
        f"sticky address is one that never moves, so after a migration {guest.domain} may be cut off from other hosts",
        note=f"set pin='auto', or leave it out ({guest.policy.place_of('pin')})",
    )


def used_elsewhere_findings(intent: Intent, snapshot: Snapshot, memory: Memory) -> Iterator[Finding]:
    """Guests whose address was in use on an uplink when they got their entry, and is so still.

    Who has it there gets no frames from this bridge any more. Nothing says which of the two it belongs to.
    """
    taken = {(each.port, each.mac): each.uplink for each in seen_since(memory.taken, snapshot)}
    for guest in intent.ports if taken else ():
        for mac in guest.macs if guest.managed else ():
            if (guest.port, mac) in taken:
                yield _about(
                    guest,
                    Code.ADDRESS_IN_USE,
                    f"{mac} of {guest.domain} was in use on {taken[guest.port, mac]} when it got its entry on "
                    f"{guest.port}, and has been seen there since: its user on the LAN gets no frames from "
                    f"{guest.bridge}",
                    mac,
                    note=f"find out whose {mac} is; if it is not {guest.domain}'s, "
                    f"'{virsh.shown(virsh.edit_domain(guest.domain))}' gives it another",
                )


def bond_findings(intent: Intent, snapshot: Snapshot, memory: Memory) -> Iterator[Finding]:
    """Domains whose NICs are to share their addresses, where something keeps them from it."""
    domains: dict[tuple[str, str], list[GuestPort]] = {}
    for guest in intent.ports:
        domains.setdefault((guest.uuid, guest.bridge), []).append(guest)
    for nics in domains.values():
        sharing = [nic for nic in nics if nic.shared and nic.managed]
        alone = [nic for nic in nics if nic.managed and not nic.shared and OWN in nic.policy.allow]
        for nic in alone if len(nics) > 1 else ():
            text = (
                f"allow='own' ({nic.policy.place_that_allows(OWN)}) has no effect on {nic.port} of {nic.domain}: no "
                f"other managed NIC of {nic.domain} on {nic.bridge} says so"
            )
            yield _about(nic, Code.CONFLICTING_SETTINGS, text, note=let_bond_in(nic.domain))
        if not sharing:
            continue
        names = f"{sharing[0].domain} ({first_few([each.port for each in sharing], _FEW)})"
        here = [nic for nic in sharing if snapshot.port_on(nic.bridge, nic.port)]
        if len({frozenset(snapshot.deciding_vids(nic.port)) for nic in here}) > 1:
            text = (
                f"the NICs of {names} are in different VLANs: the address of one may be used only on a NIC that is in "
                "each of its VLANs"
            )
            yield _about(sharing[0], Code.CONFLICTING_SETTINGS, text)
        if not memory.watched:
            text = (
                f"the NICs of {names} may use each other's addresses, but macmgr watch has not run since the host was "
                "started: nobody sees a failover, and each entry stays where it is"
            )
            yield _about(sharing[0], Code.CONFLICTING_SETTINGS, text, note="run macmgr watch")


def definition_findings(networks: Iterable[Network], definitions: Iterable[Network]) -> Iterator[Finding]:
    """Active networks whose definition says something else: `net-edit` and `net-define` act at the next start."""
    defined = {network.name: network for network in definitions}
    for network in networks:
        definition = defined.get(network.name)
        if definition is None or network.problem:
            continue
        runs, waits = network.manager or Manager.KERNEL, definition.manager or Manager.KERNEL
        differ = [f"{MAC_TABLE_MANAGER} {runs}, but its definition says {waits}"] if runs != waits else []
        if definition.problem:
            differ.append("policy for its portgroups, but its definition has a mistake in <metadata>")
        elif network.metadata != definition.metadata:
            differ.append("other policy for its portgroups than its definition has in <metadata>")
        restart = virsh.restart_network(network.name)
        filters = waits == Manager.LIBVIRT and runs != waits and network.forward == "bridge"  # from its next start on
        first = f"see first who would be cut off by VLAN filtering: 'macmgr doctor {shlex.quote(network.bridge)}'"
        cut = "" if network.forward == "bridge" else "cuts its guests off until their NICs are plugged again"
        for what in differ:
            yield Finding(
                Code.CONFLICTING_SETTINGS,
                f"network {network.name} is active with {what}: the definition takes effect at the next start",
                network.bridge,
                mends=() if filters else restart,
                note=f"{first}; then {virsh.shown(*restart)}" if filters else cut,
            )


def _in_the_settings(guest: GuestPort) -> Iterator[str]:
    policy, facts = guest.policy, guest.facts
    if policy.manager is Manager.KERNEL and policy.lock:
        yield (
            f"lock='yes' ({policy.place_of('lock')}) has no effect on {guest.port} of {guest.domain}, because its "
            f"manager is kernel ({policy.reason})"
        )
    if policy.lock and policy.pin is Pin.STATIC:
        yield (
            f"lock='yes' ({policy.place_of('lock')}) with pin='static' ({policy.place_of('pin')}) on {guest.port}: one "
            f"frame seen elsewhere moves the entry, and then the lock drops every frame of {guest.domain}"
        )
    if facts.trust and policy.guest_mac is GuestMac.IGNORE:
        yield (
            f"trustGuestRxFilters='yes' lets {guest.domain} change the address of {guest.port}, but guestMac='ignore' "
            f"({policy.place_of('guest_mac')}) keeps the bridge from hearing of it"
        )
    if policy.allow and facts.filter in _ONE_SOURCE:
        yield (
            f"allow ({policy.place_of('allow')}) gives {guest.port} of {guest.domain} further addresses, but the "
            f"nwfilter {facts.filter!r} drops their frames"
        )
    if facts.teaming and policy.manager is Manager.LIBVIRT:
        yield (
            f"{guest.port} is one half of a pair of {guest.domain} (<teaming type='{facts.teaming}'/>) and managed "
            f"({policy.reason}): its entry keeps the frames for {guest.macs[0]} on {guest.port}, also while the guest "
            "uses the other half"
        )
    if facts.current_mac and policy.manager is Manager.LIBVIRT and policy.lock and policy.guest_mac is GuestMac.IGNORE:
        yield (
            f"lock='yes' ({policy.place_of('lock')}) drops the frames of {guest.domain}, which uses "
            f"{facts.current_mac} now, because guestMac='ignore' ({policy.place_of('guest_mac')}) adds no entry for it"
        )


def _with_the_bridge(guest: GuestPort, snapshot: Snapshot, isolated: Iterable[BridgePort]) -> Iterator[str]:
    bridge, port = snapshot.bridges.get(guest.bridge), snapshot.ports.get(guest.port)
    if bridge is None or port is None:
        return
    vlan = guest.facts.vlan
    if vlan is not None and guest.managed and not bridge.vlan_filtering:
        yield (
            f"<vlan> of {guest.domain} ({_tags(vlan.vids)}) needs VLAN filtering, which is off on {guest.bridge}, and "
            f"{guest.port} is managed ({guest.policy.reason}): its entry would be in the wrong VID"
        )
    elif vlan is not None and vlan.trunk and guest.policy.lock and not set(vlan.vids) <= set(port.vids):
        yield (
            f"lock='yes' ({guest.policy.place_of('lock')}) needs an entry in each VID, but {guest.port} does not carry "
            f"all VIDs of the trunk in {guest.domain}'s <vlan> ({_tags(vlan.vids)})"
        )
    if guest.facts.isolated or port.isolated:
        for uplink in isolated:
            if uplink.bridge == guest.bridge:
                yield (
                    f"{guest.port} of {guest.domain} is isolated (<port isolated='yes'/>) and so is the uplink "
                    f"{uplink.name}: isolated ports do not talk to each other"
                )


def _isolated_uplinks(snapshot: Snapshot, guests: set[str]) -> list[BridgePort]:
    """Asks for roles only where a port that is no guest's is isolated."""
    bridges = {port.bridge for port in snapshot.ports.values() if port.isolated and port.name not in guests}
    ports = [port for port in snapshot.ports.values() if port.bridge in bridges]
    return [uplink for uplink in uplinks_of(ports, guests) if uplink.isolated]


def _tags(vids: tuple[int, ...]) -> str:
    return f"VID {', '.join(map(str, vids))}"


def _about(guest: GuestPort, code: Code, message: str, mac: str = "", note: str = "") -> Finding:
    return Finding(code, message, guest.bridge, guest.port, guest.domain, mac or guest.macs[0], note=note)
