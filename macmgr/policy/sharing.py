"""Decides which addresses the NICs of a domain share, for a bond inside the guest. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from macmgr.model.intent import OWN, GuestPort

_Place = tuple[str, str, str]


def with_shared(ports: Sequence[GuestPort]) -> Iterator[GuestPort]:
    """Lets the NICs of a domain use each other's addresses, where policy says so, for a bond inside the guest.

    Policy says so if two NICs on one bridge both have allow='own', or if one is allowed the other's very address. An
    address in writing for several of them is the first one's, and the others may use it.
    """
    by_bridge: dict[_Place, list[GuestPort]] = {}
    for port in ports:
        if port.managed:
            by_bridge.setdefault(_place(port), []).append(port)
    shared: dict[_Place, tuple[str, ...]] = {}
    for bridge, nics in by_bridge.items():
        group = [nic for nic in nics if OWN in nic.policy.allow]
        if len(group) > 1:
            theirs = (each for nic in group for each in (nic.facts.configured_mac, *nic.policy.allow) if each != OWN)
            shared[bridge] = tuple(dict.fromkeys(theirs))
    named = {place: frozenset(nic.facts.configured_mac for nic in nics) for place, nics in by_bridge.items()}
    first = {(_place(port), port.facts.configured_mac): port.port for port in ports}
    for port in ports:
        of_bridge = shared.get(_place(port), ()) if OWN in port.policy.allow else ()
        others, own = named.get(_place(port), ()), port.facts.configured_mac
        mine = of_bridge or tuple(mac for mac in port.policy.allow if mac in others and mac != own)
        if not port.managed or not mine:
            yield port
            continue
        said = port.facts.said_mac if port.facts.said_mac not in mine else ""
        facts = port.facts if said else replace(port.facts, said_mac="", current_mac="")
        macs = port.macs if port.macs[0] not in mine else (own, *port.macs[1:])
        further = [
            each
            for each in macs[1:]
            if each not in mine or first.setdefault((_place(port), each), port.port) == port.port
        ]
        yield replace(port, macs=tuple(dict.fromkeys((macs[0], *further))), facts=facts, shared=mine)


def _place(port: GuestPort) -> _Place:
    return port.uuid, port.domain, port.bridge
