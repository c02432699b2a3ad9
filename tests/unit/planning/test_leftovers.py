"""Static entries on an uplink that nothing here asks for: which are told, and what is printed to delete them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from macmgr.model.findings import Code, Finding, Severity, fix_of
from macmgr.model.intent import GuestPort, Intent, Manager, Policy
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, PortFlags
from macmgr.planning.planner import plan
from tests.fake_kernel import make_snapshot

LEFT, OWN = "52:54:00:00:00:99", "52:54:00:00:00:01"
UPLINK = BridgePort("eth0", 3, "br0", "02:00:00:00:00:03", vids=(1, 7), pvid=1, untagged=(1,))
TAP = BridgePort("vnet0", 10, "br0", "fe:54:00:00:00:01", PortFlags(False, False), (1,), 1, kind="tun", untagged=(1,))
PINNED = [Entry(OWN, vid, "vnet0", sticky=True) for vid in (0, 1)]


def guest(manager: Manager = Manager.LIBVIRT) -> GuestPort:
    return GuestPort("vnet0", "br0", "web1", "u", (OWN,), policy=Policy(manager))


def told(
    *entries: Entry, uplink: BridgePort = UPLINK, who: GuestPort | None = None, filtering: bool = True
) -> list[Finding]:
    snapshot = make_snapshot([Bridge("br0", 2, "02:00:00:00:00:02", filtering)], [uplink, TAP], [*PINNED, *entries])
    steps = plan(Intent((who or guest(),), {"br0": "a test"}), snapshot)
    found = [finding for finding in steps.findings if finding.code is Code.LEFT_ON_UPLINK]
    assert not {change for change in steps.changes if change.bridge == "br0" and LEFT in str(change)}
    return found


def test_one_is_told_with_what_deletes_it() -> None:
    (finding,) = told(Entry(LEFT, 7, "eth0"))
    assert (finding.severity, finding.port, finding.mac, finding.vid) == (Severity.WARNING, "eth0", LEFT, 7)
    assert fix_of(finding).text == f"bridge fdb del {LEFT} dev eth0 vlan 7 master"
    assert not finding.changes
    (flat,) = told(Entry(LEFT, 0, "eth0"), filtering=False)
    assert fix_of(flat).text == f"bridge fdb del {LEFT} dev eth0 master"


@pytest.mark.parametrize(
    "entry",
    [
        Entry(LEFT, 1, "eth0", EntryState.DYNAMIC),
        Entry(LEFT, 1, "eth0", EntryState.DYNAMIC, extern_learn=True),
        Entry(LEFT, 1, "eth0", EntryState.STATIC, extern_learn=True),
        Entry(LEFT, 1, "eth0", EntryState.LOCAL),
        Entry(LEFT, 0, "eth0"),  # not looked up while VLAN filtering is on
    ],
)
def test_what_else_leads_to_an_uplink_is_not(entry: Entry) -> None:
    assert told(entry) == []


def test_what_a_control_plane_put_on_a_vxlan_is_not() -> None:
    assert told(Entry(LEFT, 1, "eth0", sticky=True), uplink=replace(UPLINK, kind="vxlan")) == []


@pytest.mark.parametrize("flags", [PortFlags(unicast_flood=False), PortFlags(locked=True)])
def test_where_it_may_be_all_that_somebody_is_reached_by_no_command_is_printed(flags: PortFlags) -> None:
    (finding,) = told(Entry(LEFT, 1, "eth0"), uplink=replace(UPLINK, flags=flags))
    assert fix_of(finding).text.startswith("see who uses 52:54:00:00:00:99 behind eth0")


def test_the_copy_in_vid_0_goes_only_with_all_others() -> None:
    (finding,) = told(Entry(LEFT, 0, "eth0"), Entry(LEFT, 7, "eth0", extern_learn=True), filtering=False)
    assert fix_of(finding).text.startswith("see who put the other entries")


def test_a_guest_that_is_here_is_said_to_be_cut_off() -> None:
    """One that macmgr manages has a finding of its own, and its entry is taken back."""
    taken = Entry(OWN, 1, "eth0")
    snapshot = make_snapshot([Bridge("br0", 2, "02:00:00:00:00:02", True)], [UPLINK, TAP], [PINNED[0], taken])
    findings = plan(Intent((guest(Manager.KERNEL),), {"br0": "a test"}), snapshot).findings
    (left,) = [finding for finding in findings if finding.code is Code.LEFT_ON_UPLINK]
    assert (left.domain, left.message.split(": ")[1]) == (
        "web1",
        "web1, which has that address on vnet0, gets no frames for it",
    )
    codes = {finding.code for finding in plan(Intent((guest(),), {"br0": "a test"}), snapshot).findings}
    assert Code.STOLEN_ENTRY in codes
    assert Code.LEFT_ON_UPLINK not in codes


def test_a_thousand_are_not_a_thousand_lines() -> None:
    entries = [Entry(f"52:54:00:01:{number >> 8:02x}:{number & 255:02x}", 1, "eth0") for number in range(1000)]
    found = told(*entries)
    assert len(found) == 9
    assert found[-1].message == "eth0 has static entries for 992 more addresses that nothing here asks for"
