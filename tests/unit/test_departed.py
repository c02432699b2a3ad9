"""What a guest leaves behind is cleared up where a policy makes the bridge ours, and nowhere else."""

from __future__ import annotations

import pytest

from macmgr.model.intent import Intent
from macmgr.model.snapshot import Bridge, BridgePort, Entry
from macmgr.reconcile import apply
from macmgr.state.lock import WriterLock
from tests.fake_kernel import FakeKernel, make_snapshot

MAC = "52:54:00:00:00:01"


def a_kernel() -> FakeKernel:
    """Two bridges, and on the uplink of each what is left of a guest that had a NIC on both."""
    bridges = [Bridge(f"br{number}", 1 + number, f"02:b0:00:00:00:0{number}") for number in (0, 1)]
    ports = [BridgePort(f"eth{number}", 5 + number, f"br{number}", f"02:e0:00:00:00:0{number}") for number in (0, 1)]
    return FakeKernel(make_snapshot(bridges, ports, [Entry(MAC, 0, "eth0"), Entry(MAC, 0, "eth1")]))


@pytest.mark.parametrize("managed", [(), ("br0",), ("br1",), ("br0", "br1")], ids="+".join)
def test_a_stale_entry_goes_from_managed_bridges_only(managed: tuple[str, ...]) -> None:
    kernel = a_kernel()
    intent = Intent(managed_bridges=dict.fromkeys(managed, "a test"), departed={MAC: "web1"})
    apply(WriterLock(), lambda: intent, kernel)
    left = {bridge for bridge, mac, _ in kernel.fdb if mac == MAC}
    assert left == {"br0", "br1"} - set(managed)
