"""VIDs that come and go, and trunks, on a real kernel: needs VLAN filtering, so it runs in the lab."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from macmgr.forwarding.requested import requested
from macmgr.kernel import Kernel
from macmgr.model.changes import AddVids, DeleteVids, FlushEntries, Request, bridge_command, requests
from macmgr.model.findings import Code, fix_of
from macmgr.model.intent import GuestPort, Intent, Manager, Policy
from macmgr.model.snapshot import Entry, EntryState
from macmgr.reconcile import apply, look
from macmgr.state.lock import hold
from macmgr.view import Outcome, View
from tests.fake_kernel import put_entry
from tests.netns.conftest import Namespace, eventually, require
from tests.notebook import Notebook

pytestmark = pytest.mark.full_kernel

GUEST, OTHER, STRANGER = "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:99"
POLICY = Policy(manager=Manager.LIBVIRT)
WANTED = Intent((GuestPort("tap1", "br0", "g1", "u1", (GUEST,), policy=POLICY),), {"br0": "a test says so"})


@pytest.fixture
def kernel(ns: Namespace) -> Iterator[Kernel]:
    """A filtering bridge with an uplink and a tap, both in VID 1."""
    build(ns)
    with Kernel(ns.name) as opened:
        yield opened


def build(ns: Namespace) -> None:
    require("bridge VLAN filtering", ns.accepts("link add br0 address 02:b0:00:00:00:01 type bridge vlan_filtering 1"))
    ns.ip("link set br0 up")
    ns.add_cable("eth1")
    ns.add_tap("tap1")


@pytest.fixture
def applied(kernel: Kernel, tmp_path: Path) -> Callable[[], Outcome]:
    def run() -> Outcome:
        with hold(tmp_path / "lock") as lock:
            return apply(lock, lambda: WANTED, kernel, notes=Notebook())

    return run


def seen(kernel: Kernel) -> View:
    return look(lambda: WANTED, kernel)


def vids_of(kernel: Kernel, mac: str, port: str = "tap1") -> set[int]:
    return {entry.vid for entry in kernel.read_snapshot().entries if (entry.mac, entry.port) == (mac, port)}


def strand(ns: Namespace, kernel: Kernel) -> None:
    """The port loses VID 10 with everything in it: entries of the guest and of a stranger, and its own address."""
    ns.bridge("vlan add dev tap1 vid 10")
    ns.bridge(f"fdb replace {GUEST} dev tap1 master static sticky")
    ns.bridge(f"fdb replace {STRANGER} dev tap1 vlan 10 master static")
    ns.bridge("vlan del dev tap1 vid 10")
    assert vids_of(kernel, GUEST) == {0, 1, 10}


def test_a_flush_takes_what_is_stranded_and_nothing_else(ns: Namespace, kernel: Kernel) -> None:
    strand(ns, kernel)
    ns.bridge("vlan add dev eth1 vid 10")
    ns.bridge(f"fdb replace {OTHER} dev eth1 vlan 10 master static")
    ns.bridge("vlan add dev tap1 vid 20")
    ns.bridge(f"fdb add {OTHER} dev tap1 vlan 20 master dynamic extern_learn")
    before = set(kernel.read_snapshot().entries)
    assert kernel.send([FlushEntries("tap1", 10), FlushEntries("tap1", 20)], kernel.read_snapshot()) == [None, None]
    assert before - set(kernel.read_snapshot().entries) == {
        Entry(GUEST, 10, "tap1", sticky=True),
        Entry(STRANGER, 10, "tap1"),
    }
    kernel.send([FlushEntries("tap1", 1), FlushEntries("eth1", 1)], kernel.read_snapshot())
    after = kernel.read_snapshot()
    local = {entry for entry in before if entry.state is EntryState.LOCAL}
    assert local
    assert local <= set(after.entries), "the host's own addresses stay"
    assert vids_of(kernel, GUEST) == {0}


def test_sent_and_typed_come_to_the_same(ns: Namespace, twin: Namespace, kernel: Kernel) -> None:
    build(twin)
    with Kernel(twin.name) as other:
        for each, its_kernel in ((ns, kernel), (twin, other)):
            strand(each, its_kernel)
        assert kernel.send([FlushEntries("tap1", 10)], kernel.read_snapshot()) == [None]
        twin.run(*bridge_command(FlushEntries("tap1", 10)))
        assert sorted(ns.fdb(), key=repr) == sorted(twin.fdb(), key=repr)
        assert vids_of(kernel, GUEST) == vids_of(other, GUEST) == {0, 1}


def test_stranded_copies_are_found_and_cleared(ns: Namespace, kernel: Kernel, applied: Callable[[], Outcome]) -> None:
    assert applied().complete
    strand(ns, kernel)
    found = [finding for finding in seen(kernel).plan.findings if finding.vid == 10]
    assert {(finding.code, finding.mac) for finding in found} == {
        (Code.EXTRA_ENTRY, GUEST),
        (Code.EXTRA_ENTRY, STRANGER),
    }
    outcome = applied()
    assert outcome.complete
    assert not outcome.failures
    assert vids_of(kernel, GUEST) == {0, 1}
    assert vids_of(kernel, STRANGER) == set()


def test_a_copy_is_cleared_by_way_of_the_uplink_and_nothing_else_goes(
    ns: Namespace, kernel: Kernel, applied: Callable[[], Outcome]
) -> None:
    """An administrator's entry of another MAC on the uplink, which has lost the VID, is not flushed with it."""
    applied()
    ns.add_cable("eth2")
    for name in ("eth1", "eth2"):
        ns.bridge(f"vlan add dev {name} vid 30")
    for mac in (GUEST, STRANGER):
        ns.bridge(f"fdb replace {mac} dev eth1 vlan 30 master static")
    ns.bridge("vlan del dev eth1 vid 30")
    (change,) = seen(kernel).plan.changes
    assert [bridge_command(request) for request in requests(change)] == [
        ["bridge", "fdb", "replace", GUEST, "dev", "eth2", "vlan", "30", "master", "dynamic"],
        ["bridge", "fdb", "del", GUEST, "dev", "eth2", "vlan", "30", "master"],
    ]
    assert applied().complete
    assert vids_of(kernel, GUEST, "eth1") == vids_of(kernel, GUEST, "eth2") == set()
    assert vids_of(kernel, STRANGER, "eth1") == {30}


def test_a_sticky_copy_of_thousands_of_vids_is_cleared(
    ns: Namespace, kernel: Kernel, applied: Callable[[], Outcome]
) -> None:
    for name in ("eth1", "tap1"):
        ns.bridge(f"vlan add dev {name} vid 2-4094")
    applied()
    ns.bridge("vlan del dev tap1 vid 1000-4094")
    assert len(vids_of(kernel, GUEST)) == 4095
    outcome = applied()
    assert outcome.complete
    assert not outcome.failures
    assert len(outcome.done) == 1
    assert vids_of(kernel, GUEST) == {0, *range(1, 1000)}
    assert vids_of(kernel, GUEST, "eth1") == set()


def test_what_an_interrupted_clearing_leaves_moves_with_a_frame(ns: Namespace, kernel: Kernel) -> None:
    """Were we killed between the two requests."""
    ns.add_cable("eth2")
    for name in ("eth1", "eth2", "tap1"):
        ns.bridge(f"vlan add dev {name} vid 30")
    ns.bridge(f"fdb replace {GUEST} dev tap1 vlan 30 master static sticky")
    ns.bridge("vlan del dev tap1 vid 30")
    assert kernel.send([put_entry("eth1", GUEST, 30, EntryState.DYNAMIC)], kernel.read_snapshot()) == [None]
    (entry,) = [each for each in kernel.read_snapshot().entries if each.mac == GUEST]
    assert entry == Entry(GUEST, 30, "eth1", EntryState.DYNAMIC)
    ns.bridge("vlan add dev eth2 vid 30 pvid untagged")
    ns.send_frame("eth2-far", GUEST)
    eventually(lambda: vids_of(kernel, GUEST, "eth2") == {30}, "it has moved")


def test_the_plan_run_by_hand_clears_them_too(ns: Namespace, kernel: Kernel, applied: Callable[[], Outcome]) -> None:
    applied()
    strand(ns, kernel)
    for change in seen(kernel).plan.changes:
        for request in requests(change):
            ns.run(*bridge_command(request))
    assert not seen(kernel).plan.changes
    assert vids_of(kernel, GUEST) == {0, 1}


def test_without_a_flush_the_fix_that_is_told_does_it(
    ns: Namespace, kernel: Kernel, applied: Callable[[], Outcome]
) -> None:
    """An administrator's entry on the uplink would go with the guest's: so nothing is done, and it is told how."""
    applied()
    ns.bridge("vlan add dev eth1 vid 30")
    for mac in (GUEST, STRANGER):
        ns.bridge(f"fdb replace {mac} dev eth1 vlan 30 master static")
    ns.bridge("vlan del dev eth1 vid 30")
    view = seen(kernel)
    assert not view.plan.changes
    (told,) = [finding for finding in view.plan.findings if finding.code is Code.STALE_ENTRY]
    ns.run("sh", "-c", fix_of(told).text)
    assert vids_of(kernel, GUEST, "eth1") == set()
    assert vids_of(kernel, STRANGER, "eth1") == {30}
    assert Code.STALE_ENTRY not in {finding.code for finding in seen(kernel).plan.findings}


def test_a_vid_that_the_port_gets_later_is_covered(
    ns: Namespace, kernel: Kernel, applied: Callable[[], Outcome]
) -> None:
    applied()
    ns.bridge("vlan add dev tap1 vid 10")
    assert applied().complete
    assert vids_of(kernel, GUEST) == {0, 1, 10}


def test_a_trunk_has_entries_where_a_frame_can_come_from(
    ns: Namespace, kernel: Kernel, applied: Callable[[], Outcome]
) -> None:
    ns.bridge("vlan add dev tap1 vid 2-4094")
    ns.bridge("vlan add dev eth1 vid 100-101")
    ns.bridge("vlan add dev br0 vid 200 self")
    assert applied().complete
    assert vids_of(kernel, GUEST) == {1, 100, 101, 200}
    ns.bridge("vlan add dev eth1 vid 300")
    missing = [finding for finding in seen(kernel).plan.findings if finding.code is Code.MISSING_ENTRY]
    assert [(finding.mac, finding.vid) for finding in missing] == [(GUEST, 300)]
    assert applied().complete
    assert vids_of(kernel, GUEST) == {1, 100, 101, 200, 300}
    ns.bridge("vlan add dev eth1 vid 2-4094")
    assert applied().complete
    assert vids_of(kernel, GUEST) == {0, *range(1, 4095)}


def test_the_copies_that_libvirt_puts_on_a_trunk_may_stay(
    ns: Namespace, kernel: Kernel, applied: Callable[[], Outcome]
) -> None:
    """They lead to the guest, and libvirt's request without a VID makes all of them at once."""
    ns.bridge("vlan add dev tap1 vid 2-4094")
    snapshot = kernel.read_snapshot()
    assert kernel.send([put_entry("tap1", GUEST, None)], snapshot) == [None]
    assert applied().complete
    assert vids_of(kernel, GUEST) == {0, *range(1, 4095)}
    assert {finding.code for finding in seen(kernel).plan.findings if finding.mac == GUEST} == set()


def test_a_trunk_of_a_guest_that_leaves_is_emptied(
    ns: Namespace, kernel: Kernel, tmp_path: Path, applied: Callable[[], Outcome]
) -> None:
    ns.bridge("vlan add dev tap1 vid 2-4094")
    ns.bridge("vlan add dev eth1 vid 100")
    applied()
    (guest,) = WANTED.ports
    paused = replace(WANTED, ports=(replace(guest, state="paused", running=False),))
    with hold(tmp_path / "lock") as lock:
        assert apply(lock, lambda: paused, kernel, notes=Notebook()).complete
    assert vids_of(kernel, GUEST) == set()


def test_requests_for_vids_do_what_the_model_says(kernel: Kernel) -> None:
    """And a static entry in a VID that the port has left stays behind."""
    kernel.send([put_entry("tap1", GUEST, None)], kernel.read_snapshot())
    steps: list[Request] = [
        AddVids("tap1", 10, 20),
        put_entry("tap1", OTHER, 12),
        AddVids("tap1", 15, 15, pvid=True, untagged=True),
        AddVids("tap1", 16, 17, untagged=True),
        AddVids("tap1", 18, 18, pvid=True),
        AddVids("tap1", 14, 18),
        DeleteVids("tap1", 1, 1),
        DeleteVids("tap1", 2, 4094),
        AddVids("tap1", 42, 42, pvid=True, untagged=True),
    ]
    for step in steps:
        before = kernel.read_snapshot()
        foreseen = requested(before, [step])
        assert kernel.send([step], before) == [None], step
        after = kernel.read_snapshot()
        assert after.ports["tap1"].vlans == foreseen.ports["tap1"].vlans, step
        if after.fdb.at("br0", OTHER, 12) is not None or not isinstance(
            step, DeleteVids
        ):  # since 7.2 none stays behind
            assert {*after.fdb.of_port("tap1")} == {*foreseen.fdb.of_port("tap1")}, step


def test_vids_that_the_kernel_refuses_are_told(kernel: Kernel) -> None:
    snapshot = kernel.read_snapshot()
    gone: list[Request] = [AddVids("tap9", 5, 5), DeleteVids("tap9", 5, 5)]
    assert all(kernel.send(gone, snapshot))
    assert kernel.send([DeleteVids("tap1", 100, 200)], snapshot) == [None], "those that are not there are no refusal"
