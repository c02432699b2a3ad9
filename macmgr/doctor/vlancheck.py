"""Lists what VLAN filtering would cut off. Turning it on is an explicit step, taken only if the list is empty.

With VLAN filtering off, a bridge passes every frame, tagged or not, and looks MACs up in VID 0. With it on, a port
drops frames outside its VIDs, an untagged frame belongs to the port's PVID, and MACs are looked up in that VID
(net/bridge/br_vlan.c, __allowed_ingress; br_handle_vlan). Nothing on the host shows the tags that a guest without a
<vlan> in its XML sets itself: people must be asked. What these rules do not name, frames show: the forwarding model is
asked who would not be reached any more. Pure.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from macmgr.doctor.promiscuity import Member, members
from macmgr.forwarding.consequences import consequences
from macmgr.forwarding.guestaddresses import in_use, may_have, own_addresses
from macmgr.forwarding.harm import harms
from macmgr.model.devices import DeviceFacts
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.snapshot import Bridge, EntryState, Snapshot
from macmgr.phrases import first_few

_FEW = 3  # names in a sentence

UNSEEN = (
    "Guests that tag their frames by themselves, without a <vlan> in their XML, cannot be seen from the host: with "
    "VLAN filtering their tagged frames are dropped."
)


def who_would_be_cut(bridge: str, intent: Intent, snapshot: Snapshot, facts: DeviceFacts) -> list[str]:
    """Returns a whole sentence for each obstacle; empty if VLAN filtering may be turned on, or is on already."""
    if snapshot.bridges[bridge].vlan_filtering:
        return []
    if facts.features.vlan_filtering is False:
        return ["This kernel has no VLAN filtering (CONFIG_BRIDGE_VLAN_FILTERING): it cannot be turned on."]
    guests = {guest.port: guest for guest in intent.ports}
    ports = members(bridge, list(snapshot.ports.values()), guests, facts)
    uplinks = [member for member in ports if member.role.leads_out]
    found = [sentence for member in ports for sentence in _own_vids(member)]
    found += _untagged(snapshot.bridges[bridge], ports, uplinks)
    found += _stacked(snapshot.bridges[bridge], uplinks, facts)
    for member in ports:
        if member.guest is not None and member.guest.facts.vlan is not None:
            wanted = set(member.guest.facts.vlan.vids)
            found += _on_uplinks(f"{member.name} of {member.guest.domain}", wanted, uplinks)
    found += _entries(ports, snapshot)
    found += _by_frames(bridge, intent, snapshot, found)
    return list(dict.fromkeys(found))


def reached_guests(bridge: str, intent: Intent, snapshot: Snapshot) -> dict[GuestPort, bool]:
    """Returns for each guest that runs on a bridge if it is reached from beyond this host, in one VLAN at least."""

    def own(guest: GuestPort) -> tuple[str, ...]:
        return guest.macs[:1] if guest.bridge == bridge and guest.running else ()

    found: dict[GuestPort, bool] = {}
    for reach in consequences(snapshot, intent, own, exposure=False):
        found[reach.guest] = found.get(reach.guest, False) or not reach.cut_off
    return found


def cut_by_filtering(bridge: str, intent: Intent, snapshot: Snapshot) -> list[str]:
    """Returns the domains that are cut off, and would be reached if the bridge did not filter VLANs."""
    if not snapshot.bridges[bridge].vlan_filtering:
        return []
    without = reached_guests(bridge, intent, _with_filtering(bridge, snapshot, on=False))
    return [
        guest.domain for guest, reached in reached_guests(bridge, intent, snapshot).items() if without[guest] > reached
    ]


def _with_filtering(bridge: str, snapshot: Snapshot, *, on: bool) -> Snapshot:
    changed = replace(snapshot.bridges[bridge], vlan_filtering=on)
    return replace(snapshot, bridges={**snapshot.bridges, bridge: changed})


def _by_frames(bridge: str, intent: Intent, snapshot: Snapshot, found: Sequence[str]) -> Iterator[str]:
    """Guests whom somebody would not reach any more, whatever the reason; what is named already is left out."""
    own = own_addresses(intent.ports)

    def addresses(guest: GuestPort) -> Iterator[str]:
        if snapshot.port_on(bridge, guest.port):
            yield from may_have(guest, own)
            # any other one is unknown in the new VLANs: then flags decide, and `_entries` has named it
            yield from (mac for mac in in_use(guest, snapshot, own) if any(snapshot.fdb.of_mac(bridge, mac)))

    lost: dict[tuple[GuestPort, str], list[str]] = {}
    for harm in harms(snapshot, _with_filtering(bridge, snapshot, on=True), intent, addresses):
        subjects = (f"{harm.guest.port} of ", f"{harm.other} ")
        if not any(sentence.startswith(subjects) for sentence in found):
            lost.setdefault((harm.guest, harm.mac), []).append(harm.whom)
    for (guest, mac), whom in lost.items():
        which = "" if mac == guest.macs[0] else f" at {mac}"
        others = first_few(list(dict.fromkeys(whom)), _FEW)
        yield f"{guest.port} of {guest.domain} would not be reached{which} any more from {others}."


def who_is_cut(bridge: str, intent: Intent, snapshot: Snapshot, facts: DeviceFacts) -> list[str]:
    """Returns a sentence for each stacked device cut off by its bridge's VLAN filtering, also below an uplink."""
    guests = {guest.port: guest for guest in intent.ports}
    found: list[str] = []
    waiting = [bridge]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in snapshot.bridges:
            continue
        seen.add(name)
        ports = members(name, list(snapshot.ports.values()), guests, facts)
        uplinks = [member for member in ports if member.role.leads_out]
        waiting += [member.device.lower for member in uplinks if member.device.kind == "vlan" and member.device.lower]
        if snapshot.bridges[name].vlan_filtering:
            found += _stacked(snapshot.bridges[name], uplinks, facts, now=True)
    return list(dict.fromkeys(found))


def _own_vids(member: Member) -> Iterator[str]:
    """A port without a PVID drops untagged frames; a guest's port must carry the guest's <vlan>."""
    port, who = member.port, _who(member)
    vlan = member.guest.facts.vlan if member.guest else None
    if vlan is None or (vlan.trunk and vlan.native is not None):
        native = vlan.native if vlan else port.pvid
        if port.pvid is None:
            words = f"{native or 1} pvid{'' if vlan and vlan.native_tagged else ' untagged'}"
            yield (
                f"{who} has no PVID, so its untagged frames would be dropped; "
                f"'bridge vlan add dev {shlex.quote(member.name)} vid {words}' gives it one."
            )
        elif port.pvid != native:
            yield f"{who} has PVID {port.pvid}, but its XML says native VLAN {native}: its untagged frames go astray."
        elif port.pvid not in port.untagged and not (vlan and vlan.native_tagged):
            yield f"{who} sends VID {port.pvid} tagged: the answers to its untagged frames would come with a tag."
    if vlan is None:
        return
    missing = {*vlan.vids}.difference(port.vids)
    if missing:
        how = "" if vlan.trunk else " pvid untagged"
        yield (
            f"{who} has <vlan> {_list(vlan.vids)} in its XML, but the port does not carry {_list(missing)}: its frames "
            "would be dropped; "
            f"'bridge vlan add dev {shlex.quote(member.name)} vid {min(missing)}{how}' adds it."
        )
    elif not vlan.trunk and port.pvid not in vlan.vids:
        yield f"{who} belongs to {_list(vlan.vids)} by its XML, but the port's PVID is {port.pvid}."
    elif not vlan.trunk and port.pvid not in port.untagged:
        yield f"{who} does not tag frames, but the port sends VID {port.pvid} tagged."


def _untagged(bridge: Bridge, ports: Sequence[Member], uplinks: Sequence[Member]) -> Iterator[str]:
    """Untagged frames are one network now. With filtering on, ports with another PVID are another network."""
    own = bridge.pvid
    first = uplinks[0].port if uplinks else bridge
    reference, name = first.pvid, first.name
    if reference is None:
        return
    if own != reference:
        has = f"PVID {own}" if own is not None else "no PVID"
        yield f"{bridge.name} itself has {has} and {name} has PVID {reference}: the host's own frames would not pass."
    for member in ports:
        pvid = member.port.pvid
        chosen = member.guest is not None and member.guest.facts.vlan is not None
        if member.name != name and pvid is not None and pvid != reference and not chosen:
            yield f"{_who(member)} has PVID {pvid} and {name} has PVID {reference}: their frames would not meet again."


def _stacked(bridge: Bridge, uplinks: Sequence[Member], facts: DeviceFacts, *, now: bool = False) -> Iterator[str]:
    """An 802.1Q device on the bridge gets frames only if the bridge itself and the uplink carry its VID tagged."""
    cut = "is cut off" if now else "would be cut off"
    for upper in facts.uppers(bridge.name):
        if upper.kind != "vlan" or upper.vid is None:
            continue
        who = f"{upper.name} (VLAN {upper.vid} on {bridge.name})"
        if upper.vid not in bridge.vids:
            yield (
                f"{who} {cut}, because {bridge.name} itself does not carry VID {upper.vid}; "
                f"'bridge vlan add dev {shlex.quote(bridge.name)} vid {upper.vid} self' adds it."
            )
        elif upper.vid in bridge.untagged:
            yield f"{who} {cut}, because {bridge.name} itself takes VID {upper.vid} untagged."
        yield from _on_uplinks(who, {upper.vid}, uplinks, now=now)


def _on_uplinks(who: str, wanted: set[int], uplinks: Sequence[Member], *, now: bool = False) -> Iterator[str]:
    for uplink in uplinks:
        missing = wanted.difference(uplink.port.vids)
        if missing:
            yield (
                f"{who} {'does' if now else 'would'} not reach the uplink {uplink.name}, which does not carry "
                f"{_list(missing)}; "
                f"'bridge vlan add dev {shlex.quote(uplink.name)} vid {min(missing)}' adds it."
            )


def _entries(ports: Sequence[Member], snapshot: Snapshot) -> Iterator[str]:
    """Only its entries reach a port that does not flood: they must be in the VID that filtering looks up.

    And only what has an entry there is let in by a locked port.
    """
    for member in ports:
        port, vlan = member.port, member.guest.facts.vlan if member.guest else None
        vids = {*vlan.vids}.intersection(port.vids) if vlan else {port.pvid} - {None}
        if port.flags.unicast_flood and not port.flags.locked:
            continue
        how = "lets in only what has an entry" if port.flags.unicast_flood else "is closed"
        own = [entry for entry in snapshot.fdb.of_port(member.name) if entry.state is not EntryState.LOCAL]
        there = {entry.key for entry in own}
        for entry in sorted(entry for entry in own if entry.vid == 0):
            missing = sorted(vid for vid in vids if vid is not None and (entry.mac, vid) not in there)
            if missing:
                pin = " sticky" if entry.sticky else ""  # the same as in VID 0: EVPN distinguishes the two
                yield (
                    f"{_who(member)} {how}, and the entry for {entry.mac} is not in {_list(missing)}: it would be cut "
                    f"off; 'bridge fdb replace {entry.mac} dev {shlex.quote(member.name)} vlan {missing[0]} master "
                    f"static{pin}' puts it there."
                )


def _who(member: Member) -> str:
    guest: GuestPort | None = member.guest
    return f"{member.name} of {guest.domain}" if guest else member.name


def _list(vids: Iterable[int]) -> str:
    return f"VID {', '.join(map(str, sorted(vids)))}"
