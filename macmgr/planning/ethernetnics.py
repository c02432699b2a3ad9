"""Finds the bridges of NICs whose XML names none: ``<interface type='ethernet'>``. Pure.

Somebody else puts such a tap on its bridge, before the guest starts or while it runs: a script, OpenStack, Calico,
KubeVirt. So the kernel says where it is, and it is looked up anew with each snapshot. On a Linux bridge it is a guest's
port like others. What the configuration says of that bridge counts, and the domain's own metadata.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from macmgr.model.findings import Code
from macmgr.model.intent import GuestPort, Intent, PortlessNic
from macmgr.model.snapshot import Snapshot
from macmgr.policy.guests import placed, without_contested
from macmgr.policy.precedence import managing_section
from macmgr.policy.sharing import with_shared


def with_places(intent: Intent, snapshot: Snapshot) -> Intent:
    """The intent with each unplaced port on the bridge where its tap is. One on no bridge has no port here.

    Only now it is known that several NICs name one tap, which NICs of a domain are on one bridge, and which bridges a
    pattern of the configuration stands for.
    """
    found = [_placed(guest, intent, snapshot) for guest in intent.unplaced]
    taps, domains = {guest.port for guest in found}, {(guest.uuid, guest.domain) for guest in found if guest.bridge}
    others = [g for g in intent.ports if g.port not in taps and (g.uuid, g.domain) not in domains]
    again = [g for g in intent.ports if g.port in taps or (g.uuid, g.domain) in domains]
    on_bridges = with_shared([*again, *(guest for guest in found if guest.bridge)])
    ports, contested = without_contested([*on_bridges, *(guest for guest in found if not guest.bridge)])
    managed = dict(intent.managed_bridges)
    for guest in (each for each in ports if each.bridge):
        if why := managing_section(guest.bridge, intent.sections):
            managed.setdefault(guest.bridge, why)
        if guest.managed:
            managed.setdefault(guest.bridge, guest.policy.reason)
    known = (each for each in intent.findings if each.code is not Code.SHARED_TAP or each.port not in taps)
    return replace(
        intent,
        ports=(*others, *(guest for guest in ports if guest.bridge)),
        managed_bridges=managed,
        findings=(*known, *contested),
        portless=(*intent.portless, *_portless(ports, snapshot)),
        unplaced=tuple(guest for guest in ports if not guest.bridge),
    )


def _placed(guest: GuestPort, intent: Intent, snapshot: Snapshot) -> GuestPort:
    bridge = snapshot.masters.get(guest.port) or ""
    return placed(guest, bridge, intent.sections) if bridge in snapshot.bridges else guest


def _portless(ports: list[GuestPort], snapshot: Snapshot) -> Iterator[PortlessNic]:
    for guest in ports:
        if not guest.bridge:
            master = snapshot.masters.get(guest.port)
            where = f"is on {master}, which is no Linux bridge" if master else "is on no bridge"
            why = f"its tap {guest.port} {where if guest.port in snapshot.masters else 'does not exist here'}"
            yield PortlessNic(guest.domain, guest.macs[0], "ethernet", why, guest.alias)
