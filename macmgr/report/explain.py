"""Explains one thing for `macmgr explain`: the XML, the policy, the kernel, and the verdict.

The answer is a colleague's: every place asked, the place that decided, and the consequence. It prints the records of
planner and policy, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from macmgr.errors import NotThere, did_you_mean
from macmgr.model.findings import Code, Finding
from macmgr.model.intent import GuestPort, Manager, Pin, PortlessNic, Settings
from macmgr.model.known import SeenMacs
from macmgr.model.mac import matches, parse_typed_mac, virtual_router
from macmgr.model.roles import roles_of, why
from macmgr.model.snapshot import BridgePort
from macmgr.model.vids import fold_vids
from macmgr.oneline import unbroken
from macmgr.options import OPTIONS
from macmgr.phrases import counted
from macmgr.planning.draft import Pins
from macmgr.planning.seen import is_about
from macmgr.report.kernelfacts import entry_lines, kernel_says, port_words
from macmgr.view import View

_WIDTH = 14
# Findings that leave a port without an address; the NIC's own address is excepted.
_OTHERS = (Code.CONFLICTING_SETTINGS, Code.MAC_COLLISION)


@dataclass(frozen=True, slots=True)
class Explanation:
    """One sentence says what a thing is; each labelled section lists facts, line by line."""

    headline: str
    sections: tuple[tuple[str, list[str]], ...] = ()

    def __str__(self) -> str:
        lines = [line for label, said in self.sections for line in _labelled(label, said)]
        return "\n".join(map(unbroken, [self.headline, "", *lines] if lines else [self.headline]))

    def document(self) -> dict[str, Any]:
        """Returns the same for scripts: ``xml_says``, ``policy_says`` and so on are lists of lines."""
        return {"headline": self.headline} | {label.lower().replace(" ", "_"): said for label, said in self.sections}


def explain(view: View, what: str) -> list[Explanation]:
    """Explains a MAC, a port, a bridge or a domain. Raises NotThere if nothing here has that name."""
    parts = list(_parts(view, what))
    if not parts:
        guests = {guest.domain for guest in view.intent.ports} | {nic.domain for nic in view.intent.portless}
        near = did_you_mean(what, {*guests, *view.snapshot.ports, *view.snapshot.bridges})
        raise NotThere(f"{what!r} is not a running domain, a bridge, a bridge port or a known MAC here{near}")
    return parts


def macs_meant(what: str) -> frozenset[str]:
    """Returns the MAC, if ``what`` is one, with a comma or quotes too."""
    try:
        return frozenset({parse_typed_mac(what.strip(" ,;\"'"))})
    except ValueError:
        return frozenset()


def _parts(view: View, what: str) -> Iterator[Explanation]:
    mac = "".join(macs_meant(what))
    guests = [guest for guest in view.intent.ports if what in (guest.port, guest.domain) or _has(guest, mac)]
    portless = [nic for nic in view.intent.portless if what == nic.domain or mac == nic.mac]
    for guest in guests:
        yield _guest(view, guest)
    for nic in portless:
        yield _portless(nic)
    if what in view.snapshot.bridges:
        yield _bridge(view, what)
    port = view.snapshot.ports.get(what)
    if port is not None and not guests:
        yield _other_port(view, port)
    if mac and not guests:
        bridges = [name for name in sorted(view.snapshot.bridges) if view.snapshot.fdb.of_mac(name, mac)]
        if bridges or any(mac == gone for _, gone in view.gone_macs):
            yield _unknown_mac(view, mac, bridges)


def _has(guest: GuestPort, mac: str) -> bool:
    if not mac:
        return False
    addresses = (*guest.macs, guest.facts.configured_mac, guest.facts.current_mac)
    return mac in addresses or any(matches(pattern, mac) for pattern in guest.policy.allow)


def _guest(view: View, guest: GuestPort) -> Explanation:
    port, pins = view.snapshot.ports.get(guest.port), Pins(view.snapshot)
    seen = next((each for each in view.known.seen if is_about(each, guest, view.snapshot)), None)
    return Explanation(
        f"{guest.port} is {guest.alias or 'a NIC'} of {guest.domain}, on {guest.bridge}.",
        (
            ("XML says", _xml_says(guest, seen)),
            *((("macmgr watch has seen", _seen(seen)),) if seen and _seen(seen) else ()),
            ("Policy says", [*_policy_says(guest, pins), *_mode_says(view, guest.bridge)]),
            ("So wanted", _wanted(view, guest, port, pins)),
            ("Kernel says", kernel_says(guest, port, view.snapshot)),
            ("Verdict", _verdict(view, guest)),
        ),
    )


def _mode_says(view: View, bridge: str) -> list[str]:
    observed = bridge in view.intent.managed_bridges and view.scope.observes(bridge)
    return [f'{bridge} is only observed (mode = "observe"): nothing is changed there'] if observed else []


def _seen(record: SeenMacs) -> list[str]:
    how = "in addition to" if virtual_router(record.current) else "in addition to, or instead of,"
    current = [f"{record.current}, {how} {record.nic_mac}"] if record.current else []
    return [*current, *record.macs, *(f"{mac} before, which is elsewhere now" for mac in record.moved)]


def _xml_says(guest: GuestPort, seen: SeenMacs | None) -> list[str]:
    where = f"a NIC of network {guest.network}" if guest.network else f"a NIC of bridge {guest.bridge}"
    if guest.facts.ethernet:
        where = f"a NIC of type ethernet; the kernel says that its tap {guest.port} is on {guest.bridge}"
    if guest.portgroup:
        where += f", portgroup {guest.portgroup}"
    facts = guest.facts
    mac = facts.configured_mac or guest.macs[0]
    lines = [f"{mac}, {where}"]
    if facts.vlan is not None:
        native = f", native VID {facts.vlan.native}" if facts.vlan.native is not None else ""
        lines.append(f"VLAN {'trunk' if facts.vlan.trunk else 'access'}: VID {fold_vids(facts.vlan.vids)}{native}")
    said = [
        "the guest may change its address (trustGuestRxFilters='yes')" if facts.trust else "",
        "isolated from other isolated ports" if facts.isolated else "",
        f"nwfilter {facts.filter}" if facts.filter else "",
        f"half of a teaming pair ({facts.teaming})" if facts.teaming else "",
        f"the guest uses {facts.current_mac} now"
        if facts.current_mac not in ("", mac, seen.current if seen else "")
        else "",
    ]
    lines += [each for each in said if each]
    cpus = "its CPUs run here" if guest.running else "its CPUs do not run here"
    return [*lines, f"the domain is {guest.state}: {cpus}"]


def _policy_says(guest: GuestPort, pins: Pins) -> list[str]:
    policy = guest.policy
    if policy.problem:
        return [f"not understood: {policy.problem}"]
    steps = [(step.place, step.says) for step in policy.steps]
    steps.append(("otherwise", Settings(manager=Manager.KERNEL)))
    width = max(len(place) for place, _ in steps)
    decider = next(index for index, (_, says) in enumerate(steps) if says.manager is not None)
    lines = [
        f"{number}  {place:<{width}}  {_settings_words(says)}{'   <- decides' if number - 1 == decider else ''}"
        for number, (place, says) in enumerate(steps, 1)
    ]
    numbers = {place: number for number, (place, _) in enumerate(steps, 1)}

    def by(option: str, default: str) -> str:
        place = policy.place_of(option)
        return f"step {numbers[place]}" if place else default

    why = pins.why(guest.bridge)
    auto = "auto, " if policy.pin is Pin.AUTO and (why or policy.place_of("pin")) else ""
    because = f": {why}" if auto and why else ""
    trust = "the NIC is trusted" if guest.facts.trust else "the NIC is not trusted"
    defaults = {"manager": f"step {len(steps)}", "guest_mac": trust}
    said = {option.field: by(option.field, defaults.get(option.field, "default")) for option in OPTIONS}
    said["pin"] = f"{auto}{said['pin']}{because}"
    made = replace(policy, pin=pins.of(policy.pin, guest.bridge))
    results = [f"{each.xml} {each.word(getattr(made, each.field))} ({said[each.field]})" for each in OPTIONS]
    if policy.allow:
        results.append(f"also allowed {' '.join(policy.allow)}")
    return [*lines, f"Together: {', '.join(results)}."]


def _wanted(view: View, guest: GuestPort, port: BridgePort | None, pins: Pins) -> list[str]:
    if guest.policy.problem:
        return ["nothing until that is fixed: the port is left as it is"]
    if not guest.managed:
        return ["nothing: the port is left to the kernel"]
    if guest.frozen:
        return [
            f"the port as it is, until its network {guest.network} is active: its policy may differ",
            f"if it is closed, the entries without which {guest.domain} would be cut off",
        ]
    if not guest.running:
        closed = "closed, because libvirt puts the entry when the CPUs start"
        return [f"no entry, and the port {closed if guest.may_wait_closed else 'open: nobody would put one at resume'}"]
    vids = fold_vids(sorted({0, *(port.vids if port else ())}))
    pin = "static sticky" if pins.of(guest.policy.pin, guest.bridge) is Pin.STICKY else "static"
    locked = ", locked" if guest.policy.lock else ""
    others = {finding.mac for finding in view.plan.findings if finding.port == guest.port and finding.code in _OTHERS}
    own = (finding for finding in view.plan.findings if finding.mac == guest.macs[0] and finding.vid is None)
    collides = any(finding.port == guest.port and finding.code is Code.MAC_COLLISION for finding in own)
    entries = [
        f"{mac} -> {guest.port} in VID {vids}, {'static: it may roam' if mac in guest.roaming else pin}"
        if mac not in others or mac == guest.macs[0]
        else f"{mac}: no entry where another has it"
        for mac in guest.macs
    ]
    if collides:
        return [f"{guest.macs[0]} -> {guest.port}, which is not put, so the port is left as it is: see below"]
    return [f"learning off, unicast flood off{locked}", *entries]


def _verdict(view: View, guest: GuestPort) -> list[str]:
    mine = [
        finding
        for finding in view.plan.findings
        if finding.port == guest.port
        or finding.mac in guest.macs
        or (finding.code is Code.UNREADABLE_XML and finding.domain == guest.domain and not finding.port)
    ]
    return list(_finding_lines(mine)) or ["in sync" if guest.managed else "not managed: there is nothing to compare"]


def _finding_lines(findings: Iterable[Finding]) -> Iterator[str]:
    seen: set[str] = set()
    for finding in findings:
        if finding.message not in seen:
            seen.add(finding.message)
            yield f"{finding.severity} {finding.code}: {finding.message}"
            if fix := finding.fix:
                yield f"  fix: {fix}"


def _portless(nic: PortlessNic) -> Explanation:
    name = f"{nic.alias or 'A NIC'} of {nic.domain}"
    return Explanation(f"{name} ({nic.mac}, type {nic.kind}) has no port on a Linux bridge here ({nic.why}).")


def _other_port(view: View, port: BridgePort) -> Explanation:
    count = (
        str(len(view.snapshot.fdb.of_port(port.name)))
        if view.snapshot.lists(port.bridge)
        else f"not counted, because {port.bridge} has too many"
    )
    managed = view.intent.managed_bridges.get(port.bridge)
    how = f"managed ({managed})" if managed else "not managed"
    role = roles_of(view.snapshot.ports.values(), {guest.port for guest in view.intent.ports})[port.name]
    findings = [finding for finding in view.plan.findings if finding.port == port.name]
    said = f"{port_words(port)}, entries that lead to it: {count}"
    return Explanation(
        f"{port.name} is a port of {port.bridge}, and of no domain's NIC: {role.phrase}.",
        (
            ("Policy says", [f"{port.bridge} is {how}", *_mode_says(view, port.bridge)]),
            ("Kernel says", [*filter(None, [why(port, role, view.snapshot)]), said]),
            ("Verdict", list(_finding_lines(findings)) or ["macmgr does not touch it"]),
        ),
    )


def _bridge(view: View, name: str) -> Explanation:
    bridge, reason = view.snapshot.bridges[name], view.intent.managed_bridges.get(name)
    domains = {guest.port: guest.domain for guest in view.intent.ports}
    ports = [port.name for port in view.snapshot.ports.values() if port.bridge == name]
    facts = f"VLAN filtering {'on' if bridge.vlan_filtering else 'off'}{', promiscuous' * (bridge.promiscuity > 0)}"
    policy = f"managed: {reason}" if reason else "not managed: no network, no guest and no configuration asks for it"
    kernel = [facts, *(f"port {port}{f' of {domains[port]}' if port in domains else ''}" for port in sorted(ports))]
    mine = [finding for finding in view.plan.findings if finding.bridge == name]
    verdict = list(_finding_lines(mine)) or ["in sync" if reason else "not managed: there is nothing to compare"]
    return Explanation(
        f"{name} is a bridge with {counted(len(ports), 'port')}.",
        (("Policy says", [policy, *_mode_says(view, name)]), ("Kernel says", kernel), ("Verdict", verdict)),
    )


def _unknown_mac(view: View, mac: str, bridges: Iterable[str]) -> Explanation:
    gone = next((domain for (_, each), domain in view.gone_macs.items() if each == mac), None)
    whose = f"a NIC of {gone}, which no longer runs here" if gone else "no NIC of a domain that runs here"
    lines = [line for bridge in bridges for line in entry_lines(view.snapshot, bridge, [mac])]
    return Explanation(f"{mac} is {whose}.", (("Kernel says", lines or ["no entry"]),))


def _settings_words(says: Settings) -> str:
    words = []
    for option in OPTIONS:
        value = getattr(says, option.field)
        if value is not None:
            words.append(f"{option.xml}='{option.word(value)}'")
    words += [f"allow {pattern}" for pattern in says.allow]
    return ", ".join(words) or "nothing"


def _labelled(label: str, lines: list[str]) -> Iterator[str]:
    for index, line in enumerate(lines):
        yield f"  {f'{label} ' if index == 0 else '':<{_WIDTH}}{line}"
