"""Explains one thing for `macmgr explain`: the verdict, then the XML, the policy and the kernel behind it.

The answer is a colleague's: who reaches it, what is wrong and what helps; then every place asked, the place that
decided, and the consequence. It prints the records of planner, policy and forwarding model, and decides nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from macmgr.errors import NotThere, did_you_mean
from macmgr.forwarding.frames import is_group
from macmgr.model.devices import DeviceFacts
from macmgr.model.intent import GuestPort
from macmgr.model.mac import matches, near_mac, parse_typed_destination, parse_typed_mac
from macmgr.model.snapshot import VXLAN
from macmgr.phrases import listed
from macmgr.report.explained import Explanation
from macmgr.report.explainguest import explain_guest
from macmgr.report.explainother import (
    explain_bridge,
    explain_gone,
    explain_mac,
    explain_port,
    explain_portless,
    explain_stacked,
)
from macmgr.view import View

NO_DEVICES = DeviceFacts()


def explain(view: View, what: str, devices: DeviceFacts = NO_DEVICES) -> list[Explanation]:
    """Explains a MAC, a port, a bridge or a domain, the worst first. Raises NotThere if nothing here has that name.

    ``devices`` know which hosts are behind tunnels.
    """
    found = list(_explanations(view, what, devices))
    if not found:
        raise NotThere(
            f"{what!r} is not a running domain, a bridge, a bridge port or a known MAC here{_near(view, what)}"
        )
    return sorted(found, key=lambda each: each.rank)


def macs_meant(what: str) -> frozenset[str]:
    """Returns the MAC, if ``what`` is one, with a comma or quotes too."""
    try:
        return frozenset({parse_typed_mac(what.strip(" ,;\"'"))})
    except ValueError:
        return frozenset()


def through_tunnel(view: View, what: str) -> bool:
    """``what`` is a MAC that an entry leads to through a vxlan: only the device knows to which host."""
    ports = view.snapshot.ports
    macs = macs_meant(what)
    return any(
        entry.port in ports and ports[entry.port].kind == VXLAN
        for bridge in view.snapshot.bridges
        for mac in macs
        for entry in view.snapshot.fdb.of_mac(bridge, mac).values()
    )


def _explanations(view: View, what: str, devices: DeviceFacts) -> Iterator[Explanation]:
    mac = "".join(macs_meant(what))
    guests = [guest for guest in view.intent.ports if what in (guest.port, guest.domain) or _has(guest, mac)]
    portless = [nic for nic in view.intent.portless if what == nic.domain or mac == nic.mac]
    for guest in guests:
        yield explain_guest(view, guest)
    for nic in portless:
        yield explain_portless(view, nic)
    if what in view.snapshot.bridges:
        yield explain_bridge(view, what)
    port = view.snapshot.ports.get(what)
    if port is not None and not guests:
        yield explain_port(view, port)
    for device in view.snapshot.stacked:
        if what == device.name or mac == device.mac != view.snapshot.bridges[device.bridge].mac:
            yield explain_stacked(view, device)
    if mac and not guests and not portless and _is_known(view, mac):
        yield explain_mac(view, mac, devices)
    if what and not guests and not portless and what in _domains_named(view):
        yield explain_gone(view, what)


def _has(guest: GuestPort, mac: str) -> bool:
    if not mac:
        return False
    addresses = (*guest.macs, guest.facts.configured_mac, guest.facts.current_mac)
    return mac in addresses or any(matches(pattern, mac) for pattern in guest.policy.allow)


def _is_known(view: View, mac: str) -> bool:
    there = any(view.snapshot.fdb.of_mac(bridge, mac) for bridge in view.snapshot.bridges)
    return there or any(mac == gone for _, gone in view.gone_macs) or any(mac == f.mac for f in view.plan.findings)


def _domains_named(view: View) -> set[str]:
    """Domains that are remembered, or that a finding names: they have left, or their files are not understood."""
    return {*view.gone_macs.values()} | {finding.domain for finding in view.plan.findings if finding.domain}


def _near(view: View, what: str) -> str:
    """Returns the hint at what was probably meant."""
    try:
        typed = parse_typed_destination(what)
    except ValueError:
        if what and (bridges := sorted({guest.bridge for guest in view.intent.ports if guest.network == what})):
            return f"; it is a network on {listed(bridges)}: 'macmgr explain {shlex.quote(bridges[0])}'"
        guests = {guest.domain for guest in view.intent.ports} | {nic.domain for nic in view.intent.portless}
        interfaces = {*view.snapshot.ports, *view.snapshot.bridges, *(each.name for each in view.snapshot.stacked)}
        near = did_you_mean(what, {*guests, *_domains_named(view), *interfaces})
        return near or near_mac(what.strip().lower(), _macs(view))
    if is_group(typed):
        return f"; it is a group's address: 'macmgr trace --to {typed}' says who gets its frames"
    return near_mac(typed, _macs(view))


def _macs(view: View) -> Iterable[str]:
    yield from (mac for guest in view.intent.ports for mac in guest.macs)
    yield from (nic.mac for nic in view.intent.portless)
    yield from (mac for _, mac in view.gone_macs)
