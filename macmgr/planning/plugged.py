"""Compares a guest's port with how libvirt plugged it: a tap, on its bridge, in its VLAN, isolated. Pure.

QEMU can only open a tap, and a container's cable is a veth. What else a domain's XML names as its tap is an interface
of the host's, often its uplink, and nothing that a domain's policy says is carried out on it.

libvirt sets VLAN and isolation when it puts a tap on its bridge (``<port isolated='yes'/>`` since 6.1, ``<vlan>`` on a
Linux bridge since 11.0), and never again. A tap that leaves its bridge and comes back has neither: it is in the
bridge's default VLAN, and hears other isolated ports. That is reported, and left to a person: who puts it back must
know them, and what is set while the port is down lets no frame through before all of it is.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from macmgr import virsh
from macmgr.model.findings import Code, Command, Finding
from macmgr.model.flags import ISOLATED
from macmgr.model.intent import GuestPort, Intent, PortlessNic
from macmgr.model.roles import may_be_a_guests, uplinks_of
from macmgr.model.snapshot import Bridge, BridgePort, Snapshot
from macmgr.model.vids import fold_vids
from macmgr.planning.draft import Draft
from macmgr.planning.ethernetnics import with_places

MAX_PORTS = 1023  # BR_MAX_PORTS, of which 0 is none (br_if.c, find_portno); the next one is refused with EXFULL
EVERY_VID = "1-4094"  # a range is taken off without a word about those that are not there (br_vlan_info)


@dataclass(frozen=True, slots=True)
class PortVlans:
    """The VIDs that a bridge port carries, and those that leave it untagged."""

    vids: frozenset[int] = frozenset()
    pvid: int | None = None
    untagged: frozenset[int] = frozenset()


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
    """The tap is on its bridge; where it is not, nothing of it is touched and the audit says so."""
    who = f"{guest.domain} {guest.alias}".strip()
    if guest.port not in snapshot.masters and guest.domain in intent.without_process:
        draft.report(
            Code.MISSING_PORT,
            guest,
            f"{guest.port} of {who} does not exist on this host, and no process {intent.without_process[guest.domain]} "
            f"is here, which libvirt's status file names for {guest.domain}: it seems to have ended, and libvirtd has "
            "not noticed",
            mends=(virsh.state_of(guest.domain),),
            note="asks libvirtd, which notices as soon as it runs; then start the guest again",
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


def plug_findings(intent: Intent, snapshot: Snapshot) -> Iterator[Finding]:
    """Report differences on the ports of guests that are on a managed bridge, whoever manages the port."""
    guests = {guest.port for guest in intent.ports}
    for guest in intent.ports:
        port = snapshot.port_on(guest.bridge, guest.port)
        if port is None or guest.bridge not in intent.managed_bridges:
            continue
        yield from _vlan_findings(guest, port, snapshot.bridges[guest.bridge], snapshot, guests)
        if guest.facts.isolated_live and not port.isolated:
            yield _finding(
                Code.NOT_ISOLATED,
                guest,
                f"{port.name} of {guest.domain} is not isolated, but its XML says <port isolated='yes'/>: other "
                "isolated guests hear it",
                *_isolate(guest, snapshot, guests),
            )


def put_back(guest: GuestPort, snapshot: Snapshot) -> tuple[tuple[Command, ...], str]:
    """The commands that put the guest's tap on its bridge: never into a VLAN that is not its own, and never where it
    hears whom it must not. What cannot be said as commands is said in words."""
    bridge = snapshot.bridges[guest.bridge]
    link = (*["ip", "link", "set", "dev"], guest.port)
    master = (*link, "master", bridge.name)
    wanted = vlans_of(guest)
    steps: list[Command] = []
    if wanted is not None and _has_vlans(bridge, snapshot):
        steps = [_vlan("del", guest.port, EVERY_VID), *_add(guest.port, PortVlans(), wanted)]
    elif bridge.vlan_filtering and not _has_one_vlan(bridge, snapshot):
        return (), (
            f"put {guest.port} back on {bridge.name} the way it was put there first: its XML has no <vlan>, and the "
            f"default VLAN of {bridge.name} may not be its own"
        )
    if guest.facts.isolated_live:
        steps.append(_isolated_on(guest.port))
    if not steps:
        return (master,), ""
    return ((*link, "down"), master, *steps, (*link, "up")), ""


def vlans_of(guest: GuestPort) -> PortVlans | None:
    """The VLANs that libvirt gives the port of a NIC with a live ``<vlan>`` (virNetDevBridgeSetupVlans), else None.

    VID 0 is a priority tag, and 4095 reserved: a bridge port has neither.
    """
    vlan = guest.facts.vlan
    if vlan is None or not guest.facts.vlan_live:
        return None
    vids = frozenset(vid for vid in vlan.vids if 0 < vid < 4095)
    native = vlan.native if vlan.trunk else vlan.vids[0]
    pvid = native if native in vids else None
    untagged = frozenset() if pvid is None or vlan.native_tagged else frozenset({pvid})
    return PortVlans(vids, pvid, untagged) if vids else None


def _vlan_findings(
    guest: GuestPort, port: BridgePort, bridge: Bridge, snapshot: Snapshot, guests: set[str]
) -> Iterator[Finding]:
    """While VLAN filtering is off there is one network, whatever VIDs a port carries."""
    if not bridge.vlan_filtering:
        return
    wanted = vlans_of(guest)
    has = PortVlans(frozenset(port.vids), port.pvid, frozenset(port.untagged))
    if wanted is None and not port.vids:
        yield _finding(
            Code.NO_VLAN,
            guest,
            f"{port.name} of {guest.domain} is in no VLAN, but VLAN filtering is on: no frame reaches or leaves it",
            (),
            f"'{shlex.join(_vlan('add', port.name, 'VID', 'pvid', 'untagged'))}' with the VID of its network",
        )
    elif wanted is not None and has != wanted:
        mends, note = [*_add(port.name, has, wanted), *_take(port.name, has, wanted)], ""
        if guest.managed:  # its entries belong in other VIDs then
            mends.append(("macmgr", "apply", "--domain", guest.domain))
        ways_out = uplinks_of((each for each in snapshot.ports.values() if each.bridge == bridge.name), guests)
        if ways_out and wanted.vids.isdisjoint(vid for each in ways_out for vid in each.vids):
            note = f"no uplink of {bridge.name} carries VID {fold_vids(sorted(wanted.vids))}"
        yield _finding(
            Code.WRONG_VLAN,
            guest,
            f"{port.name} of {guest.domain} carries {_words(has)}, but its XML says {_words(wanted)}",
            tuple(mends),
            note,
        )


def _isolate(guest: GuestPort, snapshot: Snapshot, guests: set[str]) -> tuple[tuple[Command, ...], str]:
    """Nobody but isolated ports loses the guest by it: so first an uplink that is isolated has to be seen to."""
    ports = [each for each in snapshot.ports.values() if each.bridge == guest.bridge]
    for uplink in uplinks_of(ports, guests):
        if uplink.isolated:
            return (), (
                f"first end the isolation of the uplink {uplink.name}, or {guest.domain} is cut off from it; then "
                f"'{shlex.join(_isolated_on(guest.port))}'"
            )
    return (_isolated_on(guest.port),), ""


def _isolated_on(port: str) -> Command:
    return (*["bridge", "link", "set", "dev"], port, ISOLATED.bridge_word, "on")


def _vlan(verb: str, port: str, vids: str, *how: str) -> Command:
    return ("bridge", "vlan", verb, "dev", port, "vid", vids, *how)


def _has_one_vlan(bridge: Bridge, snapshot: Snapshot) -> bool:
    """A tap that comes to the bridge can get no other VLAN than it was in, for there is one only."""
    ports = [port for port in snapshot.ports.values() if port.bridge == bridge.name]
    return bool(bridge.default_pvid) and all({*port.vids} <= {bridge.default_pvid} for port in ports)


def _has_vlans(bridge: Bridge, snapshot: Snapshot) -> bool:
    """This kernel's bridges have VLANs; without filtering, the ports show it."""
    return bridge.vlan_filtering or bool(bridge.default_pvid) or any(port.vids for port in snapshot.ports.values())


def _add(port: str, has: PortVlans, wanted: PortVlans) -> Iterator[Command]:
    """Add the VIDs that are missing or tagged otherwise; runs of plain VIDs in one command each."""
    native = wanted.pvid
    if native is not None and (native != has.pvid or (native in wanted.untagged) != (native in has.untagged)):
        yield _vlan("add", port, str(native), "pvid", *(["untagged"] if native in wanted.untagged else []))
    plain = (vid for vid in wanted.vids if vid != native)
    for run in _runs(vid for vid in plain if vid not in has.vids or vid == has.pvid or vid in has.untagged):
        yield _vlan("add", port, run)


def _take(port: str, has: PortVlans, wanted: PortVlans) -> Iterator[Command]:
    for run in _runs(has.vids - wanted.vids):
        yield _vlan("del", port, run)


def _runs(vids: Iterable[int]) -> list[str]:
    folded = fold_vids(sorted(vids))
    return folded.split(",") if folded else []


def _words(vlans: PortVlans) -> str:
    if not vlans.vids:
        return "no VID"
    native = frozenset(vid for vid in vlans.vids if vid == vlans.pvid)
    said = [
        (native & vlans.untagged, ""),
        (native - vlans.untagged, " (tagged towards it)"),
        (vlans.untagged - native, " (untagged towards it)"),
        (vlans.vids - vlans.untagged - native, " (tagged)"),
    ]
    return "VID " + " and ".join(f"{fold_vids(sorted(vids))}{how}" for vids, how in said if vids)


def _finding(code: Code, guest: GuestPort, message: str, mends: tuple[Command, ...], note: str = "") -> Finding:
    return Finding(code, message, guest.bridge, guest.port, guest.domain, guest.macs[0], None, mends, note)
