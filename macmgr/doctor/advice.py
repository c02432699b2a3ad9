"""Advises how an uplink leaves promiscuous mode: steps in order, in whole sentences, with the exact commands.

Safety and use decide the order. Guests that are cut off come first. Then comes what helps alone: a closed port gets no
foreign frames. VLAN filtering follows; it must cut nobody off. Then come outside causes that keep the bridge or the NIC
promiscuous. Last comes what only other hardware solves. Pure.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace

from macmgr import paths, virsh
from macmgr.doctor.expectedgain import Key, UplinkState, expected_gain, key_of
from macmgr.doctor.promiscuity import Cause, Member, Reason
from macmgr.doctor.steps import Step, harmless_steps
from macmgr.model.findings import Finding, fix_of
from macmgr.model.intent import Intent
from macmgr.model.roles import Role
from macmgr.model.snapshot import Bridge, EntryState, Snapshot
from macmgr.phrases import are, first_few

_RULE = (
    *(Reason.NO_VLAN_FILTERING, Reason.VLAN_FILTERING_OFF, Reason.BRIDGE),
    *(Reason.AUTO_PORT, Reason.SECOND_UPLINK),
)
_MANY = 8  # more of the same are counted, not listed
_LOWER = ("a ", "an ", "one ", "perhaps ", "no ", "nobody ", "see ", "wait ", "the ")
_BEYOND_US = (Reason.NO_UNICAST_FILTER, Reason.UNSEEN)


def advise(
    bridge: Bridge,
    everyone: Sequence[Member],
    uplinks: Sequence[UplinkState],
    own_causes: Sequence[Cause],
    obstacles: Sequence[str],
    intent: Intent,
    snapshot: Snapshot,
    stacked: Sequence[str] = (),
    cut: Sequence[Finding] = (),
) -> tuple[tuple[Step, ...], tuple[str, ...]]:
    """Returns the steps, and the gain of all of them together.

    ``own_causes`` keep the bridge device itself promiscuous. ``cut`` says which guests are cut off, ``stacked`` which
    devices on the bridge VLAN filtering has cut off; both come first.
    """
    causes = list(dict.fromkeys(cause for uplink in uplinks for cause in uplink.held))
    steps = [
        *steps_for_guests(cut),
        *(Step(sentence) for sentence in stacked),
        *_lost_addresses(bridge, uplinks),
        *_close_ports(bridge, everyone, snapshot),
        *_one_uplink(bridge, everyone),
        *_vlan_filtering(bridge, causes, obstacles),
        *_bridge_itself(bridge, own_causes),
        *(_from_outside(cause) for cause in causes if cause.reason not in (*_RULE, *_BEYOND_US)),
        *_isolated(everyone),
        *(_from_outside(cause) for cause in causes if cause.reason in _BEYOND_US and cause.certain),
    ]
    with_gains = []
    left = {uplink.name: uplink.keys for uplink in uplinks}
    for step in harmless_steps(steps, bridge.name, intent, snapshot):
        freed = [name for name, keys in left.items() if keys and not keys - step.removes]
        left = {name: keys - step.removes for name, keys in left.items()}
        with_gains.append(replace(step, gain="; ".join(filter(None, (step.gain, _leaves(freed, uplinks))))))
    resting = [uplink for uplink in uplinks if uplink.keys and not left[uplink.name]]
    return tuple(with_gains), tuple(expected_gain(everyone, uplinks, resting, left))


def steps_for_guests(findings: Sequence[Finding]) -> list[Step]:
    """The audit's findings about guests that are cut off, with their fixes."""
    steps = []
    for finding in findings[:_MANY]:
        fix = fix_of(finding)
        said = f"{_capitalised(finding.message)}.{fix.prose and f' {_capitalised(fix.prose)}.'}"
        steps.append(Step(said, (fix.line,) if fix.line else ()))
    if len(findings) > _MANY:
        steps.append(Step(f"And {len(findings) - _MANY} more such findings: 'macmgr audit' has all."))
    return steps


def _lost_addresses(bridge: Bridge, uplinks: Sequence[UplinkState]) -> Iterator[Step]:
    for uplink in uplinks:
        if uplink.lost:
            whose = first_few([f"{mac} of {domain}" for mac, domain in uplink.lost], 5)
            yield Step(
                f"The filter of {uplink.name} lacks {whose}: unicast from the LAN does not reach "
                f"{'it' if len(uplink.lost) == 1 else 'them'}. Let the kernel write the whole list again.",
                (_ip_link(bridge.name, "promisc on"), _ip_link(bridge.name, "promisc off")),
                f"{'it is' if len(uplink.lost) == 1 else 'they are'} reachable again",
            )


def _close_ports(bridge: Bridge, everyone: Sequence[Member], snapshot: Snapshot) -> Iterator[Step]:
    auto = [member for member in everyone if member.port.auto and not member.role.leads_out]
    guests = [(member, member.guest) for member in auto if member.guest is not None]
    apply = f"macmgr apply --bridge {shlex.quote(bridge.name)}"
    managed = [(member, guest) for member, guest in guests if guest.managed]
    drifted = [member for member, guest in managed if guest.running and not guest.frozen]
    if drifted:
        text = f"{_names(drifted)} should be closed and {are(drifted)} not. Repair that."
        yield _closing(Step(text, (apply,)), drifted)
    silent = [m for m, guest in guests if not guest.managed and not guest.policy.place_of("manager")]
    if silent:
        text = (
            f"{_names(silent)} {are(silent)} managed by the kernel, because nothing asks for more. Give {bridge.name} "
            "to macmgr."
        )
        lines = (f'[bridge."{bridge.name}"]', 'mac_table_manager = "libvirt"')
        yield _closing(Step(text, (apply,), where=str(paths.CONFIG), lines=lines), silent)
    decided: dict[str, list[Member]] = {}
    for member, guest in guests:
        if not guest.managed and member not in silent:
            decided.setdefault(guest.policy.reason, []).append(member)
    for reason, ports in decided.items():
        text = f"{_names(ports)} {are(ports)} managed by the kernel by decision ({reason}). If that may change, "
        yield _closing(Step(text + "set manager libvirt there, and apply.", (apply,)), ports)
    yield from _strangers(bridge, auto, snapshot)
    for network in sorted({guest.network for _, guest in managed if guest.frozen}):
        frozen = [member for member, guest in managed if guest.frozen and guest.network == network]
        text = f"{_names(frozen)} {are(frozen)} left as before while the network {network} is not active. Start it."
        yield _closing(Step(text, (virsh.shown(virsh.start_network(network)),)), frozen)
    waiting = [member for member, guest in managed if not guest.running and not guest.frozen]
    if waiting:
        text = (
            f"{_names(waiting)} {'stays' if len(waiting) == 1 else 'stay'} open until the CPUs run here: nobody would "
            "put the entry at that moment. Apply after it."
        )
        yield _closing(Step(text, (apply,)), waiting)


def _strangers(bridge: Bridge, auto: Sequence[Member], snapshot: Snapshot) -> Iterator[Step]:
    """Ports no domain asks for. No command closes one with hosts behind it: macmgr saw at most some of their MACs."""
    taps = [member for member in auto if member.role is Role.TAP]
    for member in taps[:_MANY]:
        macs = sorted({e.mac for e in snapshot.fdb.of_port(member.name) if e.state is EntryState.DYNAMIC})[:8]
        seen = f"seen lately: {', '.join(macs)}" if macs else "none was seen lately"
        yield _closing(
            Step(
                f"Find out whose {member.name} ({member.what}) is: no domain here asks for it. Hosts behind it are "
                "reached because it is open. Close it only once each address behind it has a static entry; "
                f"{seen}. Ask its owner."
            ),
            [member],
        )
    if rest := taps[_MANY:]:
        yield _closing(Step(f"Do the same with {_names(rest)}."), rest)
    if containers := [member for member in auto if member.role is Role.CONTAINER]:
        one = len(containers) == 1
        whose = "is a container's" if one else "are containers'"
        yield Step(
            f"{_names(containers)} {whose} way to {bridge.name}: leave {'it' if one else 'them'} open, because "
            "containers are reached that way. The uplink stays promiscuous as long as that is so."
        )
    if dummies := [member for member in auto if member.role is Role.DUMMY]:
        text = f"{_names(dummies)} {'leads' if len(dummies) == 1 else 'lead'} nowhere. Close that."
        close = tuple(f"bridge link set dev {shlex.quote(each.name)} learning off flood off" for each in dummies)
        yield _closing(Step(text, close), dummies)


def _closing(step: Step, ports: Sequence[Member]) -> Step:
    removes = frozenset((Reason.AUTO_PORT, member.name) for member in ports)
    if not any(member.port.flags.unicast_flood for member in ports):
        return replace(step, removes=removes)
    who = "it gets" if len(ports) == 1 else "they get"
    return replace(step, removes=removes, gain=f"{who} no more copies of foreign frames")


def _one_uplink(bridge: Bridge, everyone: Sequence[Member]) -> Iterator[Step]:
    """No step takes a way out off the bridge: hosts are reached through each."""
    auto = [member for member in everyone if member.port.auto and member.role.leads_out]
    if len(auto) < 2:
        return
    text = f"{_names(auto)} lead out of {bridge.name}, and only one port of a bridge may learn or flood."
    alike = [member for member in auto if member.role is Role.UPLINK]
    if len(alike) > 1:
        text += (
            f" If {_names(alike)} lead to one network, a bond of them is one uplink; the hosts behind them are cut off "
            "while it is made: plan it."
        )
    removes = frozenset((Reason.SECOND_UPLINK, member.name) for member in auto) if alike == auto else frozenset()
    yield Step(f"{text} Else leave them as they are: hosts are reached through each of them.", removes=removes)


def _vlan_filtering(bridge: Bridge, causes: Sequence[Cause], obstacles: Sequence[str]) -> Iterator[Step]:
    reasons = {cause.reason for cause in causes}
    if Reason.NO_VLAN_FILTERING in reasons:
        yield Step(
            "Only another kernel helps: one built with CONFIG_BRIDGE_VLAN_FILTERING, as distributions build "
            "it. Without it no port of a bridge leaves promiscuous mode.",
            removes=frozenset({(Reason.NO_VLAN_FILTERING, bridge.name)}),
        )
    elif Reason.VLAN_FILTERING_OFF in reasons:
        for sentence in obstacles[:_MANY]:
            yield Step(f"Before VLAN filtering can be turned on: {sentence}")
        if len(obstacles) > _MANY:
            yield Step(
                f"And {len(obstacles) - _MANY} more obstacles to VLAN filtering: the next step's command names all, "
                "and changes nothing while there is any."
            )
        yield Step(
            f"Turn VLAN filtering on for {bridge.name}. macmgr first checks who would be cut off, and refuses if "
            f"anybody would be. It lasts as long as the bridge: set it where {bridge.name} is configured too.",
            (f"macmgr apply --vlan-filtering {shlex.quote(bridge.name)}",),
            removes=frozenset({(Reason.VLAN_FILTERING_OFF, bridge.name)}),
        )


def _bridge_itself(bridge: Bridge, own_causes: Sequence[Cause]) -> Iterator[Step]:
    """The bridge leaves promiscuous mode with its last cause, and never while one cause is beyond our reach."""
    curable = all(cause.reason not in _BEYOND_US for cause in own_causes)
    for place, cause in enumerate(own_causes, 1):
        last = place == len(own_causes) and curable
        yield replace(_from_outside(cause), removes=frozenset({(Reason.BRIDGE, bridge.name)}) if last else frozenset())


def _from_outside(cause: Cause) -> Step:
    """Returns the step that ends one cause outside the bridge's rule."""
    text = _capitalised(cause.text) + "."
    match cause.reason:
        case Reason.ADMINISTRATOR:
            return Step(f"{text} Turn it off.", (_ip_link(cause.subject, "promisc off"),), removes=_one(cause))
        case Reason.PACKET_SOCKET if not cause.certain:
            command = () if cause.pid is None else (f"ps -fp {cause.pid}",)
            return Step(f"{text} Find out what it is before you end it.", command)
        case Reason.PACKET_SOCKET:
            how = "Stop it when it is done, or let it run without that mode (tcpdump -p)."
            command = () if cause.pid is None else (f"kill {cause.pid}",)
            return Step(f"{text} {how}", command, removes=_one(cause))
        case Reason.UPPER_DEVICE:
            how = f"End that if nobody needs it; without {cause.subject}, who is reached through it is cut off."
            return Step(f"{text} {how}", removes=_one(cause))
        case Reason.OWN_ADDRESSES:
            how = (
                "A port of the bridge would do instead; who is reached there is cut off while that is changed: plan it."
            )
            return Step(f"{text} {how}", removes=_one(cause))
        case Reason.NO_UNICAST_FILTER:
            return Step(f"{text} Only another uplink helps: a NIC that filters, or a bond or VLAN of one.")
        case _:
            return Step(text)


def _isolated(everyone: Sequence[Member]) -> Iterator[Step]:
    for uplink in everyone:
        others = [other.name for other in everyone if other.port.isolated and other is not uplink]
        if uplink.role.leads_out and uplink.port.isolated and others:
            yield Step(
                f"{uplink.name} is isolated and so {are(others)} {', '.join(others)}: they cannot reach the LAN.",
                (f"bridge link set dev {shlex.quote(uplink.name)} isolated off",),
                "they reach the LAN",
            )


def _ip_link(device: str, words: str) -> str:
    """A person copies the command to a shell, and a device's name may hold shell characters."""
    return f"ip link set dev {shlex.quote(device)} {words}"


def _leaves(freed: Sequence[str], uplinks: Sequence[UplinkState]) -> str:
    if not freed:
        return ""
    unsure = any(uplink.unsure for uplink in uplinks if uplink.name in freed)
    condition = ", if it can filter" if unsure else ""
    return f"{' and '.join(freed)} {'leaves' if len(freed) == 1 else 'leave'} promiscuous mode{condition}"


def _names(ports: Sequence[Member]) -> str:
    named = [f"{m.name} of {m.guest.domain}" if m.guest else m.name for m in ports]
    if len(named) > _MANY:
        return first_few(named, _MANY)
    return " and ".join([", ".join(named[:-1]), named[-1]]) if len(named) > 1 else named[0]


def _one(cause: Cause) -> frozenset[Key]:
    return frozenset({key_of(cause)})


def _capitalised(text: str) -> str:
    """A sentence begins with a capital; an interface's name stays as it is."""
    return text[0].upper() + text[1:] if text.startswith(_LOWER) else text
