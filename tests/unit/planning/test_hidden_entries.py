"""Entries that an FDB dump leaves out (rtnl_fdb_dump keeps no position), where believing it would take one along."""

from __future__ import annotations

import pytest

from macmgr.model.intent import GuestPort, Intent, Manager, Policy
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, PortFlags
from macmgr.reconcile import apply
from macmgr.state.lock import WriterLock
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.notebook import Notebook

MAC, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:02"
CLOSED = PortFlags(learning=False, unicast_flood=False)
GUEST = GuestPort("vnet0", "br0", "g1", "u", (MAC,), policy=Policy(manager=Manager.LIBVIRT))

NOT_OURS = {
    "the host's": Entry(OTHER, 10, "vnet0", EntryState.LOCAL),
    "an external control plane's": Entry(OTHER, 10, "vnet0", EntryState.DYNAMIC, extern_learn=True),
}


def a_kernel(*entries: Entry) -> FakeKernel:
    bridges = [Bridge("br0", 1, "02:b0:00:00:00:01", vlan_filtering=True)]
    ports = [
        BridgePort("eth0", 2, "br0", "02:e0:00:00:00:01", vids=(1, 10), pvid=1),
        BridgePort("vnet0", 3, "br0", "fe:54:00:00:00:01", CLOSED, vids=(1, 10), pvid=1),
    ]
    wanted = [Entry(MAC, vid, "vnet0", sticky=True) for vid in (0, 1, 10)]
    return FakeKernel(make_snapshot(bridges, ports, [*wanted, *entries]))


def apply_to(kernel: FakeKernel) -> None:
    apply(WriterLock(), lambda: Intent((GUEST,), {"br0": "a test"}), kernel, notes=Notebook())


@pytest.mark.parametrize("whose", NOT_OURS)
@pytest.mark.parametrize("hidden", [False, True], ids=["seen", "left out by the dump"])
def test_a_copy_that_is_not_ours_keeps_vid_0_in_place(whose: str, hidden: bool) -> None:
    """Deleting VID 0 deletes the port's every copy (br_fdb_delete), the one that the dump did not show too."""
    theirs, extra = NOT_OURS[whose], Entry(OTHER, 0, "vnet0")
    kernel = a_kernel(theirs, extra)
    kernel.skipped_by_dumps = {("br0", OTHER, 10)} if hidden else set()
    apply_to(kernel)
    assert kernel.fdb["br0", OTHER, 10] == theirs
    assert kernel.fdb["br0", OTHER, 0] == extra


def test_vid_0_goes_where_nothing_is_in_its_way() -> None:
    kernel = a_kernel(Entry(OTHER, 0, "vnet0"), Entry(OTHER, 10, "vnet0", sticky=True))
    apply_to(kernel)
    assert not [key for key in kernel.fdb if key[1] == OTHER]
