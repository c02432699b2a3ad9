"""Compares the VLANs of a guest's port with those of its XML, and knows the commands that put a tap back. Pure.

libvirt puts a tap on a Linux bridge into the VLANs of its ``<vlan>`` since 11.0, once (virNetDevBridgeSetupVlans).
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator

from macmgr.model.changes import SetVids, bridge_command, requests
from macmgr.model.findings import Code, Command, Finding, Repair
from macmgr.model.flags import ISOLATED
from macmgr.model.intent import GuestPort, Vlans
from macmgr.model.known import Known, PortBefore
from macmgr.model.roles import uplinks_of
from macmgr.model.snapshot import Bridge, BridgePort, EntryState, Snapshot
from macmgr.model.vids import PortVids, fold_vids

EVERY_VID = "1-4094"  # a range is taken off without a word about those that are not there (br_vlan_info)


def put_back(guest: GuestPort, snapshot: Snapshot) -> tuple[tuple[Command, ...], str]:
    """The commands that put the guest's tap on its bridge: never into a VLAN that is not its own, and never where it
    hears whom it must not. What cannot be said as commands is said in words."""
    bridge = snapshot.bridges[guest.bridge]
    link = (*["ip", "link", "set", "dev"], guest.port)
    master = (*link, "master", bridge.name)
    wanted = vlans_of(guest)
    steps: list[Command] = []
    if wanted is not None and _has_vlans(bridge, snapshot):
        adds = requests(SetVids(guest.port, PortVids(), wanted))
        steps = [_vlan("del", guest.port, EVERY_VID), *(tuple(bridge_command(each)) for each in adds)]
    elif bridge.vlan_filtering and not _has_one_vlan(bridge, snapshot):
        return (), (
            f"put {guest.port} back on {bridge.name} the way it was put there first: its XML has no <vlan>, and the "
            f"default VLAN of {bridge.name} may not be its own"
        )
    if guest.facts.isolated_live:
        steps.append(isolated_on(guest.port))
    if not steps:
        return (master,), ""
    return ((*link, "down"), master, *steps, (*link, "up")), ""


def vlans_of(guest: GuestPort) -> PortVids | None:
    """The VLANs that libvirt gives the port of a NIC with a live ``<vlan>`` (virNetDevBridgeSetupVlans), else None.

    VID 0 is a priority tag, and 4095 reserved: a bridge port has neither.
    """
    vlan = guest.facts.vlan
    if vlan is None or not guest.facts.vlan_live:
        return None
    vids = tuple(sorted({vid for vid in vlan.vids if 0 < vid < 4095}))
    native = vlan.native if vlan.trunk else vlan.vids[0]
    pvid = native if native in vids else None
    untagged = () if pvid is None or vlan.native_tagged else (pvid,)
    return PortVids(vids, pvid, untagged) if vids else None


def vids_to_set(guest: GuestPort, port: BridgePort, bridge: Bridge, known: Known) -> SetVids | None:
    """The change that puts a managed port into the VLANs of its XML, where that is asked for; None where it is right.

    Where the kernel just refused it, or somebody undoes it each time, the port is left in the VLANs that it has.
    """
    wanted = vlans_of(guest)
    asked = known.vlans or guest.policy.vlans is Vlans.REPAIR
    if wanted is None or not asked or not bridge.vlan_filtering or port.vlans == wanted:
        return None
    if guest.frozen or (port.name, "", 0) in known.refused:
        return None
    return SetVids(port.name, port.vlans, wanted, guest.bridge, guest.domain, Code.WRONG_VLAN)


def vids_back(port: BridgePort, before: PortBefore, snapshot: Snapshot, why: str) -> SetVids | None:
    """The change that gives a port its former VIDs back, if macmgr set others and nobody has changed these since.

    No static entry stays where the port has been: another guest there that has the address too is reached at once.
    """
    if before.vids is None or port.vlans != before.vids_set:
        return None
    left = {*port.vids}.difference(before.vids.vids)
    entries = (entry for entry in snapshot.fdb.of_port(port.name) if entry.vid in left)
    static = (each for each in entries if each.state is EntryState.STATIC and not snapshot.by_control_plane(each))
    takes = tuple(static) if port.up and port.forwarding else ()  # it takes a dynamic entry
    return SetVids(port.name, port.vlans, before.vids, port.bridge, before.domain, why=why, entries=takes)


def vlan_findings(
    guest: GuestPort,
    port: BridgePort,
    bridge: Bridge,
    snapshot: Snapshot,
    guests: Collection[str],
    planned: tuple[Repair, ...],
) -> Iterator[Finding]:
    """Report a port in no VLAN, or in others than its XML says. The bridge filters VLANs; else there is one network.

    ``planned`` are the changes that put it right.
    """
    wanted = vlans_of(guest)
    if wanted is None and not port.vids:
        yield Finding(
            Code.NO_VLAN,
            f"{port.name} of {guest.domain} is in no VLAN, but VLAN filtering is on: no frame reaches or leaves it",
            guest.bridge,
            guest.port,
            guest.domain,
            note=f"'{shlex.join(_vlan('add', port.name, 'VID', 'pvid', 'untagged'))}' with the VID of its network",
        )
    elif wanted is not None and port.vlans != wanted:
        note = ""
        ways_out = uplinks_of((each for each in snapshot.ports.values() if each.bridge == bridge.name), guests)
        if ways_out and all({*wanted.vids}.isdisjoint(each.vids) for each in ways_out):
            note = f"no uplink of {bridge.name} carries VID {fold_vids(wanted.vids)}"
        yield Finding(
            Code.WRONG_VLAN,
            f"{port.name} of {guest.domain} carries {_words(port.vlans)}, but its XML says {_words(wanted)}",
            guest.bridge,
            guest.port,
            guest.domain,
            mends=planned or tuple(_by_hand(guest, port, wanted)),
            note=note,
        )


def _by_hand(guest: GuestPort, port: BridgePort, wanted: PortVids) -> Iterator[Command]:
    """An apply takes the guest's entries along; a port that the kernel manages needs none.

    The port of a guest whose network is not active is closed or open as it was: there an apply puts entries alone.
    """
    if guest.managed and not guest.frozen:
        yield ("macmgr", "apply", "--vlans", "--domain", guest.domain)
        return
    for request in requests(SetVids(port.name, port.vlans, wanted)):
        yield tuple(bridge_command(request))
    if guest.managed:
        yield ("macmgr", "apply", "--domain", guest.domain)


def isolated_on(port: str) -> Command:
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


def _words(vlans: PortVids) -> str:
    kinds = {(True, True): "", (True, False): " (tagged towards it)", (False, True): " (untagged towards it)"}
    found: dict[str, list[int]] = {}
    for kind in (*kinds, (False, False)):
        for vid, carried in vlans.carried.items():
            if carried == kind:
                found.setdefault(kinds.get(kind, " (tagged)"), []).append(vid)
    return "VID " + " and ".join(f"{fold_vids(vids)}{how}" for how, vids in found.items()) if found else "no VID"
