"""Words a finding by what it does to its guest: who is cut off stands first. Pure.

The planner says what is wrong, and does not know who is reached. So its sentence stays, and the guest's fate, as the
forwarding model has it, is put before it or behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from macmgr.forwarding.consequences import Reach
from macmgr.model.codes import Code, Consequence, Severity
from macmgr.model.findings import Finding
from macmgr.model.snapshot import EntryState, Snapshot
from macmgr.model.vids import fold_vids


def is_about(finding: Finding, reach: Reach) -> bool:
    if reach.mac != (finding.mac or reach.guest.macs[0]):
        return False
    # with VLAN filtering on, no frame is looked up in VID 0
    return {*finding.vids} <= {0} or reach.vids in ((), (0,)) or not {*finding.vids}.isdisjoint(reach.vids)


def with_fate(finding: Finding, reaches: Mapping[str, Sequence[Reach]], snapshot: Snapshot) -> Finding:
    """Returns the judged finding with the fate of its guest in its message."""
    if finding.domain is None or finding.reached is None or finding.severity is Severity.INFO:
        return finding
    of_port = reaches.get(finding.port, ())
    if finding.reached is False and finding.consequence is Consequence.CUT_OFF:
        return replace(finding, message=_cut_off(finding, of_port, snapshot))
    if finding.reached and finding.code is Code.MISSING_ENTRY:
        return replace(finding, message=f"{finding.message}; {_reached(finding, snapshot)}")
    return finding


def _cut_off(finding: Finding, of_port: Sequence[Reach], snapshot: Snapshot) -> str:
    """The guest's name stands before the colon, and need not be said again behind it."""
    domain, port = finding.domain, snapshot.ports.get(finding.port)
    own = not of_port or finding.mac in ("", of_port[0].guest.macs[0])
    what = finding.message
    for thing in filter(None, (finding.mac, finding.port)):
        what = what.replace(f"{thing} of {domain} ", f"{thing} ", 1)
    if own and what.startswith(f"{domain} ") and not what.startswith(f"{domain} ("):
        what = f"it {what.removeprefix(f'{domain} ')}"
    if finding.code is Code.MISSING_ENTRY and port is not None and port.flags.unicast_flood is False:
        what = f"{finding.port} is closed, and {what}"
    return f"{domain if own else f'{finding.mac} of {domain}'} is cut off{_where(finding, of_port)}: {what}"


def _where(finding: Finding, of_port: Sequence[Reach]) -> str:
    """Names the VLANs, where the guest is reached in others."""
    of_mac = [reach for reach in of_port if reach.mac == (finding.mac or reach.guest.macs[0])]
    if not any(reach.reached for reach in of_mac):
        return ""
    vids = {vid for reach in of_mac if reach.reached is False and is_about(finding, reach) for vid in reach.vids}
    return f" in VID {fold_vids(sorted(vids))}" if vids else ""


def _reached(finding: Finding, snapshot: Snapshot) -> str:
    port = snapshot.ports.get(finding.port)
    learned = any(
        entry.port == finding.port and entry.state is EntryState.DYNAMIC
        for entry in snapshot.fdb.of_mac(finding.bridge, finding.mac).values()
    )
    if learned or port is None or not port.flags.unicast_flood:
        return f"{finding.domain} is reached now"
    return f"{finding.domain} is reached, because {finding.port} still floods"
