"""Explains a guest's NIC that has a bridge port, for `macmgr explain`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from macmgr.forwarding.consequences import Reach
from macmgr.model.codes import Consequence
from macmgr.model.findings import Code, Finding, Severity
from macmgr.model.intent import GuestPort, Pin
from macmgr.model.known import SeenMacs
from macmgr.model.mac import virtual_router
from macmgr.model.roles import Role
from macmgr.model.snapshot import BridgePort
from macmgr.model.vids import fold_vids
from macmgr.phrases import listed
from macmgr.planning.draft import Pins
from macmgr.planning.reached import unreached
from macmgr.planning.seen import is_about
from macmgr.report.explained import Explanation
from macmgr.report.kernelfacts import kernel_says
from macmgr.report.policywords import policy_in_short, policy_steps
from macmgr.report.reachwords import answer, reach_lines
from macmgr.view import View

# Findings that leave a port without an address; the NIC's own address is excepted.
_OTHERS = (Code.CONFLICTING_SETTINGS, Code.MAC_COLLISION)


def explain_guest(view: View, guest: GuestPort) -> Explanation:
    port, pins = view.snapshot.ports.get(guest.port), Pins(view.snapshot)
    seen = next((each for each in view.known.seen if is_about(each, guest, view.snapshot)), None)
    reaches = tuple(reach for reach in view.reaches if reach.guest == guest)
    findings = tuple(_findings(view, guest, reaches))
    guests = {each.port: each for each in view.intent.ports}
    observed = mode_says(view, guest.bridge)
    own = [reach for reach in reaches if reach.mac == guest.macs[0]]
    master = view.snapshot.masters.get(guest.port)
    elsewhere = not guest.managed and master not in (None, guest.bridge)  # somebody may want it there
    here = elsewhere or view.snapshot.port_on(guest.bridge, guest.port) is not None
    cut = guest.running and (bool(_lost(guest, findings)) or any(unreached(own)) or not here)
    said, style = _answer(view, guest, own, findings, cut=cut)
    return Explanation(
        f"{guest.port} is {guest.alias or 'a NIC'} of {guest.domain}, on {guest.bridge}.",
        said,
        style,
        findings,
        (
            ("XML says", _xml_says(guest, seen)),
            *((("macmgr watch has seen", _seen(seen)),) if seen and _seen(seen) else ()),
            ("Policy says", [*policy_steps(guest, pins), *observed]),
            ("So wanted", _wanted(view, guest, port, pins)),
            ("Kernel says", kernel_says(guest, port, view.snapshot)),
        ),
        {"Policy says": [*policy_in_short(guest, pins), *observed]},
        reaches if guest.running else (),
        tuple(reach_lines(reaches, guests)) if guest.running else (),
        observed=bool(observed),
        more="".join(observed) if findings else "",
        cut_off=cut,
        role=Role.GUEST,
    )


def mode_says(view: View, bridge: str) -> list[str]:
    observed = bridge in view.intent.managed_bridges and view.scope.observes(bridge)
    return [f'{bridge} is only observed (mode = "observe"): nothing is changed there'] if observed else []


def _answer(
    view: View, guest: GuestPort, own: Sequence[Reach], findings: Iterable[Finding], *, cut: bool
) -> tuple[str, str]:
    """Returns who reaches the guest's own address, how its port is, and the colour of that."""
    severities = {finding.severity for finding in findings}
    explained = any(each.consequence is Consequence.CUT_OFF for each in findings)
    who = _who(view, guest)
    if not guest.running:
        said = f"{who} is {guest.state}: its CPUs do not run here"
    elif guest.facts.link_down:
        said = f"the link of {who} is down by its XML: it is to get nothing"
    elif own:
        said = answer(who, own, {each.port: each for each in view.intent.ports}, explained=explained)
        if lost := _lost_macs(guest, findings):
            said = f"{who} is cut off as {listed(lost)}; as {guest.macs[0]} it{said.removeprefix(who)}"
    elif cut:
        said = f"{who} is cut off: {guest.port or 'it'} is no port of {guest.bridge}"
        if guest.bridge not in view.intent.managed_bridges:
            said += ", which is not managed, so no audit says that"
    elif (master := view.snapshot.masters[guest.port]) == guest.bridge:
        said = f"nobody can say who reaches {who}: another NIC has the tap {guest.port} too"
    else:
        said = f"{who} is on {master}, but its XML says {guest.bridge}"
    if (own or not cut) and Severity.ERROR not in severities and Severity.WARNING not in severities:
        said += f"; its port is {_well(guest)}"
    style = "red" if cut or Severity.ERROR in severities else "yellow" if Severity.WARNING in severities else "green"
    return f"{said}.", style


def _lost(guest: GuestPort, findings: Iterable[Finding]) -> set[str]:
    """The addresses that the guest uses and is not reached by in some VID, as its findings say."""
    cut = (each for each in findings if each.consequence is Consequence.CUT_OFF and each.port == guest.port)
    return {each.mac for each in cut if each.severity is not Severity.INFO and each.reached is False}


def _lost_macs(guest: GuestPort, findings: Iterable[Finding]) -> list[str]:
    """Those of them that are not its own."""
    return sorted(_lost(guest, findings) - {"", guest.macs[0]})


def _well(guest: GuestPort) -> str:
    if guest.frozen:
        return f"left as it is until its network {guest.network} is active"
    return "in sync" if guest.managed else "left to the kernel: there is nothing to compare"


def _who(view: View, guest: GuestPort) -> str:
    several = sum(each.domain == guest.domain for each in view.intent.ports) > 1
    return f"{guest.domain} ({guest.alias or guest.port})" if several else guest.domain


def _findings(view: View, guest: GuestPort, reaches: tuple[Reach, ...]) -> Iterator[Finding]:
    """Yields the findings about the NIC; and about what else keeps frames from it, if no finding of its own does."""
    mine = [
        finding
        for finding in view.plan.findings
        if finding.port == guest.port
        or (finding.mac in guest.macs and finding.bridge == guest.bridge)
        or (finding.code is Code.UNREADABLE_XML and finding.domain == guest.domain and not finding.port)
    ]
    cut = next((reach for reach, _ in unreached(reaches)), None)
    if cut and not any(each.consequence is Consequence.CUT_OFF for each in mine):
        places = {"", *(name for way in cut.outside for name in way.others)}
        yield from (
            finding
            for finding in view.plan.findings
            if finding.consequence is Consequence.CUT_OFF
            and not finding.domain
            and finding.bridge == guest.bridge
            and finding.port in places
            and finding not in mine
        )
    yield from mine


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
        if (mac not in others or mac == guest.macs[0]) and mac not in guest.lent
        else f"{mac}: {'used on another NIC now' if mac in guest.lent else 'no entry where another has it'}"
        for mac in guest.macs
    ]
    if collides:
        return [f"{guest.macs[0]} -> {guest.port}, which is not put, so the port is left as it is: see below"]
    return [f"learning off, unicast flood off{locked}", *entries]
