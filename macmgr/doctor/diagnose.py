"""Diagnoses each port of a bridge: its promiscuous mode with the causes, and what the uplink's filter must hold.

A promiscuous uplink hands every frame of the LAN segment to the host's CPU. Any other uplink leaves the choice to the
NIC, which must then know every MAC behind the bridge (net/bridge/br_fdb.c, br_fdb_sync_static). Pure; changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from macmgr.doctor.advice import advise, steps_for_guests
from macmgr.doctor.expectedgain import UplinkState
from macmgr.doctor.kernelabilities import Ability, abilities
from macmgr.doctor.nicfilters import Capacity, Filter, capacity_of, filter_of
from macmgr.doctor.promiscuity import (
    Cause,
    Member,
    Reason,
    bridge_causes,
    bridge_rule,
    cannot_filter,
    lower_causes,
    member_filter,
    members,
    port_causes,
)
from macmgr.doctor.steps import Step
from macmgr.doctor.vlancheck import UNSEEN, cut_by_filtering, reached_guests, who_is_cut, who_would_be_cut
from macmgr.model.codes import Consequence, Severity
from macmgr.model.devices import Device, DeviceFacts, Xdp
from macmgr.model.findings import Code, Finding
from macmgr.model.intent import Intent
from macmgr.model.snapshot import Bridge, EntryState, Snapshot, Stacked


@dataclass(frozen=True, slots=True)
class Below:
    """A device below an uplink: it carries the uplink's frames, and its filter must hold the same addresses."""

    device: Device
    filter: Filter
    causes: tuple[Cause, ...]


@dataclass(frozen=True, slots=True)
class NicList:
    """The addresses that an uplink's filter must let in, compared with its `self` list and its known capacity.

    ``needed`` counts the bridge's static and local entries without the uplink's own. ``present`` is None if the list
    was not read, or means nothing because the uplink is promiscuous. ``missing`` are guests' MACs.
    """

    needed: int
    present: int | None
    missing: tuple[tuple[str, str], ...]
    capacity: Capacity | None
    text: str


@dataclass(frozen=True, slots=True)
class PortDiagnosis:
    member: Member
    filter: Filter
    rule: tuple[Cause, ...]
    causes: tuple[Cause, ...]
    below: tuple[Below, ...] = ()
    nic_list: NicList | None = None
    notes: tuple[str, ...] = ()

    @property
    def promiscuous(self) -> bool:
        return self.member.port.promiscuity > 0

    @property
    def xdp(self) -> tuple[Xdp, ...]:
        return self.member.device.xdp


@dataclass(frozen=True, slots=True)
class BridgeDiagnosis:
    """One bridge. ``obstacles`` say what VLAN filtering would cut off; ``steps`` are in order.

    ``cut_off`` are domains that nobody beyond this host reaches, and ``cut_by_filtering`` those of them that would be
    reached without VLAN filtering. The first ``steps_for_guests`` are about them. ``cut_stacked`` are sentences about
    devices that VLAN filtering has cut off.
    """

    bridge: Bridge
    managed: str | None
    causes: tuple[Cause, ...]
    ports: tuple[PortDiagnosis, ...]
    obstacles: tuple[str, ...]
    steps: tuple[Step, ...]
    gain: tuple[str, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    uplinks: tuple[UplinkState, ...] = ()
    cut_off: tuple[str, ...] = ()
    cut_by_filtering: tuple[str, ...] = ()
    cut_stacked: tuple[str, ...] = ()
    steps_for_guests: int = 0
    stacked: tuple[Stacked, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The result of `macmgr doctor`."""

    bridges: tuple[BridgeDiagnosis, ...]
    abilities: tuple[Ability, ...] = field(default=())


def diagnose(
    intent: Intent, snapshot: Snapshot, facts: DeviceFacts, findings: Sequence[Finding], bridge: str | None = None
) -> Diagnosis:
    """Diagnoses one bridge, or every managed one. ``findings`` come from the plan of the same look."""
    names = [bridge] if bridge else sorted(name for name in intent.managed_bridges if name in snapshot.bridges)
    return Diagnosis(
        tuple(_bridge(snapshot.bridges[name], intent, snapshot, facts, findings) for name in names),
        tuple(abilities(facts.features, snapshot)),
    )


def _bridge(
    bridge: Bridge, intent: Intent, snapshot: Snapshot, facts: DeviceFacts, findings: Iterable[Finding]
) -> BridgeDiagnosis:
    guests = {guest.port: guest for guest in intent.ports}
    everyone = members(bridge.name, list(snapshot.ports.values()), guests, facts)
    own_causes = tuple(bridge_causes(bridge, facts))
    ports = tuple(_port(member, bridge, everyone, intent, snapshot, facts) for member in everyone)
    uplinks = [port for port in ports if port.member.role.leads_out]
    obstacles = tuple(who_would_be_cut(bridge.name, intent, snapshot, facts))
    states = [_uplink_state(port) for port in uplinks]
    stacked = who_is_cut(bridge.name, intent, snapshot, facts)
    cut = [each for each in findings if each.bridge == bridge.name and _cuts_off(each)]
    unreached = {guest for guest, reached in reached_guests(bridge.name, intent, snapshot).items() if not reached}
    domains = {guest.domain for guest in unreached}
    domains |= {each.domain for each in cut if each.domain and each.reached is False}
    by_filtering = {guest.domain for guest in unreached} & set(cut_by_filtering(bridge.name, intent, snapshot))
    steps, gain = advise(bridge, everyone, states, own_causes, obstacles, intent, snapshot, stacked, cut)
    codes = (Code.VLAN_FILTERING_OFF, Code.UNMANAGED_AUTO_PORT, Code.UPLINK_PROMISCUOUS)
    reported = [finding for finding in findings if finding.bridge == bridge.name and finding.code in codes]
    reported += [finding for port in uplinks if (finding := _no_filter(port, bridge))]
    notes = tuple(_bridge_notes(bridge, everyone, facts))
    managed = intent.managed_bridges.get(bridge.name)
    return BridgeDiagnosis(
        bridge,
        managed,
        own_causes,
        ports,
        obstacles,
        steps,
        gain,
        tuple(reported),
        notes,
        tuple(states),
        tuple(sorted(domains)),
        tuple(sorted(by_filtering)),
        tuple(stacked),
        len(steps_for_guests(cut)),
        tuple(each for each in snapshot.stacked if each.bridge == bridge.name),
    )


def _cuts_off(finding: Finding) -> bool:
    return finding.consequence is Consequence.CUT_OFF and finding.severity is not Severity.INFO


def _uplink_state(port: PortDiagnosis) -> UplinkState:
    """Returns the causes that hold an uplink now, and those that would hold it once the bridge lets it go."""
    lost = port.nic_list.missing if port.nic_list else ()
    if not port.promiscuous:
        return UplinkState(port.member.name, lost=lost)
    held = list(port.causes)
    if port.filter.filters is not True and not any(cause.reason is Reason.NO_UNICAST_FILTER for cause in held):
        held.append(cannot_filter(port.member, port.filter))
    return UplinkState(port.member.name, tuple(held), lost, tuple(_open_below(port)))


def _open_below(port: PortDiagnosis) -> Iterator[str]:
    """Devices below an uplink that receive every frame even after the uplink leaves promiscuous mode."""
    chain = {port.member.name, *(below.device.name for below in port.below)}
    for below in port.below:
        others = any(cause.subject not in chain for cause in below.causes)
        if below.filter.filters is False or port.member.device.passthru or others:
            yield below.device.name


def _port(
    member: Member,
    bridge: Bridge,
    everyone: Sequence[Member],
    intent: Intent,
    snapshot: Snapshot,
    facts: DeviceFacts,
) -> PortDiagnosis:
    # A port that cannot filter is promiscuous in any case: a thousand taps need not name each other as well.
    held_anyway = not member.role.leads_out and filter_of(member.device).filters is False
    rule = bridge_rule(member, bridge, () if held_anyway else everyone, facts)
    known = member_filter(member, rule, facts)
    causes = tuple(port_causes(member, rule, facts))
    if not member.role.leads_out:
        return PortDiagnosis(member, known, tuple(rule), causes)
    below = tuple(
        Below(device, filter_of(device), tuple(lower_causes(device, facts))) for device in facts.below(member.name)
    )
    nic_list = _nic_list(member, below, bridge, intent, snapshot)
    return PortDiagnosis(
        member, known, tuple(rule), causes, below, nic_list, tuple(_uplink_notes(member, everyone, facts))
    )


def _nic_list(
    member: Member, below: Sequence[Below], bridge: Bridge, intent: Intent, snapshot: Snapshot
) -> NicList | None:
    """The kernel syncs the bridge's static and local entries, in any VID and on any port, to the uplink's list."""
    static = {entry.mac for entry in snapshot.fdb.of_bridge(bridge.name) if entry.state is not EntryState.DYNAMIC}
    needed = {mac for mac in static if not int(mac[:2], 16) & 1} - {member.port.mac}
    device, carriers = member.device, [each.device for each in below if not each.device.kind] or [member.device]
    capacity = next((found for each in carriers if (found := capacity_of(each))), None)
    applies = not member.port.promiscuity and device.addresses is not None
    present = len(device.addresses or ()) if applies else None
    missing: list[tuple[str, str]] = []
    if applies:
        have = {*(device.addresses or ()), device.mac}
        missing = [
            (mac, guest.domain)
            for guest in intent.ports
            if guest.bridge == bridge.name and guest.managed and guest.running
            for mac in guest.macs
            if mac not in have
        ]
    text = _room(len(needed), capacity, carriers[0], applies=applies)
    return NicList(len(needed), present, tuple(missing), capacity, text)


def _room(needed: int, capacity: Capacity | None, carrier: Device, *, applies: bool) -> str:
    what = f"{needed} address{'es' if needed != 1 else ''}"
    ask = f"{what} must be in its filter" if applies else f"{what} would have to be in its filter"
    if filter_of(carrier).filters is False:
        return f"{ask}, but {carrier.name} has no filter"
    if capacity is None:
        return f"{ask}; it is unknown how many fit"
    if needed <= capacity.certain:
        return f"{ask}; at least {capacity.certain} fit ({capacity.source})"
    full = "a NIC with a full filter receives everything, and no counter shows it"
    if needed <= capacity.most:
        return f"{ask}; {capacity.certain} to {capacity.most} fit ({capacity.source}): {full}"
    return f"{ask}; {capacity.most} fit ({capacity.source}): {full}"


def _uplink_notes(member: Member, everyone: Sequence[Member], facts: DeviceFacts) -> Iterator[str]:
    name = member.name
    if member.port.isolated:
        isolated = [other.name for other in everyone if other.port.isolated and other.name != name]
        cut = f": {', '.join(isolated)} cannot reach it" if isolated else ""
        yield f"{name} is isolated, and isolated ports do not reach each other{cut}."
    for upper in facts.uppers(name):
        takes = f"frames with VID {upper.vid} that arrive on {name}" if upper.kind == "vlan" else f"frames of {name}"
        yield f"{upper.name} ({upper.kind}) is stacked on {name}: it takes the {takes} before the bridge sees them."
    for device in (member.device, *facts.below(name)):
        for upper in facts.uppers(device.name) if device.name != name else ():
            if upper.name != name and upper.name not in {each.name for each in facts.below(name)}:
                yield f"{upper.name} ({upper.kind}) shares {device.name} with {name}."
        if device.lower_elsewhere:
            yield f"The device below {device.name} is in another network namespace and cannot be seen from here."
    late = facts.features.locked is False and facts.features.ring_state is not True
    if late and not member.port.promiscuity:
        yield f"Kernels before 5.14 give a NIC that joins the bridge after the guests none of their MACs: watch {name}."


def _bridge_notes(bridge: Bridge, everyone: Sequence[Member], facts: DeviceFacts) -> Iterator[str]:
    if not any(member.role.leads_out for member in everyone):
        yield f"macmgr recognises no port of {bridge.name} as an uplink: nothing here leads to a physical network."
    for upper in facts.uppers(bridge.name):
        if upper.kind in ("macvtap", "macvlan"):
            yield f"{upper.name} ({upper.kind}) is stacked on {bridge.name}: the bridge has its MAC, no port has it."
    relay = bridge.relay
    by_groups = relay.snooping and (relay.querier is not False or relay.querier_ipv6 is not False)
    for member in everyone:
        name = member.name
        if member.port.mac == bridge.mac and not member.role.leads_out:
            yield (
                f"{bridge.name} has the address of {name}, {member.role.phrase} port: the host loses that address when "
                f"{name} goes. 'ip link set dev {bridge.name} address MAC' gives it one that stays."
            )
        if not member.port.relay.multicast_flood and not by_groups:
            why = "hears no querier" if relay.snooping else "does not snoop"
            why = f"its mcast_flood is off, and {bridge.name} {why} (IGMP, MLD)"
            yield f"{name} gets no multicast, and so no IPv6 neighbour finds who is behind it: {why}."
    if not bridge.vlan_filtering and facts.features.vlan_filtering is not False:
        yield UNSEEN


def _no_filter(port: PortDiagnosis, bridge: Bridge) -> Finding | None:
    if port.filter.filters is not False:
        return None
    name = port.member.name
    text = f"{name} cannot filter unicast addresses ({port.filter.source}): the kernel keeps it promiscuous"
    return Finding(Code.UPLINK_NO_UNICAST_FILTER, text, bridge.name, name)
