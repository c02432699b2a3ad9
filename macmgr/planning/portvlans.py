"""Compares the VLANs of a guest's port with those of its XML, and knows the commands that put a tap back. Pure.

libvirt puts a tap on a Linux bridge into the VLANs of its ``<vlan>`` since 11.0, once (virNetDevBridgeSetupVlans).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from macmgr.model.findings import Code, Command, Finding
from macmgr.model.flags import ISOLATED
from macmgr.model.intent import GuestPort
from macmgr.model.roles import uplinks_of
from macmgr.model.snapshot import Bridge, BridgePort, Snapshot
from macmgr.model.vids import fold_vids

EVERY_VID = "1-4094"  # a range is taken off without a word about those that are not there (br_vlan_info)


@dataclass(frozen=True, slots=True)
class PortVlans:
    """The VIDs that a bridge port carries, and those that leave it untagged."""

    vids: frozenset[int] = frozenset()
    pvid: int | None = None
    untagged: frozenset[int] = frozenset()


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
        steps.append(isolated_on(guest.port))
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


def vlan_findings(
    guest: GuestPort, port: BridgePort, bridge: Bridge, snapshot: Snapshot, guests: set[str]
) -> Iterator[Finding]:
    """Report a port in no VLAN, or in others than its XML says. The bridge filters VLANs; else there is one network."""
    wanted = vlans_of(guest)
    has = PortVlans(frozenset(port.vids), port.pvid, frozenset(port.untagged))
    if wanted is None and not port.vids:
        yield Finding(
            Code.NO_VLAN,
            f"{port.name} of {guest.domain} is in no VLAN, but VLAN filtering is on: no frame reaches or leaves it",
            guest.bridge,
            guest.port,
            guest.domain,
            note=f"'{shlex.join(_vlan('add', port.name, 'VID', 'pvid', 'untagged'))}' with the VID of its network",
        )
    elif wanted is not None and has != wanted:
        mends, note = [*_add(port.name, has, wanted), *_take(port.name, has, wanted)], ""
        if guest.managed:  # its entries belong in other VIDs then
            mends.append(("macmgr", "apply", "--domain", guest.domain))
        ways_out = uplinks_of((each for each in snapshot.ports.values() if each.bridge == bridge.name), guests)
        if ways_out and wanted.vids.isdisjoint(vid for each in ways_out for vid in each.vids):
            note = f"no uplink of {bridge.name} carries VID {fold_vids(sorted(wanted.vids))}"
        yield Finding(
            Code.WRONG_VLAN,
            f"{port.name} of {guest.domain} carries {_words(has)}, but its XML says {_words(wanted)}",
            guest.bridge,
            guest.port,
            guest.domain,
            mends=tuple(mends),
            note=note,
        )


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
