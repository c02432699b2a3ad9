"""One MAC, two live NICs, of which the kernel manages one: the managed one keeps the entry, and the audit tells it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from macmgr.model.findings import Code, Finding
from macmgr.model.intent import GuestPort, Intent, Manager, Policy
from macmgr.model.snapshot import Bridge, BridgePort, Entry, PortFlags, Snapshot
from macmgr.planning.planner import plan
from tests.fake_kernel import make_snapshot

MAC = "52:54:00:00:00:01"
MANAGED = GuestPort("vnet1", "br0", "web1", "u1", (MAC,), policy=Policy(manager=Manager.LIBVIRT))
LEFT = GuestPort("vnet2", "br0", "web2", "u2", (MAC,))


def a_host(vids: tuple[int, ...] = (1,), *, filtering: bool = True) -> Snapshot:
    """The managed guest is in sync; the other one's port is open and carries ``vids``."""
    closed = PortFlags(learning=False, unicast_flood=False)
    ports = [
        BridgePort("vnet1", 2, "br0", "fe:54:00:00:00:01", closed, (1,), 1),
        BridgePort("vnet2", 3, "br0", "fe:54:00:00:00:02", PortFlags(), vids, vids[0]),
    ]
    entries = [Entry(MAC, vid, "vnet1", sticky=True) for vid in (0, 1)]
    return make_snapshot([Bridge("br0", 1, "02:b0:00:00:00:01", vlan_filtering=filtering)], ports, entries)


def duplicates(snapshot: Snapshot, *guests: GuestPort) -> list[Finding]:
    made = plan(Intent(guests, {"br0": "a test"}), snapshot)
    assert made.changes == ()
    return [finding for finding in made.findings if finding.code is Code.DUPLICATE_MAC]


@pytest.mark.parametrize("guests", [(MANAGED, LEFT), (LEFT, MANAGED)])
def test_told_at_the_port_that_loses(guests: tuple[GuestPort, ...]) -> None:
    (finding,) = duplicates(a_host(), *guests)
    assert (finding.port, finding.domain, finding.mac, finding.vid) == ("vnet2", "web2", MAC, 1)
    assert "web2 (vnet2) and web1 (vnet1) both have" in finding.message
    assert finding.severity == "error"


def test_told_once_in_a_bridge_without_vlans() -> None:
    (finding,) = duplicates(a_host((10,), filtering=False), MANAGED, LEFT)
    assert finding.vid == 0


@pytest.mark.parametrize(
    ("snapshot", "other"),
    [
        (a_host((10,)), LEFT),
        (a_host(), replace(LEFT, running=False, state="paused")),
        (a_host(), replace(LEFT, macs=("52:54:00:00:00:02",))),
        (a_host(), replace(LEFT, macs=("52:54:00:00:00:02", MAC))),
        (a_host(), replace(LEFT, port="vnet9")),
        (a_host(), replace(LEFT, bridge="br9")),
    ],
    ids=[
        "in another VLAN",
        "that does not run",
        "with another MAC",
        "that is allowed it",
        "without a tap",
        "on another bridge",
    ],
)
def test_no_duplicate(snapshot: Snapshot, other: GuestPort) -> None:
    assert duplicates(snapshot, MANAGED, other) == []


def test_a_waiting_namesakes_port_is_not_closed_for_an_entry_that_cannot_come() -> None:
    """libvirt adds with NLM_F_EXCL: once the running guest has the entry, the other one's comes to nothing."""
    waiting = replace(MANAGED, port="vnet2", domain="web2", running=False, state="paused", entry_comes=True)
    nobody_has_it = a_host()
    nobody_has_it = replace(nobody_has_it, entries=tuple(each for each in nobody_has_it.entries if each.mac != MAC))
    made = plan(Intent((MANAGED, waiting), {"br0": "a test"}), nobody_has_it)
    assert [change.because for change in made.changes] == [Code.MISSING_ENTRY]


def test_two_guests_that_the_kernel_manages_are_not_ours_to_judge() -> None:
    other = replace(MANAGED, policy=Policy())
    assert duplicates(a_host(), other, LEFT) == []
