"""Explains what is no guest's NIC on a bridge, for `macmgr explain`: bridges, other ports, guests that have left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from macmgr.forwarding.frames import BROADCAST
from macmgr.forwarding.tracing import senders_at, senders_to, trace
from macmgr.model.devices import DeviceFacts
from macmgr.model.findings import Code, Finding, Severity
from macmgr.model.intent import PortlessNic
from macmgr.model.roles import Role, roles_of, why
from macmgr.model.snapshot import BridgePort, Stacked
from macmgr.model.vids import fold_vids
from macmgr.phrases import counted, first_few, listed
from macmgr.report.explained import Explanation
from macmgr.report.explainguest import mode_says
from macmgr.report.kernelfacts import entry_lines, port_words
from macmgr.report.traced import Traced
from macmgr.report.verdict import Word, verdict_of
from macmgr.view import View

_FEW = 5  # findings and ports that an answer lists
_STYLE = {Word.DRIFT: "red", Word.CUT_OFF: "red", Word.IN_SYNC: "green"}


def explain_portless(view: View, nic: PortlessNic) -> Explanation:
    name = f"{nic.alias or 'A NIC'} of {nic.domain}"
    said = f"{name} ({nic.mac}, type {nic.kind}) has no port on a Linux bridge here ({nic.why})."
    findings = tuple(each for each in view.plan.findings if each.mac == nic.mac and each.domain == nic.domain)
    return Explanation(said, f"{name} is on no Linux bridge here: macmgr knows nothing about it.", "", findings)


def explain_port(view: View, port: BridgePort) -> Explanation:
    count = (
        str(len(view.snapshot.fdb.of_port(port.name)))
        if view.snapshot.lists(port.bridge)
        else f"not counted, because {port.bridge} has too many"
    )
    managed = view.intent.managed_bridges.get(port.bridge)
    role = roles_of(view.snapshot.ports.values(), {guest.port for guest in view.intent.ports})[port.name]
    findings = tuple(finding for finding in view.plan.findings if finding.port == port.name)
    observed = mode_says(view, port.bridge)
    what = f"{port.name} is {role.phrase} port of {port.bridge}"
    if role not in (Role.GUEST, Role.CONTAINER):
        what = f"{port.name} is {role.phrase} of {port.bridge}"
    said = f"{port_words(port)}, entries that lead to it: {count}"
    return Explanation(
        f"{port.name} is a port of {port.bridge}, and of no domain's NIC: {role.phrase}.",
        f"{what}: {_of(findings) or 'nothing is wrong with it, and macmgr does not touch it'}.",
        _style(findings),
        findings,
        (
            ("Policy says", [f"{port.bridge} is {f'managed ({managed})' if managed else 'not managed'}", *observed]),
            ("Kernel says", [*filter(None, [why(port, role, view.snapshot)]), said]),
        ),
        observed=bool(observed),
        role=role,
    )


def explain_stacked(view: View, device: Stacked) -> Explanation:
    """A device of the host's on a bridge: the model says who gets its frames."""
    senders = senders_at(view.snapshot, view.intent, device.name)
    traced = Traced(view, BROADCAST, trace(view.snapshot, senders, BROADCAST))
    findings = tuple(finding for finding in view.plan.findings if finding.mac == device.mac)
    where = f" in VID {fold_vids(device.vids)}" if device.vids else ""
    return Explanation(
        f"{device.name} ({device.kind}) is stacked on {device.bridge}: the host takes part there by it.",
        f"A broadcast from {device.name} on {device.bridge}: {' '.join(traced.verdicts)}",
        "red" if traced.arrives is False else _style(findings),
        findings,
        (("Kernel says", [f"{device.mac}{where}"]),),
        role=Role.STACKED,
    )


def explain_bridge(view: View, name: str) -> Explanation:
    bridge, reason = view.snapshot.bridges[name], view.intent.managed_bridges.get(name)
    scoped = view.within(replace(view.scope, bridges=frozenset({name})))
    verdict = verdict_of(scoped)
    ports = [port for port in view.snapshot.ports.values() if port.bridge == name]
    roles = roles_of(ports, {guest.port for guest in view.intent.ports})
    domains = {guest.port: guest.domain for guest in view.intent.ports}
    named = {port.name: f"{port.name}{f' of {domains[port.name]}' if port.name in domains else ''}" for port in ports}
    each = [f"port {named[port.name]}" for port in sorted(ports, key=lambda port: port.name)]
    facts = f"VLAN filtering {'on' if bridge.vlan_filtering else 'off'}{', promiscuous' * (bridge.promiscuity > 0)}"
    counts = Counter(roles[port.name] for port in ports)
    folded = [
        f"{counted(counts[role], _noun(role))}: "
        f"{first_few([named[port.name] for port in ports if roles[port.name] is role], _FEW)}"
        for role in Role
        if counts[role]
    ]
    policy = f"managed: {reason}" if reason else "not managed: no network, no guest and no configuration asks for it"
    observed = mode_says(view, name)
    shown, more = _worst(scoped.plan.findings, f"'macmgr audit --bridge={name}'")
    return Explanation(
        f"{name} is a bridge with {counted(len(ports), 'port')}.",
        f"{name}: {verdict.text}",
        _STYLE.get(verdict.word, "yellow"),
        shown,
        (("Policy says", [policy, *observed]), ("Kernel says", [facts, *each])),
        {"Kernel says": [facts, *folded]} if len(ports) > _FEW else {},
        observed=bool(observed),
        more=more,
    )


def _noun(role: Role) -> str:
    return {Role.GUEST: "guest port", Role.CONTAINER: "container port"}.get(role, role.words)


def explain_mac(view: View, mac: str, devices: DeviceFacts) -> Explanation:
    """An address of no guest here: one that has left, or one that an entry or a finding has."""
    gone = next((domain for (_, each), domain in view.gone_macs.items() if each == mac), None)
    findings = tuple(finding for finding in view.plan.findings if finding.mac == mac)
    gone = gone or next((each.domain for each in findings if each.code is Code.STALE_ENTRY), None)
    whose = f"a NIC of {gone}, which no longer runs here" if gone else "no NIC of a domain that runs here"
    who, far = f"{mac} of {gone}" if gone else mac, _far(view, mac, devices)
    elsewhere = f" It is on another host: {far[0]}." if far else ""
    said = f"{who} does not run here{_left(findings)}." if gone else f"{mac} is of no guest here{_strange(findings)}."
    return Explanation(
        f"{mac} is {whose}.",
        said + elsewhere,
        _style(findings),
        findings,
        (("Frames for it", _frames(view, mac)), ("Kernel says", [*_entries(view, mac), *far])),
    )


def _far(view: View, mac: str, devices: DeviceFacts) -> list[str]:
    """The hosts that tunnels lead to where the bridge's entry leads to the tunnel."""
    ports = {entry.port for bridge in view.snapshot.bridges for entry in view.snapshot.fdb.of_mac(bridge, mac).values()}
    found = ((port, devices.devices[port].behind.get(mac, ())) for port in sorted(ports & devices.devices.keys()))
    return [f"{port} leads to it on {listed(hosts)} (VTEP)" for port, hosts in found if hosts]


def explain_gone(view: View, domain: str) -> Explanation:
    """A domain that has left, or one that runs here and is not understood."""
    macs = sorted({mac for (_, mac), each in view.gone_macs.items() if each == domain})
    findings = tuple(each for each in view.plan.findings if each.domain == domain or (each.mac and each.mac in macs))
    if unread := [each for each in findings if each.code is Code.UNREADABLE_XML]:
        said = f"{domain} is not understood: macmgr leaves its ports as they are until that is fixed."
        return Explanation(f"{domain} is a domain that macmgr could not read.", said, "red", tuple(unread))
    macs = macs or sorted({each.mac for each in findings if each.mac})
    frames = [line for mac in macs for line in _frames(view, mac)]
    entries = [line for mac in macs for line in _entries(view, mac)]
    return Explanation(
        f"{domain} is a domain that no longer runs here{f', with {listed(macs)}' if macs else ''}.",
        f"{domain} does not run here{_left(findings)}.",
        _style(findings),
        findings,
        (("Frames for it", frames), ("Kernel says", entries)) if macs else (),
    )


def _left(findings: Sequence[Finding]) -> str:
    problems = [each for each in findings if each.severity is not Severity.INFO]
    return ", but this is left of it here" if problems else ", and nothing is wrong with that"


def _strange(findings: Sequence[Finding]) -> str:
    problems = [each for each in findings if each.severity is not Severity.INFO]
    return ", and something is wrong with it" if problems else ", and nothing is wrong with that"


def _entries(view: View, mac: str) -> list[str]:
    known = [name for name in sorted(view.snapshot.bridges) if view.snapshot.fdb.of_mac(name, mac)]
    return [line for bridge in known for line in entry_lines(view.snapshot, bridge, [mac])] or [f"no entry for {mac}"]


def _frames(view: View, mac: str) -> list[str]:
    """Where frames for the address go from here, as `macmgr trace` answers."""
    senders = senders_to(view.snapshot, view.intent, mac)
    if not senders:
        return [f"no entry leads to {mac}: frames for it are flooded"]
    return Traced(view, mac, trace(view.snapshot, senders, mac)).verdicts


def _of(findings: Iterable[Finding]) -> str:
    counts = Counter(finding.severity for finding in findings)
    return listed([counted(counts[each], str(each)) for each in (Severity.ERROR, Severity.WARNING) if counts[each]])


def _style(findings: Iterable[Finding]) -> str:
    severities = {finding.severity for finding in findings}
    return "red" if Severity.ERROR in severities else "yellow" if Severity.WARNING in severities else "green"


def _worst(findings: Sequence[Finding], command: str) -> tuple[tuple[Finding, ...], str]:
    """Returns the first findings, and where the others are."""
    problems = [each for each in findings if each.severity is not Severity.INFO]
    left = len(findings) - len(problems[:_FEW])
    return tuple(problems[:_FEW]), f"{counted(left, 'more finding')}: {command}" if left else ""
