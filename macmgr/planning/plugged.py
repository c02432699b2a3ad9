"""Compares a guest's port with how libvirt plugged it: a tap, on its bridge, in its VLAN, isolated. Pure.

QEMU can only open a tap, and a container's cable is a veth. What else a domain's XML names as its tap is an interface
of the host's, often its uplink, and nothing that a domain's policy says is carried out on it.

libvirt sets VLAN and isolation when it puts a tap on its bridge (``<port isolated='yes'/>`` since 6.1, ``<vlan>`` on a
Linux bridge since 11.0), and never again. A tap that leaves its bridge and comes back has neither: it is in the
bridge's default VLAN, and hears other isolated ports. A managed port is isolated again. Who puts a tap back must know
its VLANs: what is set while the port is down lets no frame through before all of it is.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from macmgr import virsh
from macmgr.forwarding.requested import requested
from macmgr.model.changes import Change, SetEntries, SetFlags, SetVids, requests
from macmgr.model.findings import Code, Command, Finding, Repair
from macmgr.model.flags import ISOLATED, with_flag
from macmgr.model.intent import GuestPort, Intent, PortlessNic
from macmgr.model.known import Known
from macmgr.model.roles import may_be_a_guests, uplinks_of
from macmgr.model.snapshot import Snapshot
from macmgr.phrases import first_few
from macmgr.planning.draft import Draft
from macmgr.planning.ethernetnics import with_places
from macmgr.planning.portvlans import isolated_on, put_back, vids_to_set, vlan_findings

_FEW = 3  # guests that a message names
MAX_PORTS = 1023  # BR_MAX_PORTS, of which 0 is none (br_if.c, find_portno); the next one is refused with EXFULL


def with_taps(intent: Intent, snapshot: Snapshot) -> Intent:
    """The intent with each tap on its bridge, and without the ports that are no tap.

    Each of these is reported, and its NIC is one without a port here.
    """
    if intent.unplaced:
        intent = with_places(intent, snapshot)
    false = [guest for guest in intent.ports if not _may_be_a_guests(guest, snapshot)]
    if not false:
        return intent
    portless, findings = [], []
    for guest in false:
        what = snapshot.ports[guest.port].kind or "a physical interface"
        problem = f"the XML names {guest.port} as its tap, but that is no tap ({what})"
        who, kind = f"{guest.domain} {guest.alias}".strip(), "ethernet" if guest.facts.ethernet else "bridge"
        portless.append(PortlessNic(guest.domain, guest.macs[0], kind, problem, guest.alias))
        if guest.managed:
            findings.append(
                Finding(
                    Code.MISSING_PORT,
                    f"the XML of {who} names {guest.port} as its tap, but that is no tap ({what}): it is left as it is",
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
    cable = guest.facts.container or not guest.facts.ethernet
    return port is None or may_be_a_guests(port, snapshot, cable=cable)


def is_on_its_bridge(guest: GuestPort, intent: Intent, snapshot: Snapshot, draft: Draft) -> bool:
    """The tap is on its bridge; where it is not, nothing of it is touched and the audit says so.

    A NIC that is left to the kernel is cut off too without its tap, or with a tap on no bridge; that is said where its
    bridge is managed. Somebody may want it on another bridge.
    """
    if not guest.managed and (guest.bridge not in intent.managed_bridges or snapshot.masters.get(guest.port)):
        return snapshot.masters.get(guest.port) == guest.bridge
    who = f"{guest.domain} ({guest.alias})" if guest.alias else guest.domain
    if guest.port not in snapshot.masters and guest.domain in intent.without_process:
        draft.report(
            Code.MISSING_PORT,
            guest,
            f"{guest.port} of {who} does not exist on this host, and no process {intent.without_process[guest.domain]} "
            f"is here, which libvirt's status file names for {guest.domain}: it seems to have ended, and libvirt has "
            "not noticed",
            mends=(virsh.state_of(guest.domain),),
            note="asks libvirt's daemon, which notices as soon as it runs; then start the guest again",
        )
    elif guest.port not in snapshot.masters:
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
            f"the XML of {who} names {guest.bridge}, which is not a Linux bridge on this host",
            mends=(("ip", "-d", "link", "show", "dev", guest.bridge),),
        )
    elif (master := snapshot.masters[guest.port]) != guest.bridge:
        on = f"is on {master}" if master else "is on no bridge"
        full = sum(port.bridge == guest.bridge for port in snapshot.ports.values()) >= MAX_PORTS
        mends, note = put_back(guest, snapshot)
        if full:
            mends, note = (), f"give a port of {guest.bridge} another bridge first"
        elif master:
            note = f"{note + '; ' * bool(note)}whoever reaches it on {master} no longer does then"
        why = f", which has as many ports as a bridge can have ({MAX_PORTS})" if full else ""
        draft.report(
            Code.WRONG_BRIDGE,
            guest,
            f"{guest.port} of {who} {on}, but the XML says {guest.bridge}{why}",
            mends=mends,
            note=note,
        )
    else:
        return True
    return False


def plan_plugs(guests: Iterable[GuestPort], intent: Intent, snapshot: Snapshot, known: Known, draft: Draft) -> Snapshot:
    """Plan what brings managed ports to how they were plugged, and return the snapshot as it is after that.

    The rest of the plan is made from there. The port of a guest whose network is not active stays as it is. All are
    isolated before one comes into another VLAN.
    """
    vids: list[SetVids | None] = []
    taps = {guest.port for guest in intent.ports}
    for guest in guests:
        port = snapshot.ports[guest.port]
        lost = guest.facts.isolated_live and port.flags.isolated is False
        if lost and not guest.frozen and _isolated_uplink(guest.bridge, snapshot, taps) is None:
            isolated = with_flag(port.flags, ISOLATED, value=True)
            change = SetFlags(port.name, port.flags, isolated, guest.bridge, guest.domain, Code.NOT_ISOLATED)
            draft.plugs.append(change)
        if guest.facts.vlan_live:
            vids.append(vids_to_set(guest, port, snapshot.bridges[guest.bridge], known))
    draft.plugs += [change for change in vids if change is not None]
    if not draft.plugs:
        return snapshot
    return requested(snapshot, (request for change in draft.plugs for request in requests(change)))


def plug_findings(intent: Intent, snapshot: Snapshot, draft: Draft | None = None) -> Iterator[Finding]:
    """Report differences on the ports of guests that are on a managed bridge, whoever manages the port.

    The changes of the ``draft`` end some of them. With the VIDs of a port come its guest's entries there.
    """
    guests = {guest.port for guest in intent.ports}
    planned: dict[tuple[str, Code | None], tuple[Repair, ...]]
    planned = {(each.port, each.because): (each, *_entries_with(each, draft)) for each in draft.plugs} if draft else {}
    lacking: dict[str, list[GuestPort]] = {}
    for guest in intent.ports:
        port = snapshot.port_on(guest.bridge, guest.port)
        if port is None or guest.bridge not in intent.managed_bridges:
            continue
        bridge = snapshot.bridges[guest.bridge]
        if bridge.vlan_filtering and (guest.facts.vlan_live or not port.vids):
            right = planned.get((port.name, Code.WRONG_VLAN), ())
            yield from vlan_findings(guest, port, bridge, snapshot, guests, right)
        if guest.facts.isolated_live and port.flags.isolated is None:
            lacking.setdefault(guest.bridge, []).append(guest)
        elif guest.facts.isolated_live and not port.isolated:
            mends, note = _isolate(guest, snapshot, guests)
            yield Finding(
                Code.NOT_ISOLATED,
                f"{port.name} of {guest.domain} is not isolated, but its XML says <port isolated='yes'/>: other "
                "isolated guests hear it",
                guest.bridge,
                guest.port,
                guest.domain,
                mends=planned.get((port.name, Code.NOT_ISOLATED), mends),
                note=note,
            )
    for name, found in lacking.items():
        who = first_few([f"{guest.port} of {guest.domain}" for guest in found], _FEW)
        text = f"<port isolated='yes'/> is asked for {who}, but this kernel lacks isolated ports (Linux 4.18)"
        yield Finding(Code.UNSUPPORTED, f"{text}: guests on {name} hear each other", name)


def _entries_with(change: SetFlags | SetVids, draft: Draft) -> tuple[Change, ...]:
    if isinstance(change, SetFlags):
        return ()
    puts = (put for put in draft.puts if isinstance(put, SetEntries))
    return tuple(put for put in puts if any(entry.port == change.port for entry in put.after))


def of_ports_as_they_are(draft: Draft) -> list[Finding]:
    """The findings without those about a VID that their port is only to get, or to lose: that is one finding by itself.

    They come from what is planned for the port as it is to be. So an entry that is put there comes with the VIDs, and
    with all other entries: before them, a put without a VID would take the address from whoever has it in the VLANs
    that the port is to leave.
    """
    set_vids = {each.port: each for each in draft.plugs if isinstance(each, SetVids)}
    moved = {port: {*each.before.vids} ^ {*each.after.vids} for port, each in set_vids.items()}
    kept = [each for each in draft.findings if each.vid not in moved.get(each.port, ())]
    return [_with_vids(each, set_vids[each.port], draft) if each.port in set_vids else each for each in kept]


def _with_vids(finding: Finding, set_vids: SetVids, draft: Draft) -> Finding:
    puts = [each for each in finding.mends if isinstance(each, SetEntries) and each.after]
    if not puts:
        return finding
    rest = (each for each in finding.mends if each not in puts)  # as a closing, which comes last
    return replace(finding, mends=(set_vids, *_entries_with(set_vids, draft), *rest))


def _isolate(guest: GuestPort, snapshot: Snapshot, guests: set[str]) -> tuple[tuple[Command, ...], str]:
    """Nobody but isolated ports loses the guest by it: so first an uplink that is isolated has to be seen to."""
    if uplink := _isolated_uplink(guest.bridge, snapshot, guests):
        return (), (
            f"first end the isolation of the uplink {uplink}, or {guest.domain} is cut off from it; then "
            f"'{shlex.join(isolated_on(guest.port))}'"
        )
    return (isolated_on(guest.port),), ""


def _isolated_uplink(bridge: str, snapshot: Snapshot, taps: Collection[str]) -> str | None:
    """An uplink that no isolated port reaches, if there is one. ``taps`` are the guests' ports."""
    ports = (each for each in snapshot.ports.values() if each.bridge == bridge)
    return next((uplink.name for uplink in uplinks_of(ports, taps) if uplink.isolated), None)
