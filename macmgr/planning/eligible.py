"""Decides which guests' ports a plan may touch: those that are a guest's for sure, and are where its XML says. Pure.

QEMU can only open a tap, and a container's cable is a veth. What else a domain's XML names as its tap is an interface
of the host's, often its uplink, and nothing that a domain's policy says is carried out on it.

Some domains run here whose XML is not known, and nobody can say which taps are theirs. So an entry on a tap that no
domain's NIC asks for, pinned as it is done here, may be such a guest's, and a guest with the same address is left as it
is until that XML is read. One that is not sticky where entries are may have come there by a frame, and proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from macmgr import virsh
from macmgr.model.findings import Code, Finding
from macmgr.model.intent import GuestPort, Intent, Pin, PortlessNic
from macmgr.model.roles import Role, roles_of
from macmgr.model.snapshot import Entry, EntryState, Snapshot
from macmgr.planning.draft import Draft, Table
from macmgr.planning.plugged import put_back

_A_GUESTS = ("tun", "veth")  # by the kernel's word for the device (IFLA_INFO_KIND)


def with_taps_only(intent: Intent, snapshot: Snapshot) -> Intent:
    """The intent without the ports that are no tap; each is reported, and its NIC is one without a port here."""
    false = [guest for guest in intent.ports if not _may_be_a_guests(guest, snapshot)]
    if not false:
        return intent
    portless, findings = [], []
    for guest in false:
        what = snapshot.ports[guest.port].kind or "a physical interface"
        problem = f"{guest.port}, which the XML names as its tap, is none ({what})"
        who = f"{guest.domain} {guest.alias}".strip()
        portless.append(PortlessNic(guest.domain, guest.macs[0], "bridge", problem, guest.alias))
        if guest.managed:
            findings.append(
                Finding(
                    Code.MISSING_PORT,
                    f"{guest.port}, which the XML of {who} names as its tap, is none ({what}): it is left as it is",
                    guest.bridge,
                    guest.port,
                    guest.domain,
                    guest.macs[0],
                    mends=(virsh.list_nics(guest.domain),),
                    note="shows the NIC; give it another target",
                )
            )
    return replace(
        intent,
        ports=tuple(guest for guest in intent.ports if guest not in false),
        portless=(*intent.portless, *portless),
        findings=(*intent.findings, *findings),
    )


def _may_be_a_guests(guest: GuestPort, snapshot: Snapshot) -> bool:
    port = snapshot.ports.get(guest.port)
    return port is None or port.kind in _A_GUESTS


_FEW = 3
MAX_PORTS = 1023  # BR_MAX_PORTS, of which 0 is none (br_if.c, find_portno); the next one is refused with EXFULL


def unread_domains(intent: Intent) -> list[str]:
    """The domains of which nothing is known but that they run here."""
    known = {guest.domain for guest in intent.ports} | {nic.domain for nic in intent.portless}
    reported = (finding for finding in intent.findings if finding.code is Code.UNREADABLE_XML)
    return sorted({finding.domain for finding in reported if finding.domain} - known)


def beside_unread(
    guests: Iterable[GuestPort], intent: Intent, snapshot: Snapshot, table: Table, draft: Draft
) -> Iterator[GuestPort]:
    """The ``guests`` without those whose address a guest may have whose XML is not known: these are reported."""
    unread = unread_domains(intent)
    if not unread:
        yield from guests
        return
    roles = roles_of(snapshot.ports.values(), {guest.port for guest in intent.ports})
    taps = {name for name, role in roles.items() if role is Role.TAP}
    names = ", ".join(unread[:_FEW]) + (f" and {len(unread) - _FEW} more" if len(unread) > _FEW else "")
    for guest in guests:
        entry = next(_on_taps(guest, taps, table), None)
        if entry is None:
            yield guest
            continue
        draft.report(
            Code.UNREADABLE_XML,
            guest,
            f"{guest.port} of {guest.domain} is left as it is: {entry.mac} has a static entry on {entry.port}, which "
            f"may be the tap of a guest whose XML is not known ({names})",
            mac=entry.mac,
            vid=entry.vid,
        )


def _on_taps(guest: GuestPort, taps: set[str], table: Table) -> Iterator[Entry]:
    for mac in guest.macs:
        for entry in table.of_mac(guest.bridge, mac).values():
            pinned = entry.sticky or table.pins.of(Pin.AUTO, guest.bridge) is Pin.STATIC
            if entry.port in taps and entry.state is EntryState.STATIC and pinned:
                yield entry


def is_on_its_bridge(guest: GuestPort, snapshot: Snapshot, draft: Draft) -> bool:
    """The tap is on its bridge; where it is not, nothing of it is touched and the audit says so."""
    who = f"{guest.domain} {guest.alias}".strip()
    if guest.port not in snapshot.masters:
        draft.report(
            Code.MISSING_PORT,
            guest,
            f"{guest.port} of {who} does not exist on this host",
            mends=(virsh.list_nics(guest.domain),),
            note="shows the NIC; detach and attach it, or restart the guest",
        )
    elif guest.bridge not in snapshot.bridges:
        draft.report(
            Code.WRONG_BRIDGE,
            guest,
            f"{guest.bridge}, which the XML of {who} names, is not a Linux bridge on this host",
            mends=(("ip", "-d", "link", "show", "dev", guest.bridge),),
        )
    elif (master := snapshot.masters[guest.port]) != guest.bridge:
        on = f"is on {master}" if master else "is on no bridge"
        full = sum(port.bridge == guest.bridge for port in snapshot.ports.values()) >= MAX_PORTS
        mends, note = put_back(guest, snapshot)
        if full:
            mends, note = (), f"give a port of {guest.bridge} another bridge first"
        elif master:
            note = f"{note}; whoever" if note else "whoever"
            note += f" reaches it on {master} does so no longer"
        why = f", which has as many ports as a bridge can have ({MAX_PORTS})" if full else ""
        draft.report(
            Code.WRONG_BRIDGE,
            guest,
            f"{guest.port} of {who} {on}, the XML says {guest.bridge}{why}",
            mends=mends,
            note=note,
        )
    else:
        return True
    return False
